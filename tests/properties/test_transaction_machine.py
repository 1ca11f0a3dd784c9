"""A client, a lossy network and a slow script around the table of transactions.

Requests, ACKs and CANCELs stay in flight and may arrive never, once, or again and again, early or late. The script
replies when it likes, twice, or not at all. Time passes. What must hold: the script sees a request once while its
transaction lives; a copy gets the last reply and nothing else; each transaction ends, once; the table is empty in
the end.
"""

from __future__ import annotations

from hypothesis import event, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, multiple, rule

from runtime.sip.keys import dialog_ack_key, invite_key, server_key
from runtime.sip.message import Request, parse
from runtime.sip.table import Tagged, TransactionTable
from runtime.sip.transaction import (
    PassAck,
    PassCancel,
    PassFailure,
    Send,
    SendTrying,
    State,
    Terminated,
    Timers,
    Unanswered,
)

TIMERS = Timers(unanswered_s=40.0)
BRANCHES = ["z9hG4bK1", "old"]


def request(method: str, branch: str, via_branch: str, to_tag: str = "") -> Request:
    number = BRANCHES.index(branch) + 1
    data = (
        f"{method} sip:bob@example.com SIP/2.0\r\nVia: SIP/2.0/UDP h;branch={via_branch}\r\n"
        f"From: <sip:a@b>;tag=f{branch}\r\nTo: <sip:c@d>{to_tag}\r\n"
        f"Call-ID: c{branch}\r\nCSeq: {number} {method}\r\n\r\n"
    )
    parsed = parse(data.encode())
    assert isinstance(parsed, Request)
    return parsed


class Life:
    """What the model knows of one transaction."""

    def __init__(self, message: Request, now: float) -> None:
        self.message = message
        self.invite = message.method == "INVITE"
        self.born = now
        self.replies: list[tuple[int, bytes]] = []
        self.relayed = False
        self.acked = False
        self.cancels_passed = 0

    @property
    def final(self) -> int:
        return next((status for status, _ in self.replies if status >= 200), 0)

    def copy_gets(self) -> list[object]:
        if not self.replies or (self.invite and (200 <= self.final < 300 or self.acked)):
            return []
        return [Send(self.replies[-1][1])]


class Transactions(RuleBasedStateMachine):
    flying = Bundle("flying")

    def __init__(self) -> None:
        super().__init__()
        self.table = TransactionTable(TIMERS)
        self.now = 1_000.0
        self.lives: dict[str, Life] = {}
        self.ended = 0
        self.begun = 0
        self.serial = 0

    # --- the client puts messages on the wire; the bundle is the wire, which keeps and repeats everything

    @rule(target=flying, branch=st.sampled_from(BRANCHES))
    def call(self, branch: str):
        return multiple(
            request("INVITE", branch, branch),
            request("ACK", branch, branch, ";tag=ours"),
            request("ACK", branch, "z9hG4bKack" + branch, ";tag=ours"),
            request("CANCEL", branch, branch),
        )

    @rule(target=flying, branch=st.sampled_from(BRANCHES))
    def ask(self, branch: str):
        return request("OPTIONS", branch, branch)

    # --- the network delivers

    @rule(message=flying, parks=st.booleans())
    def deliver(self, message: Request, parks: bool) -> None:
        key = server_key(message)
        life = self.lives.get(key)
        told = self.table.receive(message, key, self.now)
        if message.method == "ACK":
            self.check_ack(message, told)
        elif life is None:
            assert told is None, "what is unknown is new"
            self.begin(message, key, parks)
        else:
            event(f"copy in {self.table.find(key).state.name}")
            assert told == [(key, effect) for effect in life.copy_gets()], "a copy gets the last reply, no more"

    def begin(self, message: Request, key: str, parks: bool) -> None:
        life = self.lives[key] = Life(message, self.now)
        self.begun += 1
        ack_key = dialog_ack_key(message) if life.invite else None
        self.take(self.table.create(key, life.invite, self.now, ack_key=ack_key, trying_s=0 if parks else None))
        if message.method == "CANCEL":
            self.cancel(invite_key(message))

    def cancel(self, key: str) -> None:
        told = self.table.cancel(key, self.now)
        life = self.lives.get(key)
        assert (told is None) == (life is None)
        if told:
            assert told == [(key, PassCancel())]
            assert life is not None
            assert not life.final
            life.cancels_passed += 1
            assert life.cancels_passed == 1

    def check_ack(self, message: Request, told: list[Tagged] | None) -> None:
        key = server_key(message)
        if key not in self.lives:  # an ACK of a 2xx: by its dialog, if at all
            alive = [
                k
                for k, life in self.lives.items()
                if life.invite and dialog_ack_key(life.message) == dialog_ack_key(message)
            ]
            assert len(alive) == (told is not None)
            if not alive:
                return
            [key] = alive
        life = self.lives[key]
        event(f"ACK in {self.table.find(key).state.name}")
        assert told == ([(key, PassAck())] if 200 <= life.final < 300 else [])
        life.acked = life.acked or bool(life.final)

    # --- the script replies

    @rule(data=st.data(), status=st.sampled_from([100, 180, 200, 200, 486, 486]), relayed=st.booleans())
    def reply(self, data: st.DataObject, status: int, relayed: bool) -> None:
        key = data.draw(st.sampled_from(sorted(self.lives))) if self.lives else "unknown"
        self.answer(key, status, relayed)

    def answer(self, key: str, status: int, relayed: bool = False) -> None:
        self.serial += 1
        data = b"%d %d" % (status, self.serial)
        told = self.table.reply(key, status, data, self.now, relayed=relayed)
        life = self.lives.get(key)
        if life is None:
            assert told is None
            return
        forked = life.invite and 200 <= life.final < 300 and 200 <= status < 300
        if life.final and not forked:
            assert told == [], "one final reply"
            return
        if not forked:  # what is repeated stays the first
            life.relayed = relayed
            life.replies.append((status, data))
        assert told == [(key, Send(data))]

    # --- the world

    @rule(by_s=st.sampled_from([0.2, 0.5, 1.0, 5.0, 33.0]))
    def wait(self, by_s: float) -> None:
        self.now += by_s
        self.take(self.table.tick(self.now))

    @rule(data=st.data(), seconds=st.sampled_from([1.0, 60.0]))
    def hold(self, data: st.DataObject, seconds: float) -> None:
        if self.lives:
            assert self.table.hold(data.draw(st.sampled_from(sorted(self.lives))), seconds, self.now) == []

    @rule(data=st.data())
    def park(self, data: st.DataObject) -> None:
        if self.lives:
            self.take(self.table.trying(data.draw(st.sampled_from(sorted(self.lives))), self.now) or [])

    @rule(data=st.data())
    def lose_the_socket(self, data: st.DataObject) -> None:
        sent = sorted(key for key, life in self.lives.items() if life.replies)
        if sent:
            self.take(self.table.transport_failed(data.draw(st.sampled_from(sent)), self.now) or [])

    def take(self, told: list[Tagged]) -> None:
        """What the table says by itself."""
        for key, effect in told:
            life = self.lives[key]  # a KeyError here is a word after the end
            match effect:
                case Terminated(reason):
                    event(f"{'INVITE' if life.invite else 'other'} ended: {reason}")
                    del self.lives[key]
                    self.ended += 1
                case SendTrying():
                    assert life.invite
                    assert not life.replies
                    self.answer(key, 100)
                case Send(data):
                    assert life.invite
                    assert life.final
                    assert not life.acked
                    assert not (life.relayed and life.final < 300)
                    assert data == life.replies[-1][1]
                case Unanswered():
                    assert life.invite
                    assert not life.final
                case PassFailure():
                    assert life.invite
                case _:
                    raise AssertionError(f"{effect} out of nowhere")

    @invariant()
    def agrees(self) -> None:
        self.table.check()
        assert set(self.table) == set(self.lives)
        assert self.begun == self.ended + len(self.lives)
        for key, life in self.lives.items():
            found = self.table.find(key)
            assert found is not None
            assert found.state is not State.TERMINATED
            assert found.answered == bool(life.final)
        assert (self.table.next_deadline() is None) == (not self.lives)

    def teardown(self) -> None:
        """Nothing arrives any more and nobody replies: all of it ends."""
        for _ in range(500):
            deadline = self.table.next_deadline()
            if deadline is None:
                break
            self.now = max(self.now, deadline)
            self.take(self.table.tick(self.now))
        assert len(self.table) == 0
        assert self.lives == {}
        assert self.begun == self.ended
        self.table.check()


TestTransactions = Transactions.TestCase
TestTransactions.settings = settings(max_examples=120, stateful_step_count=40, deadline=None)
