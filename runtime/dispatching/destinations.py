"""What a destination is, what rows of a database say of it, and how its state changes.

Destinations are numbered by **slots**: where a destination's state and its counters are in memory that all processes
share. One keeps its slot over reloads, and so what is known of it; a slot is free again when no partition has it.
"""

from __future__ import annotations

import enum
import ipaddress
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, NamedTuple, TypeAlias

from runtime.sip.uri import parse_uri

MAX_DESTINATIONS: Final = 1 << 16
"""Of all partitions together."""
MAX_WEIGHT: Final = 1_000_000
MAX_URI: Final = 512
MAX_ATTRS: Final = 4096
_MAX_NUMBER: Final = 1 << 31


class State(enum.IntEnum):
    """A destination's state, by the number that the table has for it."""

    ACTIVE = 0
    INACTIVE = 1
    PROBING = 2

    @property
    def title(self) -> str:
        """As `ds_list` shows it."""
        return self.name.capitalize()


class ProbeMode(enum.IntEnum):
    """When a destination is probed, by the number that the table has for it."""

    AS_MODULE = 0
    """As ``ds_probing_mode`` says."""
    WHEN_PROBING = 1
    ALWAYS = 2


class Destination(NamedTuple):
    """One destination of a set.

    Args:
        set_id: of which set.
        uri: its address, as the table has it.
        state: as the table has it, what it begins with.
        weight: its share among those of its set.
        priority: the higher, the further in front in its set.
        attrs: what the script gets to see when it is chosen.
        socket: the socket to send from, as the table has it; empty for whichever fits.
        send_socket: that socket's index.
        probe_mode: when it is probed.
        description: for people.
        slot: where its state is.
    """

    set_id: int
    uri: str
    state: int = State.ACTIVE
    weight: int = 1
    priority: int = 0
    attrs: str = ""
    socket: str = ""
    send_socket: int | None = None
    probe_mode: int = ProbeMode.AS_MODULE
    description: str = ""
    slot: int = -1

    @property
    def key(self) -> Key:
        """What makes it the same destination after a reload."""
        return self.set_id, self.uri, self.socket


Key: TypeAlias = tuple[int, str, str]
Row: TypeAlias = Mapping[str, Any]


class Refused(Exception):
    """A row is no destination; the text says why."""


def destination_of(row: Row, socket_of: Callable[[str], int | None]) -> Destination:
    """Read a row of the table, by OpenSIPS's names of columns; those that are not there have their defaults.

    Args:
        row: its texts spelled as scripts have them.
        socket_of: finds the index of a listening socket.

    Raises:
        Refused: it is none.
    """
    uri = str(row.get("destination") or "").strip()
    found = parse_uri(uri) if len(uri) <= MAX_URI else None
    if found is None or not found.host:
        raise Refused("the destination is no SIP URI")
    socket = str(row.get("socket") or "").strip()
    send_socket = socket_of(socket) if socket else None
    if socket and send_socket is None:
        raise Refused(f"{socket:.64} is no socket of this server")
    return Destination(
        _number(row, "setid", 0, _MAX_NUMBER),
        uri,
        _number(row, "state", 0, max(State)),
        _number(row, "weight", 1, MAX_WEIGHT),
        _number(row, "priority", 0, _MAX_NUMBER, least=-_MAX_NUMBER),
        str(row.get("attrs") or "")[:MAX_ATTRS],
        socket,
        send_socket,
        _number(row, "probe_mode", 0, max(ProbeMode)),
        str(row.get("description") or "")[:MAX_ATTRS],
    )


def _number(row: Row, column: str, default: int, most: int, *, least: int = 0) -> int:
    value = row.get(column)
    if value is None or value == "":
        return default
    try:
        number = int(str(value)[:20])
    except ValueError:
        raise Refused(f"{column} is no number") from None
    if not least <= number <= most:
        raise Refused(f"{column} is not from {least} to {most}")
    return number


class Read(NamedTuple):
    """What rows gave.

    Args:
        destinations: set by set, the highest priority first, else in the order of the rows. They have no slots yet.
        refused: for each row that was skipped, its id and why.
    """

    destinations: list[Destination]
    refused: list[str]


def read_rows(rows: Iterable[Row], socket_of: Callable[[str], int | None]) -> Read:
    """Read all rows of a table. Bad ones keep nobody else out."""
    found: dict[Key, Destination] = {}
    refused: list[str] = []
    for row in rows:
        try:
            one = destination_of(row, socket_of)
            if one.key in found:
                raise Refused(f"set {one.set_id} has {one.uri:.64} already")
            if len(found) >= MAX_DESTINATIONS:
                raise Refused(f"there are more than {MAX_DESTINATIONS}")
        except Refused as why:
            refused.append(f"row {row.get('id')}: {why}")
        else:
            found[one.key] = one
    return Read(sorted(found.values(), key=lambda one: (one.set_id, -one.priority)), refused)


def allot(wanted: Iterable[Key], had: Mapping[Key, int], taken: set[int]) -> list[int]:
    """Give each destination a slot: the one that it had, or else a free one.

    Args:
        wanted: the destinations.
        had: the slots of those that this partition has now.
        taken: the slots that other partitions have.

    Raises:
        Refused: there are not enough.
    """
    wanted = list(wanted)
    used = taken | set(had.values())
    free = (slot for slot in range(MAX_DESTINATIONS) if slot not in used)
    slots = [had[key] if key in had else next(free, -1) for key in wanted]
    if -1 in slots:
        raise Refused(f"there are more than {MAX_DESTINATIONS} destinations")
    return slots


class Word(enum.Enum):
    """What is said of a destination."""

    ANSWERED = enum.auto()
    FAILED = enum.auto()


class Health(NamedTuple):
    """A destination's state, and how often in a row it has failed since it was last known to be well."""

    state: int
    failures: int = 0


def after(health: Health, word: Word, threshold: int) -> Health:
    """What becomes of a destination. Who was made inactive stays so until somebody says otherwise.

    Args:
        health: as it is.
        word: what is said of it.
        threshold: how many failures an active destination may have, the last one included.
    """
    if health.state == State.INACTIVE:
        return health
    if word is Word.ANSWERED:
        return Health(State.ACTIVE)
    failures = min(health.failures + 1, threshold)
    if health.state == State.ACTIVE and failures < threshold:
        return Health(State.ACTIVE, failures)
    return Health(State.PROBING, failures)


def address_of(uri: str) -> tuple[str, int] | None:
    """The IP address of a destination and its port, 0 where it names none; None where it has a name."""
    found = parse_uri(uri)
    try:
        return None if found is None else (ipaddress.ip_address(found.host.strip("[]")).compressed, found.port or 0)
    except ValueError:
        return None
