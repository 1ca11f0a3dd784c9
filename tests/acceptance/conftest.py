"""Fixtures of the acceptance tests: a proxy between programs that others wrote, and two phones."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.acceptance.proxies import WITH_KAMAILIO, Kamailio, Proxy, layby_proxy
from tests.harness import Server
from tests.sip_peer import Peer


@pytest.fixture
def start_proxy(start_server: Callable[..., Server], tmp: Path) -> Iterator[Callable[..., Proxy]]:
    """Start the proxy under test: `start_proxy(routes, modules=("rr",))` gives one that answers."""
    kamailios: list[Kamailio] = []

    def start(routes: str, modules: tuple[str, ...] = ()) -> Proxy:
        if not WITH_KAMAILIO:
            return layby_proxy(start_server, modules, routes)
        kamailios.append(Kamailio(tmp, modules, routes))
        return Proxy(kamailios[-1].port, None)

    yield start
    for one in kamailios:
        one.stop()


@pytest.fixture
def phones(server: Server) -> Iterator[tuple[Peer, Peer]]:
    """A caller and a callee of the file's `server`."""
    made = Peer(server.sip_port), Peer(server.sip_port)
    yield made
    for one in made:
        one.close()
