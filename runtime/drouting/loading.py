"""From the rows of a database into a generation.

Rows come in a stream, so that memory does not grow with their number. One that is wrong is left out, counted, and told
in the log: a typing error makes one rule unusable, and not the routing of all calls.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

from runtime.background import breathe
from runtime.drouting.generation import AT_A_BREATH, Builder, user_key
from runtime.drouting.partitions import Partition
from runtime.drouting.rows import (
    CARRIER_COLUMNS,
    GATEWAY_COLUMNS,
    GROUP_COLUMNS,
    RULE_COLUMNS,
    Row,
    RuleReader,
    read_carrier,
    read_gateway,
    read_group,
)
from runtime.drouting.rules import Carrier, Gateway, Wrong

if TYPE_CHECKING:
    from sqlalchemy import Connection, Table

log = logging.getLogger("layby.drouting")

_FETCHED: Final = 500
"""Rows that come from the database at a time."""
_TOLD: Final = 20
"""Lines about wrong rows."""
_PROGRESS: Final = 100_000
"""Rules between two lines about how far it has come."""

_Read = TypeVar("_Read")


class Loaded(NamedTuple):
    """What a load has come to: how many there are of each, and how many rows are wrong, and left out."""

    gateways: int
    carriers: int
    rules: int
    groups: int
    skipped: int


def load(partition: Partition, builder: Builder, prefix_chars: Collection[str] = ()) -> Loaded:
    """Read all rows of a partition into a generation, and finish it. Tables that are not there are made.

    Args:
        prefix_chars: what prefixes may have beside digits.

    Raises:
        DatabaseError: the database cannot be had.
        StoreError: there is no room.
    """
    from runtime.drouting.tables import create_missing, tables  # SQLAlchemy takes long to import

    its = tables(partition.tables)
    create_missing(partition.database, *its)
    with partition.database.begin(write=False) as connection:
        if partition.database.kind == "postgresql":
            # All tables as they are at one moment. The others give that without being asked.
            connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        loading = _Loading(partition.name, connection, builder)
        gateways = loading.gateways(its.gateways)
        carriers = loading.carriers(its.carriers, gateways)
        builder.put_facts(gateways.values(), carriers.values())
        rules = loading.rules(its.rules, RuleReader(gateways.keys(), carriers.keys(), prefix_chars))
        groups = loading.groups(its.groups)
    builder.finish()
    loading.sum_up()
    return Loaded(len(gateways), len(carriers), rules, groups, loading.skipped)


class _Loading:
    """One load: where rows come from, where they go, and what was wrong with them."""

    def __init__(self, partition: str, connection: Connection, builder: Builder) -> None:
        self.skipped = 0
        self._partition = partition
        self._connection = connection
        self._builder = builder
        self._wrong = 0

    def gateways(self, table: Table) -> dict[str, Gateway]:
        return {one.id: one for one in self._read(table, GATEWAY_COLUMNS, read_gateway)}

    def carriers(self, table: Table, gateways: Collection[str]) -> dict[str, Carrier]:
        found = {}
        for carrier, unknown in self._read(table, CARRIER_COLUMNS, lambda row: read_carrier(row, gateways)):
            found[carrier.id] = carrier
            if unknown:
                self._tell(f"carrier {carrier.id} is used without {', '.join(unknown)[:200]}: there is none")
        return found

    def rules(self, table: Table, reader: RuleReader) -> int:
        count = 0
        for groups, prefix, rule, unknown in self._read(table, RULE_COLUMNS, reader.read):
            self._builder.add_rule(groups, prefix, rule)
            count += 1
            if unknown:
                self._tell(f"ruleid {rule.id} is used without {', '.join(unknown)[:200]}: there is none")
            if count % _PROGRESS == 0:
                log.info("%s: %d rules read", self._partition, count)
        return count

    def groups(self, table: Table) -> int:
        count = 0
        for user, domain, group in self._read(table, GROUP_COLUMNS, read_group):
            key = user_key(user, domain)
            if key is None:
                self._skip(f"user {user[:40]!r}", "the name is too long")
            else:
                self._builder.add_group(key, group)
                count += 1
        return count

    def sum_up(self) -> None:
        """Say how much was wrong, if not all of it was told."""
        if self._wrong > _TOLD:
            log.warning("%s: %d rows are wrong in all, %d of them left out", self._partition, self._wrong, self.skipped)

    def _read(self, table: Table, columns: Sequence[str], read: Callable[[Row], _Read]) -> Iterator[_Read]:
        from sqlalchemy import select

        query = select(*(table.c[name] for name in columns)).execution_options(yield_per=_FETCHED)
        for at, row in enumerate(self._connection.execute(query)):
            if at % AT_A_BREATH == 0:
                breathe()
            try:
                found = read(row)
            except Wrong as error:
                self._skip(f"{columns[0]} {str(row[0])[:40]}", str(error))
            else:
                yield found

    def _skip(self, which: str, why: str) -> None:
        self.skipped += 1
        self._tell(f"{which} is left out: {why}")

    def _tell(self, text: str) -> None:
        self._wrong += 1
        if self._wrong <= _TOLD:
            log.warning("%s: %s", self._partition, text)
