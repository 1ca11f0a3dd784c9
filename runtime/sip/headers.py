"""The header names that SIP knows: compact forms, and which headers are comma-joined lists."""

from __future__ import annotations

from typing import Final

COMPACT: Final = {
    "a": "accept-contact",
    "b": "referred-by",
    "c": "content-type",
    "d": "request-disposition",
    "e": "content-encoding",
    "f": "from",
    "i": "call-id",
    "j": "reject-contact",
    "k": "supported",
    "l": "content-length",
    "m": "contact",
    "n": "identity-info",
    "o": "event",
    "r": "refer-to",
    "s": "subject",
    "t": "to",
    "u": "allow-events",
    "v": "via",
    "x": "session-expires",
    "y": "identity",
}
"""Compact forms, as registered with IANA for SIP header fields."""

# fmt: off
LIST_HEADERS: Final = frozenset((
    "accept", "accept-contact", "accept-encoding", "accept-language", "alert-info", "allow", "allow-events",
    "call-info", "contact", "content-encoding", "content-language", "diversion", "error-info", "history-info",
    "in-reply-to", "p-asserted-identity", "p-associated-uri", "p-preferred-identity", "p-visited-network-id",
    "path", "privacy", "proxy-require", "reason", "record-route", "reject-contact", "request-disposition",
    "require", "route", "security-client", "security-server", "security-verify", "service-route", "supported",
    "unsupported", "via", "warning",
))
# fmt: on
"""Headers whose value is a comma-separated list (RFC 3261 7.3.1, 20). Not WWW-Authenticate, Authorization and their
kin: there a comma separates the parts of one value."""

# fmt: off
_OTHERS: Final = (
    "authentication-info", "authorization", "call-id", "content-disposition", "content-id", "content-length",
    "content-type", "cseq", "date", "event", "expires", "feature-caps", "flow-timer", "from", "geolocation",
    "identity", "info-package", "join", "max-breadth", "max-forwards", "mime-version", "min-expires", "min-se",
    "organization", "p-access-network-info", "p-charging-vector", "p-early-media", "priority", "proxy-authenticate",
    "proxy-authorization", "rack", "recv-info", "refer-sub", "refer-to", "referred-by", "replaces", "reply-to",
    "retry-after", "rseq", "server", "session-expires", "session-id", "sip-etag", "sip-if-match", "subject",
    "subscription-state", "timestamp", "to", "user-agent", "www-authenticate", "x-asterisk-hangupcause",
)
# fmt: on

_SPELLINGS: Final = {
    "call-id": "Call-ID",
    "content-id": "Content-ID",
    "cseq": "CSeq",
    "mime-version": "MIME-Version",
    "rack": "RAck",
    "rseq": "RSeq",
    "session-id": "Session-ID",
    "sip-etag": "SIP-ETag",
    "sip-if-match": "SIP-If-Match",
    "www-authenticate": "WWW-Authenticate",
}


def spelling(name: str) -> str:
    """How the RFCs write a header's name, e.g. ``Call-ID``.

    Args:
        name: the full name in lower case.
    """
    return _SPELLINGS.get(name) or "-".join(word.capitalize() for word in name.split("-"))


def _known_names() -> dict[str, str]:
    known: dict[str, str] = {}
    for name in [*LIST_HEADERS, *_OTHERS]:
        for written in (name, name.upper(), name.title(), spelling(name)):
            known[written] = name
    for short, name in COMPACT.items():
        known[short] = known[short.upper()] = name
    return known


KNOWN_NAMES: Final = _known_names()
"""Usual spellings of known names to the full name in lower case: one dict look-up instead of a `lower()`, a strip and
a check of the characters. A spelling that is not in here is understood all the same, only slower."""
