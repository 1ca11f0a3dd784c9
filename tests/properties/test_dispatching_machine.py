"""Partitions as several processes see them: reloads, states and failures, with a dict to tell what must be."""

from __future__ import annotations

import contextlib
import sqlite3
import tempfile
from pathlib import Path

from hypothesis import event, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from runtime.db import Database
from runtime.dispatching.board import Board, Locks
from runtime.dispatching.destinations import Destination, Health, Key, State, Word, after
from runtime.dispatching.partition import CHANGING, RELOADING, Partition, Shared
from runtime.dispatching.partitions import PartitionSettings, partitions_of
from runtime.dispatching.tables import DispatcherTable
from runtime.status_reports import StatusReports
from runtime.store import Store

THRESHOLD = 2
PROCESSES = 3
URIS = [f"sip:192.0.2.{number}" for number in range(5)]
NAMES = ("default", "far")

names = st.sampled_from(NAMES)
processes = st.integers(0, PROCESSES - 1)
states = st.sampled_from(list(State))
tables = st.dictionaries(st.tuples(st.integers(1, 2), st.sampled_from(URIS)), states, max_size=6)


class Killed(Exception):
    """The process that reloads is killed."""


class FallibleBoard(Board):
    """A board whose user dies before the flip, where the test says so."""

    dies = False

    def flip(self, partition: int, number: int) -> None:
        if self.dies:
            raise Killed
        super().flip(partition, number)


class Dispatching(RuleBasedStateMachine):
    """Each process has partitions of its own over one store, one board and one database."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory(prefix="layby")
        path = Path(self.folder.name)
        self.store = Store(path / "store")
        self.status = StatusReports(self.store)
        self.board = FallibleBoard(PROCESSES)
        self.database = Database(f"sqlite:{path / 'sets.db'}")
        self.told: list[tuple[str, str, int]] = []
        self.locks = [Locks(path, (RELOADING, CHANGING)) for _ in range(PROCESSES)]
        stated = partitions_of({"db_url": "sqlite:x"}, ["far: table_name = far"])
        self.views = [self._view(stated, process) for process in range(PROCESSES)]
        for one in self.views[0].values():
            one.table.prepare()
        self.tables: dict[str, dict[tuple[int, str], State]] = {name: {} for name in NAMES}
        self.known: dict[str, dict[Key, Health]] = {name: {} for name in NAMES}
        self.unsaved: dict[str, set[Key]] = {name: set() for name in NAMES}

    def _view(self, stated: list[PartitionSettings], process: int) -> dict[str, Partition]:
        found = {}
        for index, one in enumerate(stated):
            table = DispatcherTable(self.database, one.table_name, {})
            partition = Partition(index, one, table, THRESHOLD, lambda _: None)
            partition.enter(Shared(self.board, self.store, self.locks[process], process, self.status, self._on_change))
            found[one.name] = partition
        return found

    def _on_change(self, partition: Partition, one: Destination, state: int, reason: str) -> None:
        self.told.append((partition.name, one.uri, state))

    @rule(name=names, rows=tables)
    def rows_change(self, name: str, rows: dict[tuple[int, str], State]) -> None:
        self.tables[name] = dict(rows)
        table = "dispatcher" if name == "default" else name
        with contextlib.closing(sqlite3.connect(Path(self.folder.name) / "sets.db")) as connection, connection:
            connection.execute(f"DELETE FROM {table}")
            connection.executemany(
                f"INSERT INTO {table} (setid, destination, state) VALUES (?, ?, ?)",
                [(set_id, uri, int(state)) for (set_id, uri), state in rows.items()],
            )

    @rule(name=names, process=processes, inherit=st.booleans())
    def reload(self, name: str, process: int, inherit: bool) -> None:
        others = [other for other in NAMES if other != name]
        assert self.views[process][name].reload(others, inherit=inherit).loaded == len(self.tables[name])
        if not inherit:
            self._saved(name)
        had = self.known[name]
        first = {(set_id, uri, ""): Health(state) for (set_id, uri), state in self.tables[name].items()}
        self.known[name] = {key: had[key] if inherit and key in had else health for key, health in first.items()}
        self.unsaved[name] &= first.keys()

    @rule(name=names, process=processes)
    def reload_is_killed(self, name: str, process: int) -> None:
        self.board.dies = True
        with contextlib.suppress(Killed):
            self.views[process][name].reload([other for other in NAMES if other != name], inherit=True)
        self.board.dies = False
        event("a reload was killed")
        self.reload(name, (process + 1) % PROCESSES, inherit=True)

    @rule(name=names, process=processes, uri=st.sampled_from(URIS), state=states)
    def set_state(self, name: str, process: int, uri: str, state: State) -> None:
        self._say(name, process, uri, lambda _: Health(state), lambda one, found: one.set_state(found, state, "test"))

    @rule(name=names, process=processes, uri=st.sampled_from(URIS), word=st.sampled_from(list(Word)))
    def hear(self, name: str, process: int, uri: str, word: Word) -> None:
        self._say(
            name,
            process,
            uri,
            lambda health: after(health, word, THRESHOLD),
            lambda one, found: one.heard(found, word, "test"),
        )

    def _say(self, name: str, process: int, uri: str, become, say) -> None:
        partition, before = self.views[process][name], dict(self.known[name])
        found = partition.generation().find(1, uri)
        assert bool(found) == ((1, uri, "") in before)
        self.told.clear()
        say(partition, found)
        for one in found:
            self.known[name][one.key] = become(before[one.key])
        changed = [one for one in found if self.known[name][one.key].state != before[one.key].state]
        self.unsaved[name] |= {one.key for one in changed}
        assert self.told == [(name, one.uri, self.known[name][one.key].state) for one in changed]

    @rule(process=processes, most=st.integers(1, 10))
    def save(self, process: int, most: int) -> None:
        for partition in self.views[process].values():
            while partition.save(most):
                pass
        assert not self.board.has_unsaved()
        for name in NAMES:
            self._saved(name)

    def _saved(self, name: str) -> None:
        for set_id, uri, socket in self.unsaved[name]:
            if (set_id, uri) in self.tables[name]:
                self.tables[name][set_id, uri] = State(self.known[name][set_id, uri, socket].state)
        self.unsaved[name].clear()

    @invariant()
    def all_processes_see_the_same(self) -> None:
        slots: list[int] = []
        for name in NAMES:
            for view in self.views:
                partition = view[name]
                destinations = partition.generation().destinations
                seen = {one.key: self.board.health(one.slot) for one in destinations}
                assert seen == self.known[name]
                self._choosers_agree(partition)
            slots += [one.slot for one in destinations]
        assert len(set(slots)) == len(slots)

    def _choosers_agree(self, partition: Partition) -> None:
        for set_id in (1, 2):
            members = [key for key in self.known[partition.name] if key[0] == set_id]
            found = partition.chooser(set_id, keep_last=False)
            assert (found is not None) == bool(members)
            if found is not None:
                chooser, destinations = found
                active = {destinations[place].key for place in chooser.active}
                assert active == {key for key in members if self.known[partition.name][key].state == State.ACTIVE}

    def teardown(self) -> None:
        for one in self.locks:
            one.close()
        self.store.close()
        self.database.close()
        self.folder.cleanup()


Dispatching.TestCase.settings = settings(max_examples=10, stateful_step_count=15)
TestDispatching = Dispatching.TestCase
