"""What is said about bindings: the Contact lines of a 200 (RFC 3261 10.3, step 8), and where a request goes. A core."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from runtime.location.contact import Contact, in_order
from runtime.location.flags import LookupFlags
from runtime.sip.uri import parse_uri

_FOR_EVER = 2**31 - 1


def contact_line(contact: Contact, now: float, received_param: str = "received") -> str:
    """A binding as a Contact header line, without CRLF.

    Args:
        now: seconds of the epoch.
        received_param: the name under which `Contact.received` is given.
    """
    expires = contact.expires_at - int(now) if contact.expires_at else _FOR_EVER
    q = f";q={contact.q // 1000}.{contact.q % 1000:03}".rstrip("0").rstrip(".") if contact.q >= 0 else ""
    instance = f';+sip.instance="{contact.instance}"' if contact.instance else ""
    received = f';{received_param}="{contact.received}"' if contact.received and received_param else ""
    return f"Contact: <{contact.uri}>{q};expires={max(0, expires)}{instance}{received}"


class Found(NamedTuple):
    """What `pick` found.

    Args:
        contacts: in the order in which they are to be tried.
        known: whether there is any contact, though none may take the method.
    """

    contacts: list[Contact]
    known: bool


def pick(contacts: Sequence[Contact], now: float, flags: LookupFlags, method: str, *, newest_first: bool) -> Found:
    """Choose the contacts that a request is to go to.

    Args:
        now: seconds of the epoch.
        flags: of `lookup()`.
        method: the request's.
        newest_first: OpenSIPS's ``desc_time_order``.
    """
    known = [one for one in contacts if one.is_alive(now)]
    if flags.user_agent is not None:
        wanted = flags.user_agent
        known = [one for one in known if wanted.search(one.user_agent)]
    fit = [one for one in known if one.understands(method)] if flags.method_filtering else known
    return Found(in_order(fit, newest_first=newest_first), bool(known))


def host_of(contact: Contact) -> tuple[str, int | None]:
    """Host and port of the next hop to a contact: of its path, else of where it came from, else of its own URI."""
    uri = parse_uri(contact.next_hop() or contact.uri)
    return ("", None) if uri is None else (uri.host.strip("[]").lower(), uri.port)
