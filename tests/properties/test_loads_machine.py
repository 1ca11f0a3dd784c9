"""The load board against plain dicts: whatever processes write in whatever order, each reads what all have written."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from workers.loads import LoadBoard
from workers.policy import Load

GRAIN_S = 2.0**-20
slots = st.integers(0, 3)
counts = st.integers(0, 9)
moments = st.integers(1, 400).map(lambda number: number / 4)


class Board(RuleBasedStateMachine):
    """A board of up to four slots, and what each process is known to have written on it."""

    @initialize(count=st.integers(1, 4), more=st.integers(0, 9))
    def begin(self, count: int, more: int) -> None:
        self.count = count
        self.board = LoadBoard(memoryview(bytearray(LoadBoard.size(count) + more)), count)
        self.given: dict[tuple[int, int], tuple[int, float]] = {}
        """What an origin has on a worker."""
        self.waiting = dict.fromkeys(range(count), 0)
        self.own = [self.nobody() for _ in range(count)]

    def nobody(self) -> dict[str, float]:
        return dict.fromkeys(["progressed", "done", "running", "paused", "draining", "quick", "kill", "life"], 0)

    def slot(self, number: int) -> int:
        return number % self.count

    # -- what processes write -------------------------------------------------------------------------------------

    @rule(origin=slots, worker=slots, jobs=counts, grains=counts)
    def occupy(self, origin: int, worker: int, jobs: int, grains: int) -> None:
        origin, worker = self.slot(origin), self.slot(worker)
        self.board.occupy(origin, worker, jobs, grains * GRAIN_S)
        self.given[origin, worker] = (jobs, grains * GRAIN_S)

    @rule(origin=slots, jobs=counts)
    def wait(self, origin: int, jobs: int) -> None:
        self.board.wait(self.slot(origin), jobs)
        self.waiting[self.slot(origin)] = jobs

    @rule(worker=slots, life=st.integers(1, 3), now=moments)
    def enter(self, worker: int, life: int, now: float) -> None:
        self.board.enter(self.slot(worker), life, now)
        self.own[self.slot(worker)] |= {"life": life, "progressed": now, "running": False, "paused": False}

    @rule(worker=slots, now=moments, running=st.none() | st.booleans())
    def progress(self, worker: int, now: float, running: bool | None) -> None:
        if running is None:
            self.board.progress(self.slot(worker), now)
        else:
            self.board.progress(self.slot(worker), now, running)
        self.own[self.slot(worker)] |= {"progressed": now, "running": bool(running)}

    @rule(worker=slots, now=moments, jobs=counts)
    def done(self, worker: int, now: float, jobs: int) -> None:
        self.board.done(self.slot(worker), now, jobs)
        own = self.own[self.slot(worker)]
        own |= {"progressed": now, "running": False, "done": own["done"] + jobs}

    @rule(worker=slots, now=moments)
    def run_quick(self, worker: int, now: float) -> None:
        self.board.ran_quick(self.slot(worker), now)
        self.own[self.slot(worker)]["quick"] = now

    @rule(worker=slots, moment=st.just(0.0) | moments)
    def be_killed_from(self, worker: int, moment: float) -> None:
        self.board.kill_from(self.slot(worker), moment)
        self.own[self.slot(worker)]["kill"] = moment

    @rule(worker=slots, paused=st.booleans())
    def pause(self, worker: int, paused: bool) -> None:
        self.board.pause(self.slot(worker), paused)
        self.own[self.slot(worker)]["paused"] = paused

    @rule(worker=slots)
    def drain(self, worker: int) -> None:
        self.board.drain(self.slot(worker))
        self.own[self.slot(worker)]["draining"] = True

    @rule(slot=slots)
    def die(self, slot: int) -> None:
        """What others have on it they take back themselves; until then nobody is to take it for idle."""
        slot = self.slot(slot)
        self.board.clear_slot(slot)
        self.given = {key: value for key, value in self.given.items() if key[0] != slot}
        self.waiting[slot] = 0
        self.own[slot] = self.nobody() | {"paused": True}

    @precondition(lambda self: hasattr(self, "board"))
    @rule(beyond=st.integers(-5, 5))
    def ask_for_no_slot(self, beyond: int) -> None:
        number = self.count + beyond if beyond >= 0 else beyond
        for ask in (self.board.load, self.board.done_by, self.board.running, self.board.drain, self.board.kill_at):
            with pytest.raises(IndexError, match=f"^no slot {number} among {self.count}$"):
                ask(number)

    # -- what all read --------------------------------------------------------------------------------------------

    def load(self, worker: int, besides: int | None = None) -> Load:
        given = [value for (origin, of), value in self.given.items() if of == worker and origin != besides]
        jobs, seconds = sum(jobs for jobs, _ in given), sum(seconds for _, seconds in given)
        own = self.own[worker]
        paused, draining = bool(own["paused"]), bool(own["draining"])
        return Load(worker, jobs, float(seconds), own["progressed"], paused, draining, own["quick"])

    @invariant()
    def the_loads_are_what_all_have_on_them(self) -> None:
        everybody = range(self.count)
        assert self.board.loads() == [self.load(worker) for worker in everybody]
        for worker in everybody:
            assert self.board.load(worker) == self.load(worker)
        for origin in everybody:
            some = [worker for worker in everybody if worker != 1]
            assert self.board.loads_of(some, origin) == {worker: self.load(worker, origin) for worker in some}

    @invariant()
    def what_waits_is_counted(self) -> None:
        assert self.board.waiting() == list(self.waiting.values())
        assert self.board.anybody_waits() == any(self.waiting.values())
        for origin, own in self.waiting.items():
            assert self.board.waiting_besides(origin) == sum(self.waiting.values()) - own

    @invariant()
    def what_workers_say_of_themselves_is_read(self) -> None:
        for worker, own in enumerate(self.own):
            assert self.board.done_by(worker) == own["done"]
            assert self.board.running(worker) == own["running"]
            assert self.board.kill_at(worker) == own["kill"]
        assert self.board.anybody_to_kill() == any(own["kill"] for own in self.own)

    @invariant()
    def who_leaves_is_known(self) -> None:
        """It is about to end or has ended, which shows in its row, or the next life is here."""
        for worker, own in enumerate(self.own):
            for incarnation in (1, 2, 3):
                another = own["life"] != 0 and own["life"] != incarnation
                ends = own["paused"] and (own["draining"] or own["progressed"] == 0)
                assert self.board.is_leaving(worker, incarnation) == bool(another or ends)

    def teardown(self) -> None:
        if hasattr(self, "board"):
            self.board.close()


TestBoard = Board.TestCase
TestBoard.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


@given(st.integers(1, 40), st.integers(1, 64))
def test_a_buffer_has_to_hold_the_board(count: int, fewer: int) -> None:
    nbytes = LoadBoard.size(count)
    assert nbytes == 8 * (count * (2 * count + 8) + count), "a row of each, and what waits at each"
    with pytest.raises(ValueError, match=f"^{count} slots need {nbytes} bytes, not {nbytes - fewer}$"):
        LoadBoard(memoryview(bytearray(nbytes - fewer)), count)
