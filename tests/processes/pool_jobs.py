"""What the pools of these tests run: a module of handlers as a user would write it."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

from workers import cancelled, job, job_id, progress, remaining_s


class Odd(Exception):
    """An exception of one's own."""


class Awkward(Exception):
    """One that cannot be unpickled: its arguments are not those of its ``__init__``."""

    def __init__(self, first: int, second: int) -> None:
        super().__init__(f"{first} and {second}")


def add(a, b=1):
    return a + b


def square(x):
    return x * x


def echo(value):
    return value


def nothing() -> None:
    pass


def boom(kind: str, *args) -> None:
    raise {"KeyError": KeyError, "Odd": Odd, "Awkward": Awkward, "FileNotFoundError": FileNotFoundError}[kind](*args)


def missing(path: str) -> None:
    Path(path).read_bytes()


def nap(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


def busy(seconds: float) -> str:
    """Goes on until somebody stops it, and says in a file how it ended."""
    ends_at = time.monotonic() + seconds
    while time.monotonic() < ends_at and not cancelled():
        time.sleep(0.001)
    return "cancelled" if cancelled() else "ended"


def busy_into(path: str, seconds: float) -> None:
    """As `busy`, with the end written down where nobody waits for it any more."""
    Path(path).write_text("begun")
    Path(path).write_text(busy(seconds))


async def later(seconds: float) -> float:
    await asyncio.sleep(seconds)
    return seconds


async def later_boom() -> None:
    await asyncio.sleep(0)
    raise Odd("later")


def steps(count: int) -> int:
    for step in range(count):
        progress((step + 1) / count, f"step {step + 1}")
        time.sleep(0.02)
    return count


def deadline() -> float:
    return remaining_s()


def my_id() -> str | None:
    return job_id()


def pid() -> int:
    return os.getpid()


def ppid() -> int:
    return os.getppid()


def give_set() -> set[int]:
    return {1}


def inverse(number):
    return 1 / number


def die() -> None:
    os.kill(os.getpid(), 9)


@job(idempotent=True)
def die_once(path: str) -> str:
    """Kills its worker the first time."""
    mark = Path(path)
    if not mark.exists():
        mark.write_text("died")
        os.kill(os.getpid(), 9)
    return "second time"


def ping(host: str, timeout_s: float) -> list[object]:
    return [host, timeout_s]


@job(timeout_s=0.05)
def impatient() -> None:
    time.sleep(0.5)


_greeting = "none"


def greet(greeting: str) -> None:
    """The initialiser."""
    global _greeting
    _greeting = greeting


def greeting() -> str:
    return _greeting


def greet_badly() -> None:
    """An initialiser that raises."""
    raise Odd("no database")


def hoard(mebibytes: int, seconds: float) -> int:
    """Take memory, and keep it for a while."""
    kept = bytearray(mebibytes * 2**20)
    kept[:: os.sysconf("SC_PAGE_SIZE")] = b"x" * len(kept[:: os.sysconf("SC_PAGE_SIZE")])
    time.sleep(seconds)
    return len(kept)
