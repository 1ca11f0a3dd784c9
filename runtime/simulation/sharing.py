"""What a script carries over a parking in a variable that all processes share, where another message may change it.

An AVP goes with its message. A `$shv` does not: between what a message writes and what it reads after it was resumed,
every other one may have been there. That is what a `$shv` is for where something is counted; where a message keeps
something of its own in it, it reads another one's. So this remembers what each message has written, and says so when it
reads something else after it was parked. What makes something of what was there before, as counting does, is left out.

Like `kernel` this stands in an interpreter that only simulates.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import wraps
from types import FrameType
from typing import Final

from runtime.context import Context, Value
from runtime.modules.cfgutils import Cfgutils
from runtime.program import Program
from runtime.script import tree
from runtime.script.check import Checked
from runtime.script.problems import Place
from runtime.simulation.clock import CLOCK, put
from runtime.simulation.events import SharedChanged
from runtime.simulation.kernel import KERNEL
from runtime.sip.message import Request
from runtime.whereabouts import statement_on

_Counting = frozenset[tuple[str, int, str]]


@dataclass(slots=True)
class _Written:
    value: Value
    line: int
    parked_line: int = 0


class Sharing:
    """What the messages of one process have written into shared variables. There is one in each process."""

    def __init__(self) -> None:
        self._process = ""
        self._program: Program | None = None
        self._counting: tuple[Checked, _Counting] | None = None
        self._written: dict[int, tuple[Context, dict[str, _Written]]] = {}
        """By the identity of a context, which is kept so that no other one can have it."""

    def enter(self, process: str, program: Program) -> None:
        """After the fork: this is the process of that name, with that script."""
        self._process, self._program = process, program

    def parked(self, context: Context, place: Place) -> None:
        """A context was put aside by the statement there."""
        for written in self._of(context).values():
            written.parked_line = written.parked_line or place.line

    def wrote(self, context: Context, name: str, value: Value, frame: FrameType) -> None:
        """The statement on that stack has given `$shv(name)` a value."""
        place = self._place(frame)
        if place is None or self._counts(place, name):
            self._of(context).pop(name, None)
        else:
            self._written.setdefault(id(context), (context, {}))[1][name] = _Written(value, place.line)

    def read(self, context: Context, name: str, value: Value, frame: FrameType) -> None:
        """The statement on that stack reads `$shv(name)`."""
        written = self._of(context).get(name)
        if written is None or not written.parked_line or value == written.value:
            return
        place = self._place(frame)
        if place is None or self._counts(place, name):
            return
        del self._of(context)[name]
        message = context.message
        call = message.call_id if isinstance(message, Request) and context.source is not None else ""
        at_s, lines = CLOCK.at_s, (place.line, written.line, written.parked_line)
        KERNEL.note(SharedChanged(at_s, self._process, call, f"$shv({name})", str(place.file), *lines))

    def _of(self, context: Context) -> dict[str, _Written]:
        found = self._written.get(id(context))
        return {} if found is None else found[1]

    def _place(self, frame: FrameType) -> Place | None:
        statement = statement_on(frame)
        return None if statement is None else statement.place

    def _counts(self, place: Place, name: str) -> bool:
        if self._program is None:
            return False
        checked = self._program.checked
        if self._counting is None or self._counting[0] is not checked:
            self._counting = checked, counting_in(checked.routes)
        return (str(place.file), place.line, name) in self._counting[1]


SHARING: Final = Sharing()


def counting_in(routes: Iterable[tree.Route]) -> _Counting:
    """Where a script makes something of what a shared variable was: file and line of the statement, and its name."""
    found: set[tuple[str, int, str]] = set()
    named: Counter[tuple[str, int, str]] = Counter()
    for item in tree.everything_in(tuple(routes)):
        match item:
            case tree.Variable(name="shv", inner=tree.Format(constant=str() as name), place=place):
                named[str(place.file), place.line, name] += 1
            case tree.Assign(
                target=tree.Variable(name="shv", inner=tree.Format(constant=str() as name)), place=place
            ) if item.operator not in ("=", ":=") or _names(item.value, name):
                found.add((str(place.file), place.line, name))
    # A script in Python is flat here: what its line names is not within the assignment that stands there.
    return frozenset(found | {key for key, times in named.items() if times > 1})


def _names(node: object, name: str) -> bool:
    named = (item for item in tree.everything_in(node) if isinstance(item, tree.Variable) and item.name == "shv")
    return any(item.inner is not None and item.inner.constant == name for item in named)


def install() -> None:
    """From now on it is told of each shared variable that is read and written."""
    read, write = Cfgutils.shv, Cfgutils.set_shv

    @wraps(read)
    def shv(self: Cfgutils, c: Context, inner: str) -> Value:
        value = read(self, c, inner)
        SHARING.read(c, inner, value, sys._getframe(1))
        return value

    @wraps(write)
    def set_shv(self: Cfgutils, c: Context, inner: str, value: Value) -> None:
        write(self, c, inner, value)
        SHARING.wrote(c, inner, 0 if value is None else value, sys._getframe(1))

    put(Cfgutils, "shv", shv)
    put(Cfgutils, "set_shv", set_shv)
