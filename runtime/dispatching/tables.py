"""The table ``dispatcher`` of a database: read as a whole, and written one state at a time.

A table that is there is taken as it is: columns that it lacks have their defaults. One that is not there is made.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from sqlalchemy import Column, Index, MetaData, String, Table, select, update
from sqlalchemy.exc import NoSuchTableError

from runtime.columns import identity, number
from runtime.db import Database, DatabaseError
from runtime.dispatching.destinations import MAX_DESTINATIONS, Destination
from runtime.modules.texts import bytes_text, script_text

_CHUNK: Final = 1000
_KEYS: Final = (
    "id",
    "setid",
    "destination",
    "socket",
    "state",
    "probe_mode",
    "weight",
    "priority",
    "attrs",
    "description",
)


def dispatcher_table(name: str, names: Mapping[str, str]) -> Table:
    """The table as OpenSIPS's schema has it.

    Args:
        name: the table's name.
        names: columns that are called otherwise, by OpenSIPS's names.
    """

    def called(key: str) -> str:
        return names.get(key) or key

    columns: list[Column[Any]] = [
        identity("id"),
        number(called("setid")),
        Column(called("destination"), String(192), nullable=False, server_default=""),
        Column(called("socket"), String(128)),
        number(called("state")),
        number(called("probe_mode")),
        Column(called("weight"), String(64), nullable=False, server_default="1"),
        number(called("priority")),
        Column(called("attrs"), String(128)),
        Column("description", String(64)),
    ]
    return Table(name, MetaData(), *columns, Index(f"{name}_setid_idx", called("setid")))


class DispatcherTable:
    """One partition's table.

    Args:
        database: where it is.
        name: the table's name.
        names: columns that are called otherwise, by OpenSIPS's names.
    """

    def __init__(self, database: Database, name: str, names: Mapping[str, str]) -> None:
        self.database = database
        self._name = name
        self._names = names

    def prepare(self) -> None:
        """Make the table if it is not there.

        Raises:
            DatabaseError: the database cannot be had.
        """
        self.database.create_tables(dispatcher_table(self._name, self._names).metadata)

    @contextmanager
    def rows(self) -> Iterator[Iterator[dict[str, Any]]]:
        """The table's rows in the order of their ids, by OpenSIPS's names, their texts spelled as scripts have them.

        Raises:
            DatabaseError: the database cannot be had.
        """
        with self.database.begin(write=False) as connection:
            table = self._there(connection)
            columns = {column.name: column for column in table.columns}
            wanted = {key: columns[name] for key in _KEYS if (name := self._names.get(key) or key) in columns}
            query = select(*(column.label(key) for key, column in wanted.items())).limit(2 * MAX_DESTINATIONS)
            if "id" in wanted:
                query = query.order_by(wanted["id"])
            found = connection.execution_options(yield_per=_CHUNK).execute(query)
            yield ({key: _script(value) for key, value in row.items()} for row in found.mappings())

    def save(self, states: Iterable[tuple[Destination, int]]) -> None:
        """Write states.

        Raises:
            DatabaseError: the database cannot be had, or does not take them; nothing is written then.
        """
        with self.database.begin() as connection:
            table = self._there(connection)
            column = {key: table.columns[self._names.get(key) or key] for key in ("setid", "destination", "state")}
            for one, state in states:
                chosen = (column["setid"] == one.set_id) & (column["destination"] == script_text(one.uri))
                connection.execute(update(table).where(chosen).values({column["state"]: int(state)}))

    def _there(self, connection: Any) -> Table:
        try:
            return Table(self._name, MetaData(), autoload_with=connection)
        except NoSuchTableError:
            raise DatabaseError(f"{self.database}: there is no table {self._name}") from None


def _script(value: Any) -> Any:
    return bytes_text(value) if isinstance(value, str) else value
