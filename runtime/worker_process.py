"""A job worker: it runs MI commands and nothing else."""

from __future__ import annotations

import gc
from collections.abc import Awaitable
from functools import partial

from runtime.background import in_background
from runtime.process import Process
from workers.worker import Running


class WorkerProcess(Process):
    """All that a worker does is what every process does; it only has no traffic of its own.

    A command that says of itself that it is slow, such as a reload, keeps a CPU busy for seconds: calls go first.
    """

    def open(self) -> None:
        self.leave_traffic()
        # Else a collection looks at all that was loaded, 6 ms long, while a command may hold the lock of a store.
        gc.freeze()

    def execute(self, payload: bytes, running: Running) -> bytes | Awaitable[bytes]:
        """Run an MI command as a job, a slow one in the background."""
        found = self.house.registry.find(running.job.kind.label)
        run = partial(super().execute, payload, running)
        if found is None or found.cost != "slow" or found.later:
            return run()
        return in_background(run)
