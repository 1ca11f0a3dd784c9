"""Records as rows of a database, in OpenSIPS's tables ``acc`` and ``missed_calls``, or others like them.

A table that is there is taken as it is: what has no column in it is left out, and what is longer than its column is
cut. One that is not there is made. Times are of the server's own time zone, as OpenSIPS writes them.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Column, DateTime, Index, MetaData, String, Table, Text

from runtime.columns import identity, number
from runtime.db import Database, DatabaseError, RowsRefused

log = logging.getLogger("layby.acc")

_DEFAULTS: Final = {"duration": 0, "ms_duration": 0, "setuptime": 0, "created": None}
"""What a row says of a call that it is not about."""
_TIMES: Final = ("time", "created")
_MAX_TABLES: Final = 64
"""Of which a process knows what columns they have."""


def account_table(name: str, names: Mapping[str, str], extra: Iterable[str] = ()) -> Table:
    """A table for records.

    Args:
        names: columns that are called otherwise, by OpenSIPS's names.
        extra: the columns of the extra fields.
    """

    def called(key: str) -> str:
        return names.get(key, key)

    text = {"method": 16, "from_tag": 64, "to_tag": 64, "callid": 255, "sip_code": 3, "sip_reason": 64}
    columns: list[Column[Any]] = [
        identity("id"),
        *(Column(called(key), String(most), nullable=False, server_default="") for key, most in text.items()),
        Column(called("time"), DateTime, nullable=False),
        *map(number, ("duration", "ms_duration", "setuptime")),
        Column("created", DateTime),
    ]
    known = {column.name for column in columns}
    columns += [Column(one, Text) for one in dict.fromkeys(extra) if one not in known]
    return Table(name, MetaData(), *columns, Index(f"{name}_callid_idx", called("callid")))


class Ledger:
    """The tables of a database, as the process that writes into them knows them.

    Args:
        database: which one.
        names: columns that are called otherwise, by OpenSIPS's names.
        extra: the columns of the extra fields.
    """

    def __init__(self, database: Database, names: Mapping[str, str], extra: Sequence[str]) -> None:
        self._database = database
        self._names = names
        self._extra = extra
        self._tables: dict[str, Table] = {}

    def table(self, name: str) -> Table:
        """A table as it is there; made when it is not.

        Raises:
            DatabaseError: it cannot be had.
        """
        found = self._tables.get(name)
        if found is None:
            if len(self._tables) >= _MAX_TABLES:
                self._tables.clear()  # a script that makes up their names has no end of them
            self._database.create_tables(account_table(name, self._names, self._extra).metadata)
            with self._database.begin(write=False) as connection:
                found = self._tables[name] = Table(name, MetaData(), autoload_with=connection)
            there = {column.name for column in found.columns}
            missing = [one for one in (*self._names.values(), *self._extra) if one not in there]
            if missing:
                log.warning("table %s has no column %s: it is left out", name, ", ".join(missing))
        return found

    def write(self, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write rows into a table, all or none.

        Args:
            name: the table's.
            rows: by OpenSIPS's column names, and by those of the extra fields.

        Raises:
            RowsRefused: the table will never take one of them.
            DatabaseError: they are not written.
        """
        table = self.table(name)
        try:
            fitting = [self._fit(table, row) for row in rows]
        except (ValueError, OverflowError, OSError) as error:
            raise RowsRefused(f"table {name}: {error}") from error
        try:
            with self._database.begin() as connection:
                connection.execute(table.insert(), fitting)
        except RowsRefused:
            raise
        except DatabaseError:
            self._tables.pop(name, None)  # it may have been changed, or be gone: it is looked at again
            raise

    def _fit(self, table: Table, row: Mapping[str, Any]) -> dict[str, Any]:
        found = {}
        for key, value in {**_DEFAULTS, **row}.items():
            column = table.columns.get(self._names.get(key, key))
            if column is None:
                continue
            most = getattr(column.type, "length", None)
            if key in _TIMES and value is not None:
                value = datetime.fromtimestamp(int(value))
            found[column.name] = value[:most] if most and isinstance(value, str) else value
        return found
