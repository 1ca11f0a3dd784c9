"""docs/drouting.md: its statements fill the tables without a row left out, and its scripts have no problems."""

from __future__ import annotations

import re
from datetime import datetime
from pathlib import Path

import pytest
import sqlalchemy as sql

from runtime.checking import problems_of
from runtime.db import Database
from runtime.drouting.partitions import Partition, TableNames, read_partitions
from runtime.drouting.routing import Routing, Setup
from runtime.drouting.tables import create_missing, partition_table, tables
from runtime.store import Store

DOC = (Path(__file__).parent.parent.parent / "docs" / "drouting.md").read_text()
STATEMENTS = [re.sub(r"(?m)^--.*$", "", text) for text in re.findall(r"(?s)```sql\n(.*?)```", DOC)]
SCRIPTS = re.findall(r"(?s)```opensips\n(.*?)```", DOC)
ROUTES, PARTITIONS = STATEMENTS


def filled(path: Path, statements: str, *needed: sql.Table) -> Database:
    database = Database(f"sqlite:///{path}")
    create_missing(database, *needed)
    with database.begin() as connection:
        for one in filter(str.strip, statements.split(";\n")):
            connection.exec_driver_sql(one)
    return database


def test_the_rows_of_the_page_are_loaded(tmp_path: Path) -> None:
    database = filled(tmp_path / "routes.db", ROUTES, *tables(TableNames()))
    store = Store(tmp_path / "store")
    routing = Routing(Setup(tmp_path / "drouting", [Partition("Default", database)]), store)
    figures = routing.reload("Default", inherit_state=False)
    assert (figures.gateways, figures.carriers, figures.rules, figures.groups, figures.skipped) == (3, 1, 3, 1, 0)
    noon, evening = (datetime(2026, 3, 1, hour).timestamp() for hour in (12, 20))
    found = [[match.rule.attrs for match in routing.find("Default", 0, "0049301", now)] for now in (noon, evening)]
    assert found == [["germany", "by default"], ["germany by night", "germany", "by default"]]
    assert [match.rule.attrs for match in routing.find("Default", 7, "0049301", evening)] == ["germany"]
    assert routing.group_of("Default", "alice", "example.com") == 7
    store.close()
    database.close()


def test_the_partitions_of_the_page_are_read(tmp_path: Path) -> None:
    database = filled(tmp_path / "partitions.db", PARTITIONS, partition_table("dr_partitions"))
    trunks, extensions = read_partitions(database)
    assert (trunks.name, trunks.tables, trunks.avps) == ("trunks", TableNames(), {"gw_id_avp": "$avp(trunk)"})
    assert (extensions.name, extensions.tables) == ("extensions", TableNames("gateways", "rules", "groups", "carriers"))
    database.close()


@pytest.mark.parametrize("script", SCRIPTS)
def test_the_scripts_of_the_page_have_no_problems(script: str, tmp_path: Path) -> None:
    path = tmp_path / "page.cfg"
    path.write_text(script)
    assert [str(one) for one in problems_of(path)] == []
