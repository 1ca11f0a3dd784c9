"""The rows of the comparison: what each measures, what of it is shown, and how long it takes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from peers import calls, order, parking, requests, sipp, slow, starting
from peers.effort import Effort
from peers.servers import Entry, Job

_START_AND_STOP_S: Final = 2.5
"""Of a server and its generator, about."""


def _nothing() -> str | None:
    return None


SUM: Final = -1
"""In place of decimals: a count, of all runs together."""
RATIO: Final = -2
"""In place of decimals: through the same figure of `BASE` in the same run."""
BASE: Final = "kamailio-fm"


@dataclass(frozen=True, slots=True)
class Table:
    """What is shown side by side.

    Args:
        title: what it is of, beside the row's title.
        columns: title, figure and decimals of each.
    """

    title: str
    columns: tuple[tuple[str, str, int], ...]


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the comparison.

    Args:
        title: what it is called in full.
        job: the configuration that servers run for it.
        measure: does it; the figures by name.
        tables: what of it is shown.
        expected_s: about how long one server takes.
        missing: why nobody can be measured; None when they can.
    """

    title: str
    job: Job
    measure: Callable[[Entry, Effort], dict[str, Any]]
    tables: tuple[Table, ...]
    expected_s: Callable[[Effort], float]
    missing: Callable[[], str | None] = _nothing


_FAILED: Final = ("failed", "failed", SUM)
_CPU: Final = (("CPU s", "cpu_s", 3), (f"times {BASE}'s", "cpu_s", RATIO))
_REQUEST_TABLES: Final = (
    Table(
        "as many as it takes",
        (
            *_CPU,
            ("requests/s", "rate_per_s", 0),
            ("p50 ms", "p50_ms", 2),
            ("p99 ms", "p99_ms", 2),
            _FAILED,
            ("in vain", "in_vain", SUM),
        ),
    ),
    Table(
        "at a steady rate",
        (
            ("CPU s", "steady_cpu_s", 3),
            ("p50 ms", "steady_p50_ms", 3),
            ("p99 ms", "steady_p99_ms", 3),
            ("failed", "steady_failed", SUM),
            ("load too late p99, ms", "steady_lag_ms", 3),
        ),
    ),
)
_SLOW_TABLES: Final = (
    Table(
        "asynchronously",
        (
            ("fast p50 ms", "fast_p50_ms", 3),
            ("fast p99 ms", "fast_p99_ms", 3),
            ("slow p50 ms", "slow_p50_ms", 1),
            ("slow p99 ms", "slow_p99_ms", 1),
            ("CPU s of 10,000", "cpu_s", 3),
            _FAILED,
        ),
    ),
    Table(
        "blocking",
        (
            ("fast p99 ms", "blocking_fast_p99_ms", 1),
            ("slow p99 ms", "blocking_slow_p99_ms", 1),
            ("failed", "blocking_failed", SUM),
            ("load too late p99, ms", "lag_ms", 3),
        ),
    ),
)
_CALL_TABLES: Final = (Table("", (*_CPU, _FAILED, ("retransmitted", "retransmitted", SUM))),)
_ORDER_TABLES: Final = (
    Table(
        "",
        (
            ("calls", "calls", SUM),
            ("swapped", "swapped", SUM),
            ("180 lost", "lost_180", SUM),
            ("out of order", "out_of_order", SUM),
            ("unanswered", "unanswered", SUM),
        ),
    ),
)
_PARKED_TABLES: Final = (
    Table(
        "",
        (
            ("parked", "parked", 0),
            ("bytes each", "bytes_each", 0),
            ("resumed/s", "resumed_per_s", 0),
            ("through that of few", "flatness", 2),
        ),
    ),
)
_START_TABLES: Final = (Table("", (("s", "start_s", 2), ("slowest", "slowest_start_s", 2))),)


def _request(job: Job, what: str) -> Row:
    def expected_s(effort: Effort) -> float:
        steady_s = effort.steady_s and effort.steady_s + 1
        return _START_AND_STOP_S + effort.warm_up_s + steady_s + effort.saturation_s

    return Row(
        f"{what}: CPU seconds of 10,000",
        job,
        lambda entry, effort: requests.measure(entry, job, effort),
        _REQUEST_TABLES,
        expected_s,
    )


def _calls(per_s: int) -> Row:
    def expected_s(effort: Effort) -> float:
        return _START_AND_STOP_S + 2 + effort.warm_up_s + effort.calls_s

    title = f"Calls proxied with Record-Route, {per_s:,} a second: CPU seconds of 1,000"
    return Row(title, "calls", partial(_measure_calls, per_s), _CALL_TABLES, expected_s, sipp.missing)


def _measure_calls(per_s: int, entry: Entry, effort: Effort) -> dict[str, Any]:
    return calls.measure(entry, per_s, effort)


ROWS: Final[dict[str, Row]] = {
    "options": _request("options", "OPTIONS answered without a transaction"),
    "stateful": _request("stateful", "OPTIONS answered through a transaction"),
    "mi": _request("mi", 'mi("uptime") on every request'),
    "async": _request("async", 'async(mi("uptime")) on every request'),
    "launch": _request("launch", 'launch(mi("uptime")) on every request'),
    "slow": Row(
        "One request in twenty runs a command of 50 ms",
        "slow",
        slow.measure,
        _SLOW_TABLES,
        lambda effort: _START_AND_STOP_S + effort.warm_up_s + 2 * effort.slow_s + 3,
    ),
    "calls-300": _calls(300),
    "calls-1000": _calls(1_000),
    "order": Row(
        "180 and 200 sent back to back",
        "calls",
        order.measure,
        _ORDER_TABLES,
        lambda effort: _START_AND_STOP_S + effort.order_calls / effort.order_per_s + 1,
    ),
    "parked": Row(
        "Requests parked at the same time",
        "parked",
        parking.measure,
        _PARKED_TABLES,
        lambda effort: sum(_START_AND_STOP_S + count / 3_000 for count in effort.parked),
    ),
    "start": Row(
        "From the start of the server to its first answer",
        "stateful",
        starting.measure,
        _START_TABLES,
        lambda effort: (effort.starts + 1) * _START_AND_STOP_S,
    ),
}
