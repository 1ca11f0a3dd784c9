"""Who has subscribed to which event, as two processes see it: both have the same store and the same cell."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.clock import epoch_now
from runtime.store import Store
from runtime.subscribers import Newest, Subscribers
from runtime.subscriptions import MAX_EVENTS, MAX_SUBSCRIBERS

ONE, TWO = "udp:127.0.0.1:1", "tcp:127.0.0.1:2"


@pytest.fixture
def store(tmp: Path) -> Iterator[Store]:
    one = Store(tmp / "store")
    yield one
    one.close()


@pytest.fixture
def newest() -> Newest:
    return Newest()


@pytest.fixture
def here(store: Store, newest: Newest) -> Subscribers:
    return Subscribers(store, newest)


@pytest.fixture
def there(store: Store, newest: Newest) -> Subscribers:
    return Subscribers(store, newest)


def sockets(subscribers: Subscribers, event: str = "E_X") -> list[str]:
    return [one.socket for one in subscribers.of(event)]


def test_what_one_process_changes_all_others_see_at_once(here: Subscribers, there: Subscribers) -> None:
    assert sockets(here) == sockets(there) == []

    assert here.add("E_X", ONE, 0) is None
    assert there.add("E_X", TWO, 10) is None
    assert sockets(here) == sockets(there) == [ONE, TWO]
    assert here.events() == ["E_X"]

    there.remove("E_X", ONE)
    there.remove("E_Y", ONE)
    assert sockets(here) == sockets(there) == [TWO]
    here.remove("E_X", TWO)
    assert sockets(here) == sockets(there) == here.events() == []


def test_nothing_is_read_again_while_nothing_has_changed(here: Subscribers, there: Subscribers, store: Store) -> None:
    here.add("E_X", ONE, 0)
    assert sockets(there) == [ONE]

    table = store.table("subscriptions")
    with store.writing() as write:  # behind everybody's back
        write.delete(b"E_X", db=table)

    assert sockets(there) == [ONE]


def test_a_change_whose_maker_was_killed_is_seen_all_the_same(
    here: Subscribers, there: Subscribers, newest: Newest
) -> None:
    assert sockets(there) == []
    here.add("E_X", ONE, 0)
    newest.cell[0] = 0  # as it is until the change is through

    assert sockets(there) == [ONE]
    here.add("E_X", TWO, 0)
    assert sockets(there) == [ONE, TWO]


def test_what_is_too_much_is_refused(here: Subscribers) -> None:
    for number in range(MAX_SUBSCRIBERS):
        assert here.add("E_X", f"udp:127.0.0.1:{number}", 0) is None
    assert here.add("E_X", TWO, 0) == "too many subscribe to E_X"

    for number in range(MAX_EVENTS - 1):
        here.add(f"E_{number}", ONE, 0)
    assert here.add("E_Y", ONE, 0) == "too many events have subscribers"
    assert here.add("E_1", TWO, 0) is None


def test_events_whose_subscribers_time_is_over_make_room(
    here: Subscribers, there: Subscribers, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(MAX_EVENTS):
        here.add(f"E_{number}", ONE, 10 if number else 0)
    assert sockets(there, "E_1") == [ONE]

    later = epoch_now() + 11
    monkeypatch.setattr("runtime.subscribers.epoch_now", lambda: later)
    assert here.add("E_Y", TWO, 0) is None
    assert [sockets(there, event) for event in ("E_0", "E_1", "E_Y")] == [[ONE], [], [TWO]]
    assert there.events() == ["E_0", "E_Y"]


def test_events_whose_names_are_computed_do_not_fill_the_memory(here: Subscribers) -> None:
    for number in range(3 * MAX_EVENTS):
        assert sockets(here, f"E_{number}") == []

    assert len(here._known) <= MAX_EVENTS
