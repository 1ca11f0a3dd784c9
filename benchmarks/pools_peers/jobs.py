"""What the workers run: four tiny jobs of one argument each, the same for every peer."""

from __future__ import annotations

import os
import time

SLOW_S = 0.050
MARKED_S = 0.020
PID_S = 0.050


def echo(n: int) -> int:
    """Give back the argument."""
    return n


def slow(n: int) -> int:
    """Give it back after 50 ms in which the worker is blocked."""
    time.sleep(SLOW_S)
    return n


def mark(what: list[object]) -> object:
    """Append the job's number to a file when it starts, give it back after 20 ms. ``what``: the path, the number."""
    path, n = what
    fd = os.open(str(path), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.write(fd, f"{n}\n".encode())  # one write in append mode: two workers never mix
    os.close(fd)
    time.sleep(MARKED_S)
    return n


def mark_again(what: list[object]) -> object:
    """`mark`, by another name, for who declares a job idempotent by its name."""
    return mark(what)


def pid(n: int) -> int:
    """Which process this is; long enough that two at once are in two workers."""
    time.sleep(PID_S)
    return os.getpid()


async def echo_async(n: int) -> int:
    return n


async def slow_async(n: int) -> int:
    return slow(n)


async def mark_async(what: list[object]) -> object:
    return mark(what)


async def pid_async(n: int) -> int:
    return pid(n)
