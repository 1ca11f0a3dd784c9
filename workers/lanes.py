"""Where the jobs of an origin are: in a lane while they wait, in a worker's hands once they were sent."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Iterable

from msgspec import Struct, field

from workers.habits import Usual
from workers.jobs import Job, Kind, Peer
from workers.stimuli import Occupy


class Hands(Struct, eq=False):
    """What one worker holds of ours. ``expected_s`` is the sum over ``jobs``, exactly (see `workers.habits`)."""

    peer: Peer
    slot: int
    myself: bool
    closing: bool = False
    jobs: dict[int, Entry] = field(default_factory=dict)
    expected_s: float = 0.0

    def take(self, job: Job, now: float, expected_s: float) -> None:
        """A job that never waited: this is its first run."""
        self.jobs[job.serial] = Entry(job, now, self, expected_s, 1)
        self.expected_s += expected_s

    def occupy(self) -> Occupy:
        return Occupy(self.slot, len(self.jobs), self.expected_s)


class Entry(Struct, eq=False):
    """A job that is queued (``hands`` None) or with a worker; once ``settled`` it only keeps the worker's load true."""

    job: Job
    submitted_at: float
    hands: Hands | None = None
    expected_s: float = 0.0
    runs: int = 0
    settled: bool = False


class Lane(Struct, eq=False):
    """The jobs of one kind that wait, by serial and in that order.

    One lane per kind, because whether a label is slow is learnt while its jobs wait, and a slow job that waits for its
    turn must hold no quick one up. An OrderedDict, because jobs leave at the front and, when they end while they wait,
    anywhere.
    """

    kind: Kind
    usual: Usual
    entries: OrderedDict[int, Entry] = field(default_factory=OrderedDict)

    def claim(self) -> tuple[int, int]:
        """What goes first: the least of these among the lanes."""
        return (-self.kind.priority, next(iter(self.entries)))

    def run_before(self, claim: tuple[int, int]) -> int:
        """How many jobs at the front go before that claim of another lane."""
        if -self.kind.priority != claim[0]:
            return len(self.entries)
        run = 0
        for serial in self.entries:
            if serial > claim[1]:
                break
            run += 1
        return run

    def put_back(self, entries: Iterable[Entry]) -> None:
        """Jobs that come back go before everything that was submitted after them."""
        self.entries.update((entry.job.serial, entry) for entry in entries)
        self.entries = OrderedDict(sorted(self.entries.items()))


def runs(lanes: Collection[Lane]) -> list[tuple[Lane, int]]:
    """The first of the quick lanes and the first of the slow ones, in the order of their claims.

    With each, how many of its jobs may go at once: those that go before all of another lane. Slow ones go one at a
    time.
    """
    if len(lanes) == 1:
        [lane] = lanes
        return [(lane, 1 if lane.usual.slow else len(lane.entries))]
    claims = sorted((lane.claim(), lane) for lane in lanes)  # no two are equal: each names another job
    quick = [head for head in claims if not head[1].usual.slow]
    heads = sorted(quick + [head for head in claims if head[1].usual.slow][:1])
    found = []
    for place, (_, lane) in enumerate(heads, start=1):
        if lane.usual.slow:
            found.append((lane, 1))
        elif lane is quick[0][1]:
            behind = heads[place:]
            found.append((lane, lane.run_before(behind[0][0]) if behind else len(lane.entries)))
    return found
