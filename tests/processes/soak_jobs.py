"""What the soaked pool runs, and the guest that is killed beside it (`python -m tests.processes.soak_jobs ADDRESS`)."""

from __future__ import annotations

import asyncio
import os
import sys
import time

from workers import Client, JobError, cancelled, job, progress


def note(path: str, number: int) -> None:
    """Write down that a job began; one write of a few bytes to a file that is only appended to is not torn."""
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(fd, b"%d\n" % number)
    finally:
        os.close(fd)


def tiny(path: str, number: int) -> int:
    note(path, number)
    return number


@job(idempotent=True)
def again(path: str, number: int) -> int:
    note(path, number)
    time.sleep(0.002)
    return number


def slow(path: str, number: int) -> int:
    note(path, number)
    for step in range(10):
        if cancelled():
            break
        progress(step / 10, "slow")
        time.sleep(0.005)
    return number


async def waiting(path: str, number: int) -> int:
    note(path, number)
    await asyncio.sleep(0.02)
    return number


def stuck(path: str, number: int) -> None:
    """Never ends by itself."""
    note(path, number)
    while True:
        time.sleep(1.0)


def visit(address: str) -> None:
    """Be a guest that has much under way, until it is killed or the pool is gone."""
    with Client(address, timeout_s=5.0) as pool:
        while True:
            try:
                for _ in pool.map("tiny", [[os.devnull, number] for number in range(500)], unpack=True, in_flight=50):
                    pass
            except JobError:
                continue  # a worker was killed; that is what is done here


if __name__ == "__main__":
    visit(sys.argv[1])
