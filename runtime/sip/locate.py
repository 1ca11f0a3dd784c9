"""Where a request goes (RFC 3263). Numeric hosts only, so far."""

from __future__ import annotations

import ipaddress
from functools import lru_cache
from typing import NamedTuple

from runtime.sip.uri import parse_uri


class Target(NamedTuple):
    """A transport address."""

    protocol: str
    host: str
    port: int


class NotFound(NamedTuple):
    """There is none."""

    reason: str


@lru_cache(maxsize=4096)
def numeric_target(text: str) -> Target | NotFound | None:
    uri = parse_uri(text)
    if uri is None or uri.scheme != "sip":
        return NotFound("no SIP URI")
    host = (uri.params.get("maddr") or uri.host).strip("[]")
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return None
    return Target((uri.params.get("transport") or "udp").lower(), host, uri.port or 5060)
