"""What the kernel says of processes (proc(5)): their memory, their CPU time, whether they are stopped."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Final, NamedTuple

_SCHEDULERS: Final = 2
"""In a clock's number, beside the complement of the PID: what the scheduler counts (clock_getcpuclockid(3))."""


class Memory(NamedTuple):
    """Bytes of one process.

    Args:
        rss: in memory.
        pss: in memory, with each shared page divided among those who share it.
        private: in memory, and nobody else's.
        shared: in memory, and somebody else's too.
        swap: swapped out.
    """

    rss: int
    pss: int
    private: int
    shared: int
    swap: int


def memory_of(pid: int) -> Memory | None:
    """The memory of a process, None when there is none. The kernel looks at each of its pages for this."""
    found = _kilobytes(f"/proc/{pid}/smaps_rollup")
    if not found:
        return None
    shared = found["Shared_Clean"] + found["Shared_Dirty"]
    private = found["Private_Clean"] + found["Private_Dirty"]
    return Memory(found["Rss"], found["Pss"], private, shared, found["Swap"])


def peak_of(pid: int) -> int:
    """The most bytes that a process ever had in memory at once; 0 where there is no such process."""
    return _kilobytes(f"/proc/{pid}/status").get("VmHWM", 0)


def available() -> int:
    """Bytes that processes of this machine can still get without swapping."""
    return _kilobytes("/proc/meminfo").get("MemAvailable", 0)


def cpu_s_of(pid: int) -> float:
    """Seconds of CPU time that a process has had, to the nanosecond; 0 where there is no such process.

    `/proc/PID/stat` has it in hundredths of a second only.
    """
    try:
        return time.clock_gettime(~pid << 3 | _SCHEDULERS) if pid > 0 else 0.0  # 0 is whoever asks
    except OSError:
        return 0.0


def is_stopped(pid: int) -> bool:
    """Whether a process is stopped, by a signal or by a debugger."""
    return _stat(pid)[:1] in ([b"T"], [b"t"])


def _stat(pid: int) -> list[bytes]:
    """The fields behind the program's name, the state first; none where there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return []


def _kilobytes(path: str) -> dict[str, int]:
    """The lines ``Name:   123 kB`` of such a file, in bytes; none where it cannot be read."""
    try:
        lines = Path(path).read_text().splitlines()
    except OSError:
        return {}
    words = [line.split() for line in lines if line.endswith(" kB")]
    return {one[0].rstrip(":"): int(one[1]) << 10 for one in words}
