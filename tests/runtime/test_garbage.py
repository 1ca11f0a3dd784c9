"""When cyclic garbage is collected."""

from __future__ import annotations

import gc
import subprocess
import sys

import pytest

from runtime.garbage import PER_HELD, PLENTY, WORTHWHILE, is_due
from tests.harness import ROOT


@pytest.mark.parametrize(
    ("new_objects", "held", "due"),
    [
        (0, 0, False),
        (WORTHWHILE - 1, 0, False),
        (WORTHWHILE, 0, True),
        (WORTHWHILE, 1, False),
        (PLENTY + PER_HELD, 1, False),
        (PLENTY + PER_HELD + 1, 1, True),
        (PLENTY + 40_000 * PER_HELD, 40_000, False),
        (PLENTY + 40_000 * PER_HELD + 1, 40_000, True),
    ],
)
def test_an_idle_process_collects_soon_and_a_busy_one_what_its_transactions_do_not_explain(
    new_objects: int, held: int, due: bool
) -> None:
    assert is_due(new_objects, held) is due


LOOP = """
import asyncio, gc, weakref
from runtime import garbage

garbage.LOOK_EVERY_S = 0.01
class Cycle:
    pass

async def main():
    held = [1]
    collector = garbage.Collector(asyncio.get_running_loop(), lambda: held[0])
    collector.begin()
    assert not gc.isenabled()
    cycles = [Cycle() for _ in range(garbage.WORTHWHILE)]
    for one in cycles:
        one.self = one
    seen = weakref.ref(cycles[0])
    del cycles, one
    await asyncio.sleep(0.05)
    assert seen() is not None, "a busy process lets them lie"
    held[0] = 0
    while seen() is not None:
        await asyncio.sleep(0.01)
    collector.close()

asyncio.run(asyncio.wait_for(main(), 5))
"""


def test_cycles_go_when_there_is_time() -> None:
    assert gc.isenabled(), "in a process of its own, for the collector is everybody's"
    subprocess.run([sys.executable, "-c", LOOP], cwd=ROOT, check=True, timeout=20)
