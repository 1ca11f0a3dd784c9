"""Module drouting's settings, and how states of gateways get into their tables."""

from __future__ import annotations

import mmap
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgpack
import pytest

from runtime.db import Database, DatabaseError
from runtime.drouting.partitions import Partition
from runtime.drouting.routing import Routing, Setup
from runtime.drouting.rules import Gateway, State
from runtime.errors import SettingsError
from runtime.modules.drouting import Drouting
from runtime.modules.drouting_hosts import Hosts
from runtime.modules.drouting_places import Place, named_uri
from runtime.modules.drouting_states import Marks, States, enter, record_states
from runtime.store import Store
from tests.processes.routing_tables import RoutingTables, sqlite_url


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("gw_id_avp", "$var(gw)"),
        ("ruri_avp", "uri"),
        ("partition_id_pvar", "$ru"),
        ("probing_reply_codes", "200, 7xx"),
        ("probing_interval", -1),
        ("probing_from", "prober"),
        ("probing_method", "OPTIONS x"),
        ("drg_user_col", "subscriber"),
    ],
)
def test_a_setting_that_is_refused(name: str, value: Any) -> None:
    with pytest.raises(SettingsError, match=name):
        Drouting({name: value})


@dataclass
class Here:
    """Two partitions in one process: one whose database is there, and one whose database may go away."""

    rows: RoutingTables
    away: Path
    routing: Routing
    marks: Marks
    states: States

    def gateway(self, partition: str, id_: str) -> Gateway:
        view = self.routing.view(partition)
        assert view is not None
        return view.gateways[id_]

    def change(self, partition: str, id_: str, state: State) -> None:
        gateway = self.gateway(partition, id_)
        self.routing.set_state(partition, gateway, state)
        self.marks.add(partition, gateway)


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Here]:
    urls = {"near": sqlite_url(tmp_path / "near.db"), "far": sqlite_url(tmp_path / "far.db")}
    partitions = []
    for name, url in urls.items():
        rows = RoutingTables(url)
        rows.gateway("gw1", 5071)
        rows.gateway("gw2", 5072, state=2)
        rows.carrier("c", "gw1")
        rows.close()
        partitions.append(Partition(name, Database(url, timeout_s=0.05)))
    store = Store(tmp_path / "store")
    routing, marks = Routing(Setup(tmp_path / "generations", partitions), store), Marks(store)
    for name in urls:
        routing.reload(name, inherit_state=False)
    yield Here(
        RoutingTables(urls["near"]),
        tmp_path / "far.db",
        routing,
        marks,
        States(routing, marks, {one.name: one for one in partitions}),
    )
    for one in partitions:
        one.database.close()
    store.close()


def test_what_has_changed_is_written_once(here: Here) -> None:
    assert not here.marks.waiting()
    here.change("near", "gw1", State.INACTIVE)
    here.change("near", "gw1", State.PROBING)
    here.change("near", "gw2", State.ACTIVE)
    assert here.marks.waiting()
    assert [here.states.write(most=1), here.states.write(most=1)] == [1, 1]
    assert (here.rows.state("gw1"), here.rows.state("gw2")) == (2, 0)
    assert not here.marks.waiting()
    assert here.states.write() == 0


def test_a_mark_that_is_made_anew_while_it_is_written_stays(here: Here) -> None:
    here.change("near", "gw1", State.PROBING)
    taken = here.marks.first(9)
    here.change("near", "gw1", State.ACTIVE)
    here.marks.remove(taken["near"])
    assert here.marks.waiting()
    here.states.write()
    assert here.rows.state("gw1") == 0
    assert not here.marks.waiting()


def test_a_database_that_is_away_keeps_its_own_marks_and_no_others(here: Here) -> None:
    enter(here.states)
    here.change("far", "gw1", State.INACTIVE)
    here.change("near", "gw1", State.INACTIVE)
    blocker = sqlite3.connect(here.away, isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    assert here.states.write("near") == 1
    here.change("near", "gw1", State.PROBING)
    with pytest.raises(DatabaseError):
        here.states.write()
    assert here.rows.state("gw1") == 2
    assert list(here.marks.first(9)) == ["far"]
    assert "locked" in msgpack.unpackb(record_states(b"", None))  # type: ignore[arg-type]
    blocker.close()
    assert msgpack.unpackb(record_states(b"", None)) == 1  # type: ignore[arg-type]
    assert not here.marks.waiting()


def test_a_mark_of_what_is_no_more_is_forgotten(here: Here) -> None:
    gone = Gateway("gone", 0, "127.0.0.1", 0, "", "", 0, State.ACTIVE, "", "")
    here.marks.add("near", gone)
    here.marks.add("nowhere", gone)
    assert here.states.write() == 2
    assert not here.marks.waiting()


def test_where_named_gateways_are_is_the_same_for_all_until_it_changes(tmp_path: Path) -> None:
    store, changes = Store(tmp_path / "store"), mmap.mmap(-1, 8)
    hosts, others = Hosts(store, changes), Hosts(store, changes)
    place = Place("192.0.2.1", 5060)
    hosts.put({"sip:gw.test": [place], "sip:old.test": [place]})
    assert others.all() == {"sip:gw.test": [place], "sip:old.test": [place]}
    before = others.number
    hosts.put({"sip:gw.test": [place]})
    assert others.number == before
    hosts.put({"sip:gw.test": [place, Place("2001:db8::1", 5070)]})
    assert others.number == before + 1
    hosts.keep(frozenset({"sip:gw.test", "sip:new.test"}))
    assert list(others.all()) == ["sip:gw.test"]
    store.close()


@pytest.mark.parametrize(
    ("address", "uri"),
    [
        ("gw.test", "sip:gw.test"),
        ("SIP:gw.test:5070;transport=tcp", "SIP:gw.test:5070;transport=tcp"),
        ("192.0.2.1:5070", None),
        ("[2001:db8::1]", None),
        ("no host", None),
    ],
)
def test_which_gateways_are_looked_up(address: str, uri: str | None) -> None:
    assert named_uri(Gateway("gw", 0, address, 0, "", "", 0, State.ACTIVE, "", "")) == uri
