"""`$msg.branch…` and `$branch…`: the targets that the request goes to when it is relayed.

Of `$msg.branch…` the index 0 is the Request-URI's own target, which is always there, and those that were appended
follow; without an index the last one is meant. `$branch…` counts the appended ones only, and means the first.
Source: OpenSIPS, "Core variables".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from runtime.context import Branch, Context, Value
from runtime.script.access import Unwritable, set_dst_uri, set_ruri
from runtime.script.uris import can_be_sent

_FIELDS: Final = ("uri", "duri", "path", "q", "flags")
"""What `$branch(NAME)` may name beside the socket, and `$msg.branch.NAME` beside what has a name of its own."""


def q_value(text: str) -> int | None:
    """``0.7`` as 700; None when it is none (RFC 3261 25.1: at most three decimals)."""
    whole, dot, decimals = text.partition(".")
    if whole not in ("0", "1", "") or len(decimals) > 3 or not (decimals or "0").isdecimal() or not (whole or dot):
        return None
    thousandths = int(whole or 0) * 1000 + int(decimals.ljust(3, "0") if decimals else 0)
    return thousandths if thousandths <= 1000 else None


def branch_at(c: Context, index: Value) -> Branch | None:
    """The appended branch with that index, the last one where it is None; None for the Request-URI's own.

    Raises:
        Unwritable: there is no such branch.
    """
    last = len(c.branches)
    if index is None:
        return c.branches[-1] if last else None
    if not isinstance(index, int) or not -last - 1 <= index <= last:
        raise Unwritable(f"there is no branch [{index}]")
    at = index % (last + 1)
    return c.branches[at - 1] if at else None


def own_branch(c: Context) -> Branch:
    """What the Request-URI's own branch has, as one that stands by itself."""
    return Branch(
        c.ruri, c.dst_uri, c.path, c.q, set(c.branch_flags), dict(c.branch_attributes), send_socket=c.send_socket
    )


def take_branch(c: Context, branch: Branch) -> None:
    """Make a branch the Request-URI's own, with all that it has."""
    c.ruri, c.dst_uri, c.path, c.q = branch.uri, branch.dst_uri, branch.path, branch.q
    c.branch_flags, c.branch_attributes = set(branch.flags), dict(branch.attributes)
    c.send_socket = branch.send_socket


def flags_of(c: Context, branch: Branch | None) -> set[str]:
    """The flags of a branch, to be read and changed."""
    return c.branch_flags if branch is None else branch.flags


def _field(c: Context, branch: Branch | None, field: str) -> Value:
    match field:
        case "uri":
            return (c.ruri if branch is None else branch.uri) or None
        case "duri":
            return c.dst_uri if branch is None else branch.dst_uri
        case "path":
            return (c.path if branch is None else branch.path) or None
        case "q":
            q = c.q if branch is None else branch.q
            return f"{q / 1000:g}" if q >= 0 else None
        case _:
            return " ".join(sorted(flags_of(c, branch)))


def _set_field(c: Context, branch: Branch | None, field: str, value: Value) -> None:
    match field:
        case "uri" if branch is None:
            set_ruri(c, value)
        case "duri" if branch is None:
            set_dst_uri(c, value)
        case "uri" if branch is not None:
            branch.uri = _uri(value)
        case "duri" if branch is not None:
            branch.dst_uri = None if value is None else _uri(value)
        case "path":
            (c if branch is None else branch).path = _path(value)
        case "q":
            (c if branch is None else branch).q = _q(value)
        case _:
            raise Unwritable("the flags of a branch are assigned one by one: $(msg.branch.flag(NAME)[index])")


def _uri(value: Value) -> str:
    if not isinstance(value, str) or not can_be_sent(value):
        raise Unwritable("a branch takes a URI")
    return value


def _path(value: Value) -> str:
    text = "" if value is None else str(value)
    if any(char < " " for char in text):
        raise Unwritable("a path is Route values, without line ends")
    return text


def _q(value: Value) -> int:
    if value is None:
        return -1
    q = value if isinstance(value, int) else q_value(value)
    if q is None or not 0 <= q <= 1000:
        raise Unwritable("q is a number from 0 to 1 with three decimals at most, or thousandths as an integer")
    return q


def branch_reader(field: str) -> Callable[[Context], Value]:
    """Reads `$msg.branch.FIELD` of the last branch."""
    return lambda c: _field(c, branch_at(c, None), field)


def branch_lister(field: str) -> Callable[[Context, str], list[Value]]:
    """Lists `$msg.branch.FIELD` of all branches, the Request-URI's own first."""
    return lambda c, _: [_field(c, branch, field) for branch in (None, *c.branches)]


def branch_writer(field: str) -> Callable[[Context, Value], None]:
    """Assigns `$msg.branch.FIELD` of the last branch."""
    return lambda c, value: _set_field(c, branch_at(c, None), field, value)


def branch_putter(field: str) -> Callable[[Context, str, Value, Value], None]:
    """Assigns `$(msg.branch.FIELD[index])`."""
    return lambda c, _, index, value: _set_field(c, branch_at(c, index), field, value)


def append_branch(c: Context, value: Value) -> None:
    """`$msg.branch = uri` appends a branch."""
    c.branches.append(Branch(_uri(value)))


def last_branch(c: Context) -> Value:
    """`$msg.branch.last_idx`: 0 while none was appended."""
    return len(c.branches)


# Flags and attributes, each by its name


def get_flag(c: Context, name: str) -> Value:
    """`$msg.branch.flag(NAME)`: 1 or 0."""
    return int(name in flags_of(c, branch_at(c, None)))


def all_flag(c: Context, name: str) -> list[Value]:
    """`$(msg.branch.flag(NAME)[index])` of every branch."""
    return [int(name in flags_of(c, branch)) for branch in (None, *c.branches)]


def put_flag(c: Context, name: str, index: Value, value: Value) -> None:
    """Assign `$(msg.branch.flag(NAME)[index])`: 0, an empty string or NULL takes it off."""
    flags = flags_of(c, branch_at(c, index))
    (flags.add if value else flags.discard)(name)


def set_flag(c: Context, name: str, value: Value) -> None:
    """Assign `$msg.branch.flag(NAME)`."""
    put_flag(c, name, None, value)


def _attributes(c: Context, branch: Branch | None) -> dict[str, Value]:
    return c.branch_attributes if branch is None else branch.attributes


def get_attribute(c: Context, name: str) -> Value:
    """`$msg.branch.attr(NAME)`; NULL until something is assigned."""
    return _attributes(c, branch_at(c, None)).get(name)


def all_attribute(c: Context, name: str) -> list[Value]:
    """`$(msg.branch.attr(NAME)[index])` of every branch."""
    return [_attributes(c, branch).get(name) for branch in (None, *c.branches)]


def put_attribute(c: Context, name: str, index: Value, value: Value) -> None:
    """Assign `$(msg.branch.attr(NAME)[index])`; NULL takes it away."""
    attributes = _attributes(c, branch_at(c, index))
    if value is None:
        attributes.pop(name, None)
    else:
        attributes[name] = value


def set_attribute(c: Context, name: str, value: Value) -> None:
    """Assign `$msg.branch.attr(NAME)`."""
    put_attribute(c, name, None, value)


# $branch: appended ones only


def appended_branch(c: Context, index: Value) -> Branch:
    """The appended branch with that index.

    Raises:
        Unwritable: there is no such branch.
    """
    if not isinstance(index, int) or not -len(c.branches) <= index < len(c.branches):
        raise Unwritable(f"no branch [{index}] was appended")
    return c.branches[index]


def all_parts(c: Context, field: str) -> list[Value]:
    """A part of each appended branch, in order: a field, or the URI where none is named; NULL for what is none."""
    if field and field not in _FIELDS:
        return [None] * len(c.branches)
    return [branch.q if field == "q" else _field(c, branch, field or "uri") for branch in c.branches]


def put_part(c: Context, field: str, index: Value, value: Value) -> None:
    """Assign a part of an appended branch. Raises Unwritable."""
    if field not in _FIELDS:
        raise Unwritable(
            f"a branch has no {field[:40]!r} that is assigned; it has {', '.join(_FIELDS[:-1])} and socket"
        )
    _set_field(c, appended_branch(c, index), field, value)
