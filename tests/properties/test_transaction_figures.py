"""The transactions' cores beside the figures of the RFCs, in every state and at every word.

The walk takes each core to each state that its figure can be in, and there says each word, those too that do not
belong there. What must hold: it tells what the figure says, is in the state that the figure is in, and runs its timers
for as long; it starts only what does not run and stops only what does. And what an invariant forbids, `check` finds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple, TypeAlias

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from runtime.sip import client_transaction, transaction
from runtime.sip.client_transaction import ClientTransaction
from runtime.sip.transaction import ServerTransaction
from runtime.sip.transaction_words import (
    CancelWanted,
    Dropped,
    Held,
    Kind,
    Received,
    Replied,
    ReplyReceived,
    Start,
    State,
    Stop,
    Timer,
    TimerFired,
    TransportFailed,
    TryingWanted,
)
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

Core: TypeAlias = ServerTransaction | ClientTransaction

STATUSES = [100, 101, 199, 200, 299, 300, 699]
"""Each class from its first to its last."""
NO_STATUSES = [-1, 0, 99, 700, 1_000]


class Word(NamedTuple):
    """Something that comes: to the core, and in the words of the figures."""

    stimulus: object
    what: str
    facts: tuple[str, ...] = ()
    status: int = 0
    data: bytes = b""
    for_s: float = 0.0


class Beside:
    """A core beside its figure."""

    def __init__(self, real: Core, drawn: Drawn) -> None:
        self.real = real
        self.drawn = drawn
        self.running: dict[str, float] = {}
        """The timers that the core started, each with its span."""

    def begin(self, effects: Iterable[object], *facts: str) -> None:
        self.agrees(effects, self.drawn.comes("begin", 0.0, *facts))

    def hear(self, word: Word) -> None:
        if isinstance(word.stimulus, TimerFired):
            self.running.pop(word.what, None)
        effects = self.real.handle(word.stimulus)  # type: ignore[arg-type]
        if word.for_s:
            self.drawn.vouch(word.for_s, 0.0)
            self.agrees(effects, [])
        else:
            told = self.drawn.comes(word.what, 0.0, *word.facts, status=word.status, data=word.data)
            self.agrees(effects, told)

    def agrees(self, effects: Iterable[object], expected: list[object]) -> None:
        assert self.perform(effects) == expected
        assert self.real.state.name == self.drawn.state
        assert self.running == {name: wait.span_s for name, wait in self.drawn.timers.items()}
        assert self.real.last_status == self.drawn.status
        assert self.real.answered == (self.drawn.status >= 200)
        assert not isinstance(self.real, ServerTransaction) or self.real.last == self.drawn.last
        self.real.check()

    def perform(self, effects: Iterable[object]) -> list[object]:
        told, begun = [], set()
        for effect in effects:
            match effect:
                case Start(timer, after_s):
                    assert timer.name not in self.running, "what is started does not run"
                    self.running[timer.name] = after_s
                    begun.add(timer.name)
                case Stop(timer):
                    assert self.running.pop(timer.name, None) is not None, "what is stopped runs"
                case _:
                    told.append(effect)
        assert begun == self.drawn.begun, "what goes on is not begun again"
        return told

    def place(self) -> tuple[object, ...]:
        """Where it is: two that are at one place go on alike."""
        drawn = self.drawn
        waits = frozenset((name, wait.span_s) for name, wait in drawn.timers.items())
        return drawn.state, frozenset(drawn.facts), waits, "UNANSWERED" in drawn.timers and drawn.patience_s


Begin: TypeAlias = Callable[[], Beside]
FIRINGS = [Word(TimerFired(timer), timer.name) for timer in Timer]


def server(invite: bool, reliable: bool, trying_s: float | None = None) -> Beside:
    facts = ["reliable"] if reliable else []
    after_s = TRYING_S if trying_s is None else trying_s
    drawn = Drawn(SERVER_INVITE if invite else SERVER_OTHER, SAID, *facts, trying_s=after_s)
    beside = Beside(ServerTransaction(invite, TIMERS, True) if reliable else ServerTransaction(invite, TIMERS), drawn)
    effects = beside.real.begin() if trying_s is None else beside.real.begin(trying_s)
    beside.begin(effects, *(["at-once"] if trying_s == 0 else []))
    return beside


def client(invite: bool, reliable: bool) -> Beside:
    facts = ["reliable"] if reliable else []
    drawn = Drawn(CLIENT_INVITE if invite else CLIENT_OTHER, SAID_BY_CLIENT, *facts)
    beside = Beside(ClientTransaction(invite, TIMERS, reliable, FR_S, FR_INV_S), drawn)
    beside.begin(beside.real.begin())
    return beside


def replied(status: int, relayed: bool) -> Word:
    data = b"%d %d" % (status, relayed)
    return Word(Replied(status, data, relayed), reply_column(status), ("relayed",) * relayed, status, data)


def reply_received(status: int) -> Word:
    return Word(ReplyReceived(status), "100" if status == 100 else reply_column(status), (), status)


TO_SERVER = [
    Word(Received(Kind.COPY), "copy"),
    Word(Received(Kind.ACK), "ack"),
    Word(Received(Kind.CANCEL), "cancel"),
    *(replied(status, relayed) for status in STATUSES for relayed in (False, True)),
    Word(Replied(200, b"ours"), "2xx", (), 200, b"ours"),
    Word(TransportFailed(), "failed"),
    Word(TryingWanted(), "park"),
    Word(Held(1.0), "hold", for_s=1.0),
    Word(Held(60.0), "hold", for_s=60.0),
    *FIRINGS,
]
TO_CLIENT = [
    *(reply_received(status) for status in [*STATUSES, *NO_STATUSES]),
    Word(CancelWanted(), "cancel"),
    Word(TransportFailed(), "failed"),
    Word(Dropped(), "drop"),
    *FIRINGS,
]
CORES: dict[str, tuple[Begin, list[Word]]] = {
    "server of INVITE": (lambda: server(True, False), TO_SERVER),
    "server of INVITE, reliable": (lambda: server(True, True), TO_SERVER),
    "server of INVITE, 100 at once": (lambda: server(True, False, 0), TO_SERVER),
    "server of INVITE, 100 later": (lambda: server(True, False, 1.0), TO_SERVER),
    "server of other": (lambda: server(False, False), TO_SERVER),
    "server of other, reliable": (lambda: server(False, True), TO_SERVER),
    "server of other, 100 at once": (lambda: server(False, False, 0), TO_SERVER),
    "client of INVITE": (lambda: client(True, False), TO_CLIENT),
    "client of INVITE, reliable": (lambda: client(True, True), TO_CLIENT),
    "client of other": (lambda: client(False, False), TO_CLIENT),
    "client of other, reliable": (lambda: client(False, True), TO_CLIENT),
}
FURTHEST = 7
"""Words from the beginning: what lies beyond differs by an interval of timer A, which doubles for ever."""


def walked(begin: Begin, path: Iterable[Word]) -> Beside:
    beside = begin()
    for word in path:
        beside.hear(word)
    return beside


def walk(begin: Begin, words: list[Word]) -> list[tuple[Word, ...]]:
    """Say each word at each place; a way to each place."""
    ways: list[tuple[Word, ...]] = [()]
    seen = {begin().place()}
    for way in ways:
        for word in words:
            beside = walked(begin, (*way, word))
            if len(way) < FURTHEST and beside.place() not in seen:
                seen.add(beside.place())
                ways.append((*way, word))
    return ways


@pytest.mark.parametrize("name", CORES)
def test_it_does_in_each_state_what_the_figure_says(name: str) -> None:
    walk(*CORES[name])


@settings(max_examples=50)
@given(data=st.data(), name=st.sampled_from(sorted(CORES)))
def test_it_does_on_any_way_what_the_figure_says(data: st.DataObject, name: str) -> None:
    """Longer ways than the walk's, in which most words belong where they come."""
    begin, words = CORES[name]
    beside = begin()
    for _ in range(data.draw(st.integers(0, 40))):
        apt = [word for word in words if beside.drawn.row(word.what, *word.facts) and is_due(beside, word)]
        beside.hear(data.draw(st.sampled_from(apt or words)))
    event(f"{name} in {beside.drawn.state}")


def is_due(beside: Beside, word: Word) -> bool:
    return not isinstance(word.stimulus, TimerFired) or word.what in beside.drawn.timers


# --- what the walk would notice


TABLES = {
    "server of INVITE": transaction._INVITE,
    "server of other": transaction._NON_INVITE,
    "client of INVITE": client_transaction._INVITE,
    "client of other": client_transaction._NON_INVITE,
}


ALIKE = {
    ("CONFIRMED", "I", "_accepted_over"),  # no RESEND runs there
    ("PROCEEDING", "REPLY_100", "_proceed_asking"),  # it proceeds already
    ("PROCEEDING", "REPLY_1XX", "_proceed_asking"),
}
"""Rows that may do what another does."""


@pytest.mark.parametrize("whose", TABLES)
def test_a_row_that_is_missing_or_does_what_another_does_would_be_noticed(whose: str) -> None:
    """The cores' own tables are data, which no change of code reaches: this says that the walk reads each row."""
    table = TABLES[whose]
    missed = set()
    for (state, column), act in [*table.items()]:
        for other in [None, *dict.fromkeys(table.values())]:
            if not does_the_same(act, other) and not is_noticed(whose, (state, column), other):
                missed.add((state.name, column.name, other and other.__name__))
    assert missed <= ALIKE


def does_the_same(act: Callable[..., object], other: Callable[..., object] | None) -> bool:
    """The same, or written twice in place."""
    if other is None or other is act:
        return other is act
    one, another = act.__code__, other.__code__
    return act.__name__ == other.__name__ == "<lambda>" and (one.co_code, one.co_names) == (
        another.co_code,
        another.co_names,
    )


def is_noticed(whose: str, row: object, act: object) -> bool:
    with pytest.MonkeyPatch.context() as patch:
        if act is None:
            patch.delitem(TABLES[whose], row)
        else:
            patch.setitem(TABLES[whose], row, act)
        try:
            walk(*CORES[whose])
        except (AssertionError, TypeError):  # what cannot be done there fails as well
            return True
    return False


# --- what `check` forbids


OF_TIMERS = [
    "each state has the timer that ends it, and no stray one",
    "each state has one timer that ends it",
    "no stray timer",
]


@pytest.mark.parametrize("whose", TABLES)
def test_check_forbids_the_timers_that_no_way_leads_to(whose: str) -> None:
    ways = [
        (begin, way) for name, (begin, words) in CORES.items() if name.startswith(whose) for way in walk(begin, words)
    ]
    allowed = {(found.drawn.state, frozenset(found.running)) for found in (walked(*way) for way in ways)}
    for begin, way in ways:
        for timer in Timer:
            real = walked(begin, way).real
            running = {*real._running} ^ {timer}
            real._running = type(real._running)(running)
            if (real.state.name, frozenset(one.name for one in running)) in allowed:
                real.check()
            else:
                assert complaint(real) in OF_TIMERS


@pytest.mark.parametrize("name", CORES)
def test_check_finds_what_is_broken(name: str) -> None:
    begin, words = CORES[name]
    for way in walk(begin, words):
        for break_it in BREAKS:
            real = walked(begin, way).real
            expected = break_it(real)
            assert expected is None or complaint(real) == expected


def run_a_timer_twice(real: Core) -> str | None:
    if not real._running:
        return None
    real._running = type(real._running)([*real._running, real._running[0]])
    return "a timer runs once"


def answer_without_a_word(real: Core) -> str | None:
    if real.answered or real.state is State.TERMINATED:
        return None
    real.last_status = 200
    if isinstance(real, ServerTransaction):
        real.last = b"200"
    return ""


def lose_the_reply(real: Core) -> str | None:
    if not isinstance(real, ServerTransaction) or real.last is None:
        return None
    real.last = None
    return ""


def ring_unnoticed(real: Core) -> str | None:
    if real.state not in (State.CALLING, State.TRYING) or isinstance(real, ServerTransaction):
        return None
    real.last_status = 180
    return ""


def cancel_unasked(real: Core) -> str | None:
    if isinstance(real, ServerTransaction) or real._cancel_wanted:
        return None
    real._cancel_sent = True
    return ""


def cancel_what_cannot_be(real: Core) -> str | None:
    if isinstance(real, ServerTransaction) or real.invite:
        return None
    real._cancel_wanted = True
    return ""


def cancel_before_a_reply(real: Core) -> str | None:
    if isinstance(real, ServerTransaction) or real.last_status or not real.invite:
        return None
    real._cancel_wanted = real._cancel_sent = True
    return "a CANCEL comes after a reply (RFC 3261 9.1)"


BREAKS = [
    run_a_timer_twice,
    answer_without_a_word,
    lose_the_reply,
    ring_unnoticed,
    cancel_unasked,
    cancel_what_cannot_be,
    cancel_before_a_reply,
]
"""Each breaks an invariant and returns what is found; None where it breaks nothing."""
