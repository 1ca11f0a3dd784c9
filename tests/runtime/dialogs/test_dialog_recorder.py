"""Dialogs in a database: what a row says, and what is written when."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text

from runtime.clock import epoch_now, monotonic_now
from runtime.db import Database, DatabaseError
from runtime.dialogs.recorder import SHUTDOWN, Recorder, put_away
from runtime.dialogs.rows import dialog_of_row, join_pairs, row_of, split_pairs
from runtime.dialogs.store import DialogStore
from runtime.sip.dialog import Dialog, Terms
from runtime.sip.dialog_words import Acked, Flag, Leg, Replied, Requested, Side, State

SOCKETS = ["udp:127.0.0.1:5060", "tcp:127.0.0.1:5060"]
NOW, WALL = 100.0, 1_700_000_000.0


def confirmed(number: int = 7) -> Dialog:
    dialog = Dialog(
        number,
        f"call-{number}",
        WALL,
        3600,
        Leg("a", "sip:alice@x", "sip:alice@1", ["<sip:p;lr>", "<sip:q;lr>"], cseq=3),
        Leg(uri="sip:bob@x", sent=3),
        flags=int(Flag.BYE_ON_TIMEOUT | Flag.PING_CALLEE),
    )
    dialog.begin(NOW)
    dialog.handle(Replied(200, "b", "sip:bob@2", ["<sip:r;lr>"], 1, monotonic_now(), epoch_now()))
    dialog.handle(Acked())
    dialog.values = {"who": "bob", "n": 42, "odd": "a|b#c\\d", "digits": "0042", "empty": ""}
    dialog.script_flags = ["paid", "late"]
    dialog.profiles = [("caller", "alice|x"), ("inbound", "")]
    dialog.on_hangup = "ended"
    return dialog


def test_a_row_and_back() -> None:
    dialog = confirmed()
    dialog.ends_at = NOW + 60
    row = row_of(dialog, SOCKETS, NOW, WALL)
    assert {name: row[name] for name in ("dlg_id", "callid", "state", "timeout", "caller_sock", "callee_sock")} == {
        "dlg_id": 7,
        "callid": "call-7",
        "state": 4,
        "timeout": int(WALL) + 60,
        "caller_sock": SOCKETS[0],
        "callee_sock": SOCKETS[1],
    }
    assert row["caller_route_set"] == "<sip:p;lr>,<sip:q;lr>"
    found = dialog_of_row(row, SOCKETS, NOW + 1000, WALL + 10)
    assert found is not None
    assert found.ends_at == NOW + 1000 + 50
    for name in ("id", "call_id", "values", "script_flags", "profiles", "on_hangup", "flags", "state"):
        assert getattr(found, name) == getattr(dialog, name), name
    assert (found.caller, found.callee.tag, found.callee.routes) == (dialog.caller, "b", ["<sip:r;lr>"])
    found.resume(NOW + 1000, Terms())
    found.check()


def test_numbers_that_we_used_are_not_used_again() -> None:
    dialog = confirmed()
    dialog.callee.sent, dialog.callee.shift = 9, 6
    found = dialog_of_row(row_of(dialog, SOCKETS, NOW, WALL), SOCKETS, NOW, WALL)
    assert found is not None
    found.handle(Requested("INFO", Side.CALLER, 4, NOW))
    assert found.callee.sent == 10


@pytest.mark.parametrize("odd", [{"state": 2}, {"state": 5}, {"timeout": int(WALL)}, {"dlg_id": -1}])
def test_what_cannot_go_on_is_left(odd: dict[str, int]) -> None:
    row = row_of(confirmed(), SOCKETS, NOW, WALL) | odd
    assert dialog_of_row(row, SOCKETS, NOW, WALL) is None


@given(
    st.lists(st.tuples(st.text(min_size=1), st.text() | st.integers(-(2**62), 2**62)), unique_by=lambda pair: pair[0])
)
def test_names_and_values_in_one_text(pairs: list[tuple[str, str | int]]) -> None:
    assert split_pairs(join_pairs(pairs)) == pairs


@given(st.text(alphabet="ab#|\\i1-"))
def test_any_text_can_be_read(written: str) -> None:
    split_pairs(written)


def test_a_name_without_a_value() -> None:
    assert split_pairs("inbound|caller#alice|") == [("inbound", ""), ("caller", "alice")]
    assert split_pairs("") == []


@pytest.fixture
def store(tmp_path: Path):
    one = DialogStore(tmp_path / "dialogs", outbox=True)
    yield one
    one.close()


@pytest.fixture
def recorder(database_url: str):
    one = Recorder(Database(database_url), "dialog", {"callid": "the_call"}, SOCKETS)
    one.prepare()
    yield one
    one.database.close()


def rows(recorder: Recorder) -> list[tuple[int, str, int]]:
    with recorder.database.begin() as connection:
        found = connection.execute(text("SELECT dlg_id, the_call, state FROM dialog ORDER BY dlg_id"))
        return [tuple(row) for row in found]


def test_what_changed_is_written_and_what_ended_is_deleted(store: DialogStore, recorder: Recorder) -> None:
    for number in (1, 2, 3):
        store.create(confirmed(number))
    assert recorder.flush(store) == 3
    assert recorder.flush(store) == 0
    assert rows(recorder) == [(1, "call-1", 4), (2, "call-2", 4), (3, "call-3", 4)]
    store.update(1, lambda dialog: dialog.handle(Requested("BYE", Side.CALLER, 9, NOW)))
    store.update(2, lambda dialog: dialog.handle(Requested("INFO", Side.CALLER, 9, NOW)))
    assert recorder.flush(store) == 2
    assert rows(recorder) == [(2, "call-2", 4), (3, "call-3", 4)]


def test_a_database_that_fails_forgets_nothing(store: DialogStore, recorder: Recorder) -> None:
    store.create(confirmed(1))
    with recorder.database.begin() as connection:
        connection.execute(text("ALTER TABLE dialog RENAME TO away"))
    with pytest.raises(DatabaseError):
        recorder.flush(store)
    with recorder.database.begin() as connection:
        connection.execute(text("ALTER TABLE away RENAME TO dialog"))
    assert recorder.flush(store) == 1
    assert len(rows(recorder)) == 1


def test_a_dialog_that_the_table_refuses_keeps_no_other_out(store: DialogStore, recorder: Recorder) -> None:
    with recorder.database.begin() as connection:
        connection.execute(text("CREATE UNIQUE INDEX one_call ON dialog (from_tag) WHERE dlg_id > 1"))
    for number in (1, 2, 3, 4):
        store.create(confirmed(number))
    assert recorder.flush(store) == 4
    assert [row[0] for row in rows(recorder)] == [1, 2]


def test_a_server_goes_on_with_the_dialogs_of_the_one_before(
    store: DialogStore, recorder: Recorder, tmp_path: Path
) -> None:
    for number in (1, 2):
        store.create(confirmed(number))
    put_away(recorder, store, mode=1)
    later = DialogStore(tmp_path / "later")
    assert recorder.restore(later, ["caller"], Terms(options_s=30.0), linger_s=5) == 2
    assert recorder.restore(later, ["caller"], Terms(), linger_s=5) == 0
    found = later.load(1)
    assert found is not None
    assert (found.values, found.profiles, found.linger_s) == (confirmed().values, [("caller", "alice|x")], 5)
    assert list(later.values_of("caller")) == [("alice|x", 2)]
    due = later.next_due()
    assert due is not None
    assert due <= monotonic_now() + 30.0, "it is pinged again"
    later.close()


def test_at_the_end_all_is_written_anew(store: DialogStore, recorder: Recorder) -> None:
    store.create(confirmed(1))
    recorder.flush(store)
    store.update(1, lambda dialog: dialog.handle(Requested("BYE", Side.CALLER, 9, NOW)))
    store.create(confirmed(2))
    early = confirmed(3)
    early.state = State.EARLY
    store.create(early)
    put_away(recorder, store, mode=SHUTDOWN)
    assert rows(recorder) == [(2, "call-2", 4)]
