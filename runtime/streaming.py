"""One subscriber's stream of events: what waits for it, what is on its way, and when it is tried again. A core.

| state | means | goes on with |
|---|---|---|
| IDLE | no connection, and nothing to say | OPENING, when there is something to say |
| OPENING | one is being opened | UP, or RESTING when that fails or takes too long |
| UP | there is one | OPENING or IDLE when it breaks and something got through; else RESTING |
| RESTING | the last attempt was in vain | OPENING when the pause is over and something waits, else IDLE |

What is offered ends exactly once: it has arrived, as far as one can tell, or is lost. Where the subscriber answers,
that is when it says so; else it is when the kernel has taken it, and what the kernel has when a connection breaks is
lost and not known to be. What may have arrived is never sent twice.
"""

from __future__ import annotations

import enum
import itertools
import json
import re
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple, TypeAlias

MAX_ANSWER: Final = 4096
"""Bytes of an answer. Of what is said in it only the id matters, and whether it is an error."""
_FIRST_REST_S: Final = 0.1
_LAST_REST_S: Final = 5.0


class Item(NamedTuple):
    """An event on its way.

    Args:
        data: its bytes.
        at: when it was offered.
        serial: its id, which the subscriber's answer has.
        patient: whether it waits for a subscriber that is away.
        done: for the shell: called with whether it has arrived.
    """

    data: bytes
    at: float
    serial: int
    patient: bool
    done: Callable[[bool], object]


class Terms(NamedTuple):
    """What holds for all streams. Times in seconds.

    Args:
        answers: whether subscribers answer.
        timeout_s: how long opening a connection, sending an event and an answer may take, each.
        max_events, max_bytes: what may wait.
        keep_s: how long something may wait.
        window: how many may be sent and not answered.
        idle_s: after how long of silence a connection is closed.
    """

    answers: bool = False
    timeout_s: float = 1.0
    max_events: int = 10_000
    max_bytes: int = 4 << 20
    keep_s: float = 30.0
    window: int = 64
    idle_s: float = 60.0


class State(enum.Enum):
    """See the module."""

    IDLE = "idle"
    OPENING = "opening"
    UP = "up"
    RESTING = "resting"


@dataclass(frozen=True, slots=True)
class Open:
    """Open a connection, and say `opened` or `broke`."""


@dataclass(frozen=True, slots=True)
class Write:
    """Write this, and say `wrote` when the kernel has all of it."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Close:
    """Close the connection, or give up opening it. Nothing more is to be said of it."""


@dataclass(frozen=True, slots=True)
class Ended:
    """The item has arrived, or is lost."""

    item: Item
    arrived: bool


Effect: TypeAlias = Open | Write | Close | Ended


class Stream:
    """See the module. All times are of one monotonic clock, in seconds.

    Args:
        terms: what holds.
    """

    def __init__(self, terms: Terms) -> None:
        self._terms = terms
        self.state = State.IDLE
        self._until = 0.0
        """OPENING: when to give up. RESTING: when to try again. UP: since when there is nothing to do."""
        self._rest_s = _FIRST_REST_S
        self._waiting: deque[Item] = deque()
        self._waiting_bytes = 0
        self._writing: tuple[Item, float] | None = None
        """UP: what is written, and when to give up."""
        self._unanswered: dict[int, tuple[Item, float]] = {}
        """UP: what an answer is awaited to, in the order of its deadlines."""
        self._got_through = False
        """UP: whether something was written."""

    def pending(self) -> int:
        """How many items have not ended."""
        return len(self._waiting) + (self._writing is not None) + len(self._unanswered)

    def check(self) -> None:
        """Assert what always holds."""
        assert self._waiting_bytes == sum(len(item.data) for item in self._waiting) <= self._terms.max_bytes
        assert len(self._waiting) <= self._terms.max_events
        assert self.state is State.UP or (self._writing is None and not self._unanswered)
        assert self.state is not State.IDLE or not self._waiting
        assert len(self._unanswered) <= self._terms.window

    # What happens.

    def offer(self, item: Item) -> list[Effect]:
        """There is something to say, at `item.at`."""
        full = self._waiting_bytes + len(item.data) > self._terms.max_bytes
        if full or len(self._waiting) >= self._terms.max_events:
            return [Ended(item, False)]
        if self.state is State.RESTING and not item.patient:
            return [Ended(item, False)]
        self._waiting.append(item)
        self._waiting_bytes += len(item.data)
        return self._open(item.at) if self.state is State.IDLE else self._write(item.at)

    def opened(self, now: float) -> list[Effect]:
        """There is a connection."""
        if self.state is not State.OPENING:
            return []
        self.state, self._until, self._got_through = State.UP, now, False
        return self._write(now)

    def wrote(self, now: float) -> list[Effect]:
        """The kernel has what was to be written."""
        if self._writing is None:
            return []
        item, self._writing, self._until = self._writing[0], None, now
        self._got_through, self._rest_s = True, _FIRST_REST_S
        if self._terms.answers:
            self._unanswered[item.serial] = item, now + self._terms.timeout_s
            return self._write(now)
        return [Ended(item, True), *self._write(now)]

    def answered(self, serial: int, arrived: bool, now: float) -> list[Effect]:
        """The subscriber has answered; too late, and to what was never asked, is ignored."""
        found = self._unanswered.pop(serial, None)
        if found is None:
            return []
        self._until = now
        return [Ended(found[0], arrived), *self._write(now)]

    def broke(self, now: float) -> list[Effect]:
        """The connection is gone, or cannot be opened."""
        if self.state not in (State.UP, State.OPENING):
            return []
        on_its_way = self._on_its_way()
        retry_now = self.state is State.UP and self._got_through
        self.state = State.IDLE
        ended: list[Effect] = [Ended(item, False) for item in (*on_its_way, *self._impatient())]
        if not retry_now:
            self.state, self._until = State.RESTING, now + self._rest_s
            self._rest_s = min(2 * self._rest_s, _LAST_REST_S)
        elif self._waiting:
            ended += self._open(now)
        return ended

    def next_due(self) -> float | None:
        """When to call `due`; None for never."""
        dues = [self._waiting[0].at + self._terms.keep_s] if self._waiting else []
        dues += [due for _, due in itertools.islice(self._unanswered.values(), 1)]
        if self._writing is not None:
            dues.append(self._writing[1])
        if self.state in (State.OPENING, State.RESTING):
            dues.append(self._until)
        elif self.state is State.UP and not self.pending():
            dues.append(self._until + self._terms.idle_s)
        return min(dues, default=None)

    def due(self, now: float) -> list[Effect]:
        """A moment has come: what waited or was awaited for too long is lost, and what rested is tried again."""
        effects: list[Effect] = [Ended(item, False) for item in (*self._stale(now), *self._never_answered(now))]
        if self._is_stuck(now):
            return [*effects, Close(), *self.broke(now)]
        if self.state is State.RESTING and now >= self._until:
            self.state = State.IDLE
            return effects + (self._open(now) if self._waiting else [])
        if self.state is State.UP and not self.pending() and now >= self._until + self._terms.idle_s:
            self.state = State.IDLE
            return [*effects, Close()]
        return effects + self._write(now)

    def close(self) -> list[Effect]:
        """It is over: whatever has not ended is lost."""
        effects: list[Effect] = [Close()] if self.state in (State.UP, State.OPENING) else []
        effects += [Ended(item, False) for item in (*self._on_its_way(), *self._waiting)]
        self.state, self._waiting, self._waiting_bytes = State.IDLE, deque(), 0
        return effects

    # Steps.

    def _open(self, now: float) -> list[Effect]:
        self.state, self._until = State.OPENING, now + self._terms.timeout_s
        return [Open()]

    def _write(self, now: float) -> list[Effect]:
        """Have the next one written, where one can be."""
        if self.state is not State.UP or self._writing is not None or not self._waiting:
            return []
        if len(self._unanswered) >= self._terms.window:
            return []
        item = self._take()
        self._writing = item, now + self._terms.timeout_s
        return [Write(item.data)]

    def _take(self) -> Item:
        item = self._waiting.popleft()
        self._waiting_bytes -= len(item.data)
        return item

    def _on_its_way(self) -> list[Item]:
        """What is written, and what waits for its answer, from now on no more."""
        found = [item for item, _ in self._unanswered.values()]
        if self._writing is not None:
            found.append(self._writing[0])
        self._unanswered, self._writing = {}, None
        return found

    def _impatient(self) -> list[Item]:
        found = [item for item in self._waiting if not item.patient]
        if found:
            self._waiting = deque([item for item in self._waiting if item.patient])
            self._waiting_bytes -= sum([len(item.data) for item in found])
        return found

    def _stale(self, now: float) -> list[Item]:
        found = []
        while self._waiting and now >= self._waiting[0].at + self._terms.keep_s:
            found.append(self._take())
        return found

    def _never_answered(self, now: float) -> list[Item]:
        late = [serial for serial, (_, due) in self._unanswered.items() if now >= due]
        return [self._unanswered.pop(serial)[0] for serial in late]

    def _is_stuck(self, now: float) -> bool:
        if self._writing is not None:
            return now >= self._writing[1]
        return self.state is State.OPENING and now >= self._until


class Answers:
    """Finds JSON-RPC responses in what a subscriber sends. Any white space, or none, stands between them."""

    def __init__(self) -> None:
        self._text = ""

    def feed(self, data: bytes) -> list[tuple[int, bool]] | None:
        """Take what has come; the ids that it answers, each with whether it is a result and no error.

        Returns:
            None where it is no JSON object, or too long: nothing more can be understood then.
        """
        text, at = self._text + data.decode("latin-1"), 0  # whatever the texts in it say, it is not looked at
        found: list[tuple[int, bool]] = []
        while begins := _BEGINS.search(text, at):
            at = begins.start()
            try:
                said, end = _DECODER.raw_decode(text[at : at + MAX_ANSWER])
            except (ValueError, RecursionError):
                said, end = None, 0
            if not isinstance(said, dict):
                break
            at += end
            serial = said.get("id")
            if type(serial) is int:  # true is none
                found.append((serial, "error" not in said))
        else:
            at = len(text)
        self._text = text[at:]
        return None if len(self._text) >= MAX_ANSWER or self._text[:1] not in ("", "{") else found


_DECODER: Final = json.JSONDecoder()
_BEGINS: Final = re.compile(r"[^ \t\r\n]")
