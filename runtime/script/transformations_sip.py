"""The transformations of URIs, Vias, parameter lists and name-addrs."""

from __future__ import annotations

from runtime.context import Value
from runtime.script.changes import CHANGES, Change, Wants, change
from runtime.script.uris import split_uri
from runtime.sip.fields import Via, parse_name_addr, parse_via, split_outside

# uri


@change("uri.user uri.username")
def _uri_user(text: str) -> Value:
    """The user of a URI."""
    uri = split_uri(text)
    return None if uri is None else uri.user or ""


@change("uri.passwd uri.password")
def _uri_password(text: str) -> Value:
    """The password of a URI."""
    uri = split_uri(text)
    return None if uri is None else uri.password or ""


@change("uri.host uri.domain")
def _uri_host(text: str) -> Value:
    """The host of a URI."""
    uri = split_uri(text)
    return None if uri is None else uri.host


@change("uri.port")
def _uri_port(text: str) -> Value:
    """The port of a URI."""
    uri = split_uri(text)
    if uri is None:
        return None
    return "" if uri.port is None else uri.port


@change("uri.params")
def _uri_params(text: str) -> Value:
    """All parameters of a URI."""
    uri = split_uri(text)
    return None if uri is None else uri.params


@change("uri.headers")
def _uri_headers(text: str) -> Value:
    """The headers of a URI: what stands behind its question mark."""
    uri = split_uri(text)
    return None if uri is None else uri.headers


@change("uri.schema uri.scheme")
def _uri_scheme(text: str) -> Value:
    """The scheme of a URI: sip, sips or tel."""
    uri = split_uri(text)
    return None if uri is None else uri.scheme


@change("uri.param", Wants.TEXT)
def _uri_param(text: str, name: str) -> Value:
    """The parameter of that name of a URI."""
    uri = split_uri(text)
    return None if uri is None else uri.param(name) or ""


def _uri_known_params() -> None:
    for name, key in {
        "transport": "transport",
        "ttl": "ttl",
        "uparam": "user",
        "maddr": "maddr",
        "method": "method",
        "lr": "lr",
        "r2": "r2",
    }.items():

        def read(text: str, key: str = key) -> Value:
            return _uri_param(text, key)

        CHANGES["uri", name] = Change(read, doc=f"The parameter `{key}` of a URI.")


_uri_known_params()

# via: the topmost value of a Via


def _via(text: str) -> Via | None:
    values = split_outside(text, ",")
    return parse_via(values[0]) if values else None


@change("via.name")
def _via_name(text: str) -> Value:
    """The protocol's name in a Via: SIP."""
    return None if _via(text) is None else "SIP"


@change("via.version")
def _via_version(text: str) -> Value:
    """The protocol's version in a Via: 2.0."""
    return None if _via(text) is None else "2.0"


@change("via.transport")
def _via_transport(text: str) -> Value:
    """The transport in a Via, such as UDP."""
    via = _via(text)
    return None if via is None else via.transport


@change("via.host via.domain")
def _via_host(text: str) -> Value:
    """The host in a Via."""
    via = _via(text)
    return None if via is None else via.host


@change("via.port")
def _via_port(text: str) -> Value:
    """The port in a Via."""
    via = _via(text)
    return None if via is None else via.port


@change("via.params")
def _via_params(text: str) -> Value:
    """All parameters of a Via."""
    if _via(text) is None:
        return None
    return ";".join(split_outside(split_outside(text, ",")[0], ";")[1:])


@change("via.param", Wants.TEXT)
def _via_param(text: str, name: str) -> Value:
    """The parameter of that name of a Via."""
    via = _via(text)
    return None if via is None else via.params.get(name.strip().lower())


def _via_known_params() -> None:
    for name in ("branch", "received", "rport"):

        def read(text: str, name: str = name) -> Value:
            return _via_param(text, name)

        CHANGES["via", name] = Change(read, doc=f"The parameter `{name}` of a Via.")


_via_known_params()

# param: lists such as a=b;c=d


def _params(text: str) -> list[tuple[str, str]]:
    pairs = []
    for piece in split_outside(text, ";"):
        name, _, value = piece.partition("=")
        value = value.strip()
        if len(value) > 1 and value[0] == value[-1] == '"':
            value = value[1:-1]
        pairs.append((name.strip(), value))
    return pairs


@change("param.value", Wants.TEXT)
def _param_value(text: str, name: str) -> Value:
    """The value of the parameter of that name in a list `a=1;b=2`."""
    wanted = name.strip().lower()
    return next((value for found, value in _params(text) if found.lower() == wanted), "")


@change("param.exist param.exists", Wants.TEXT)
def _param_exist(text: str, name: str) -> Value:
    """1 when a list of parameters has one of that name, else 0."""
    wanted = name.strip().lower()
    return int(any(found.lower() == wanted for found, _ in _params(text)))


@change("param.valueat", Wants.INTEGER)
def _param_valueat(text: str, index: int) -> Value:
    """The value of the parameter of that number, from 0; a negative number counts from the end."""
    pairs = _params(text)
    return pairs[index][1] if -len(pairs) <= index < len(pairs) else ""


@change("param.name", Wants.INTEGER)
def _param_name(text: str, index: int) -> Value:
    """The name of the parameter of that number, from 0; a negative number counts from the end."""
    pairs = _params(text)
    return pairs[index][0] if -len(pairs) <= index < len(pairs) else ""


@change("param.count")
def _param_count(text: str) -> Value:
    """How many parameters a list has."""
    return len(_params(text))


# nameaddr


@change("nameaddr.name")
def _nameaddr_name(text: str) -> Value:
    """The display name in `"name" <uri>;params`, without its quotes."""
    found = parse_name_addr(text)
    return None if found is None else found.display.strip('"')


@change("nameaddr.uri")
def _nameaddr_uri(text: str) -> Value:
    """The URI in `"name" <uri>;params`."""
    found = parse_name_addr(text)
    return None if found is None else found.uri


@change("nameaddr.len")
def _nameaddr_len(text: str) -> Value:
    """The length of the whole."""
    return None if parse_name_addr(text) is None else len(text)


@change("nameaddr.param", Wants.TEXT)
def _nameaddr_param(text: str, name: str) -> Value:
    """The parameter of that name behind the URI."""
    found = parse_name_addr(text)
    return None if found is None else found.params.get(name.strip().lower()) or ""


@change("nameaddr.params")
def _nameaddr_params(text: str) -> Value:
    """The parameters behind the address, as they are written; empty without any."""
    found = parse_name_addr(text)
    if found is None:
        return None
    return ";".join(name if value is None else f"{name}={value}" for name, value in found.params.items())
