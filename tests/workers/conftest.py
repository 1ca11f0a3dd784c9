"""Nodes in one process, over each transport, on plain asyncio and on uvloop."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvloop

from tests.workers.house import House, open_files
from workers.node import Node


@pytest.fixture(params=["asyncio-zmq", "uvloop-zmq", "asyncio-unix", "uvloop-unix"])
def house(request, tmp: Path) -> Iterator[House]:
    name, _, transport = request.param.partition("-")
    loop = asyncio.new_event_loop() if name == "asyncio" else uvloop.new_event_loop()
    before = open_files()
    house = House(tmp, loop, transport)
    yield house
    house.close()
    loop.run_until_complete(asyncio.sleep(0))  # cancelled handlers end
    assert list(tmp.iterdir()) == []
    assert open_files() == before
    loop.close()


@pytest.fixture
def pair(house: House) -> tuple[Node, Node]:
    return house.add("sip-1"), house.add("worker-1", executes=True)
