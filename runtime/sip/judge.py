"""What a server refuses, whatever the script says (RFC 3261 8.2.2 and 16.3).

The parser has refused what is no SIP message. Here is what is one and must not be served all the same: a target that
means nothing, an address that two readers would read in two ways, a request that has gone round for too long or asks
for what no proxy here can do.
"""

from __future__ import annotations

import re
from collections.abc import Container
from typing import Final, NamedTuple

from runtime.sip.fields import is_token, parse_name_addr
from runtime.sip.message import Request
from runtime.sip.uri import parse_uri

MAX_UNSUPPORTED: Final = 32
"""How many option tags a 420 names: a request may ask for thousands."""

# The usual Request-URI and the usual From and To, told by one look instead of being taken apart. What does not fit is
# not wrong yet. No two neighbours in these expressions can match the same character, so none of them backtracks.
_USUAL_TARGET = re.compile(
    r"sips?:(?:[A-Za-z0-9_.+-]+@)?[A-Za-z0-9.-]+(?::(?:[1-5][0-9]{4}|[0-9]{1,4}))?(?:;transport=[a-z]+)?"
)
_USUAL_ADDRESS = re.compile(
    r"""[A-Za-z-]*:(?:[ ]*"[^"\\]*"[ ]*|[A-Za-z0-9 .!%*_+`'~-]*)<[^<>" \t]+>(?:;[A-Za-z0-9.!%*_+`'~;=-]*)?"""
)
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*")
_NEVER_UNQUOTED = re.compile(r'[",;<>]')
_NEVER_IN_AN_ADDRESS = re.compile(r'[\x00-\x20\x7f"<>]')


class Refusal(NamedTuple):
    """How a request is refused.

    Args:
        status: of the reply.
        reason: its reason phrase.
        headers: its header lines, without CRLF.
    """

    status: int
    reason: str
    headers: tuple[str, ...] = ()


def refuse(request: Request) -> Refusal | None:
    """What is wrong with a request for everybody, a proxy as well as an endpoint; None for nothing.

    Args:
        request: one that `message.parse` accepted.
    """
    return None if request.plain else refuse_target(request.ruri) or _refuse_addresses(request)


def refuse_target(ruri: str) -> Refusal | None:
    """What is wrong with a Request-URI (RFC 3261 8.2.2.1, 16.3 step 2); None for nothing.

    One with headers is refused (RFC 3261 19.1.1): what it names would become headers of the request that goes on.

    Args:
        ruri: as it stands in the request line.
    """
    if _USUAL_TARGET.fullmatch(ruri) is not None:
        return None
    uri = parse_uri(ruri)
    if uri is None:
        scheme, colon, _ = ruri.partition(":")
        if colon and scheme.lower() not in ("sip", "sips", "tel") and _SCHEME.fullmatch(scheme):
            return Refusal(416, "Unsupported URI Scheme")
        return Refusal(400, "Malformed Request-URI")
    return Refusal(400, "Headers in the Request-URI") if uri.headers else None


def refuse_relaying(request: Request, supported: Container[str] = ()) -> Refusal | None:
    """Why a proxy may not pass a request on (RFC 3261 16.3 steps 3 and 5); None when it may.

    Args:
        request: one that `message.parse` accepted.
        supported: the option tags, in lower case, that a request may demand of this proxy by Proxy-Require.
    """
    if request.max_forwards == 0:
        return Refusal(483, "Too Many Hops")
    # RFC 3261 8.2.2.3: in these two methods the demand is ignored.
    if "proxy-require" not in request.names or request.method in ("ACK", "CANCEL"):
        return None
    return refuse_options(request, "proxy-require", supported)


def refuse_options(request: Request, header: str, supported: Container[str] = ()) -> Refusal | None:
    """The 420 for option tags that are not supported (RFC 3261 8.2.2.3), with its Unsupported; None for none.

    Args:
        request: whose tags these are.
        header: ``proxy-require`` where this is a proxy, ``require`` where it is the endpoint.
        supported: the supported ones, in lower case.
    """
    demanded = [tag for tag in request.all(header) if tag.lower() not in supported]
    if not demanded:
        return None
    named = ", ".join([tag for tag in demanded if is_token(tag)][:MAX_UNSUPPORTED])
    return Refusal(420, "Bad Extension", (f"Unsupported: {named}",) if named else ())


def _refuse_addresses(request: Request) -> Refusal | None:
    lines, index = request.lines, request.names.index
    if not _is_address(lines[index("from")]):
        return Refusal(400, "Malformed From header")
    return None if _is_address(lines[index("to")]) else Refusal(400, "Malformed To header")


def _is_address(line: str) -> bool:
    """Whether a From or To can be read in one way only (RFC 4475 3.1.2.6, 3.1.2.15).

    A display name of other characters than a token's is let pass where it is not ambiguous: names in UTF-8 without
    quotes are common.
    """
    if _USUAL_ADDRESS.fullmatch(line) is not None:
        return True
    address = parse_name_addr(line.partition(":")[2])
    if address is None or not address.uri or _NEVER_IN_AN_ADDRESS.search(address.uri):
        return False
    return address.display[:1] == '"' or _NEVER_UNQUOTED.search(address.display) is None
