"""The fixtures, which pytest finds by itself wherever layby is installed.

It is loaded into every session of pytest, so it imports nothing but pytest: the rest comes with the first fixture that
is asked for.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from runtime.testing.server import Server, Servers
    from runtime.testing.simulated import Simulations


@pytest.fixture
def layby_server() -> Iterator[Servers[Server]]:
    """Start servers: ``layby_server(script)`` gives one that answers. They are stopped when the test is over.

    See `runtime.testing.server.Servers` for the arguments and `runtime.testing.server.Server` for what comes.
    """
    from runtime.testing.server import Server, servers

    with servers(Server) as starting:
        yield starting


@pytest.fixture(scope="module")
def layby_shared_server() -> Iterator[Servers[Server]]:
    """As `layby_server`, for servers that all tests of a file share; also for those that Hypothesis runs many times."""
    from runtime.testing.server import Server, servers

    with servers(Server) as starting:
        yield starting


@pytest.fixture(scope="session")
def layby_sim() -> Iterator[Simulations]:
    """Run scripts in the simulated machine: ``layby_sim(script)`` begins a run.

    See `runtime.testing.simulated.Simulations` for the arguments and `Simulation` there for what comes.
    """
    from runtime.testing.simulated import Simulations

    simulations = Simulations()
    yield simulations
    simulations.close()
