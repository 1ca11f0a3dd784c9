"""The figures of a server for Prometheus: its text format, made when somebody asks.

Names are as Prometheus wants them (https://prometheus.io/docs/practices/naming/): base units, `_total` behind what is
only counted up. Statistics keep their groups and names as labels, for a script may call its own whatever it likes.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Final

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from runtime.command_figures import BOUNDS_S, Figures, Histogram
from runtime.house import House
from runtime.roles import SIP
from workers.overseer import resident_bytes

CONTENT_TYPE: Final = CONTENT_TYPE_LATEST
_LE: Final = (*(f"{bound:g}" for bound in BOUNDS_S), "+Inf")


class Metrics(Collector):
    """All figures of a server.

    Args:
        house: the server.
    """

    def __init__(self, house: House) -> None:
        self._house = house
        self._registry = CollectorRegistry()
        self._registry.register(self)

    def text(self) -> bytes:
        """Them as they are now."""
        return generate_latest(self._registry)

    def describe(self) -> list[Metric]:
        """Nothing: the registry would collect everything to learn their names."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Them one by one."""
        yield from self._commands()
        yield from self._processes()
        yield from self._statistics()

    def _commands(self) -> Iterator[Metric]:
        runs = CounterMetricFamily("layby_mi_runs", "Runs of an MI command.", labels=["command"])
        errors = CounterMetricFamily(
            "layby_mi_errors",
            "Calls of an MI command that ended with that error; code 0: any other.",
            labels=["command", "code"],
        )
        run_s = HistogramMetricFamily("layby_mi_run_seconds", "How long an MI command ran.", labels=["command"])
        wait_s = HistogramMetricFamily(
            "layby_mi_wait_seconds",
            "How long a job that was asked for alone waited before its MI command was run.",
            labels=["command"],
        )
        for one in self._house.figures.figures():
            runs.add_metric([one.command], one.runs.count)
            _add_errors(errors, one)
            _add_histogram(run_s, one.command, one.runs)
            _add_histogram(wait_s, one.command, one.waits)
        yield from (runs, errors, run_s, wait_s)

    def _processes(self) -> Iterator[Metric]:
        statistics, board = self._house.statistics, self._house.board
        messages = CounterMetricFamily("layby_process_messages", "SIP messages received.", labels=["process"])
        parked = GaugeMetricFamily("layby_process_parked", "Messages that are put aside.", labels=["process"])
        waiting = GaugeMetricFamily(
            "layby_process_jobs_waiting", "Jobs of this process that wait for a worker.", labels=["process"]
        )
        running = GaugeMetricFamily("layby_process_jobs", "Jobs that this process has in hand.", labels=["process"])
        restarts = CounterMetricFamily("layby_process_restarts", "How often it was replaced.", labels=["process"])
        memory = GaugeMetricFamily("layby_process_resident_bytes", "Resident memory.", labels=["process"])
        memory.add_metric(["attendant"], _resident_bytes(self._house.attendant_pid))
        waits, loads = board.waiting(), board.loads()
        for row, name in zip(self._house.table, self._house.names(), strict=True):
            if not row.incarnation:
                continue  # there has never been one
            label = [name]
            if row.role == SIP:
                messages.add_metric(
                    label, statistics.of("core:rcv_requests", row.slot) + statistics.of("core:rcv_replies", row.slot)
                )
            parked.add_metric(label, statistics.of("async:waiting", row.slot))
            waiting.add_metric(label, waits[row.slot])
            running.add_metric(label, loads[row.slot].outstanding)
            restarts.add_metric(label, row.restarts)
            memory.add_metric(label, _resident_bytes(row.pid))
        yield from (messages, parked, waiting, running, restarts, memory)

    def _statistics(self) -> Iterator[Metric]:
        statistics = self._house.statistics
        labels = ["group", "name"]
        counted = CounterMetricFamily("layby_statistic", "A statistic that is only counted up.", labels=labels)
        others = GaugeMetricFamily("layby_statistic_now", "A statistic that also goes down.", labels=labels)
        for full in statistics.find("all"):
            group, _, name = full.partition(":")
            family = counted if statistics.is_incremental(full) else others
            family.add_metric([group, name], statistics.value(full))
        yield from (counted, others)


def _add_errors(family: CounterMetricFamily, figures: Figures) -> None:
    for code, number in figures.errors.items():
        family.add_metric([figures.command, str(code)], number)


def _add_histogram(family: HistogramMetricFamily, command: str, histogram: Histogram) -> None:
    if histogram.count:
        sums = itertools.accumulate(histogram.buckets)
        family.add_metric(
            [command], [(le, float(number)) for le, number in zip(_LE, sums, strict=True)], histogram.total_s
        )


def _resident_bytes(pid: int) -> int:
    try:
        return resident_bytes(pid)
    except (OSError, IndexError, ValueError):
        return 0  # it has just ended
