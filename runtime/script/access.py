"""How each variable of the language reads and changes the message context, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from runtime.context import Context, RouteType, Value
from runtime.script.patterns import MAX_TEXT_CHARS
from runtime.script.uris import UriParts, can_be_sent, parts_of, split_uri
from runtime.sip.message import Reply, Request


class Unwritable(ValueError):
    """A variable does not take this value; the message says why."""


# $var


def get_var(c: Context, name: str) -> Value:
    """`$var(name)`; NULL until something is assigned."""
    return c.variables.get(name)


def set_var(c: Context, name: str, value: Value) -> None:
    """Assign `$var(name)`."""
    c.variables[name] = value


# $avp: a stack. The context keeps the oldest value first; the index counts from the newest.


def get_avp(c: Context, name: str) -> Value:
    """`$avp(name)`: the newest value."""
    values = c.avps.get(name)
    return values[-1] if values else None


def push_avp(c: Context, name: str, value: Value) -> None:
    """`$avp(name) = value` adds a value; `= NULL` takes the newest away."""
    if value is not None:
        c.avps.setdefault(name, []).append(value)
    else:
        drop_avp(c, name, 0)


def clear_avp(c: Context, name: str, value: Value) -> None:
    """`$avp(name) := value`: nothing but this value is left."""
    if value is None:
        c.avps.pop(name, None)
    else:
        c.avps[name] = [value]


def put_avp(c: Context, name: str, index: Value, value: Value) -> None:
    """`$(avp(name)[index]) = value` replaces that value; NULL takes it away. An index that is not there: Unwritable.

    At `[append]` the value is added as the oldest one.
    """
    values = c.avps.get(name, [])
    if index == "append":
        if value is not None:
            c.avps[name] = [value, *values]
        return
    if not isinstance(index, int) or not -len(values) <= index < len(values):
        raise Unwritable(f"$avp({name}) has no value [{index}]")
    if value is None:
        drop_avp(c, name, index)
    else:
        values[-1 - index] = value


def drop_avp(c: Context, name: str, index: int) -> None:
    """Take one value away; nothing happens when it is not there."""
    values = c.avps.get(name)
    if values and -len(values) <= index < len(values):
        del values[-1 - index]
        if not values:
            del c.avps[name]


def all_avp(c: Context, name: str) -> list[Value]:
    """Every value, newest first: a list of its own."""
    return c.avps.get(name, [])[::-1]


# Lists and their indices


def pick(values: list[Value], index: Value) -> Value:
    """`[index]` of a list; NULL when it is not there. A negative index counts from the end."""
    if isinstance(index, int) and -len(values) <= index < len(values):
        return values[index]
    return None


def joined(values: list[Value]) -> Value:
    """`[*]`: every value as text, with a comma and a space between; NULL when there is none, or it is too long."""
    texts = [str(value) for value in values]
    too_long = sum(map(len, texts)) > MAX_TEXT_CHARS
    return ", ".join(texts) if texts and not too_long else None


# Other messages


def request_of(c: Context) -> Context | None:
    """`$(<request>…)`: in a reply route the request that is replied to; where a request runs, that itself."""
    return c if isinstance(c.message, Request) else c.request


def reply_of(c: Context) -> Context | None:
    """`$(<reply>…)`: in a failure route the reply that won so far; in a reply route that itself."""
    if isinstance(c.message, Reply):
        return c
    if c.reply is None:
        return None
    return Context(
        c.reply,
        route=RouteType.ONREPLY,
        avps=c.avps,
        variables=c.variables,
        documents=c.documents,
        flags=c.flags,
        transaction=c.transaction,
        reply_status=c.reply_status,
        branch_index=c.branch_index,
    )


# Parameters and return values


def get_param(c: Context, inner: str) -> Value:
    """`$param(1)` is the route's first parameter, `$param(name)` an event's."""
    if inner.isdecimal() and inner.isascii() and len(inner) < 10:
        at = int(inner) - 1
        if 0 <= at < len(c.params):
            return c.params[at]
    return c.named_params.get(inner)


def get_return(c: Context, inner: str) -> Value:
    """`$return(0)` is the first value behind the code of the last `return(code, value, …)`."""
    if inner.isdecimal() and inner.isascii() and len(inner) < 10 and int(inner) < len(c.returned):
        return c.returned[int(inner)]
    return None


# The Request-URI and the destination


def get_ruri(c: Context) -> Value:
    """`$ru`."""
    return c.ruri or None


def set_ruri(c: Context, value: Value) -> None:
    """Assign `$ru`; NULL puts the URI of the received request back."""
    if value is None:
        c.ruri = c.message.ruri if isinstance(c.message, Request) else ""
    elif isinstance(value, str) and can_be_sent(value):
        c.ruri = value
    else:
        raise Unwritable("$ru takes a URI")


def get_original_uri(c: Context) -> Value:
    """`$ou`: the Request-URI as received."""
    return c.message.ruri if isinstance(c.message, Request) else None


def set_dst_uri(c: Context, value: Value) -> None:
    """Assign `$du`; NULL unsets it."""
    if value is None:
        c.dst_uri = None
    elif isinstance(value, str) and can_be_sent(value):
        c.dst_uri = value
    else:
        raise Unwritable("$du takes a URI")


def part_of(read: Callable[[Context], Value], part: str) -> Callable[[Context], Value]:
    """Reads a part of the URI that `read` gives."""

    def get(c: Context) -> Value:
        text = read(c)
        found: Value = getattr(parts_of(text if isinstance(text, str) else None), part)
        return None if found == "" and part == "host" else found

    return get


def transport(read: Callable[[Context], Value]) -> Callable[[Context], Value]:
    """Reads the transport of the URI that `read` gives: UDP when it names none."""

    def get(c: Context) -> Value:
        text = read(c)
        uri = split_uri(text) if isinstance(text, str) else None
        return None if uri is None else uri.param("transport") or "UDP"

    return get


def _ruri_parts(c: Context) -> UriParts:
    uri = split_uri(c.ruri)
    if uri is None:
        raise Unwritable("there is no Request-URI to change")
    return uri


def set_ruri_user(c: Context, value: Value) -> None:
    """Assign `$rU`; NULL or an empty text leaves a URI without a user."""
    user = _word(value, '@:;?<>" ', "$rU") if value is not None else None
    c.ruri = _put_together(_ruri_parts(c)._replace(user=user or None), "$rU")


def set_ruri_host(c: Context, value: Value) -> None:
    """Assign `$rd`."""
    c.ruri = _with_other_host(_ruri_parts(c), value, "$rd")


def set_ruri_port(c: Context, value: Value) -> None:
    """Assign `$rp`: an integer, digits, or NULL for none."""
    c.ruri = str(_with_host(_ruri_parts(c), "$rp")._replace(port=_port_of(value, "$rp")))


def _with_host(uri: UriParts, name: str) -> UriParts:
    if not uri.host:
        raise Unwritable(f"{name}: the URI is one of a telephone number and has no host")
    return uri


def _with_other_host(uri: UriParts, value: Value, name: str) -> str:
    if value is None or value == "":
        raise Unwritable(f"{name} takes a host")
    return _put_together(_with_host(uri, name)._replace(host=_word(value, '@;?<>" ', name)), name)


def _put_together(uri: UriParts, name: str) -> str:
    text = str(uri)
    if not can_be_sent(text):
        raise Unwritable(f"{name} would leave no URI with this value")
    return text


def _word(value: Value, forbidden: str, name: str) -> str:
    text = str(value)
    if any(char in text for char in forbidden) or any(char < " " for char in text):
        raise Unwritable(f"{name} does not take this character")
    return text


def _port_of(value: Value, name: str) -> int | None:
    if value is None or value == "":
        return None
    text = str(value)
    if not (text.isascii() and text.isdecimal() and len(text) < 6 and int(text) < 65536):
        raise Unwritable(f"{name} takes a port number")
    return int(text)


def _dst_parts(c: Context) -> UriParts:
    uri = split_uri(c.dst_uri or "")
    if uri is None:
        raise Unwritable("there is no $du to change")
    return uri


def set_dst_host(c: Context, value: Value) -> None:
    """Assign `$dd`."""
    c.dst_uri = _with_other_host(_dst_parts(c), value, "$dd")


def set_dst_port(c: Context, value: Value) -> None:
    """Assign `$dp`."""
    c.dst_uri = str(_with_host(_dst_parts(c), "$dp")._replace(port=_port_of(value, "$dp")))


# Flags


def get_message_flags(c: Context) -> Value:
    """`$mf`: the names of the flags that are set."""
    return " ".join(sorted(c.flags))


def get_branch_flags(c: Context) -> Value:
    """`$bf`: the names of the branch flags that are set."""
    return " ".join(sorted(c.branch_flags))


def get_flag(c: Context, name: str) -> Value:
    """`$msg.flag(NAME)`: 1 or 0."""
    return int(name in c.flags)


def set_flag(c: Context, name: str, value: Value) -> None:
    """Assign `$msg.flag(NAME)`: 0, an empty string or NULL takes it off."""
    (c.flags.add if value else c.flags.discard)(name)


def error_part(part: str) -> Callable[[Context], Value]:
    """Reads `$(err.part)`: in an error route, what is wrong with the message."""
    name = f"err.{part}"

    def get(c: Context) -> Value:
        return c.named_params.get(name) if c.route is RouteType.ERROR else None

    return get


# The route that runs

ROUTE_KINDS: Final = {
    RouteType.REQUEST: "request_route",
    RouteType.FAILURE: "failure_route",
    RouteType.ONREPLY: "onreply_route",
    RouteType.BRANCH: "branch_route",
    RouteType.LOCAL: "local_route",
    RouteType.STARTUP: "startup_route",
    RouteType.TIMER: "timer_route",
    RouteType.EVENT: "event_route",
    RouteType.ERROR: "error_route",
}
"""What `$route.type` says."""


def get_route_type(c: Context) -> Value:
    """`$route.type`."""
    return ROUTE_KINDS.get(c.route)


def get_route(c: Context) -> Value:
    """`$route`: the route's type and its name."""
    kind = ROUTE_KINDS.get(c.route, "route")
    return f"{kind}[{c.route_name}]" if c.route_name else kind


def get_route_name(c: Context) -> Value:
    """`$route.name`: NULL in an unnamed route."""
    return c.route_name or None
