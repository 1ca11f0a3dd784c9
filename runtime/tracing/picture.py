"""A part of a trace as a drawing (SVG), for a page that cannot open it in a viewer."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from html import escape
from typing import Final, NamedTuple

from runtime.tracing.events import Event, Trace
from runtime.tracing.summary import names_of, spans_of

_WIDTH: Final = 1200
_LEFT: Final = 150
_RIGHT: Final = 30
_TOP: Final = 64
_LANE: Final = 18
_GAP: Final = 10
_LETTER: Final = 6.2
_LEAST: Final = 1.5
_TICKS: Final = 8
_MOST_LANES: Final = 6
_ROUNDING_US: Final = 0.0005
# Okabe and Ito's palette, told apart by colour-blind readers too.
_COLOURS: Final = {
    "message": "#56B4E9",
    "route": "#B9DDF3",
    "statement": "#F0E442",
    "command": "#D55E00",
    "sent": "#009E73",
    "resume": "#0072B2",
    "job": "#E69F00",
    "parking": "#E4E4E4",
    "socket": "#F3F3F3",
    "reload": "#CC79A7",
}
_PALE_TEXT: Final = ("command", "resume", "sent")
_MEANINGS: Final = {
    "message": "a message is taken",
    "route": "a route",
    "statement": "a statement",
    "command": "an MI command here and now",
    "parking": "parked",
    "job": "a job",
    "resume": "resumed",
    "sent": "a message is sent",
}


class Window(NamedTuple):
    """What is shown, in microseconds of the trace."""

    start: float
    end: float


class _Box(NamedTuple):
    event: Event
    start: float
    end: float
    lane: int


def window_of(trace: Trace) -> Window:
    """A window around the first context that was parked for a job and resumed; all of it where there is none."""
    ran = {event.args.get("job") for event in trace.events if event.ph == "X" and event.cat == "job"}
    for began, end in spans_of(trace.events):
        if began.cat == "parking" and began.id in ran and end.ts > began.ts:
            margin = (end.ts - began.ts) * 0.2
            return Window(max(0.0, began.ts - margin), end.ts + margin)
    return Window(0.0, max((event.end for event in trace.events), default=1.0))


def draw(trace: Trace, window: Window, title: str) -> str:
    """Draw what lies in a window.

    Args:
        trace: the trace.
        window: which part of it.
        title: stands above.
    """
    scale = (_WIDTH - _LEFT - _RIGHT) / max(1e-9, window.end - window.start)
    drawing = _Drawing(trace.events, window, scale)
    return drawing.text(title)


def _free(boxes: Iterable[_Box]) -> int:
    """The first lane below all of them."""
    return max((box.lane for box in boxes), default=-1) + 1


def _round(least: float) -> float:
    """The smallest of 1, 2, 5, 10, 20 … that is not below `least`."""
    step = 1.0
    for factor in itertools.cycle((2, 2.5, 2)):
        if step >= least:
            break
        step *= factor
    return step


class _Drawing:
    def __init__(self, events: Sequence[Event], window: Window, scale: float) -> None:
        self._events = events
        self._window = window
        self._scale = scale
        self._lanes: dict[int, list[_Box]] = {}
        self._slices: dict[int, dict[int, list[Event]]] = {}
        """What each track has, by its process."""
        for event in events:
            if event.ph == "X":
                self._slices.setdefault(event.pid, {}).setdefault(event.tid, []).append(event)
        self._spans = sorted(spans_of(events), key=lambda one: one[0].ts)
        self._tops: dict[int, int] = {}
        self._bases: dict[int, int] = {}
        """The lane in which the slices of a track begin, among those of its process."""
        self._parts: list[str] = []

    def text(self, title: str) -> str:
        for pid in names_of(self._events):
            boxes = self._boxes(pid)
            if boxes:
                self._lanes[pid] = boxes
        bottom = self._tracks(_TOP)
        self._arrows()
        self._moments()
        self._legend(bottom + 8)
        height = bottom + 34
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" '
            f'height="{height}" font-family="DejaVu Sans, Verdana, sans-serif" font-size="11">'
            f'<rect width="{_WIDTH}" height="{height}" fill="#ffffff"/>'
            '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
            'orient="auto"><path d="M0,0 L8,4 L0,8 z" fill="#444444"/></marker></defs>'
            f'<text x="10" y="22" font-size="14" font-weight="bold">{escape(title)}</text>'
        )
        return "\n".join([head, *self._axis(bottom), *self._parts, "</svg>"]) + "\n"

    # Where things go.

    def _x(self, ts: float) -> float:
        return _LEFT + (min(max(ts, self._window.start), self._window.end) - self._window.start) * self._scale

    def _shows(self, start: float, end: float) -> bool:
        return end >= self._window.start and start <= self._window.end

    def _boxes(self, pid: int) -> list[_Box]:
        """What a process has in the window: slices by how deep they lie, and below them what may overlap."""
        found: list[_Box] = []
        for tid, slices in sorted(self._slices.get(pid, {}).items()):
            self._bases[tid] = _free(found)
            found += self._nested(slices, self._bases[tid])
        first = _free(found)
        ends: list[float] = []
        for began, end in self._spans:
            if began.pid == pid and self._shows(began.ts, end.ts):
                lane = next((number for number, until in enumerate(ends) if until <= began.ts), len(ends))
                ends[lane : lane + 1] = [end.ts]
                found.append(_Box(began, began.ts, end.ts, first + lane))
        return found

    def _nested(self, slices: list[Event], base: int) -> Iterator[_Box]:
        stack: list[float] = []
        for event in sorted(slices, key=lambda one: (one.ts, -one.end)):
            while stack and event.ts >= stack[-1] - _ROUNDING_US:
                stack.pop()
            if self._shows(event.ts, event.end) and len(stack) < _MOST_LANES:
                yield _Box(event, event.ts, event.end, base + len(stack))
            stack.append(event.end)

    # Drawing.

    def _tracks(self, top: int) -> int:
        names = names_of(self._events)
        for pid, boxes in self._lanes.items():
            self._tops[pid] = top
            height = (max(box.lane for box in boxes) + 1) * _LANE
            self._parts.append(
                f'<rect x="{_LEFT}" y="{top - 3}" width="{_WIDTH - _LEFT - _RIGHT}" height="{height + 6}" '
                'fill="#fafafa" stroke="#dddddd"/>'
            )
            peer, _, kind = names[pid].partition(" ")
            self._parts.append(f'<text x="10" y="{top + 12}" font-weight="bold">{escape(peer)}</text>')
            self._parts.append(f'<text x="10" y="{top + 26}" fill="#666666">{escape(kind)}</text>')
            for box in boxes:
                self._box(box, top)
            top += max(height, 2 * _LANE) + _GAP
        return top

    def _box(self, box: _Box, top: int) -> None:
        x, y = self._x(box.start), top + box.lane * _LANE
        width = max(_LEAST, self._x(box.end) - x)
        cat = box.event.cat
        lost = "lost" in box.event.args
        fill = "#CC0000" if lost else _COLOURS.get(cat, "#cccccc")
        name = box.event.name + (" (lost)" if lost else "")
        self._parts.append(
            f'<rect x="{x:.1f}" y="{y}" width="{width:.1f}" height="{_LANE - 2}" rx="2" fill="{fill}" '
            f'stroke="#00000033"><title>{escape(name)} {(box.end - box.start) / 1000:.3f} ms</title></rect>'
        )
        room = int((width - 6) / _LETTER)
        if room >= 4:
            shown = name if len(name) <= room else name[: room - 1] + "…"
            colour = "#ffffff" if lost or cat in _PALE_TEXT else "#222222"
            self._parts.append(f'<text x="{x + 3:.1f}" y="{y + 12}" fill="{colour}">{escape(shown)}</text>')

    def _arrows(self) -> None:
        points: dict[str, list[Event]] = {}
        for event in self._events:
            if event.ph in ("s", "t", "f") and event.id is not None:
                points.setdefault(event.id, []).append(event)
        for path in points.values():
            for start, end in itertools.pairwise(path):
                if start.pid in self._tops and end.pid in self._tops and self._inside(start) and self._inside(end):
                    self._arrow(start, end)

    def _inside(self, event: Event) -> bool:
        return self._window.start <= event.ts <= self._window.end

    def _arrow(self, start: Event, end: Event) -> None:
        x1, x2 = self._x(start.ts), self._x(end.ts)
        y1, y2 = self._middle(start), self._middle(end)
        # Out of a job its arrow leaves where the job ends.
        job = self._job_at(start)
        if job is not None:
            x1 = self._x(min(job.end, end.ts))
        bend = max(12.0, abs(x2 - x1) / 3)
        self._parts.append(
            f'<path d="M{x1:.1f},{y1:.1f} C{x1 + bend:.1f},{y1:.1f} {x2 - bend:.1f},{y2:.1f} {x2:.1f},{y2:.1f}" '
            'fill="none" stroke="#444444" stroke-width="1.2" marker-end="url(#tip)"/>'
        )

    def _middle(self, event: Event) -> float:
        return self._tops[event.pid] + self._bases[event.tid] * _LANE + _LANE / 2 - 1

    def _job_at(self, point: Event) -> _Box | None:
        boxes = self._lanes[point.pid]
        found = [
            box
            for box in boxes
            if box.event.tid == point.tid and box.event.cat == "job" and box.start <= point.ts <= box.end
        ]
        return found[0] if found else None

    def _moments(self) -> None:
        for event in self._events:
            if event.ph == "i" and event.pid in self._tops and self._inside(event):
                x, y = self._x(event.ts), self._tops[event.pid]
                self._parts.append(
                    f'<path d="M{x:.1f},{y - 3} v{_LANE + 2}" stroke="#CC0000" stroke-width="2">'
                    f"<title>{escape(event.name)}</title></path>"
                    f'<text x="{x + 4:.1f}" y="{y + _LANE + 9}" fill="#CC0000">{escape(event.name)}</text>'
                )

    def _axis(self, bottom: int) -> Iterator[str]:
        step = _round((self._window.end - self._window.start) / _TICKS)
        ts = self._window.start
        while ts <= self._window.end:
            x = self._x(ts)
            shown = f"{(ts - self._window.start) / 1000:g} ms"
            yield f'<path d="M{x:.1f},{_TOP - 16} V{bottom - 4}" stroke="#e5e5e5"/>'
            yield f'<text x="{x:.1f}" y="{_TOP - 20}" fill="#666666" text-anchor="middle">{shown}</text>'
            ts += step

    def _legend(self, y: int) -> None:
        x = float(_LEFT)
        for cat, meaning in _MEANINGS.items():
            self._parts.append(
                f'<rect x="{x:.0f}" y="{y}" width="12" height="12" fill="{_COLOURS[cat]}" stroke="#00000033"/>'
            )
            self._parts.append(f'<text x="{x + 17:.0f}" y="{y + 10}" fill="#444444">{meaning}</text>')
            x += 34 + len(meaning) * _LETTER
