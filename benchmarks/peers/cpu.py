"""How much CPU time a tree of processes has used, to the nanosecond."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from typing import Final

from pools_peers.processes import descendants

_SCHEDULERS: Final = 2
"""In a clock's number, beside the complement of the PID: what the scheduler counts (clock_getcpuclockid(3))."""


@dataclass(frozen=True, slots=True)
class CpuTime:
    """User and system time of some processes at one moment, in seconds, by PID."""

    by_pid: dict[int, float]

    def since(self, before: CpuTime) -> float:
        """What has been used since `before`; of a process that has come since, all that it has used.

        Raises:
            RuntimeError: a process has gone since, so that the difference says nothing.
        """
        if before.by_pid.keys() - self.by_pid.keys():
            raise RuntimeError("processes of the server have ended under the load")
        return sum(self.by_pid.values()) - sum(before.by_pid.values())


def tree_cpu(root: int) -> CpuTime:
    """The CPU time of a process and all its descendants so far.

    `/proc/PID/stat` counts in hundredths of a second, which over six processes is too coarse for what is measured
    here; each process's own clock is the same time in nanoseconds, with that of its threads that have ended.
    """
    return CpuTime({pid: _process_s(pid) for pid in {root, *descendants(root)}})


def _process_s(pid: int) -> float:
    with contextlib.suppress(OSError):  # it has ended
        return time.clock_gettime(~pid << 3 | _SCHEDULERS)
    return 0.0
