"""The store of all dialogs: indexes, counts, the clock's claims, the outbox, and writers that are killed."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter

import pytest

from runtime.dialogs.store import LEASE_S, DialogStore, Page, Totals, fits
from runtime.sip.dialog import SETUP_S, Dialog
from runtime.sip.dialog_words import (
    Acked,
    ByeAnswered,
    Changed,
    Due,
    EndWanted,
    Leg,
    Replied,
    Requested,
    Side,
    State,
    Stimulus,
)
from runtime.store import StoreError


@pytest.fixture
def store(tmp_path):
    one = DialogStore(tmp_path / "dialogs", outbox=True)
    yield one
    one.close()


def new(number: int, call_id: str = "") -> Dialog:
    dialog = Dialog(number, call_id or f"call-{number}", 0.0, 100, Leg(tag="a", cseq=1), Leg(sent=1))
    dialog.begin(0.0)
    return dialog


def put(store: DialogStore, *numbers: int) -> None:
    for number in numbers:
        assert store.create(new(number))


def tell(store: DialogStore, number: int, *stimuli: Stimulus) -> None:
    for stimulus in stimuli:
        store.update(number, lambda dialog, stimulus=stimulus: dialog.handle(stimulus))


def join(store: DialogStore, number: int, *profiles: tuple[str, str]) -> None:
    def change(dialog: Dialog) -> list[Changed]:
        dialog.profiles = list(profiles)
        return [Changed()]

    store.update(number, change)


ANSWER = Replied(200, "b", "sip:b@1", [], 0, 1.0, 1.0)
RINGING = Replied(180, "b", "sip:b@1", [], 0, 1.0, 1.0)


def test_a_dialog_is_there_from_its_start_to_its_end(store) -> None:
    assert store.load(7) is None
    put(store, 7)
    assert not store.create(new(7))
    assert store.load(7) == new(7)
    tell(store, 7, ANSWER)
    found = store.load(7)
    assert (found.state, found.callee.tag) == (State.CONFIRMED_NA, "b")
    tell(store, 7, Acked(), Requested("BYE", Side.CALLER, 2, 5.0), ByeAnswered(None, 5.0))
    assert store.load(7) is None
    assert store.update(7, lambda dialog: []) is None
    assert (store.of_call("call-7"), store.next_due(), store.totals()) == ([], None, Totals())


def test_what_tells_nothing_changes_nothing(store) -> None:
    put(store, 7)

    def change(dialog: Dialog) -> list[Changed]:
        dialog.reason = "never written"
        return []

    store.update(7, change)
    assert store.load(7) == new(7)


def test_dialogs_of_a_call(store) -> None:
    assert store.create(new(1, "same"))
    assert store.create(new(2, "same"))
    put(store, 3)
    assert [dialog.id for dialog in store.of_call("same")] == [1, 2]
    assert store.of_call("nobody") == []


def test_totals(store) -> None:
    put(store, 1, 2, 3)
    tell(store, 2, RINGING)
    tell(store, 3, ANSWER, Acked())
    assert store.totals() == Totals(unconfirmed=1, early=1, confirmed=1)
    assert store.totals().alive == 3
    tell(store, 3, Requested("BYE", Side.CALLER, 2, 5.0))
    assert store.totals() == Totals(1, 1, 0)


def test_pages_leave_out_what_is_over(store) -> None:
    put(store, *range(10))
    tell(store, 3, ANSWER, Acked(), Requested("BYE", Side.CALLER, 2, 5.0))
    assert store.load(3) is not None
    assert [dialog.id for dialog in store.alive()] == [0, 1, 2, 4, 5, 6, 7, 8, 9]
    assert store.page(3, index=2) == Page(9, [new(2), new(4), new(5)], more=True)
    assert [store.page(9, index=at).dialogs[0].id for at in range(9)] == [0, 1, 2, 4, 5, 6, 7, 8, 9]
    assert store.page(3, index=7) == Page(9, [new(8), new(9)], more=False)
    assert store.page(3, index=9) == store.page(3, index=-1) == Page(9, [], more=False)
    assert store.page(2, after=2) == Page(9, [new(4), new(5)], more=True)
    assert store.page(9, after=8) == Page(9, [new(9)], more=False)
    assert store.page(9, after=9) == Page(9, [], more=False)
    assert store.page(0) == Page(9, [], more=True)
    assert [dialog.id for dialog in store.setting_up()] == [0, 1, 2, 4, 5, 6, 7, 8, 9]


def test_profiles(store) -> None:
    put(store, 1, 2)
    join(store, 1, ("caller", "alice"), ("caller", "carol"), ("inbound", ""))
    join(store, 2, ("caller", "alice"))
    assert (store.size_of("caller"), store.size_of("caller", "alice"), store.size_of("caller", "bob")) == (3, 2, 0)
    assert (store.size_of("inbound"), store.size_of("call")) == (1, 0)
    assert list(store.values_of("caller")) == [("alice", 2), ("carol", 1)]
    assert [dialog.id for dialog in store.members_of("caller")] == [1, 2]
    assert [dialog.id for dialog in store.members_of("caller", "carol")] == [1]
    join(store, 1, ("caller", "alice"))
    assert (store.size_of("caller"), list(store.values_of("caller")), store.size_of("inbound")) == (
        2,
        [("alice", 2)],
        0,
    )
    tell(store, 1, Replied(486, "", "", [], 0, 1.0, 1.0))
    assert (store.size_of("caller"), [dialog.id for dialog in store.members_of("caller")]) == (1, [2])


def test_what_is_due_is_claimed_once_until_its_lease_is_over(store) -> None:
    put(store, 1, 2)
    assert store.next_due() == SETUP_S
    assert store.claim(SETUP_S - 1) == []
    assert store.claim(SETUP_S, limit=1) == [1]
    assert store.claim(SETUP_S) == [2]
    assert store.claim(SETUP_S) == []
    assert store.claim(SETUP_S + LEASE_S) == [1, 2]
    tell(store, 1, Due(SETUP_S))
    assert store.load(1) is None
    assert store.claim(SETUP_S + 2 * LEASE_S) == [2]


def test_the_clock_forgets_what_is_over_by_itself(store) -> None:
    put(store, 1, 2)
    for number in (1, 2):
        tell(store, number, ANSWER, Acked())
    tell(store, 1, Requested("BYE", Side.CALLER, 2, 5.0))
    tell(store, 2, EndWanted("why", 5.0))
    assert store.claim(1000.0) == [2], "its BYEs have no answer"
    assert (store.load(1), store.load(2) is not None) == (None, True)


def test_the_outbox_keeps_what_changed_since_it_was_seen(store) -> None:
    put(store, 1, 2)
    assert store.changed() == []
    tell(store, 1, ANSWER)
    tell(store, 2, ANSWER)
    first = store.changed()
    assert [(number, dialog.state) for number, _, dialog in first] == [(1, 3), (2, 3)]
    tell(store, 1, Acked())
    store.seen([(number, mark) for number, mark, _ in first])
    second = store.changed()
    assert [(number, dialog.state) for number, _, dialog in second] == [(1, 4)]
    store.seen([(number, mark) for number, mark, _ in second])
    tell(store, 1, Requested("BYE", Side.CALLER, 2, 5.0), ByeAnswered(None, 5.0))
    assert [(number, dialog) for number, _, dialog in store.changed()] == [(1, None)]


def test_a_full_store_says_so_and_changes_nothing(tmp_path) -> None:
    small = DialogStore(tmp_path / "small", size=1 << 18)

    def fill() -> None:
        for number in range(2000):
            small.create(new(number))

    with pytest.raises(StoreError, match="no room"):
        fill()
    assert small.totals().alive == len(list(small.alive()))
    small.close()


def test_what_can_be_a_profiles_value() -> None:
    assert fits("alice")
    assert fits("a" * 400)
    assert not fits("a" * 401)
    assert not fits("a\0b")


def test_writers_killed_in_mid_write_leave_indexes_and_counts_agreed(tmp_path) -> None:
    folder = tmp_path / "dialogs"
    folder.mkdir()
    pids = []
    for writer in range(4):
        if (pid := os.fork()) == 0:
            live(DialogStore(folder), writer)
        pids.append(pid)
    time.sleep(0.3)  # let them write; what is asserted holds whenever they are killed
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    survivor = DialogStore(folder)
    survivor.free_readers()
    alive = list(survivor.alive())
    assert len(alive) > 10
    states = Counter(State(dialog.state) for dialog in alive)
    confirmed = states[State.CONFIRMED_NA] + states[State.CONFIRMED]
    assert survivor.totals() == Totals(states[State.UNCONFIRMED], states[State.EARLY], confirmed)
    members = Counter(profile for dialog in alive for profile in dialog.profiles)
    assert list(survivor.values_of("writer")) == sorted((value, count) for (_, value), count in members.items())
    assert survivor.size_of("writer") == members.total()
    assert all(dialog in survivor.of_call(dialog.call_id) for dialog in alive)
    assert sorted(survivor.claim(1e9, limit=10**6)) == [dialog.id for dialog in alive]
    survivor.close()


def live(store: DialogStore, writer: int) -> None:
    """Make dialogs and move them on, for ever."""
    for serial in range(10**9):
        number = writer << 32 | serial
        put(store, number)
        join(store, number, ("writer", str(writer)))
        tell(store, number, RINGING, ANSWER)
        if serial % 3:
            tell(store, number, Acked())
        if serial % 2:
            tell(store, number, Requested("BYE", Side.CALLER, 2, 5.0), ByeAnswered(None, 5.0))


def test_where_a_reader_of_pages_has_come_to_is_noted_while_a_dialog_is_being_changed(store) -> None:
    """A page need not wait for a call, and, what matters, no call for a page."""
    put(store, 1)

    def change(dialog: Dialog) -> list[Changed]:
        store.places.turn(0, 10, 5, True, 1.0)
        assert store.places.after(10, 1.0) == 5
        return [Changed()]

    assert store.update(1, change) is not None
    assert store.places.after(10, 1.0) == 5
