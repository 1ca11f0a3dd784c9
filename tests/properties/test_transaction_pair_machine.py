"""Client transactions joined to server transactions by a list of messages in flight.

The network delivers, delivers twice, loses and reorders; a callee replies when it likes; a caller cancels; time passes
by itself or from deadline to deadline. What must hold: a client has one outcome, and it is what the server sent; every
refusal of an INVITE that arrives is acknowledged; a CANCEL goes out once and when it may; nothing is told after the
end; and all of it ends in bounded time.
"""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

from hypothesis import event, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from runtime.sip.client_table import ClientTable, ClientTagged, client_key
from runtime.sip.keys import dialog_ack_key, invite_key, server_key
from runtime.sip.message import Request, parse
from runtime.sip.table import Tagged, TransactionTable
from runtime.sip.transaction_words import (
    DROPPED,
    NO_ACK,
    NO_REPLY,
    PassCancel,
    PassFailure,
    PassReply,
    PassTimeout,
    Send,
    SendAck,
    SendCancel,
    SendRequest,
    SendTrying,
    State,
    Terminated,
    Timers,
    Unanswered,
)

TIMERS = Timers(unanswered_s=40.0)
FR_S, FR_INV_S = 8.0, 20.0
GRAIN_S = 1 / 128
COPIES = 5
"""Sent in FR_S: at 0, 0.5, 1.5, 3.5 and 7.5 s."""
CLIENT_ENDS_S = max(FR_S, FR_INV_S) + TIMERS.patience_s + GRAIN_S
SERVER_ENDS_S = TIMERS.unanswered_s + TIMERS.patience_s + GRAIN_S


class Reply(NamedTuple):
    """A reply in flight. The bytes are its status and a serial number."""

    key: str
    data: bytes

    @property
    def status(self) -> int:
        return int(self.data[:3])


def request(method: str, number: int, branch: str, to_tag: str = "") -> Request:
    data = (
        f"{method} sip:bob@example.com SIP/2.0\r\nVia: SIP/2.0/UDP h;branch={branch}\r\n"
        f"From: <sip:a@b>;tag=f{number}\r\nTo: <sip:c@d>{to_tag}\r\nCall-ID: c{number}\r\nCSeq: 1 {method}\r\n\r\n"
    )
    parsed = parse(data.encode())
    assert isinstance(parsed, Request)
    return parsed


class Life:
    """What the model knows of one client transaction, and of what happened at its server."""

    def __init__(self, method: str, number: int) -> None:
        self.method = method
        self.number = number
        self.branch = f"z9hG4bK{number}"
        self.heard: list[Reply] = []
        self.passed: list[Reply] = []
        self.outcomes = 0
        self.sends = 0
        self.cancel_wanted = False
        self.cancels = 0

    @property
    def invite(self) -> bool:
        return self.method == "INVITE"

    def message(self) -> Request:
        return request(self.method, self.number, self.branch)

    def wants(self, status: int) -> bool:
        """Whether a reply that arrives now is to be passed up."""
        if self.invite and 200 <= status < 300:
            return not self.heard_any(300, 700)
        return not self.outcomes and not self.heard_any(200, 700)

    def heard_any(self, low: int, below: int) -> bool:
        return any(low <= reply.status < below for reply in self.heard)


class Pairs(RuleBasedStateMachine):
    reliable = False

    def __init__(self) -> None:
        super().__init__()
        self.now = 1_000.0
        self.client = ClientTable(TIMERS)
        self.server = TransactionTable(TIMERS)
        self.wire: list[tuple[float, Request | Reply]] = []
        """What is in flight, and since when. The network keeps nothing for longer than T4."""
        self.lives: dict[str, Life] = {}
        """One for each client transaction, until it is over."""
        self.sent: dict[str, list[bytes]] = {}
        """What the server sent, by the client's key."""
        self.client_keys: dict[str, str] = {}
        """The client's key by the server's."""
        self.served: set[str] = set()
        """The server transactions that live."""
        self.was_served: set[str] = set()
        self.completed_at: dict[str, float] = {}
        """When an INVITE was refused, by the client's key."""
        self.ends: dict[str, str] = {}
        """Why a client transaction ended."""
        self.unacknowledged: list[str] = []
        self.serial = 0
        self.arriving: Reply | None = None
        self.fair = False
        """How the run ends: in the network's delivering everything or nothing."""

    @initialize(fair=st.booleans())
    def choose_the_end(self, fair: bool) -> None:
        self.fair = fair

    # --- the caller

    @rule(method=st.sampled_from(["INVITE", "INVITE", "INVITE", "OPTIONS"]))
    @precondition(lambda self: len(self.lives) < 4)
    def call(self, method: str) -> None:
        self.serial += 1
        self.begin(method, self.serial)

    def begin(self, method: str, number: int) -> None:
        life = Life(method, number)
        key = client_key(life.branch, method)
        self.lives[key] = life
        self.client_keys[server_key(life.message())] = key
        self.sent.setdefault(key, [])
        told = self.client.create(
            key, life.invite, self.now, reliable=self.reliable, fr_timeout_s=FR_S, fr_inv_timeout_s=FR_INV_S
        )
        assert told == [(key, SendRequest())]
        self.take_client(told)

    @rule(data=st.data())
    @precondition(lambda self: self.lives)
    def cancel(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.lives)))
        self.cancel_life(key)

    def cancel_life(self, key: str) -> None:
        life = self.lives[key]
        event(f"cancel in {self.state(key)}")
        life.cancel_wanted = life.cancel_wanted or life.invite
        told = self.client.cancel(key, self.now)
        assert told in ([], [(key, SendCancel())])
        self.take_client(told or [])

    @rule(data=st.data(), drops=st.booleans())
    @precondition(lambda self: len(self.lives) > 2)
    def lose_the_way(self, data: st.DataObject, drops: bool) -> None:
        key = data.draw(st.sampled_from(sorted(self.lives)))
        event(f"{'dropped' if drops else 'send failed'} in {self.state(key)}")
        if drops:
            self.take_client(self.client.terminate(key, self.now) or [])
            assert key not in self.lives
            return
        life = self.lives[key]
        fails = not life.outcomes and not life.heard_any(100 if life.invite else 200, 700)
        told = self.client.transport_failed(key, self.now) or []
        assert ((key, PassFailure()) in told) == fails
        self.take_client(told)

    # --- the callee

    @rule(data=st.data(), status=st.sampled_from([100, 180, 180, 200, 486]), relayed=st.booleans())
    @precondition(lambda self: self.answerable())
    def reply(self, data: st.DataObject, status: int, relayed: bool) -> None:
        self.answer(data.draw(st.sampled_from(self.answerable())), status, relayed)

    def answerable(self) -> list[str]:
        return sorted(key for key in self.served if not self.client_keys[key].endswith(" CANCEL"))

    def answer(self, key: str, status: int, relayed: bool = False) -> None:
        self.serial += 1
        self.take_server(self.server.reply(key, status, b"%d %d" % (status, self.serial), self.now, relayed=relayed))

    # --- the network

    @rule(number=st.integers(1, 4))
    @precondition(lambda self: self.wire)
    def deliver(self, number: int) -> None:
        for _ in range(min(number, len(self.wire))):
            self.arrive(self.wire.pop(0)[1])

    @rule(data=st.data(), copy=st.booleans())
    @precondition(lambda self: self.wire and not self.reliable)
    def deliver_in_disorder(self, data: st.DataObject, copy: bool) -> None:
        at = data.draw(st.integers(0, len(self.wire) - 1))
        _, message = self.wire[at] if copy else self.wire.pop(at)
        self.arrive(message)

    @rule(data=st.data())
    @precondition(lambda self: self.wire and not self.reliable)
    def lose(self, data: st.DataObject) -> None:
        self.wire.pop(data.draw(st.integers(0, len(self.wire) - 1)))

    @rule(by_s=st.sampled_from([0.1, 0.2, 0.3, 0.5, 0.5, 1.0, 1.0, 5.0, 33.0]))
    def wait(self, by_s: float) -> None:
        until = self.now + by_s
        while self.to_the_next_deadline(until):
            pass
        self.now = until
        self.tick()

    @rule()
    def wait_for_a_timer(self) -> None:
        self.to_the_next_deadline()

    def to_the_next_deadline(self, until: float = float("inf")) -> bool:
        """Let the next timer fire that is due by then; False when there is none."""
        deadlines = [at for at in (self.client.next_deadline(), self.server.next_deadline()) if at is not None]
        if min(deadlines, default=float("inf")) > until or not deadlines:
            return False
        self.now = max(self.now, min(deadlines))
        self.tick()
        return True

    def tick(self) -> None:
        if not self.reliable:
            self.wire = [(since, message) for since, message in self.wire if self.now < since + TIMERS.t4_s]
        self.take_client(self.client.tick(self.now))
        self.take_server(self.server.tick(self.now))

    def send(self, message: Request | Reply) -> None:
        self.wire.append((self.now, message))

    # --- what arrives

    def arrive(self, message: Request | Reply) -> None:
        if isinstance(message, Reply):
            self.arrive_at_client(message)
        else:
            self.arrive_at_server(message)

    def arrive_at_client(self, reply: Reply) -> None:
        life = self.lives.get(reply.key)
        if life is None:
            assert self.client.receive(reply.key, reply.status, self.now) is None
            return
        event(f"{reply.status} in {self.state(reply.key)}")
        wanted = life.wants(reply.status)
        life.heard.append(reply)
        self.arriving = reply
        told = self.client.receive(reply.key, reply.status, self.now)
        assert told is not None
        refused = life.invite and reply.status >= 300
        assert ((reply.key, SendAck()) in told) == refused, "a refusal is acknowledged, each time, and nothing else is"
        assert ((reply.key, PassReply()) in told) == wanted
        self.take_client(told)
        self.arriving = None

    def arrive_at_server(self, message: Request) -> None:
        key = server_key(message)
        told = self.server.receive(message, key, self.now)
        if message.method == "ACK":
            found = self.server.find(key)
            assert found is None or found.state is not State.COMPLETED, "its ACK ends the repeating of a refusal"
        elif told is None:
            self.serve(message, key)
            return
        self.take_server(told)

    def serve(self, message: Request, key: str) -> None:
        assert self.client_keys[key] not in self.was_served, "no copy of a request is taken for a new one"
        self.was_served.add(self.client_keys[key])
        self.served.add(key)
        invite = message.method == "INVITE"
        ack_key = dialog_ack_key(message) if invite else None
        self.take_server(self.server.create(key, invite, self.now, ack_key=ack_key, reliable=self.reliable))
        if message.method == "CANCEL":
            told = self.server.cancel(invite_key(message), self.now)
            self.answer(key, 481 if told is None else 200)
            self.take_server(told)

    # --- what the tables tell

    def take_client(self, told: list[ClientTagged]) -> None:
        for key, effect in told:
            life = self.lives[key]  # a KeyError here is a word after the end
            match effect:
                case SendRequest():
                    assert not life.heard_any(100, 700) if life.invite else not life.heard_any(200, 700)
                    life.sends += 1
                    self.send(life.message())
                case SendAck():
                    self.send(request("ACK", life.number, life.branch, ";tag=ours"))
                case SendCancel():
                    self.take_cancel(life)
                case PassReply():
                    self.take_reply(key, life)
                case PassTimeout() | PassFailure():
                    life.outcomes += 1
                    life.cancel_wanted = True
                    assert life.outcomes == 1, "one outcome"
                    assert not life.heard_any(200, 700)
                    if isinstance(effect, PassTimeout) and not life.heard:
                        assert life.sends == (1 if self.reliable else COPIES)
                case Terminated(reason):
                    assert reason == DROPPED or life.outcomes or life.heard_any(200, 300), "it had an outcome"
                    event(f"{life.method} ended: {reason}")
                    self.ends[key] = reason
                    del self.lives[key]

    def take_cancel(self, life: Life) -> None:
        life.cancels += 1
        assert life.invite
        assert life.cancels == 1, "a CANCEL repeats itself, being a transaction"
        assert life.heard_any(100, 200)
        assert not life.heard_any(200, 700)
        # By a timeout it is wanted too, and that one is told right after it.
        self.begin("CANCEL", life.number)

    def take_reply(self, key: str, life: Life) -> None:
        reply = self.arriving
        assert reply is not None, "a reply is passed up when one arrives"
        assert reply.key == key
        assert reply.data in self.sent[key], "it is what the server sent"
        accepted = life.invite and 200 <= reply.status < 300
        if reply.status >= 200 and not accepted:
            life.outcomes += 1
            assert life.outcomes == 1, "one outcome"
        elif not accepted:
            assert life.outcomes == 0, "no provisional reply after the outcome"
            assert not any(passed.status >= 200 for passed in life.passed)
        else:
            assert not any(passed.status >= 300 for passed in life.passed)
            self.send(request("ACK", life.number, "z9hG4bKack" + life.branch, ";tag=ours"))
        life.passed.append(reply)

    def take_server(self, told: list[Tagged] | None) -> None:
        for key, effect in told or []:
            assert key in self.served, "nothing is told after the end"
            client = self.client_keys[key]
            match effect:
                case Send(data):
                    self.sent[client].append(data)
                    self.send(Reply(client, data))
                    if data >= b"300" and client.endswith(" INVITE"):
                        self.completed_at.setdefault(client, self.now)
                case SendTrying():
                    self.answer(key, 100)
                case PassCancel():
                    self.answer(key, 487)
                case Terminated(reason):
                    event(f"server of {client.partition(' ')[2]} ended: {reason}")
                    self.served.remove(key)
                    self.completed_at.pop(client, None)
                    if reason == NO_ACK:
                        self.unacknowledged.append(client)
                case Unanswered():
                    self.answer(key, 408)

    def state(self, key: str) -> str:
        found = self.client.find(key)
        assert found is not None
        return found.state.name

    @invariant()
    def agrees(self) -> None:
        self.client.check()
        self.server.check()
        assert set(self.client) == set(self.lives)
        assert set(self.server) == self.served
        assert (self.client.next_deadline() is None) == (not self.lives), "nobody keeps a timer at rest"
        assert (self.server.next_deadline() is None) == (not self.served), "nobody keeps a timer at rest"
        for key, life in self.lives.items():
            found = self.client.find(key)
            assert found is not None
            assert found.state is not State.TERMINATED
            assert not self.reliable or found.state is not State.COMPLETED, "nothing lingers that nothing can follow"
            assert found.answered == life.heard_any(200, 700)
            assert found.answered <= bool(life.passed or life.outcomes)
            if life.invite and life.cancel_wanted and life.heard_any(100, 200) and not found.answered:
                assert life.cancels == 1, "a CANCEL that is wanted goes out as soon as it may"

    def teardown(self) -> None:
        if self.fair:
            self.be_fair()
        else:
            self.be_dead()

    def be_fair(self) -> None:
        """The network delivers everything for as long as anything lives: who can be acknowledged is."""
        young = {
            key
            for key, at in self.completed_at.items()
            if key in self.lives and self.now < at + TIMERS.patience_s - TIMERS.t2_s - GRAIN_S
        }
        del self.unacknowledged[:]
        for _ in range(2_000):
            while self.wire:
                self.arrive(self.wire.pop(0)[1])
            if not self.to_the_next_deadline():
                break
        assert not self.lives
        assert not self.served
        if not self.reliable:
            missed = young & set(self.unacknowledged)
            assert all(self.ends[key] == NO_REPLY for key in missed), "its client had not waited for it"

    def be_dead(self) -> None:
        """The network is dead and the callee silent: each side ends all the same, in bounded time."""
        del self.wire[:]
        silent_since, lives = self.now, set(self.lives)
        outcomes = Counter({key: life.outcomes + len(life.passed) for key, life in self.lives.items()})
        for _ in range(2_000):
            del self.wire[:]
            if not self.to_the_next_deadline():
                break
            assert self.now <= silent_since + SERVER_ENDS_S + TIMERS.patience_s
            assert self.now <= silent_since + CLIENT_ENDS_S + TIMERS.patience_s or not lives & set(self.lives)
            self.agrees()
        assert (len(self.client), len(self.server), self.lives, self.served) == (0, 0, {}, set())
        assert outcomes.keys() <= self.ends.keys()


class ReliablePairs(Pairs):
    """Over TCP: everything arrives, once, in order; what is never sent again must not be needed again."""

    reliable = True


for machine in (Pairs, ReliablePairs):
    machine.TestCase.settings = settings(max_examples=150, stateful_step_count=50, deadline=None)
TestPairs = Pairs.TestCase
TestReliablePairs = ReliablePairs.TestCase
