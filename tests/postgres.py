"""A PostgreSQL server of the tests' own: one cluster for a test process, reached through a Unix socket.

Nothing that it writes need survive, so it never syncs. It ends with the test process, however that ends.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import itertools
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import psycopg
import pytest

from runtime.db import Database
from tests.harness import wait_until

_SETTINGS = (
    "listen_addresses=",
    "fsync=off",
    "synchronous_commit=off",
    "full_page_writes=off",
    "autovacuum=off",
    "shared_buffers=16MB",
    "max_connections=40",
)
_PR_SET_PDEATHSIG = 1


@functools.cache
def programs() -> Path | None:
    """Where initdb and postgres are: of the newest version, or None."""
    found = [path for path in Path("/usr/lib/postgresql").glob("*/bin") if (path / "initdb").exists()]
    found.sort(key=lambda path: [int(part) for part in path.parent.name.split(".") if part.isdecimal()])
    if found:
        return found[-1]
    there = shutil.which("initdb")
    return Path(there).parent if there else None


class Postgres:
    """A running cluster.

    Args:
        folder: of its own, and short: a socket lies there.
        bin: where its programs are.
    """

    def __init__(self, folder: Path, bin: Path) -> None:
        self._folder = folder
        self._serial = itertools.count(1)
        # It refuses to be root's.
        self._as: dict[str, Any] = {"user": "postgres", "extra_groups": []} if os.geteuid() == 0 else {}
        if self._as:
            shutil.chown(folder, "postgres")
        self._run(
            [
                bin / "initdb",
                "-D",
                folder / "data",
                "-A",
                "trust",
                "-U",
                "tests",
                "-E",
                "UTF8",
                "--no-locale",
                "--no-sync",
            ]
        )
        settings = [part for one in _SETTINGS for part in ("-c", one)]
        with (folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [bin / "postgres", "-D", folder / "data", "-k", folder, *settings],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=_ends_with_its_parent,
                **self._as,
            )
        wait_until(self._answers, 30, what="PostgreSQL answers")

    def new_place(self) -> str:
        """The URL of a place where nobody has a table yet: a user's with a schema of the same name."""
        user = f"user{next(self._serial)}"
        with self._connect() as connection:
            connection.execute(f"CREATE ROLE {user} LOGIN")
            connection.execute(f"CREATE SCHEMA AUTHORIZATION {user}")
        return f"postgresql://{user}@/postgres?host={self._folder}"

    def stop(self) -> None:
        self._process.send_signal(signal.SIGINT)  # which does not wait for its clients
        self._process.wait(20)

    def _run(self, command: Sequence[Any]) -> None:
        done = subprocess.run(command, capture_output=True, check=False, cwd="/", **self._as)
        assert done.returncode == 0, done.stderr.decode()

    def _connect(self) -> psycopg.Connection[Any]:
        return psycopg.connect(host=str(self._folder), user="tests", dbname="postgres", autocommit=True)

    def _answers(self) -> bool:
        assert self._process.poll() is None, (self._folder / "log").read_text()
        try:
            self._connect().close()
        except psycopg.OperationalError:
            return False
        return True


def _ends_with_its_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGINT)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """The cluster; made when the first test asks for it."""
    bin = programs()
    if bin is None:
        pytest.skip("the programs of a PostgreSQL server (initdb, postgres) are not installed")
    with tempfile.TemporaryDirectory(prefix="laybypg", ignore_cleanup_errors=True) as folder:
        cluster = Postgres(Path(folder), bin)
        yield cluster
        cluster.stop()


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a database with nothing in it, of each kind in turn."""
    if request.param == "sqlite":
        return f"sqlite:{tmp_path}/test.db"
    cluster: Postgres = request.getfixturevalue("postgres")
    return cluster.new_place()


@contextlib.contextmanager
def locked(url: str, table: str) -> Iterator[None]:
    """Have nobody else write into a table. With SQLite that is the whole database."""
    database = Database(url)
    with database.begin() as connection:
        if database.kind == "postgresql":
            connection.exec_driver_sql(f"LOCK TABLE {table}")
        yield
    database.close()
