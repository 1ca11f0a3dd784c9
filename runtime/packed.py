"""A context that waits for long, in little room.

A context has some fifty fields, and a request that is parked has changed five of them: as a tuple of these, with the
message's bytes, it takes 90 bytes and the message where it took 1,350 and the message taken apart. To pack one and to
take it out again costs 15 µs together, most of it for reading the message again, so it is not done where few wait.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import compress, filterfalse
from operator import attrgetter, ne
from sys import getrefcount
from typing import Any, Final, TypeAlias, TypeVar

from runtime.context import Address, Context, RouteType
from runtime.sip.message import Request, dummy_request, parse

_Key = TypeVar("_Key")

Packed: TypeAlias = tuple[Any, ...]
"""The message's bytes, the names of the fields that are not as a new context has them, and what these hold."""

_LEFT_OUT: Final = frozenset(("message", "ruri", "variables", "documents"))
"""The first two are seen to by themselves; the others are the process's, and written anew when a context resumes."""
_NAMES: Final = tuple(name for name in Context.__struct_fields__ if name not in _LEFT_OUT)
_fields: Final[Callable[[Context], tuple[Any, ...]]] = attrgetter(*_NAMES)
_NEW: Final = _fields(Context(dummy_request()))
_CONTAINERS: Final = tuple(name for name, new in zip(_NAMES, _NEW, strict=True) if isinstance(new, dict | list | set))
_containers: Final[Callable[[Context], tuple[Any, ...]]] = attrgetter(*_CONTAINERS)

_MOST_SHARED: Final = 1_000
_names: dict[tuple[str, ...], tuple[str, ...]] = {}
"""Each combination of names once: all that is parked at one statement has the same."""
_addresses: dict[Address, Address] = {}
"""Each address once: most requests come from few."""


def pack(context: Context) -> Packed | None:
    """Pack a context that nobody else works on.

    Returns:
        what `unpack` reads; None for what is no request as it was received, and for one that shares something empty
        with another context, which might be filled from there.
    """
    message = context.message
    if context.route is not RouteType.REQUEST or not isinstance(message, Request) or _holders(context) > _ALONE:
        return None
    if context.source is not None:
        context.source = shared_address(context.source)
    # In C, since there are so many: in Python it took three times as long.
    values = _fields(context)
    changed = [*map(ne, values, _NEW)]
    names = tuple(compress(_NAMES, changed))
    if context.ruri != message.ruri:
        return (message.raw, _shared(_names, (*names, "ruri")), *compress(values, changed), context.ruri)
    return (message.raw, _shared(_names, names), *compress(values, changed))


def unpack(packed: Packed) -> Context:
    """The context as it was, but for `$var` and `$json`."""
    raw, names, *values = packed
    message = unpack_request(raw)
    context = Context(message, ruri=message.ruri)
    for name, value in zip(names, values, strict=True):
        setattr(context, name, value)
    return context


def unpack_request(raw: bytes) -> Request:
    """Read a request again."""
    message = parse(raw)
    assert isinstance(message, Request), "the same bytes were one when it came"
    return message


def shared_address(address: Address) -> Address:
    """The same address, and the same object for all that wait."""
    return _shared(_addresses, address)


def _shared(known: dict[_Key, _Key], value: _Key) -> _Key:
    if len(known) >= _MOST_SHARED:
        known.clear()
    return known.setdefault(value, value)


def _holders(context: Context) -> int:
    """How many hold that of its empty containers which most hold."""
    return max(map(getrefcount, filterfalse(None, _containers(context))), default=0)


_ALONE: Final = _holders(Context(dummy_request()))
