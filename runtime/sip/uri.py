"""SIP, SIPS and tel URIs (RFC 3261 19.1, RFC 3966)."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from runtime.sip.fields import Params, parse_params, split_host_port

_MAX_URI_CHARS = 8_192
_NEVER_IN_A_URI = re.compile(r'[\x00-\x20\x7f<>"]')
_NUMBER = re.compile(r"\+?[0-9A-Fa-f*#.()-]+")


@dataclass(frozen=True, slots=True)
class Uri:
    """A URI in its parts. Escapes (``%41``) stay as they are written, so that `str()` gives back what was read.

    Args:
        scheme: ``sip``, ``sips`` or ``tel``.
        user: the user part; of a tel URI the number; empty when absent.
        host: host name, IPv4 address, or IPv6 address in its brackets; empty for tel.
        password: None when absent; it may be empty (``sip:a:@b``).
        port: None when absent.
        params: names in lower case to values as written, None for a parameter without ``=``.
        headers: what follows the question mark, as written; empty when absent.
    """

    scheme: str
    user: str
    host: str
    password: str | None = None
    port: int | None = None
    params: Params = field(default_factory=dict)
    headers: str = ""

    def __str__(self) -> str:
        user = self.user if self.password is None else f"{self.user}:{self.password}"
        at = "@" if self.host and (user or self.password is not None) else ""
        port = "" if self.port is None else f":{self.port}"
        params = "".join(f";{name}" if value is None else f";{name}={value}" for name, value in self.params.items())
        headers = f"?{self.headers}" if self.headers else ""
        return f"{self.scheme}:{user}{at}{self.host}{port}{params}{headers}"


def parse_uri(text: str) -> Uri | None:
    """Read a URI, without angle brackets around it.

    Args:
        text: e.g. ``sip:alice@example.com:5070;transport=tcp``, ``tel:+358-555-1234567``.

    Returns:
        None for another scheme and for what is no URI; never raises.
    """
    if len(text) > _MAX_URI_CHARS or _NEVER_IN_A_URI.search(text):
        return None
    scheme, colon, rest = text.partition(":")
    scheme = scheme.lower()
    if not colon:
        return None
    if scheme in ("sip", "sips"):
        return _parse_sip(scheme, rest)
    return _parse_tel(rest) if scheme == "tel" else None


def _parse_sip(scheme: str, rest: str) -> Uri | None:
    # The user part may hold semicolons and question marks (RFC 3261 25.1, user-unreserved), so it is cut off first.
    userinfo, at, place = rest.rpartition("@")
    if "@" in userinfo or (at and not userinfo):
        return None
    place, _, headers = place.partition("?")
    host_port, _, params = place.partition(";")
    found = split_host_port(host_port)
    if found is None:
        return None
    user, has_password, password = userinfo.partition(":")
    return Uri(
        scheme,
        user,
        found[0],
        password if has_password else None,
        found[1],
        parse_params(params) if params else {},
        headers,
    )


def _parse_tel(rest: str) -> Uri | None:
    number, _, params = rest.partition(";")
    if _NUMBER.fullmatch(number) is None:
        return None
    return Uri("tel", number, "", params=parse_params(params) if params else {})
