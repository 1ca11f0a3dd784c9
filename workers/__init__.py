"""The pool engine: jobs, dispatch, suspension, supervision. It knows no MI and no SIP.

What other programs use of it is here; `docs/embedding.md` shows how. Each name is loaded when it is first asked for, so
that who imports one part of the engine does not load all of it, and a module of handlers none of it::

    from workers import WorkerPool, Client              # the pool, and joining one from another process
    from workers import job, progress, cancelled, remaining_s, job_id          # for handlers
    from workers import JobError, JobFailed, JobLost, JobTimedOut, PoolBroken  # what can be raised
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from workers.asynchronous import AsyncPool as AsyncPool
    from workers.calls import job as job
    from workers.client import Client as Client
    from workers.current import cancelled as cancelled
    from workers.current import job_id as job_id
    from workers.current import progress as progress
    from workers.current import remaining_s as remaining_s
    from workers.errors import BadHandlers as BadHandlers
    from workers.errors import JobCancelled as JobCancelled
    from workers.errors import JobError as JobError
    from workers.errors import JobFailed as JobFailed
    from workers.errors import JobLost as JobLost
    from workers.errors import JobRejected as JobRejected
    from workers.errors import JobTimedOut as JobTimedOut
    from workers.errors import NoSuchJob as NoSuchJob
    from workers.errors import NotEncodable as NotEncodable
    from workers.errors import NotImportable as NotImportable
    from workers.errors import PoolBroken as PoolBroken
    from workers.errors import PoolError as PoolError
    from workers.errors import RemoteTraceback as RemoteTraceback
    from workers.errors import WrongProcess as WrongProcess
    from workers.executor import PoolExecutor as PoolExecutor
    from workers.futures import JobFuture as JobFuture
    from workers.handles import JobHandle as JobHandle
    from workers.jobs import Cancelled as Cancelled
    from workers.jobs import Failed as Failed
    from workers.jobs import JobId as JobId
    from workers.jobs import Outcome as Outcome
    from workers.jobs import Peer as Peer
    from workers.jobs import Rejected as Rejected
    from workers.jobs import Returned as Returned
    from workers.jobs import TimedOut as TimedOut
    from workers.jobs import WorkerLost as WorkerLost
    from workers.plain import PlainPool as PlainPool
    from workers.policy import Limits as Limits
    from workers.policy import Policy as Policy
    from workers.pool import WorkerPool as WorkerPool
    from workers.stats import PoolStats as PoolStats
    from workers.stats import WorkerStats as WorkerStats
    from workers.sync import SyncPool as SyncPool

_WHERE = {
    "asynchronous": ["AsyncPool"],
    "calls": ["job"],
    "client": ["Client"],
    "current": ["cancelled", "job_id", "progress", "remaining_s"],
    "errors": [
        "BadHandlers",
        "JobCancelled",
        "JobError",
        "JobFailed",
        "JobLost",
        "JobRejected",
        "JobTimedOut",
        "NoSuchJob",
        "NotEncodable",
        "NotImportable",
        "PoolBroken",
        "PoolError",
        "RemoteTraceback",
        "WrongProcess",
    ],
    "executor": ["PoolExecutor"],
    "futures": ["JobFuture"],
    "handles": ["JobHandle"],
    "jobs": ["Cancelled", "Failed", "JobId", "Outcome", "Peer", "Rejected", "Returned", "TimedOut", "WorkerLost"],
    "plain": ["PlainPool"],
    "policy": ["Limits", "Policy"],
    "pool": ["WorkerPool"],
    "stats": ["PoolStats", "WorkerStats"],
    "sync": ["SyncPool"],
}
_MODULE_OF = {name: module for module, names in _WHERE.items() for name in names}

__all__ = sorted(_MODULE_OF)


def __getattr__(name: str) -> Any:
    module = _MODULE_OF.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"{__name__}.{module}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
