"""The jobs as layby's handlers: the same functions, and one of them declared idempotent."""

from __future__ import annotations

from pools_peers.jobs import echo, mark, mark_again, pid, slow
from workers import job

__all__ = ["echo", "mark", "mark_again", "pid", "slow"]

job(idempotent=True)(mark_again)
