"""The recordings of all processes as one trace.

A process that was killed has written no end of what it had begun, and one whose file was full neither: such spans are
ended here, and say so. Of an arrow every point must lie in a slice, and there must be two at least.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePath
from typing import Final, NamedTuple, assert_never

from runtime.tracing.arrows import Arrows, handovers
from runtime.tracing.events import Args, Event, Trace
from runtime.tracing.order import ALL, Order
from runtime.tracing.records import (
    Asked,
    Began,
    Command,
    Died,
    Ended,
    Given,
    Later,
    Message,
    Over,
    Parked,
    Record,
    Recorded,
    Reloaded,
    Resumed,
    Run,
    Sent,
    Stretch,
)

_NOTICEABLE_NS: Final = 50_000
"""A message that lay in its socket for less has not waited."""
_PIDS: Final = 1 << 22
"""More than the kernel has (PID_MAX_LIMIT)."""
_BAD: Final = "terrible"
_LOST: Final = "WorkerLost"


class _Death(NamedTuple):
    at: int
    reason: str


def trace_of(order: Order, recordings: Sequence[Recorded]) -> Trace:
    """Make one trace of what the processes have written.

    Args:
        order: what they followed. Recordings of another order are left out.
        recordings: in any order.
    """
    ours = sorted(
        (one for one in recordings if one.who.order == order.id), key=lambda one: (one.who.slot, one.who.incarnation)
    )
    deaths = _deaths(ours)
    ends = max([order.began_ns, *(_end_of(record) for one in ours for record in one.records)])
    jobs = None if order.chosen >= ALL else _asked(ours)
    pids = _pids(ours)
    arrows = Arrows("job")
    tracks = [_Track(one, pids[one.who.peer], order.began_ns, ends, deaths, jobs, arrows) for one in ours]
    for track in tracks:
        track.read()
    events = [event for track in tracks for event in track.events]
    events += arrows.events(events)
    events += handovers(ours, pids, order.began_ns).events(events)
    events += _strangers(deaths, pids, order.began_ns)
    events.sort(key=lambda event: (event.ph != "M", event.ts, -(event.dur or 0.0)))
    return Trace(events, _other(order, ours, ends))


def _other(order: Order, recordings: Sequence[Recorded], ends: int) -> Args:
    return {
        "recorder": "layby",
        "began": order.epoch_ns / 1e9,
        "seconds": round((ends - order.began_ns) / 1e9, 6),
        "share": order.chosen / ALL,
        "least_us": order.least_ns / 1000,
        "events": sum(len(one.records) for one in recordings),
        "dropped": {one.who.peer: one.dropped for one in recordings if one.dropped},
    }


def _deaths(recordings: Iterable[Recorded]) -> dict[str, _Death]:
    """Who died, when that was first heard, and of what."""
    found: dict[str, _Death] = {}
    for one in recordings:
        for record in one.records:
            if isinstance(record, Died):
                known = found.get(record.peer)
                if known is None or record.at < known.at:
                    found[record.peer] = _Death(record.at, record.reason)
    return found


def _asked(recordings: Iterable[Recorded]) -> set[str]:
    return {record.job for one in recordings for record in one.records if isinstance(record, Asked)}


def _pids(recordings: Iterable[Recorded]) -> dict[str, int]:
    """A number for each life of each process: its PID, unless an earlier one had the same."""
    found: dict[str, int] = {}
    taken: set[int] = set()
    for one in recordings:
        pid = one.who.pid
        while pid in taken:
            pid += _PIDS
        taken.add(pid)
        found[one.who.peer] = pid
    return found


def _end_of(record: Record) -> int:
    match record:
        case Message() | Run() | Stretch() | Command() | Sent() | Resumed() | Reloaded():
            return record.at + record.took
        case Asked() | Parked() | Began() | Later() | Over() | Died() | Ended() | Given():
            return record.at
        case _:
            assert_never(record)


class _Beside(NamedTuple):
    """Something that other things may have overlapped."""

    at: int
    until: int
    name: str
    cat: str
    told: Args
    job: str = ""


class _Track:
    """One life of one process: its slices, and the spans that may overlap them."""

    def __init__(
        self,
        recorded: Recorded,
        pid: int,
        began: int,
        ends: int,
        deaths: Mapping[str, _Death],
        jobs: set[str] | None,
        arrows: Arrows,
    ) -> None:
        self.pid = pid
        self.events: list[Event] = []
        self._who = recorded.who
        self._recorded = recorded
        self._began = began
        self._ends = ends
        self._death = deaths.get(recorded.who.peer)
        self._jobs = jobs
        self._arrows = arrows
        self._parked: dict[str, Parked] = {}
        self._running: dict[str, Began] = {}
        self._goes_on: set[str] = set()
        """Which of them run beside others."""
        self._beside: list[_Beside] = []
        self._spans = 0

    def read(self) -> None:
        """Make events of its records."""
        self._name()
        stopped: int | None = None
        for record in self._recorded.records:
            if isinstance(record, Ended):
                stopped = record.at
            self._add(record)
        self._finish(stopped)

    def _name(self) -> None:
        who = self._who
        shown = f"{who.peer} {who.title}"
        self._meta("process_name", {"name": shown})
        self._meta("thread_name", {"name": shown})
        self._meta("process_sort_index", {"sort_index": who.slot * 1000 + who.incarnation})
        if who.born:
            self._moment("born", who.since_ns)

    def _add(self, record: Record) -> None:
        match record:
            case Message():
                self._message(record)
            case Run():
                shown = f"{record.kind}[{record.name}]" if record.name else record.kind
                self._slice(shown, "route", record.at, record.took, {"ended": record.ended})
            case Stretch():
                shown = record.called or f"{PurePath(record.file).name}:{record.line}"
                where = f"{record.file}:{record.line}:{record.column}"
                self._slice(shown, "statement", record.at, record.took, {"place": where})
            case Command():
                self._command(record)
            case Sent():
                self._slice(f"send {record.label}", "sent", record.at, record.took, {})
            case Reloaded():
                self._slice("reload the script", "reload", record.at, record.took, {"generation": record.generation})
            case Asked():
                self._arrows.point(record.job, self._us(record.at), self.pid, self.pid, f"ask for {record.label}")
            case Parked():
                self._parked[record.job] = record
            case Resumed():
                self._resumed(record)
            case Began() | Later() | Over():
                if self._jobs is None or record.job in self._jobs:
                    self._job(record)
            case Died() | Ended() | Given():
                pass
            case _:
                assert_never(record)

    def _message(self, record: Message) -> None:
        told: Args = {"call": record.call}
        if record.hops:
            told["handed over"] = record.hops
        if record.waited:
            told["waited_us"] = record.waited / 1000
        self._slice(record.label, "message", record.at, record.took, told)
        if record.waited >= _NOTICEABLE_NS:
            since = max(self._began, record.at - record.waited)
            self._span(f"{record.label} in the socket", "socket", since, record.at, {})

    def _command(self, record: Command) -> None:
        shown = f"mi {record.name}"
        told: Args = {"error": record.code} if record.code else {}
        if record.later:
            self._beside.append(_Beside(record.at, record.at + record.took, shown, "command", told))
        else:
            self._slice(shown, "command", record.at, record.took, told)

    def _resumed(self, record: Resumed) -> None:
        shown = "report" if record.reports else "resume"
        told: Args = {"jobs": record.jobs, "outcomes": record.outcomes, "workers": record.workers}
        self._slice(shown, "resume", record.at, record.took, told)
        for job in record.jobs:
            self._arrows.point(job, self._us(record.at), self.pid, self.pid, shown)
            parked = self._parked.pop(job, None)
            if parked is not None:
                self._waited(parked, record.at, {"outcome": ", ".join(dict.fromkeys(record.outcomes))})

    def _waited(self, parked: Parked, until: int, told: Args) -> None:
        place = f"{parked.file}:{parked.line}"
        self._span(f"parked: {parked.label}", "parking", parked.at, until, {"place": place, **told}, parked.job)

    def _job(self, record: Began | Later | Over) -> None:
        match record:
            case Began():
                self._running[record.job] = record
            case Later():
                self._goes_on.add(record.job)
            case Over():
                began = self._running.pop(record.job, None)
                if began is not None:
                    self._ended(began, record.at, {})
            case _:
                assert_never(record)

    def _ended(self, began: Began, at: int, told: Args) -> None:
        shown = f"job {began.label}"
        args: Args = {"job": began.job, **told}
        if began.job in self._goes_on:
            self._beside.append(_Beside(began.at, at, shown, "job", args, began.job))
            return
        self._slice(shown, "job", began.at, at - began.at, args)
        self._arrows.point(began.job, self._us(began.at), self.pid, self.pid, shown)

    def _lanes(self) -> None:
        """What ran beside others, in as few more tracks of the process as have room for it."""
        ends: list[int] = []
        for one in sorted(self._beside, key=lambda one: one[:3]):
            lane = next((number for number, until in enumerate(ends) if until <= one.at), len(ends))
            tid = self.pid + (lane + 1) * _PIDS
            if lane == len(ends):
                self._meta("thread_name", {"name": f"{self._who.peer} beside {lane + 1}"}, tid)
            ends[lane : lane + 1] = [one.until]
            self._slice(one.name, one.cat, one.at, one.until - one.at, one.told, tid)
            if one.job:
                self._arrows.point(one.job, self._us(one.at), self.pid, tid, one.name)

    def _finish(self, stopped: int | None) -> None:
        """End what has no end in the recording, and say why."""
        death = self._death
        until = stopped or (self._ends if death is None else death.at)
        why: Args = {"unfinished": True}
        if self._recorded.dropped:
            why = {"end": "not recorded"}
        elif stopped is None and death is not None:
            why = {"lost": death.reason}
        for began in self._running.values():
            self._ended(began, max(until, began.at), why)
        for parked in self._parked.values():
            self._waited(parked, max(until, parked.at), why)
        self._lanes()
        if death is not None:
            self._moment(f"ended: {death.reason}", death.at)

    # Events.

    def _us(self, at: int) -> float:
        return round((at - self._began) / 1000, 3)

    def _slice(self, name: str, cat: str, at: int, took: int, told: Args, tid: int = 0) -> None:
        dur = round(took / 1000, 3)
        bad = "lost" in told or _LOST in told.get("outcomes", ())
        cname = _BAD if bad else None
        event = Event(name, "X", self._us(at), self.pid, tid or self.pid, cat, dur, cname=cname, args=told)
        self.events.append(event)

    def _span(self, name: str, cat: str, at: int, until: int, told: Args, id: str | None = None) -> None:
        self._spans += 1
        number = id or f"{self._who.peer}/{self._spans}"
        pid = self.pid
        self.events.append(Event(name, "b", self._us(at), pid, pid, cat, id=number, args=told))
        self.events.append(Event(name, "e", self._us(until), pid, pid, cat, id=number))

    def _moment(self, name: str, at: int) -> None:
        self.events.append(Event(name, "i", max(0.0, self._us(at)), self.pid, self.pid, "process", s="p"))

    def _meta(self, name: str, told: Args, tid: int = 0) -> None:
        self.events.append(Event(name, "M", 0.0, self.pid, tid or self.pid, args=told))


def _strangers(deaths: Mapping[str, _Death], pids: Mapping[str, int], began: int) -> list[Event]:
    """The ends of processes of which there is no recording, on the first track that there is."""
    if not pids:
        return []
    first = next(iter(pids.values()))
    return [
        Event(f"{peer} ended: {death.reason}", "i", round((death.at - began) / 1000, 3), first, first, "process", s="g")
        for peer, death in deaths.items()
        if peer not in pids
    ]
