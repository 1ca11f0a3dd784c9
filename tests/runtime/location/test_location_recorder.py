"""From the shared store into the database: what is marked is recorded, and who waits is told, in one process here."""

from __future__ import annotations

import asyncio
import re
from types import SimpleNamespace

import pytest

from runtime.clock import epoch_now
from runtime.db import Database, DatabaseError
from runtime.location.bindings import Accepted, Limits, Registration, Updated, Wanted, register
from runtime.location.recorder import (
    Recorder,
    Recording,
    Waiting,
    enter,
    finish,
    flush_bindings,
    flushed,
    load_tables,
    record_bindings,
)
from runtime.location.rows import load, location_table
from runtime.location.store import Locations, User
from runtime.roles import FLUSH_BINDINGS, RECORD_BINDINGS
from runtime.status_reports import StatusReports
from runtime.store import Store
from tests.postgres import locked
from tests.workers.house import House

ALICE, BOB = User("location", "alice"), User("location", "bob")


@pytest.fixture
def loop():
    one = asyncio.new_event_loop()
    yield one
    one.close()


@pytest.fixture
def house(tmp, loop):
    one = House(tmp, loop, "unix")
    yield one
    one.close()


@pytest.fixture
def store(tmp_path):
    one = Store(tmp_path / "store")
    yield one
    one.close()


@pytest.fixture
def locations(store):
    return Locations(store)


@pytest.fixture
def recording(database_url: str, locations):
    database = Database(database_url, timeout_s=0.5)
    one = Recording(database, location_table)
    enter(one, locations)
    yield one
    database.close()


def process(house: House, name: str, **more) -> SimpleNamespace:
    node = house.add(name, **more)
    return SimpleNamespace(
        node=node, loop=house.loop, peer=node.me, letters={}, trailing=[], draining=False, is_blocked=False
    )


@pytest.fixture
def mi(house: House, recording, store):
    one = process(
        house, "mi-1", executes=True, handlers={RECORD_BINDINGS: record_bindings, FLUSH_BINDINGS: flush_bindings}
    )
    one.status = StatusReports(store)
    return one


@pytest.fixture
def sip(house: House, mi):
    return process(house, "sip-1")


def until(house: House, processes, condition) -> None:
    """Deliver letters until the condition holds."""
    by_name = {one.peer.name: one for one in processes}

    def delivered() -> object:
        letters, house.letters[:] = list(house.letters), []
        for name, topic, sender, body in letters:
            if topic in by_name[name].letters:
                by_name[name].letters[topic](sender, body)
        return condition()

    house.until(delivered)


def bind(locations: Locations, user: User, uri: str = "sip:a@h", cseq: int = 1) -> None:
    now = epoch_now()
    request = Registration(f"call of {user.aor}", cseq, (Wanted(uri, 600),))
    locations.change(user, lambda old, first: register(old, request, Limits(), now, first_id=first), mark=True)


def recorded(recording: Recording) -> list[tuple[str, str]]:
    with recording.database.begin(write=False) as connection:
        return sorted(
            (row.user.aor, row.contact.uri) for row in load(connection, recording.table("location"), epoch_now())
        )


def test_who_waits_is_told_when_the_rows_are_there(house, mi, sip, locations, recording) -> None:
    Recorder(mi, locations, None)
    waiting = Waiting(sip, locations, 5.0)
    told: list[list[tuple[str, str]]] = []
    for user in (ALICE, BOB):
        bind(locations, user)
        waiting.changed()
        assert waiting.until_recorded(user, lambda: told.append(recorded(recording)))
    assert waiting.pending() == 2
    until(house, [mi, sip], lambda: len(told) == 2)
    assert told == [[("alice", "sip:a@h"), ("bob", "sip:a@h")]] * 2
    assert (waiting.pending(), locations.marked()) == (0, 0)


def test_a_database_that_is_locked_is_not_waited_for(
    house, mi, sip, locations, recording, database_url: str, caplog
) -> None:
    recording.table("location")
    late: list[str] = []
    Recorder(mi, locations, None)
    waiting = Waiting(sip, locations, 60.0, lambda: late.append("late"))
    told: list[str] = []
    with locked(database_url, "location"):
        bind(locations, ALICE)
        waiting.changed()
        assert waiting.until_recorded(ALICE, lambda: told.append("let go"))
        until(house, [mi, sip], lambda: told)
        assert not waiting.until_recorded(ALICE, lambda: told.append("never"))
    assert (late, told) == (["late", "late"], ["let go"])
    assert "1 users are not recorded" in caplog.text
    until(house, [mi, sip], lambda: locations.marked() == 0)
    assert recorded(recording) == [("alice", "sip:a@h")]
    assert "takes bindings again" in caplog.text
    until(house, [mi, sip], lambda: waiting.until_recorded(ALICE, lambda: None))
    waiting.close()


def test_nothing_waits_for_longer_than_it_may(house, sip, locations) -> None:
    late: list[str] = []
    waiting = Waiting(sip, locations, 0.01, lambda: late.append("late"))
    told: list[str] = []
    bind(locations, ALICE)
    assert waiting.until_recorded(ALICE, lambda: told.append("alice"))
    house.until(lambda: told)
    assert (told, late, waiting.pending()) == (["alice"], ["late"], 0)
    assert waiting.until_recorded(ALICE, lambda: told.append("at the end"))
    waiting.close()
    assert told == ["alice", "at the end"]


def test_write_back_waits_for_its_time_or_until_it_is_asked(house, mi, sip, locations, recording) -> None:
    Recorder(mi, locations, 60.0)
    waiting = Waiting(sip, locations, None)
    bind(locations, ALICE)
    waiting.changed()
    assert not waiting.until_recorded(ALICE, lambda: None)
    assert house.letters == []
    assert house.run(flushed(sip, 5.0)) == ""
    assert (recorded(recording), locations.marked()) == ([("alice", "sip:a@h")], 0)
    assert house.run(flushed(mi, 5.0)) == ""  # nothing is left, and the recording process itself may ask


def test_who_asks_for_the_recording_is_told_why_it_fails(
    house, mi, sip, locations, recording, database_url: str
) -> None:
    recording.table("location")
    Recorder(mi, locations, 60.0)
    with locked(database_url, "location"):
        for number in range(1200):
            bind(locations, User("location", f"user{number}"))
        assert re.search("locked|timeout", house.run(flushed(sip, 5.0)))
        assert house.run(flushed(sip, 5.0)) != ""  # asked at once, though the next try would be later
        assert locations.marked() == 1200
    assert house.run(flushed(sip, 5.0)) == ""
    assert (len(recorded(recording)), locations.marked()) == (1200, 0)


def test_what_an_earlier_life_left_is_recorded(house, mi, locations, recording) -> None:
    bind(locations, ALICE)
    Recorder(mi, locations, None)
    house.until(lambda: locations.marked() == 0)
    assert recorded(recording) == [("alice", "sip:a@h")]


def test_many_users_take_several_rounds(house, mi, locations, recording) -> None:
    for number in range(1200):
        bind(locations, User("location", f"user{number}"))
    Recorder(mi, locations, None)
    house.until(lambda: locations.marked() == 0)
    assert len(recorded(recording)) == 1200


def test_bindings_that_the_database_does_not_take_hold_up_nobody(locations, recording, caplog) -> None:
    for user in (ALICE, BOB, User("location", "carol")):
        bind(locations, user)
    too_much = locations.get(BOB)[0]._replace(cseq=2**63)  # nothing that comes from outside gets so far
    locations.change(BOB, lambda old, first: Accepted((too_much,), (Updated(too_much),)), mark=True)
    assert recording.record_all(locations) == 3
    assert [user for user, _ in recorded(recording)] == ["alice", "carol"]
    assert "does not take the bindings of bob" in caplog.text


def test_loading_and_the_last_deed(locations, recording, database_url: str, tmp_path, caplog) -> None:
    bind(locations, ALICE)
    bind(locations, BOB)
    finish(recording, locations)
    assert locations.marked() == 0
    store = Store(tmp_path / "later")
    later = Locations(store)
    assert load_tables(recording, later, ["location", "other"], epoch_now()) == 2
    assert [contact._replace(modified_at=0) for contact in later.get(ALICE)] == [
        contact._replace(modified_at=0) for contact in locations.get(ALICE)
    ]
    bind(later, User("location", "carol"))
    assert later.get(User("location", "carol"))[0].id == 3
    store.close()
    bind(locations, ALICE, cseq=2)
    recording.database.close()
    with locked(database_url, "location"):
        finish(recording, locations)
    assert "not recorded, and lost" in caplog.text


def test_a_database_that_cannot_be_had(tmp_path, locations) -> None:
    broken = Recording(Database(f"sqlite:{tmp_path}/no/x.db"), location_table)
    with pytest.raises(DatabaseError):
        load_tables(broken, locations, ["location"], epoch_now())
