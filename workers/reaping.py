"""How a child's death is noticed, and what it died of."""

from __future__ import annotations

import errno
import os
import signal

from workers.tree_events import ExitCode, Exited, Signalled, Status


def open_pidfd(pid: int) -> int | None:
    """A descriptor that is readable once the child `pid` is dead; None where the system has no such thing.

    Raises:
        OSError: there is no descriptor left. The child is killed and reaped: one that cannot be watched must not live.
    """
    if not hasattr(os, "pidfd_open"):
        return None
    try:
        return os.pidfd_open(pid)
    except OSError as problem:
        if problem.errno in {errno.ENOSYS, errno.EPERM}:  # an old kernel, or a sandbox that forbids it
            return None
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        raise


def is_dead(pid: int) -> bool:
    """Whether the child `pid` is dead, without reaping it."""
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return True


def reap(pid: int) -> Status:
    """Let the dead child `pid` go, and say how it ended."""
    try:
        _, raw = os.waitpid(pid, 0)  # does not wait: it is dead, or was sent SIGKILL
    except ChildProcessError:  # somebody else in this process reaped it; how it ended is lost
        return Exited(ExitCode.CRASHED)
    code = os.waitstatus_to_exitcode(raw)
    return Exited(code) if code >= 0 else Signalled(-code, _signal_name(-code))


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal
        return f"signal {number}"
