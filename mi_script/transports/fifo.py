"""MI over a FIFO: ``:reply_name:JSON`` in, the answer to the FIFO of that name in the reply folder.

Commands run side by side, started in the order in which they came. No client can hold the process: nothing here
blocks, and a reader that is gone or slow loses its answer after a while.
"""

from __future__ import annotations

import asyncio
import errno
import os
import stat
from functools import partial
from pathlib import Path
from typing import Final

from mi_script.calls import Fault
from mi_script.commands import PARSE_ERROR
from mi_script.jsonrpc import fault_text
from mi_script.service import Service
from mi_script.transports.counting import Counters, Tally
from mi_script.transports.crew import Crew
from mi_script.transports.framing import Command, Frame, Framing, Misnamed, Spoilt
from mi_script.transports.paths import Claim, make_fifo

NAME: Final = "fifo"

_READ_BYTES: Final = 1 << 16  # what a pipe holds
_READS_A_TURN: Final = 4
_FIRST_PAUSE_S: Final = 0.001
_LONGEST_PAUSE_S: Final = 0.05


class FifoTransport:
    """Listens at a FIFO.

    A notification opens the reply FIFO and closes it again, so that who waits there is released; an empty reply
    name runs the command and answers nowhere.

    Args:
        path: the FIFO to make. One that a dead process left behind is replaced.
        reply_dir: the folder of the reply FIFOs.
        service: answers the texts.
        mode: the FIFO's access mode.
        counters: where to count `requests` read; `replies` read by their clients; `dropped` replies and misnamed
            requests; `errors`: what was no request.
        partial_s: how long a command may take to arrive, in seconds.
        reply_s: how long an answer may take to be read, in seconds.
        drain_s: how long what runs may go on after `close()`, in seconds.
        most: how many commands may run at once.
    """

    def __init__(
        self,
        path: Path | str,
        reply_dir: Path | str,
        service: Service,
        *,
        mode: int = 0o600,
        counters: Counters | None = None,
        partial_s: float = 2.0,
        reply_s: float = 5.0,
        drain_s: float = 2.0,
        most: int = 100,
    ) -> None:
        self.counters = Tally() if counters is None else counters
        self._path = Path(path)
        self._reply_dir = Path(reply_dir)
        self._service = service
        self._mode = mode
        self._reply_s = reply_s
        self._drain_s = drain_s
        self._framing = Framing(service.max_bytes, partial_s)
        self._crew = Crew(most, self._hold)
        self._fd = -1
        self._claim: Claim | None = None
        self._timer: asyncio.TimerHandle | None = None

    async def start(self) -> None:
        """Make the FIFO and listen, on the running loop.

        Raises:
            CannotListen: the path is taken, or cannot be made.
        """
        self._loop = asyncio.get_running_loop()
        self._fd, self._claim = make_fifo(self._path, self._mode)
        self._loop.add_reader(self._fd, self._on_readable)

    async def close(self) -> None:
        """Remove the FIFO, let what runs end, drop what takes too long."""
        if self._claim is None:
            return
        claim, self._claim = self._claim, None
        claim.release()
        self._loop.remove_reader(self._fd)
        self._on_readable()  # a client that has written waits for its answer without any limit
        if self._timer:
            self._timer.cancel()
        os.close(self._fd)
        await self._crew.close(self._drain_s)

    def _hold(self, full: bool) -> None:
        if full:
            self._loop.remove_reader(self._fd)
        else:
            self._loop.add_reader(self._fd, self._on_readable)

    def _on_readable(self) -> None:
        for _ in range(_READS_A_TURN):
            try:
                data = os.read(self._fd, _READ_BYTES)
            except BlockingIOError:
                break
            self._take(self._framing.feed(data, self._loop.time()))

    def _on_timer(self) -> None:
        self._timer = None
        self._take(self._framing.expire(self._loop.time()))

    def _take(self, frames: list[Frame]) -> None:
        for frame in frames:
            match frame:
                case Command(reply, text):
                    self.counters.count("requests")
                    self._crew.take(partial(self._answer, reply, text))
                case Spoilt(reply, reason):
                    self.counters.count("errors")
                    if reply:
                        fault = fault_text(Fault(PARSE_ERROR, "Parse error", reason), None).encode()
                        self._crew.take(partial(self._send, reply, fault))
                case Misnamed():
                    self.counters.count("dropped")
        self._set_timer()

    def _set_timer(self) -> None:
        if self._timer:
            self._timer.cancel()
        deadline = self._framing.next_deadline()
        self._timer = self._loop.call_at(deadline, self._on_timer) if deadline is not None else None

    async def _answer(self, reply: str, text: bytes) -> None:
        answer = await self._service.answer(text, NAME)
        if reply:
            await self._send(reply, answer)

    async def _send(self, reply: str, answer: bytes | None) -> None:
        try:
            async with asyncio.timeout(self._reply_s):
                await self._write(self._reply_dir / reply, b"" if answer is None else answer + b"\n")
        except (OSError, TimeoutError):
            self.counters.count("dropped")
        else:
            if answer is not None:
                self.counters.count("replies")

    async def _write(self, path: Path, data: bytes) -> None:
        fd = await _open_reply(path)
        try:
            rest = memoryview(data)
            while rest:
                try:
                    rest = rest[os.write(fd, rest) :]
                except BlockingIOError:
                    await self._writable(fd)
        finally:
            os.close(fd)

    async def _writable(self, fd: int) -> None:
        writable = asyncio.Event()
        self._loop.add_writer(fd, writable.set)
        try:
            await writable.wait()
        finally:
            self._loop.remove_writer(fd)


async def _open_reply(path: Path) -> int:
    pause_s = _FIRST_PAUSE_S
    while True:
        # Looked at first: opening some devices does things.
        if not stat.S_ISFIFO(os.lstat(path).st_mode):
            raise OSError(errno.EINVAL, "no FIFO", str(path))
        try:
            fd = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
        else:
            if stat.S_ISFIFO(os.fstat(fd).st_mode):
                return fd
            os.close(fd)
            raise OSError(errno.EINVAL, "no FIFO", str(path))
        # Clients write the command before they open the FIFO for the answer.
        await asyncio.sleep(pause_s)
        pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)
