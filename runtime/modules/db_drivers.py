"""Modules db_mysql, db_postgres and db_sqlite: accepted as scripts load them.

The drivers are part of the server, and a module's `db_url` says which of them it needs. Another database's module is
none that there is, so a script that has its data there does not start.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from runtime.modules.base import RuntimeModule
from runtime.modules.thresholds import thresholds_of
from runtime.script.declare import Parameter, ignored

if TYPE_CHECKING:
    from runtime.house import House

_BOUNDED: Final = "connecting and a statement may take 5 seconds each."
_AGAIN: Final = "what cannot be written is kept, and written when the database is there again."
_THRESHOLD: Final = Parameter(
    "exec_query_threshold", int, 0, doc="Microseconds that a statement may take before that is told; 0 for no limit."
)
_IN_URL: Final = "write what the driver is to use behind a ? in the db_url."


class _Driver(RuntimeModule):
    """What tells of slow statements.

    Class attributes:
        kind: of database, as `runtime.db.Database.kind` has it.
    """

    kind = ""

    def furnish(self, house: House) -> None:
        super().furnish(house)
        limit_us = self.settings["exec_query_threshold"]
        if limit_us > 0:
            thresholds_of(house).statements_us[self.kind] = limit_us


class DbMysql(_Driver):
    """Accepted as scripts load it. MySQL and MariaDB serve wherever a `db_url` is `mysql://user:password@host/name`."""

    name = "db_mysql"
    kind = "mysql"
    parameters = (
        _THRESHOLD,
        ignored("timeout_interval", int, 2, _BOUNDED),
        ignored("max_db_queries", int, 2, _AGAIN),
        ignored("max_db_retries", int, 3, _AGAIN),
        ignored("ps_max_col_size", int, 1024, "a column may be as long as the table lets it."),
        ignored("use_tls", int, 0, _IN_URL),
    )


class DbPostgres(_Driver):
    """Accepted as scripts load it. PostgreSQL serves wherever a `db_url` is `postgres://user:password@host/name`."""

    name = "db_postgres"
    kind = "postgresql"
    parameters = (
        _THRESHOLD,
        ignored("timeout", int, 5, _BOUNDED),
        ignored("max_db_queries", int, 2, _AGAIN),
        ignored("use_tls", int, 0, _IN_URL),
    )


class DbSqlite(RuntimeModule):
    """Accepted as scripts load it. SQLite serves wherever a `db_url` is `sqlite:///absolute/path` or `sqlite:path`."""

    name = "db_sqlite"
    parameters = (
        ignored("alloc_limit", int, 10, "rows are taken as they come."),
        ignored("load_extension", str, "", "no statement needs one."),
    )
