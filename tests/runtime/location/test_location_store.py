"""The bindings of all users: content, counts, the sweep's index, the database's marks, and writers that are killed."""

from __future__ import annotations

import os
import signal
import time

import pytest

from runtime.location.bindings import (
    Accepted,
    Expired,
    Inserted,
    Limits,
    Refused,
    Registration,
    Wanted,
    register,
    remove,
)
from runtime.location.contact import MEMORY_ONLY, Contact
from runtime.location.store import Ended, Locations, Mark, User
from runtime.store import Store, StoreError

ALICE, BOB = User("location", "alice"), User("location", "bob")
NOW = 1000.0
FEW = Limits(max_contacts=30)


@pytest.fixture
def locations(tmp_path):
    store = Store(tmp_path / "store")
    yield Locations(store)
    store.close()


def bind(locations: Locations, user: User, *wanted: Wanted, cseq: int = 1, mark: bool = False, flags: int = 0, now=NOW):
    request = Registration(f"call of {user.aor}", cseq, wanted, flags=flags)
    limits = Limits(min_expires=0)
    return locations.change(user, lambda old, first: register(old, request, limits, now, first_id=first), mark=mark)


def uris(locations: Locations, user: User) -> list[str]:
    return [contact.uri for contact in locations.get(user)]


def test_what_is_bound_is_there_for_everybody(locations, tmp_path) -> None:
    assert (locations.get(ALICE), locations.counts("location"), locations.users()) == ((), (0, 0), 0)
    found = bind(locations, ALICE, Wanted("sip:a@h", 60), Wanted("sip:a@i", 90, 500, "<urn:1>"))
    assert isinstance(found, Accepted)
    bind(locations, BOB, Wanted("sip:b@h", 60))
    bind(locations, User("other", "alice"), Wanted("sip:o@h", 60))
    assert locations.get(ALICE) == found.contacts
    assert [contact.id for contact in (*locations.get(ALICE), *locations.get(BOB))] == [1, 2, 3]
    assert (locations.counts("location"), locations.counts("other"), locations.users()) == ((2, 3), (1, 1), 3)
    assert dict(locations.everybody("location")) == {ALICE: locations.get(ALICE), BOB: locations.get(BOB)}


def test_a_refusal_and_a_query_leave_everything_as_it_is(locations) -> None:
    bind(locations, ALICE, Wanted("sip:a@h", 60), cseq=5, mark=True)
    before = locations.get(ALICE), locations.marks(9)
    assert isinstance(bind(locations, ALICE, Wanted("sip:b@h", 60), Wanted("sip:a@h", 60), cseq=4, mark=True), Refused)
    assert isinstance(bind(locations, ALICE, cseq=6, mark=True), Accepted)
    assert (locations.get(ALICE), locations.marks(9)) == before


def test_who_has_no_binding_left_is_no_user_any_more(locations) -> None:
    bind(locations, ALICE, Wanted("sip:a@h", 60))
    locations.change(ALICE, lambda old, first: remove(old, None, NOW), mark=False)
    assert (locations.get(ALICE), locations.counts("location"), locations.users()) == ((), (0, 0), 0)
    assert locations.sweep(1e9, 100, mark=False) == []


@pytest.mark.parametrize("user", [User("", "a"), User("location", ""), User("d", "a" * 500), User("a\0b", "c")])
def test_a_user_that_cannot_be_kept(locations, user: User) -> None:
    with pytest.raises(StoreError):
        bind(locations, user, Wanted("sip:a@h", 60))
    assert (locations.get(user), locations.is_marked(user)) == ((), False)


def test_names_of_any_bytes(locations) -> None:
    user = User("location", "".join(map(chr, range(1, 256)))[:200])
    bind(locations, user, Wanted("sip:a@h", 60))
    assert [one for one, _ in locations.everybody("location")] == [user]


# The sweep.


def test_a_sweep_takes_what_is_over_and_nothing_else(locations) -> None:
    bind(locations, ALICE, Wanted("sip:a@h", 60), Wanted("sip:a@i", 90))
    bind(locations, BOB, Wanted("sip:b@h", 70))
    assert locations.sweep(1059.9, 100, mark=True) == []
    first, second = locations.get(ALICE)
    assert locations.sweep(1060.0, 100, mark=True) == [Ended(ALICE, (Expired(first),), 1)]
    assert (locations.get(ALICE), locations.counts("location")) == ((second,), (2, 2))
    assert locations.marks(9) == [Mark(ALICE, 1)]
    assert [ended.user for ended in locations.sweep(1e9, 1, mark=True)] == [BOB]
    assert [ended.user for ended in locations.sweep(1e9, 1, mark=True)] == [ALICE]
    assert (locations.sweep(1e9, 1, mark=True), locations.users()) == ([], 0)


def test_the_index_follows_a_refresh(locations) -> None:
    bind(locations, ALICE, Wanted("sip:a@h", 60))
    bind(locations, ALICE, Wanted("sip:a@h", 600), cseq=2)
    assert locations.sweep(1100.0, 100, mark=False) == []
    bind(locations, ALICE, Wanted("sip:a@h", 10), cseq=3)
    assert len(locations.sweep(1100.0, 100, mark=False)) == 1


# The database's marks.


def test_a_change_marks_its_user_until_it_is_recorded(locations) -> None:
    bind(locations, ALICE, Wanted("sip:a@h", 60), mark=True)
    assert (locations.is_marked(ALICE), locations.marked()) == (True, 1)
    (mark,) = locations.marks(9)
    bind(locations, ALICE, Wanted("sip:a@h", 90), cseq=2, mark=True)
    locations.recorded([mark])
    assert locations.marks(9) == [Mark(ALICE, 2)]  # the later state is not recorded yet
    locations.recorded(locations.marks(9))
    assert (locations.marks(9), locations.is_marked(ALICE)) == ([], False)


def test_what_was_recorded_late_is_recorded_again(locations) -> None:
    bind(locations, ALICE, Wanted("sip:a@h", 60), mark=True)
    stuck = locations.marks(9)
    bind(locations, ALICE, Wanted("sip:a@h", 90), cseq=2, mark=True)
    locations.recorded(locations.marks(9))
    assert locations.marks(9) == []
    locations.recorded(stuck)
    assert [mark.user for mark in locations.marks(9)] == [ALICE]


def test_marks_are_taken_in_turn(locations) -> None:
    users = [User("location", name) for name in "abcd"]
    for user in users:
        bind(locations, user, Wanted("sip:a@h", 60), mark=True)
    assert [mark.user for mark in locations.marks(2)] == users[:2]
    assert [mark.user for mark in locations.marks(2, users[1])] == users[2:]
    assert [mark.user for mark in locations.marks(2, users[3])] == users[:2]
    assert locations.mark_all("location") == 4


def test_memory_only_contacts_mark_nobody(locations) -> None:
    bind(locations, ALICE, Wanted("sip:a@h", 60), mark=True, flags=MEMORY_ONLY)
    assert locations.marks(9) == []


def test_loading(locations) -> None:
    rows = [(ALICE, Contact(n, f"sip:{n}@h", 2000 + n, 0, "c", 1, 0.0)) for n in (7, 5)]
    assert locations.load([*rows, (User("location", ""), rows[0][1])], next_id=20) == 2
    assert (uris(locations, ALICE), locations.counts("location"), locations.marks(9)) == (
        ["sip:7@h", "sip:5@h"],
        (1, 2),
        [],
    )
    found = bind(locations, BOB, Wanted("sip:b@h", 60))
    assert isinstance(found, Accepted)
    assert isinstance(found.changes[0], Inserted)
    assert found.contacts[0].id == 20
    assert len(locations.sweep(2006.0, 9, mark=False)) == 2  # bob's and the one of 2005


# Processes.


def test_four_processes_see_each_others_registers(tmp_path) -> None:
    """Each adds contacts to the same user with a limit: what was accepted is there, and never more than allowed."""
    folder = tmp_path / "store"
    pids = []
    for worker in range(4):
        if (pid := os.fork()) == 0:
            failed = 1
            try:
                mine = Locations(Store(folder))
                for number in range(20):
                    request = Registration(f"{worker}-{number}", 1, (Wanted(f"sip:{number}@10.0.0.{worker}", 600),))
                    mine.change(ALICE, lambda o, i, r=request: register(o, r, FEW, NOW, first_id=i), mark=True)
                    bind(mine, User("location", f"{worker}-{number}"), Wanted("sip:x@h", 600), mark=True)
                failed = 0
            finally:
                os._exit(failed)
        pids.append(pid)
    assert [os.waitpid(pid, 0)[1] for pid in pids] == [0] * 4
    store = Store(folder)
    locations = Locations(store)
    assert len(uris(locations, ALICE)) == 30
    contacts = [contact for _, some in locations.everybody("location") for contact in some]
    assert sorted(contact.id for contact in contacts) == list(range(1, 111))
    assert (locations.counts("location"), locations.marked()) == ((81, 110), 81)
    store.close()


def test_processes_killed_in_mid_write_leave_whole_users_and_true_counts(tmp_path) -> None:
    folder = tmp_path / "store"
    told_read, told_write = os.pipe()
    pids = []
    for worker in range(4):
        if (pid := os.fork()) == 0:
            mine = Locations(Store(folder))
            number = 0
            while True:
                number += 1
                user = User("location", f"{worker}-{number % 40}")
                expires = 0 if number % 3 == 0 else 600
                bind(mine, user, Wanted("sip:x@h", expires), Wanted("sip:y@h", 600), cseq=number, mark=True)
                os.write(told_write, bytes([worker]))
        pids.append(pid)
    seen: set[int] = set()
    ends = time.monotonic() + 5
    while len(seen) < 4 and time.monotonic() < ends:
        seen.update(os.read(told_read, 4096))
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    os.close(told_read)
    os.close(told_write)
    assert len(seen) == 4
    store = Store(folder)
    store.free_readers()
    locations = Locations(store)
    everybody = dict(locations.everybody("location"))
    assert locations.counts("location") == (len(everybody), sum(len(some) for some in everybody.values()))
    assert all("sip:y@h" in [contact.uri for contact in some] for some in everybody.values())
    ended = locations.sweep(1e9, 1000, mark=True)
    assert sum(len(one.changes) for one in ended) == sum(len(some) for some in everybody.values())
    assert (locations.counts("location"), locations.users()) == ((0, 0), 0)
    store.close()
