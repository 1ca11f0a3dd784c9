"""The SQL database: SQLAlchemy Core over SQLite, PostgreSQL or MySQL, chosen by a URL.

A process that serves SIP must not wait for a database: it puts down what is to be written where it survives, and has a
job write it (`runtime.recording`, `runtime.outbox`). What waits here waits for `timeout_s` at most. SQLAlchemy takes
longer to import than most scripts take to start, so it is imported where a database is made, and not by importing this
module.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Final

from runtime.clock import monotonic_now
from runtime.settings import SettingsError

if TYPE_CHECKING:
    from sqlalchemy import URL, Connection, Engine, MetaData

    from runtime.house import House

TIMEOUT_S: Final = 5.0
"""How long connecting, a statement, or another writer's lock may take."""
_DRIVERS: Final = {"postgres": "postgresql+psycopg", "postgresql": "postgresql+psycopg", "mysql": "mysql+pymysql"}
_watchers: list[Callable[[str, int, str], object]] = []
"""Whom to tell of the statements of this process."""
_POOL: Final = 2
"""Connections that one process keeps. It does one thing at a time; the second is for a transaction within another."""


def watch_statements(told: Callable[[str, int, str], object]) -> None:
    """Tell one more of each statement of this process.

    Args:
        told: called with the kind of database, as `Database.kind`, how many microseconds it took, and the statement
            without its values.
    """
    _watchers.append(told)


class DatabaseError(Exception):
    """The database cannot be had, or refuses a statement. The text says why and never holds the password."""


class RowsRefused(DatabaseError):
    """The database does not take these values, now or later: too long, out of range, there already."""


class Database:
    """One database, as each process sees it.

    Made before the forks; the connections are made by each process for itself when it first needs them, because a
    connection that two processes share is heard by both.

    Args:
        url: OpenSIPS's form or SQLAlchemy's: ``sqlite:relative/path``, ``sqlite:///absolute/path``,
            ``postgresql://user:password@host:5432/name``, ``mysql://user:password@host/name``. A driver may be named
            as in ``postgresql+psycopg2://``.
        timeout_s: how long connecting, a statement, or another writer's lock may take, in seconds.

    Raises:
        DatabaseError: the URL is none, or names a kind of database that is not known.
    """

    def __init__(self, url: str, *, timeout_s: float = TIMEOUT_S) -> None:
        self._url = parse_url(url)
        self._timeout_s = timeout_s
        self._engine: Engine | None = None
        self._pid = 0

    def __str__(self) -> str:
        # Without what follows the question mark: a driver may take a password there too.
        return self._url.set(query={}).render_as_string(hide_password=True)

    @property
    def kind(self) -> str:
        """``sqlite``, ``postgresql`` or ``mysql``."""
        return self._url.get_backend_name()

    def create_tables(self, metadata: MetaData) -> None:
        """Create the tables that are not there yet; those that are there stay as they are.

        Raises:
            DatabaseError: as `begin`.
        """
        with self.begin() as connection:
            metadata.create_all(connection)

    @contextlib.contextmanager
    def begin(self, *, write: bool = True) -> Iterator[Connection]:
        """A connection in a transaction, which is committed at the end of the block and rolled back when that raises.

        Args:
            write: with SQLite, whether the transaction takes the one writer's lock at once. One that reads first and
                writes later would be refused whenever somebody wrote in between.

        Raises:
            RowsRefused: a statement's values are not taken.
            DatabaseError: no connection within the time limit, or a statement failed.
        """
        from sqlalchemy.exc import SQLAlchemyError

        try:
            with (
                self._engine_here().connect() as connection,
                connection.execution_options(layby_write=write).begin(),
            ):
                yield connection
        except SQLAlchemyError as error:
            raise self._error(error) from error
        except (OverflowError, UnicodeError) as error:
            # A driver's word on a value that it cannot even hand over.
            raise RowsRefused(f"{self}: {error}") from error

    def close(self) -> None:
        """Let go of this process's connections. The next `begin` makes new ones."""
        if self._engine is not None:
            self._engine.dispose(close=self._pid == os.getpid())
            self._engine = None

    def _engine_here(self) -> Engine:
        if self._engine is None or self._pid != os.getpid():
            self.close()  # what came along through a fork is forgotten, not closed: its peer is another process's
            self._engine, self._pid = self._make(), os.getpid()
        return self._engine

    def _make(self) -> Engine:
        from sqlalchemy import create_engine, event

        try:
            engine = create_engine(
                self._url,
                pool_size=_POOL,
                max_overflow=_POOL,
                pool_timeout=self._timeout_s,
                pool_pre_ping=self.kind != "sqlite",
                hide_parameters=True,
                connect_args=_connect_args(self.kind, self._url.get_driver_name(), self._timeout_s),
            )
        except ImportError as error:
            driver = self._url.get_driver_name()
            raise DatabaseError(f"{self}: the Python package for the driver {driver} is not installed") from error
        # Where this server logs informative lines, SQLAlchemy would add each statement. Set on the very loggers: those
        # of this server look at no parent's level.
        for logger in (engine.logger, engine.pool.logger):
            if isinstance(logger, logging.Logger):
                logger.setLevel(logging.WARNING)
        for told in _watchers:
            watch = _StatementWatch(self.kind, told)
            event.listen(engine, "before_cursor_execute", watch.before)
            event.listen(engine, "after_cursor_execute", watch.after)
        if self.kind == "sqlite":
            event.listen(engine, "connect", _SqliteConnected(self._timeout_s))
            event.listen(engine, "begin", _sqlite_begin)
        return engine

    def _error(self, error: Exception) -> DatabaseError:
        from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, StatementError

        cause = getattr(error, "orig", None) or error
        text = " ".join(str(cause).split())
        password = self._url.password
        if password:
            text = text.replace(str(password), "***")
        refused = isinstance(error, DataError | IntegrityError)
        if not refused and isinstance(error, StatementError):
            refused = not isinstance(error, DBAPIError)  # it did not get as far as the database
        kind = RowsRefused if refused else DatabaseError
        return kind(f"{self}: {text or type(cause).__name__}")


class _StatementWatch:
    """Measures each statement of one engine."""

    def __init__(self, kind: str, told: Callable[[str, int, str], object]) -> None:
        self._kind = kind
        self._told = told
        self._since = 0.0

    def before(self, *_: object) -> None:
        self._since = monotonic_now()

    def after(self, connection: object, cursor: object, statement: str, *_: object) -> None:
        self._told(self._kind, int((monotonic_now() - self._since) * 1_000_000), statement)


class _SqliteConnected:
    """Settles a new SQLite connection: readers beside the writer, commits that a killed process cannot lose.

    With WAL and synchronous=NORMAL a commit is in the kernel's hands, so it outlives the process, but not a power
    failure: that takes the commits since the last checkpoint, and never the database.
    """

    def __init__(self, timeout_s: float) -> None:
        self._timeout_ms = int(timeout_s * 1000)

    def __call__(self, connection: Any, record: object) -> None:
        connection.isolation_level = None  # the driver's own idea of when a transaction starts: off
        connection.text_factory = _sqlite_text
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA busy_timeout={self._timeout_ms}")
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA synchronous=NORMAL")
        cursor.close()


def _sqlite_text(data: bytes) -> str:
    # SQLite keeps what is no UTF-8, too; one such text must not make a whole table unreadable.
    return data.decode("utf-8", "replace")


def _sqlite_begin(connection: Connection) -> None:
    write = connection.get_execution_options().get("layby_write", True)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")


def _connect_args(kind: str, driver: str, timeout_s: float) -> dict[str, Any]:
    seconds = max(1, round(timeout_s))
    match kind, driver:
        case "postgresql", _:
            # The server keeps an eye on its statements; a server that is gone without a word only TCP can tell of.
            gone = {"tcp_user_timeout": round(timeout_s * 1000), "keepalives_idle": seconds, "keepalives_interval": 1}
            return {"connect_timeout": seconds, "options": f"-c statement_timeout={round(timeout_s * 1000)}", **gone}
        case "mysql", "pymysql":
            return {"connect_timeout": seconds, "read_timeout": seconds, "write_timeout": seconds}
        case _:
            return {}


def parse_url(text: str) -> URL:
    """Read a database URL in OpenSIPS's form or in SQLAlchemy's (see `Database`).

    The two disagree about ``sqlite:///path``, and OpenSIPS's meaning is taken: an absolute path.

    Raises:
        DatabaseError: it is none. The text names the kind of database, never the rest of the URL.
    """
    from sqlalchemy import URL, make_url
    from sqlalchemy.exc import ArgumentError

    kind, colon, rest = text.partition(":")
    if not colon:
        raise DatabaseError("a database URL is written kind://user:password@host/name, or sqlite:path")
    if kind == "sqlite":
        return URL.create("sqlite", database=_sqlite_path(rest))
    name, plus, driver = kind.partition("+")
    if name not in _DRIVERS:
        raise DatabaseError(f"a database of kind {name!r} is not known; there are sqlite, postgresql and mysql")
    dialect = f"{_DRIVERS[name].partition('+')[0]}+{driver}" if plus else _DRIVERS[name]
    try:
        return make_url(f"{dialect}:{rest}")
    except (ArgumentError, ValueError):
        # Not told further: what could not be read may be the password.
        raise DatabaseError(f"the {name} URL cannot be read; write {name}://user:password@host/name") from None


def _sqlite_path(rest: str) -> str:
    path = rest.removeprefix("//")
    if not path or path == ":memory:":
        raise DatabaseError("an SQLite database must be a file, for all processes to see the same; write sqlite:path")
    return path


def database_of(url: str | None, house: House) -> Database:
    """The database that a module is to use: its own URL, or the script's ``db_default_url``.

    Args:
        url: the module's parameter ``db_url``; None or empty when the script did not set it.
        house: of the server.

    Raises:
        SettingsError: there is neither, or it cannot be read.
    """
    url = url or str(house.program.checked.globals.get("db_default_url", ""))
    if not url:
        raise SettingsError("no database: set the module's db_url, or db_default_url", "db_default_url")
    try:
        return Database(url)
    except DatabaseError as error:
        raise SettingsError(str(error), "db_url") from error
