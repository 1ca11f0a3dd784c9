"""Arrows between processes: from who asked for a job to who ran it and back, and from giver to taker of a message."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from runtime.tracing.events import Event
from runtime.tracing.records import Given, Message, Recorded

_POINT_US: Final = 1.0


class _Point(NamedTuple):
    ts: float
    pid: int
    tid: int
    name: str


class Arrows:
    """From the asking for a job to each process that ran it, and back to what came of it; or from giver to taker.

    Args:
        name: what they are called.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._points: dict[str, list[_Point]] = {}

    def point(self, job: str, ts: float, pid: int, tid: int, name: str) -> None:
        """A point of a job's arrow, and what its slice is called where it turns out to lie in none."""
        self._points.setdefault(job, []).append(_Point(ts, pid, tid, name))

    def events(self, others: Iterable[Event]) -> list[Event]:
        """The arrows of jobs of which more than one end is known.

        Args:
            others: all other events.
        """
        slices: dict[int, list[Event]] = {}
        for event in others:
            if event.ph == "X":
                slices.setdefault(event.tid, []).append(event)
        outlines = {tid: _Outline(events) for tid, events in slices.items()}
        found: list[Event] = []
        for job, points in self._points.items():
            points.sort()
            if len(points) < 2:
                continue
            for number, point in enumerate(points):
                if (missing := outlines.setdefault(point.tid, _Outline()).missing_at(point)) is not None:
                    found.append(missing)
                ph = "s" if number == 0 else "f" if number == len(points) - 1 else "t"
                bp = "e" if ph == "f" else None
                found.append(Event(self._name, ph, point.ts, point.pid, point.tid, self._name, id=job, bp=bp))
        return found


class _Outline:
    """Where a track has slices at all."""

    def __init__(self, slices: Iterable[Event] = ()) -> None:
        self._starts: list[float] = []
        self._ends: list[float] = []
        for event in sorted(slices, key=lambda one: one.ts):
            if self._ends and event.ts <= self._ends[-1]:
                self._ends[-1] = max(self._ends[-1], event.end)
            else:
                self._starts.append(event.ts)
                self._ends.append(event.end)

    def missing_at(self, point: _Point) -> Event | None:
        """A short slice to be put there where there is none: the one around it was never ended, or not recorded."""
        after = bisect_right(self._starts, point.ts)
        if after and point.ts <= self._ends[after - 1]:
            return None
        room = self._starts[after] - point.ts if after < len(self._starts) else _POINT_US
        dur = min(_POINT_US, room / 2)
        self._starts.insert(after, point.ts)
        self._ends.insert(after, point.ts + dur)
        return Event(point.name, "X", point.ts, point.pid, point.tid, "job", dur, args={"end": "not recorded"})


def handovers(recordings: Iterable[Recorded], pids: Mapping[str, int], began: int) -> Arrows:
    """From each message that was given away to where it was taken: the same one, by as many hands, the next in time."""
    given: dict[tuple[str, str, int], list[tuple[int, int]]] = {}
    taken: list[tuple[int, int, tuple[str, str, int]]] = []
    for one in recordings:
        pid = pids[one.who.peer]
        for record in one.records:
            if isinstance(record, Given):
                given.setdefault((record.call, record.label, record.hops), []).append((record.at, pid))
            elif isinstance(record, Message) and record.hops:
                taken.append((record.at, pid, (record.call, record.label, record.hops)))
    arrows = Arrows("handed over")
    for at, pid, key in sorted(taken):
        before = sorted(one for one in given.get(key, ()) if one[0] <= at and one[1] != pid)
        if before:
            given[key].remove(before[0])
            name = f"{key[0]} {key[1]} {before[0][0]}"
            for ts, where in (before[0], (at, pid)):
                arrows.point(name, round((ts - began) / 1000, 3), where, where, key[1])
    return arrows
