"""Fingerprints and claims, in one process and in several that race and die."""

from __future__ import annotations

import fcntl
import mmap
import os
import random
import signal
import time
from collections.abc import Callable

import pytest

from runtime.sip.ownership import ORDERED, Claims, Fingerprints, fingerprint

LIMIT_S = 20.0
by_announcing = pytest.param(
    False, marks=pytest.mark.skipif(not ORDERED, reason="this machine orders stores as it likes"), id="announced"
)
in_both_ways = pytest.mark.parametrize("locked", [by_announcing, pytest.param(True, id="locked")])


def tables(processes: int, slots: int = 1024) -> Fingerprints:
    return Fingerprints(mmap.mmap(-1, Fingerprints.size(processes, slots)), processes, slots)


def test_a_fingerprint_is_a_nonzero_word_of_64_bits() -> None:
    found = {fingerprint(f"INVITE h z9hG4bK{number}") for number in range(1000)}
    assert len(found) == 1000
    assert all(0 < one < 2**64 for one in found)


def test_who_has_begun_to_publish_is_found_soon() -> None:
    prints = tables(2)
    prints.add(0, 5)
    assert [prints.find(77, skip=0) for _ in range(200)] == [None] * 200
    prints.add(1, 77)
    assert prints.find(77, skip=0) == 1
    prints.remove(1, 77)
    assert [prints.find(77, skip=0) for _ in range(200)] == [None] * 200
    prints.add(1, 77)
    assert prints.find(77, skip=0) == 1


def test_what_one_publishes_the_others_find() -> None:
    prints = tables(3)
    assert prints.find(77) is None
    assert prints.add(1, 77)
    assert (prints.find(77), prints.find(77, skip=0), prints.find(77, skip=1)) == (1, 1, None)
    assert (prints.count(1), prints.count(0)) == (1, 0)
    assert not prints.remove(0, 77)
    assert prints.remove(1, 77)
    assert not prints.remove(1, 77)
    assert (prints.find(77), prints.count(1)) == (None, 0)


def test_two_keys_of_one_fingerprint_are_taken_back_one_by_one() -> None:
    prints = tables(1)
    prints.add(0, 77)
    prints.add(0, 77)
    prints.remove(0, 77)
    assert prints.find(77) == 0
    prints.remove(0, 77)
    assert prints.find(77) is None


def test_a_full_bucket_refuses_and_counts_and_has_room_again() -> None:
    prints = tables(1, 8)
    assert [prints.add(0, number) for number in range(1, 10)] == [True] * 8 + [False]
    assert (prints.overflows(0), prints.count(0), prints.find(9)) == (1, 8, None)
    prints.remove(0, 3)
    assert prints.add(0, 9)
    assert [prints.find(number) for number in range(1, 10)] == [0, 0, None, 0, 0, 0, 0, 0, 0]


def test_three_quarters_of_a_table_can_be_used() -> None:
    prints = tables(1, 8192)
    # Real fingerprints have a seed of their own in each run, and one in some hundred fills a bucket before that.
    drawn = random.Random(6144)
    held = [drawn.getrandbits(64) for _ in range(6144)]
    assert all([prints.add(0, one) for one in held])
    assert prints.overflows(0) == 0
    assert all(prints.find(one) == 0 for one in held)


def test_clearing_a_table_leaves_the_others() -> None:
    prints = tables(3)
    for process in range(3):
        prints.add(process, 100 + process)
    prints.clear(1)
    assert [prints.find(100 + process) for process in range(3)] == [0, None, 2]
    assert prints.count(1) == 0


def test_too_small_a_buffer_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="too few"):
        Fingerprints(mmap.mmap(-1, 4096), 8, 1024)


@in_both_ways
def test_a_claim_in_one_process(locked: bool, tmp_path) -> None:
    prints = tables(2)
    claims = Claims(prints, tmp_path / "claims" if locked else None)
    assert not locked or os.stat(tmp_path / "claims").st_mode & 0o777 == 0o600
    assert claims.claim(0, 5) is None
    assert claims.claim(1, 5) == 0
    prints.remove(0, 5)
    assert claims.claim(1, 5) is None
    assert claims.claim(0, 5) == 1
    claims.close()


def forked(run: Callable[[], None]) -> int:
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        run()
        code = 0
    finally:
        os._exit(code)


def wait_until(condition: Callable[[], bool]) -> None:
    ends = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < ends, "it takes too long"
        time.sleep(0.001)


def ended_well(pid: int) -> bool:
    ends = time.monotonic() + LIMIT_S
    while time.monotonic() < ends:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status) == 0
        time.sleep(0.001)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return False


class Race:
    """Processes that claim the same keys in the same order. `outcomes[process][key]`: 0 none yet, 1 won, 2 + owner."""

    def __init__(self, processes: int, keys: int, locked: bool) -> None:
        self.keys = [fingerprint(f"INVITE h z9hG4bK{number}") for number in range(keys)]
        self.prints = tables(processes, 8 * keys)
        self.claims = Claims(self.prints, os.memfd_create("claims") if locked else None)
        self.shared = mmap.mmap(-1, 1 + processes * keys)

    def start(self, process: int) -> int:
        return forked(lambda: self.run(process))

    def run(self, process: int) -> None:
        while not self.shared[0]:
            pass  # a start at the same moment is the point; the parent is at most a few ms away
        base = 1 + process * len(self.keys)
        for number, key in enumerate(self.keys):
            owner = self.claims.claim(process, key)
            self.shared[base + number] = 1 if owner is None else 2 + owner

    def outcomes(self, process: int) -> bytes:
        base = 1 + process * len(self.keys)
        return self.shared[base : base + len(self.keys)]

    def progress(self, process: int) -> int:
        return len(self.keys) - self.outcomes(process).count(0)

    def forget(self, process: int) -> None:
        base = 1 + process * len(self.keys)
        self.shared[base : base + len(self.keys)] = bytes(len(self.keys))


@pytest.mark.processes
@in_both_ways
def test_of_several_processes_exactly_one_wins_each_key(locked: bool) -> None:
    race = Race(processes=4, keys=3000, locked=locked)
    pids = [race.start(process) for process in range(4)]
    race.shared[0] = 1
    assert all([ended_well(pid) for pid in pids])
    rows = [race.outcomes(process) for process in range(4)]
    for number, column in enumerate(zip(*rows, strict=True)):
        assert column.count(1) == 1, f"key {number} has no owner or two"
        winner = column.index(1)
        assert set(column) == {1, 2 + winner}, "the others are told who it is"
    assert sum(race.prints.count(process) for process in range(4)) == 3000


@pytest.mark.processes
@in_both_ways
def test_deaths_in_the_middle_leave_no_lock_and_no_double_owner(locked: bool) -> None:
    race = Race(processes=3, keys=3000, locked=locked)
    survivors = [race.start(process) for process in (0, 1)]
    victim = race.start(2)
    race.shared[0] = 1
    deaths = 0
    for death in range(12):
        aim = 40 + 211 * death
        wait_until(lambda aim=aim: race.progress(2) >= aim)
        os.kill(victim, signal.SIGKILL)
        os.waitpid(victim, 0)
        deaths += 1
        race.prints.clear(2)
        race.forget(2)
        victim = race.start(2)
    assert all([ended_well(pid) for pid in (*survivors, victim)])
    assert deaths == 12
    for number, key in enumerate(race.keys):
        owners = [process for process in range(3) if race.prints.find(key, skip=-1) == process]
        winners = [process for process in range(3) if race.outcomes(process)[number] == 1]
        assert len(winners) == 1, f"key {number} has no owner or two"
        assert owners == winners
    assert sum(race.prints.count(process) for process in range(3)) == 3000


@pytest.mark.processes
def test_a_claim_that_waits_goes_on_when_the_holder_is_killed() -> None:
    prints = tables(2)
    fd = os.memfd_create("claims")
    claims = Claims(prints, fd)
    told = mmap.mmap(-1, 2)

    def hold() -> None:
        fcntl.lockf(fd, fcntl.LOCK_EX, 1, 99)
        told[0] = 1
        signal.pause()

    def claim() -> None:
        assert claims.claim(1, 99) is None
        told[1] = 1

    holder = forked(hold)
    wait_until(lambda: told[0] == 1)
    claimer = forked(claim)
    wait_until(lambda: is_blocked(claimer))
    assert told[1] == 0
    os.kill(holder, signal.SIGKILL)
    os.waitpid(holder, 0)
    assert ended_well(claimer)
    assert told[1] == 1
    assert prints.find(99) == 1


def is_blocked(pid: int) -> bool:
    """Whether the kernel lists the process among those that wait for a lock."""
    with open("/proc/locks") as locks:
        return any("->" in line and f" {pid} " in line for line in locks)


@pytest.mark.processes
@pytest.mark.skipif(not ORDERED, reason="this machine orders stores as it likes")
@pytest.mark.parametrize("claimant", [0, 2])
def test_a_claim_waits_for_who_has_announced_the_same_and_goes_on_when_he_is_written_off(claimant: int) -> None:
    prints = tables(3)
    claims = Claims(prints)
    told = mmap.mmap(-1, 1)
    prints.announced[1] = 99  # he was stopped before he could look who else has

    def claim() -> None:
        assert claims.claim(claimant, 98) is None, "another key waits for nobody"
        told[0] = 1
        assert claims.claim(claimant, 99) is None

    claimer = forked(claim)
    wait_until(lambda: told[0] == 1)
    wait_until(lambda: prints.announced[claimant] == (99 if claimant == 0 else 0))
    assert prints.find(99) is None
    prints.clear(1)
    assert ended_well(claimer)
    assert prints.find(99) == claimant
    assert prints.announced.tolist() == [0, 0, 0]
