"""What a handler may ask and tell while it runs: progress, its deadline, and whether anybody still waits.

All of it also works outside a job, where nobody waits and nothing is cancelled, so a handler can be called and tested
as the plain function that it is.
"""

from __future__ import annotations

import math
import time

from workers.worker import current

NO_LIMIT_S = 10 * 365 * 86_400.0
"""A job without a deadline has one that is so far away, in seconds."""


def progress(fraction: float, text: str = "") -> None:
    """Tell whoever submitted the job how far it is. Cheap enough for an inner loop: what comes too often is left out.

    Args:
        fraction: from 0.0 to 1.0.
        text: a few words on what is being done.

    Example::

        def convert(rows: int) -> int:
            for row in range(rows):
                progress(row / rows, f"row {row}")
            return rows
    """
    running = current.get(None)
    if running is not None:
        running.progress(fraction, text)


def cancelled() -> bool:
    """Whether nobody waits for this job any more: it was cancelled, or its deadline has passed.

    Example::

        while not cancelled() and (block := source.read(65536)):
            target.write(block)
    """
    running = current.get(None)
    return running is not None and running.cancelled()


def remaining_s() -> float:
    """Seconds until this job's deadline, negative once it has passed; ``math.inf`` where it has none.

    Example::

        answer = requests.get(url, timeout=min(5.0, remaining_s()))
    """
    running = current.get(None)
    if running is None:
        return math.inf
    left_s = running.remaining_s(time.monotonic())
    return left_s if left_s < NO_LIMIT_S / 2 else math.inf


def job_id() -> str | None:
    """The name of this job, e.g. ``guest-1.1.17``, as `JobHandle.id` gives it where it was submitted; None outside.

    Example::

        log.info("job %s: %s", job_id(), path)
    """
    running = current.get(None)
    return None if running is None else str(running.job.id)
