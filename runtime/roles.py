"""The kinds of processes, and what one may ask directly of another."""

from __future__ import annotations

from typing import Final

SIP: Final = "sip"
WORKER: Final = "worker"
MI: Final = "mi"

TITLES: Final = {SIP: "SIP receiver", WORKER: "MI worker", MI: "MI"}
"""What `ps` calls each kind of process."""

JOBS: Final = "runtime:jobs"
CANCEL: Final = "runtime:cancel"
RELOAD: Final = "runtime:reload"
"""Calls that one process directs at another, beside the jobs that go to whichever is least loaded."""


def role_of(name: str) -> str:
    """The kind of a process by its name, e.g. ``sip-2``."""
    return name.rpartition("-")[0]
