"""A job worker: it runs MI commands and nothing else."""

from __future__ import annotations

from runtime.process import Process


class WorkerProcess(Process):
    """All that a worker does is what every process does; it only has no traffic of its own."""

    def open(self) -> None:
        self.leave_traffic()
