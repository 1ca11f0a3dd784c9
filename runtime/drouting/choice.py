"""Which gateways to try for a rule, and in which order."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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
) -> list[Hop]:
    """The gateways to try, in order: of those listed, and of the carriers listed, the ones that are usable.

    Args:
        targets: a rule's list (`Rule.targets`), or one of the script's own.
        sort: how it is sorted; a carrier's list is sorted as the carrier says.
        gateways: those that there are, by id.
        carriers: those that there are, by id.
        usable: whether one is in use now.
        chance: gives numbers from 0 up to 1.
    """
    raise NotImplementedError
