"""What tests of whole servers share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.harness import Server
from tests.sip_peer import Peer


@pytest.fixture
def peers(server: Server) -> Iterator[tuple[Peer, Peer, Peer]]:
    """A caller and two that may be called, through the `server` of the file."""
    made = Peer(server.sip_port), Peer(server.sip_port), Peer(server.sip_port)
    yield made
    for peer in made:
        peer.close()
