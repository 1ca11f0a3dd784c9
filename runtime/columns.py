"""Columns that tables of several modules have."""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, Column, Integer


def identity(name: str) -> Column[Any]:
    """A primary key that the database numbers by itself; SQLite does that for INTEGER alone."""
    return Column(name, BigInteger().with_variant(Integer(), "sqlite"), primary_key=True, autoincrement=True)


def number(name: str) -> Column[Any]:
    """An integer that is 0 where nothing is said."""
    return Column(name, Integer, nullable=False, server_default="0")
