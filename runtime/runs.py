"""The words of a run: what a process does with a route, how it ends, and what is kept of one that is put aside."""

from __future__ import annotations

import enum
from collections.abc import Callable
from sys import getrefcount
from types import SimpleNamespace
from typing import Final

from msgspec import Struct

from runtime.context import Context, Document, Value
from runtime.packed import Packed, pack, unpack
from runtime.script.problems import Place
from runtime.script.script import Exit, Script
from runtime.sip.message import Reply, dummy_request
from workers.jobs import Outcome

Route = Callable[[Context], Exit | None]

UNWRITABLE: Final = -3
"""`$rc` where an outcome could not be written."""


class Ended(enum.Enum):
    """How a run came to its end, however often it was parked on the way."""

    WELL = "well"
    DROPPED = "dropped"  # by `drop`: in a reply route and a branch route the message goes no further
    FAILED = "failed"  # a statement raised, or a resume route is not there any more
    ELSEWHERE = "elsewhere"  # another process turned out to have the message


Then = Callable[[Context, Ended], None]
"""What the process does with a context when its run has come to its end."""
Done = Callable[[int, Reply | None], None]
"""Told how a request of our own ended: the final status and the reply; no reply where we made the status ourselves."""


def unwritten(context: Context, outcome: Outcome) -> int:
    """The outcome of a job that is the only one of nothing that is parked."""
    return UNWRITABLE


class Parked(Struct, gc=False):
    """A context that waits for its job.

    Args:
        kept: the context, or what it is packed as.
        resume: what runs when the job has ended: a route by itself, or the rest of one.
        script: the one it was parked under; a reload does not change where it resumes.
        variables: the `$var`s as they were; the process's own go on changing meanwhile.
        documents: the `$json`s, likewise.
        then: what follows when the run that parked has come to its end.
        abandon: called where it will never be resumed.
        finish: writes the outcome of its job into the context, where it waits for one job.
        cancel: called where nobody wants it any more; None where it waits for one job.
    """

    kept: Context | Packed
    resume: Route
    script: Script
    place: Place
    variables: dict[str, Value]
    documents: dict[str, Document]
    then: Then
    abandon: Callable[[], None]
    finish: Callable[[Context, Outcome], int] = unwritten
    cancel: Callable[[], None] | None = None

    @property
    def context(self) -> Context:
        """What waits."""
        kept = self.kept
        if not isinstance(kept, Context):
            self.kept = kept = unpack(kept)
        return kept

    def pack(self) -> Context | None:
        """Keep the context in little room where nobody else has it, and else its message.

        Not while anything on the stack works on it.

        Returns:
            what was packed.
        """
        alone = _holders(self) <= _ALONE
        context = self.kept
        if not isinstance(context, Context):
            return None
        packed = pack(context) if alone else None
        if packed is None:
            context.message.compact()
            return None
        self.kept = packed
        return context


def _holders(owner: Parked | SimpleNamespace) -> int:
    kept = owner.kept
    return getrefcount(kept)


_ALONE: Final = _holders(SimpleNamespace(kept=Context(dummy_request())))
"""Those that hold a context which nobody else has. Counted and not written down: how many a call and a name add differs
between the releases of Python."""


class Launched(Struct, frozen=True):
    """What is left of a `launch()` until its report."""

    report: Route | None
    param: str | None
    script: Script
    place: Place
    dialog: str | None = None


def nothing_more(context: Context, ended: Ended) -> None:
    """What follows a route behind which nothing waits: a timer's, a report's."""
