"""The two clocks: one for people and databases, one for everything that waits."""

from __future__ import annotations

import time
from typing import Final


def epoch_now() -> float:
    """Seconds of the epoch. It may jump; nothing waits by it."""
    return time.time()


monotonic_now: Final = time.monotonic
"""Seconds of CLOCK_MONOTONIC, which all processes of the machine share. It is the very function, since every message
asks for it several times, and one of our own around it takes as long again."""
