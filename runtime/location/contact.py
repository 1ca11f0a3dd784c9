"""One binding of an address-of-record to a contact, and what can be told from it alone. A core."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Final, NamedTuple

from runtime.sip.fields import is_token
from runtime.sip.uri import parse_uri

METHODS: Final = {
    "INVITE": 1,
    "CANCEL": 2,
    "ACK": 4,
    "BYE": 8,
    "INFO": 16,
    "REGISTER": 32,
    "SUBSCRIBE": 64,
    "NOTIFY": 128,
    "MESSAGE": 256,
    "OPTIONS": 512,
    "PRACK": 1024,
    "UPDATE": 2048,
    "REFER": 4096,
    "PUBLISH": 8192,
}
"""Each method's bit in the column ``methods`` of OpenSIPS's table ``location``."""
OTHER_METHODS: Final = 16384
ALL_METHODS: Final = 32767
"""What a contact without an Allow header is taken to understand."""
MEMORY_ONLY: Final = 1
"""In `Contact.flags`: it is not to be written to the database."""


class Contact(NamedTuple):
    """A binding. Strings are empty where there is nothing.

    Args:
        id: unique in the server, and the same for as long as the binding is refreshed.
        uri: the contact's URI, without angle brackets.
        expires_at: the second of the epoch from which on it is gone; 0 for never.
        q: 0 to 1000; -1 for none (RFC 3261 20.10).
        call_id, cseq: of the REGISTER that wrote it last; they order what comes late (RFC 3261 10.3, step 7).
        modified_at: when that was, in seconds of the epoch.
        received: where the REGISTER really came from, as a URI: the next hop instead of the contact's own host.
        path: the Path values, comma-separated (RFC 3327).
        user_agent: the User-Agent header.
        socket: which listening socket the REGISTER came in on, e.g. ``udp:192.0.2.1:5060``.
        methods: a sum of `METHODS`.
        instance: the ``+sip.instance``, with its angle brackets and without quotes (RFC 5626).
        attr: what the script attached.
        flags: `MEMORY_ONLY`, or 0.
        cflags: the names of the branch flags that a request to it gets, blank-separated.
    """

    id: int
    uri: str
    expires_at: int
    q: int
    call_id: str
    cseq: int
    modified_at: float
    received: str = ""
    path: str = ""
    user_agent: str = ""
    socket: str = ""
    methods: int = ALL_METHODS
    instance: str = ""
    attr: str = ""
    flags: int = 0
    cflags: str = ""

    def is_alive(self, now: float) -> bool:
        """Whether its time is not over at `now` (seconds of the epoch)."""
        return self.expires_at > now or not self.expires_at

    def understands(self, method: str) -> bool:
        """Whether its user agent said that it takes that method, or said nothing about it."""
        return bool(self.methods & METHODS.get(method, OTHER_METHODS))

    def next_hop(self) -> str | None:
        """The URI to send to instead of the contact's own: the first Path value, else `received`, else None."""
        if self.path:
            return first_path(self.path)
        return self.received or None


def methods_of(allow: Iterable[str]) -> int:
    """The bits of an Allow header's methods.

    Args:
        allow: one method each, in any case (methods are compared as OpenSIPS's table spells them).
    """
    bits = 0
    for method in allow:
        bits |= METHODS.get(method.strip().upper(), OTHER_METHODS)
    return bits


def first_path(path: str) -> str | None:
    """The URI of the first of comma-separated Path values; None when it is no name-addr."""
    from_, _, rest = path.partition("<")
    uri, closing, _ = rest.partition(">")
    return uri.strip() if closing and "," not in from_ else None


def in_order(contacts: Sequence[Contact], *, newest_first: bool = False) -> list[Contact]:
    """Contacts in the order in which a request tries them.

    Args:
        newest_first: by the time of the last REGISTER (OpenSIPS's ``desc_time_order``), instead of by q, the highest
            first, and those of equal q in the order in which they came.
    """
    if newest_first:
        return sorted(contacts, key=lambda contact: (-contact.modified_at, -contact.id))
    return sorted(contacts, key=lambda contact: (-contact.q, contact.id))


class Matching(NamedTuple):
    """When two REGISTERs speak of the same contact (OpenSIPS's ``matching_mode``).

    Args:
        call_id: the Call-ID must be the same too (mode 1).
        param: compare the value of this URI parameter, where both have it, instead of the whole URI.
    """

    call_id: bool = False
    param: str = ""


def matching_of(mode: str) -> Matching | None:
    """Read a matching mode: ``0``, ``1``, or the name of a URI parameter (``<line>``, ``line``); None for others."""
    if mode in ("0", "1"):
        return Matching(call_id=mode == "1")
    name = mode.removeprefix("<").removesuffix(">").strip().lower()
    return Matching(param=name) if is_token(name) and not name.isdecimal() else None


def contact_key(uri: str, call_id: str, matching: Matching) -> tuple[str, str]:
    """What is equal for two spellings of the same contact, and differs for two contacts."""
    return canonical(uri, matching.param), call_id if matching.call_id else ""


# Of a set of phones the same URIs come again and again.
@lru_cache(maxsize=4096)
def canonical(uri: str, param: str = "") -> str:
    """A URI in one spelling, for comparing (RFC 3261 19.1.4).

    Scheme, host and parameters are compared without regard to case and the parameters' order, the user with regard to
    it. A parameter that only one of two URIs has makes them different, also one that RFC 3261 would overlook: OpenSIPS
    compares whole strings, and two phones that tell themselves apart in this way must stay two.

    Args:
        param: take only this parameter's value, where there is one.
    """
    found = parse_uri(uri)
    if found is None:
        return uri
    if param and (value := found.params.get(param)):
        return f";{param}={value}"
    names = sorted(found.params)
    params = "".join([f";{name}={(found.params[name] or '').lower()}" for name in names])
    place = f"{found.host.lower()}:{found.port}" if found.port is not None else found.host.lower()
    return f"{found.scheme}:{found.user}:{found.password}@{place}{params}?{found.headers}"
