"""Fixtures for black-box tests."""

from __future__ import annotations

import gc
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings

from runtime.testing.server import Servers, servers
from tests.harness import HEAD, PYTHON_HEAD, Server
from tests.postgres import database_url, postgres

__all__ = ["database_url", "postgres"]

# For `make mutants`: what fails need not be made small, and the same change gets the same examples.
# A machine that has other things to do draws slowly, and that is no fault of what is drawn.
settings.register_profile("usual", suppress_health_check=[HealthCheck.too_slow], deadline=None)
settings.load_profile("usual")
settings.register_profile("mutants", phases=[Phase.explicit, Phase.generate], derandomize=True, database=None)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What is noticed by a property of its own need not wait for a whole state machine."""
    if config.getoption("--hypothesis-profile") == "mutants":
        items.sort(key=lambda item: "_machine" in item.path.name)


def pytest_runtest_teardown() -> None:
    """A process that a test had in this one has turned its collector off: what later tests let go of has to go."""
    if not gc.isenabled():
        gc.unfreeze()
        gc.enable()


@pytest.fixture
def tmp() -> Iterator[Path]:
    """A short temporary folder: the path of a Unix socket must fit 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="layby") as folder:
        yield Path(folder)


@pytest.fixture
def start_server(tmp: Path) -> Iterator[Callable[..., Server]]:
    """Start servers: `start_server(routes, head="", options=[...])` gives one that answers MI.

    With `python=True` the routes are those of a script in Python.
    """
    starting = Servers(tmp, Server)
    yield behind_head(starting)
    starting.close()


@pytest.fixture(scope="module")
def start_shared() -> Iterator[Callable[..., Server]]:
    """As `start_server`, for servers that all tests of a file share."""
    with servers(Server) as starting:
        yield behind_head(starting)


def behind_head(starting: Servers[Server]) -> Callable[..., Server]:
    def start(
        routes: str, *, head: str = "", options: tuple[str, ...] = (), ready: bool = True, python: bool = False
    ) -> Server:
        if "--mi-workers" in options and "--mi-workers-max" not in options:
            # What a test says of its workers is meant to the letter.
            options = (*options, "--mi-workers-max", options[options.index("--mi-workers") + 1])
        text = (PYTHON_HEAD if python else HEAD) + head + routes
        return starting(text, options=options, language="py" if python else "cfg", ready=ready)

    return start
