"""The figures of RFC 3261 17 and RFC 6026, written down a second time: what the transactions' cores are held to.

A figure is a table. Each row says: in this state, when this comes and these facts hold, the state after (`=` is the
same), what is said, and the timers that run from then on: `G` goes on as it ran, `G:T1` begins anew, and what is not
named has stopped. What has no row changes nothing.

A fact is of the transaction (`reliable`), of what comes (`relayed`), or that a timer runs (`RESEND`); `!` denies it. A
word in brackets is not said but noted, and is a fact from then on.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from itertools import count
from typing import Final, NamedTuple, TypeAlias

from runtime.sip.transaction_words import (
    DONE,
    DROPPED,
    NO_ACK,
    NO_REPLY,
    SEND_FAILED,
    UNSENT,
    PassAck,
    PassCancel,
    PassFailure,
    PassReply,
    PassTimeout,
    Send,
    SendAck,
    SendCancel,
    SendRequest,
    SendTrying,
    Terminated,
    Timers,
    Unanswered,
)


class Row(NamedTuple):
    facts: list[str]
    after: str
    says: list[str]
    timers: list[tuple[str, str]]
    """Each with its span, which is empty where it goes on."""


Figure: TypeAlias = dict[tuple[str, str], list[Row]]


def figure(text: str) -> Figure:
    """Read a figure; a row with several states or several things that come stands for each pair of them."""
    rows: Figure = defaultdict(list)
    for line in text.strip().splitlines():
        states, comes, facts, [after], says, timers = (cell.split() for cell in line.split("|"))
        for state in states:
            for what in comes:
                spans = [(name, span) for name, _, span in (timer.partition(":") for timer in timers)]
                rows[state, what].append(Row(facts, state if after == "=" else after, says, spans))
    return dict(rows)


SERVER_INVITE: Final = figure(
    """
    -          | begin      | at-once    | PROCEEDING | trying                  | UNANSWERED:span
    -          | begin      | !at-once   | PROCEEDING |                         | UNANSWERED:span TRYING:trying
    PROCEEDING | copy       | replied    | =          | last                    | UNANSWERED TRYING
    PROCEEDING | cancel     | !cancelled | =          | cancel (cancelled)      | UNANSWERED TRYING
    PROCEEDING | 1xx        |            | =          | reply (replied) (!late) | UNANSWERED:span
    PROCEEDING | 2xx        | !relayed   | ACCEPTED   | reply                   | L:64T1 RESEND:T1
    PROCEEDING | 2xx        | relayed    | ACCEPTED   | reply                   | L:64T1
    PROCEEDING | rest       | !reliable  | COMPLETED  | reply                   | H:64T1 G:T1
    PROCEEDING | rest       | reliable   | COMPLETED  | reply                   | H:64T1
    PROCEEDING | failed     |            | =          | failure                 | UNANSWERED TRYING
    PROCEEDING | park       | TRYING     | =          | trying                  | UNANSWERED
    PROCEEDING | TRYING     |            | =          | trying                  | UNANSWERED
    PROCEEDING | hold       |            | =          | (!late)                 | UNANSWERED:span TRYING
    PROCEEDING | UNANSWERED | !late      | =          | unanswered (late)       | UNANSWERED:64T1 TRYING
    PROCEEDING | UNANSWERED | late       | TERMINATED | no-reply                |
    COMPLETED  | copy       |            | =          | last                    | H G
    COMPLETED  | ack        | !reliable  | CONFIRMED  |                         | I:T4
    COMPLETED  | ack        | reliable   | TERMINATED | done                    |
    COMPLETED  | failed     |            | =          | failure                 | H G
    COMPLETED  | G          |            | =          | last                    | H G:twice<T2
    COMPLETED  | H          |            | TERMINATED | no-ack                  |
    CONFIRMED  | I          |            | TERMINATED | done                    |
    ACCEPTED   | ack        |            | =          | ack                     | L
    ACCEPTED   | 2xx        |            | =          | fork                    | L RESEND
    ACCEPTED   | failed     |            | =          | failure                 | L RESEND
    ACCEPTED   | RESEND     |            | =          | last                    | L RESEND:twice<T2
    ACCEPTED   | L          | RESEND     | TERMINATED | no-ack                  |
    ACCEPTED   | L          | !RESEND    | TERMINATED | done                    |
    """
)
"""RFC 6026 figure 5; TRYING, UNANSWERED and RESEND are what RFC 3261 17.2.1, 16.6 and 13.3.1.4 say beside it."""

SERVER_OTHER: Final = figure(
    """
    -                 | begin      |           | TRYING     |             | UNANSWERED:span
    TRYING PROCEEDING | 1xx        |           | PROCEEDING | reply       | UNANSWERED:span
    TRYING PROCEEDING | 2xx rest   | !reliable | COMPLETED  | reply       | J:64T1
    TRYING PROCEEDING | 2xx rest   | reliable  | TERMINATED | reply done  |
    TRYING PROCEEDING | hold       |           | =          |             | UNANSWERED:span
    TRYING PROCEEDING | UNANSWERED |           | TERMINATED | no-reply    |
    PROCEEDING        | copy       |           | =          | last        | UNANSWERED
    PROCEEDING        | failed     |           | TERMINATED | send-failed |
    COMPLETED         | copy       |           | =          | last        | J
    COMPLETED         | failed     |           | TERMINATED | send-failed |
    COMPLETED         | J          |           | TERMINATED | done        |
    """
)
"""RFC 3261 figure 8."""

CLIENT_INVITE: Final = figure(
    """
    -                            | begin     | !reliable  | CALLING    | request                    | B:fr A:T1
    -                            | begin     | reliable   | CALLING    | request                    | B:fr
    CALLING                      | A         |            | =          | request                    | B A:twice
    CALLING                      | B         |            | ABANDONED  | timeout                    | LAST_WAIT:64T1
    CALLING                      | cancel    |            | =          | (wanted)                   | B A
    CALLING                      | failed    |            | TERMINATED | failure unsent             |
    CALLING                      | 100 1xx   | !wanted    | PROCEEDING | pass                       | C:fr-inv
    CALLING                      | 100 1xx   | wanted     | PROCEEDING | cancel pass (cancelled)    | LAST_WAIT:64T1
    PROCEEDING                   | 100       |            | =          | pass                       | C LAST_WAIT
    PROCEEDING                   | 1xx       | !cancelled | =          | pass                       | C:fr-inv
    PROCEEDING                   | 1xx       | cancelled  | =          | pass                       | LAST_WAIT
    PROCEEDING                   | cancel    | !cancelled | =          | cancel (cancelled)         | LAST_WAIT:64T1
    PROCEEDING                   | C         |            | ABANDONED  | cancel timeout (cancelled) | LAST_WAIT:64T1
    PROCEEDING                   | LAST_WAIT |            | TERMINATED | timeout no-reply           |
    CALLING PROCEEDING ABANDONED | 2xx       |            | ACCEPTED   | pass                       | M:64T1
    CALLING PROCEEDING           | rest      | !reliable  | COMPLETED  | ack pass                   | D:64T1
    CALLING PROCEEDING           | rest      | reliable   | TERMINATED | ack pass done              |
    ABANDONED                    | 100 1xx   | !cancelled | =          | cancel (cancelled)         | LAST_WAIT:64T1
    ABANDONED                    | 100 1xx   | cancelled  | =          |                            | LAST_WAIT
    ABANDONED                    | rest      | !reliable  | COMPLETED  | ack                        | D:64T1
    ABANDONED                    | rest      | reliable   | TERMINATED | ack done                   |
    ABANDONED                    | LAST_WAIT |            | TERMINATED | no-reply                   |
    COMPLETED                    | rest      |            | =          | ack                        | D
    COMPLETED                    | failed    |            | TERMINATED | unsent                     |
    COMPLETED                    | D         |            | TERMINATED | done                       |
    ACCEPTED                     | 2xx       |            | =          | pass                       | M
    ACCEPTED                     | M         |            | TERMINATED | done                       |
    CALLING PROCEEDING ABANDONED | drop      |            | TERMINATED | dropped                    |
    COMPLETED ACCEPTED           | drop      |            | TERMINATED | dropped                    |
    """
)
"""RFC 3261 figure 5 as RFC 6026 changes it; C, CANCEL and ABANDONED are what 16.6, 16.8 and 9.1 say beside it."""

CLIENT_OTHER: Final = figure(
    """
    -                           | begin    | !reliable | TRYING     | request          | F:fr E:T1
    -                           | begin    | reliable  | TRYING     | request          | F:fr
    TRYING                      | E        |           | =          | request          | F E:twice<T2
    PROCEEDING                  | E        |           | =          | request          | F E:T2
    TRYING PROCEEDING           | F        |           | TERMINATED | timeout no-reply |
    TRYING PROCEEDING           | failed   |           | TERMINATED | failure unsent   |
    TRYING PROCEEDING           | 100 1xx  |           | PROCEEDING | pass             | F E
    TRYING PROCEEDING           | 2xx rest | !reliable | COMPLETED  | pass             | K:T4
    TRYING PROCEEDING           | 2xx rest | reliable  | TERMINATED | pass done        |
    COMPLETED                   | K        |           | TERMINATED | done             |
    TRYING PROCEEDING COMPLETED | drop     |           | TERMINATED | dropped          |
    """
)
"""RFC 3261 figure 6."""

SAID: Final[dict[str, object]] = {
    "trying": SendTrying(),
    "ack": PassAck(),
    "cancel": PassCancel(),
    "failure": PassFailure(),
    "unanswered": Unanswered(),
    "no-ack": Terminated(NO_ACK),
    "no-reply": Terminated(NO_REPLY),
    "send-failed": Terminated(SEND_FAILED),
    "done": Terminated(DONE),
}
SAID_BY_CLIENT: Final[dict[str, object]] = {
    "request": SendRequest(),
    "ack": SendAck(),
    "cancel": SendCancel(),
    "pass": PassReply(),
    "timeout": PassTimeout(),
    "failure": PassFailure(),
    "no-reply": Terminated(NO_REPLY),
    "unsent": Terminated(UNSENT),
    "dropped": Terminated(DROPPED),
    "done": Terminated(DONE),
}

T1_S, T2_S, T4_S, TRYING_S, UNANSWERED_S, FR_S, FR_INV_S = 0.25, 2.0, 6.0, 0.125, 40.0, 9.0, 20.0
TIMERS: Final = Timers(t1_s=T1_S, t2_s=T2_S, t4_s=T4_S, trying_s=TRYING_S, unanswered_s=UNANSWERED_S)
"""All of them whole ticks of the wheel, so that a deadline is the sum that it is; and none as it is by default."""


class Wait(NamedTuple):
    """A timer that runs. The serial tells which of two that are due together was started first."""

    due: float
    serial: int
    span_s: float


class Drawn:
    """One transaction, as a figure has it.

    Args:
        drawn: the figure.
        says: `SAID` or `SAID_BY_CLIENT`.
        facts: those of the transaction.
        serials: shared by all transactions of one table.
        trying_s: after how long a 100 goes out.
    """

    def __init__(
        self,
        drawn: Figure,
        says: dict[str, object],
        *facts: str,
        serials: Iterator[int] | None = None,
        trying_s: float = TRYING_S,
    ) -> None:
        self.figure = drawn
        self.says = says
        self.facts = set(facts)
        self.state = "-"
        self.last: bytes | None = None
        self.status = 0
        self.timers: dict[str, Wait] = {}
        self.spans: dict[str, float] = {}
        """How long each timer took when it ran last."""
        self.begun: set[str] = set()
        """The timers that the last thing that came let begin, anew or again."""
        self.serials = count() if serials is None else serials
        self.trying_s = trying_s
        self.patience_s = UNANSWERED_S
        """How long UNANSWERED takes."""

    @property
    def is_over(self) -> bool:
        return self.state == "TERMINATED"

    def comes(self, what: str, now: float, *facts: str, status: int = 0, data: bytes = b"") -> list[object]:
        """What is said when this comes.

        Args:
            what: a word of the figure's second column.
            now: seconds.
            facts: those of what comes.
            status: of the reply that comes.
            data: its bytes.
        """
        self.begun = set()
        if what.isupper() and self.timers.pop(what, None) is None:
            return []  # that timer does not run
        row = self.row(what, *facts)
        if row is None:
            return []
        if status and "fork" not in row.says:
            self.status = status
        told = [self.say(word, data) for word in row.says if not word.startswith("(")]
        self.note(row)
        self.state = row.after
        self.timers = {name: self.wait(name, span, now) for name, span in row.timers if span or name in self.timers}
        return told

    def row(self, what: str, *facts: str) -> Row | None:
        hold = {*self.facts, *self.timers, *facts}
        rows = [
            row
            for row in self.figure.get((self.state, what), [])
            if all((fact.removeprefix("!") in hold) != fact.startswith("!") for fact in row.facts)
        ]
        assert len(rows) < 2, "a figure says one thing"
        return rows[0] if rows else None

    def vouch(self, for_s: float, now: float) -> None:
        """Somebody vouches for a reply."""
        if self.row("hold") is not None:
            self.patience_s = max(self.patience_s, for_s)
        assert self.comes("hold", now) == []

    def say(self, word: str, data: bytes) -> object:
        if word == "reply":
            self.last = data
        if word in ("reply", "fork"):
            return Send(data)
        return Send(self.last or b"") if word == "last" else self.says[word]

    def note(self, row: Row) -> None:
        for word in row.says:
            if word.startswith("(!"):
                self.facts.discard(word[2:-1])
            elif word.startswith("("):
                self.facts.add(word[1:-1])

    def wait(self, name: str, span: str, now: float) -> Wait:
        if not span:
            return self.timers[name]
        self.begun.add(name)
        span_s = self.spans[name] = self.span_s(name, span)
        return Wait(now + span_s, next(self.serials), span_s)

    def span_s(self, name: str, span: str) -> float:
        match span:
            case "twice":
                return 2 * self.spans[name]
            case "twice<T2":
                return min(2 * self.spans[name], T2_S)
            case "span":
                return self.patience_s
            case "trying":
                return self.trying_s
            case _:
                return {"T1": T1_S, "T2": T2_S, "T4": T4_S, "64T1": 64 * T1_S, "fr": FR_S, "fr-inv": FR_INV_S}[span]


def reply_column(status: int) -> str:
    """The column of a reply: empty for what is no status (RFC 3261 7.2)."""
    return {1: "1xx", 2: "2xx", 3: "rest", 4: "rest", 5: "rest", 6: "rest"}.get(status // 100, "")
