"""Who hears of which event, and how it is told: what the event interface decides.

An event has a name, and parameters that all have names or none. Those who subscribed to it are a short list that all
processes share; the list is read at each event and written when somebody subscribes, which is also when those whose
time is over leave it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgpack

from runtime.context import Value
from runtime.script import tree

MAX_SUBSCRIBERS: Final = 64
"""Of one event: each of them costs a datagram whenever it is raised."""
MAX_EVENTS: Final = 1000
"""Events that somebody has subscribed to, where the script computes their names."""
MAX_EXPIRE_S: Final = 1 << 31
MAX_NAME: Final = 64
NAME: Final = re.compile(rf"[!-~]{{1,{MAX_NAME}}}")
"""What names an event."""
_RAISE: Final = "raise_event"
_INTEGERS: Final = range(-(1 << 63), 1 << 63)


class Subscription(NamedTuple):
    """One subscriber of one event.

    Args:
        socket: where events are sent to, as it was subscribed: ``udp:127.0.0.1:8888``.
        expire_s: seconds that were asked for; 0 for ever.
        ends_at: seconds of the epoch; 0 for never.
    """

    socket: str
    expire_s: int = 0
    ends_at: float = 0.0

    def is_alive(self, now: float) -> bool:
        return not self.ends_at or self.ends_at > now


class Notice(NamedTuple):
    """An event, as it is sent to those who subscribed.

    Args:
        event: its name.
        params: its values as JSON, an object or an array; empty where it has none.
    """

    event: str
    params: str

    def text(self, method: str = "", event_param: str = "", serial: int | None = None) -> bytes:
        """As JSON-RPC 2.0, as OpenSIPS's event modules send it.

        Args:
            method: what is called; the event's name where it is empty.
            event_param: the name of one more parameter that says which event it is; empty for none. It is the first
                one, also where parameters have no names.
            serial: the request's id; None for a notification.
        """
        params = self.params
        if event_param:
            params = _with_first(params, _dumped(text_of(event_param)), _dumped(text_of(self.event)))
        said = f'{{"jsonrpc":"2.0","method":{_dumped(text_of(method or self.event))}'
        if params:
            said += f',"params":{params}'
        return (said + ("}" if serial is None else f',"id":{serial}}}')).encode()


class Raised(NamedTuple):
    """The names of the events that a script raises, and whether it computes others."""

    names: tuple[str, ...]
    computed: bool


def packed(subscriptions: Iterable[Subscription]) -> bytes:
    """As they are kept."""
    data: bytes = msgpack.packb(list(subscriptions))
    return data


def alive(data: bytes | memoryview | None, now: float) -> list[Subscription]:
    """Those of what is kept whose time is not over at `now` (seconds of the epoch)."""
    found = [Subscription(*one) for one in msgpack.unpackb(data)] if data is not None else []
    return [one for one in found if one.is_alive(now)]


def with_one(subscribers: Sequence[Subscription], socket: str, expire_s: int, now: float) -> list[Subscription] | None:
    """The subscribers when this one is subscribed, or subscribed anew; None where they are too many."""
    others = without(subscribers, socket)
    if len(others) >= MAX_SUBSCRIBERS:
        return None
    return [*others, Subscription(socket, expire_s, now + expire_s if expire_s else 0.0)]


def without(subscribers: Iterable[Subscription], socket: str) -> list[Subscription]:
    """The subscribers when this one is none any more."""
    return [one for one in subscribers if one.socket != socket]


def notice_of(event: str, params: Sequence[Value], named: Mapping[str, Value]) -> Notice:
    """An event on its way to those who subscribed.

    Args:
        event: its name.
        params: all values.
        named: them by name, an object; an array is made of values without names. Without values there are no params.
    """
    if named:
        return Notice(event, _dumped({text_of(name): _json(value) for name, value in named.items()}))
    return Notice(event, _dumped([_json(value) for value in params]) if params else "")


def named_params(text: str) -> dict[str, Value] | None:
    """The parameters of a JSON object, as a script's values; None where it is none."""
    try:
        found = json.loads(text)
        return {script_of(name): _value(value) for name, value in found.items()} if isinstance(found, dict) else None
    except (ValueError, RecursionError):
        return None


def raised_by(routes: Iterable[tree.Route]) -> Raised:
    """The events that these routes raise."""
    names: dict[str, None] = {}
    computed = False
    for node in tree.everything_in(tuple(routes)):
        if isinstance(node, tree.Call) and node.name == _RAISE and node.arguments:
            match node.arguments[0]:
                case tree.Text(value) if "$" not in value:
                    names[value] = None
                case _:
                    computed = True
    return Raised(tuple(names), computed)


def script_of(text: str) -> str:
    """Text, as a script has it: its bytes spelled as latin-1."""
    return text.encode("utf-8", "surrogatepass").decode("latin-1")


def text_of(script: str) -> str:
    """A script's string as text."""
    return script.encode("latin-1", "replace").decode("utf-8", "replace")


def _with_first(params: str, name: str, value: str) -> str:
    """The parameters with one more before them."""
    if params.startswith("["):
        return f"[{value},{params[1:]}"
    return f"{{{name}:{value}{',' if params else ''}{params[1:] or '}'}"


def _dumped(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def _json(value: Value) -> str | int | None:
    return text_of(value) if isinstance(value, str) else value


def _value(value: Any) -> Value:
    match value:
        case str():
            return script_of(value)
        case int() if not isinstance(value, bool) and value in _INTEGERS:
            return value
        case _:
            return script_of(_dumped(value))
