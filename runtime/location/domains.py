"""Which domains (tables) a script names: their bindings are loaded before it runs. A core."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from typing import Any, Final

from runtime.script.tree import Call, Text

_FUNCTIONS: Final = {
    "save": 0,
    "lookup": 0,
    "remove": 0,
    "remove_ip_port": 2,
    "registered": 0,
    "is_registered": 0,
    "is_contact_registered": 0,
    "is_ip_registered": 0,
}
"""Each function's argument that is a domain."""
USUAL: Final = "location"


def domains_of(routes: Iterable[Any]) -> frozenset[str]:
    """The domains that routes name in so many words; `USUAL` where they name none."""
    found = set()
    for call in _calls(tuple(routes)):
        at = _FUNCTIONS.get(call.name)
        argument = call.arguments[at] if at is not None and len(call.arguments) > at else None
        if isinstance(argument, Text) and argument.value and "$" not in argument.value:
            found.add(argument.value)
    return frozenset(found) or frozenset((USUAL,))


def _calls(node: Any) -> Iterator[Call]:
    if isinstance(node, tuple | list):
        for one in node:
            yield from _calls(one)
    elif dataclasses.is_dataclass(node):
        if isinstance(node, Call):
            yield node
        for field in dataclasses.fields(node):
            yield from _calls(getattr(node, field.name))
