"""The way of a log record from any process to the attendant: one pipe, and no lock.

A record is one ``write`` of at most PIPE_BUF bytes. POSIX lets no other write come between its bytes, and a
non-blocking one takes all of it or nothing, so a process that is killed, at whatever instant, leaves neither a torn
record nor anything locked. When `put_nowait` returns the record is in the kernel: it outlives its process.

Each process numbers its records, and the reader counts what is missing: whoever finds the pipe full for too long
loses the record rather than the traffic that waits behind it.
"""

from __future__ import annotations

import fcntl
import logging
import os
import queue
import select
import struct
import termios
import time
from collections import deque
from contextlib import suppress
from typing import Final

import msgpack

from runtime.log_levels import from_python, label

FRAME_BYTES: Final = min(select.PIPE_BUF, 4096)
"""Of one record with its length in front; Linux has a PIPE_BUF of 4,096, POSIX asks for 512."""

PIPE_BYTES: Final = 1_048_576
"""What the pipe is asked to hold; the kernel may say no, and its own 64 KiB also work."""

PATIENCE_S: Final = 0.05
"""How long one record waits for room."""

_LENGTH: Final = struct.Struct("!H")
_NAME_BYTES: Final = 64
_FIELDS_BYTES: Final = 64 + 2 * _NAME_BYTES
"""Enough for everything in a frame but the text and the traceback."""
_ROOM_BYTES: Final = FRAME_BYTES - _FIELDS_BYTES
_CUT: Final = b"..."

_RECORD: Final = 0
_DEATH: Final = 1


class RecordPipe:
    """What the package's handler uses as its queue.

    Made in the attendant before the forks. Any process writes, one thread of the attendant reads. Of one process, one
    thread at a time: the handler's lock sees to that.
    """

    def __init__(self) -> None:
        self._reading, self._writing = os.pipe()
        os.set_blocking(self._reading, False)
        os.set_blocking(self._writing, False)
        with suppress(OSError, AttributeError):  # over the user's limit, or not Linux
            fcntl.fcntl(self._writing, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        # The writer's.
        self.name = "attendant"
        self._pid = os.getpid()
        self._serial = 0
        self._stuck = False
        """The last record waited in vain; the next ones do not wait until one went through."""
        # The reader's.
        self._buffer = bytearray()
        self._records: deque[logging.LogRecord] = deque()
        self._seen: dict[int, int] = {}
        """The serial of each living process's last record."""
        self.lost = 0
        """Records that are known to be lost."""
        self.malformed = 0
        """Frames that no process of ours writes."""

    # The writer.

    def enter(self, name: str) -> None:
        """Be another process, of that name, which only writes."""
        self.name = name
        reading, self._reading = self._reading, -1
        if reading >= 0:
            os.close(reading)

    def put_nowait(self, record: logging.LogRecord) -> None:
        """Send a record whose message is formatted already; it is lost where the pipe stays full."""
        pid = os.getpid()
        if pid != self._pid:  # forked since: a process of its own, with serials of its own
            self._pid, self._serial, self._stuck = pid, 0, False
        self._serial += 1
        self._write(_pack(record, self._serial, pid, self.name))

    def put_death(self, pid: int) -> bool:
        """Say, behind its last record, that a process is dead. False where there was no room."""
        return self._write(_frame([_DEATH, pid]))

    def _write(self, frame: bytes) -> bool:
        deadline = time.monotonic() + (0.0 if self._stuck else PATIENCE_S)
        while True:
            try:
                os.write(self._writing, frame)
            except BlockingIOError:
                if not self._wait_for_room(deadline - time.monotonic()):
                    self._stuck = True
                    return False
            except OSError:  # the attendant is dead, or the log is closed
                return False
            else:
                self._stuck = False
                return True

    def _wait_for_room(self, timeout_s: float) -> bool:
        if timeout_s <= 0:
            return False
        poller = select.poll()
        poller.register(self._writing, select.POLLOUT)
        return bool(poller.poll(timeout_s * 1000))

    # The reader, as multiprocessing-logging's receiver thread calls it.

    def get(self, timeout: float) -> logging.LogRecord:
        """The next record.

        Raises:
            queue.Empty: none came within `timeout` seconds.
            EOFError, OSError: the pipe is closed.
        """
        if self._reading < 0:
            raise EOFError
        if not self._records:
            poller = select.poll()
            poller.register(self._reading, select.POLLIN)
            if not poller.poll(timeout * 1000):
                raise queue.Empty
            self._buffer += os.read(self._reading, 65_536)
            self._unpack_buffer()
        try:
            return self._records.popleft()
        except IndexError:
            raise queue.Empty from None

    def qsize(self) -> int:
        """Zero when everything that was written is read. (The package asks before it ends its receiver.)"""
        if self._reading < 0:
            return 0
        (pending,) = struct.unpack("i", fcntl.ioctl(self._reading, termios.FIONREAD, bytes(4)))
        return int(pending) + len(self._records)

    def close(self) -> None:
        reading, self._reading = self._reading, -1
        writing, self._writing = self._writing, -1
        for fd in (reading, writing):
            if fd >= 0:
                os.close(fd)

    def join_thread(self) -> None:
        """There is no feeder thread."""

    def _unpack_buffer(self) -> None:
        start = 0
        while len(self._buffer) - start >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._buffer, start)
            if length > FRAME_BYTES:  # nobody knows where the next frame begins
                self.malformed += 1
                start = len(self._buffer)
                break
            end = start + _LENGTH.size + length
            if end > len(self._buffer):  # a frame is written in one piece but may be read in two
                break
            self._take(bytes(self._buffer[start + _LENGTH.size : end]))
            start = end
        del self._buffer[:start]

    def _take(self, frame: bytes) -> None:
        try:
            plain = msgpack.unpackb(frame)
        except (ValueError, msgpack.UnpackException):
            plain = None
        match plain:
            case [0, int(serial), int(pid), str(name), float(created), int(level), str(logger), bytes(text), trace]:
                missing = serial - self._seen.get(pid, 0) - 1
                self._seen[pid] = serial
                if missing > 0:
                    self.lost += missing
                    loss = f"{missing} log records of this process are lost: the log is not read fast enough"
                    self._records.append(_record(name, pid, created, logging.WARNING, "layby.log", loss, None))
                self._records.append(_record(name, pid, created, level, logger, _text(text), _text(trace) or None))
            case [1, int(pid)]:
                self._seen.pop(pid, None)  # the next process with this pid counts from 1 again
            case _:
                self.malformed += 1


def _text(data: object) -> str:
    return data.decode("utf-8", "replace") if isinstance(data, bytes) else ""


def _pack(record: logging.LogRecord, serial: int, pid: int, name: str) -> bytes:
    trace = record.exc_text or ""
    if record.stack_info:
        trace = f"{trace}\n{record.stack_info}" if trace else record.stack_info
    # A text that is logged with a final newline means no second line by it.
    text = _head(str(record.msg).removesuffix("\n"), _ROOM_BYTES // 3 if trace else _ROOM_BYTES)
    plain = [
        _RECORD,
        serial,
        pid,
        _head(name, _NAME_BYTES).decode("utf-8", "ignore"),
        record.created,
        record.levelno,
        _head(record.name, _NAME_BYTES).decode("utf-8", "ignore"),
        text,
        _tail(trace, _ROOM_BYTES - len(text)) if trace else None,
    ]
    return _frame(plain)


def _frame(plain: list[object]) -> bytes:
    body = bytes(msgpack.packb(plain))
    return _LENGTH.pack(len(body)) + body


def _head(text: str, limit: int) -> bytes:
    """The beginning of a text, at most `limit` bytes, with a mark where something is cut off."""
    data = text[: limit + 1].encode("utf-8", "backslashreplace")
    return data if len(data) <= limit else _whole_characters(data[: limit - len(_CUT)]) + _CUT


def _tail(text: str, limit: int) -> bytes:
    """The end of a text: of a traceback that is what went wrong."""
    data = text[-limit - 1 :].encode("utf-8", "backslashreplace")
    return data if len(data) <= limit else _CUT + _whole_characters(data[len(data) - limit + len(_CUT) :])


def _whole_characters(data: bytes) -> bytes:
    return data.decode("utf-8", "ignore").encode("utf-8")


def _record(
    name: str, pid: int, created: float, level: int, logger: str, text: str, trace: str | None
) -> logging.LogRecord:
    return logging.makeLogRecord(
        {
            "name": logger,
            "levelno": level,
            "levelname": label(from_python(level)),
            "msg": text,
            "args": None,
            "exc_text": trace,
            "created": created,
            "process": pid,
            "processName": name,
        }
    )
