"""How a node lives in a loop: what goes before what."""

from __future__ import annotations

import asyncio
import socket
import time
from contextlib import closing

from workers.attachment import Attachment
from workers.node import AT_ONCE


def test_after_a_slow_job_what_came_meanwhile_goes_before_the_next_one() -> None:
    done: list[str] = []

    def turn(now: float) -> None:
        done.append("turn")
        if len(done) == 1:
            says.send(b"the server ends")
            time.sleep(0.003)

    def heard() -> None:
        done.append("heard")
        loop.remove_reader(hears)

    (never, inbox), (says, hears) = socket.socketpair(), socket.socketpair()
    with never, inbox, says, hears, closing(asyncio.SelectorEventLoop()) as loop:
        loop.add_reader(hears, heard)
        node = Attachment(inbox.fileno(), turn, turn, lambda: AT_ONCE if done.count("turn") < 2 else None)
        node.attach(loop)
        loop.run_until_complete(asyncio.wait_for(_until(lambda: "heard" in done and done.count("turn") == 2), 10))
        node.detach()
    assert done == ["turn", "heard", "turn"]


async def _until(holds) -> None:
    while not holds():
        await asyncio.sleep(0)
