"""What `benchmarks/soak.py` found, for people and as JSON."""

from __future__ import annotations

import dataclasses
import re
import statistics
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Any, Final

from pools_peers.report import grid

from soak_load.chaos import Happened
from soak_load.growth import MEASURES, Trend
from soak_load.house import Sample
from soak_load.ledger import Death, Finding

_AROUND_S: Final = 1.5
_MOST_LINES: Final = 12
_MOST_FINDINGS: Final = 10
_ENDED: Final = re.compile(r" (\S+) \(PID ([0-9]+)\) ended: (.*)")
_LEVEL: Final = re.compile(r"^\S+ \S+ (ERROR|CRITICAL|ALERT) ")


@dataclass(slots=True)
class Result:
    """Everything about one run.

    Args:
        told: what the traffic said last: counts, and the findings about requests.
        others: violations that are of no request.
        happened: what was done to the processes.
        samples, trends: how memory, descriptors and files went.
        log: the server's.
        latency_ms: by second the median and the 99th percentile of the answers to all but INVITEs.
    """

    told: dict[str, Any]
    others: list[Finding]
    happened: list[Happened]
    samples: list[Sample]
    trends: list[Trend]
    log: list[str]
    latency_ms: list[tuple[float, float]]

    @property
    def violations(self) -> list[Finding]:
        """All of them."""
        return [*(finding_of(one) for one in self.told["violations"]), *self.others]

    @property
    def failed(self) -> bool:
        """Whether there is a violation, or something grows."""
        return bool(self.violations) or any(one.grows for one in self.trends)


def finding_of(values: dict[str, Any]) -> Finding:
    """Read back what has travelled as JSON."""
    return Finding(**{**values, "diary": tuple(values["diary"])})


def log_findings(lines: Sequence[str], killed: dict[int, Death], now: float) -> Iterator[Finding]:
    """What the server's log says that it should not: ends that nobody brought about, errors, tracebacks."""
    for line in lines:
        ended = _ENDED.search(line)
        if ended and (int(ended[2]) in killed or " INFO " in line):  # of a planned end, such as a spare worker's
            continue
        if ended or _LEVEL.match(line) or line.startswith("Traceback"):
            yield Finding("ended by itself" if ended else "logged", line, "", monotonic_of(line) or now)


def monotonic_of(line: str) -> float:
    """The moment of a line of the log, on the monotonic clock; 0 for a line without one."""
    try:
        written = datetime.fromisoformat(line[:23]).timestamp()
    except ValueError:
        return 0.0
    return written - time.time() + time.monotonic()


def around(finding: Finding, lines: Sequence[str]) -> list[str]:
    """The lines of the log that name the request, and those about its moment."""
    naming = [line for line in lines if finding.token and re.search(rf"{re.escape(finding.token)}\b", line)]
    near = [line for line in lines if abs(monotonic_of(line) - finding.at) < _AROUND_S]
    return list(dict.fromkeys([*naming, *near]))[:_MOST_LINES]


def details(result: Result, again: str) -> Iterator[str]:
    """The violations, each with its diary, the log about it, and the way to see it again."""
    found = result.violations
    for one in found[:_MOST_FINDINGS]:
        yield f"VIOLATION {one.what}: {one.token} {one.text}"
        yield from (f"    {line}" for line in one.diary)
        yield from (f"    log: {line}" for line in around(one, result.log))
        done = [event for event in result.happened if abs(event.at - one.at) < 3 * _AROUND_S]
        yield from (f"    done {event.at - one.at:+.3f} s: {event.text}" for event in done[:_MOST_LINES])
    if len(found) > _MOST_FINDINGS:
        yield f"and {len(found) - _MOST_FINDINGS} more"
    if found:
        yield f"again: {again}"


def overload(result: Result) -> Iterator[str]:
    """Whether more was offered than could be served, and when."""
    dropped = [one.dropped for one in result.samples]
    seconds = [one.at for before, one in pairwise(result.samples) if one.dropped > before.dropped]
    if seconds:
        text = f"from {seconds[0]:.0f} s to {seconds[-1]:.0f} s" if len(seconds) > 1 else f"at {seconds[0]:.0f} s"
        yield f"OVERLOADED: {dropped[-1] - dropped[0]:,} datagrams found no room in the server's socket, {text}"


def tables(result: Result) -> Iterator[str]:
    """Requests by kind, what deaths explain, and the trends."""
    counts: Counter[str] = Counter(result.told["counts"])
    rows = [[name, f"{count:,}"] for name, count in _shown(counts, result.told["again"])]
    for name, values in zip(("p50", "p99"), zip(*result.latency_ms, strict=True), strict=False):
        rows.append([f"answer {name}, ms: median of the seconds", f"{statistics.median(values):,.1f}"])
    yield grid(["requests", ""], rows)
    yield grid(
        ["over the second half", "mean", "most", "rise", "limit", "s", ""],
        [
            [
                one.name,
                f"{one.mean:,.1f}",
                f"{one.most:,.1f}",
                f"{one.rise:+,.2f}",
                f"{one.limit:,.2f}",
                f"{one.window_s:.0f}",
                "GROWS" if one.grows else "flat" if one.judged else "too short to judge",
            ]
            for one in result.trends
        ],
    )


def _shown(counts: Counter[str], again: dict[str, int]) -> Iterator[tuple[str, int]]:
    yield "begun", counts["begun"]
    for prefix, title in (("begun ", "  {}"), ("explained: ", "explained by a death: {}"), ("violation: ", "NOT: {}")):
        for name, count in sorted(counts.items()):
            if name.startswith(prefix):
                yield title.format(name.removeprefix(prefix)), count
    yield "answered", counts["answered"]
    yield "copies of answers", counts["copies of answers"]
    for method, count in sorted(again.items()):
        yield f"sent again: {method}", count


def as_json(result: Result) -> dict[str, Any]:
    """Everything, with violations as `tables` and `details` show them."""
    return {
        "counts": result.told["counts"],
        "sent_again": result.told["again"],
        "violations": [{**dataclasses.asdict(one), "log": around(one, result.log)} for one in result.violations],
        "explained": result.told["explained"],
        "happened": [one._asdict() for one in result.happened],
        "trends": [{**dataclasses.asdict(one), "grows": one.grows} for one in result.trends],
        "samples": [
            {"at": one.at, "dropped": one.dropped, **{measure.name: measure.of(one) for measure in MEASURES}}
            for one in result.samples
        ],
        "latency_ms": result.latency_ms,
    }
