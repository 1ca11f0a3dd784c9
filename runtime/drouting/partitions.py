"""Partitions: routing tables that have nothing to do with each other, each from a database and tables of its own."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, NamedTuple

from runtime.db import Database, DatabaseError
from runtime.drouting.rules import Wrong

if TYPE_CHECKING:
    from sqlalchemy import RowMapping

log = logging.getLogger("layby.drouting")

DEFAULT: Final = "Default"
"""The name of the only partition where the script does not use partitions."""
_MOST: Final = 256
"""Partitions of one server."""
_MAX_NAME: Final = 255
"""Bytes of a partition's name in UTF-8."""
AVPS: Final = (
    "ruri_avp",
    "gw_id_avp",
    "gw_priprefix_avp",
    "gw_sock_avp",
    "rule_id_avp",
    "rule_prefix_avp",
    "carrier_id_avp",
)
"""The columns of dr_partitions that name AVPs; so are module drouting's parameters called."""


class TableNames(NamedTuple):
    """What the tables of a partition are called; by OpenSIPS's parameters drd_, drr_, drg_ and drc_table."""

    gateways: str = "dr_gateways"
    rules: str = "dr_rules"
    groups: str = "dr_groups"
    carriers: str = "dr_carriers"


_DEFAULT_TABLES: Final = TableNames()


@dataclass(frozen=True, slots=True)
class Partition:
    """Where a partition's rows come from.

    Args:
        name: as scripts and commands name it.
        database: that its tables are in.
        tables: what they are called.
        avps: the AVPs that are its own, by the names of `AVPS`; the others have their defaults.
    """

    name: str
    database: Database
    tables: TableNames = _DEFAULT_TABLES
    avps: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))


def read_partitions(database: Database, table: str = "dr_partitions") -> list[Partition]:
    """The partitions that a table of partitions has, in the order of its ids; it is made when it is not there.

    Rows that are wrong are told in the log, and left out.

    Raises:
        DatabaseError: the database cannot be had.
    """
    from sqlalchemy import select

    from runtime.drouting.tables import create_missing, partition_table

    rows = partition_table(table)
    create_missing(database, rows)
    with database.begin(write=False) as connection:
        found = connection.execute(select(rows).order_by(rows.c.id).limit(_MOST + 1)).mappings().all()
    if len(found) > _MOST:
        log.error("%s: more than %d partitions; the others are left out", table, _MOST)
    partitions: dict[str, Partition] = {}
    for row in found[:_MOST]:
        try:
            one = _partition(row)
        except (DatabaseError, Wrong) as error:
            log.error("%s: id %s is left out: %s", table, row["id"], error)
        else:
            partitions[one.name] = one
    return list(partitions.values())


def _partition(row: RowMapping) -> Partition:
    name = str(row["partition_name"] or "").strip()
    if not name or len(name.encode("utf-8", "replace")) > _MAX_NAME or "\0" in name:
        raise Wrong(f"{name[:40]!r} cannot be the name of a partition")
    columns = zip(TableNames._fields, ("drd_table", "drr_table", "drg_table", "drc_table"), strict=True)
    names = {field: str(row[column]) for field, column in columns if row[column]}
    avps = {column: str(row[column]) for column in AVPS if row[column]}
    return Partition(name, Database(str(row["db_url"] or "")), TableNames(**names), MappingProxyType(avps))
