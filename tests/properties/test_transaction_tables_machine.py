"""The tables of transactions beside one figure for each transaction: who finds which, and when which timer fires.

Requests and replies come for those that are there and for those that are not, time passes from deadline to deadline or
far beyond many. What must hold: what the tables tell, in which order, and when they want to be woken is what the
figures say; a key that nobody has gets None; and in the end all have left.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from itertools import count

import pytest
from hypothesis import event, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from runtime.sip.client_table import ClientTable, client_key
from runtime.sip.keys import dialog_ack_key, server_key
from runtime.sip.message import Request, parse
from runtime.sip.table import TransactionTable
from runtime.sip.transaction_words import Timer
from tests.properties.complaints import complaint
from tests.properties.sip_figures import (
    CLIENT_INVITE,
    CLIENT_OTHER,
    FR_INV_S,
    FR_S,
    SAID,
    SAID_BY_CLIENT,
    SERVER_INVITE,
    SERVER_OTHER,
    TIMERS,
    TRYING_S,
    Drawn,
    reply_column,
)

NOBODY = "nobody"
STATUSES = [100, 101, 199, 200, 200, 299, 300, 486, 699]
NO_STATUSES = [-700, -1, 0, 99, 700, 1_000]
WAITS_S = [0.0, 0.25, 0.5, 1.0, 5.0, 33.0, 100.0]
METHODS = st.sampled_from(["INVITE", "INVITE", "OPTIONS", "CANCEL"])
CALLS, WAYS, BRANCHES = st.sampled_from("12"), st.sampled_from("ab"), st.sampled_from("123")
OPTIONS = st.fixed_dictionaries({}, optional={"reliable": st.booleans(), "trying_s": st.sampled_from([None, 0, 1.0])})
TICK_S = 1 / 256
LONGEST_S = 1_000.0
"""Longer than the longest way to the end, from one who vouches on."""


class Tables(RuleBasedStateMachine):
    """What both tables have in common."""

    table: TransactionTable | ClientTable

    def __init__(self) -> None:
        super().__init__()
        self.now = 1_000.0
        self.lives: dict[str, Drawn] = {}
        self.told: float | None = None
        self.serials = count()

    # --- time

    @rule(by_s=st.sampled_from(WAITS_S))
    def wait(self, by_s: float) -> None:
        self.now += by_s
        self.tick()

    @precondition(lambda self: self.lives)
    @rule()
    def wait_for_a_timer(self) -> None:
        self.now = self.next_deadline()
        assert self.table.tick(self.now - TICK_S / 2) == [], "nothing is early"
        self.tick()

    @precondition(lambda self: self.lives)
    @rule(data=st.data())
    def oversleep(self, data: st.DataObject) -> None:
        """Until the timer that ends one is the next of its timers, then far beyond: what it stops is due as well."""
        key = data.draw(st.sampled_from(sorted(self.lives)))
        for _ in range(100):
            waits = self.lives[key].timers.values() if key in self.lives else ()
            if len(waits) < 2 or min(waits) == min(waits, key=lambda wait: wait.serial):
                break
            self.wait_for_a_timer()
        self.wait(33.0)

    def tick(self) -> None:
        """All that is due fires in the order in which it is due, but for what one of them has stopped."""
        due = sorted(
            (wait.due, wait.serial, key, timer)
            for key, life in self.lives.items()
            for timer, wait in life.timers.items()
            if wait.due <= self.now
        )
        expected = []
        for _, serial, key, timer in due:
            life = self.lives.get(key)
            if life is not None and timer in life.timers and life.timers[timer].serial == serial:
                expected += self.said(key, life.comes(timer, self.now))
        event(f"{min(len(due), 4)} timers at once")
        assert self.table.tick(self.now) == expected

    def next_deadline(self) -> float:
        return min(wait.due for life in self.lives.values() for wait in life.timers.values())

    # --- helpers

    def pick(self, data: st.DataObject) -> str:
        return data.draw(st.sampled_from([*sorted(self.lives), NOBODY]))

    def expect(self, told: list[tuple[str, object]] | None, key: str, what: str, *facts: str, **reply: object) -> None:
        """What the table told of that key is what its figure says; nothing of a key that nobody has."""
        life = self.lives.get(key)
        expected = None if life is None else self.said(key, life.comes(what, self.now, *facts, **reply))
        assert told == expected

    def said(self, key: str, words: list[object]) -> list[tuple[str, object]]:
        if self.lives[key].is_over:
            self.forget(key)
        return [(key, word) for word in words]

    def forget(self, key: str) -> None:
        del self.lives[key]

    # --- what always holds

    @invariant()
    def agrees(self) -> None:
        self.table.check()
        assert len(self.table) == len(self.lives)
        assert sorted(self.table) == sorted(self.lives)
        assert NOBODY not in self.table
        assert self.table.find(NOBODY) is None
        next_deadline = self.next_deadline() if self.lives else None
        if isinstance(self.table, TransactionTable) and next_deadline is not None:
            assert self.table.is_sooner or (self.told is not None and next_deadline >= self.told)
        assert self.table.next_deadline() == next_deadline
        self.told = next_deadline
        for key, life in self.lives.items():
            found = self.table.find(key)
            assert key in self.table
            assert found is not None
            assert (found.state.name, found.last_status) == (life.state, life.status)
            assert found.answered == (life.status >= 200)

    @precondition(lambda self: self.lives)
    @rule(data=st.data())
    def check_would_find(self, data: st.DataObject) -> None:
        """Another table like this one, with something broken in it."""
        found, break_it = data.draw(st.sampled_from(self.breaks()))
        table = deepcopy(self.table)
        break_it(table, data.draw(st.sampled_from(sorted(self.lives))))
        assert complaint(table) == found

    def breaks(self) -> list[tuple[str, Break]]:
        return BREAKS

    def teardown(self) -> None:
        """Nothing comes any more: all of them end."""
        silent_since = self.now
        while self.lives:
            self.now = self.next_deadline()
            assert self.now < silent_since + LONGEST_S
            self.tick()
        self.agrees()


# --- the servers'


def request(method: str, call: str, branch: str) -> Request:
    data = (
        f"{method} sip:bob@example.com SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK{branch}\r\n"
        f"From: <sip:a@b>;tag=f{call}\r\nTo: <sip:c@d>\r\nCall-ID: c{call}\r\nCSeq: 1 {method}\r\n\r\n"
    )
    parsed = parse(data.encode())
    assert isinstance(parsed, Request)
    return parsed


class ServerTables(Tables):
    table: TransactionTable

    def __init__(self) -> None:
        super().__init__()
        self.table = TransactionTable(TIMERS)
        self.acks: dict[str, str] = {}
        """The newest INVITE of a call, while it lives: that of two which came by two ways."""
        self.serial = 0

    @initialize(requests=st.lists(st.tuples(METHODS, CALLS, WAYS, OPTIONS), min_size=1, max_size=5))
    def begin(self, requests: list[tuple[str, str, str, dict[str, object]]]) -> None:
        for one in requests:
            self.arrive(*one)

    @rule(method=METHODS, call=CALLS, way=WAYS, options=OPTIONS)
    def arrive(self, method: str, call: str, way: str, options: dict[str, object]) -> None:
        message = request(method, call, call + way)
        key = server_key(message)
        told = self.table.receive(message, key, self.now)
        self.expect(told, key, "copy")
        if told is None:
            ack_key = {"ack_key": dialog_ack_key(message)} if method == "INVITE" else {}
            self.create(key, method == "INVITE", **ack_key, **options)

    def create(self, key: str, invite: bool, **options: object) -> None:
        trying_s = options.get("trying_s")
        self.lives[key] = Drawn(
            SERVER_INVITE if invite else SERVER_OTHER,
            SAID,
            *(["reliable"] if options.get("reliable") else []),
            serials=self.serials,
            trying_s=TRYING_S if trying_s is None else trying_s,
        )
        if "ack_key" in options:
            event(f"a call has {'two INVITEs' if options['ack_key'] in self.acks else 'one INVITE'}")
            self.acks[options["ack_key"]] = key
        told = self.table.create(key, invite, self.now, **options)
        self.expect(told, key, "begin", *(["at-once"] if trying_s == 0 else []))

    @precondition(lambda self: self.lives)
    @rule(data=st.data(), invite=st.booleans())
    def create_again(self, data: st.DataObject, invite: bool) -> None:
        key = data.draw(st.sampled_from(sorted(self.lives)))
        with pytest.raises(ValueError, match=key):
            self.table.create(key, invite, self.now)

    @rule(call=st.sampled_from("12"), branch=st.sampled_from(["a", "b", "its own"]))
    def acknowledge(self, call: str, branch: str) -> None:
        message = request("ACK", call, call + branch[0])
        key, ack_key = server_key(message), dialog_ack_key(message)
        if key not in self.lives:
            event(f"an ACK of {'a call' if ack_key in self.acks else 'nothing'}")
        found = key if key in self.lives else self.acks.get(ack_key, NOBODY)
        self.expect(self.table.receive(message, key, self.now), found, "ack")
        assert self.table.has_ack(ack_key) == (ack_key in self.acks)

    @rule(data=st.data(), status=st.sampled_from(STATUSES), options=st.sampled_from([{}, {"relayed": True}]))
    def reply(self, data: st.DataObject, status: int, options: dict[str, bool]) -> None:
        key = self.pick(data)
        self.serial += 1
        content = b"%d %d" % (status, self.serial)
        told = self.table.reply(key, status, content, self.now, **options)
        self.expect(told, key, reply_column(status), *options, status=status, data=content)

    @rule(data=st.data(), for_s=st.sampled_from([0.0, 1.0, 60.0, 300.0]))
    def hold(self, data: st.DataObject, for_s: float) -> None:
        key = self.pick(data)
        told = self.table.hold(key, for_s, self.now)
        if key == NOBODY:
            assert told is None
        else:
            assert told == []
            self.lives[key].vouch(for_s, self.now)

    @rule(data=st.data())
    def park(self, data: st.DataObject) -> None:
        key = self.pick(data)
        self.expect(self.table.trying(key, self.now), key, "park")

    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        key = self.pick(data)
        self.expect(self.table.cancel(key, self.now), key, "cancel")

    @rule(data=st.data())
    def fail_to_send(self, data: st.DataObject) -> None:
        key = self.pick(data)
        self.expect(self.table.transport_failed(key, self.now), key, "failed")

    def forget(self, key: str) -> None:
        super().forget(key)
        self.acks = {ack_key: found for ack_key, found in self.acks.items() if found != key}

    def breaks(self) -> list[tuple[str, Break]]:
        return [*BREAKS, ("", name_an_ack), ("each has its handle", lose_a_handle)]


# --- the clients'


class ClientTables(Tables):
    table: ClientTable

    def __init__(self) -> None:
        super().__init__()
        self.table = ClientTable(TIMERS)

    @initialize(requests=st.lists(st.tuples(METHODS, BRANCHES, st.booleans()), min_size=1, max_size=5))
    def begin(self, requests: list[tuple[str, str, bool]]) -> None:
        for one in requests:
            self.call(*one)

    @rule(method=METHODS, branch=BRANCHES, reliable=st.booleans())
    def call(self, method: str, branch: str, reliable: bool) -> None:
        key, invite = client_key(branch, method), method == "INVITE"
        spans = {"fr_timeout_s": FR_S, "fr_inv_timeout_s": FR_INV_S}
        if key in self.lives:
            with pytest.raises(ValueError, match=key):
                self.table.create(key, invite, self.now, reliable=reliable, **spans)
            return
        self.lives[key] = Drawn(
            CLIENT_INVITE if invite else CLIENT_OTHER,
            SAID_BY_CLIENT,
            *(["reliable"] if reliable else []),
            serials=self.serials,
        )
        self.expect(self.table.create(key, invite, self.now, reliable=reliable, **spans), key, "begin")

    @rule(data=st.data(), status=st.sampled_from([*STATUSES, *NO_STATUSES]))
    def reply(self, data: st.DataObject, status: int) -> None:
        key = self.pick(data)
        column = "100" if status == 100 else reply_column(status)
        self.expect(self.table.receive(key, status, self.now), key, column, status=status)

    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        key = self.pick(data)
        self.expect(self.table.cancel(key, self.now), key, "cancel")

    @rule(data=st.data())
    def fail_to_send(self, data: st.DataObject) -> None:
        key = self.pick(data)
        self.expect(self.table.transport_failed(key, self.now), key, "failed")

    @rule(data=st.data(), all_of_them=st.booleans())
    def drop(self, data: st.DataObject, all_of_them: bool) -> None:
        key = self.pick(data)
        self.expect(self.table.terminate(key, self.now), key, "drop")
        if all_of_them:
            for other in self.table:
                self.expect(self.table.terminate(other, self.now), other, "drop")


# --- what `check` would find


def timers_of(table: TransactionTable | ClientTable, key: str) -> list[Timer]:
    entry = table._entries[key]
    return list(entry.handles) if isinstance(entry.handles, dict) else list(entry.timers)


def end(table: TransactionTable | ClientTable, key: str, timer: Timer) -> None:
    entry = table._entries[key]
    handle = entry.handles.pop(timer) if isinstance(entry.handles, dict) else entry.take(timer)
    assert handle is not None
    table._wheel.cancel(handle)


def lose_a_handle(table: TransactionTable, key: str) -> None:
    entry = table._entries[key]
    table._wheel.cancel(entry.handles[0])
    entry.handles = entry.handles[1:]


def forget_a_timer(table: TransactionTable | ClientTable, key: str) -> None:
    end(table, key, timers_of(table, key)[0])


def keep_one_that_is_over(table: TransactionTable | ClientTable, key: str) -> None:
    for timer in timers_of(table, key):
        end(table, key, timer)
    table._entries[key].transaction._terminate("unnoticed")


def start_a_timer_for_nobody(table: TransactionTable | ClientTable, key: str) -> None:
    table._wheel.start(0.0, 1.0, (table._entries[key], timers_of(table, key)[0]))  # type: ignore[arg-type]


def give_it_another_key(table: TransactionTable | ClientTable, key: str) -> None:
    table._entries[key].key = NOBODY


def run_a_timer_twice(table: TransactionTable | ClientTable, key: str) -> None:
    transaction = table._entries[key].transaction
    running = transaction._running
    transaction._running = type(running)([*running, running[0]])  # type: ignore[assignment]


def name_an_ack(table: TransactionTable, key: str) -> None:
    table._acks["another call"] = key


def lose_a_tick(table: TransactionTable | ClientTable, key: str) -> None:
    del table._wheel._due[0]


Break = Callable[[TransactionTable | ClientTable, str], None]
BREAKS: list[tuple[str, Break]] = [
    ("what it believes to run does", forget_a_timer),
    ("something ends it", keep_one_that_is_over),
    ("", start_a_timer_for_nobody),
    ("", give_it_another_key),
    ("a timer runs once", run_a_timer_twice),
    ("", lose_a_tick),
]
"""Each breaks an invariant; and what is found."""


for machine in (ServerTables, ClientTables):
    machine.TestCase.settings = settings(max_examples=120, stateful_step_count=40, deadline=None)
TestServerTables = ServerTables.TestCase
TestClientTables = ClientTables.TestCase
