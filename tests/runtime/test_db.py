"""The database: which URLs are taken, what an error says and does not say, and connections over a fork."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from sqlalchemy import Column, Integer, MetaData, String, Table, insert, select, text

from runtime.db import Database, DatabaseError, parse_url, watch_statements

METADATA = MetaData()
PLACES = Table("places", METADATA, Column("id", Integer, primary_key=True), Column("name", String(20)))


@pytest.fixture
def database(database_url):
    one = Database(database_url, timeout_s=0.5)
    one.create_tables(METADATA)
    yield one
    one.close()


def names(database: Database) -> list[str]:
    with database.begin(write=False) as connection:
        return [name for (name,) in connection.execute(select(PLACES.c.name).order_by(PLACES.c.id))]


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("sqlite:a/b.db", "sqlite:///a/b.db"),
        ("sqlite:///var/a.db", "sqlite:////var/a.db"),
        ("postgres://u:p%40w@h:5432/d", "postgresql+psycopg://u:p%40w@h:5432/d"),
        ("postgresql://u@h/d", "postgresql+psycopg://u@h/d"),
        ("postgresql+psycopg2://u@h/d", "postgresql+psycopg2://u@h/d"),
        ("mysql://u:p@h/d", "mysql+pymysql://u:p@h/d"),
        ("mysql://opensips:opensipsrw@localhost/opensips", "mysql+pymysql://opensips:opensipsrw@localhost/opensips"),
    ],
)
def test_urls_in_either_form(text: str, read: str) -> None:
    assert parse_url(text).render_as_string(hide_password=False) == read


@pytest.mark.parametrize("text", ["", "sqlite:", "sqlite://", "sqlite::memory:", "oracle://u:secret@h/d", "secret"])
def test_what_is_no_database_is_refused_without_repeating_it(text: str) -> None:
    with pytest.raises(DatabaseError) as refused:
        parse_url(text)
    assert "secret" not in str(refused.value)


def test_another_kind_of_database_is_named_with_those_that_there_are() -> None:
    with pytest.raises(DatabaseError, match="kind 'text' is not known; there are sqlite, postgresql and mysql"):
        parse_url("text:///usr/local/etc/opensips/dbtext")


def test_the_password_is_never_shown() -> None:
    database = Database("postgresql://me:secret@127.0.0.1:1/d", timeout_s=1)
    assert str(database) == "postgresql+psycopg://me:***@127.0.0.1:1/d"
    with pytest.raises(DatabaseError) as refused, database.begin():
        pass
    assert "secret" not in str(refused.value)
    assert "127.0.0.1" in str(refused.value)
    assert "secret" not in str(Database("mysql://me@h/d?passwd=secret"))


def test_a_block_is_committed_or_not_at_all(database) -> None:
    with database.begin() as connection:
        connection.execute(insert(PLACES), [{"id": 1, "name": "a"}])

    def fail() -> None:
        with database.begin() as connection:
            connection.execute(insert(PLACES), [{"id": 2, "name": "b"}])
            raise LookupError

    with pytest.raises(LookupError):
        fail()
    assert names(database) == ["a"]
    database.create_tables(METADATA)  # what is there stays
    assert names(database) == ["a"]


def test_statements_are_not_logged(tmp_path, caplog) -> None:
    caplog.set_level(1)
    database = Database(f"sqlite:{tmp_path}/quiet.db")
    database.create_tables(METADATA)
    assert names(database) == []
    database.close()
    assert caplog.records == []


def test_an_error_says_what_the_database_said(database) -> None:
    with database.begin() as connection:
        connection.execute(insert(PLACES), [{"id": 1, "name": "a"}])
    with pytest.raises(DatabaseError, match=r"(?i)unique"), database.begin() as connection:
        connection.execute(insert(PLACES), [{"id": 1, "name": "again"}])


def test_a_file_that_cannot_be_opened(tmp_path) -> None:
    with pytest.raises(DatabaseError, match="unable to open"):
        Database(f"sqlite:{tmp_path}/no/such/folder/a.db").create_tables(METADATA)


def test_waiting_for_another_writer_ends_in_time_and_readers_do_not_wait(tmp_path) -> None:
    # Of SQLite, where there is one writer at a time.
    database, other = (Database(f"sqlite:{tmp_path}/a.db", timeout_s=0.2) for _ in range(2))
    database.create_tables(METADATA)
    with other.begin() as connection:
        connection.execute(insert(PLACES), [{"id": 1, "name": "a"}])
        assert names(database) == []
        started = time.monotonic()
        with pytest.raises(DatabaseError, match="locked"), database.begin():
            pass
        assert 0.1 < time.monotonic() - started < 2
    assert names(database) == ["a"]
    other.close()
    database.close()


def test_each_process_has_connections_of_its_own(database) -> None:
    assert names(database) == []
    if (pid := os.fork()) == 0:
        try:
            for number in range(20):
                with database.begin() as connection:
                    connection.execute(insert(PLACES), [{"name": str(number)}])
            database.close()
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
    assert len(names(database)) == 20


def test_statements_are_told_without_their_values(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[str, int, str]] = []
    monkeypatch.setattr("runtime.db._watchers", [])
    watch_statements(lambda kind, took_us, statement: told.append((kind, took_us, statement)))
    database = Database(f"sqlite:{tmp_path / 'db'}")
    with database.begin() as connection:
        connection.execute(text("SELECT :secret AS x"), {"secret": "4711"})
    database.close()

    assert [statement for _, _, statement in told] == ["BEGIN IMMEDIATE", "SELECT ? AS x"]
    assert all(kind == "sqlite" and took_us >= 0 for kind, took_us, _ in told)
