"""Where the attendant writes log records to: standard error and syslog, as lines that nobody can forge.

Everything here runs in the receiver thread and lets no OSError out. It uses descriptors only, for a buffered stream has
a lock that a fork in the middle of a write would copy as held.
"""

from __future__ import annotations

import json
import logging
import os
import re
import select
import time
from collections.abc import Callable, Mapping
from logging.handlers import SysLogHandler
from typing import Final, TypeAlias

from runtime.log_levels import Consumers

_STDERR: Final = 2
_WRITE_WAIT_S: Final = 1.0

Layout: TypeAlias = Callable[[logging.LogRecord], list[str]]
"""A record as lines without their ends; more than one only where it has a traceback."""

# C0 and C1 controls, DEL, line and paragraph separators, and the marks that turn the direction of text around.
_CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")
_SHORT: Final = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def escape(text: str) -> str:
    """Make every control character visible, so that a text stays in its line and drives no terminal."""
    return _CONTROL.sub(_escape_one, text)


def _escape_one(match: re.Match[str]) -> str:
    character = match.group()
    code = ord(character)
    return _SHORT.get(character) or (f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}")


class Clock:
    """Writes times of the epoch as local time, remembering the last second: strftime costs more than the rest."""

    def __init__(self, *, with_offset: bool) -> None:
        self._with_offset = with_offset
        self._second = -1
        self._text = ""
        self._offset = ""

    def __call__(self, created: float) -> str:
        second, fraction = divmod(created, 1)
        if second != self._second:
            local = time.localtime(second)
            self._second, self._text = int(second), time.strftime("%Y-%m-%dT%H:%M:%S", local)
            if self._with_offset:
                minutes = abs(local.tm_gmtoff) // 60
                self._offset = f"{'-' if local.tm_gmtoff < 0 else '+'}{minutes // 60:02d}:{minutes % 60:02d}"
        return f"{self._text}.{int(fraction * 1000):03d}{self._offset}"


def plain_layout(prefix: str) -> Layout:
    """``2026-11-22T22:10:30.123 sip-1[4711] INFO text``, the prefix before the text."""
    clock = Clock(with_offset=False)
    before = f"{escape(prefix)} " if prefix else ""

    def layout(record: logging.LogRecord) -> list[str]:
        head = f"{clock(record.created)} {escape(record.processName or '')}[{record.process}] {record.levelname} "
        return [head + line for line in _texts(record, before)]

    return layout


def json_layout(prefix: str) -> Layout:
    """One JSON object in one line, ASCII only."""
    clock = Clock(with_offset=True)

    def layout(record: logging.LogRecord) -> list[str]:
        fields: dict[str, object] = {
            "time": clock(record.created),
            "level": record.levelname,
            "process": record.processName,
            "pid": record.process,
            "logger": record.name,
            "message": record.msg,
        }
        if prefix:
            fields["prefix"] = prefix
        if record.exc_text:
            fields["traceback"] = record.exc_text
        return [json.dumps(fields).replace("\x7f", "\\u007f")]

    return layout


def syslog_layout(prefix: str) -> Layout:
    """``layby[4711]: sip-1 INFO text``; syslog has the time, and the level as its priority."""
    before = f"{escape(prefix)} " if prefix else ""

    def layout(record: logging.LogRecord) -> list[str]:
        head = f"layby[{record.process}]: {escape(record.processName or '')} {record.levelname} "
        return [head + line for line in _texts(record, before)]

    return layout


def _texts(record: logging.LogRecord, before: str) -> list[str]:
    # Every line of a traceback gets the whole head: what an exception's message holds cannot pass for a record.
    trace = (record.exc_text or "").splitlines()
    return [before + escape(record.msg), *(f"{before}| {escape(line)}" for line in trace)]


class Sinks(logging.Handler):
    """The package's sub-handler: hands each record to every sink that wants it now.

    Args:
        sinks: by the names of `log_levels.CONSUMERS`.
        consumers: which of them are muted, and what the others want.
    """

    def __init__(self, sinks: Mapping[str, StderrSink | SyslogSink], consumers: Consumers) -> None:
        super().__init__()
        self._sinks = dict(sinks)
        self._consumers = consumers

    def emit(self, record: logging.LogRecord) -> None:
        for name, sink in self._sinks.items():
            if self._consumers.takes(name, record.levelno):
                sink.emit(record)

    def close(self) -> None:
        for sink in self._sinks.values():
            sink.close()
        super().close()


class StderrSink:
    """Writes lines to standard error."""

    def __init__(self, layout: Layout, fd: int = _STDERR) -> None:
        self._layout = layout
        self._fd = fd
        self.failed = 0
        """Records that could not be written, or not entirely."""

    def emit(self, record: logging.LogRecord) -> None:
        text = "".join(f"{line}\n" for line in self._layout(record))
        try:
            self._write_all(text.encode("utf-8", "backslashreplace"))
        except OSError:
            self.failed += 1

    def close(self) -> None:
        """Standard error is not ours to close."""

    def _write_all(self, data: bytes) -> None:
        while data:
            try:
                data = data[os.write(self._fd, data) :]
            except BlockingIOError:  # somebody who shares the terminal made it non-blocking
                poller = select.poll()
                poller.register(self._fd, select.POLLOUT)
                if not poller.poll(_WRITE_WAIT_S * 1000):
                    raise


class SyslogSink(SysLogHandler):
    """Writes to the local syslog, facility daemon. One that is not there, or goes away, costs the records only."""

    _PRIORITIES: Final = {
        "ALERT": "alert",
        "CRITICAL": "crit",
        "ERROR": "err",
        "WARNING": "warning",
        "NOTICE": "notice",
        "INFO": "info",
        "DBG": "debug",
    }

    def __init__(self, layout: Layout, address: str) -> None:
        self.failed = 0
        self._layout = layout
        super().__init__(address, SysLogHandler.LOG_DAEMON)

    def emit(self, record: logging.LogRecord) -> None:
        for line in self._layout(record):
            super().emit(logging.makeLogRecord({**record.__dict__, "msg": line, "exc_text": None}))

    def mapPriority(self, levelName: str) -> str:
        return self._PRIORITIES.get(levelName, "warning")

    def handleError(self, record: logging.LogRecord) -> None:
        # The standard one writes to the buffered sys.stderr.
        self.failed += 1
