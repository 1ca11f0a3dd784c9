"""How many of the SIP processes read the sockets: as few as keep up, and never none that can.

A datagram that wakes a process which has slept costs several times what reading it does, and a call whose messages are
read by one process needs no handing over. So one process reads while it keeps up, and takes what came meanwhile in one
go; the others rest. What makes another one read:

- who reads is about to stand still, as a blocking `mi()` does, and nobody else reads: it calls one before it stops;
- who reads is busy most of the time, or what it reads has lain for a while more often than rarely: it calls one. Being
  busy it calls only as many as there are processors: with four readers on two, and nothing late, a request took 5 to
  8 % more CPU time than with two;
- something waits in a socket and nobody has read anything for a while, whatever the reason (a process that was stopped,
  a script that computes for long): a resting process sees that and reads.

Decisions only; `runtime.readers` keeps the table in shared memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

BUSY: Final = 0.7
"""Who is busy for this part of its time calls another."""
IDLE: Final = 0.5
"""When fewer readers would each be busy for less than this part of their time, one of them rests."""


LATE_S: Final = 0.005
"""A datagram that has lain for longer before it was read is late."""
LATE_PART: Final = 0.01
"""When more than this part of what it reads is late, a process calls another: so it is p99 that is kept."""
CALM_PART: Final = LATE_PART / 2
"""As long as no more than this part is late, all is well."""
FADE: Final = 0.9
"""What was seen counts for so much at the next look. Of ten looks a second it is the last second that is judged: one
standstill of some milliseconds is not what a second reader helps against, and two of them hand each other more."""
FEW: Final = 20
"""Of fewer datagrams no part is worked out."""
OFTEN: Final = 2.0
"""Late datagrams are of several standstills when looks that saw any add up to more, each fading like all that was
seen: three of them within the last second."""
CALM_LOOKS: Final = 50
"""How often in a row all must have been well before one of several readers rests."""


class State(IntEnum):
    """What a SIP process does with the sockets."""

    ABSENT = 0
    RESTING = 1
    READING = 2
    STILL = 3
    """It reads, and stands still in a command."""


def helper(states: Sequence[int], me: int) -> int | None:
    """Whom a process calls that is about to stand still: nobody where another one reads.

    Args:
        states: of all processes, by slot.
        me: the slot of who asks.
    """
    if any(state == State.READING for slot, state in enumerate(states) if slot != me):
        return None
    return next_to_read(states)


def next_to_read(states: Sequence[int]) -> int | None:
    """The first process that rests; None where none does."""
    return next((slot for slot, state in enumerate(states) if state == State.RESTING), None)


@dataclass(slots=True)
class Pace:
    """Whether a process that reads keeps up.

    Attributes:
        taken: how many datagrams it has read of late.
        late: how many of them were late.
        standstills: how many looks saw any that were late, of late.
        calm: at how many looks in a row all was well.
    """

    taken: float = 0.0
    late: float = 0.0
    standstills: float = 0.0
    calm: int = 0

    def look(self, taken: int, late: int) -> None:
        """Count what was read, and what of it was late, since the last look."""
        self.taken = FADE * self.taken + taken
        self.late = FADE * self.late + late
        self.standstills = FADE * self.standstills + (late > 0)
        self.calm = self.calm + 1 if self.late <= CALM_PART * self.taken else 0

    @property
    def is_late(self) -> bool:
        """Whether what it reads has lain for too long, too often."""
        # However many one standstill makes late: those that come behind the first request, whose route runs for the
        # first time, called a second reader for more than 5 s, and the two used 20 to 60 % more CPU time than one.
        return self.taken >= FEW and self.late > LATE_PART * self.taken and self.standstills > OFTEN

    def is_behind(self, busy: float, *, has_room: bool) -> bool:
        """Whether another one shall read, too.

        Args:
            busy: for which part of its time this one was busy at the last look.
            has_room: whether there are more processors than readers.
        """
        return self.is_late or (busy > BUSY and has_room)

    @property
    def is_calm(self) -> bool:
        """Whether all has been well for so long that there may be too many readers."""
        return self.calm >= CALM_LOOKS

    def begin_anew(self) -> None:
        """Count from now on: how many read has changed."""
        self.taken = self.late = self.standstills = 0.0
        self.calm = 0


def too_few(states: Sequence[int], least: int) -> bool:
    """Whether fewer processes read than shall, those that stand still included."""
    return sum(state >= State.READING for state in states) < least


def has_room(states: Sequence[int], processors: int) -> bool:
    """Whether there is a processor for one more who reads."""
    return sum(state == State.READING for state in states) < processors


def may_rest(states: Sequence[int], busy: Sequence[float], me: int, least: int, processors: int) -> bool:
    """Whether a process that reads is one too many. It is the last of them that goes.

    Args:
        states: of all processes, by slot.
        busy: for which part of its time each was busy of late.
        me: the slot of who asks.
        least: how many shall read at least.
        processors: how many can at the same time.
    """
    reading = [slot for slot, state in enumerate(states) if state == State.READING]
    if len(reading) <= least or reading[-1] != me:
        return False
    return len(reading) > processors or sum(busy[slot] for slot in reading) < IDLE * (len(reading) - 1)
