"""The destinations that are left to try, as AVPs of the message: they outlive the process that chose them.

Of each AVP the newest value, the last of its list, is of the destination that is tried now, the one before it of the
next, as OpenSIPS has them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

from runtime.context import Value
from runtime.dispatching.destinations import Destination
from runtime.dispatching.partitions import PartitionSettings

Avps: TypeAlias = dict[str, list[Value]]


class Tried(NamedTuple):
    """Which destination is tried now."""

    set_id: int
    uri: str
    socket: str


def put_aside(
    avps: Avps,
    settings: PartitionSettings,
    chosen: Sequence[Destination],
    script_attrs: Sequence[str],
    *,
    behind: bool,
) -> bool:
    """Put down what is to be tried.

    Args:
        avps: the message's.
        settings: they name the AVPs.
        chosen: the destinations in their order.
        script_attrs: what scripts have said of each.
        behind: whether what is there already goes first; otherwise it is forgotten.

    Returns:
        Whether the first of them is the one to be tried now.
    """
    there = len(avps.get(settings.dst_avp, ())) if behind else 0
    kept: tuple[tuple[str, list[Value]], ...] = (
        (settings.dst_avp, [one.uri for one in chosen]),
        (settings.grp_avp, [one.set_id for one in chosen]),
        (settings.sock_avp, [one.socket for one in chosen]),
        (settings.attrs_avp, [one.attrs for one in chosen]),
        (settings.script_attrs_avp, list(script_attrs)),
    )
    for avp, values in kept:
        if avp:
            avps[avp] = values[::-1] + (avps.get(avp, []) if behind else [])
    avps[settings.cnt_avp] = [there + len(chosen)]
    return not there


def tried_now(avps: Avps, settings: PartitionSettings) -> Tried | None:
    """The destination that is tried now; None where none was put down, or a script has put something else there."""
    uri, set_id = _newest(avps, settings.dst_avp), _newest(avps, settings.grp_avp)
    if not isinstance(uri, str) or not isinstance(set_id, int):
        return None
    return Tried(set_id, uri, str(_newest(avps, settings.sock_avp) or ""))


def drop(avps: Avps, settings: PartitionSettings) -> bool:
    """Take away the destination that is tried now; whether another one is left."""
    left = len(avps.get(settings.dst_avp, ())) - 1
    if left < 0:
        return False
    kept = (settings.dst_avp, settings.grp_avp, settings.sock_avp, settings.attrs_avp, settings.script_attrs_avp)
    for avp in kept:
        values = avps.get(avp)
        if values:
            values.pop()
            if not values:
                del avps[avp]
    avps[settings.cnt_avp] = [left]
    return left > 0


def _newest(avps: Avps, avp: str) -> Value:
    values = avps.get(avp)
    return values[-1] if values else None
