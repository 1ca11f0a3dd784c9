"""Faults, drawn from a seed before anything runs: when processes die or stop, and what the network does."""

from __future__ import annotations

import random
from collections.abc import Collection, Iterable

from msgspec.structs import replace

from runtime.simulation.events import Fault
from runtime.simulation.plan import Crash, CrashAt, CrashInJob, Item, Network, Plan, Reload, Send, Stall
from runtime.steps import ServerStep
from workers.steps import Step

_ATTENDANTS = frozenset(
    ["DEATH_SEEN", "REAPED", "ROWS_CLEARED", "PEER_TOLD", "FORK_DUE", "FORKED", "PROCESS_HEARD", "BORN", "SET_UP"]
)
"""Steps that no simulated process comes to: the attendant's, and those of its forks."""
_CANCELLED = 0.2
"""Which part of the callers of INVITEs give up."""
_CANCEL_WITHIN_S = 0.1
_STEPS = [
    *(str(step) for step in ServerStep),
    *(str(step) for step in Step if step.name not in _ATTENDANTS),
]


def draw_faults(plan: Plan, kinds: Collection[Fault], every_s: float) -> Plan:
    """Add faults to a plan, while its callers send.

    Args:
        plan: the traffic. Its seed is the faults', too.
        kinds: which faults.
        every_s: the mean time between two faults of the kinds that befall processes.
    """
    chance = random.Random(f"{plan.seed} faults")
    times = [item.at_s for item in plan.items]
    begins, ends = min(times, default=0.0), max(times, default=0.0)
    found = list(_befalling(plan, kinds, chance, begins, ends, every_s))
    items = [*_cancelling(plan.items, chance)] if "cancel" in kinds else plan.items
    return replace(plan, items=sorted([*items, *found], key=_at), network=_network(plan.network, kinds))


def _at(item: Item) -> float:
    return item.at_s


def _network(network: Network, kinds: Collection[Fault]) -> Network:
    return replace(
        network,
        loss=0.02 if "loss" in kinds else network.loss,
        duplicate=0.02 if "duplicate" in kinds else network.duplicate,
        late=0.02 if "delay" in kinds else network.late,
    )


def _cancelling(items: Iterable[Item], chance: random.Random) -> Iterable[Item]:
    for item in items:
        if isinstance(item, Send) and item.data.startswith("INVITE ") and chance.random() < _CANCELLED:
            yield replace(item, cancel_at_s=item.at_s + chance.uniform(0.0, _CANCEL_WITHIN_S))
        else:
            yield item


def _befalling(
    plan: Plan, kinds: Collection[Fault], chance: random.Random, begins: float, ends: float, every_s: float
) -> Iterable[Item]:
    sips = [f"sip-{number}" for number in range(1, plan.sip + 1)]
    workers = [f"worker-{number}" for number in range(1, plan.workers + 1)]
    wanted = [kind for kind in ("crash", "stall", "reload", "slow") if kind in kinds]
    at_s = begins
    while wanted and (at_s := at_s + chance.expovariate(1 / every_s)) < ends:
        match chance.choice(wanted):
            case "crash" if chance.random() < 0.3 and workers:
                yield CrashInJob(at_s)
            case "crash" if chance.random() < 0.5:
                name = chance.choice([*sips, *workers, "mi-1"])
                yield CrashAt(at_s, name, chance.choice(_STEPS), chance.randint(1, 5))
            case "crash":
                yield Crash(at_s, chance.choice([*sips, *workers, "mi-1"]))
            case "stall":
                yield Stall(at_s, chance.choice([*sips, *workers]), chance.choice([0.001, 0.02, 0.3, 2.0]))
            case "reload":
                yield Reload(at_s)
            case _:
                yield Stall(at_s, chance.choice(workers or sips), chance.uniform(0.005, 0.2))
