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
    "accept", "accept-contact", "accept-encoding", "accept-language", "accept-resource-priority", "alert-info", "allow",
    "allow-events", "call-info", "contact", "content-encoding", "content-language", "diversion", "error-info",
    "feature-caps", "geolocation", "history-info", "in-reply-to", "p-access-network-info", "p-asserted-identity",
    "p-asserted-service", "p-associated-uri", "p-charging-function-addresses", "p-early-media", "p-media-authorization",
    "p-preferred-identity", "p-refused-uri-list", "p-visited-network-id", "path", "permission-missing",
    "policy-contact", "policy-id", "proxy-require", "reason", "record-route", "recv-info", "reject-contact",
    "remote-party-id", "request-disposition", "require", "resource-priority", "route", "security-client",
    "security-server", "security-verify", "service-route", "supported", "trigger-consent", "unsupported",
    "user-to-user", "via", "warning",
))
# fmt: on
"""Headers whose value is a comma-separated list by the grammar that defines them (RFC 3261 7.3.1, 20 and 25.1; the
others by RFC 3311 to 7433). Not WWW-Authenticate, Authorization and their kin, where a comma separates the parts of one
value, not Privacy, whose values stand between semicolons, and not Date, Subject and Refer-To, where it is a
character."""

# fmt: off
_OTHERS: Final = (
    "answer-mode", "authentication-info", "authorization", "call-id", "cisco-guid", "content-disposition",
    "content-id", "content-length", "content-type", "cseq", "date", "event", "expires", "flow-timer", "from",
    "identity", "identity-info", "info-package", "join", "max-breadth", "max-forwards", "mime-version", "min-expires",
    "min-se", "organization", "p-answer-state", "p-called-party-id", "p-charging-vector", "p-preferred-service",
    "p-rtp-stat", "p-served-user", "priority", "privacy", "proxy-authenticate", "proxy-authorization", "rack",
    "refer-sub", "refer-to", "referred-by", "replaces", "reply-to", "retry-after", "rseq", "server",
    "session-expires", "session-id", "sip-etag", "sip-if-match", "subject", "subscription-state",
    "suppress-if-match", "target-dialog", "timestamp", "to", "user-agent", "www-authenticate",
    "x-asterisk-hangupcause", "x-asterisk-hangupcausecode",
)
# fmt: on

_SPELLINGS: Final = {
    "call-id": "Call-ID",
    "content-id": "Content-ID",
    "cseq": "CSeq",
    "mime-version": "MIME-Version",
    "min-se": "Min-SE",
    "p-associated-uri": "P-Associated-URI",
    "p-called-party-id": "P-Called-Party-ID",
    "p-refused-uri-list": "P-Refused-URI-List",
    "p-rtp-stat": "P-RTP-Stat",
    "p-visited-network-id": "P-Visited-Network-ID",
    "policy-id": "Policy-ID",
    "rack": "RAck",
    "remote-party-id": "Remote-Party-ID",
    "rseq": "RSeq",
    "session-id": "Session-ID",
    "sip-etag": "SIP-ETag",
    "sip-if-match": "SIP-If-Match",
    "www-authenticate": "WWW-Authenticate",
    "x-asterisk-hangupcause": "X-Asterisk-HangupCause",
    "x-asterisk-hangupcausecode": "X-Asterisk-HangupCauseCode",
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
        for written in (name, name.upper(), name.title(), name.capitalize(), spelling(name)):
            known[written] = name
    for short, name in COMPACT.items():
        known[short] = known[short.upper()] = name
    return known


KNOWN_NAMES: Final = _known_names()
"""Usual spellings of known names to the full name in lower case: one dict look-up instead of a `lower()`, a strip and
a check of the characters. A spelling that is not in here is understood all the same, only slower."""
