"""Rows for tests of dynamic routing."""

from __future__ import annotations

from typing import Any

from runtime.db import Database
from runtime.drouting.partitions import TableNames
from runtime.drouting.tables import Tables, create_missing, tables


class Rows:
    """The tables of a partition, to write into.

    Args:
        database: that they are in.
        names: what they are called.
    """

    def __init__(self, database: Database, names: TableNames = TableNames()) -> None:  # noqa: B008
        self.database = database
        self.tables: Tables = tables(names)
        create_missing(database, *self.tables)

    def gateways(self, *ids: str, **columns: Any) -> None:
        self._insert("gateways", [{"gwid": id, "address": f"{id}.example.com", **columns} for id in ids])

    def carriers(self, **lists: str) -> None:
        self._insert("carriers", [{"carrierid": id, "gwlist": gwlist} for id, gwlist in lists.items()])

    def rule(self, prefix: str, gwlist: str = "gw1", **columns: Any) -> None:
        self._insert("rules", [{"groupid": "0", "prefix": prefix, "gwlist": gwlist, **columns}])

    def group(self, user: str, domain: str | None, group: int) -> None:
        self._insert("groups", [{"username": user, "domain": domain, "groupid": group}])

    def clear(self, *names: str) -> None:
        with self.database.begin() as connection:
            for name in names:
                connection.execute(getattr(self.tables, name).delete())

    def _insert(self, table: str, rows: list[dict[str, Any]]) -> None:
        with self.database.begin() as connection:
            connection.execute(getattr(self.tables, table).insert(), rows)
