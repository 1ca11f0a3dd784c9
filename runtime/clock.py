"""The two clocks: one for people and databases, one for everything that waits."""

from __future__ import annotations

import time


def epoch_now() -> float:
    """Seconds of the epoch. It may jump; nothing waits by it."""
    return time.time()


def monotonic_now() -> float:
    """Seconds of CLOCK_MONOTONIC, which all processes of the machine share."""
    return time.monotonic()
