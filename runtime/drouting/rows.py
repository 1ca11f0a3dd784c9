"""Rows of the tables of dynamic routing, read into what they stand for.

A row comes as its columns in the order that is listed here. What is wrong in it raises `Wrong`.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Final, NamedTuple, TypeVar

from runtime.drouting.rules import (
    MAX_ID,
    Carrier,
    Gateway,
    Rule,
    State,
    Target,
    Wrong,
    read_groups,
    read_prefix,
    read_sort,
    read_state,
    read_targets,
)
from runtime.drouting.timerec import Malformed, read_moments

GATEWAY_COLUMNS: Final = (
    "gwid",
    "type",
    "address",
    "strip",
    "pri_prefix",
    "attrs",
    "probe_mode",
    "state",
    "socket",
    "description",
)
CARRIER_COLUMNS: Final = ("carrierid", "gwlist", "flags", "sort_alg", "state", "attrs", "description")
RULE_COLUMNS: Final = (
    "ruleid",
    "groupid",
    "prefix",
    "timerec",
    "priority",
    "routeid",
    "gwlist",
    "sort_alg",
    "sort_profile",
    "attrs",
)
GROUP_COLUMNS: Final = ("username", "domain", "groupid")

_ONLY_FIRST: Final = 1
_SWITCHED_OFF: Final = 2
_KNOWN: Final = 10_000
"""Texts that are kept read: thousands of rules have the same list, or the same times."""
_32_BITS: Final = range(-(2**31), 2**31)
_64_BITS: Final = range(-(2**63), 2**63)

Row = Sequence[Any]
_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


class Placed(NamedTuple):
    """A rule, and where it belongs.

    Args:
        groups: those that it is in.
        prefix: what numbers begin with that it is for.
        rule: what is to be done with them.
        unknown: the ids in its list that name nothing, and are left out.
    """

    groups: Sequence[int]
    prefix: str
    rule: Rule
    unknown: Sequence[str]


def read_gateway(row: Row) -> Gateway:
    """Read a row of `GATEWAY_COLUMNS`.

    Raises:
        Wrong: something in it is.
    """
    id, kind, address, strip, pri_prefix, attrs, probe_mode, state, socket, description = row
    address = _text(address).strip()
    if not address:
        raise Wrong("it has no address")
    mode = _integer(probe_mode, "probe_mode")
    if mode not in (0, 1, 2):
        raise Wrong(f"probe_mode {mode} is none of 0, 1 and 2")
    return Gateway(
        _id(id),
        _integer(kind, "type"),
        address,
        max(0, _integer(strip, "strip")),
        _text(pri_prefix),
        _text(attrs),
        mode,
        read_state(_integer(state, "state")),
        _text(socket).strip(),
        _text(description),
    )


def read_carrier(row: Row, gateways: Collection[str]) -> tuple[Carrier, Sequence[str]]:
    """Read a row of `CARRIER_COLUMNS`.

    Args:
        gateways: the ids that there are.

    Returns:
        the carrier, and the ids in its list that name nothing, and are left out.

    Raises:
        Wrong: something in it is.
    """
    id, gwlist, flags, sort_alg, state, attrs, description = row
    targets, unknown = _known_targets(_text(gwlist), gateways, ())
    bits = _integer(flags, "flags")
    off = bits & _SWITCHED_OFF or read_state(_integer(state, "state")) is not State.ACTIVE
    carrier = Carrier(
        _id(id),
        targets,
        read_sort(_text(sort_alg)),
        bool(bits & _ONLY_FIRST),
        State.INACTIVE if off else State.ACTIVE,
        _text(attrs),
        _text(description),
    )
    return carrier, unknown


class RuleReader:
    """Reads rows of `RULE_COLUMNS`.

    Args:
        gateways: the ids that there are.
        carriers: the ids that there are.
        prefix_chars: what prefixes may have beside digits.
    """

    def __init__(self, gateways: Collection[str], carriers: Collection[str], prefix_chars: Collection[str]) -> None:
        self._gateways = gateways
        self._carriers = carriers
        self._prefix_chars = prefix_chars
        self._lists: dict[str, tuple[tuple[Target, ...], Sequence[str]]] = {}
        self._times: dict[str, None] = {}

    def read(self, row: Row) -> Placed:
        """Read one.

        Raises:
            Wrong: something in it is.
        """
        id, groupid, prefix, timerec, priority, routeid, gwlist, sort_alg, profile, attrs = row
        targets, unknown = self._targets(_text(gwlist))
        rule = Rule(
            _integer(id, "ruleid", _64_BITS),
            _integer(priority, "priority"),
            self._time(_text(timerec).strip()),
            _route(_text(routeid)),
            targets,
            read_sort(_text(sort_alg)),
            _integer(profile or 0, "sort_profile"),
            _text(attrs),
        )
        return Placed(read_groups(_text(groupid)), read_prefix(_text(prefix), self._prefix_chars), rule, unknown)

    def _targets(self, text: str) -> tuple[tuple[Target, ...], Sequence[str]]:
        known = self._lists.get(text)
        if known is None:
            known = _known_targets(text, self._gateways, self._carriers)
            _keep(self._lists, text, known)
        return known

    def _time(self, text: str) -> str:
        if text and text not in self._times:
            try:
                read_moments(text)
            except Malformed as error:
                raise Wrong(f"timerec: {error}") from error
            _keep(self._times, text, None)
        return text


def read_group(row: Row) -> tuple[str, str, int]:
    """Read a row of `GROUP_COLUMNS`: user, domain, group.

    Raises:
        Wrong: something in it is.
    """
    user, domain, group = row
    if not user:
        raise Wrong("it has no username")
    return _text(user), _text(domain), _integer(group, "groupid")


def _known_targets(
    text: str, gateways: Collection[str], carriers: Collection[str]
) -> tuple[tuple[Target, ...], Sequence[str]]:
    """Those of a list that there are, and the names of the others."""
    known, unknown = [], []
    for one in read_targets(text):
        if one.id in (carriers if one.carrier else gateways):
            known.append(one)
        else:
            unknown.append(str(one))
    if unknown and not known:
        raise Wrong(f"there is no {', '.join(unknown)[:100]}, and it names nothing else")
    return tuple(known), unknown


def _route(text: str) -> str:
    # 0 is how tables that once had a number there say that there is none.
    return "" if text.strip() == "0" else text.strip()


def _id(value: Any) -> str:
    id = _text(value).strip().removeprefix("#")
    if not id or len(id.encode("utf-8", "replace")) > MAX_ID or not id.isprintable() or any(one in id for one in ",;="):
        raise Wrong(f"{id[:40]!r} cannot be an id")
    return id


def _text(value: Any) -> str:
    if isinstance(value, bytes):  # a column of another type than OpenSIPS has, or a table that never had types
        try:
            return value.decode()
        except UnicodeDecodeError:
            raise Wrong(f"{value[:20]!r} is no text") from None
    return "" if value is None else str(value)


def _integer(value: Any, name: str, among: range = _32_BITS) -> int:
    # SQLite keeps whatever it is given, whatever the column's type.
    try:
        number = int(value)
    except (TypeError, ValueError, OverflowError):
        raise Wrong(f"{name} {str(value)[:20]!r} is no number") from None
    if number not in among:
        raise Wrong(f"{name} {number} is too large")
    return number


def _keep(known: dict[_Key, _Value], key: _Key, value: _Value) -> None:
    if len(known) >= _KNOWN:
        known.clear()
    known[key] = value
