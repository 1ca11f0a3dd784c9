"""What the processes of a server run for each other, by import path (`runtime.roles`).

The functions act for the process that they are called in: it says so once with `enter()`, after its fork.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any

import msgpack

from workers.worker import Running

if TYPE_CHECKING:
    from runtime.process import Process

_process: Process


def enter(process: Process) -> None:
    """From now on this is the process in which the handlers are called."""
    global _process
    _process = process


def run_command(payload: bytes, running: Running) -> bytes | Awaitable[bytes]:
    """Run a packed MI call (`mi_script.execute.pack_call`); gives the packed answer."""
    return _process.execute(payload, running)


def reload(payload: bytes, running: Running) -> bytes:
    """Take over the script that was published last; gives the generation that this process has then."""
    return _packed(_process.catch_up())


def answer_question(payload: bytes, running: Running) -> bytes:
    """Answer what another process asks: ``[topic, body]`` as msgpack, see `Process.questions`."""
    topic, body = msgpack.unpackb(payload)
    return _process.questions[topic](body)


def _packed(value: Any) -> bytes:
    return bytes(msgpack.packb(value))
