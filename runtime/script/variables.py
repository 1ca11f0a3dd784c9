"""What a variable of the language is. They themselves are in `variable_table`."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass

from runtime.context import Context, Value


class Gives(enum.Flag):
    """What a variable may hold: the compiler leaves out the checks that can never fail."""

    STRING = enum.auto()
    INTEGER = enum.auto()
    NULL = enum.auto()
    ANY = STRING | INTEGER | NULL


class Inner(enum.Enum):
    """Whether a variable has a name in brackets."""

    NO = "no"
    MAY = "may"
    MUST = "must"


@dataclass(frozen=True, slots=True)
class ContextVariable:
    """A variable of the language.

    Args:
        name: without the dollar sign.
        get: ``get(context)``, or ``get(context, inner)`` where it may have brackets.
        set: the same with the value behind; None for a read-only one. Raises Unwritable.
        inner: whether brackets follow the name.
        gives: what it may hold.
        path: where it is no more than an attribute of the context, the dotted path of that.
        uri: where it is a part of a URI, the dotted path of the URI and the part's name.
        all: every value, in the order of the index (0 first), for a variable that can be indexed.
        put: ``put(context, inner, index, value)``: an assignment to one of them; None where that is none.
        doc: what it holds, in a sentence or two for the reference.
    """

    name: str
    get: Callable[..., Value]
    set: Callable[..., None] | None = None
    inner: Inner = Inner.NO
    gives: Gives = Gives.STRING | Gives.NULL
    path: str = ""
    uri: tuple[str, str] | None = None
    all: Callable[[Context, str], list[Value]] | None = None
    put: Callable[[Context, str, Value, Value], None] | None = None
    doc: str = ""
