"""A trace of what processes have written is one that every viewer can show, wherever they stopped writing."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from hypothesis import event, given
from hypothesis import strategies as st

from runtime.tracing.events import Event, pack_trace, read_trace
from runtime.tracing.order import ALL, Order
from runtime.tracing.picture import Window, draw, window_of
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
    Who,
)
from runtime.tracing.summary import summary_of
from runtime.tracing.timeline import trace_of
from tests.trace_checker import problems

BEGAN = 1_000_000_000
ORDER = Order("order", BEGAN, BEGAN + 10**10, 1_700_000_000_000_000_000)
NAMES = st.text("ab<&\"'>é ", min_size=1, max_size=8)


def who(name: str, slot: int, incarnation: int = 1, pid: int | None = None) -> Who:
    return Who("order", name, incarnation, pid or 100 + slot, slot, "some kind", BEGAN, True)


class Process:
    """Writes as a process does: what lies within something is written before it, for it ends before."""

    def __init__(self, draw: st.DrawFn, name: str, slot: int, at: int) -> None:
        self.draw = draw
        self.who = who(name, slot)
        self.at = at
        self.records: list[Record] = []

    def passes(self) -> int:
        self.at += self.draw(st.integers(0, 200_000))
        return self.at

    def turn(self, jobs: list[str], awaited: list[str]) -> None:
        """A message, with a route, statements, and perhaps a job that is asked for."""
        began = self.passes()
        route = self.passes()
        for line in range(1, self.draw(st.integers(0, 3)) + 1):
            at = self.passes()
            if self.draw(st.booleans()):
                command = self.passes()
                self.records.append(Command(command, self.passes() - command, self.draw(NAMES), 0))
            self.records.append(Stretch(at, self.passes() - at, "/x/route.cfg", line, 1))
        if self.draw(st.booleans()):
            job = f"{self.who.peer}.{len(self.records) + 1}"
            self.records.append(Asked(self.passes(), job, self.draw(NAMES)))
            jobs.append(job)
            awaited.append(job)
            if self.draw(st.booleans()):
                self.records.append(Parked(self.passes(), job, "uptime", "/x/route.cfg", 7))
        self.records.append(Run(route, self.passes() - route, "route", "", "well"))
        answer = self.passes()
        self.records.append(Sent(answer, self.passes() - answer, "200 INVITE"))
        self.records.append(
            Message(began, self.passes() - began, "INVITE", "#0", self.draw(st.sampled_from([0, 90000])))
        )

    def hand_over(self, other: Process) -> None:
        """A message that is the other one's, who may not come to take it any more."""
        began = self.passes()
        self.records.append(Given(self.passes(), "BYE", "#1", 1))
        self.records.append(Message(began, self.passes() - began, "BYE", "#1"))
        other.at = max(other.at, self.at)
        if self.draw(st.booleans()):
            began = other.passes()
            other.records.append(Message(began, other.passes() - began, "BYE", "#1", 0, 1))

    def run_job(self, job: str) -> None:
        """A job, here and now or beside others."""
        self.records.append(Began(self.passes(), job, self.draw(NAMES)))
        if self.draw(st.booleans()):
            self.records.append(Later(self.passes(), job))
        self.records.append(Over(self.passes(), job))

    def resume(self, job: str, outcome: str) -> None:
        began = self.passes()
        self.records.append(Resumed(began, self.passes() - began, [job], [outcome], ["worker-1.1"]))


@st.composite
def servers(draw: st.DrawFn) -> list[Recorded]:
    """Two SIP processes and two workers, any of which may have been killed or have had no room at any moment."""
    sips = [Process(draw, f"sip-{number}", number, BEGAN) for number in (1, 2)]
    workers = [Process(draw, f"worker-{number}", 2 + number, BEGAN) for number in (1, 2)]
    for sip in sips:
        awaited: list[str] = []
        for _ in range(draw(st.integers(0, 3))):
            jobs: list[str] = []
            sip.turn(jobs, awaited)
            if draw(st.booleans()):
                sip.hand_over(sips[sip is sips[0]])
            for job in jobs:
                worker = draw(st.sampled_from(workers))
                worker.at = max(worker.at, sip.at)
                worker.run_job(job)
                sip.at = max(sip.at, worker.at)
            for job in draw(st.permutations(awaited)):
                if draw(st.booleans()):
                    awaited.remove(job)
                    sip.resume(job, draw(st.sampled_from(["Returned", "WorkerLost", "TimedOut"])))
    mi = Process(draw, "mi-1", 9, BEGAN)
    mi.records.append(Reloaded(mi.passes(), 0, 1))
    found = [_stopped(draw, one, mi) for one in (*sips, *workers)]
    return draw(st.permutations([*found, Recorded(mi.who, mi.records, 0)]))


def _stopped(draw: st.DrawFn, process: Process, witness: Process) -> Recorded:
    how = draw(st.sampled_from(["well", "killed", "no room", "still writing"]))
    kept = process.records if how in ("well", "still writing") else process.records[: draw(st.integers(0, 30))]
    event(how)
    dropped = len(process.records) - len(kept) if how == "no room" else 0
    if how == "killed":
        witness.at = max(witness.at, process.at)
        witness.records.append(Died(witness.passes(), process.who.peer, "killed by SIGKILL"))
        return Recorded(process.who, kept, 0)
    return Recorded(process.who, [*kept, Ended(process.passes())] if how != "still writing" else kept, dropped)


@given(servers())
def test_a_trace_is_whole_wherever_its_processes_stopped(recordings: list[Recorded]) -> None:
    assert problems(pack_trace(trace_of(ORDER, recordings))) == []


@given(servers(), st.booleans())
def test_all_that_was_recorded_is_in_the_trace(recordings: list[Recorded], sampled: bool) -> None:
    order = Order(*(getattr(ORDER, name) for name in ORDER.__struct_fields__[:4]), chosen=ALL // 2 if sampled else ALL)
    events = trace_of(order, recordings).events
    records = [record for one in recordings for record in one.records]
    asked = {record.job for record in records if isinstance(record, Asked)}
    jobs = {record.job for record in records if isinstance(record, Began)}
    expected = Counter(
        message=sum(isinstance(record, Message) for record in records),
        route=sum(isinstance(record, Run) for record in records),
        statement=sum(isinstance(record, Stretch) for record in records),
        command=sum(isinstance(record, Command) for record in records),
        sent=sum(isinstance(record, Sent) for record in records),
        resume=sum(isinstance(record, Resumed) for record in records),
        reload=sum(isinstance(record, Reloaded) for record in records),
    )
    found = Counter(one.cat for one in events if one.ph == "X" and one.cat != "job")
    assert found == +expected
    ran = {one.args["job"] for one in events if one.cat == "job" and one.ph == "X" and "job" in one.args}
    assert ran == (jobs & asked if sampled else jobs)
    assert sum(one.ph == "b" and one.cat == "parking" for one in events) == sum(
        isinstance(record, Parked) for record in records
    )


@given(servers())
def test_a_trace_is_read_back_summed_up_and_drawn(recordings: list[Recorded]) -> None:
    from xml.etree import ElementTree

    trace = trace_of(ORDER, recordings)
    assert read_trace(pack_trace(trace)) == trace
    assert summary_of(trace)[0].endswith(f"{len(recordings)} processes")
    for window in (window_of(trace), Window(0.0, 0.0)):
        ElementTree.fromstring(draw(trace, window, "<title> & more"))


def test_a_job_that_its_process_took_with_it_ends_there_and_is_called_lost() -> None:
    sip, worker, mi = who("sip-1", 0), who("worker-1", 1), who("mi-1", 2)
    recordings = [
        Recorded(
            sip,
            [
                Asked(BEGAN + 1000, "sip-1.1.1", "bench_sleep"),
                Parked(BEGAN + 2000, "sip-1.1.1", "bench_sleep", "/x/route.cfg", 12),
                Message(BEGAN, 5000, "INVITE", "#1"),
                Resumed(BEGAN + 90_000, 10_000, ["sip-1.1.1"], ["WorkerLost"], ["worker-1.1"]),
                Ended(BEGAN + 200_000),
            ],
            0,
        ),
        Recorded(worker, [Began(BEGAN + 10_000, "sip-1.1.1", "bench_sleep")], 0),
        Recorded(mi, [Died(BEGAN + 80_000, "worker-1.1", "killed by SIGKILL"), Ended(BEGAN + 200_000)], 0),
    ]
    trace = trace_of(ORDER, recordings)
    assert problems(pack_trace(trace)) == []
    (job,) = [one for one in trace.events if one.cat == "job" and one.ph == "X"]
    assert (job.name, job.pid, job.ts, job.dur) == ("job bench_sleep", worker.pid, 10.0, 70.0)
    assert job.args == {"job": "sip-1.1.1", "lost": "killed by SIGKILL"}
    assert _arrow(trace.events) == [("s", sip.pid, 1.0), ("t", worker.pid, 10.0), ("f", sip.pid, 90.0)]
    parked = [one for one in trace.events if one.cat == "parking"]
    assert [(one.ph, one.ts) for one in parked] == [("b", 2.0), ("e", 90.0)]
    assert parked[0].args == {"place": "/x/route.cfg:12", "outcome": "WorkerLost"}
    assert "jobs: 1, 1 lost with their process" in summary_of(trace)


def _arrow(events: list[Event]) -> list[tuple[str, int, float]]:
    return [(one.ph, one.pid, one.ts) for one in events if one.ph in ("s", "t", "f")]


def test_a_message_that_was_handed_over_has_an_arrow_from_who_read_it_to_who_took_it() -> None:
    reader, owner = who("sip-1", 0), who("sip-2", 1)
    recordings = [
        Recorded(reader, [Given(BEGAN + 2000, "BYE", "#1", 1), Message(BEGAN + 1000, 2000, "BYE", "#1")], 0),
        Recorded(owner, [Message(BEGAN + 4000, 2000, "BYE", "#1", 0, 1)], 0),
    ]
    events = trace_of(ORDER, recordings).events
    assert _arrow(events) == [("s", reader.pid, 2.0), ("f", owner.pid, 4.0)]
    (taken,) = [one for one in events if one.ph == "X" and one.pid == owner.pid]
    assert taken.args == {"call": "#1", "handed over": 1}
    assert _arrow(trace_of(ORDER, recordings[:1]).events) == []
    assert _arrow(trace_of(ORDER, recordings[1:]).events) == []


def test_processes_that_had_the_same_pid_have_tracks_of_their_own_and_other_orders_none() -> None:
    lives = [Recorded(who("worker-1", 1, number, pid=77), [Ended(BEGAN)], 0) for number in (1, 2)]
    other = Recorded(Who("another", "worker-2", 1, 78, 2, "some kind", BEGAN), [Ended(BEGAN)], 0)
    document: dict[str, Any] = json.loads(pack_trace(trace_of(ORDER, [*lives, other])))
    names = [one["args"]["name"] for one in document["traceEvents"] if one["name"] == "process_name"]
    assert names == ["worker-1.1 some kind", "worker-1.2 some kind"]
    assert problems(json.dumps(document).encode()) == []
