"""Processes as /proc shows them: who descends from whom, and what memory is a process's own."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import time
from pathlib import Path

PR_SET_CHILD_SUBREAPER = 36


def adopt_orphans() -> None:
    """From now on descendants whose parents are gone become children of this process, and so can be found."""
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")


def descendants(root: int) -> dict[int, str]:
    """All living processes below ``root``, with their names."""
    parents: dict[int, tuple[int, str]] = {}
    for entry in os.listdir("/proc"):
        if not entry.isdecimal():
            continue
        with contextlib.suppress(OSError):
            stat = Path(f"/proc/{entry}/stat").read_text()
            name, rest = stat[stat.index("(") + 1 : stat.rindex(")")], stat[stat.rindex(")") + 2 :].split()
            if rest[0] != "Z":
                parents[int(entry)] = (int(rest[1]), name)
    found: dict[int, str] = {}
    for pid in parents:
        above, seen = pid, set()
        while above in parents and above not in seen and above != root:
            seen.add(above)
            above = parents[above][0]
        if above == root and pid != root:
            found[pid] = parents[pid][1]
    return found


def end_descendants(patience_s: float) -> dict[int, str]:
    """Kill whatever still lives below this process after ``patience_s``; gives those that had to be killed."""
    limit = time.monotonic() + patience_s
    while descendants(os.getpid()) and time.monotonic() < limit:
        _reap()
        time.sleep(0.02)
    killed: dict[int, str] = {}
    limit = time.monotonic() + 10
    while (left := descendants(os.getpid())) and time.monotonic() < limit:
        killed |= left
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        _reap()
        time.sleep(0.02)
    _reap()
    return killed


def _reap() -> None:
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def private_mib(pid: int) -> float:
    """Private_* of /proc/PID/smaps_rollup, in MiB."""
    kib = 0
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Private_"):
            kib += int(line.split()[1])
    return kib / 1024
