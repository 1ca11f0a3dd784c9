"""The tables of dynamic routing in a database.

Source: OpenSIPS, module drouting, tables dr_gateways, dr_rules, dr_carriers, dr_groups and dr_partitions.
"""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import Column, Index, Integer, MetaData, String, Table, UniqueConstraint, inspect

from runtime.columns import identity, number
from runtime.db import Database, DatabaseError
from runtime.drouting.partitions import AVPS, TableNames


class Tables(NamedTuple):
    """A partition's tables."""

    gateways: Table
    rules: Table
    groups: Table
    carriers: Table


def tables(names: TableNames) -> Tables:
    """The tables of a partition.

    Raises:
        DatabaseError: two of them have the same name.
    """
    if len(set(names)) < len(names):
        raise DatabaseError(f"the tables {', '.join(names)} must have names of their own")
    metadata = MetaData()
    return Tables(
        _gateways(names.gateways, metadata),
        _rules(names.rules, metadata),
        _groups(names.groups, metadata),
        _carriers(names.carriers, metadata),
    )


def partition_table(name: str) -> Table:
    """The table of partitions."""
    return Table(
        name,
        MetaData(),
        identity("id"),
        Column("partition_name", String(255), nullable=False),
        Column("db_url", String(255), nullable=False),
        *(Column(one, String(255)) for one in ("drd_table", "drr_table", "drg_table", "drc_table", *AVPS)),
    )


def create_missing(database: Database, *needed: Table) -> None:
    """Make the tables that are not there. Where all are there, nothing is written, and nothing need be allowed.

    Raises:
        DatabaseError: the database cannot be had, or a table cannot be made.
    """
    with database.begin(write=False) as connection:
        there = inspect(connection)
        missing = [table for table in needed if not there.has_table(table.name)]
    for metadata in {table.metadata for table in missing}:
        database.create_tables(metadata)


def _gateways(name: str, metadata: MetaData) -> Table:
    return Table(
        name,
        metadata,
        identity("id"),
        Column("gwid", String(64), nullable=False),
        number("type"),
        Column("address", String(128), nullable=False),
        number("strip"),
        Column("pri_prefix", String(16)),
        Column("attrs", String(255)),
        number("probe_mode"),
        number("state"),
        Column("socket", String(128)),
        Column("description", String(128)),
        UniqueConstraint("gwid", name=f"{name}_gwid_idx"),
    )


def _rules(name: str, metadata: MetaData) -> Table:
    return Table(
        name,
        metadata,
        identity("ruleid"),
        Column("groupid", String(255), nullable=False),
        Column("prefix", String(64), nullable=False),
        Column("timerec", String(255)),
        number("priority"),
        Column("routeid", String(255)),
        Column("gwlist", String(255), nullable=False),
        Column("sort_alg", String(1), nullable=False, server_default="N"),
        Column("sort_profile", Integer),
        Column("attrs", String(255)),
        Column("description", String(128)),
    )


def _carriers(name: str, metadata: MetaData) -> Table:
    return Table(
        name,
        metadata,
        identity("id"),
        Column("carrierid", String(64), nullable=False),
        Column("gwlist", String(255), nullable=False),
        number("flags"),
        Column("sort_alg", String(1), nullable=False, server_default="N"),
        number("state"),
        Column("attrs", String(255)),
        Column("description", String(128)),
        UniqueConstraint("carrierid", name=f"{name}_carrierid_idx"),
    )


def _groups(name: str, metadata: MetaData) -> Table:
    return Table(
        name,
        metadata,
        identity("id"),
        Column("username", String(64), nullable=False),
        Column("domain", String(128)),
        number("groupid"),
        Column("description", String(128)),
        Index(f"{name}_username_idx", "username", "domain"),
    )
