"""The tables of fingerprints in C do to the shared memory what the Python does, call for call."""

from __future__ import annotations

import mmap
import shutil

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from runtime.compiled import PURE, is_compiled
from runtime.sip.ownership import BUSY, NOBODY, Claims, Fingerprints

PROCESSES = 3
SLOTS = [8, 16, 64]
FINGERPRINTS = st.one_of(st.integers(1, 6), st.integers(1, 2**64 - 1), st.sampled_from([5 << 32, (5 << 32) + 5, 2**32]))
CALLS = st.tuples(st.sampled_from(["add", "add", "remove", "find", "claim"]), st.integers(0, 2), FINGERPRINTS)


@pytest.mark.skipif(PURE or shutil.which("gcc") is None, reason="not to be compiled")
def test_the_cells_are_compiled() -> None:
    assert is_compiled("runtime.sip.cells")


@pytest.mark.skipif(not is_compiled("runtime.sip.cells"), reason="not compiled")
@given(st.sampled_from(SLOTS), st.lists(CALLS, max_size=60))
def test_each_call_answers_and_writes_the_same(slots: int, calls: list[tuple[str, int, int]]) -> None:
    memories = [mmap.mmap(-1, Fingerprints.size(PROCESSES, slots)) for _ in range(2)]
    compiled, python = (Fingerprints(memory, PROCESSES, slots) for memory in memories)
    python._compiled = None
    for call, process, fp in calls:
        answers = [done(prints, call, process, fp) for prints in (compiled, python)]
        event(f"{call}: {answers[0]}")
        assert answers[0] == answers[1]
        assert memories[0][:] == memories[1][:]


def done(prints: Fingerprints, call: str, process: int, fp: int) -> object:
    match call:
        case "add":
            return prints.add(process, fp)
        case "remove":
            return prints.remove(process, fp)
        case "find":
            return prints.find(fp, process), prints.find(fp)
        case _:
            return Claims(prints).claim(process, fp)


@pytest.mark.skipif(not is_compiled("runtime.sip.cells"), reason="not compiled")
def test_who_has_announced_the_same_makes_a_claim_wait_and_no_table_is_written_to_that_is_not_there() -> None:
    from runtime.sip import cells

    assert (cells.NOBODY, cells.BUSY) == (NOBODY, BUSY)
    prints = Fingerprints(mmap.mmap(-1, Fingerprints.size(PROCESSES, 8)), PROCESSES, 8)
    prints.announced[1] = 7
    assert prints.claim(0, 7) == BUSY
    assert prints.announced.tolist() == [7, 7, 0]
    assert prints.find(7) is None
    assert prints.claim(2, 8) == NOBODY
    for process in (-1, PROCESSES):
        for write in (prints.add, prints.remove, prints.claim):
            with pytest.raises(IndexError):
                write(process, 7)
    with pytest.raises(ValueError, match="too few"):
        cells.Cells(memoryview(bytearray(64)).cast("Q"), 1, 1)
