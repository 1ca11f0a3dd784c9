"""Waiting for descriptors: looking for a moment before sleeping, since waking up takes longer than a small job does."""

from __future__ import annotations

import os
import select
import time

TAKEN_S = 30e-6
"""Giving way took so long: somebody else wants this processor, and looking on would only keep it from them."""


def wait(poller: select.poll, timeout_s: float | None, spin_s: float) -> list[tuple[int, int]]:
    """Wait as ``poller.poll`` does.

    Args:
        poller: what to wait with.
        timeout_s: how long, in seconds; None for ever.
        spin_s: how long to look before sleeping, in seconds.
    """
    events = poller.poll(0)
    if events or timeout_s == 0.0:
        return events
    began_at = now = time.monotonic()
    while now - began_at < spin_s:
        asked_at = now
        os.sched_yield()
        events = poller.poll(0)
        if events:
            return events
        now = time.monotonic()
        if now - asked_at > TAKEN_S:
            break
    if timeout_s is None:
        return poller.poll()
    return poller.poll(max(0.0, timeout_s - (now - began_at)) * 1000)
