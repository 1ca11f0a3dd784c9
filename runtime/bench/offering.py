"""Measuring one cell: its loads one after the other, against real servers."""

from __future__ import annotations

import contextlib
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import Final

from msgspec import structs

from runtime.bench.knee import Limits, Search, is_certain, judged, limits_after
from runtime.bench.plan import Asked, Cell
from runtime.bench.results import CellRun, Moment, Point
from runtime.bench.site import Started, plan_of, started
from runtime.bench.statistics import Histogram, latency_of
from runtime.traffic.generator import offer
from runtime.traffic.offer import T1_S, Ended, Plan, Progress
from runtime.traffic.server import Server
from runtime.traffic.spread import percentile

_MOMENT_S: Final = 0.25
"""The generator tells four times a second how far it is; a long load is kept in fewer stretches than that."""
_MOST_MOMENTS: Final = 120

Told = Callable[[float, Progress], None]
"""Called with the rate that is offered, whenever the generator tells how far it is."""


class Subject:
    """The server that a cell is measured on; a context manager. One that was offered too much is replaced."""

    def __init__(self, cell: Cell, asked: Asked, folder: Path) -> None:
        self._cell = cell
        self._asked = asked
        self._folder = folder
        self._stack = contextlib.ExitStack()
        self._started: Started | None = None

    def __enter__(self) -> Subject:
        return self

    def __exit__(self, *_: object) -> None:
        self.replace()

    def started(self) -> Started:
        """The server, ready for the next load.

        Raises:
            ServerError: it did not start.
            LoadError: its warm-up could not be offered.
            CannotMeasure: the command fails, or no answer is as wanted.
        """
        if self._started is None:
            self._started = self._stack.enter_context(started(self._cell, self._asked, self._folder))
        return self._started

    def replace(self) -> None:
        """Stop the server: what it was offered would weigh on the next load."""
        self._started = None
        self._stack.close()


class CellMeasurement:
    """One cell in one run.

    Args:
        cell, asked: what.
        folder: for the server's files.
        told: hears how far each load is.
    """

    def __init__(self, cell: Cell, asked: Asked, folder: Path, told: Told) -> None:
        self._cell = cell
        self._asked = asked
        self._told = told
        self._folder = folder
        self._points: list[Point] = []
        self._search: Search | None = None

    def measure(self) -> None:
        """Offer all rates, or look for the knee.

        Raises:
            ServerError, LoadError: the server or the generator failed.
            CannotMeasure: the command fails, or no answer is as wanted.
        """
        with Subject(self._cell, self._asked, self._folder) as subject:
            if self._asked.rates_per_s:
                self._all_rates(subject)
            else:
                self._up_to_the_knee(subject)

    def result(self) -> CellRun:
        """What was found, or so much of it as there is."""
        points = sorted(self._points, key=lambda point: point.rate_per_s)
        return CellRun(points, self._search.knee() if self._search else None)

    def _all_rates(self, subject: Subject) -> None:
        limits: Limits | None = None
        for rate in sorted(self._asked.rates_per_s):
            point = self._offer(subject, rate)
            limits = limits or limits_after(point, self._asked.slo_ms)
            self._keep(judged(point, limits), subject)

    def _up_to_the_knee(self, subject: Subject) -> None:
        search = self._search = Search(self._asked.from_per_s, self._asked.to_per_s)
        limits: Limits | None = None
        while (rate := search.next_rate()) is not None:
            point = self._offer(subject, rate)
            limits = limits or limits_after(point, self._asked.slo_ms)
            point = judged(point, limits)
            search.note(rate, point.verdict, is_certain(point))
            self._keep(point, subject)

    def _keep(self, point: Point, subject: Subject) -> None:
        # Of two loads at one rate the later one counts: the earlier one was in doubt.
        self._points = [each for each in self._points if each.rate_per_s != point.rate_per_s] + [point]
        if point.verdict != "within":
            subject.replace()

    def _offer(self, subject: Subject, rate_per_s: float) -> Point:
        server = subject.started().server
        plan = plan_of(self._cell, self._asked, server.port, rate_per_s)
        before = subject.started().calls()
        point = offered(plan, self._asked.generators, self._cell.duration_ms, server, self._told)
        server.check_alive()
        after = subject.started().calls()
        launched = after.launched if after else 0
        running = rate_per_s * self._cell.share * self._cell.duration_ms / 1000
        failed = after.failed - before.failed if before and after else None
        return structs.replace(point, failed=failed, queued=max(0, round(point.queued + launched - running)))


def offered(plan: Plan, generators: int, duration_ms: float, server: Server, told: Told) -> Point:
    """Offer one load and take in what comes of it.

    Args:
        plan: the load.
        generators: how many processes share it.
        duration_ms: how long the command takes, which is not counted when it is asked what came in time.
        server: who gets it.
        told: hears how far it is.

    Raises:
        LoadError: the generator failed.
    """
    fast, slow = Histogram(), Histogram()
    timeline = Timeline(plan.seconds)
    before_s = server.cpu_s()
    for frame in offer(plan, generators):
        match frame:
            case Progress():
                fast.record(frame.fast_s)
                slow.record(frame.slow_s)
                timeline.note(frame)
                told(plan.rate_per_s, frame)
            case Ended():
                ended = frame
    cpu_s = server.cpu_s() - before_s
    limit_ms = 1000 * T1_S
    in_time = fast.at_most(limit_ms) + slow.at_most(limit_ms + duration_ms)
    good = fast.count + slow.count
    fast.record(ended.lost_fast_s)
    slow.record(ended.lost_slow_s)
    return _point(plan, ended, (good, in_time), (fast, slow), timeline.moments, cpu_s)


def _point(
    plan: Plan,
    ended: Ended,
    counts: tuple[int, int],
    latencies: tuple[Histogram, Histogram],
    timeline: list[Moment],
    cpu_s: float,
) -> Point:
    told = ended.counts
    return Point(
        rate_per_s=plan.rate_per_s,
        seconds=plan.seconds,
        offered=told.sent,
        good=counts[0],
        in_time=counts[1],
        refused=told.answered - counts[0],
        lost=ended.lost,
        statuses=told.statuses,
        retransmitted=told.retransmitted,
        duplicates=told.duplicates,
        send_errors=ended.send_errors,
        window_s=ended.window_s,
        cpu_s=cpu_s,
        lag_p99_ms=1000 * ended.lag_p99_s,
        lag_max_ms=1000 * ended.lag_max_s,
        real_time=ended.real_time,
        fast=latency_of(latencies[0]),
        slow=latency_of(latencies[1]),
        timeline=timeline,
        queued=ended.waiting_slow,
    )


class Timeline:
    """How a load went, in stretches: `moments`.

    Args:
        seconds: how long it is; a long one is kept in longer stretches.
    """

    def __init__(self, seconds: float) -> None:
        self.moments: list[Moment] = []
        self._every_s = max(_MOMENT_S, seconds / _MOST_MOMENTS)
        self._before = (0.0, 0, 0)
        self._fast_s = array("d")

    def note(self, frame: Progress) -> None:
        """The generator tells how far it is."""
        if len(self.moments) == 2 * _MOST_MOMENTS:
            return
        self._fast_s.extend(frame.fast_s)
        at_s, sent, answered = self._before
        passed_s = frame.elapsed_s - at_s
        # A little less than a whole stretch will do, so that one is not kept waiting for the next frame.
        if passed_s < 0.9 * self._every_s:
            return
        ordered = sorted(self._fast_s)
        p50_ms, p99_ms = (1000 * percentile(ordered, share) if ordered else None for share in (0.5, 0.99))
        sent_per_s, answered_per_s = (frame.sent - sent) / passed_s, (frame.answered - answered) / passed_s
        self.moments.append(Moment(frame.elapsed_s, sent_per_s, answered_per_s, p50_ms, p99_ms))
        self._before = (frame.elapsed_s, frame.sent, frame.answered)
        self._fast_s = array("d")
