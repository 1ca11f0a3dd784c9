"""Plots as SVG, made by hand so that the page needs nothing from anywhere. No I/O."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from html import escape
from typing import Final

from msgspec import Struct

WIDTH: Final = 460
HEIGHT: Final = 270
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 12, 30, 42

# Okabe and Ito's palette, told apart by colour-blind readers too; the dashes tell the lines apart without colour.
LOOKS: Final = {
    "none": ("var(--ink)", "1 3"),
    "mi": ("#D55E00", ""),
    "async": ("#0072B2", "7 3"),
    "launch": ("#009E73", "6 3 1 3"),
    "gather": ("#CC79A7", "3 3"),
}
_OTHERS: Final = (("#0072B2", ""), ("#D55E00", "7 3"), ("#009E73", "3 3"), ("#CC79A7", "6 3 1 3"), ("#56B4E9", ""))


def look(name: str, place: int) -> tuple[str, str]:
    """The colour and the dashes of a line: a flavour's own, else by its place among the lines."""
    return LOOKS.get(name) or _OTHERS[place % len(_OTHERS)]


class Line(Struct, frozen=True):
    """A line of a plot.

    Args:
        name: in the title that a browser shows.
        look: colour and dashes.
        points: x and y, by ascending x.
        knee: the x at which a mark stands, if there is one.
    """

    name: str
    look: tuple[str, str]
    points: Sequence[tuple[float, float]]
    knee: float | None = None


class Scale(Struct, frozen=True):
    """An axis: from what to what in values, and in pixels."""

    low: float
    high: float
    start: float
    end: float
    logarithmic: bool

    def at(self, value: float) -> float:
        """Where a value stands; what lies outside stands at the edge."""
        value = min(max(value, self.low), self.high)
        if self.logarithmic:
            share = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)

    def ticks(self) -> list[float]:
        """Values to write at the axis."""
        return _log_ticks(self.low, self.high) if self.logarithmic else _even_ticks(self.low, self.high)


def scale(values: Sequence[float], start: float, end: float, logarithmic: bool) -> Scale:
    """An axis that has room for all of the values."""
    if logarithmic:
        positive = [value for value in values if value > 0] or [1.0]
        low, high = min(positive) / 1.15, max(positive) * 1.15
    else:
        low, high = 0.0, max([*values, 0.0]) * 1.08 or 1.0
    return Scale(low, high, start, end, logarithmic)


def _log_ticks(low: float, high: float) -> list[float]:
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    steps = (1, 2, 5) if len(decades) <= 4 else (1,)
    return [value for decade in decades for step in steps if low <= (value := step * 10.0**decade) <= high]


def _even_ticks(low: float, high: float) -> list[float]:
    step = 10.0 ** math.floor(math.log10((high - low) / 2))
    step = next(step * more for more in (1, 2, 5, 10) if (high - low) / (step * more) <= 5)
    return [low + number * step for number in range(math.floor((high - low) / step + 1e-9) + 1)]


def plot(
    title: str,
    lines: Sequence[Line],
    axes: tuple[str, str],
    logarithmic: tuple[bool, bool] = (True, True),
) -> str:
    """A plot of lines as an SVG element.

    Args:
        title: stands above.
        lines: what is drawn; those without points are left out.
        axes: what is written along x and y.
        logarithmic: whether x and y are.
    """
    drawn = [line for line in lines if line.points]
    if not drawn:
        return ""
    xs = scale([x for line in drawn for x, _ in line.points], _LEFT, WIDTH - _RIGHT, logarithmic[0])
    ys = scale([y for line in drawn for _, y in line.points], HEIGHT - _BOTTOM, _TOP, logarithmic[1])
    parts = [*_frame(title, axes, xs, ys), *(part for line in drawn for part in _line(line, xs, ys))]
    return _svg(title, parts)


def _svg(title: str, parts: Sequence[str]) -> str:
    label = f'role="img" aria-label="{escape(title)}"'
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" {label}>{"".join(parts)}</svg>'


def _frame(title: str, axes: tuple[str, str], xs: Scale, ys: Scale) -> Iterator[str]:
    yield f'<text class="title" x="{_LEFT}" y="18">{escape(title)}</text>'
    bottom, right = HEIGHT - _BOTTOM, WIDTH - _RIGHT
    for tick in xs.ticks():
        x = f"{xs.at(tick):.1f}"
        yield f'<path class="grid" d="M{x} {_TOP}V{bottom}"/>'
        yield f'<text class="tick" x="{x}" y="{bottom + 15}" text-anchor="middle">{number(tick)}</text>'
    for tick in ys.ticks():
        y = ys.at(tick)
        yield f'<path class="grid" d="M{_LEFT} {y:.1f}H{right}"/>'
        yield f'<text class="tick" x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{number(tick)}</text>'
    middle = (_LEFT + right) / 2
    yield f'<text class="axis" x="{middle:.0f}" y="{HEIGHT - 8}" text-anchor="middle">{escape(axes[0])}</text>'
    at = f'transform="translate(13 {(_TOP + bottom) / 2:.0f}) rotate(-90)"'
    yield f'<text class="axis" {at} text-anchor="middle">{escape(axes[1])}</text>'


def _line(line: Line, xs: Scale, ys: Scale) -> Iterator[str]:
    colour, dashes = line.look
    stroke = f'stroke="{colour}" stroke-dasharray="{dashes}"'
    way = "L".join(f"{xs.at(x):.1f} {ys.at(y):.1f}" for x, y in line.points)
    yield f'<path class="line" d="M{way}" {stroke}><title>{escape(line.name)}</title></path>'
    if len(line.points) <= 40:
        for x, y in line.points:
            told = f"{line.name}: {number(x)}, {number(y)}"
            dot = f'<circle cx="{xs.at(x):.1f}" cy="{ys.at(y):.1f}" r="2.6" fill="{colour}">'
            yield f"{dot}<title>{escape(told)}</title></circle>"
    if line.knee is not None and xs.low <= line.knee <= xs.high:
        x = xs.at(line.knee)
        yield f'<path class="knee" d="M{x:.1f} {_TOP}V{HEIGHT - _BOTTOM}" {stroke}/>'
        yield f'<path d="M{x - 5:.1f} {_TOP}h10l-5 8z" fill="{colour}"><title>{escape(line.name)}: knee</title></path>'


def bars(title: str, names: Sequence[tuple[str, tuple[str, str]]], values: Sequence[tuple[float, float, float]]) -> str:
    """Bars with a whisker from the least to the most, as an SVG element.

    Args:
        title: stands above.
        names: of the bars, with their looks.
        values: median, least and most of each.
    """
    xs = scale([high for _, _, high in values], 150, WIDTH - 66, False)
    height = min(30.0, (HEIGHT - _TOP - 10) / max(1, len(values)))
    parts = [f'<text class="title" x="12" y="18">{escape(title)}</text>']
    for place, ((name, (colour, _)), (middle, low, high)) in enumerate(zip(names, values, strict=True)):
        y = _TOP + place * height
        centre = y + height / 2
        parts += [
            f'<text class="tick" x="144" y="{centre + 4:.1f}" text-anchor="end">{escape(name)}</text>',
            f'<rect x="150" y="{y + 3:.1f}" width="{max(1.0, xs.at(middle) - 150):.1f}" height="{height - 6:.1f}" '
            f'fill="{colour}" opacity=".75"/>',
            f'<path class="whisker" d="M{xs.at(low):.1f} {centre:.1f}H{xs.at(high):.1f}"/>',
            f'<text class="tick" x="{xs.at(high) + 6:.1f}" y="{centre + 4:.1f}">{middle:.2f}</text>',
        ]
    return _svg(title, parts)


def number(value: float) -> str:
    """A value at an axis: short, with a k for thousands."""
    if value >= 1_000:
        return f"{value / 1_000:g}k" if value % 1_000 == 0 else f"{value / 1_000:.3g}k"
    return f"{value:.3g}"


def beside(drawn: Sequence[str], entries: Sequence[tuple[str, tuple[str, str]]], style: str) -> str:
    """Plots side by side as a picture by itself, and below them what the lines mean.

    Args:
        drawn: what `plot` gave.
        entries: names and looks, as for `legend`.
        style: the page's style sheet.
    """
    width, height = WIDTH * len(drawn), HEIGHT + 26
    parts = [f'<g transform="translate({place * WIDTH} 0)">{each}</g>' for place, each in enumerate(drawn)]
    for place, (name, (colour, dashes)) in enumerate(entries):
        x = _LEFT + 110 * place
        parts.append(f'<path class="line" d="M{x} {HEIGHT + 8}h30" stroke="{colour}" stroke-dasharray="{dashes}"/>')
        parts.append(f'<text class="axis" x="{x + 36}" y="{HEIGHT + 12}">{escape(name)}</text>')
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}">'
    words = "svg { font-family: system-ui, sans-serif; }"
    paper = '<rect width="100%" height="100%" fill="var(--paper)"/>'
    return "\n".join([head, f"<style>{style}{words}</style>", paper, *parts, "</svg>", ""])


def legend(entries: Sequence[tuple[str, tuple[str, str]]]) -> str:
    """What the lines of all plots mean, as HTML."""
    return "".join(
        f'<span class="key"><svg width="34" height="10"><path class="line" d="M1 5H33" stroke="{colour}" '
        f'stroke-dasharray="{dashes}"/></svg> {escape(name)}</span>'
        for name, (colour, dashes) in entries
    )
