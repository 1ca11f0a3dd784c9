"""The events about users and their bindings: when each is raised, and what it says. A core.

Names and parameters are those of OpenSIPS's usrloc.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final, assert_never

from runtime.context import Value
from runtime.location.bindings import Change, Expired, Inserted, Removed, Updated
from runtime.location.contact import Contact
from runtime.script.declare import Event

_AOR: Final = ("domain", "aor")
_CONTACT: Final = (
    *_AOR,
    *("uri", "received", "path", "qval", "user_agent", "socket", "bflags", "expires", "callid", "cseq", "attr"),
    *("latency", "shtag"),
)
AOR_INSERT: Final = Event("E_UL_AOR_INSERT", _AOR, "A user has a binding and had none before.")
AOR_DELETE: Final = Event("E_UL_AOR_DELETE", _AOR, "A user has no binding any more.")
CONTACT_INSERT: Final = Event("E_UL_CONTACT_INSERT", _CONTACT, "A binding is new.")
CONTACT_UPDATE: Final = Event("E_UL_CONTACT_UPDATE", _CONTACT, "A binding was refreshed.")
CONTACT_DELETE: Final = Event("E_UL_CONTACT_DELETE", _CONTACT, "A binding was removed, or its time was over.")
EVENTS: Final = (AOR_INSERT, AOR_DELETE, CONTACT_INSERT, CONTACT_UPDATE, CONTACT_DELETE)


def told_of(
    domain: str, aor: str, changes: Sequence[Change], left: int, is_heard: Callable[[str], bool]
) -> Iterator[tuple[str, dict[str, Value]]]:
    """The events about what happened to one user's bindings, in order: names, and parameters by name.

    Args:
        domain, aor: the user.
        changes: what happened.
        left: how many bindings there are now.
        is_heard: whether anybody hears of an event; those of which nobody does are left out.
    """
    names = [_name(change) for change in changes]
    before = left - names.count(CONTACT_INSERT.name) + names.count(CONTACT_DELETE.name)
    user: dict[str, Value] = {"domain": domain, "aor": aor}
    if left and not before and is_heard(AOR_INSERT.name):
        yield AOR_INSERT.name, user
    for name, change in zip(names, changes, strict=True):
        if is_heard(name):
            yield name, {**user, **_described(change.contact)}
    if before and not left and is_heard(AOR_DELETE.name):
        yield AOR_DELETE.name, user


def _name(change: Change) -> str:
    match change:
        case Inserted():
            return CONTACT_INSERT.name
        case Updated():
            return CONTACT_UPDATE.name
        case Removed() | Expired():
            return CONTACT_DELETE.name
        case _:
            assert_never(change)


def _described(contact: Contact) -> dict[str, Value]:
    # Contacts are not pinged, and no other server has a part of them.
    return {
        "uri": contact.uri,
        "received": contact.received,
        "path": contact.path,
        "qval": contact.q,
        "user_agent": contact.user_agent,
        "socket": contact.socket,
        "bflags": contact.cflags,
        "expires": contact.expires_at,
        "callid": contact.call_id,
        "cseq": contact.cseq,
        "attr": contact.attr,
        "latency": 0,
        "shtag": "",
    }
