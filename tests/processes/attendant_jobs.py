"""What the tests of a pool's process side have run, without the packing of arguments that `workers.calls` adds."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from workers.terms import PoolSettings
from workers.worker import Handler, Running

_held: list[bytes] = []
_greeting = b"nobody initialised this worker"


def initialize(greeting: str) -> None:
    global _greeting
    _greeting = greeting.encode()


def refuse(text: str) -> None:
    raise ValueError(text)


def refuse_if_there(path: str) -> None:
    if Path(path).exists():
        raise ValueError("refused")


def echo(payload: bytes, running: Running) -> bytes:
    return payload


def pid(payload: bytes, running: Running) -> bytes:
    return b"%d" % os.getpid()


def greet(payload: bytes, running: Running) -> bytes:
    return _greeting


def nap(payload: bytes, running: Running) -> bytes:
    time.sleep(float(payload))
    return b"%d" % os.getpid()


def die(payload: bytes, running: Running) -> bytes:
    os.kill(os.getpid(), signal.SIGKILL)
    return b""


def eat(payload: bytes, running: Running) -> bytes:
    """Keep so many MiB for ever."""
    _held.append(b"x" * (int(payload) * 2**20))
    return b"%d" % os.getpid()


def gorge(payload: bytes, running: Running) -> bytes:
    """Take so many MiB and sleep on them."""
    meal = b"x" * (int(payload) * 2**20)
    time.sleep(60)
    return meal[:1]


def private(payload: bytes, running: Running) -> bytes:
    """How much memory this process has for itself alone, in bytes."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return b"%d" % sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Private"))


def open_files(payload: bytes, running: Running) -> bytes:
    """What this process has open beside the three standard streams, one to a line, without numbers of sockets."""
    found = []
    for fd in os.listdir("/proc/self/fd"):
        with suppress(OSError):  # the one that lists
            found.append(os.readlink(f"/proc/self/fd/{fd}").partition(":")[0] if int(fd) > 2 else "")
    return "\n".join(sorted(filter(None, found))).encode()


async def later(payload: bytes, running: Running) -> bytes:
    import asyncio  # here, because the pools without it are to do without asyncio

    await asyncio.sleep(float(payload))
    return b"%d" % os.getpid()


PLAIN = {function.__name__: function for function in (echo, pid, greet, nap, die, eat, gorge, private, open_files)}


def load(settings: PoolSettings) -> tuple[Mapping[str, Handler], bool]:
    """A table in place of the one of `workers.calls`; a pool that names "async" gets coroutines too."""
    if "missing" in settings.handlers:
        raise ModuleNotFoundError("No module named 'missing'")
    awaits = "async" in settings.handlers
    return ({**PLAIN, "later": later} if awaits else PLAIN), awaits
