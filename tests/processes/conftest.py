"""What tests of whole servers share."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.harness import Server
from tests.processes.accounts import HEAD, ROUTES, WORKERS, Accounts, calling
from tests.processes.dialog_calls import Call
from tests.processes.faults import Faults
from tests.sip_peer import Peer


@pytest.fixture
def peers(server: Server) -> Iterator[tuple[Peer, Peer, Peer]]:
    """A caller and two that may be called, through the `server` of the file."""
    made = Peer(server.sip_port), Peer(server.sip_port), Peer(server.sip_port)
    yield made
    for peer in made:
        peer.close()


@pytest.fixture(scope="module")
def accounts(start_shared: Callable[..., Server], tmp_path_factory: pytest.TempPathFactory) -> Accounts:
    """A server that accounts calls, and the database that it does so in."""
    path = tmp_path_factory.mktemp("acc") / "calls.db"
    return Accounts(start_shared(ROUTES, head=HEAD % path, options=WORKERS), path)


@pytest.fixture
def call(accounts: Accounts) -> Iterator[Call]:
    """A call through the server of `accounts`."""
    with calling(accounts.server) as one:
        yield one


@pytest.fixture(scope="module")
def faults(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Faults]:
    """The orders that all servers of the file heed which are started after this."""
    made = Faults(tmp_path_factory.mktemp("faults"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(*made.variable)
        yield made


@pytest.fixture(autouse=True)
def no_order_is_left(request: pytest.FixtureRequest) -> Iterator[None]:
    """Nobody follows in one test what another has ordered, and to whose step nobody came."""
    yield
    if "faults" in request.fixturenames:
        request.getfixturevalue("faults").withdraw()
