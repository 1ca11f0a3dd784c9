"""A generation: all that was loaded of a partition at one time, in an LMDB environment of its own.

It is built by one process, and never changes once others use it. They read it by key out of one map that all of them
share, without locks, so that none of them grows with the number of rules. A removed file stays readable for those who
have it open, so nobody waits for anybody when the next generation comes.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import lmdb
import msgspec

from runtime.background import breathe
from runtime.drouting.lookup import Above, entry, find, key_of, pack_rule
from runtime.drouting.rules import Carrier, Gateway, Match, Rule
from runtime.drouting.sorting import Record, Sorter
from runtime.store import StoreError

_TABLES: Final = 3
_FIRST_SIZE: Final = 64 << 20
"""Bytes of address space to begin with; doubled whenever that is too little. The file has only what is used."""
_MOST_SIZE: Final = 1 << 40
_AT_ONCE: Final = 8192
"""Records in one transaction: what is not committed yet is in this process's memory."""
AT_A_BREATH: Final = 200
"""Rules between two pauses: about a millisecond's work."""
_MAX_KEY: Final = 511
_PRIORITY_BIAS: Final = 1 << 31
_GATEWAYS: Final = b"gateways"
_CARRIERS: Final = b"carriers"


class View:
    """One partition's rules, gateways and carriers as they were loaded; another object after each load.

    Args:
        path: of the environment.
        number: of the generation; grows with each load.
        loaded_at: seconds of the epoch.
        epoch: since which generation changed states hold (`runtime.drouting.states`).

    Attributes:
        gateways: by id.
        carriers: by id.

    Raises:
        lmdb.Error: it is not there any more.
    """

    def __init__(self, path: Path, number: int, loaded_at: float, epoch: int) -> None:
        self.number = number
        self.loaded_at = loaded_at
        self.epoch = epoch
        # Without a lock: nobody writes there any more.
        environment = lmdb.open(str(path), readonly=True, lock=False, max_dbs=_TABLES, create=False, readahead=False)
        read = environment.begin()
        facts = environment.open_db(b"facts", read, create=False)
        gateways = msgspec.msgpack.decode(read.get(_GATEWAYS, b"", facts), type=list[Gateway])
        carriers = msgspec.msgpack.decode(read.get(_CARRIERS, b"", facts), type=list[Carrier])
        self.gateways: Mapping[str, Gateway] = MappingProxyType({one.id: one for one in gateways})
        self.carriers: Mapping[str, Carrier] = MappingProxyType({one.id: one for one in carriers})
        self._groups: Any = read.cursor(environment.open_db(b"groups", read, create=False))
        self._rules: Any = read.cursor(environment.open_db(b"rules", read, create=False))

    def let_go(self) -> None:
        """Give the map back, as soon as nobody looks anything up in it who has begun to.

        It is not left to the last reference to this object: whoever keeps what he has made of the gateways keeps one.
        """
        self._groups = self._rules = None

    def find(self, group: int, number: str, now: float) -> Iterator[Match]:
        """See `Routing.find`. There are none in what was let go."""
        return iter(()) if self._rules is None else find(self._rules, group, number, now)

    def group_of(self, user: str, domain: str) -> int | None:
        """See `Routing.group_of`. There are none in what was let go."""
        key, cursor = user_key(user, domain), self._groups
        if key is None or cursor is None:
            return None
        found = cursor.set_key(key) if domain else cursor.set_range(key) and cursor.key().startswith(key)
        return int.from_bytes(cursor.value(), signed=True) if found else None


def user_key(user: str, domain: str) -> bytes | None:
    """The key of a user's group; None where no user is called so, or it is too long for one.

    Domains are the same in whatever case (RFC 3261 19.1.4).
    """
    if "\0" in user or "\0" in domain:
        return None
    key = f"{user}\0{domain.lower()}".encode("utf-8", "surrogateescape")
    return key if len(key) <= _MAX_KEY else None


class Builder:
    """Builds a generation.

    Args:
        path: where the environment is to be; the folder is there, and empty but for hidden files.
    """

    def __init__(self, path: Path) -> None:
        self._environment = lmdb.open(
            str(path), map_size=_FIRST_SIZE, max_dbs=_TABLES, sync=False, metasync=False, mode=0o600, lock=False
        )
        self._sorter = Sorter(path)
        self._groups: list[Record] = []
        self._tables = {name: self._environment.open_db(name) for name in (b"facts", b"groups", b"rules")}

    def put_facts(self, gateways: Iterable[Gateway], carriers: Iterable[Carrier]) -> None:
        """All gateways and carriers.

        Raises:
            StoreError: there is no room.
        """
        packed = [
            (_CARRIERS, msgspec.msgpack.encode(list(carriers))),
            (_GATEWAYS, msgspec.msgpack.encode(list(gateways))),
        ]
        self._put(b"facts", packed)

    def add_group(self, key: bytes, group: int) -> None:
        """A user's group; the first one of a key counts.

        Args:
            key: from `user_key`.

        Raises:
            StoreError: there is no room.
        """
        self._groups.append((key, group.to_bytes(4, signed=True)))
        if len(self._groups) >= _AT_ONCE:
            self._put_groups()

    def add_rule(self, groups: Iterable[int], prefix: str, rule: Rule) -> None:
        """A rule, in all its groups.

        Raises:
            StoreError: there is no room.
        """
        packed = pack_rule(rule)
        # Behind the key comes what sorts the rules of one entry: the highest priority first, then as they are numbered.
        order = (_PRIORITY_BIAS - rule.priority).to_bytes(5) + rule.id.to_bytes(9, signed=True)
        for group in groups:
            self._sorter.add(key_of(group, prefix) + b"\0" + order, packed)

    def finish(self) -> None:
        """Put all that was added where it belongs, and let go of the files.

        Raises:
            StoreError: there is no room.
        """
        self._put_groups()
        self._put(b"rules", _entries(self._sorter.sorted()), append=True)
        self.close()

    def close(self) -> None:
        """Let go of the files; what was not finished is of no use. A process may not have them open twice."""
        self._sorter.close()
        self._environment.close()

    def _put_groups(self) -> None:
        self._put(b"groups", self._groups)
        self._groups.clear()

    def _put(self, table: bytes, records: Iterable[Record], *, append: bool = False) -> None:
        rest = iter(records)
        while some := list(itertools.islice(rest, _AT_ONCE)):
            while not self._has_put(table, some, append):
                self._grow()

    def _has_put(self, table: bytes, records: list[Record], append: bool) -> bool:
        try:
            with self._environment.begin(write=True, db=self._tables[table]) as write:
                write.cursor().putmulti(records, overwrite=False, append=append)
        except lmdb.MapFullError:
            return False
        except lmdb.Error as error:
            raise StoreError(f"a generation of routing rules cannot be written: {error}") from error
        return True

    def _grow(self) -> None:
        size = self._environment.info()["map_size"] * 2
        if size > _MOST_SIZE:
            raise StoreError("a generation of routing rules is too large")
        try:
            self._environment.set_mapsize(size)
        except (lmdb.Error, OSError) as error:
            raise StoreError(f"no address space for routing rules: {error}") from error


_ORDER_BYTES: Final = 1 + 5 + 9


def _entries(records: Iterable[Record]) -> Iterator[Record]:
    above = Above()
    for at, (key, same) in enumerate(itertools.groupby(records, _key_in)):
        if at % AT_A_BREATH == 0:
            breathe()
        yield key, entry(above.mask(key), [packed for _, packed in same])


def _key_in(record: Record) -> bytes:
    return record[0][:-_ORDER_BYTES]
