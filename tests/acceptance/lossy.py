"""A network between a phone and the server that loses datagrams, as its seed says."""

from __future__ import annotations

import random
import select
import socket
import threading
from typing import Self

HOST = "127.0.0.1"


class LossyLink:
    """Stands in front of `target`: what comes to `port` goes there, and what comes back goes to who sent last.

    For one phone on the near side. Both directions lose alike. A thread does it; a context manager that ends it.

    Args:
        target: the port of the far side.
        loss: which share is lost, 0 to 1.
        seed: decides which.
    """

    def __init__(self, target: int, loss: float, seed: int) -> None:
        self._near, self._far = _bound(), _bound()
        self._target = (HOST, target)
        self._phone: tuple[str, int] | None = None
        self._loss = loss
        self._random = random.Random(seed)
        self._end, self._ended = socket.socketpair()
        self._thread = threading.Thread(target=self._run, name="lossy link")
        self.passed = 0
        self.lost = 0

    @property
    def port(self) -> int:
        return int(self._near.getsockname()[1])

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.close()
        self._thread.join(5)
        for each in (self._near, self._far, self._ended):
            each.close()

    def _run(self) -> None:
        while True:
            readable, _, _ = select.select([self._near, self._far, self._ended], [], [])
            if self._ended in readable:
                return
            for each in readable:
                self._pass_on(each)

    def _pass_on(self, side: socket.socket) -> None:
        try:
            data, source = side.recvfrom(65_535)
        except ConnectionError:  # the kernel's word that nobody listens there
            return
        if side is self._near:
            self._phone = source
        if self._random.random() < self._loss:
            self.lost += 1
            return
        self.passed += 1
        if side is self._near:
            self._far.sendto(data, self._target)
        elif self._phone is not None:
            self._near.sendto(data, self._phone)


def _bound() -> socket.socket:
    one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    one.bind((HOST, 0))
    return one
