"""What the machine allows, for the distance: nothing but an echo, both sides blocking. No pool, no function."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import Any

import zmq

from pools_peers.adapter import WORKERS, Done, SyncPeer

PAYLOAD = b"x" * 50  # about what a pool's frame for a tiny job has
STOP = b"stop"


class _Echo(SyncPeer):
    skips = frozenset(["pipelined-100", "pipelined-1000", "regular", "random", "kill", "cost"])

    def open(self) -> None:
        self.children: list[int] = []
        self.start()

    def start(self) -> None:
        raise NotImplementedError

    def fork(self, serve: Callable[[], None]) -> None:
        pid = os.fork()
        if pid == 0:
            try:
                serve()
            finally:
                os._exit(0)
        self.children.append(pid)

    def submit(self, job: str, arg: Any, done: Done) -> None:
        raise NotImplementedError("an echo has no jobs")

    def ways(self) -> dict[str, Callable[[Iterable[Any], int], Iterator[Any]]]:
        return {}

    def close(self) -> None:
        for pid in self.children:
            with suppress(ProcessLookupError):
                os.kill(pid, 9)
            os.waitpid(pid, 0)


class ZmqEcho(_Echo):
    """PUSH to two processes in turn, one PULL for what comes back, over ipc."""

    skips = frozenset(["regular", "random", "kill", "cost"])

    def start(self) -> None:
        back = f"ipc://{self.folder}/back"
        for number in range(WORKERS):
            self.fork(lambda there=f"ipc://{self.folder}/there{number}": self.serve(there, back))  # type: ignore[misc]
        context = zmq.Context()
        self.inbox = context.socket(zmq.PULL)
        self.inbox.bind(back)
        self.outbox = context.socket(zmq.PUSH)
        for number in range(WORKERS):
            self.outbox.connect(f"ipc://{self.folder}/there{number}")

    @staticmethod
    def serve(there: str, back: str) -> None:
        context = zmq.Context()
        inbox, outbox = context.socket(zmq.PULL), context.socket(zmq.PUSH)
        inbox.bind(there)
        outbox.connect(back)
        while True:
            outbox.send(inbox.recv())

    def call(self, job: str, arg: Any) -> Any:
        self.outbox.send(PAYLOAD)
        self.inbox.recv()
        return arg

    def ways(self) -> dict[str, Callable[[Iterable[Any], int], Iterator[Any]]]:
        return {"push": self.push}

    def push(self, args: Iterable[Any], in_flight: int) -> Iterator[Any]:
        waiting = 0
        for arg in args:
            self.outbox.send(b"%-50d" % arg)
            waiting += 1
            if waiting == in_flight:
                yield int(self.inbox.recv())
                waiting -= 1
        for _ in range(waiting):
            yield int(self.inbox.recv())


class UnixEcho(_Echo):
    """A pair of connected Unix stream sockets."""

    def start(self) -> None:
        self.mine, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)

        def serve() -> None:
            self.mine.close()
            while data := theirs.recv(65536):
                theirs.sendall(data)

        self.fork(serve)
        theirs.close()

    def call(self, job: str, arg: Any) -> Any:
        self.mine.sendall(PAYLOAD)
        self.mine.recv(65536)
        return arg


class PipeEcho(_Echo):
    """Two pipes."""

    def start(self) -> None:
        their_end, self.to = os.pipe()
        self.back, their_to = os.pipe()

        def serve() -> None:
            os.close(self.to)
            while data := os.read(their_end, 65536):
                os.write(their_to, data)

        self.fork(serve)

    def call(self, job: str, arg: Any) -> Any:
        os.write(self.to, PAYLOAD)
        os.read(self.back, 65536)
        return arg
