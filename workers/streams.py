"""Many jobs as one stream, for event loops: no Task and no Future for each of them.

What is done for every job is what a rate of 150,000 a second leaves time for: pack, submit, one callback, one place in
a deque, unpack. Whoever reads is woken once for many.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable, Iterator
from itertools import islice, repeat
from typing import Any

from workers.jobs import Job, Outcome
from workers.session import Session
from workers.targets import Target

ROOM_POLL_S = 0.005
"""How often who waits for room in the pool looks, besides being told of room that this process makes itself."""

_TINY_S = 20e-6
"""Jobs that are expected to take less are handed in many at a time: no worker stands idle for long for want of one."""

_MANY = 100
"""So many in a frame are enough: by halves of 500, fewer are under way and the rate falls by a quarter."""


class _Place:
    """One job's place in the order of a stream."""

    __slots__ = ("job", "outcome", "stream")

    job: Job

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.outcome: Outcome | None = None

    def settled(self, job: Job, outcome: Outcome) -> None:
        self.outcome = outcome
        stream = self.stream
        stream.outstanding -= 1
        if stream.waiter is not None and (stream.places[0] is self or stream.outstanding <= stream.low):
            stream.wake()


class Stream:
    """Jobs of one target over many items, with a bound on how many are under way.

    Args:
        session: the pool.
        target: what runs.
        pack: makes the payload of an item.
        read: makes of an outcome what is given out; it may raise, which ends the stream.
        in_flight: how many jobs are unanswered at most. As many results again are kept while an earlier one is missing.
        timeout_s: each job's deadline, in seconds from its submission.
        priority: of each job.
        kill: whether workers that are still running a job after its deadline are killed.

    Raises:
        ValueError: ``in_flight`` is less than 1.
    """

    def __init__(
        self,
        session: Session,
        target: Target,
        pack: Callable[[Any], bytes],
        read: Callable[[Outcome], Any],
        *,
        in_flight: int,
        timeout_s: float | None,
        priority: int,
        kill: bool,
    ) -> None:
        if in_flight < 1:
            raise ValueError(f"in_flight={in_flight}: at least 1")
        self._session = session
        self._kind = session.kind(target, priority, kill)
        self._timeout_s = session.limit_s(target, timeout_s)
        self._pack = pack
        self._read = read
        self._submit_all = session.node.submit_all
        self._expected_s = session.node.expected_s
        self._in_flight = min(in_flight, session.settings.limits.max_queued)
        self.low = self._in_flight // 2
        """So few are worth a wake-up, because many new ones can then be handed in at once."""
        self.outstanding = 0
        self.places: deque[_Place] = deque()
        self.waiter: asyncio.Future[None] | None = None
        self._live: dict[int, Job] = {}
        self._ended: deque[Outcome] = deque()
        self._items: Iterator[Any] = iter(())
        self._source_ended = False
        self._source_error: Exception | None = None
        self._feeder: asyncio.Task[None] | None = None
        self._feeder_waits: asyncio.Future[None] | None = None

    # -- reading ------------------------------------------------------------------------------------------------------

    async def in_order(self, items: Iterable[Any] | AsyncIterable[Any]) -> AsyncGenerator[Any, None]:
        """What becomes of the items, in their order."""
        places, read = self.places, self._read
        self._open(items, self._submit_in_order)
        try:
            while True:
                self._hand_in(self._submit_in_order)
                while places and (outcome := places[0].outcome) is not None:
                    places.popleft()
                    yield read(outcome)
                if not places and self._is_at_end():
                    return
                await self._wait()
        finally:
            self._stop()

    async def as_they_end(self, items: Iterable[Any] | AsyncIterable[Any]) -> AsyncGenerator[Any, None]:
        """What becomes of the items, in the order in which the jobs end."""
        ended, read = self._ended, self._read
        self._open(items, self._submit)
        try:
            while True:
                self._hand_in(self._submit)
                while ended:
                    yield read(ended.popleft())
                if not self.outstanding and self._is_at_end():
                    return
                await self._wait()
        finally:
            self._stop()

    def _is_at_end(self) -> bool:
        if self._source_error is not None:
            raise self._source_error
        return self._source_ended

    async def _wait(self) -> None:
        """Wait until there is something to give out or to hand in."""
        if self._ended or (self.places and self.places[0].outcome is not None) or self._has_room():
            return
        self.waiter = asyncio.get_running_loop().create_future()
        try:
            if self.outstanding or (self._feeder is not None and self._feeder_waits is None):
                await self.waiter
            else:
                # Nothing of ours is under way, so nobody will tell: others fill the pool.
                await asyncio.sleep(ROOM_POLL_S)
        finally:
            self.waiter = None

    def wake(self) -> None:
        """Wake who reads."""
        waiter, self.waiter = self.waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def _stop(self) -> None:
        """Nobody reads any more: end what is under way."""
        if self._feeder is not None:
            self._feeder.cancel()
        for job in self._live.values():
            self._session.node.cancel(job.id, "nobody reads the results any more")
        for place in self.places:
            if place.outcome is None:
                self._session.node.cancel(place.job.id, "nobody reads the results any more")

    # -- handing in ---------------------------------------------------------------------------------------------------

    def _open(self, items: Iterable[Any] | AsyncIterable[Any], submit: Callable[[list[bytes]], None]) -> None:
        if isinstance(items, AsyncIterable):
            self._feeder = asyncio.ensure_future(self._feed(items, submit))
        else:
            self._items = iter(items)

    def _room(self) -> int:
        room = self._in_flight - self.outstanding
        by_the_half = self._feeder is None and 0 < self.low < self.outstanding and self.low <= _MANY
        if by_the_half and self._expected_s(self._kind.label) < _TINY_S:
            # Handed in by the half, each half goes to one worker in one frame, and a frame costs as much as 20 jobs.
            return 0
        if self.places and len(self.places) + room > 2 * self._in_flight:
            room = 2 * self._in_flight - len(self.places)
        return min(room, self._session.room()) if room > 0 else 0

    def _has_room(self) -> bool:
        return not self._source_ended and self._feeder is None and self._room() > 0

    def _hand_in(self, submit: Callable[[list[bytes]], None]) -> None:
        """Hand in as many as there is room for; where the source takes time, let it go on."""
        session = self._session
        if session.refusal is not None and not self._source_ended:
            raise session.refused(session.refusal)
        if self._feeder is not None:
            if self._feeder_waits is not None and not self._feeder_waits.done() and self._room() > 0:
                self._feeder_waits.set_result(None)
            return
        if self._source_ended:
            return
        room = self._room()
        payloads: list[bytes] = []
        try:
            for item in islice(self._items, room):
                payloads.append(self._pack(item))
        finally:
            submit(payloads)  # also those before one that cannot be packed
        self._source_ended = len(payloads) < room

    async def _feed(self, items: AsyncIterable[Any], submit: Callable[[list[bytes]], None]) -> None:
        """Hand in what a source gives that may take its time: the one Task of such a stream."""
        try:
            async for item in items:
                while self._room() <= 0:
                    self._feeder_waits = asyncio.get_running_loop().create_future()
                    await self._feeder_waits
                    self._feeder_waits = None
                submit([self._pack(item)])
        except Exception as error:
            self._source_error = error
        finally:
            self._source_ended = True
            self.wake()

    def _submit_in_order(self, payloads: list[bytes]) -> None:
        places = [_Place(self) for _ in payloads]
        jobs = self._submit_all(self._kind, payloads, self._timeout_s, [place.settled for place in places])
        for place, job in zip(places, jobs, strict=True):
            place.job = job
        self.outstanding += len(jobs)
        self.places.extend(places)

    def _submit(self, payloads: list[bytes]) -> None:
        jobs = self._submit_all(self._kind, payloads, self._timeout_s, repeat(self._settled))
        self.outstanding += len(jobs)
        self._live.update((job.serial, job) for job in jobs)

    def _settled(self, job: Job, outcome: Outcome) -> None:
        del self._live[job.serial]
        self.outstanding -= 1
        self._ended.append(outcome)
        if self.waiter is not None:
            self.wake()
