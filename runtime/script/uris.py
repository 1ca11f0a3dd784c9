"""A SIP URI taken apart and put together again, for `$rU`, `$rd` and `{uri.…}`.

The parts are the text's own: what is not changed comes back as it was written.
"""

from __future__ import annotations

import functools
import re
from typing import Final, NamedTuple


class UriParts(NamedTuple):
    """The parts of `scheme:user:password@host:port;params?headers`; None where a part is missing."""

    scheme: str
    user: str | None
    password: str | None
    host: str
    port: int | None
    params: str
    headers: str

    def __str__(self) -> str:
        password = "" if self.password is None else f":{self.password}"
        # The number of a `tel:` URI has no host behind it.
        userinfo = "" if self.user is None else f"{self.user}{password}{'@' if self.host else ''}"
        port = "" if self.port is None else f":{self.port}"
        params = f";{self.params}" if self.params else ""
        headers = f"?{self.headers}" if self.headers else ""
        return f"{self.scheme}:{userinfo}{self.host}{port}{params}{headers}"

    def param(self, name: str) -> str | None:
        """A parameter's value, empty when it has none; None when it is not there."""
        for piece in self.params.split(";"):
            found, _, value = piece.partition("=")
            if found.strip().lower() == name.lower():
                return value.strip()
        return None


@functools.lru_cache(maxsize=4096)
def split_uri(text: str) -> UriParts | None:
    """Take a URI apart (RFC 3261 19.1.1); None when it is none. A `tel:` URI's number counts as its user."""
    scheme, colon, rest = text.partition(":")
    if not colon or not scheme.isalnum() or not scheme.isascii():
        return None
    if scheme.lower() == "tel":
        number, _, params = rest.partition(";")
        return UriParts(scheme, number, None, "", None, params, "") if number else None
    userinfo, at, rest = rest.rpartition("@")
    user, password = _userinfo(userinfo) if at else (None, None)
    rest, _, headers = rest.partition("?")
    hostport, _, params = rest.partition(";")
    place = _host_port(hostport)
    if place is None:
        return None
    return UriParts(scheme, user, password, place[0], place[1], params, headers)


def can_be_sent(text: str) -> bool:
    """Whether it is a URI that may go into a request line.

    A URI that is only read may hold anything. In one that is sent a blank would end it, and a line end would begin a
    header of whoever gave us the text.
    """
    return split_uri(text) is not None and _BREAKS_A_LINE.search(text) is None


_BREAKS_A_LINE: Final = re.compile(r"[\x00-\x20\x7f]")

NO_URI: Final = UriParts("", None, None, "", None, "", "")


@functools.lru_cache(maxsize=4096)
def parts_of(text: str | None) -> UriParts:
    """As `split_uri`, with empty parts for what is no URI: for reading a part without a test."""
    return NO_URI if text is None else split_uri(text) or NO_URI


def _userinfo(text: str) -> tuple[str, str | None]:
    user, colon, password = text.partition(":")
    return user, password if colon else None


def _host_port(text: str) -> tuple[str, int | None] | None:
    host, port = text, ""
    if text.startswith("["):
        host, bracket, port = text.partition("]")
        host += bracket
        if not bracket or (port and not port.startswith(":")):
            return None
        port = port[1:]
    elif ":" in text:
        host, _, port = text.partition(":")
    if not host or any(char in host for char in ' <>"'):
        return None
    if not port:
        return host, None
    if not (port.isascii() and port.isdecimal()) or len(port) > 5 or int(port) > 65535:
        return None
    return host, int(port)
