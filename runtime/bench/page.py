"""The report as one HTML page that needs nothing from anywhere: no script, no font, no network. No I/O."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from html import escape
from typing import Final, NamedTuple

from msgspec.structs import replace

from runtime.bench.compare import Compared
from runtime.bench.plan import Cell
from runtime.bench.plots import Line, bars, beside, legend, look, plot
from runtime.bench.report import comparison_line, count, machine_line, span
from runtime.bench.results import CellResult, Document, Moment, Point
from runtime.bench.statistics import Range
from runtime.bench.summary import (
    PERCENTILES,
    Row,
    answer,
    complaints,
    is_open,
    knee_of,
    noise,
    reference_rate,
    row_of,
    rows_of,
    saturation_of,
    who_saturated,
)
from runtime.traffic.spread import milliseconds

_STYLE: Final = """
:root { --ink: #1b1b1f; --paper: #fff; --faint: #d9d9de; --soft: #62626b; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e8e8ec; --paper: #17171a; --faint: #3a3a41; --soft: #a0a0aa; }
}
body { font: 15px/1.45 system-ui, sans-serif; color: var(--ink); background: var(--paper); margin: 2rem auto;
  max-width: 62rem; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2.2rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .7rem; text-align: right; border-bottom: 1px solid var(--faint); white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
th { font-weight: 600; } .scroll { overflow-x: auto; } .soft { color: var(--soft); }
.worse { color: #c0392b; font-weight: 600; } .better { color: #00795a; font-weight: 600; }
.plots { display: flex; flex-wrap: wrap; gap: .6rem; } .key { margin-right: 1.2rem; white-space: nowrap; }
svg { max-width: 100%; height: auto; overflow: visible; } .key svg { vertical-align: middle; }
.title { font-size: 14px; font-weight: 600; fill: var(--ink); } .tick { font-size: 11px; fill: var(--soft); }
.axis { font-size: 12px; fill: var(--soft); } .grid { stroke: var(--faint); stroke-width: .7; fill: none; }
.line { fill: none; stroke-width: 2.2; } .knee { fill: none; stroke-width: 1; opacity: .7; }
.whisker { stroke: var(--ink); stroke-width: 2; }
"""

_RATE: Final = "requests/s offered"
_NOTES: Final = """
<p class="soft">Latencies count from the moment at which a request was due, not from when it was sent; one that was
never answered is among them with the time for which it had waited. <em>Fast</em> requests need no command,
<em>slow</em> ones call it. A triangle marks the knee: the middle between the highest rate that stayed within the
limits and the lowest
that did not. Figures are medians of the runs, with their ranges.</p>
"""


class Group(NamedTuple):
    """Cells that differ only in the way in which the command is called; they share plots."""

    title: str
    results: list[CellResult]


def groups(document: Document) -> list[Group]:
    """The cells by duration, share and workers. What no worker or command bears on is in each of them."""
    asked = document.asked
    found = []
    for duration_ms in asked.durations:
        for share in (share for share in asked.shares if share):
            for workers in asked.workers:
                results = [each for each in document.cells if _belongs(each, workers, duration_ms, share)]
                what = f"a command of {duration_ms:g} ms" if duration_ms else "the command"
                found.append(Group(f"{100 * share:g} % call {what}; {workers} job workers", results))
    return found or [Group("No request calls a command", list(document.cells))]


def _belongs(result: CellResult, workers: int, duration_ms: float, share: float) -> bool:
    cell = result.cell
    if not cell.share:
        return True
    return (cell.duration_ms, cell.share) == (duration_ms, share) and cell.workers in (
        [workers] if cell.flavour != "mi" else [workers, cell.workers]
    )


def page(document: Document, compared: Sequence[Compared] | None = None) -> str:
    """The whole page.

    Args:
        document: what was measured.
        compared: what has changed since an earlier measurement, if it was compared with one.
    """
    body = [
        "<h1>What the command costs the traffic</h1>",
        f"<p>{escape(_question(document))}</p>",
        _list(answer(document)),
        _table(document),
        _list(filter(None, [who_saturated(document), noise(document)])),
        _list(f"Mind: {line}." for line in complaints(document)),
        _comparison(compared) if compared is not None else "",
        _sweeps(document),
        *(_plots(document, group) for group in groups(document)),
        f"<h2>The machine</h2><p>{escape(machine_line(document))} {escape(document.machine.kernel)}, "
        f"{document.machine.memory_gib:g} GiB; measured {escape(document.made)} in {document.seconds:.0f} s.</p>",
        _NOTES,
    ]
    head = '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
    top = f'<html lang="en"><head>{head}<title>layby bench</title><style>{_STYLE}</style></head>'
    return "\n".join(["<!DOCTYPE html>", top, "<body>", *filter(None, body), "</body></html>", ""])


def picture(document: Document) -> str:
    """The p99 of those who call the command and of those who do not, against the rate: of what is swept the first."""
    group = groups(document)[0]
    looks = [_look(document, result.cell.flavour) for result in group.results]
    names = [result.cell.flavour for result in group.results]
    drawn = [each for each in (_fast(group, looks, "p99"), _slow(group, looks)) if each]
    return beside(drawn, list(zip(names, looks, strict=True)), _STYLE)


def _question(document: Document) -> str:
    asked = document.asked
    script = asked.script or "the built-in script"
    ended = " Interrupted: this is what there was." if document.interrupted or document.failure else ""
    return f"{script}, the command: {asked.command}; seed {asked.seed}.{ended}"


def _list(lines: Iterable[str]) -> str:
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return f"<ul>{items}</ul>" if items else ""


def _table(document: Document) -> str:
    rate = reference_rate(document)
    if document.asked.rates_per_s:
        rows = [(result, row) for result in document.cells for row in rows_of(result)]
        head = ["", "rate/s"]
    else:
        rows = [(each, row) for each in document.cells if rate and (row := row_of(each, rate))]
        head = ["", "knee/s", "saturation/s", "at rate/s"]
    head += [
        "fast p50 ms",
        "p95",
        "p99",
        "p99.9",
        "slow p50 ms",
        "slow p99",
        "all p99",
        "CPU s/10,000",
        "in time %",
        "refused",
    ]
    lines = [_cells(result, row, not document.asked.rates_per_s) for result, row in rows]
    return _grid(head + ["lost"], lines)


def _cells(result: CellResult, row: Row, searched: bool) -> list[str]:
    sought = [_knee(result), span(saturation_of(result), count)] if searched else []
    fast = [span(row.fast.get(name), milliseconds) for name in PERCENTILES]
    slow = [span(row.slow.get(name), milliseconds) for name in ("p50", "p99")]
    slow.append(span(row.all.get("p99"), milliseconds))
    ends = [f"{100 * row.in_time / row.offered:.1f}", count(row.refused), count(row.lost)]
    return [str(result.cell), *sought, count(row.rate_per_s), *fast, *slow, span(row.cpu_s, "{:.3f}".format), *ends]


def _knee(result: CellResult) -> str:
    return ("≥ " if is_open(result) else "") + span(knee_of(result), count)


def _grid(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    top = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in line)}</tr>\n" for line in lines)
    return f'<div class="scroll"><table><thead><tr>{top}</tr></thead>\n<tbody>{body}</tbody></table></div>'


def _comparison(compared: Sequence[Compared]) -> str:
    lines = [
        f"<tr><td>{escape(str(each.cell))}</td><td>{escape(each.figure)}</td>"
        f"<td>{count(each.rate_per_s) if each.rate_per_s else ''}</td>"
        f"<td>{each.old.median:.4g}</td><td>{each.new.median:.4g}</td><td>{each.ratio:.2f}</td>"
        f'<td>{each.noise:.2f}</td><td class="{each.change}">{each.change}</td></tr>'
        for each in compared
    ]
    head = "".join(f"<th>{name}</th>" for name in ("", "figure", "rate/s", "before", "now", "ratio", "noise", ""))
    table = f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{"".join(lines)}</tbody></table></div>'
    return f"<h2>What has changed</h2><p>{escape(comparison_line(compared))}</p>{table}"


def _plots(document: Document, group: Group) -> str:
    looks = [_look(document, result.cell.flavour) for result in group.results]
    keys = legend([(result.cell.flavour, each) for result, each in zip(group.results, looks, strict=True)])
    parts = [*_against_rate(group, looks), _costs(document, group, looks), *_over_time(document, group, looks)]
    drawn = "".join(f"<div>{part}</div>" for part in parts if part)
    return f'<h2>{escape(group.title)}</h2><p>{keys}</p><div class="plots">{drawn}</div>'


def _sweeps(document: Document) -> str:
    """What each thing that was swept does to the knee and to the fast requests, where it has several values."""
    asked, rate = document.asked, reference_rate(document)
    swept = {
        "workers": ("job workers", asked.workers, False),
        "duration_ms": ("ms that the command takes", asked.durations, True),
        "share": ("share of the requests that call it", [share for share in asked.shares if share], True),
    }
    drawn = []
    for field, (words, values, logarithmic) in swept.items():
        if len(values) > 1:
            knees = _along(document, field, knee_of)
            drawn.append(plot("Knee", knees, (words, "requests/s"), (logarithmic, True)))
            p99s = _along(document, field, lambda result: _fast_p99(result, rate))
            at = f", at {count(rate)}/s" if rate else ""
            drawn.append(plot(f"Fast requests: p99{at}", p99s, (words, "ms"), (logarithmic, True)))
    parts = "".join(f"<div>{part}</div>" for part in drawn if part)
    keys = legend([(flavour, _look(document, flavour)) for flavour in asked.flavours])
    return f'<h2>What makes the difference</h2><p>{keys}</p><div class="plots">{parts}</div>' if parts else ""


def _fast_p99(result: CellResult, rate: float | None) -> Range | None:
    row = row_of(result, rate) if rate else None
    return row.fast.get("p99") if row else None


def _along(document: Document, field: str, figure: Callable[[CellResult], Range | None]) -> list[Line]:
    """A line for all cells that differ in nothing else."""
    found: dict[Cell, list[tuple[float, float]]] = {}
    for result in document.cells:
        value = figure(result)
        if value is not None and result.cell.share:
            # Zero in place of what differs: such a cell stands for all of them.
            rest = replace(result.cell, **{field: 0})
            found.setdefault(rest, []).append((float(getattr(result.cell, field)), value.median))
    return [
        Line(_without(cell, field), _look(document, cell.flavour), sorted(points))
        for cell, points in found.items()
        if len(points) > 1
    ]


def _look(document: Document, flavour: str) -> tuple[str, str]:
    flavours = document.asked.flavours
    return look(flavour, flavours.index(flavour) if flavour in flavours else len(flavours))


def _without(cell: Cell, field: str) -> str:
    words = {
        "workers": f"{cell.workers} workers",
        "duration_ms": f"{cell.duration_ms:g} ms",
        "share": f"{100 * cell.share:g} %",
    }
    return ", ".join([cell.flavour, *(text for name, text in words.items() if name != field)])


def _against_rate(group: Group, looks: Sequence[tuple[str, str]]) -> Iterator[str]:
    yield from (_fast(group, looks, name) for name in PERCENTILES)
    yield _slow(group, looks)


def _fast(group: Group, looks: Sequence[tuple[str, str]], name: str) -> str:
    lines = [_line(result, each, name, "fast") for result, each in zip(group.results, looks, strict=True)]
    return plot(f"Fast requests: {name}", lines, (_RATE, "ms"))


def _slow(group: Group, looks: Sequence[tuple[str, str]]) -> str:
    lines = [_line(result, each, "p99", "slow") for result, each in zip(group.results, looks, strict=True)]
    return plot("Requests that call the command: p99", lines, (_RATE, "ms"))


def _line(result: CellResult, looks: tuple[str, str], name: str, who: str) -> Line:
    rates = sorted({point.rate_per_s for run in result.runs for point in run.points})
    rows = [row for rate in rates if (row := row_of(result, rate))]
    found = [(row.rate_per_s, getattr(row, who)) for row in rows]
    points = [(rate, latencies[name].median) for rate, latencies in found if latencies]
    knee = knee_of(result)
    return Line(str(result.cell), looks, points, knee.median if knee else None)


def _costs(document: Document, group: Group, looks: Sequence[tuple[str, str]]) -> str:
    rate = reference_rate(document)
    if rate is None:
        return ""
    there = [(each, row_of(result, rate)) for each, result in zip(looks, group.results, strict=True)]
    rows = [(each, row) for each, row in there if row]
    names = [(row.cell.flavour, each) for each, row in rows]
    values = [(row.cpu_s.median, row.cpu_s.low, row.cpu_s.high) for _, row in rows]
    return bars(f"CPU seconds for 10,000 requests, at {count(rate)}/s", names, values)


def _over_time(document: Document, group: Group, looks: Sequence[tuple[str, str]]) -> Iterator[str]:
    rate = reference_rate(document)
    pairs = list(zip(group.results, looks, strict=True))
    if rate is not None:
        lines = [_way(result, each, _first_at(result, rate), "fast_p99_ms") for result, each in pairs]
        yield plot(f"Fast requests' p99 over time, at {count(rate)}/s", lines, ("s", "ms"), (False, True))
    lines = [_way(result, each, _first_broken(result), "answered_per_s") for result, each in pairs]
    yield plot("Answered, at the lowest rate that was too much", lines, ("s", "requests/s"), (False, False))


def _first_at(result: CellResult, rate_per_s: float) -> Point | None:
    return next((point for run in result.runs for point in run.points if point.rate_per_s == rate_per_s), None)


def _first_broken(result: CellResult) -> Point | None:
    broken = [point for run in result.runs[:1] for point in run.points if point.verdict == "over"]
    return min(broken, key=lambda point: point.rate_per_s, default=None)


def _way(result: CellResult, looks: tuple[str, str], point: Point | None, field: str) -> Line:
    moments: list[Moment] = point.timeline if point else []
    values = [(moment.at_s, getattr(moment, field)) for moment in moments]
    name = f"{result.cell}, {count(point.rate_per_s)}/s" if point else str(result.cell)
    return Line(name, looks, [(at_s, value) for at_s, value in values if value is not None])
