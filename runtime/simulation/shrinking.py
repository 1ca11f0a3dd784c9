"""Making a plan whose run fails shorter: what is left is what it takes.

Delta debugging (Zeller, Hildebrandt: Simplifying and Isolating Failure-Inducing Input, 2002) over what happens in the
plan, by halves first and one by one at last; then the network's faults, and processes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeAlias

from msgspec.structs import replace

from runtime.simulation.plan import Item, Network, Plan

Fails: TypeAlias = Callable[[Plan], bool]
"""Runs a plan; whether it fails in the way that is looked for."""


def shrink(plan: Plan, fails: Fails, at_most: int = 300) -> Plan:
    """Make a failing plan shorter.

    Args:
        plan: it fails.
        fails: runs a plan.
        at_most: so many runs.

    Returns:
        A plan that fails; the same one where nothing can be left out.
    """
    left = [at_most]

    def tried(one: Plan) -> bool:
        left[0] -= 1
        return left[0] >= 0 and fails(one)

    plan = _fewer_items(plan, tried)
    for calmer in _calmer(plan):
        if tried(calmer):
            plan = calmer
            break
    return _fewer_items(plan, tried)


def _fewer_items(plan: Plan, fails: Fails) -> Plan:
    parts = 2
    while len(plan.items) > 1 and parts <= 2 * len(plan.items):
        shorter = next((one for one in _without_one(plan, parts) if fails(one)), None)
        if shorter is not None:
            plan, parts = shorter, max(2, parts - 1)
        elif parts >= len(plan.items):
            break
        else:
            parts = min(2 * parts, len(plan.items))
    return plan


def _without_one(plan: Plan, parts: int) -> Iterator[Plan]:
    items, count = plan.items, len(plan.items)
    for part in range(parts):
        begins, ends = count * part // parts, count * (part + 1) // parts
        kept: list[Item] = [*items[:begins], *items[ends:]]
        yield replace(plan, items=kept)


def _calmer(plan: Plan) -> Iterator[Plan]:
    """Without what the network does wrong, all of it if that is possible."""
    calm = replace(plan.network, loss=0.0, duplicate=0.0, late=0.0)
    if plan.network == calm:
        return
    yield replace(plan, network=calm)
    names = [name for name in ("loss", "duplicate", "late") if getattr(plan.network, name)]
    for name in names:
        yield replace(plan, network=_without(plan.network, name))


def _without(network: Network, name: str) -> Network:
    match name:
        case "loss":
            return replace(network, loss=0.0)
        case "duplicate":
            return replace(network, duplicate=0.0)
        case _:
            return replace(network, late=0.0)
