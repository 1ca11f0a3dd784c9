"""What must hold of a file in the Trace Event Format, so that every viewer shows it as it is meant."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

Event = dict[str, Any]
_ROUNDING_US = 0.0005


def problems(data: bytes) -> list[str]:
    """What is wrong with a trace; [] for nothing."""
    document = json.loads(data)
    events: list[Event] = document["traceEvents"]
    ends_us = document["otherData"]["seconds"] * 1e6 + 1
    return [
        *_fields(events, ends_us),
        *_tracks(events),
        *_nesting(events),
        *_spans(events),
        *_arrows(events),
    ]


def _fields(events: list[Event], ends_us: float) -> Iterator[str]:
    for event in events:
        if not {"name", "ph", "ts", "pid", "tid"} <= event.keys():
            yield f"fields are missing: {event}"
        elif event["ph"] not in "XbesftiM":
            yield f"unknown kind: {event}"
        elif not 0 <= event["ts"] <= event["ts"] + event.get("dur", 0) <= ends_us:
            yield f"outside of the window: {event}"
        elif (event["ph"] == "X") != ("dur" in event):
            yield f"a duration: {event}"
        elif not all(isinstance(event[name], int) for name in ("pid", "tid")):
            yield f"a track: {event}"
        elif not event["name"] or not event["name"].isprintable():
            yield f"a name: {event}"


def _tracks(events: list[Event]) -> Iterator[str]:
    names = [(event["pid"], event["args"]["name"]) for event in events if event["name"] == "process_name"]
    if len({pid for pid, _ in names}) != len(names) or len({name for _, name in names}) != len(names):
        yield f"processes do not have one name each: {names}"
    if unnamed := {event["pid"] for event in events} - {pid for pid, _ in names}:
        yield f"processes without a name: {unnamed}"
    threads = [event["tid"] for event in events if event["name"] == "thread_name"]
    if len(set(threads)) != len(threads) or {event["tid"] for event in events} != set(threads):
        yield f"tracks do not have one name each: {threads}"
    if len({(event["pid"], event["tid"]) for event in events}) != len(threads):
        yield "a track is of two processes"


def _slices(events: list[Event]) -> dict[int, list[Event]]:
    found: dict[int, list[Event]] = {}
    for event in events:
        if event["ph"] == "X":
            found.setdefault(event["tid"], []).append(event)
    return found


def _nesting(events: list[Event]) -> Iterator[str]:
    for slices in _slices(events).values():
        stack: list[Event] = []
        for event in sorted(slices, key=lambda one: (one["ts"], -one["dur"])):
            while stack and event["ts"] >= _end(stack[-1]) - _ROUNDING_US:
                stack.pop()
            if stack and _end(event) > _end(stack[-1]) + _ROUNDING_US:
                yield f"overlaps without lying within: {event} and {stack[-1]}"
            stack.append(event)


def _spans(events: list[Event]) -> Iterator[str]:
    begun: dict[tuple[str, str], Event] = {}
    for event in events:
        key = event.get("cat", ""), event.get("id", "")
        if event["ph"] == "b":
            if key in begun:
                yield f"begun twice: {event}"
            begun[key] = event
        elif event["ph"] == "e":
            began = begun.pop(key, None)
            if began is None or began["pid"] != event["pid"] or began["ts"] > event["ts"]:
                yield f"an end without its beginning: {event}"
    for event in begun.values():
        yield f"a beginning without its end: {event}"


def _arrows(events: list[Event]) -> Iterator[str]:
    slices = _slices(events)
    arrows: dict[str, list[Event]] = {}
    for event in events:
        if event["ph"] in "stf":
            arrows.setdefault(event["id"], []).append(event)
            if not any(one["ts"] <= event["ts"] <= _end(one) + _ROUNDING_US for one in slices.get(event["tid"], [])):
                yield f"an arrow's point outside of every slice: {event}"
    for path in arrows.values():
        if [event["ph"] for event in path] != ["s", *"t" * (len(path) - 2), "f"]:
            yield f"not an arrow from its beginning to its end: {path}"


def _end(event: Event) -> float:
    return float(event["ts"] + event["dur"])
