"""What a process writes down while it is recorded: the clock, the choice of calls, and what statements take."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from time import monotonic_ns, time_ns
from typing import Final, TypeAlias

from runtime.context import Context, RouteType
from runtime.program import Program
from runtime.pyscript.words import Rc
from runtime.script.compile import RUNS_AS
from runtime.script.problems import Place
from runtime.script.script import Script
from runtime.tracing.order import Order, call_of, chooser, label_of, number_of
from runtime.tracing.recording import Recording
from runtime.tracing.records import Command, Given, Message, Record, Run, Sent, Stretch, clean

_OF_NO_CALL: Final = (RouteType.STARTUP, RouteType.TIMER, RouteType.EVENT)
"""Routes that no message brought about: they are always written down."""
_KINDS: Final = {kind: word for word, kind in RUNS_AS.items()}
Mark: TypeAlias = tuple[Place | None, int]
"""The statement that runs, and since when."""


class Recorder:
    """One process's.

    Args:
        order: what is to be recorded.
        recording: where it goes.

    Attributes:
        on: whether what runs now belongs to a call that was chosen; None where no message was taken and none is taken
            up. Whoever sets it puts back what was there.
        closed: whether nothing is written any more. Contexts that were parked meanwhile still know this recorder.
    """

    def __init__(self, order: Order, recording: Recording) -> None:
        self.order = order
        self.on: bool | None = None
        self.closed = False
        self.follows = chooser(order)
        """Whether a message is to be recorded, by its bytes."""
        self._recording = recording
        self._least_ns = order.least_ns
        self._mark: Mark = (None, 0)
        self._plain: Script | None = None
        self._watched: Script | None = None

    @staticmethod
    def now() -> int:
        """The time, as records have it."""
        return monotonic_ns()

    def put(self, record: Record) -> None:
        """Write a record down."""
        if not self.closed:
            self._recording.put(record)

    def close(self) -> None:
        """Write no more."""
        if not self.closed:
            self.on, self.closed = None, True
            self._recording.close(monotonic_ns())

    # Which calls.

    def follows_context(self, context: Context) -> bool:
        """Whether what runs on a context is."""
        return context.route in _OF_NO_CALL or self.follows(context.message.raw)

    def _call(self, data: bytes) -> str:
        call_id = call_of(data)
        if self.order.call_ids:
            return clean(call_id.decode("utf-8", "replace"))
        return f"#{number_of(call_id, self.order.seed):08x}"

    # What happened.

    def message(self, began: int, data: bytes, received_ns: int, hops: int) -> None:
        """A message has been dealt with.

        Args:
            began: when that began.
            data: its bytes.
            received_ns: when the kernel received it, in nanoseconds of the epoch; 0 where that is not known.
            hops: how often it was handed over before.
        """
        now = monotonic_ns()
        waited = max(0, time_ns() - now + began - received_ns) if received_ns > 1 else 0
        self.put(Message(began, now - began, label_of(data), self._call(data), waited, hops))

    def given(self, at: int, data: bytes, hops: int) -> None:
        """A message was given to another process, as one that has been given so often."""
        self.put(Given(at, label_of(data), self._call(data), hops))

    def run(self, began: int, context: Context, ended: str) -> None:
        """A route has run."""
        kind = _KINDS.get(context.route, "route")
        self.put(Run(began, monotonic_ns() - began, kind, clean(context.route_name), ended))

    def command(self, began: int, name: str, code: int, *, later: bool = False) -> None:
        """An MI command has been run."""
        self.put(Command(began, monotonic_ns() - began, name, code, later))

    def sent(self, began: int, data: bytes) -> None:
        """A message was sent."""
        self.put(Sent(began, monotonic_ns() - began, label_of(data)))

    # Statements.

    def script(self, program: Program) -> Script:
        """The program's script, compiled so that its statements say when they begin; after a reload the newer one."""
        if program.script is self._watched:
            return program.script
        if self._plain is not program.script or self._watched is None:
            self._plain = program.script
            self._watched = program.watched(self._watch, self._watch_method)
        return self._watched

    def _watch_method(self, name: str, method: Callable[..., Rc]) -> Callable[..., Rc]:
        called = f"call.{name}"

        def watched(*arguments: object, **named: object) -> Rc:
            if not self.on:
                return method(*arguments, **named)
            began = monotonic_ns()
            try:
                return method(*arguments, **named)
            finally:
                frame = sys._getframe(1)
                self.called(began, called, frame.f_code.co_filename, frame.f_lineno)

        return watched

    def called(self, began: int, name: str, file: str, line: int) -> None:
        """A script in Python has called something."""
        took = monotonic_ns() - began
        if took >= self._least_ns:
            self.put(Stretch(began, took, clean(file), line, 1, name))

    def _watch(self, place: Place) -> Callable[[], object]:
        return partial(self._reached, place)

    def _reached(self, place: Place) -> None:
        if self.on:
            now = monotonic_ns()
            before, since = self._mark
            if before is not None and now - since >= self._least_ns:
                self._stretch(before, since, now)
            self._mark = place, now

    def begin_run(self) -> Mark:
        """A route begins; what was running on the stack below it, for `end_run`."""
        below, self._mark = self._mark, (None, 0)
        return below

    def end_run(self, below: Mark) -> None:
        """It has ended, and what was running below it goes on."""
        (place, since), self._mark = self._mark, below
        now = monotonic_ns()
        if place is not None and now - since >= self._least_ns:
            self._stretch(place, since, now)

    def _stretch(self, place: Place, since: int, now: int) -> None:
        self.put(Stretch(since, now - since, clean(place.file), place.line, place.column))
