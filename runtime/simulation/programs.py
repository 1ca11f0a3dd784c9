"""What programs outside of a server ask of it by its management interface, as a plan: what no SIP message brings about.

A script waits for them where it has a `local_route`, which sees requests of the server's own, an `event_route` for an
event that no module raises, and where it looks for values in a cache that it never puts there.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final

from runtime.script import tree
from runtime.simulation.chance import Chance
from runtime.simulation.drafts import Surroundings
from runtime.simulation.plan import Mi

_EACH: Final = 2
"""How often each of them happens in a run."""
_KEYS: Final = 8
_KEPT_S: Final = 4
"""For how long what is put into a cache stays there: what the script does without it is wanted as well."""
_PARAMETER: Final = re.compile(r"\$\(?param\(([A-Za-z_][A-Za-z0-9_]*)\)")
_METHODS: Final = ("OPTIONS", "MESSAGE", "INFO", "NOTIFY")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a script waits for.

    Args:
        own_requests: whether it has a local route.
        events: each with the names of its parameters, as far as the script reads them.
        keys: of values that it reads and never writes: the cache, and the name there; None for a name that it makes.
    """

    own_requests: bool = False
    events: tuple[tuple[str, tuple[str, ...]], ...] = ()
    keys: tuple[tuple[str, str | None], ...] = ()


def wanted_of(routes: Sequence[tree.Route], raised: Collection[str]) -> Wanted:
    """Read it from the script.

    Args:
        routes: its.
        raised: the events that modules raise.
    """
    own = [route for route in routes if route.kind == "event_route" and route.name not in raised]
    return Wanted(
        any(route.kind == "local_route" for route in routes),
        tuple((route.name, _parameters(route)) for route in own),
        _keys(routes),
    )


def _parameters(route: tree.Route) -> tuple[str, ...]:
    found: set[str] = set()
    for item in tree.everything_in(route.body):
        if isinstance(item, tree.Text | tree.Variable):
            found.update(_PARAMETER.findall(item.value if isinstance(item, tree.Text) else item.text))
    return tuple(sorted(found))


def _keys(routes: Sequence[tree.Route]) -> tuple[tuple[str, str | None], ...]:
    read: set[tuple[str, str | None]] = set()
    stored: set[tuple[str, str | None]] = set()
    for item in tree.everything_in(tuple(routes)):
        match item:
            case tree.Call(name="cache_fetch" | "cache_counter_fetch", arguments=[tree.Text(value=cache), key, *_]):
                read.add((cache, _constant(key)))
            case tree.Call(name="cache_store" | "cache_add" | "cache_sub", arguments=[tree.Text(value=cache), key, *_]):
                stored.add((cache, _constant(key)))
            case tree.Call(name="mi", arguments=[tree.Text(value=text), *_]) if text.startswith("cache_store "):
                stored.add((text.split(" ")[1], None))
    return tuple(sorted((one for one in read if not any(_alike(one, other) for other in stored)), key=str))


def _constant(key: object) -> str | None:
    return key.value if isinstance(key, tree.Text) and "$" not in key.value else None


def _alike(one: tuple[str, str | None], other: tuple[str, str | None]) -> bool:
    """Whether both may be the same value's."""
    return one[0] == other[0] and (one[1] == other[1] or one[1] is None or other[1] is None)


def slowest_s(routes: Sequence[tree.Route]) -> float:
    """After how many seconds each timer route has run; 0 where there is none."""
    timers = (route.parameter for route in routes if route.kind == "timer_route")
    return float(max((seconds for seconds in timers if isinstance(seconds, int)), default=0))


def draw_programs(wanted: Wanted, seed: int, from_s: float, within_s: float, around: Surroundings) -> list[Mi]:
    """Draw what they ask.

    Args:
        wanted: see there.
        seed: the same one gives the same.
        from_s, within_s: all of it happens in that stretch of time.
        around: the addresses of the network, and the words of the script.
    """
    chance = Chance(seed).split(1 << 32)  # no call's
    calls = [
        *(_own_request(chance, around) for _ in range(_EACH) if wanted.own_requests),
        *(_raised(*event) for event in wanted.events for _ in range(_EACH)),
        *(_stored(chance, cache, key, around) for cache, key in wanted.keys for _ in range(_EACH if key else _KEYS)),
    ]
    found = []
    for number, (method, params) in enumerate(calls, 1):
        text = json.dumps({"jsonrpc": "2.0", "id": number, "method": method, "params": params})
        found.append(Mi(round(from_s + chance.between(0.0, within_s), 6), text))
    return sorted(found, key=lambda item: item.at_s)


def _own_request(chance: Chance, around: Surroundings) -> tuple[str, dict[str, Any]]:
    uri = f"sip:{chance.pick(('alice', 'bob'))}@{around.hop}"
    headers = f"From: <sip:server@{around.server}>\r\nTo: <{uri}>\r\n"
    return "t_uac_dlg", {"method": chance.pick(_METHODS), "ruri": uri, "headers": headers}


def _raised(event: str, names: tuple[str, ...]) -> tuple[str, dict[str, Any]]:
    params = {"event": event}
    return "raise_event", {**params, "params": json.dumps(dict.fromkeys(names, "1"))} if names else params


def _stored(chance: Chance, cache: str, key: str | None, around: Surroundings) -> tuple[str, dict[str, Any]]:
    words = (*around.users, *around.sources) or ("alice",)
    name = chance.pick(words) if key is None else key
    value = chance.pick(("1", f"sip:alice@{around.hop}"))
    return "cache_store", {"system": cache, "attr": name, "value": value, "expire": _KEPT_S}
