"""The handlers of thumbnails.py. Workers import this module; nothing in it knows that it is run by a pool."""

import asyncio
import time

from workers import cancelled, job, progress


@job(idempotent=True)
def thumbnail(pixels: bytes, width: int, factor: int) -> bytes:
    """Shrink a grey image by a factor, row by row."""
    rows = [pixels[start : start + width] for start in range(0, len(pixels), width)]
    small = []
    for number, row in enumerate(rows[::factor], 1):
        if cancelled():  # nobody waits any more: past its deadline, or the client went away
            break
        small.append(row[::factor])
        progress(number * factor / len(rows), f"row {number * factor}")
    return b"".join(small)


async def fetch(name: str) -> bytes:
    """Pretend to fetch an image. Workers run other jobs while this one waits."""
    await asyncio.sleep(0.01)
    if not name.endswith(".grey"):
        raise FileNotFoundError(2, "No such image", name)
    return bytes(range(100)) * 100


def spin() -> None:
    """What should never have been asked for."""
    while True:
        pass


def watch(seconds: float) -> None:
    """Go on for a while, but not for nobody."""
    ends_at = time.monotonic() + seconds
    while time.monotonic() < ends_at and not cancelled():
        time.sleep(0.01)
