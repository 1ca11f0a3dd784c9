"""A trace in a few lines: how much of what there was, and what took longest, with file and line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final

from runtime.tracing.events import Event, Trace

_LONGEST: Final = 8
_TIMED: Final = ("statement", "command", "job", "reload")
"""Of which the longest are listed."""


def summary_of(trace: Trace) -> list[str]:
    """What is to be said of a trace."""
    by_category: dict[str, list[Event]] = {}
    for event in trace.events:
        if event.ph == "X":
            by_category.setdefault(event.cat, []).append(event)
    spans = spans_of(trace.events)
    lines = [
        f"{trace.other.get('seconds', 0):g} s, {_tracks(trace.events)} processes",
        _messages(by_category.get("message", [])),
        _parked([span for span in spans if span[0].cat == "parking"]),
        _jobs(by_category.get("job", []), [span for span in spans if span[0].cat == "job"]),
    ]
    lines += [f"{event.name} ({_name_of(trace.events, event)})" for event in _ends(trace.events)]
    longest = _longest(trace.events, by_category, spans)
    if longest:
        lines += ["longest:", *longest]
    dropped = trace.other.get("dropped", {})
    if dropped:
        shown = ", ".join(f"{number} by {peer}" for peer, number in dropped.items())
        lines.append(f"not recorded for want of room: {shown}")
    return lines


def spans_of(events: Iterable[Event]) -> list[tuple[Event, Event]]:
    """The two ends of each span that slices may overlap, in the order of their ends."""
    open_: dict[tuple[str, str | None], Event] = {}
    found: list[tuple[Event, Event]] = []
    for event in events:
        if event.ph == "b":
            open_[event.cat, event.id] = event
        elif event.ph == "e" and (began := open_.pop((event.cat, event.id), None)) is not None:
            found.append((began, event))
    return found


def names_of(events: Iterable[Event]) -> dict[int, str]:
    """What each track is called."""
    return {event.pid: str(event.args.get("name", "")) for event in events if event.name == "process_name"}


def _tracks(events: Iterable[Event]) -> int:
    return len(names_of(events))


def _name_of(events: Iterable[Event], event: Event) -> str:
    return names_of(events).get(event.pid, "")


def _messages(found: Sequence[Event]) -> str:
    kinds = Counter(event.name for event in found)
    shown = ", ".join(f"{number} {name}" for name, number in kinds.most_common(6))
    return f"messages: {len(found)}" + (f" ({shown})" if shown else "")


def _parked(spans: Sequence[tuple[Event, Event]]) -> str:
    if not spans:
        return "parked: 0"
    waits = sorted(end.ts - began.ts for began, end in spans)
    return f"parked: {len(spans)}, half of them longer than {_ms(waits[len(waits) // 2])}, the longest {_ms(waits[-1])}"


def _jobs(slices: Sequence[Event], spans: Sequence[tuple[Event, Event]]) -> str:
    run = [event for event in slices if "job" in event.args]
    lost = sum("lost" in event.args for event in run) + sum("lost" in began.args for began, _ in spans)
    return f"jobs: {len(run)}" + (f", {lost} lost with their process" if lost else "")


def _ends(events: Iterable[Event]) -> list[Event]:
    return [event for event in events if event.ph == "i" and "ended: " in event.name]


def _longest(
    events: Sequence[Event], slices: dict[str, list[Event]], spans: Sequence[tuple[Event, Event]]
) -> list[str]:
    timed = [(event.dur or 0.0, event) for cat in _TIMED for event in slices.get(cat, ())]
    timed += [(end.ts - began.ts, began) for began, end in spans if began.cat in _TIMED]
    timed.sort(key=lambda one: -one[0])
    names = names_of(events)
    return [
        f"  {_ms(took):>10}  {event.name}  {_where(event)}  {names.get(event.pid, '')}"
        for took, event in timed[:_LONGEST]
    ]


def _where(event: Event) -> str:
    return str(event.args.get("place", event.args.get("job", "")))


def _ms(us: float) -> str:
    return f"{us / 1000:.3f} ms"
