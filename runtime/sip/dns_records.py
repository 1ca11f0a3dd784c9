"""What is asked of DNS to locate a SIP server, what it answers, and the order of SRV records (RFC 2782).

A question's type is text, an address is text, and nothing here knows a DNS library: the machine that asks
(`runtime.sip.locate`) can so be tried with any answers at all.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Callable, Iterable
from functools import lru_cache
from itertools import accumulate
from typing import Final, Literal, NamedTuple, TypeAlias

MAX_NAME_CHARS: Final = 253
"""RFC 1035 2.3.4: 255 octets in the message, which are 253 characters of text."""
MAX_LABELS: Final = 32
"""Far more than names have; a hundred records with a name of 127 labels take 15 ms to read."""
MAX_SRV_RECORDS: Final = 64
"""More of them are not looked at: the least wanted by priority are left out, and of one priority any."""

RecordType: TypeAlias = Literal["NAPTR", "SRV", "A", "AAAA"]
_LABEL: Final = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")


class Query(NamedTuple):
    """A question to DNS.

    Args:
        name: a host or domain name in ASCII; with a dot at its end no search list applies.
        type: the type of the records that are wanted.
    """

    name: str
    type: RecordType


class Srv(NamedTuple):
    """A SRV record (RFC 2782). `target` is a host name; ``.`` says that the service is not offered."""

    priority: int
    weight: int
    port: int
    target: str


class Naptr(NamedTuple):
    """A NAPTR record (RFC 3403 4.1)."""

    order: int
    preference: int
    flags: str
    service: str
    regexp: str
    replacement: str


Record: TypeAlias = Srv | Naptr | str
"""A record; those of type A and AAAA are their address as text."""


class Unanswered(enum.Enum):
    """Why there is no answer. Its text is for the log."""

    SILENCE = "DNS does not answer"
    ERROR = "DNS gives no usable answer"


def is_name(text: str) -> bool:
    """Whether DNS may be asked for this name: labels of letters, digits, ``-`` and ``_``, the last no number.

    RFC 3261 25.1 has the last label begin with a letter. Here it is enough that it is no number, so that what looks
    like an IPv4 address and is none stays away from DNS (RFC 3696 section 2).
    """
    text = text.removesuffix(".")
    return 0 < len(text) <= MAX_NAME_CHARS and _has_good_labels(text)


@lru_cache(maxsize=4096)
def _has_good_labels(text: str) -> bool:
    labels = text.split(".")
    return len(labels) <= MAX_LABELS and not labels[-1].isdecimal() and all(map(_LABEL.fullmatch, labels))


def in_srv_order(records: Iterable[Srv], random: Callable[[], float], at_most: int) -> list[Srv]:
    """Put SRV records in the order in which to try them (RFC 2782, "Usage rules").

    By priority, lowest first; within a priority by drawing, where a record's chance is its weight's share. Where
    all weights are 0 all have the same chance: the RFC lets those stand in any order.

    Args:
        records: any number, of which `MAX_SRV_RECORDS` are looked at.
        random: a number from 0 up to but without 1, anew at each call.
        at_most: how many are wanted.
    """
    left = sorted(records)[:MAX_SRV_RECORDS]
    ordered: list[Srv] = []
    while left and len(ordered) < at_most:
        rivals = [record for record in left if record.priority == left[0].priority]
        ordered.append(left.pop(_draw(rivals, random) if len(rivals) > 1 else 0))
    return ordered


def _draw(rivals: list[Srv], random: Callable[[], float]) -> int:
    # Sorting has put the weights of 0 first, as the RFC asks: only a drawn 0 finds them.
    sums = list(accumulate(max(0, record.weight) for record in rivals))
    if sums[-1] == 0:
        return int(random() * len(rivals))
    drawn = int(random() * (sums[-1] + 1))
    return next(at for at, total in enumerate(sums) if total >= drawn)
