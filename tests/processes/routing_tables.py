"""Tables of dynamic routing in an SQLite database, and gateways that are phones of the test."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sql

from runtime.db import Database
from runtime.drouting.partitions import TableNames
from runtime.drouting.tables import create_missing, partition_table, tables
from tests.sip_peer import Peer


class RoutingTables:
    """The tables of one partition.

    Args:
        url: of the database.
        names: of the tables.
    """

    def __init__(self, url: str, names: TableNames | None = None) -> None:
        self.database = Database(url)
        self.tables = tables(names or TableNames())
        create_missing(self.database, *self.tables)

    def gateway(self, gwid: str, at: Peer | int | str, **more: Any) -> None:
        """Put a gateway into the table, at a phone, a port of this machine, or an address."""
        place = at.port if isinstance(at, Peer) else at
        self._insert(
            self.tables.gateways,
            gwid=gwid,
            address=place if isinstance(place, str) else f"127.0.0.1:{place}",
            **more,
        )

    def rule(self, prefix: str, gwlist: str, groupid: str = "0", **more: Any) -> None:
        self._insert(self.tables.rules, prefix=prefix, gwlist=gwlist, groupid=groupid, **more)

    def carrier(self, carrierid: str, gwlist: str, **more: Any) -> None:
        self._insert(self.tables.carriers, carrierid=carrierid, gwlist=gwlist, **more)

    def group(self, username: str, domain: str, groupid: int) -> None:
        self._insert(self.tables.groups, username=username, domain=domain, groupid=groupid)

    def partition(self, partition_name: str, **more: Any) -> None:
        """Put a partition into the table of partitions that is in the same database."""
        table = partition_table("dr_partitions")
        create_missing(self.database, table)
        self._insert(table, partition_name=partition_name, **more)

    def drop_rules(self) -> None:
        with self.database.begin() as connection:
            connection.execute(sql.delete(self.tables.rules))

    def state(self, gwid: str) -> int:
        """The state that the table has."""
        table = self.tables.gateways
        with self.database.begin(write=False) as connection:
            return int(connection.execute(sql.select(table.c.state).where(table.c.gwid == gwid)).scalar_one())

    def close(self) -> None:
        self.database.close()

    def _insert(self, table: sql.Table, **values: Any) -> None:
        with self.database.begin() as connection:
            connection.execute(sql.insert(table).values(**values))


def sqlite_url(path: Path) -> str:
    return f"sqlite:///{path}"


@contextmanager
def phones(count: int, server_port: int = 0) -> Iterator[list[Peer]]:
    """So many phones, for gateways before there is a server, or callers of one."""
    made = [Peer(server_port) for _ in range(count)]
    yield made
    for one in made:
        one.close()
