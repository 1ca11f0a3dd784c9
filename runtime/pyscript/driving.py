"""How a process drives the coroutine of a route in Python.

By hand, without a task: what the coroutine yields says what it waits for; the message is parked with the rest of the
coroutine as what resumes, and what came of it is sent in, in a turn of the loop of its own. A Task and a Future for
each message would cost five times what the route itself does.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Awaitable, Callable, Coroutine
from types import CoroutineType, FrameType
from typing import Any, Final

from runtime.context import Context, RouteType, Value
from runtime.futures import FutureRequest
from runtime.pyscript.call import Call
from runtime.pyscript.hooks import PyHooks
from runtime.pyscript.waits import Wait
from runtime.pyscript.words import Cancelled, Drop, Ending
from runtime.script.compile import place_of
from runtime.script.declare import Begin, Refused
from runtime.script.problems import Place, ScriptError
from runtime.script.script import DROP, EXIT, Exit, RouteCode
from workers.jobs import Outcome, TimedOut

log = logging.getLogger("layby.script")

_TIMED_OUT: Final = -408
_CANCELLED: Final = -487

_Coroutine = Coroutine[Any, Any, None]


class Driver:
    """Runs the functions of one script.

    Args:
        hooks: what the process does.
        make: makes the call that a function gets.
        files: the script's own files, by whose lines errors are told.
        timeout_s: seconds after which a future is waited for no longer.
    """

    def __init__(
        self, hooks: PyHooks, make: Callable[[Context], Call], files: frozenset[str], timeout_s: float
    ) -> None:
        self.hooks = hooks
        self.timeout_s = timeout_s
        self._make = make
        self._files = files

    def code(
        self, function: Callable[[Call], Awaitable[None] | None], name: str, runs_as: RouteType | None, head: Place
    ) -> RouteCode:
        """A function as a route that others run.

        Args:
            function: of the script.
            name: what `$route.name` says.
            runs_as: the kind of route; None for that of whoever runs it.
            head: where it stands.
        """

        def run(c: Context) -> Exit | None:
            if runs_as is not None:
                c.route = runs_as
            c.route_name = name
            return self.run(c, function, head)

        return run

    def run(self, c: Context, function: Callable[[Call], Awaitable[None] | None], head: Place) -> Exit | None:
        """Run a function until it has ended or waits.

        Raises:
            ScriptError: it raised.
        """
        try:
            found = function(self._make(c))
            if isinstance(found, CoroutineType):
                return self.step(c, found, head, found.send, None)
        except BaseException as cause:
            return self.ended_by(cause, head)
        return None

    def step(
        self, c: Context, coroutine: _Coroutine, head: Place, go: Callable[[Any], Any], word: object
    ) -> Exit | None:
        """Let a coroutine go on until it has ended or waits again."""
        try:
            wanted = go(word)
        except StopIteration:
            return None
        return _Rest(self, coroutine, head, c).wait_for(c, wanted)

    def ended_by(self, cause: BaseException, head: Place) -> Exit | None:
        """How what a function raised ends the script. Raises ScriptError where that is an error."""
        match cause:
            case Drop():
                return DROP
            case Ending() | Cancelled():
                return EXIT
            case _:
                raise ScriptError(place_of(cause.__traceback__, head, self._is_ours), cause) from cause

    def statement(self) -> Place | None:
        """The statement of the script that is running on this stack."""
        frame: FrameType | None = sys._getframe(1)
        while frame is not None and not self._is_ours(frame):
            frame = frame.f_back
        return None if frame is None else Place(frame.f_code.co_filename, frame.f_lineno, 1)

    def _is_ours(self, frame: FrameType) -> bool:
        return frame.f_code.co_filename in self._files


class _Rest:
    """What is left of a route that waits."""

    __slots__ = ("_coroutine", "_driver", "_head", "_name", "_params", "_raises")

    def __init__(self, driver: Driver, coroutine: _Coroutine, head: Place, c: Context) -> None:
        self._driver = driver
        self._coroutine = coroutine
        self._head = head
        self._name: str = c.route_name
        self._params: tuple[Value, ...] = c.params
        self._raises: Exception | None = None

    def wait_for(self, c: Context, wanted: object) -> Exit | None:
        """Park the message until there is what the coroutine waits for."""
        try:
            begin = self._begin(wanted)
        except Exception as wrong:
            return self._driver.step(c, self._coroutine, self._head, self._coroutine.throw, wrong)
        if not self._driver.hooks.wait(c, begin, self.resume, self._place(), abandon=self.abandon):
            self.abandon()
        return EXIT

    def _begin(self, wanted: object) -> Begin | FutureRequest:
        if isinstance(wanted, Wait):
            return wanted.begin()
        if wanted is None:  # asyncio.sleep(0)
            return Refused(lambda context: context.rc)
        if asyncio.isfuture(wanted):
            wanted._asyncio_future_blocking = False  # as a Task says that it has understood
            return FutureRequest(wanted, self._driver.timeout_s, self._future_ended)
        raise TypeError(f"a route waits for commands and futures, not for {type(wanted).__name__}")

    def _future_ended(self, context: Context, ending: Outcome | None) -> int:
        match ending:
            case None:
                return context.rc
            case TimedOut(timeout_s):
                self._raises = TimeoutError(f"not done within {timeout_s:g} s")
                return _TIMED_OUT
            case _:
                self._raises = Cancelled("the caller has given up")
                return _CANCELLED

    def _place(self) -> Place:
        frame = getattr(self._coroutine, "cr_frame", None)
        return Place(self._head.file, frame.f_lineno if frame else self._head.line, 1)

    def resume(self, c: Context) -> Exit | None:
        """Let the coroutine go on: what it waited for is there."""
        c.route_name, c.params = self._name, self._params
        coroutine, go = self._coroutine, self._coroutine.send
        try:
            if self._raises is not None:
                return self._driver.step(c, coroutine, self._head, coroutine.throw, self._raises)
            return self._driver.step(c, coroutine, self._head, go, None)
        except BaseException as cause:
            return self._driver.ended_by(cause, self._head)

    def abandon(self) -> None:
        """Close the coroutine: it will not be resumed, but its `finally` blocks run."""
        try:
            self._coroutine.close()
        except BaseException as cause:
            try:
                self._driver.ended_by(cause, self._head)
            except ScriptError as error:
                log.error("%s", error)
