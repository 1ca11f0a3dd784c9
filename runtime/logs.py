"""Logging of many processes into one stream, with the multiprocessing-logging package. The one place that knows it.

Every process hands its records to the attendant, where the package's receiver thread writes them out, so that lines
of different processes never mix and one process holds the connection to syslog.

The package's habits, and what is done about each:

* **It asserts the fork start method.** `configure` sets it, explicitly, and says so where another one was chosen.
* **Its queue has locks in shared memory.** ``multiprocessing.Queue`` guards its pipe with a semaphore. A process that
  is killed while it holds the semaphore silences every process for ever, and nothing tells who held it: freeing it
  after a death can only be guessed at (it may be free, or a survivor's). The queue also hands records to a feeder
  thread, which ``os.fork`` does not copy, and loses what that thread had not sent yet. So the package is given another
  queue, `log_pipe.RecordPipe`, that needs **no lock at all**: a record is one ``write`` of at most PIPE_BUF bytes,
  which the kernel does entirely or not at all, whoever is killed, and whenever. When logging returns, the record is
  in the kernel and outlives its process. There is nothing to free after a death; `Logs.child_died` only closes the
  dead one's account of lost records, behind its last record.
* **Its receiver ends for ever at an OSError.** The sinks below let none out.
* **Its receiver formats in the attendant, while the attendant forks.** A fork copies the locks that other threads
  hold at that moment, held. What the receiver does is therefore kept to what leaves no such lock: the fork happens in
  a thread that has the GIL, so the receiver is at that moment inside a system call (read, write, poll, sendto), which
  has no state in the process, or between two bytecodes. There it holds no lock: the package calls its sub-handler
  without the handler's lock; the sinks (`log_sinks`) use descriptors, not the buffered `sys.stderr`, whose lock would
  be such a one; nothing is imported there, and the queue has no lock. The locks of the logging module itself are made
  new in the child by the standard library. Handlers that the owner adds to the root logger must be thought through
  alike.
* **It pickles records.** `RecordPipe` packs plain fields with msgpack.

**A slow reader of the log must not stop traffic**: when the pipe is full a record waits a moment, and after one that
waited in vain the next ones do not wait. What is lost is counted, and the receiver logs how much of whom.

**Levels** are in shared memory, so any process can change any other's at once (`log_levels.Levels`). A disabled call
costs a look at two integers. Loggers get the class `_Logger` for this; one with a level of its own (``setLevel``)
follows that instead.

**Never log secrets** (passwords, digest responses, database URLs with their password): this module cannot know them.
Control characters in logged text are escaped in the receiver, so that no text can forge a line or drive a terminal.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from multiprocessing_logging import MultiProcessingHandler

from runtime.log_levels import ALERT, NOTICE, Consumers, Levels, clamp, from_python, to_python
from runtime.log_pipe import RecordPipe
from runtime.log_sinks import Sinks, StderrSink, SyslogSink, json_layout, plain_layout, syslog_layout

__all__ = ["ALERT", "NOTICE", "Levels", "Logs", "clamp", "configure", "from_python", "to_python"]

SYSLOG_ADDRESS: Final = "/dev/log"


class _Handler(MultiProcessingHandler):  # type: ignore[misc]
    """The package's handler with another queue."""

    def __init__(self, pipe: RecordPipe, sinks: Sinks) -> None:
        self._pipe = pipe
        super().__init__("log-receiver", sub_handler=sinks)

    @property
    def queue(self) -> RecordPipe:
        return self._pipe

    @queue.setter
    def queue(self, theirs: object) -> None:
        # The package makes its own queue before it starts the receiver. It is dropped here, unused; with the last
        # reference its descriptors and semaphores go.
        pass

    def handleError(self, record: logging.LogRecord) -> None:
        """A log call whose text and arguments do not fit together is a bug to be seen, and no reason to stop."""
        text = f"a log call at {record.filename}:{record.lineno} failed: {sys.exc_info()[1]!r}"
        with suppress(Exception):
            self._pipe.put_nowait(logging.makeLogRecord({**record.__dict__, "msg": text, "exc_text": None}))


def _log_everything() -> int:
    return logging.NOTSET


class _Follows(logging.Logger):
    """A logger that asks the shared level, each time anew."""

    threshold: Callable[[], int] = staticmethod(_log_everything)

    def isEnabledFor(self, level: int) -> bool:
        if self.level or self.disabled:
            return super().isEnabledFor(level)
        return level >= _Follows.threshold() and level > self.manager.disable

    def getEffectiveLevel(self) -> int:
        return self.level or _Follows.threshold()


class _Logger(_Follows):
    pass


class _RootLogger(_Follows, logging.RootLogger):
    pass


class _Takeover:
    """What `configure` changes in the logging module, to be given back."""

    def __init__(self, handler: logging.Handler) -> None:
        root = logging.getLogger()
        self._handlers, self._level, self._root_class = root.handlers[:], root.level, type(root)
        self._logger_class = logging.getLoggerClass()
        root.handlers[:] = [handler]
        root.__class__ = _RootLogger
        root.setLevel(logging.NOTSET)
        logging.setLoggerClass(_Logger)
        # Modules make their loggers when they are imported, which is before anything is configured.
        _change_class(logging.Logger, _Logger)

    def undo(self) -> None:
        root = logging.getLogger()
        root.handlers[:] = self._handlers
        root.__class__ = self._root_class
        logging.setLoggerClass(self._logger_class)
        _change_class(_Logger, logging.Logger)
        root.setLevel(self._level)  # also clears what loggers remember of levels


def _change_class(old: type[logging.Logger], new: type[logging.Logger]) -> None:
    for logger in logging.getLogger().manager.loggerDict.values():
        if type(logger) is old:  # not a placeholder, nor somebody's own class
            logger.__class__ = new


class Logs:
    """The log of one server. Made by `configure`."""

    def __init__(self, pipe: RecordPipe, handler: logging.Handler, sinks: Sinks, levels: Levels) -> None:
        self.levels = levels
        self._pipe = pipe
        self._handler = handler
        self._sinks = sinks
        self._owner_pid = os.getpid()
        self._unsaid_deaths: list[int] = []
        """Pids of the dead for whose end there was no room in the pipe yet."""
        self._takeover = _Takeover(handler)
        _Follows.threshold = levels.threshold_of(None)

    @property
    def lost(self) -> int:
        """Records known to be lost because the log was not read fast enough."""
        return self._pipe.lost

    def in_child(self, name: str, slot: int | None = None) -> None:
        """Log under this name from now on, in a process just forked, up to the level of its slot."""
        self._pipe.enter(name)
        self._sinks.close()
        _Follows.threshold = self.levels.threshold_of(slot)

    def child_died(self, pid: int) -> None:
        """Close a reaped process's account, in the attendant.

        Nothing has to be freed for the others to be heard. But the pid can come again, with serials from 1, so the
        receiver must learn of the death, after the last record: through the same pipe.
        """
        self._handler.acquire()  # one writer at a time
        try:
            self._unsaid_deaths.append(pid)
            while self._unsaid_deaths and self._pipe.put_death(self._unsaid_deaths[0]):
                del self._unsaid_deaths[0]
        finally:
            self._handler.release()

    def close(self) -> None:
        """Write out what is under way, and give the logging module back. In the attendant, after all others."""
        if os.getpid() != self._owner_pid:
            return
        self._takeover.undo()
        self._handler.close()


def configure(
    level: int,
    stderr: bool,
    syslog: bool,
    prefix: str,
    json: bool = False,
    *,
    levels: Levels | None = None,
    consumers: Consumers | None = None,
    syslog_address: str = SYSLOG_ADDRESS,
) -> Logs:
    """Take over the root logger, in the attendant, before the forks. Starts the receiver thread.

    Args:
        level: OpenSIPS's, -3 to 4: what all processes log up to.
        stderr: write lines to standard error, unless `consumers` says something else.
        syslog: write to the local syslog, likewise.
        prefix: goes before each text; "" for none.
        json: lines on standard error are JSON objects.
        levels: where each process's level is kept; by default one level for all, in memory of its own.
        consumers: where it is kept what is written where; by default in memory of its own.
        syslog_address: the syslog's Unix socket.

    Raises:
        RuntimeError: a start method other than fork was chosen; shared memory and this log are made for fork.
    """
    if multiprocessing.get_start_method(allow_none=True) not in {None, "fork"}:
        raise RuntimeError("logging over processes needs the start method fork")
    multiprocessing.set_start_method("fork", force=True)
    logging.addLevelName(NOTICE, "NOTICE")
    logging.addLevelName(ALERT, "ALERT")
    if levels is None:
        levels = Levels.shared(0)
    levels.set(None, level)
    # Both, whatever is wanted now: one that is muted may be wanted later.
    sinks: dict[str, StderrSink | SyslogSink] = {
        "stderror": StderrSink(json_layout(prefix) if json else plain_layout(prefix)),
        "syslog": SyslogSink(syslog_layout(prefix), syslog_address),
    }
    pipe, outlets = RecordPipe(), Sinks(sinks, consumers or Consumers(not stderr, not syslog))
    return Logs(pipe, _Handler(pipe, outlets), outlets, levels)
