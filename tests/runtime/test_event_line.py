"""The connection to one subscriber, on a real socket."""

from __future__ import annotations

import asyncio
import logging
import socket

import pytest

from runtime.clock import monotonic_now
from runtime.event_line import Line
from runtime.streaming import Item, Terms

EVENTS = 2000


def test_a_subscriber_that_goes_in_the_middle_of_many_events_costs_those_on_their_way_and_no_others(
    caplog: pytest.LogCaptureFixture,
) -> None:
    ended: list[bool] = []
    heard = 0

    async def scene() -> None:
        nonlocal heard
        loop = asyncio.get_running_loop()
        with socket.create_server(("127.0.0.1", 0)) as listening:
            listening.setblocking(False)
            line = Line(loop, "127.0.0.1", listening.getsockname()[1], Terms())
            for serial in range(EVENTS):
                line.offer(Item(b"%06d" % serial, monotonic_now(), serial, True, ended.append))
            gone, _ = await asyncio.wait_for(loop.sock_accept(listening), 5)
            await loop.sock_recv(gone, 6)
            gone.shutdown(socket.SHUT_WR)  # so that it is not met by a write, but told between two
            back, _ = await asyncio.wait_for(loop.sock_accept(listening), 5)
            while line.pending():
                heard += len(await asyncio.wait_for(loop.sock_recv(back, 65_536), 5))
            line.close()
            back.close()
            gone.close()

    asyncio.run(scene())
    assert len(ended) == EVENTS
    assert heard > 0
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []
