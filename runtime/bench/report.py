"""What was measured, as tables and sentences for a terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final, TypeAlias

from rich import box
from rich.console import Console
from rich.table import Table

from runtime.bench.compare import Compared, differences
from runtime.bench.plan import Asked, Cell, cells, expected_cell_s, expected_s
from runtime.bench.results import Document
from runtime.bench.showing import left_text
from runtime.bench.statistics import Range
from runtime.bench.summary import (
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

_NOTHING: Final = "-"
_REST: Final = ("slow p99\nms", "all p99\nms", "CPU s\n/10,000")

Written: TypeAlias = Callable[[float], str]


def show(document: Document, console: Console) -> None:
    """Show a measurement: the machine, the table, the answer, what to mind."""
    _say(console, machine_line(document))
    _say(console, calls_line(document.asked))
    if document.asked.rates_per_s:
        console.print(rates_table(document))
    else:
        console.print(knee_table(document))
    for line in filter(None, [*answer(document), who_saturated(document), noise(document)]):
        _say(console, line)
    for line in complaints(document):
        _say(console, f"Mind: {line}.")


def _say(console: Console, text: str) -> None:
    console.print(text, highlight=False, markup=False, soft_wrap=True)


def machine_line(document: Document) -> str:
    """Where it was measured, and how often."""
    where, asked = document.machine, document.asked
    compiled = ", SIP path compiled" if where.native else ""
    runs = f"{asked.runs} run{'s' if asked.runs > 1 else ''} of {asked.seconds:g} s"
    return (
        f"{where.cpu}, {where.cpus} CPUs, Python {where.python}, {where.layby}{compiled}; "
        f"{asked.sip_processes} SIP processes; {runs}; the generator on the same machine."
    )


def calls_line(asked: Asked) -> str:
    """What is the same in all rows of the table."""
    command = asked.command.replace("{ms}", "MS") if len(asked.durations) > 1 else asked.command
    told = [f"The command: {command.replace('{ms}', f'{asked.durations[0]:g}')}"]
    if len(asked.shares) == 1:
        told.append(f"called by {100 * asked.shares[0]:g} % of the requests")
    if len(asked.workers) == 1:
        told.append(f"{asked.workers[0]} job workers")
    return f"{', '.join(told)}."


def knee_table(document: Document) -> Table:
    """One row for each cell: where its knee is, and its figures at the rate that all of them held."""
    rate = reference_rate(document)
    at = f"at {rate:,.0f}/s" if rate else ""
    swept = _swept(document.asked)
    columns = ["knee\n/s", "saturation\n/s", f"fast p50\n{at}", "p99\nms", "p99.9\nms", *_REST]
    shown = _table([*swept, *columns])
    for result in document.cells:
        row = row_of(result, rate) if rate else None
        knee = give_or_take(knee_of(result), count)
        figures = _figures(row, ("p50", "p99", "p99.9")) if row else [_NOTHING] * 6
        open_ = "≥ " if is_open(result) and knee != _NOTHING else ""
        saturation = _middle(saturation_of(result), count)
        shown.add_row(*_names(result.cell, swept), open_ + knee, saturation, *figures)
    return shown


def rates_table(document: Document) -> Table:
    """One row for each cell and rate."""
    swept = _swept(document.asked)
    columns = ["rate\n/s", "fast p50\nms", "p95\nms", "p99\nms", "p99.9\nms", *_REST, "in time\n%"]
    shown = _table([*swept, *columns])
    for result in document.cells:
        for row in rows_of(result):
            figures = _figures(row, ("p50", "p95", "p99", "p99.9"))
            in_time = f"{100 * row.in_time / row.offered:.1f}"
            shown.add_row(*_names(result.cell, swept), count(row.rate_per_s), *figures, in_time)
    return shown


def _swept(asked: Asked) -> list[str]:
    """The columns by which cells are told apart: what has one value only is said above the table."""
    values = {"workers": asked.workers, "ms": asked.durations, "%": asked.shares}
    return ["", *(name for name, found in values.items() if len(found) > 1)]


def _names(cell: Cell, swept: Sequence[str]) -> list[str]:
    calls = bool(cell.share)
    words = {
        "": cell.flavour,
        "workers": f"{cell.workers}" if calls and cell.flavour != "mi" else "",
        "ms": f"{cell.duration_ms:g}" if calls else "",
        "%": f"{100 * cell.share:g}" if calls else "",
    }
    return [words[name] for name in swept]


def _table(columns: Sequence[str]) -> Table:
    shown = Table(box=box.SIMPLE_HEAD, padding=0)
    for place, name in enumerate(columns):
        shown.add_column(name, justify="right" if place else "left", no_wrap=True)
    return shown


def _figures(row: Row, percentiles: Iterable[str]) -> list[str]:
    fast = [(give_or_take if name == "p99" else _middle)(row.fast.get(name), milliseconds) for name in percentiles]
    rest = [give_or_take(row.slow.get("p99"), milliseconds), _middle(row.all.get("p99"), milliseconds)]
    return [*fast, *rest, give_or_take(row.cpu_s, "{:.2f}".format)]


def _middle(found: Range | None, written: Written) -> str:
    return _NOTHING if found is None else written(found.median)


def give_or_take(found: Range | None, written: Written) -> str:
    """The median of the runs, and by how many per cent of it the one that is farthest off differs."""
    if found is None:
        return _NOTHING
    if found.runs < 2 or found.median <= 0:
        return written(found.median)
    off = max(found.high - found.median, found.median - found.low) / found.median
    return f"{written(found.median)} ±{100 * off:.0f}%"


def span(found: Range | None, written: Written) -> str:
    """Median and range of the runs; the median where there was but one."""
    if found is None:
        return _NOTHING
    if found.runs < 2:
        return written(found.median)
    return f"{written(found.median)} ({written(found.low)} to {written(found.high)})"


def count(value: float) -> str:
    """A number of requests, or of requests per second."""
    return f"{value:,.0f}"


def show_plan(asked: Asked, console: Console) -> None:
    """Show what would be measured, in which order, and how long it takes about."""
    found = cells(asked)
    for cell in found:
        _say(console, f"{cell}")
    rates = ", ".join(map(count, asked.rates_per_s)) or f"from {count(asked.from_per_s)} up to the knee"
    each = left_text(expected_cell_s(asked))
    _say(console, f"Rates: {rates} requests/s, {asked.seconds:g} s each; about {each} for each of these.")
    _say(console, f"{len(found)} of these in {asked.runs} runs: about {left_text(expected_s(asked))} in all.")


def show_comparison(old: Document, new: Document, found: Sequence[Compared], console: Console) -> None:
    """Show what has changed; what has not is counted."""
    for line in differences(old, new):
        _say(console, f"Mind: {line}.")
    changed = [each for each in found if each.change != "none"]
    if changed:
        console.print(comparison_table(changed))
    _say(console, comparison_line(found))


def comparison_line(found: Sequence[Compared]) -> str:
    """How many figures changed."""
    if not found:
        return "Nothing to compare: no cell and rate that both held."
    better, worse, none = (sum(each.change == change for each in found) for change in ("better", "worse", "none"))
    return f"Of {len(found)} figures {worse} are worse, {better} better; {none} have not changed beyond the noise."


def comparison_table(found: Sequence[Compared]) -> Table:
    """A row for each figure."""
    shown = _table(["", "figure", "before", "now", "ratio", "noise", ""])
    for each in found:
        at = f" at {count(each.rate_per_s)}/s" if each.rate_per_s else ""
        written = count if each.rate_per_s is None else milliseconds
        figures = [span(each.old, written), span(each.new, written), f"{each.ratio:.2f}", f"± {each.noise:.2f} times"]
        shown.add_row(str(each.cell), each.figure + at, *figures, each.change)
    return shown
