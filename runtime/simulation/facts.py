"""What the tests of a script say of the message that passes them: a closed union of facts."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple, TypeAlias

from runtime.script import tree


@dataclass(frozen=True, slots=True)
class Method:
    """The request's method is one of these; where it does not hold, none of them."""

    names: frozenset[str]
    holds: bool = True


@dataclass(frozen=True, slots=True)
class ToTag:
    """The request is within a dialog, to judge by To."""

    holds: bool = True


@dataclass(frozen=True, slots=True)
class Routed:
    """The request has a Route header that names this server: one within a dialog that was recorded."""

    holds: bool = True


class Read(NamedTuple):
    """What is read of a message.

    Args:
        variable: as `variable_key` spells it, e.g. ``rU`` or ``hdr(x-account)``.
        number: whether the text is read as a number first.
        field: which field of the text is read, and at which character it is cut; None for all of it.
    """

    variable: str
    number: bool = False
    field: tuple[int, str] | None = None

    def of(self, text: str | None) -> str | None:
        """What it makes of the variable's text."""
        if text is None or self.field is None:
            return text
        at, separator = self.field
        fields = text.split(separator)
        return fields[at] if at < len(fields) else None


@dataclass(frozen=True, slots=True)
class Reads:
    """What is read compares so.

    Args:
        read: what.
        operator: of `tree.Compare`.
        value: what it is compared with; None for NULL.
    """

    read: Read
    operator: str
    value: str | int | None
    holds: bool = True


@dataclass(frozen=True, slots=True)
class HasHeader:
    """The request has a header of that name, in lower case."""

    name: str
    holds: bool = True


@dataclass(frozen=True, slots=True)
class HasBody:
    """The request has a body."""

    holds: bool = True


@dataclass(frozen=True, slots=True)
class HopsLeft:
    """Max-Forwards allows one more hop."""

    holds: bool = True


@dataclass(frozen=True, slots=True)
class Status:
    """The reply's status matches the pattern."""

    pattern: str
    holds: bool = True


@dataclass(frozen=True, slots=True)
class WasCancelled:
    """The caller has sent a CANCEL."""

    holds: bool = True


@dataclass(frozen=True, slots=True)
class Unreadable:
    """The request has a mistake for which no route but the error_route sees it."""

    holds: bool = True


@dataclass(frozen=True, slots=True)
class Ours:
    """A variable names the server's own host: ``is_myself()``."""

    variable: str
    holds: bool = True


@dataclass(frozen=True, slots=True)
class Waited:
    """The message was parked for a command and is resumed now; where it does not hold, the command came to nothing."""

    holds: bool = True


@dataclass(frozen=True, slots=True)
class Came:
    """The next hop replied: ``failure`` with a final negative one, ``reply`` with any."""

    how: str


@dataclass(frozen=True, slots=True)
class Wrote:
    """The script has changed this variable on the way: what is read of it from here on says nothing of the message."""

    variable: str


Fact: TypeAlias = (
    Method
    | ToTag
    | Routed
    | Reads
    | HasHeader
    | HasBody
    | HopsLeft
    | Status
    | WasCancelled
    | Unreadable
    | Ours
    | Waited
    | Came
    | Wrote
)
Facts: TypeAlias = tuple[Fact, ...]


def variable_key(node: tree.Variable) -> str | None:
    """How a variable of the message is spelled in facts; None for one of other state."""
    if node.of or node.index not in (None, 0):
        return None
    if node.inner is None:
        return _ALIASES.get(node.name, node.name) if _ALIASES.get(node.name, node.name) in MESSAGE_VARIABLES else None
    inner = node.inner.constant
    return f"hdr({inner.lower()})" if node.name == "hdr" and inner else None


_FIELD: Final = re.compile(r"\s*([0-9]{1,2})\s*,(.)")
_ALIASES: Final[Mapping[str, str]] = {
    "ruri": "ru",
    "ruri.user": "rU",
    "ruri.domain": "rd",
    "from.user": "fU",
    "from.domain": "fd",
    "to.user": "tU",
    "to.domain": "td",
    "src_ip": "si",
}
MESSAGE_VARIABLES: Final = frozenset(
    ("rm", "ru", "rU", "rd", "fu", "fU", "fd", "tu", "tU", "td", "ua", "si", "rs", "T_reply_code", "cT", "rb")
)
"""Those that traffic can set."""


def read_of(read: Read | None, changes: tuple[tree.Transformation, ...]) -> Read | None:
    """What is read where transformations stand behind it; None where it is not known what they make of it."""
    match changes:
        case _ if read is None:
            return None
        case ():
            return read
        case (tree.Transformation("s", "int"),) if not read.number:
            return read._replace(number=True)
        case (tree.Transformation("s", "select", str() as argument),) if read == Read(read.variable):
            found = _FIELD.fullmatch(argument)
            return None if found is None else read._replace(field=(int(found[1]), found[2]))
        case _:
            return None


def read_fact(read: Read, operator: str, value: str | int, holds: bool) -> Fact:
    """What comparing something of the message with a value says.

    Args:
        read: what is compared.
        operator, value: of the comparison.
        holds: whether it is true.
    """
    if read == Read("rs") or read == Read("T_reply_code"):
        if operator == "==":
            return Status(f"^{value}$", holds)
        return Status(str(value), holds) if operator == "=~" else Reads(read, operator, value, holds)
    if read == Read("rm") and operator in ("==", "!="):
        return Method(frozenset((str(value),)), holds is (operator == "=="))
    return Reads(read, operator, value, holds)


def said_by(node: tree.Call, holds: bool) -> Facts:
    """What a function's being true or not says of the message."""
    first = node.arguments[0] if node.arguments else None
    text = first.value if isinstance(first, tree.Text) and "$" not in first.value[:-1] else ""
    match node.name:
        case "is_method" if text:
            return (Method(frozenset(text.split("|")), holds),)
        case "has_totag":
            return (ToTag(holds),)
        case "loose_route":
            return (Routed(holds),)
        case "is_present_hf" if text:
            return (HasHeader(text.lower(), holds),)
        case "has_body":
            return (HasBody(holds),)
        case "mf_process_maxfwd_header":
            return (HopsLeft(holds),)
        case "t_check_status" if text:
            return (Status(text, holds),)
        case "t_was_cancelled":
            return (WasCancelled(holds),)
        case _:
            return ()


def slot_of(node: tree.Variable) -> str | None:
    """A variable of the script's own, by a name that is always the same; None for others."""
    if node.name not in ("var", "avp") or node.inner is None or node.index is not None:
        return None
    name = node.inner.constant
    return None if name is None else f"{node.name}({name})"
