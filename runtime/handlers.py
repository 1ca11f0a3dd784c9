"""What the processes of a server run for each other, by import path (`runtime.roles`).

The functions act for the process that they are called in: it says so once with `enter()`, after its fork.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any, Final

import msgpack

from workers.stimuli import JobView
from workers.worker import Running

if TYPE_CHECKING:
    from runtime.process import Process

MAX_LISTED: Final = 20_000
"""Jobs of one process in one answer, the oldest first: what fits one message of the pool."""

_process: Process


def enter(process: Process) -> None:
    """From now on this is the process in which the handlers are called."""
    global _process
    _process = process


def run_command(payload: bytes, running: Running) -> bytes | Awaitable[bytes]:
    """Run a packed MI call (`mi_script.execute.pack_call`); gives the packed answer."""
    return _process.execute(payload, running)


def list_jobs(payload: bytes, running: Running) -> bytes:
    """The jobs of this process that have no outcome yet, as a msgpack list of `job_list`'s rows."""
    return _packed([_row(view) for view in _process.node.jobs()[:MAX_LISTED]])


def cancel_job(payload: bytes, running: Running) -> bytes:
    """Cancel a job of this process: ``[serial, reason]`` as msgpack; gives whether there was one."""
    serial, reason = msgpack.unpackb(payload)
    found = [view.id for view in _process.node.jobs() if view.id.serial == serial]
    return _packed(any(_process.node.cancel(job, reason) for job in found))


def reload(payload: bytes, running: Running) -> bytes:
    """Take over the script that was published last; gives the generation that this process has then."""
    return _packed(_process.catch_up())


def stands_still(payload: bytes, running: Running) -> bytes:
    """For how many seconds this process has served no traffic, because a route of it waits for a command; 0 if none."""
    return _packed(_process.still_s())


def answer_question(payload: bytes, running: Running) -> bytes:
    """Answer what another process asks: ``[topic, body]`` as msgpack, see `Process.questions`."""
    topic, body = msgpack.unpackb(payload)
    return _process.questions[topic](body)


def _row(view: JobView) -> dict[str, Any]:
    return {
        "id": str(view.id),
        "command": view.label,
        "state": view.state,
        "worker": str(view.worker) if view.worker else None,
        "age_ms": round(view.age_s * 1000),
        "remaining_ms": round(view.remaining_s * 1000),
        "asked_by": view.id.origin.name,
    }


def _packed(value: Any) -> bytes:
    return bytes(msgpack.packb(value))
