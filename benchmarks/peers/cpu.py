"""How much CPU time a tree of processes has used, to the nanosecond."""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pools_peers.processes import descendants

_SCHEDULERS: Final = 2
"""In a clock's number, beside the complement of the PID: what the scheduler counts (clock_getcpuclockid(3))."""
_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class CpuTime:
    """User and system time of some processes at one moment, in seconds.

    Args:
        by_pid: of those that live.
        reaped_s: of those that they have had and that have ended, to a hundredth.
    """

    by_pid: dict[int, float]
    reaped_s: float

    def since(self, before: CpuTime) -> float:
        """What has been used since `before`, by whoever has come or gone meanwhile as well."""
        return self._total_s - before._total_s

    @property
    def _total_s(self) -> float:
        return sum(self.by_pid.values()) + self.reaped_s


def tree_cpu(root: int) -> CpuTime:
    """The CPU time of a process and all its descendants so far.

    `/proc/PID/stat` counts in hundredths of a second, which over six processes is too coarse for what is measured
    here; each process's own clock is the same time in nanoseconds, with that of its threads that have ended.
    """
    pids = {root, *descendants(root)}
    return CpuTime({pid: _process_s(pid) for pid in pids}, sum(map(_reaped_s, pids)))


def _process_s(pid: int) -> float:
    with contextlib.suppress(OSError):  # it has ended
        return time.clock_gettime(~pid << 3 | _SCHEDULERS)
    return 0.0


def _reaped_s(pid: int) -> float:
    with contextlib.suppress(OSError):
        # After the last ")": a process may put brackets and blanks into its own name. Fields as in proc(5).
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[13]) + int(fields[14])) / _TICKS_PER_S
    return 0.0
