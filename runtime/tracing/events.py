"""The Trace Event Format, which chrome://tracing and ui.perfetto.dev open: its events as data, and its JSON.

Source: the "Trace Event Format" of the Chromium project. Times are in microseconds. `X` is a slice of a track, `b` and
`e` the ends of a span that slices may overlap, `s`, `t` and `f` the points of an arrow, each of which belongs to the
slice of its track that it lies in; `i` is a moment, `M` the name of a track.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import msgspec
from msgspec import Struct, field

Args: TypeAlias = dict[str, Any]
"""What is told of an event beside its name."""


class Event(Struct, frozen=True, omit_defaults=True):
    """One event; which of the fields it has depends on `ph`.

    Args:
        name: what is shown.
        ph: the kind of event, see above.
        ts: when it is, or begins.
        pid, tid: its track.
        cat: its category, by which events can be chosen.
        dur: how long an `X` takes.
        id: what joins `b` with `e`, and the points of an arrow, within a category.
        bp: `e` for an arrow's end that belongs to the slice around it, and not to the next one.
        s: of an `i`: `p` where it concerns a whole process, `g` where it concerns all.
        cname: one of the viewer's colours.
        args: what is told beside.
    """

    name: str
    ph: str
    ts: float
    pid: int
    tid: int
    cat: str = ""
    dur: float | None = None
    id: str | None = None
    bp: str | None = None
    s: str | None = None
    cname: str | None = None
    args: Args = field(default_factory=dict)

    @property
    def end(self) -> float:
        """When it ends: of a slice `dur` later."""
        return self.ts + (self.dur or 0.0)


class Trace(Struct, frozen=True):
    """A file of them.

    Args:
        events: in the order of their times, the names of tracks first.
        other: what is told of the whole.
        unit: in which times are shown.
    """

    events: list[Event] = field(name="traceEvents")
    other: Args = field(name="otherData", default_factory=dict)
    unit: str = field(name="displayTimeUnit", default="ms")


def pack_trace(trace: Trace) -> bytes:
    """A trace as the file that viewers open."""
    return msgspec.json.encode(trace)


def read_trace(data: bytes) -> Trace:
    """Read such a file back.

    Raises:
        ValueError: it is none.
    """
    try:
        return msgspec.json.decode(data, type=Trace)
    except msgspec.DecodeError as error:
        raise ValueError(f"not a trace: {error}") from None
