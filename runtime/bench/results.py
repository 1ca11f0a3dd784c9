"""What was measured, as data: this is the JSON of `layby bench`. No I/O."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, TypeAlias

import msgspec
from msgspec import Meta, Struct

from runtime.bench.plan import Asked, Cell
from runtime.bench.statistics import Latency

FORMAT: Final = 1

Count: TypeAlias = Annotated[int, Meta(ge=0, le=1 << 53)]
Some: TypeAlias = Annotated[int, Meta(ge=1, le=1 << 53)]
Amount: TypeAlias = Annotated[float, Meta(ge=0, le=1e12)]
Positive: TypeAlias = Annotated[float, Meta(ge=1e-9, le=1e12)]

Verdict: TypeAlias = Literal["within", "over", "generator"]
Limit: TypeAlias = Literal["server", "generator", "top"]


class NoResults(Exception):
    """Those are no results of `layby bench`, or of another version of it; the text says why."""


class Machine(Struct, frozen=True):
    """Where it was measured.

    Args:
        cpu: the processor's own name.
        cpus: how many of them the benchmark, and so the server, may use.
        memory_gib: of the whole machine.
        kernel, python, layby: versions.
        native: whether the SIP path is compiled.
        load: processes that were running or waited to, on the average of the minute before.
    """

    cpu: str
    cpus: int
    memory_gib: float
    kernel: str
    python: str
    layby: str
    native: bool
    load: float


class Moment(Struct, frozen=True):
    """A stretch of a load, as its generator saw it.

    Args:
        at_s: its end, in seconds from the first request.
        sent_per_s, answered_per_s: rates within it.
        fast_p50_ms, fast_p99_ms: of the fast requests that were answered within it.
    """

    at_s: Amount
    sent_per_s: Amount
    answered_per_s: Amount
    fast_p50_ms: Amount | None
    fast_p99_ms: Amount | None


class Point(Struct, frozen=True):
    """One load.

    Args:
        rate_per_s, seconds: what was offered, and for how long.
        offered: requests; each is `good`, `refused` or `lost`.
        good: answered as wanted.
        in_time: so many of them before they would have been sent again, the command's own time not counted.
        refused: answered with another status.
        lost: never answered; they are among the latencies with the time for which they had waited at the end.
        statuses: first final answers by status code.
        retransmitted, duplicates, send_errors: sent again by the generator, answered again, not sent.
        window_s: from the first request to the last answer, or to the end of the load if that is later.
        cpu_s: CPU seconds that all of the server's processes used.
        lag_p99_ms, lag_max_ms: by how much the generator itself sent too late, which is in the latencies.
        real_time: whether the generator ran at real-time priority.
        fast, slow: latencies from the intended moment, of requests without and with the command.
        timeline: how it went.
        failed: calls that ended with a negative ``$rc``, launched ones as well; None where the server did not say.
        queued: calls that had not ended when the load had, beyond those that may run in that time; where the server did
            not say, launched ones are not among them.
        verdict: ``within`` the limits, ``over`` them, or the ``generator`` was too slow to say.
        why: what was over them.
    """

    rate_per_s: Positive
    seconds: Positive
    offered: Some
    good: Count
    in_time: Count
    refused: Count
    lost: Count
    statuses: dict[Count, Count]
    retransmitted: Count
    duplicates: Count
    send_errors: Count
    window_s: Positive
    cpu_s: Amount
    lag_p99_ms: Amount
    lag_max_ms: Amount
    real_time: bool
    fast: Latency | None
    slow: Latency | None
    timeline: list[Moment]
    failed: Count | None = None
    queued: Count = 0
    verdict: Verdict = "within"
    why: str = ""

    @property
    def answered_per_s(self) -> float:
        """Requests that were answered as wanted, per second, until the last of them was."""
        return self.good / self.window_s

    @property
    def cpu_s_per_10000(self) -> float:
        """CPU seconds for 10,000 requests."""
        return self.cpu_s * 10_000 / self.offered


class Knee(Struct, frozen=True):
    """How far the rate could grow.

    Args:
        held_per_s: the highest rate that stayed within the limits; 0 where none did.
        broke_per_s: the lowest that did not, a tenth or so above it; None where none was too much.
        limit: what ended it: the ``server``, the ``generator`` that was too slow to ask for more, or the ``top`` that
            was asked for.
    """

    held_per_s: Amount
    broke_per_s: Positive | None
    limit: Limit


class Saturation(Struct, frozen=True):
    """How many requests per second get an answer when as many are offered as it takes.

    Args:
        rate_per_s: those.
        generator: ``own`` or ``sipp``.
        failed: requests that sipp says were not answered, or not as wanted.
        cpu_s_per_10000: CPU seconds of the server meanwhile; None where that was not weighed.
    """

    rate_per_s: Amount
    generator: str
    failed: Count = 0
    cpu_s_per_10000: Amount | None = None


class CellRun(Struct, frozen=True):
    """One cell, once: its loads in the order of the rates; the knee where it was looked for."""

    points: list[Point]
    knee: Knee | None = None
    saturation: Saturation | None = None


class CellResult(Struct, frozen=True):
    """One cell in all runs."""

    cell: Cell
    runs: list[CellRun]


class Document(Struct, frozen=True):
    """All of it.

    Args:
        format: of this JSON.
        made: when, as ISO 8601 has it.
        machine: where.
        asked: what was asked.
        cells: what was found.
        interrupted: whether the user did not wait for all of it.
        failure: what kept it from its end; empty where nothing did.
        seconds: how long it took.
    """

    format: int
    made: str
    machine: Machine
    asked: Asked
    cells: list[CellResult]
    interrupted: bool
    failure: str
    seconds: float


def to_json(document: Document) -> bytes:
    """The document as JSON that people can read too."""
    return msgspec.json.format(msgspec.json.encode(document), indent=1) + b"\n"


def from_json(text: bytes) -> Document:
    """Read back what `to_json` wrote.

    Raises:
        NoResults: it is something else.
    """
    try:
        head = msgspec.json.decode(text, type=dict[str, Any])
        if head.get("format") != FORMAT:
            raise NoResults(f"its format is {head.get('format')!r}, and not {FORMAT}")
        return msgspec.json.decode(text, type=Document)
    except (msgspec.DecodeError, ValueError) as error:
        raise NoResults(str(error)) from error
