"""Bindings as rows: what is written is what is loaded, in a table of OpenSIPS's layout."""

from __future__ import annotations

import pytest
from sqlalchemy import inspect, text

from runtime.db import Database, DatabaseError
from runtime.location.contact import MEMORY_ONLY, Contact
from runtime.location.rows import COLUMNS, Loaded, delete_expired, is_indexed, load, location_table, next_id, replace
from runtime.location.store import User

FULL = Contact(
    *(
        7,
        "sip:a@h;x=1",
        2000,
        500,
        "call",
        3,
        1500.0,
        "sip:198.51.100.1:9",
        "<sip:p;lr>",
        "phone",
        "udp:192.0.2.1:5060",
    ),
    *(513, "<urn:uuid:1>", "attr", 0, "NAT SIPPING"),
)
BARE = Contact(8, "sip:b@h", 0, -1, "call-2", 2**31 - 1, 1600.0)


@pytest.fixture
def database(database_url: str):
    one = Database(database_url)
    yield one
    one.close()


def loaded(database: Database, place, now: float = 1700.0) -> list[Loaded]:
    with database.begin(write=False) as connection:
        return sorted(load(connection, place, now), key=lambda row: row.contact.id)


def write(database: Database, place, *users: tuple[User, list[Contact]]) -> None:
    with database.begin() as connection:
        replace(connection, place, users)


@pytest.mark.parametrize(("use_domain", "aor"), [(False, "alice"), (True, "alice@example.com"), (False, "al@ice")])
def test_what_is_written_is_loaded(database, use_domain: bool, aor: str) -> None:
    place = location_table("location", use_domain=use_domain)
    database.create_tables(place.table.metadata)
    user = User("location", aor)
    write(database, place, (user, [FULL, BARE]))
    assert loaded(database, place) == [Loaded(user, FULL), Loaded(user, BARE)]


def test_a_users_rows_are_replaced_together_and_only_theirs(database) -> None:
    place = location_table("location", use_domain=True)
    database.create_tables(place.table.metadata)
    one, other = User("location", "a@x"), User("location", "a@y")
    write(database, place, (one, [FULL]), (other, [BARE]))
    new = FULL._replace(id=9, uri="sip:new@h")
    write(database, place, (one, [new, FULL._replace(id=10, flags=MEMORY_ONLY)]), (User("location", "nobody@x"), []))
    assert loaded(database, place) == [Loaded(other, BARE), Loaded(one, new)]
    write(database, place, (one, []))
    assert loaded(database, place) == [Loaded(other, BARE)]
    write(database, place)


def test_what_has_expired_is_not_loaded_and_is_deleted(database) -> None:
    place = location_table("location")
    database.create_tables(place.table.metadata)
    user = User("location", "alice")
    write(database, place, (user, [FULL, BARE]))
    assert loaded(database, place, now=2000.0) == [Loaded(user, BARE)]
    with database.begin() as connection:
        assert delete_expired(connection, place, 2000.0) == 1
        assert next_id(connection, place) == 9
    assert loaded(database, place, now=0.0) == [Loaded(user, BARE)]


def test_the_layout_is_opensips(database) -> None:
    place = location_table("location")
    database.create_tables(place.table.metadata)
    with database.begin() as connection:
        assert [column["name"] for column in inspect(connection).get_columns("location")] == list(COLUMNS)
        assert next_id(connection, place) == 1
        assert is_indexed(connection, place)
        connection.execute(text("DROP INDEX location_aor_idx"))
        assert not is_indexed(connection, place)


def test_columns_of_other_names(database) -> None:
    place = location_table("users", names={"username": "who", "contact_id": "number"})
    database.create_tables(place.table.metadata)
    write(database, place, (User("users", "alice"), [FULL]))
    with database.begin() as connection:
        assert connection.execute(text("SELECT who, number FROM users")).all() == [("alice", 7)]
    assert loaded(database, place) == [Loaded(User("users", "alice"), FULL)]


def test_rows_that_others_wrote(database) -> None:
    place = location_table("location", use_domain=True)
    database.create_tables(place.table.metadata)
    with database.begin() as connection:
        for values in ("1, 'alice', 'x', 'sip:a@h   ', 0", "2, 'bob', NULL, 'sip:b@h', 0", "3, '', 'x', 'sip:c@h', 0"):
            statement = f"INSERT INTO location (contact_id, username, domain, contact, expires) VALUES ({values})"
            connection.execute(text(statement))
    (row,) = loaded(database, place)
    assert (row.user.aor, row.contact.uri, row.contact.q, row.contact.cseq) == ("alice@x", "sip:a@h", 1000, 13)


@pytest.mark.parametrize("agent", ["Zo\u00c3\u00ab", "\u00e9\u00ff", "plain"])
def test_the_databases_text_is_real_text(database, agent: str) -> None:
    place = location_table("location")
    database.create_tables(place.table.metadata)
    write(database, place, (User("location", "alice"), [BARE._replace(user_agent=agent)]))
    with database.begin() as connection:
        (stored,) = connection.execute(text("SELECT user_agent FROM location")).one()
    assert stored == {"Zo\u00c3\u00ab": "Zo\u00eb"}.get(agent, agent)
    (row,) = loaded(database, place)
    assert row.contact.user_agent == agent or agent == "\u00e9\u00ff"  # bytes that are no text come back as text


def test_a_time_that_does_not_fit_the_column_is_cut(database) -> None:
    place = location_table("location")
    database.create_tables(place.table.metadata)
    write(database, place, (User("location", "a"), [BARE._replace(expires_at=2**33, call_id="with\0nul")]))
    (row,) = loaded(database, place)
    assert (row.contact.expires_at, row.contact.call_id) == (2**31 - 1, "withnul")


def test_a_table_that_is_another_one_says_so(database) -> None:
    with database.begin() as connection:
        connection.execute(text("CREATE TABLE location (id INTEGER)"))
    place = location_table("location")
    with pytest.raises(DatabaseError, match=r"no such column|does not exist"):
        loaded(database, place)
