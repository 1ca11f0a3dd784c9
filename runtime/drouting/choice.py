"""Which gateways to try for a rule, and in which order."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from runtime.drouting.rules import Carrier, Gateway, Sort, Target


class Hop(NamedTuple):
    """A gateway to try.

    Args:
        gateway: which one.
        carrier: through which it came; None where the rule names the gateway itself.
    """

    gateway: Gateway
    carrier: Carrier | None = None


def hops(
    targets: Sequence[Target],
    sort: Sort,
    gateways: Mapping[str, Gateway],
    carriers: Mapping[str, Carrier],
    usable: Callable[[Gateway | Carrier], bool],
    chance: Callable[[], float],
) -> Iterator[Hop]:
    """The gateways to try, in order: of those listed, and of the carriers listed, the ones that are usable.

    They are looked for one by one: carriers can name far more than a call will ever try.

    Args:
        targets: a rule's list (`Rule.targets`), or one of the script's own.
        sort: how it is sorted; a carrier's list is sorted as the carrier says.
        gateways: those that there are, by id.
        carriers: those that there are, by id.
        usable: whether one is in use now.
        chance: gives numbers from 0 up to 1.
    """
    for target in in_order(targets, sort, chance):
        if not target.carrier:
            gateway = gateways.get(target.id)
            if gateway is not None and usable(gateway):
                yield Hop(gateway)
        else:
            carrier = carriers.get(target.id)
            if carrier is not None and usable(carrier):
                yield from _hops_of(carrier, gateways, usable, chance)


def _hops_of(
    carrier: Carrier,
    gateways: Mapping[str, Gateway],
    usable: Callable[[Gateway | Carrier], bool],
    chance: Callable[[], float],
) -> Iterator[Hop]:
    for target in in_order(carrier.targets, carrier.sort, chance):
        gateway = None if target.carrier else gateways.get(target.id)
        if gateway is not None and usable(gateway):
            yield Hop(gateway, carrier)
            if carrier.only_first:
                return


def in_order(targets: Sequence[Target], sort: Sort, chance: Callable[[], float]) -> Sequence[Target]:
    """Targets in the order in which they are to be tried.

    By weight: each next one is drawn from those that are left, as probable as its share of their weights. What has no
    weight is never drawn, and comes after those that have, as listed.
    """
    if sort is Sort.NONE or len(targets) < 2:
        return targets
    left = [target for target in targets if target.weight]
    total = sum([target.weight for target in left])
    drawn = []
    while left:
        taken = left.pop(_drawn(left, chance() * total))
        total -= taken.weight
        drawn.append(taken)
    return drawn + [target for target in targets if not target.weight]


def _drawn(targets: Sequence[Target], point: float) -> int:
    for index, target in enumerate(targets):
        point -= target.weight
        if point < 0:
            return index
    return len(targets) - 1  # where rounding has taken the point past the end
