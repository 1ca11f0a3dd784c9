"""The load board: what every origin has put on every worker, in memory that all processes share.

Every cell is written by one process only, so nothing is locked: an origin writes its own column of each worker's row,
a worker its own state. A cell is one aligned native double, stored and fetched by a single machine word; a reader can
see one cell newer than another but never half a number. (``struct.pack_into`` with an explicit byte order would write
byte by byte.) Two origins that look at the same moment can still choose the same worker: the board makes that rare.

Layout, in doubles, for ``n`` slots: ``n`` rows of ``n`` outstanding, ``n`` expected seconds, progressed_at, jobs_done,
running, paused, draining, quick_at, kill_at, life; then ``n`` times waiting.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterable

from workers.policy import Load
from workers.steps import Step, after

_OWN = 8
_PROGRESSED_AT, _JOBS_DONE, _RUNNING, _PAUSED, _DRAINING, _QUICK_AT, _KILL_AT, _LIFE = range(_OWN)
_DOUBLE = struct.calcsize("@d")


class LoadBoard:
    """The board over one buffer, e.g. an anonymous ``mmap.mmap(-1, LoadBoard.size(slots))`` made before the forks.

    Args:
        buffer: at least `size` bytes, zero at first.
        slots: how many processes there can be at once.

    Raises:
        ValueError: the buffer is too small.
    """

    def __init__(self, buffer: memoryview | mmap.mmap, slots: int) -> None:
        whole = memoryview(buffer)
        if len(whole) < self.size(slots):
            raise ValueError(f"{slots} slots need {self.size(slots)} bytes, not {len(whole)}")
        self.slots = slots
        self._bytes = whole[: self.size(slots)].cast("B")
        self._cells = self._bytes.cast("d")
        self._row_cells = 2 * slots + _OWN
        self._row = struct.Struct(f"@{self._row_cells}d")
        self._waiting_at = slots * self._row_cells
        self._waiting = self._cells[self._waiting_at : self._waiting_at + slots]
        self._kill_ats = self._cells[2 * slots + _KILL_AT : self._waiting_at : self._row_cells]

    @staticmethod
    def size(slots: int) -> int:
        """How many bytes a board of so many slots takes."""
        return _DOUBLE * (slots * (2 * slots + _OWN) + slots)

    # -- an origin's cells ----------------------------------------------------------------------------------------

    @after(Step.BOARD_TOLD)
    def occupy(self, origin: int, worker: int, outstanding: int, expected_s: float) -> None:
        """Origin: tell how many jobs it has on a worker, and how many seconds they are expected to take."""
        at = self._at(worker) + origin
        self._cells[at] = outstanding
        self._cells[at + self.slots] = expected_s

    def wait(self, origin: int, jobs: int) -> None:
        """Origin: tell how many of its jobs wait for room."""
        self._cells[self._waiting_at + origin] = jobs

    # -- a worker's cells -----------------------------------------------------------------------------------------

    def enter(self, worker: int, incarnation: int, now: float) -> None:  # model: enter
        """Worker: tell which life has begun, and that it takes jobs."""
        self._cells[self._own_at(worker) + _LIFE] = incarnation
        self.progress(worker, now)
        self.pause(worker, False)

    def progress(self, worker: int, now: float, running: bool = False) -> None:
        """Worker: tell that it goes on, and whether it runs a job now. Never goes back in time."""
        at = self._own_at(worker)
        self._cells[at + _PROGRESSED_AT] = now
        self._cells[at + _RUNNING] = running

    @after(Step.RUN_COUNTED)
    def done(self, worker: int, now: float, jobs: int) -> None:
        """Worker: tell that it runs nothing, and how many more jobs it has ended."""
        at = self._own_at(worker)
        self._cells[at + _PROGRESSED_AT] = now
        self._cells[at + _RUNNING] = False
        self._cells[at + _JOBS_DONE] += jobs

    def ran_quick(self, worker: int, now: float) -> None:
        """Worker: tell that it just ran a quick job."""
        self._cells[self._own_at(worker) + _QUICK_AT] = now

    def kill_from(self, worker: int, moment: float) -> None:
        """Worker: tell from when on it is to be killed (CLOCK_MONOTONIC seconds); 0.0 takes that back."""
        self._cells[self._own_at(worker) + _KILL_AT] = moment

    def pause(self, worker: int, paused: bool) -> None:  # model: pause
        """Worker: tell whether it holds ordinary jobs back."""
        self._cells[self._own_at(worker) + _PAUSED] = paused

    def drain(self, worker: int) -> None:
        """Worker: tell that it is about to end."""
        self._cells[self._own_at(worker) + _DRAINING] = True

    # -- readers --------------------------------------------------------------------------------------------------

    def is_leaving(self, worker: int, incarnation: int) -> bool:  # model: look_again_and_send
        """Whether that life takes nothing more: it is about to end, has ended and cleared its row, or the next is here.

        Who has not heard of the end yet would take the next life's clean row for its own, and send to nobody.
        """
        at = self._own_at(worker)
        paused, is_ending = self._cells[at + _PAUSED] != 0.0, self._cells[at + _DRAINING] != 0.0
        if self._cells[at + _LIFE] not in (0.0, incarnation):
            return True
        return paused and (is_ending or self._cells[at + _PROGRESSED_AT] == 0.0)

    def load(self, worker: int) -> Load:
        """One worker's load, summed over the origins."""
        return self.loads_of((worker,))[worker]

    def loads(self) -> list[Load]:
        """Every slot's load, summed over the origins."""
        return list(self.loads_of(range(self.slots)).values())

    def loads_of(self, workers: Iterable[int], besides: int | None = None) -> dict[int, Load]:
        """These workers' loads by slot, summed over the origins; without the origin ``besides``, if given."""
        slots, own, found = self.slots, 2 * self.slots, {}
        for worker in workers:
            row = self._row.unpack_from(self._bytes, self._at(worker) * _DOUBLE)
            outstanding, expected_s = sum(row[:slots]), sum(row[slots:own])
            if besides is not None:
                outstanding -= row[besides]
                expected_s -= row[slots + besides]  # exact: expected seconds come in whole grains
            found[worker] = Load(
                worker,
                int(outstanding),
                expected_s,
                row[own + _PROGRESSED_AT],
                row[own + _PAUSED] != 0.0,
                row[own + _DRAINING] != 0.0,
                row[own + _QUICK_AT],
            )
        return found

    def waiting_besides(self, origin: int) -> int:
        """How many jobs wait at the other origins together."""
        return int(sum(self._waiting) - self._waiting[origin])

    def waiting(self) -> list[int]:
        """How many jobs wait at each origin, by slot."""
        return [int(cell) for cell in self._waiting]

    def anybody_waits(self) -> bool:
        """Whether any job waits at any origin."""
        return any(self._waiting)

    def done_by(self, worker: int) -> int:
        """How many jobs a worker has ended in its present life."""
        return int(self._cells[self._own_at(worker) + _JOBS_DONE])

    def running(self, worker: int) -> bool:
        """Whether a worker says that it runs a job now."""
        return self._cells[self._own_at(worker) + _RUNNING] != 0.0

    def kill_at(self, worker: int) -> float:
        """From when on a worker is to be killed, because a job of its is past its deadline; 0.0 for never."""
        return self._cells[self._own_at(worker) + _KILL_AT]

    def anybody_to_kill(self) -> bool:
        """Whether any worker is to be killed at some moment; see `kill_at`."""
        return any(self._kill_ats)

    # -- the attendant --------------------------------------------------------------------------------------------

    @after(Step.ROWS_CLEARED)
    def clear_slot(self, slot: int) -> None:  # model: bury
        """After a death and before the slot is used again: forget all that the dead process wrote.

        What living origins have on the dead worker they take back themselves when they hear of the death. Until then
        a clean row would look to them like an idle worker, so it is left paused; who lives there next takes that back.
        """
        for worker in range(self.slots):
            self.occupy(slot, worker, 0, 0.0)
        self.wait(slot, 0)
        own = self._own_at(slot)
        self._cells[own + _PAUSED] = True
        for cell in range(own, own + _OWN):
            if cell != own + _PAUSED:
                self._cells[cell] = 0.0

    def close(self) -> None:
        """Let the buffer go, so that its owner can close it."""
        self._waiting.release()
        self._kill_ats.release()
        self._cells.release()
        self._bytes.release()

    def _own_at(self, worker: int) -> int:
        return self._at(worker) + 2 * self.slots

    def _at(self, worker: int) -> int:
        if not 0 <= worker < self.slots:
            raise IndexError(f"no slot {worker} among {self.slots}")
        return worker * self._row_cells
