"""Two user agents, a proxy's dialog between them, and everything arriving late, twice, or not at all.

The model knows who sent what. What must hold: states only go forwards; each end sees CSeq numbers of requests that only
grow, and a copy keeps its number; each BYE of ours is asked for until it is answered, with one number; the dialog is
over after whatever happened, and the store's counts and indexes agree with its records all the while.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from hypothesis import event, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from runtime.dialogs.store import LEASE_S, DialogStore, Totals
from runtime.sip.dialog import BYE_S, SETUP_S, Dialog, Terms
from runtime.sip.dialog_words import (
    Acked,
    ByeAnswered,
    CallerCancelled,
    CancelInvite,
    Changed,
    Due,
    Effect,
    EndWanted,
    Flag,
    Gone,
    Leg,
    Moved,
    PingFailed,
    Replied,
    Requested,
    RequestWanted,
    SendBye,
    SendPing,
    SendRequest,
    Side,
    State,
    Stimulus,
    TimeoutSet,
)

TERMS = Terms(options_s=30.0, reinvite_s=45.0)
SIDES = st.sampled_from(list(Side))


class Life:
    """What the model knows of one dialog."""

    def __init__(self) -> None:
        self.state = State.UNCONFIRMED
        self.sent = {Side.CALLER: 1, Side.CALLEE: 0}
        """The highest number that each end has used."""
        self.seen: dict[Side, list[int]] = {Side.CALLER: [], Side.CALLEE: [1]}
        """The numbers that each end got, in order."""
        self.passed: dict[tuple[Side, int], int] = {}
        """What each request's number became."""
        self.byes: dict[Side, int] = {}
        self.pinged: list[tuple[Side, str]] = []


class Dialogs(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.store = DialogStore(self.folder / "dialogs")
        self.now = 100.0
        self.lives: dict[int, Life] = {}
        self.serial = 0

    # --- calls

    @precondition(lambda self: len(self.lives) < 4)
    @rule(flags=st.sampled_from([0, Flag.BYE_ON_TIMEOUT, *(one | Flag.BYE_ON_TIMEOUT for one in Flag)]))
    def invite(self, flags: int) -> None:
        self.serial += 1
        callee = Leg(uri="sip:b", sent=1)
        dialog = Dialog(self.serial, f"c{self.serial % 2}", 0.0, 100, Leg("a", "sip:a", cseq=1), callee, int(flags))
        dialog.profiles = [("all", ""), ("serial", str(self.serial % 3))]
        dialog.begin(self.now)
        assert self.store.create(dialog)
        self.lives[self.serial] = Life()

    @rule(data=st.data(), status=st.sampled_from([100, 180, 183, 200, 200, 200, 404, 487]))
    def reply(self, data: st.DataObject, status: int) -> None:
        tag = data.draw(st.sampled_from(["b", "fork"]))
        self.tell(data, Replied(status, "" if status == 100 else tag, "sip:b@1", [], 0, self.now, self.now))

    @rule(data=st.data())
    def ack(self, data: st.DataObject) -> None:
        self.tell(data, Acked())

    @rule(data=st.data(), sender=SIDES, method=st.sampled_from(["INVITE", "INFO", "INFO", "BYE"]))
    def request(self, data: st.DataObject, sender: Side, method: str) -> None:
        number = self.pick(data)
        if number is None:
            return
        life = self.lives[number]
        life.sent[sender] += data.draw(st.sampled_from([0, 1, 1, 1, 7]))
        cseq = life.sent[sender]
        found = self.apply(number, Requested(method, sender, cseq, self.now))
        if found is None:
            return
        self.check_number(life, sender, cseq, cseq + found.shift(sender, method))

    def check_number(self, life: Life, sender: Side, cseq: int, became: int) -> None:
        seen = life.seen[sender.other]
        if (sender, cseq) in life.passed:
            event("a copy")
            return
        if sender is Side.CALLER and cseq == 1:
            return  # the INVITE's own number again
        assert not seen or became > seen[-1], "its receiver takes no number that is not higher than all before"
        event("renumbered" if became != cseq else "as it was")
        life.passed[sender, cseq] = became
        seen.append(became)

    @rule(data=st.data())
    def bye_answered(self, data: st.DataObject) -> None:
        number = self.pick(data)
        if number is None:
            return
        life = self.lives[number]
        side = data.draw(st.sampled_from([None, *life.byes]))
        if side is None and life.byes:
            return
        if side is not None:
            del life.byes[side]
        self.apply(number, ByeAnswered(side, self.now))

    @rule(data=st.data(), seconds=st.sampled_from([0, 10, 1000]))
    def set_timeout(self, data: st.DataObject, seconds: int) -> None:
        self.tell(data, TimeoutSet(seconds, self.now))

    @rule(data=st.data(), side=SIDES)
    def want_a_request(self, data: st.DataObject, side: Side) -> None:
        self.tell(data, RequestWanted(side, "INFO"))

    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        self.tell(data, CallerCancelled())

    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        self.tell(data, EndWanted("wanted", self.now))

    @rule(data=st.data())
    def ping_fails(self, data: st.DataObject) -> None:
        number = self.pick(data)
        if number is not None and self.lives[number].pinged:
            side, method = self.lives[number].pinged.pop()
            self.apply(number, PingFailed(side, method, self.now))

    # --- time

    @rule(by_s=st.sampled_from([1.0, 10.0, 30.0, BYE_S, SETUP_S]), heard=st.booleans())
    def wait(self, by_s: float, heard: bool) -> None:
        """Time passes, and the clock looks. What it tells somebody may be lost with that process."""
        self.now += by_s
        self.look(heard)

    def look(self, heard: bool) -> None:
        before = {number for number in self.lives if self.store.load(number) is not None}
        for number in self.store.claim(self.now):
            event("heard" if heard else "lost")
            if heard:
                self.apply(number, Due(self.now))
        for number in before:
            if number in self.lives and self.store.load(number) is None:
                assert self.lives[number].state is State.DELETED
                assert not self.lives[number].byes
                del self.lives[number]

    # --- what the dialog says

    def pick(self, data: st.DataObject) -> int | None:
        return data.draw(st.sampled_from(sorted(self.lives))) if self.lives else None

    def tell(self, data: st.DataObject, stimulus: Stimulus) -> None:
        number = self.pick(data)
        if number is not None:
            self.apply(number, stimulus)

    def apply(self, number: int, stimulus: Stimulus) -> Dialog | None:
        before = self.store.load(number)
        found = self.store.update(number, lambda dialog: dialog.handle(stimulus, TERMS))
        assert found is not None
        dialog, effects = found
        if effects:
            dialog.check()
        else:
            assert dialog == before, "what tells nothing changes nothing"
        for effect in effects:
            self.take(self.lives[number], effect)
        if effects and isinstance(effects[-1], Gone):
            assert self.store.load(number) is None
            del self.lives[number]
            return None
        return dialog

    def take(self, life: Life, effect: Effect) -> None:
        match effect:
            case Moved(old, new):
                assert old is life.state
                assert new > old
                event(f"{old.name} to {new.name}")
                life.state = new
            case SendBye(side, cseq):
                assert life.state is State.DELETED
                assert life.byes.get(side, cseq) == cseq, "asked for again, it is the same"
                if side not in life.byes:
                    self.own(life, side, cseq)
                life.byes[side] = cseq
            case SendPing(side, method, cseq):
                assert life.state is State.CONFIRMED
                self.own(life, side, cseq)
                life.pinged.append((side, method))
            case SendRequest(side, _, cseq):
                assert life.state in (State.CONFIRMED_NA, State.CONFIRMED)
                self.own(life, side, cseq)
            case CancelInvite():
                assert life.state <= State.EARLY
            case Gone():
                assert life.state is State.DELETED
            case Changed():
                pass

    def own(self, life: Life, side: Side, cseq: int) -> None:
        assert not life.seen[side] or cseq > life.seen[side][-1]
        life.seen[side].append(cseq)

    @invariant()
    def agrees(self) -> None:
        alive = {number: life for number, life in self.lives.items() if life.state is not State.DELETED}
        assert [dialog.id for dialog in self.store.alive()] == sorted(alive)
        states = [life.state for life in alive.values()]
        assert self.store.totals() == Totals(
            states.count(State.UNCONFIRMED), states.count(State.EARLY), sum(state in (3, 4) for state in states)
        )
        assert self.store.size_of("all") == self.store.size_of("serial") == len(alive)
        assert sum(count for _, count in self.store.values_of("serial")) == len(alive)
        calls = [dialog.id for call in ("c0", "c1") for dialog in self.store.of_call(call)]
        assert sorted(calls) == sorted(self.lives)
        assert (self.store.next_due() is None) == (not self.lives)

    def teardown(self) -> None:
        """Nobody says anything any more, but the clock is heard: all of it ends."""
        for _ in range(100):
            due = self.store.next_due()
            if due is None:
                break
            self.now = max(self.now, due + LEASE_S)
            self.look_to_the_end()
        assert self.store.next_due() is None
        assert self.store.totals() == Totals()
        assert self.store.size_of("all") == 0
        self.store.close()
        shutil.rmtree(self.folder)

    def look_to_the_end(self) -> None:
        for number in self.store.claim(self.now):
            self.apply(number, Due(self.now))


TestDialogs = Dialogs.TestCase
TestDialogs.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
