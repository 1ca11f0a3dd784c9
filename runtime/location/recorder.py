"""How bindings get from the shared store into the database, and who waits until they are there.

Each change of a user's bindings leaves a mark in the store, in the same transaction. One process, the MI process, has
the marked users recorded by a job, many at once and one job at a time; the job reads what is bound when it writes, so
whatever order REGISTERs and jobs take, the last state is what is recorded. A mark outlives whoever made it or was busy
with it, so a process that is killed loses nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Final

import msgpack

from runtime.clock import epoch_now
from runtime.db import TIMEOUT_S, Database, DatabaseError, RowsRefused
from runtime.errands import stands_still
from runtime.location.contact import Contact
from runtime.location.store import Locations, Mark, User
from runtime.recording import DATABASE, not_written, retry_pause_s, why, written_again
from runtime.roles import FLUSH_BINDINGS, MI, RECORD_BINDINGS, SIP, role_of
from runtime.store import StoreError
from workers.jobs import Job, Outcome, Peer, Returned

if TYPE_CHECKING:
    from runtime.location.rows import LocationTable
    from runtime.process import Process
    from workers.worker import Running

log = logging.getLogger("layby.usrloc")

LETTER: Final = "usrloc"
"""Between the recording process and the others: that there is something to record, that it is, or that it cannot be."""
_AT_ONCE: Final = 500
"""Users recorded in one transaction."""
_JOB_TIMEOUT_S: Final = 6 * TIMEOUT_S
_LOOK_S: Final = 1.0
_COMPLAIN_EVERY: Final = 20
_WHAT: Final = "bindings"
_CHANGED, _RECORDED, _FAILING = b"c", b"r", b"f"


class Recording:
    """Writing marked users into the database, in whichever process it happens.

    Args:
        database: where to.
        table_of: the table of a domain.
    """

    def __init__(self, database: Database, table_of: Callable[[str], LocationTable]) -> None:
        self.database = database
        self._table_of = table_of
        self._tables: dict[str, LocationTable] = {}

    def table(self, domain: str) -> LocationTable:
        """A domain's table, made when it is not there.

        Raises:
            DatabaseError: it cannot be.
        """
        found = self._tables.get(domain)
        if found is None:
            found = self._table_of(domain)
            self.database.create_tables(found.table.metadata)
            self._tables[domain] = found
        return found

    def record(self, locations: Locations, marks: list[Mark]) -> None:
        """Write the users of these marks, and take the marks away.

        Raises:
            DatabaseError: nothing was written.
            StoreError: it was written, and the marks are still there.
        """
        try:
            self._write(locations, marks)
        except RowsRefused as error:
            if len(marks) > 1:
                for mark in marks:
                    self.record(locations, [mark])
                return
            # It would be refused for ever, and hold up all others.
            log.error("the database does not take the bindings of %s: %s", marks[0].user.aor, error)
        locations.recorded(marks)

    def record_all(self, locations: Locations) -> int:
        """Write every marked user; how many there were.

        Raises:
            DatabaseError, StoreError: as `record`; those before it are written.
        """
        count = 0
        while marks := locations.marks(_AT_ONCE):
            self.record(locations, marks)
            count += len(marks)
        return count

    def _write(self, locations: Locations, marks: list[Mark]) -> None:
        from runtime.location.rows import replace

        by_domain: dict[str, list[User]] = {}
        for mark in marks:
            by_domain.setdefault(mark.user.domain, []).append(mark.user)
        tables = {domain: self.table(domain) for domain in by_domain}
        with self.database.begin() as connection:
            for domain, users in by_domain.items():
                # Read only now: with SQLite, whoever writes after us reads after us too.
                replace(connection, tables[domain], _alive(locations, users))


def _alive(locations: Locations, users: Iterable[User]) -> list[tuple[User, list[Contact]]]:
    now = epoch_now()
    return [(user, [one for one in locations.get(user) if one.is_alive(now)]) for user in users]


# The job.

_here: tuple[Recording, Locations] | None = None


def enter(recording: Recording, locations: Locations) -> None:
    """From now on jobs that come to this process record with these."""
    global _here
    _here = recording, locations


def record_bindings(payload: bytes, running: Running) -> bytes:
    """The job: record users.

    Takes ``[domain, user]`` behind whom to begin, or None. Gives the last user that was recorded, or None, and whether
    there may be more; or the text of why it could not be done, which is to be expected of a database and no exception.
    """
    assert _here is not None, "the process entered it"
    recording, locations = _here
    after = msgpack.unpackb(payload)
    marks = locations.marks(_AT_ONCE, None if after is None else User(*after))
    try:
        if marks:
            recording.record(locations, marks)
    except (DatabaseError, StoreError) as error:
        return bytes(msgpack.packb(str(error)))
    return bytes(msgpack.packb([marks[-1].user if marks else None, len(marks) == _AT_ONCE]))


class Recorder:
    """In the MI process: has marked users recorded, one job at a time.

    Args:
        process: the MI process.
        locations: its own.
        period_s: record every so many seconds (write-back), or None for at once (write-through).
        to: who runs the jobs; None for whoever is least loaded.
    """

    def __init__(self, process: Process, locations: Locations, period_s: float | None, to: Peer | None = None) -> None:
        self._process = process
        self._locations = locations
        self._period_s = period_s
        self._to = to
        self._under_way = False
        self._again = False
        """Whether something was marked since the job under way began."""
        self._failures = 0
        self._after: User | None = None
        self._rounds = 0
        """How often it has begun to go through all that is marked."""
        self._asked: list[tuple[int, asyncio.Future[str]]] = []
        """Who waits until it has gone through all, and which time that must be."""
        self._timer: asyncio.TimerHandle | None = None
        process.letters[LETTER] = self._on_letter
        _recorder[:] = [self]
        # In a turn of the loop: it is an event, too, and the script is not ready for one yet.
        process.loop.call_soon(process.status.introduce, DATABASE, _WHAT, 1, "written")
        # At once there may be what an earlier life of this process left.
        self._later(0.0 if period_s is None else period_s)

    def changed(self) -> None:
        """A user was marked."""
        if self._period_s is not None:
            return
        if self._under_way:
            self._again = True
        elif self._failures == 0:
            self._later(0.0)

    async def flushed(self) -> str:
        """Have all that is marked now recorded.

        Returns:
            Why that cannot be done, or an empty text once it is done.
        """
        done: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._asked.append((self._rounds + 1, done))
        if not self._under_way:
            self._later(0.0)  # after failures, too: the database may be back
        return await done

    def _answer(self, reason: str = "") -> None:
        """Tell who asked: those whose time it was that all is recorded, or everybody why nothing is."""
        asked, self._asked = self._asked, []
        for one in asked:
            if not reason and one[0] > self._rounds:
                self._asked.append(one)
            elif not one[1].done():  # who asked may have given up
                one[1].set_result(reason)

    def _on_letter(self, sender: Peer, body: bytes) -> None:
        self.changed()

    def _later(self, after_s: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._process.loop.call_later(after_s, self._start)

    def _start(self) -> None:
        self._timer = None
        if self._under_way:
            return
        nothing = not self._locations.marked()
        if nothing:
            self._after = None
        self._rounds += self._after is None
        if nothing:
            self._answer()
            # A letter may have missed this process while it was being replaced; a look costs 2 µs.
            self._later(self._period_s or _LOOK_S)
        else:
            self._under_way, self._again = True, False
            self._process.node.submit(
                RECORD_BINDINGS,
                msgpack.packb(self._after),
                label="record bindings",
                timeout_s=_JOB_TIMEOUT_S,
                settled=self._settled,
                to=self._to,
            )

    def _settled(self, job: Job, outcome: Outcome) -> None:
        self._under_way = False
        found = msgpack.unpackb(outcome.payload) if isinstance(outcome, Returned) else why(outcome)
        if isinstance(found, str):
            self._failed(found)
            return
        if self._failures:
            log.warning("the database takes bindings again")
            written_again(self._process.status, _WHAT)
        self._failures = 0
        last, more = found
        self._after = User(*last) if last and more else None
        self._tell(_RECORDED)
        if not more:
            self._answer()
        self._later(0.0 if more or self._again or self._asked else self._period_s or _LOOK_S)

    def _failed(self, reason: str) -> None:
        self._tell(_FAILING)
        self._answer(reason)
        if self._process.draining:
            return  # what is left is recorded by the attendant, when all processes have ended
        pause_s = retry_pause_s(self._failures)
        if self._failures % _COMPLAIN_EVERY == 0:
            log.error("bindings of %d users are not recorded: %s", self._locations.marked(), reason)
        if not self._failures:
            not_written(self._process.status, _WHAT, reason)
        self._failures += 1
        self._later(pause_s)

    def _tell(self, word: bytes) -> None:
        for peer in self._process.node.peers():
            if role_of(peer.name) == SIP:
                self._process.node.post(peer, LETTER, word)


_recorder: list[Recorder] = []


async def flush_bindings(payload: bytes, running: Running) -> bytes:
    """The job of the MI process: `Recorder.flushed`; gives its text."""
    return (await _recorder[0].flushed()).encode()


async def flushed(process: Process, within_s: float) -> str:
    """Have all bindings that are marked now recorded, whichever process asks for it.

    Args:
        process: the one that asks.
        within_s: how long it waits. What is not recorded by then is recorded later.

    Returns:
        Why they are not recorded, or an empty text once they are.
    """
    to = next((peer for peer in [process.peer, *process.node.peers()] if role_of(peer.name) == MI), None)
    if to is None:
        return "the MI process is not there"
    if process.is_blocked and stands_still(process, to):
        return "the MI process waits for an answer itself"  # which may be this one's, see `runtime.errands.who_sends`
    outcome = await process.node.call(FLUSH_BINDINGS, b"", label="flush bindings", timeout_s=within_s, to=to)
    return outcome.payload.decode() if isinstance(outcome, Returned) else why(outcome)


class Waiting:
    """In every other process: tells the recorder of changes, and holds back what is to follow their being recorded.

    Nothing is held back for longer than `limit_s`, and nothing at all while the database is known not to answer: the
    binding holds for all processes from the moment it is in the store, and a user agent must not be told otherwise.

    Args:
        process: this one.
        locations: its own.
        limit_s: how long something is held back at most; None where the database is written to from time to time
            (write-back), and nothing waits for it.
        on_late: told of each thing that was let go unrecorded.
    """

    def __init__(
        self,
        process: Process,
        locations: Locations,
        limit_s: float | None,
        on_late: Callable[[], None] = lambda: None,
    ) -> None:
        self._process = process
        self._locations = locations
        self._limit_s = limit_s
        self._on_late = on_late
        self._waiting: dict[int, tuple[User, Callable[[], object], asyncio.TimerHandle]] = {}
        self._serial = 0
        self._is_failing = False
        self._told = False
        process.letters[LETTER] = self._on_letter
        process.trailing.append(self)

    def changed(self) -> None:
        """A user was marked."""
        if self._limit_s is not None and not self._told:
            # In the next turn: one letter for all that this turn changes.
            self._told = True
            self._process.loop.call_soon(self._tell_changed)

    def until_recorded(self, user: User, then: Callable[[], object]) -> bool:
        """Call `then` once the database has this user's bindings, or it has been waited for long enough.

        Returns:
            False when nothing is waited for; `then` is not called then.
        """
        if self._limit_s is None:
            return False
        if self._is_failing:
            self._on_late()
            return False
        self._serial += 1
        timer = self._process.loop.call_later(self._limit_s, partial(self._give_up, self._serial))
        self._waiting[self._serial] = user, then, timer
        return True

    def pending(self) -> int:
        """How much is held back."""
        return len(self._waiting)

    def close(self) -> None:
        """Let go of what is held back."""
        for serial in list(self._waiting):
            self._give_up(serial)

    def _tell_changed(self) -> None:
        self._told = False
        for peer in self._process.node.peers():
            if role_of(peer.name) == MI:
                self._process.node.post(peer, LETTER, _CHANGED)

    def _on_letter(self, sender: Peer, body: bytes) -> None:
        self._is_failing = body == _FAILING
        if self._is_failing:
            self.close()
            return
        for serial, (user, _, _) in list(self._waiting.items()):
            if not self._locations.is_marked(user):
                self._let_go(serial)

    def _give_up(self, serial: int) -> None:
        self._on_late()
        self._let_go(serial)

    def _let_go(self, serial: int) -> None:
        _, then, timer = self._waiting.pop(serial)
        timer.cancel()
        then()


def load_tables(recording: Recording, locations: Locations, domains: Iterable[str], now: float) -> int:
    """Take in what the database has of some domains, and delete what has expired in it. At the start, before the forks.

    Args:
        now: seconds of the epoch.

    Returns:
        How many bindings there are.

    Raises:
        DatabaseError: it cannot be read.
        StoreError: there is no room for them.
    """
    from runtime.location.rows import delete_expired, is_indexed, load, next_id

    loaded = 0
    for domain in sorted(domains):
        place = recording.table(domain)
        with recording.database.begin() as connection:
            first_free = next_id(connection, place)
            expired = delete_expired(connection, place, now)
            loaded += locations.load(((row.user, row.contact) for row in load(connection, place, now)), first_free)
            if not is_indexed(connection, place):
                columns = ", ".join([place.table.c.username.name, place.table.c.domain.name])
                log.warning("table %s has no index on (%s): each REGISTER reads all of it", domain, columns)
        log.info("table %s: %d bindings loaded, %d had expired", domain, loaded, expired)
    return loaded


def finish(recording: Recording, locations: Locations) -> None:
    """Record what is still marked, when all processes have ended."""
    try:
        recording.record_all(locations)
    except (DatabaseError, StoreError) as error:
        log.error("bindings of %d users are not recorded, and lost: %s", locations.marked(), error)
