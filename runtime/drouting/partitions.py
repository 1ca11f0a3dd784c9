"""Partitions: routing tables that have nothing to do with each other, each from a database and tables of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, NamedTuple

from runtime.db import Database

DEFAULT: Final = "Default"
"""The name of the only partition where the script does not use partitions."""
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
    tables: TableNames = TableNames()
    avps: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))


def read_partitions(database: Database, table: str = "dr_partitions") -> list[Partition]:
    """The partitions that a table of partitions has; it is made when it is not there.

    Rows that are wrong are told in the log, and left out.

    Raises:
        DatabaseError: the database cannot be had.
    """
    raise NotImplementedError
