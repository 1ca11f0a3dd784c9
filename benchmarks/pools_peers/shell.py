"""One way to write a row for both kinds of peers: the row is a coroutine, and a shell gives it what it awaits.

Under `BlockingShell` nothing that a row awaits ever suspends, so the row runs like ordinary code, for 0.3 µs a call.
Under `LoopShell` it runs on an asyncio (or uvloop) loop.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, TypeVar

from pools_peers.adapter import AsyncPeer, Done, SyncPeer

Result = TypeVar("Result")
clock = time.perf_counter  # CLOCK_MONOTONIC on Linux, which the timer below counts in as well


class Shell(ABC):
    """A peer, and how to wait in the kind of program that it is used from."""

    peer: Any

    @abstractmethod
    def run(self, row: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
        """Run a row, or a part of one, to its end."""

    @abstractmethod
    async def open(self) -> None: ...

    @abstractmethod
    async def call(self, job: str, arg: Any) -> Any: ...

    @abstractmethod
    def submit(self, job: str, arg: Any, done: Done) -> None: ...

    @abstractmethod
    async def stream(self, way: str, args: Iterable[Any], in_flight: int) -> list[Any]: ...

    @abstractmethod
    async def until(self, moment: float) -> None:
        """Wait until that moment of `clock`; late by tens of microseconds."""

    @abstractmethod
    async def close(self) -> None: ...


class BlockingShell(Shell):
    def __init__(self, peer: SyncPeer) -> None:
        self.peer = peer
        self.submit = peer.submit  # type: ignore[method-assign]

    def run(self, row: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
        try:
            row().send(None)
        except StopIteration as end:
            result: Result = end.value
            return result
        raise AssertionError("a row of a blocking peer was suspended")

    async def open(self) -> None:
        self.peer.open()

    async def call(self, job: str, arg: Any) -> Any:
        return self.peer.call(job, arg)

    def submit(self, job: str, arg: Any, done: Done) -> None:
        self.peer.submit(job, arg, done)

    async def stream(self, way: str, args: Iterable[Any], in_flight: int) -> list[Any]:
        return list(self.peer.ways()[way](args, in_flight))

    async def until(self, moment: float) -> None:
        if (rest := moment - clock()) > 0:
            time.sleep(rest)

    async def close(self) -> None:
        self.peer.close()


class LoopShell(Shell):
    """Runs each row on a loop of its own. ``uvloop``: on uvloop's."""

    def __init__(self, peer: AsyncPeer, *, uvloop: bool = False) -> None:
        self.peer = peer
        self.call = peer.call  # type: ignore[method-assign]
        self._uvloop = uvloop
        self._tasks: set[asyncio.Task[None]] = set()

    def run(self, row: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
        factory = None
        if self._uvloop:
            import uvloop

            factory = uvloop.new_event_loop
        with asyncio.Runner(loop_factory=factory) as runner:
            return runner.run(self._with_alarm(row))

    async def _with_alarm(self, row: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
        self._alarm = Alarm()
        try:
            return await row()
        finally:
            self._alarm.close()

    async def open(self) -> None:
        await self.peer.open()

    async def call(self, job: str, arg: Any) -> Any:
        return await self.peer.call(job, arg)

    def submit(self, job: str, arg: Any, done: Done) -> None:
        task = asyncio.get_running_loop().create_task(self._submitted(job, arg, done))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _submitted(self, job: str, arg: Any, done: Done) -> None:
        try:
            value = await self.peer.call(job, arg)
        except Exception as error:  # whatever it is, the row counts it
            done(None, error)
        else:
            done(value, None)

    async def stream(self, way: str, args: Iterable[Any], in_flight: int) -> list[Any]:
        answers: list[Any] = await self.peer.ways()[way](args, in_flight)
        return answers

    async def until(self, moment: float) -> None:
        await self._alarm.until(moment)

    async def close(self) -> None:
        for task in tuple(self._tasks):
            task.cancel()
        await self.peer.close()


class _Timespec(ctypes.Structure):
    _fields_ = [("s", ctypes.c_long), ("ns", ctypes.c_long)]


class _Setting(ctypes.Structure):
    _fields_ = [("interval", _Timespec), ("value", _Timespec)]


class Alarm:
    """A timer of the kernel in the running loop: asyncio's own are rounded up to whole milliseconds, which would be
    most of what the mixed rows measure."""

    _ABSOLUTE = 1

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._fd = self._libc.timerfd_create(time.CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC)
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create")
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._fd, self._ring)
        self._waiter: asyncio.Future[None] | None = None

    async def until(self, moment: float) -> None:
        if moment <= clock():
            return
        setting = _Setting(_Timespec(0, 0), _Timespec(int(moment), int(moment % 1 * 1e9)))
        self._waiter = self._loop.create_future()
        if self._libc.timerfd_settime(self._fd, self._ABSOLUTE, ctypes.byref(setting), None) < 0:
            raise OSError(ctypes.get_errno(), "timerfd_settime")
        await self._waiter

    def _ring(self) -> None:
        os.read(self._fd, 8)
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def close(self) -> None:
        self._loop.remove_reader(self._fd)
        os.close(self._fd)
