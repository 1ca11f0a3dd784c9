"""What dynamic routing knows: gateways, carriers and rules, and how the columns of their tables are read.

Source: OpenSIPS, module drouting, tables dr_gateways, dr_carriers and dr_rules.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Collection
from functools import lru_cache
from typing import Final, NamedTuple

import msgspec

MAX_PREFIX: Final = 64
"""Characters of a rule's prefix."""
MAX_ID: Final = 128
"""Bytes of a gateway's or carrier's id in UTF-8."""
MAX_TARGETS: Final = 256
"""Of one rule or carrier; and gateways that one rule gives a call to try, with those of its carriers."""
MAX_GROUPS: Final = 1024
"""Of one rule."""
_KNOWN_LISTS: Final = 1024
"""Of groups, that are kept read: millions of rules have few of them."""
_MAX_WEIGHT: Final = 1_000_000
_GROUP_RANGE: Final = range(-(2**31), 2**31)
_NUMBER: Final = re.compile(r"[+-]?[0-9]{1,10}\Z")
_DIGITS: Final = frozenset("0123456789")


class State(enum.IntEnum):
    """Whether a gateway or a carrier is used; the numbers are those of the column ``state``."""

    ACTIVE = 0
    INACTIVE = 1
    """Switched off by a command, until a command switches it on."""
    PROBING = 2
    """Failed; used again as soon as it answers a probe."""


class Sort(enum.StrEnum):
    """In which order targets are tried (column ``sort_alg``)."""

    NONE = "N"
    """As they are listed."""
    WEIGHT = "W"
    """By chance, each by its weight."""


class Target(msgspec.Struct, frozen=True, array_like=True):
    """One entry of a list of gateways.

    Args:
        id: of a gateway, or of a carrier.
        weight: for `Sort.WEIGHT`; 0 where none is given.
        carrier: whether it is a carrier.
    """

    id: str
    weight: int = 0
    carrier: bool = False

    def __str__(self) -> str:
        return f"#{self.id}" if self.carrier else self.id


class Rule(msgspec.Struct, frozen=True, array_like=True):
    """A routing rule as one of its groups and prefixes has it.

    Args:
        id: the row's ``ruleid``.
        priority: the higher one is tried first.
        timerec: when it is valid (`runtime.drouting.recurrence`); empty for always.
        route: the script route to run when it matches; empty for none.
        targets: what to try, as listed.
        sort: in which order.
        profile: the column ``sort_profile``, which no sorting that there is here reads.
        attrs: for the script.
    """

    id: int
    priority: int
    timerec: str
    route: str
    targets: tuple[Target, ...]
    sort: Sort
    profile: int
    attrs: str


class Gateway(msgspec.Struct, frozen=True, array_like=True):
    """A destination: a row of dr_gateways.

    Args:
        id: the column ``gwid``.
        type: a class that its operator chose.
        address: host, ``host:port`` or a SIP URI.
        strip: characters to take off the front of the user part.
        pri_prefix: what to put there instead.
        attrs: for the script.
        probe_mode: 0 never, 1 while it is in `State.PROBING`, 2 always.
        state: what the table says; `Routing.state` says what holds now.
        socket: to send from; empty for any.
        description: for people.
    """

    id: str
    type: int
    address: str
    strip: int
    pri_prefix: str
    attrs: str
    probe_mode: int
    state: State
    socket: str
    description: str


class Carrier(msgspec.Struct, frozen=True, array_like=True):
    """A named list of gateways: a row of dr_carriers.

    Args:
        id: the column ``carrierid``.
        targets: its gateways, as listed.
        sort: in which order they are tried.
        only_first: whether only the first usable one is (bit 0 of the column ``flags``).
        state: what the table says, or `State.INACTIVE` where bit 1 of ``flags`` is set.
        attrs: for the script.
        description: for people.
    """

    id: str
    targets: tuple[Target, ...]
    sort: Sort
    only_first: bool
    state: State
    attrs: str
    description: str


class Match(NamedTuple):
    """A rule that fits a number.

    Args:
        rule: which one.
        prefix: of the number, as the rule has it; empty for a default rule.
    """

    rule: Rule
    prefix: str


class Wrong(Exception):
    """A row that cannot be used; the text says why."""


def read_targets(text: str) -> tuple[Target, ...]:
    """Read a list of gateways, e.g. ``gw1=10,gw2=20,#carrier1``.

    Raises:
        Wrong: it is none.
    """
    entries = [entry.strip() for entry in re.split("[,;]", text)]
    found = tuple(_target(entry) for entry in entries if entry)
    if len(found) > MAX_TARGETS:
        raise Wrong(f"more than {MAX_TARGETS} gateways in one list")
    return found


def _target(entry: str) -> Target:
    name, equals, weight = entry.partition("=")
    carrier = name.startswith("#")
    name = name.removeprefix("#").strip()
    if not name or len(name.encode()) > MAX_ID:
        raise Wrong(f"{entry[:40]!r} names no gateway")
    if equals and not (weight.strip().isascii() and weight.strip().isdecimal() and int(weight[:12]) <= _MAX_WEIGHT):
        raise Wrong(f"{entry[:40]!r}: the weight is no number up to {_MAX_WEIGHT}")
    return Target(name, int(weight) if equals else 0, carrier)


@lru_cache(_KNOWN_LISTS)
def read_groups(text: str) -> tuple[int, ...]:
    """Read a rule's list of groups, e.g. ``0,2``.

    Raises:
        Wrong: it is none.
    """
    numbers = [entry.strip() for entry in re.split("[,;]", text)]
    if not all(_NUMBER.match(number) and int(number) in _GROUP_RANGE for number in numbers):
        raise Wrong(f"{text[:40]!r} is no list of groups")
    if len(numbers) > MAX_GROUPS:
        raise Wrong(f"more than {MAX_GROUPS} groups")
    return tuple(dict.fromkeys(map(int, numbers)))


def read_prefix(text: str, extra: Collection[str] = ()) -> str:
    """Read a rule's prefix.

    Args:
        extra: ASCII characters that it may have beside digits (OpenSIPS's ``extra_prefix_chars``).

    Raises:
        Wrong: it has others, or too many.
    """
    prefix = text.strip()
    if len(prefix) > MAX_PREFIX:
        raise Wrong(f"a prefix of more than {MAX_PREFIX} characters")
    if not _DIGITS.issuperset(prefix):
        odd = sorted(one for one in set(prefix) - _DIGITS if one not in extra or not "!" <= one <= "~")
        if odd:
            raise Wrong(f"prefix {prefix!r}: {''.join(odd)!r} cannot be in one")
    return prefix


def read_sort(text: str) -> Sort:
    """Read the column ``sort_alg``; ``O`` and ``0``, which older tables have, stand for `Sort.NONE`.

    Raises:
        Wrong: there is no such algorithm here.
    """
    match text.strip().upper():
        case "" | "N" | "O" | "0":
            return Sort.NONE
        case "W":
            return Sort.WEIGHT
        case "Q":
            raise Wrong("sort_alg Q sorts by quality, which the module qrouting does and is not there")
        case other:
            raise Wrong(f"sort_alg {other[:10]!r} is none; there are N and W")


def read_state(number: int) -> State:
    """Read the column ``state``.

    Raises:
        Wrong: there is no such state.
    """
    try:
        return State(number)
    except ValueError:
        raise Wrong(f"state {number} is none; there are 0, 1 and 2") from None
