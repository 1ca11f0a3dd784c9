"""Generations between processes: what one loads all find, and nothing of the old is left."""

from __future__ import annotations

import os
import signal
import socket
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgpack
import pytest

from runtime.db import Database
from runtime.drouting.generation import View
from runtime.drouting.generations import Generations
from runtime.drouting.partitions import DEFAULT, Partition
from runtime.drouting.routing import Routing, Setup
from runtime.drouting.rules import State
from runtime.drouting.states import States
from runtime.store import Store
from tests.runtime.drouting.tables import Rows


class Forked:
    """Another process: it does what it is told, and says what came of it."""

    def __init__(self, folder: Path, setup: Setup, *, serve: Callable[[Forked], None]) -> None:
        self.link, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.pid = os.fork()
        if self.pid:
            theirs.close()
            self.link.settimeout(10)
            return
        try:
            self.link.close()
            self.link, self.setup = theirs, setup
            self.store = Store(folder / "store")
            self.routing = Routing(setup, self.store)
            serve(self)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(0)

    def ask(self, *what: Any) -> Any:
        self.link.send(msgpack.packb(what))
        return self.hear()

    def hear(self) -> Any:
        return msgpack.unpackb(self.link.recv(65536))

    def say(self, what: Any) -> None:
        self.link.send(msgpack.packb(what))

    def end(self, how: int = signal.SIGKILL) -> None:
        if self.pid:
            os.kill(self.pid, how)
            os.waitpid(self.pid, 0)
            self.pid = 0
        self.link.close()


def serve_questions(me: Forked) -> None:
    kept: list[View | None] = []
    while True:
        match me.hear():
            case ["find", number]:
                me.say([match.rule.attrs for match in me.routing.find(DEFAULT, 0, number, 0.0)])
            case ["state", id]:
                view = me.routing.view(DEFAULT)
                me.say(None if view is None else int(me.routing.state(DEFAULT, view.gateways[id])))
            case ["set", id, state]:
                view = me.routing.view(DEFAULT)
                assert view is not None
                me.say(int(me.routing.set_state(DEFAULT, view.gateways[id], State(state))))
            case ["keep"]:
                kept.append(me.routing.view(DEFAULT))
                me.say(len(kept))
            case ["catch up"]:
                me.say(me.routing.catch_up())
            case ["maps"]:
                me.say(maps())


def maps() -> list[str]:
    """The generations that this process has in its memory."""
    found = Path("/proc/self/maps").read_text().split()
    return [part for part in found if part.endswith("data.mdb") and "/drouting/" in part]


def stop_in_the_middle(me: Forked) -> None:
    with Generations(me.setup.folder, me.store, States(me.store), me.setup.flips).building() as build:
        build.builder.put_facts([], [])
        me.say(build.number)
        me.hear()


@pytest.fixture
def setup(tmp_path: Path) -> Setup:
    return Setup(tmp_path / "drouting", [Partition(DEFAULT, Database(f"sqlite:{tmp_path}/rules.db"))])


@pytest.fixture
def fork(tmp_path: Path, setup: Setup) -> Iterator[Callable[..., Forked]]:
    """Forks processes, as long as this one has not opened anything."""
    there: list[Forked] = []

    def start(serve: Callable[[Forked], None] = serve_questions) -> Forked:
        there.append(Forked(tmp_path, setup, serve=serve))
        return there[-1]

    yield start
    for one in there:
        one.end()


@pytest.fixture
def here(tmp_path: Path, setup: Setup) -> Iterator[Callable[[], Routing]]:
    """Opens this process's own."""
    stores: list[Store] = []

    def start() -> Routing:
        stores.append(Store(tmp_path / "store"))
        return Routing(setup, stores[-1])

    yield start
    for store in stores:
        store.close()
    setup.partitions[0].database.close()


def rows_of(setup: Setup, attrs: str) -> Rows:
    rows = Rows(setup.partitions[0].database)
    rows.clear("gateways", "rules")
    rows.gateways("gw1", "gw2")
    rows.rule("49", attrs=attrs)
    return rows


def generations(setup: Setup) -> list[str]:
    return sorted(path.name for path in setup.folder.iterdir())


def test_what_one_process_loads_all_find(fork, here, setup: Setup) -> None:
    reader, idle = fork(), fork()
    routing = here()
    assert reader.ask("find", "4930") == []
    for turn in ("one", "two", "three"):
        rows_of(setup, turn)
        routing.reload(DEFAULT, inherit_state=False)
        assert reader.ask("find", "4930") == [turn]
    assert idle.ask("find", "4930") == ["three"]
    assert generations(setup) == ["3"]


def test_the_memory_of_the_old_comes_back_also_where_nobody_looks_anything_up(fork, here, setup: Setup) -> None:
    reader = fork()
    routing = here()
    rows_of(setup, "one")
    routing.reload(DEFAULT, inherit_state=False)
    assert reader.ask("find", "49") == ["one"]
    (mapped,) = reader.ask("maps")
    assert reader.ask("keep") == 1  # as one does who has made something of its gateways
    routing.reload(DEFAULT, inherit_state=False)
    assert not Path(mapped).exists()
    reader.ask("catch up")
    assert reader.ask("maps") == []
    assert reader.ask("find", "49") == ["one"]


def test_who_looks_something_up_meanwhile_comes_to_its_end(here, setup: Setup) -> None:
    rows_of(setup, "49").rule("4", attrs="4")
    routing = here()
    routing.reload(DEFAULT, inherit_state=False)
    looking, view = routing.find(DEFAULT, 0, "49", 0.0), routing.view(DEFAULT)
    assert view is not None
    assert next(looking).rule.attrs == "49"
    routing.reload(DEFAULT, inherit_state=False)
    assert [match.rule.attrs for match in looking] == ["4"]
    assert (list(view.find(0, "49", 0.0)), view.group_of("alice", "")) == ([], None)
    assert sorted(view.gateways) == ["gw1", "gw2"]
    del looking
    assert len(maps()) == 1


def test_who_loads_before_the_forks_takes_nothing_along(here, setup: Setup) -> None:
    rows_of(setup, "one")
    routing = here()
    routing.reload(DEFAULT, inherit_state=False)
    routing.reload(DEFAULT, inherit_state=True)
    assert len(maps()) == 1
    del routing
    assert maps() == []


def test_states_are_the_same_for_all(fork, here, setup: Setup) -> None:
    one, other = fork(), fork()
    rows_of(setup, "one")
    routing = here()
    routing.reload(DEFAULT, inherit_state=False)
    assert (one.ask("set", "gw1", 2), other.ask("state", "gw1"), other.ask("set", "gw1", 1)) == (0, 2, 2)
    routing.reload(DEFAULT, inherit_state=True)
    assert [one.ask("state", id) for id in ("gw1", "gw2")] == [1, 0]
    routing.reload(DEFAULT, inherit_state=False)
    assert [other.ask("state", id) for id in ("gw1", "gw2")] == [0, 0]


def test_who_is_killed_while_it_loads_leaves_the_old_and_nothing_for_long(fork, here, setup: Setup) -> None:
    builder = fork(stop_in_the_middle)
    assert builder.hear() == 1
    routing = here()
    rows_of(setup, "one")
    routing.reload(DEFAULT, inherit_state=False)
    assert generations(setup) == ["1", "2"]  # whoever builds is left alone
    builder.end()
    assert [match.rule.attrs for match in routing.find(DEFAULT, 0, "49", 0.0)] == ["one"]
    routing.reload(DEFAULT, inherit_state=False)
    assert generations(setup) == ["3"]


def test_a_change_that_nobody_was_told_of_is_seen_when_somebody_dies(fork, here, setup: Setup) -> None:
    reader = fork()
    rows_of(setup, "one")
    routing = here()
    routing.reload(DEFAULT, inherit_state=False)
    assert reader.ask("find", "49") == ["one"]
    before = setup.flips[:8]
    rows_of(setup, "two")
    routing.reload(DEFAULT, inherit_state=False)
    setup.flips[:8] = before  # as if it had been killed between the two
    assert reader.ask("find", "49") == ["one"]
    reader.ask("catch up")
    assert reader.ask("find", "49") == ["two"]


def test_of_two_loads_at_once_the_one_that_began_later_holds(tmp_path: Path, setup: Setup) -> None:
    store = Store(tmp_path / "store")
    one = Generations(setup.folder, store, States(store), setup.flips)
    with one.building() as earlier, one.building() as later:
        for build in (later, earlier):
            build.builder.put_facts([], [])
            build.builder.finish()
        assert one.take(DEFAULT, later, 0.0, inherit_state=False)
        assert not one.take(DEFAULT, earlier, 0.0, inherit_state=False)
    view = one.view(DEFAULT)
    assert view is not None
    assert view.number == later.number
    assert generations(setup) == [str(later.number)]
    store.close()
