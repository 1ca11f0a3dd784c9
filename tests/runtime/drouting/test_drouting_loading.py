"""From the tables of a database to what a process finds, in each kind of database."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from sqlalchemy import inspect, text

from runtime.db import Database, DatabaseError
from runtime.drouting.partitions import DEFAULT, Partition, TableNames, read_partitions
from runtime.drouting.routing import Routing, Setup
from runtime.drouting.rules import State, Target
from runtime.drouting.tables import create_missing, partition_table
from runtime.store import Store
from tests.runtime.drouting.tables import Rows

NOW = 1_700_000_000.0


@pytest.fixture
def store(tmp_path: Path):
    one = Store(tmp_path / "store")
    yield one
    one.close()


@pytest.fixture
def database(database_url: str):
    one = Database(database_url)
    yield one
    one.close()


@pytest.fixture
def rows(database: Database) -> Rows:
    return Rows(database)


@pytest.fixture
def routing(tmp_path: Path, store: Store, database: Database) -> Routing:
    return Routing(Setup(tmp_path / "drouting", [Partition(DEFAULT, database)], "+"), store)


def load(routing: Routing, *, inherit_state: bool = False):
    return routing.reload(DEFAULT, inherit_state=inherit_state)


def found(routing: Routing, number: str, group: int = 0) -> list[tuple[str, list[str]]]:
    return [
        (match.prefix, [str(target) for target in match.rule.targets])
        for match in routing.find(DEFAULT, group, number, NOW)
    ]


def test_where_nothing_is_loaded_nothing_is_found(routing: Routing) -> None:
    assert routing.view(DEFAULT) is None
    assert (found(routing, "49"), routing.group_of(DEFAULT, "alice", "")) == ([], None)
    assert routing.view("other") is None
    with pytest.raises(KeyError):
        routing.reload("other", inherit_state=True)


def test_tables_that_are_not_there_are_made(routing: Routing, database: Database) -> None:
    figures = load(routing)
    assert figures[:6] == (DEFAULT, 0, 0, 0, 0, 0)
    assert figures.taken
    with database.begin(write=False) as connection:
        names = inspect(connection).get_table_names()
    assert sorted(names) == ["dr_carriers", "dr_gateways", "dr_groups", "dr_rules"]


def test_the_longest_prefix_and_the_highest_priority_come_first(routing: Routing, rows: Rows) -> None:
    rows.gateways("gw1", "gw2", "gw3")
    rows.carriers(c1="gw1,gw2")
    rows.rule("49", "gw1", priority=-1)
    rows.rule("49", "gw2", priority=7)
    rows.rule("4930", "gw3,#c1")
    rows.rule("49", "gw3", priority=7)
    rows.rule("", "#c1")
    rows.rule("+49", "gw1")
    assert load(routing)[:6] == (DEFAULT, 3, 1, 6, 0, 0)
    in_germany = [("49", ["gw2"]), ("49", ["gw3"]), ("49", ["gw1"]), ("", ["#c1"])]
    assert found(routing, "493012") == [("4930", ["gw3", "#c1"]), *in_germany]
    assert found(routing, "4931") == in_germany
    assert found(routing, "1") == [("", ["#c1"])]
    assert found(routing, "+4930") == [("+49", ["gw1"]), ("", ["#c1"])]
    assert found(routing, "493012", group=1) == []


def test_a_rule_is_in_all_its_groups(routing: Routing, rows: Rows) -> None:
    rows.gateways("gw1")
    rows.rule("1", groupid="0,3,-2")
    assert load(routing).rules == 1
    assert [bool(found(routing, "1", group)) for group in (0, 3, -2, 1)] == [True, True, True, False]


def test_what_a_rule_and_its_gateways_say(routing: Routing, rows: Rows) -> None:
    rows.gateways("gwé", type=4, strip=2, pri_prefix="00", attrs="höflich", probe_mode=2, state=2, socket="udp:x")
    rows.rule("1", "gwé=5", timerec="UTC|20200101T000000", routeid="billing", sort_alg="W", attrs="a;b")
    load(routing)
    (match,) = routing.find(DEFAULT, 0, "1", NOW)
    rule = match.rule
    assert (rule.targets, rule.route, rule.sort.value, rule.attrs) == ((Target("gwé", 5),), "billing", "W", "a;b")
    view = routing.view(DEFAULT)
    assert view is not None
    gateway = view.gateways["gwé"]
    assert (gateway.type, gateway.strip, gateway.pri_prefix, gateway.attrs) == (4, 2, "00", "höflich")
    assert (gateway.probe_mode, gateway.socket, routing.state(DEFAULT, gateway)) == (2, "udp:x", State.PROBING)


def test_a_users_group(routing: Routing, rows: Rows) -> None:
    rows.group("alice", "example.com", 3)
    rows.group("alice", "example.org", 4)
    rows.group("bob", None, 5)
    assert load(routing).groups == 3
    asked = [("alice", "Example.ORG"), ("alice", "other"), ("bob", ""), ("alice", ""), ("ali", ""), ("a\0b", "")]
    assert [routing.group_of(DEFAULT, *one) for one in asked] == [4, None, 5, 3, None, None]


def test_rows_that_are_wrong_are_left_out_and_told(routing: Routing, rows: Rows, caplog) -> None:
    rows.gateways("gw1")
    rows.gateways("bad,id", "gw2", address="")
    rows.carriers(c1="gw1,gw2", c2="gw2")
    rows.rule("49", "gw1")
    rows.rule("49x")
    rows.rule("43", "gw1,gw2")
    rows.rule("44", "gw2")
    rows.rule("45", timerec="never")
    assert load(routing)[:6] == (DEFAULT, 1, 1, 2, 0, 6)
    assert found(routing, "43") == [("43", ["gw1"])]
    for told in (
        "gwid bad,id is left out: it has no address",
        "carrier c1 is used without gw2: there is none",
        "carrierid c2 is left out: there is no gw2",
        "ruleid 2 is left out: prefix '49x': 'x' cannot be in one",
        "ruleid 3 is used without gw2",
        "ruleid 5 is left out: timerec: time zone 'never' is not known",
    ):
        assert told in caplog.text


def test_texts_that_sqlite_keeps_as_it_was_given_them_cost_no_more_than_their_rows(
    tmp_path: Path, store: Store, caplog
) -> None:
    database = Database(f"sqlite:{tmp_path}/loose.db")
    rows = Rows(database)
    rows.gateways("good", "#", "two\nlines")
    with database.begin() as connection:
        for values in (
            "'latin', 'host', '', CAST(X'47fc6e746572' AS TEXT)",
            "'blob', X'686f7374', '', NULL",
            "'broken', 'host', X'ff', NULL",
        ):
            connection.execute(
                text(f"INSERT INTO dr_gateways (gwid, address, pri_prefix, description) VALUES ({values})")
            )
    routing = Routing(Setup(tmp_path / "drouting", [Partition(DEFAULT, database)]), store)
    assert load(routing).skipped == 3
    view = routing.view(DEFAULT)
    assert view is not None
    assert list(view.gateways) == ["good", "latin", "blob"]
    assert (view.gateways["latin"].description, view.gateways["blob"].address) == ("G\ufffdnter", "host")
    for told in ("gwid # is left out", "'two\\nlines' cannot be an id", "gwid broken is left out: b'\\xff' is no text"):
        assert told in caplog.text
    database.close()


def test_many_wrong_rows_do_not_fill_the_log(routing: Routing, rows: Rows, caplog) -> None:
    for _ in range(30):
        rows.rule("x")
    assert load(routing).skipped == 30
    assert len([one for one in caplog.records if one.levelno == logging.WARNING]) == 21
    assert "30 rows are wrong in all, 30 of them left out" in caplog.text


@pytest.mark.parametrize("inherit_state", [False, True])
def test_states_are_inherited_or_as_the_table_says(routing: Routing, rows: Rows, inherit_state: bool) -> None:
    rows.gateways("switched", "silent", "kept")
    rows.carriers(c1="kept")
    load(routing)
    for id, state in (("switched", State.INACTIVE), ("silent", State.PROBING)):
        assert routing.set_state(DEFAULT, gateway(routing, id), state) is State.ACTIVE
    carrier = routing.view(DEFAULT).carriers["c1"]  # type: ignore[union-attr]
    routing.set_state(DEFAULT, carrier, State.INACTIVE)
    rows.clear("gateways")
    rows.gateways("switched", "silent", "new")
    rows.gateways("kept", state=1)
    load(routing, inherit_state=inherit_state)
    states = [routing.state(DEFAULT, gateway(routing, id)) for id in ("switched", "silent", "kept", "new")]
    before = [State.INACTIVE, State.PROBING, State.ACTIVE, State.ACTIVE]
    table = [State.ACTIVE, State.ACTIVE, State.INACTIVE, State.ACTIVE]
    assert states == (before if inherit_state else table)
    assert routing.state(DEFAULT, carrier) is (State.INACTIVE if inherit_state else State.ACTIVE)
    # What was inherited is inherited again, and can be changed.
    load(routing, inherit_state=inherit_state)
    assert [routing.state(DEFAULT, gateway(routing, id)) for id in ("switched", "silent", "kept", "new")] == states
    assert routing.set_state(DEFAULT, gateway(routing, "kept"), State.PROBING) is states[2]
    assert routing.state(DEFAULT, gateway(routing, "kept")) is State.PROBING


def gateway(routing: Routing, id: str):
    view = routing.view(DEFAULT)
    assert view is not None
    return view.gateways[id]


def test_a_load_that_fails_leaves_what_was_there(routing: Routing, rows: Rows, tmp_path: Path) -> None:
    rows.gateways("gw1")
    rows.rule("49")
    load(routing)
    view = routing.view(DEFAULT)
    with rows.database.begin() as connection:
        connection.execute(text("DROP TABLE dr_rules"))
        connection.execute(text("CREATE TABLE dr_rules (ruleid INTEGER)"))
    with pytest.raises(DatabaseError):
        load(routing)
    assert routing.view(DEFAULT) is view
    assert found(routing, "49") == [("49", ["gw1"])]
    assert [path.name for path in (tmp_path / "drouting").iterdir()] == ["1"]


def test_a_database_that_cannot_be_had(tmp_path: Path, store: Store) -> None:
    broken = Partition(DEFAULT, Database(f"sqlite:{tmp_path}/no/such/folder.db"))
    routing = Routing(Setup(tmp_path / "drouting", [broken]), store)
    with pytest.raises(DatabaseError):
        load(routing)
    assert routing.view(DEFAULT) is None
    assert list((tmp_path / "drouting").iterdir()) == []


def test_more_than_fits_into_memory_at_once(
    routing: Routing, rows: Rows, monkeypatch: pytest.MonkeyPatch, caplog
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr("runtime.drouting.loading._PROGRESS", 1000)
    monkeypatch.setattr("runtime.drouting.generation._FIRST_SIZE", 64 << 10)  # so that it has to grow
    monkeypatch.setattr("runtime.drouting.sorting.AT_ONCE", 700)  # so that it has to be put away
    rows.gateways("gw1", "gw2")
    with rows.database.begin() as connection:
        connection.execute(
            rows.tables.rules.insert(),
            [
                {
                    "groupid": "0",
                    "prefix": f"{number * 7919 % 3000:04}"[:4].rstrip("0"),
                    "gwlist": f"gw{number % 2 + 1}",
                }
                for number in range(3000)
            ],
        )
    assert load(routing).rules == 3000
    assert f"{DEFAULT}: 2000 rules read" in caplog.text
    assert [prefix for prefix, _ in found(routing, "1234")] == ["1234", "123", "12", "1", ""]


def test_partitions_have_databases_and_tables_of_their_own(
    tmp_path: Path, store: Store, database: Database, caplog
) -> None:
    table = partition_table("dr_partitions")
    create_missing(database, table)
    url = f"sqlite:{tmp_path}/other.db"
    with database.begin() as connection:
        for name, its_url, rules in (
            ("extensions", url, "my_rules"),
            ("", url, None),
            ("odd", "oracle://x", None),
            ("plain", url, None),
        ):
            row = {"partition_name": name, "db_url": its_url, "drr_table": rules, "gw_id_avp": "$avp(gw)"}
            connection.execute(table.insert(), [row])
    partitions = read_partitions(database)
    assert [(one.name, one.tables.rules, dict(one.avps)) for one in partitions] == [
        ("extensions", "my_rules", {"gw_id_avp": "$avp(gw)"}),
        ("plain", "dr_rules", {"gw_id_avp": "$avp(gw)"}),
    ]
    assert "id 2 is left out: '' cannot be the name of a partition" in caplog.text
    assert "id 3 is left out: a database of kind 'oracle' is not known" in caplog.text

    rows = Rows(partitions[0].database, partitions[0].tables)
    rows.gateways("gw1")
    rows.rule("1")
    routing = Routing(Setup(tmp_path / "drouting", partitions), store)
    assert [routing.reload(one, inherit_state=True).rules for one in routing.partitions()] == [1, 0]
    assert [len(list(routing.find(one, 0, "1", NOW))) for one in routing.partitions()] == [1, 0]
    for one in partitions:
        one.database.close()


def test_two_tables_of_one_name_are_refused(tmp_path: Path, store: Store, database: Database) -> None:
    twice = Partition(DEFAULT, database, TableNames(rules="dr_gateways"))
    with pytest.raises(DatabaseError, match="names of their own"):
        load(Routing(Setup(tmp_path / "drouting", [twice]), store))
