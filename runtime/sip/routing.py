"""The path of a dialog: Record-Route on the way there, Route ever after (RFC 3261 16.4, 16.6, 16.12).

A loose router is named by a URI with the parameter ``lr``. A strict router (RFC 2543) has none: it expects its own URI
as the Request-URI and the true target at the end of the Route list. Either may stand before us or behind us.

Where a request comes in on one socket and goes out on another, we put in two values, each marked ``r2=on``: each side
then sends to the address that it can reach. Both come off together.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple, TypeAlias
from urllib.parse import quote, unquote

from runtime.context import RecordRoute
from runtime.listen import Listen
from runtime.sip.fields import parse_name_addr, split_host_port
from runtime.sip.uri import Uri, parse_uri

IsOwn: TypeAlias = Callable[[str, int | None, str | None], bool]
"""Whether a host, a port (None for the default one) and a protocol (None for any) are this server's."""

MAX_TAG_CHARS: Final = 1024
"""Of a From tag that goes into Record-Route. A longer one would grow into a line that is refused when it comes back."""
_TAG_SAFE: Final = "-_.!~*'()[]/:&+$"
"""What may stand in a URI's parameter beside letters and digits (RFC 3261 25.1, paramchar)."""
_USER_SAFE: Final = "-_.!~*'()&=+$,;?/%"
_PARAMS = re.compile(r"(?:;[A-Za-z0-9\-_.!~*'()\[\]/:&+$%]+(?:=[A-Za-z0-9\-_.!~*'()\[\]/:&+$%=]*)?)*")


_USUAL: Final = re.compile(r"<(sip:([A-Za-z0-9.-]+)(?::([0-9]{1,5}))?;lr(?:;(?:ftag|did)=[A-Za-z0-9.-]*)*)>")
"""A value as we write it ourselves, one for both sides and without parameters of the script's. To read it as any other
value costs three times as much."""


class Routed(NamedTuple):
    """What `loose_route` decided.

    Args:
        ruri: the Request-URI to send.
        dst_uri: the next hop where it is not the Request-URI; None where it is.
        routes: the Route values to send.
        own: the values of ours that were taken off, none to two, as text: the first is the one that the request was
            sent to, the last tells which way it goes out.
    """

    ruri: str
    dst_uri: str | None
    routes: list[str]
    own: tuple[str, ...]


class NotRouted(enum.Enum):
    """Why Route says nothing about where the request goes."""

    NO_ROUTE = "the request has no Route"
    MALFORMED = "a Route value cannot be read"
    NO_TARGET = "a strict router left no Request-URI in Route"


def loose_route(ruri: str, routes: Sequence[str], is_own: IsOwn) -> Routed | NotRouted:
    """Decide where a request with Route goes.

    The steps of RFC 3261 16.4 (what a strict router before us did is undone; our own value comes off) and 16.6 step 6
    (a strict router behind us gets what it expects). Of our own values one comes off, or a pair: a request that
    passes here twice has two, and the second is for its second time.

    Args:
        ruri: the Request-URI as it is now.
        routes: the Route values, topmost first.
        is_own: which addresses are this server's.
    """
    if not routes:
        return NotRouted.NO_ROUTE
    target = parse_uri(ruri) if "lr" in ruri.lower() else None
    # That we put it into Record-Route is what `lr` says: the address of a user at this server has none.
    if target is not None and "lr" in target.params and _names_us(target, is_own):
        return _after_strict(ruri, target, list(routes), is_own)
    return _after_loose(ruri, list(routes), is_own)


def _after_strict(ruri: str, target: Uri, left: list[str], is_own: IsOwn) -> Routed | NotRouted:
    own = [ruri, *_second(left, target, is_own)]
    last = _uri_of(left.pop()) if left else None
    if last is None:
        return NotRouted.NO_TARGET
    return _towards_next(_as_request_uri(*last), left, tuple(own))


def _after_loose(ruri: str, left: list[str], is_own: IsOwn) -> Routed | NotRouted:
    usual = _USUAL.fullmatch(left[0])
    if usual is not None and is_own(usual[2], int(usual[3]) if usual[3] else None, None):
        del left[0]
        return _towards_next(ruri, left, (usual[1],))
    first = _uri_of(left[0])
    if first is None:
        return NotRouted.MALFORMED
    text, uri = first
    if not _names_us(uri, is_own):
        return _towards_next(ruri, left, ())
    del left[0]
    return _towards_next(ruri, left, (text, *_second(left, uri, is_own)))


def _second(left: list[str], first: Uri, is_own: IsOwn) -> list[str]:
    """Take off the second value of a pair of ours, if the first belongs to one."""
    if "r2" not in first.params or not left:
        return []
    second = _uri_of(left[0])
    if second is None or "r2" not in second[1].params or not _names_us(second[1], is_own):
        return []
    del left[0]
    return [second[0]]


def _towards_next(ruri: str, left: list[str], own: tuple[str, ...]) -> Routed | NotRouted:
    """RFC 3261 16.6 steps 6 and 7: what a loose or a strict router behind us is sent."""
    if not left:
        return Routed(ruri, None, left, own)
    following = _uri_of(left[0])
    if following is None or ">" in ruri:  # it would end the brackets that it is put into
        return NotRouted.MALFORMED
    text, uri = following
    if "lr" in uri.params:
        return Routed(ruri, text, left, own)
    return Routed(_as_request_uri(text, uri), None, [*left[1:], f"<{ruri}>"], own)


def _uri_of(value: str) -> tuple[str, Uri] | None:
    """The URI of a Route value, as text and in its parts; None when there is none."""
    if "<" in value:
        address = parse_name_addr(value)
        text = address.uri if address is not None else ""
    else:
        text = value.strip()  # brackets are demanded; without them the parameters can be nobody's but the URI's
    uri = parse_uri(text)
    return None if uri is None or not uri.host else (text, uri)


def _as_request_uri(text: str, uri: Uri) -> str:
    """Without what a Request-URI may not have (RFC 3261 19.1.1): headers and ``method``."""
    if not uri.headers and "method" not in uri.params:
        return text
    params = {name: value for name, value in uri.params.items() if name != "method"}
    return str(Uri(uri.scheme, uri.user, uri.host, uri.password, uri.port, params))


def _names_us(uri: Uri, is_own: IsOwn) -> bool:
    return uri.host != "" and is_own(uri.host, uri.port, protocol_of(uri))


def protocol_of(uri: Uri) -> str | None:
    """The protocol that a URI asks for, in lower case; None when it leaves that open (RFC 3263 4.1)."""
    transport = (uri.params.get("transport") or "").lower()
    if uri.scheme == "sips":
        return {"": "tls", "tcp": "tls", "ws": "wss"}.get(transport, transport)
    return transport or None


# --- The parameters of our own value


def params_text(uri: str) -> str:
    """A SIP URI's parameters as they are written, without the first semicolon; empty when it has none."""
    # The user part may hold semicolons and question marks, so it is cut off first.
    return uri.rpartition("@")[2].partition("?")[0].partition(";")[2]


def route_param(params: str | None, name: str) -> str | None:
    """One parameter of our own Route value.

    Args:
        params: `Context.own_route`.
        name: in lower case.

    Returns:
        its value, empty when it has none; None when it is not there.
    """
    for piece in params.split(";") if params else ():
        found, _, value = piece.partition("=")
        if found.strip().lower() == name:
            return value.strip()
    return None


def is_upstream(params: str | None, from_tag: str | None) -> bool:
    """Whether a request goes from the callee to the caller: its From tag is not the one that Record-Route got.

    Without that tag there is nothing to tell by, and it counts as downstream, as in OpenSIPS.

    Args:
        params: `Context.own_route`.
        from_tag: the tag of the request's From.
    """
    tag = route_param(params, "ftag")
    if not tag or not from_tag:
        return False
    return unquote(tag, "latin-1") != from_tag


def from_tag_param(tag: str | None) -> str:
    """``;ftag=…`` for Record-Route, escaped as a URI demands; empty without a tag, or with one beyond all measure."""
    if not tag or len(tag) > MAX_TAG_CHARS:
        return ""
    return f";ftag={tag if tag.isalnum() and tag.isascii() else quote(tag, _TAG_SAFE, 'latin-1', 'replace')}"


def are_params(text: str) -> bool:
    """Whether the text is ``;name=value;name…``, fit to stand in a URI. An empty one is."""
    return _PARAMS.fullmatch(text) is not None


def is_preset(text: str) -> bool:
    """Whether the text is ``host``, ``host:port`` or either with ``;name=value…`` behind, fit to stand in a URI."""
    place, semicolon, params = text.partition(";")
    return split_host_port(place) is not None and len(place.split()) == 1 and are_params(semicolon + params)


def user_part(text: str) -> str:
    """The text as a URI's user part: what may not stand there is escaped; what is escaped already stays."""
    return quote(text, _USER_SAFE, "latin-1", "replace")


# --- Record-Route, and Path, which is built the same way


def record_route_values(
    record_route: RecordRoute, inbound: Listen, outbound: Listen, *, secure: bool = False
) -> list[str]:
    """The Record-Route values to put on top of a request (RFC 3261 16.6 step 4).

    Args:
        record_route: what `record_route` asked for.
        inbound, outbound: the socket that the request came in on, and the one that it goes out on.
        secure: the request is for a SIPS URI, so that the way back is to be secure where it can be.

    Returns:
        one value where both sides reach us at the same address; else two, the one for the next hop first, each
        marked ``r2=on``.
    """
    asked = record_route
    if asked.preset is not None:
        presets = (asked.preset, asked.preset_inbound)
        places = [f"sip:{_at(asked.user)}{preset}" for preset in presets if preset is not None]
    else:
        places = [own_uri(outbound, asked.user, secure=secure)]
        if asked.double and inbound != outbound:
            places.append(own_uri(inbound, asked.user, secure=secure))
    return as_loose_router(places, asked.params)


def own_uri(socket: Listen, user: str = "", *, secure: bool = False) -> str:
    """The URI of one of our sockets, its protocol named unless it is UDP."""
    protocol, scheme = socket.protocol, "sip"
    if secure and protocol in _SECURE:
        protocol, scheme = _SECURE[protocol], "sips"
    transport = f";transport={protocol}" if protocol != "udp" else ""
    return f"{scheme}:{_at(user)}{socket.sent_by}{transport}"


def _at(user: str) -> str:
    return f"{user}@" if user else ""


_SECURE: Final = {"tls": "udp", "wss": "ws"}
"""What a protocol is called where the scheme says already that it is secure; ``udp`` is written as nothing."""


def as_loose_router(uris: Sequence[str], params: str) -> list[str]:
    """One or two URIs of ours as the values of a header, with ``lr``, and ``r2=on`` where there are two."""
    uris = list(dict.fromkeys(uris))
    pair = ";r2=on" if len(uris) > 1 else ""
    return [f"<{uri}{pair};lr{params}>" for uri in uris]
