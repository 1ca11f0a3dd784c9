"""What a call that drouting routes has to know: where it goes next, kept in the AVPs of its transaction.

The AVPs are those that OpenSIPS's drouting uses, so that scripts can read them. Each is a stack with the destination
in use on top and the later ones below it; the one of the Request-URIs, and that of the sockets, hold only what is
still to come. Being AVPs they follow the transaction through parking, failure routes and other processes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from runtime.context import Value
from runtime.script.uris import UriParts, can_be_sent, split_uri

Avps = dict[str, list[Value]]

_DEFAULTS: Final = {
    "ruri": "___dr_ruri__",
    "gw_id": "___dr_gw_id__",
    "gw_priprefix": "___dr_gw_priprefix__",
    "gw_sock": "___dr_sock__",
    "rule_id": "___dr_rule_id__",
    "rule_prefix": "___dr_rule_prefix__",
    "carrier_id": "___dr_carrier_id__",
    "rule_attrs": "___dr_ru_att__",
    "fallback": "___dr_fallback__",
}
_OF_THE_OLD_HOST: Final = frozenset(("transport", "maddr"))
"""Parameters of a URI that say how to reach its host: another host is reached as its gateway says."""


class AvpNames(NamedTuple):
    """The names of a partition's AVPs.

    Args:
        ruri: Request-URIs that are still to be tried.
        gw_id, gw_priprefix, carrier_id: of the gateway in use, and below it of those to come.
        gw_sock: sockets of those to come; empty where the gateway has none.
        rule_id, rule_prefix, rule_attrs: of the rule in use.
        fallback: what is needed to go on to another rule.
    """

    ruri: str
    gw_id: str
    gw_priprefix: str
    gw_sock: str
    rule_id: str
    rule_prefix: str
    carrier_id: str
    rule_attrs: str
    fallback: str


def avp_names(given: Mapping[str, str], suffix: str = "") -> AvpNames:
    """The names that a script or a row of the partitions' table gives; the usual ones for those that it does not.

    Args:
        given: by the fields of `AvpNames`; an empty one counts as not given.
        suffix: the partition's name, for the usual names; empty where there are no partitions.
    """
    return AvpNames(**{field: given.get(field) or usual + suffix for field, usual in _DEFAULTS.items()})


class Destination(NamedTuple):
    """One gateway that a call may be sent to.

    Args:
        gateway: its id.
        uri: the Request-URI for it.
        socket: the socket to send from, as the gateway's row has it; empty for none.
        prefix: the prefix that it has put before the number.
        carrier: the id of the carrier by which it was found; empty for none.
    """

    gateway: str
    uri: str
    socket: str = ""
    prefix: str = ""
    carrier: str = ""


class Rule(NamedTuple):
    """The rule by which a call goes.

    Args:
        id: `ruleid`.
        prefix: the part of the number that it matched.
        priority: the higher, the earlier it is taken.
        attrs: of the script's own.
    """

    id: int
    prefix: str
    priority: int
    attrs: str = ""


class Fallback(NamedTuple):
    """What going on to another rule needs: how the first was found, and which have been used.

    Args:
        uri: the Request-URI before routing.
        number: its user.
        group: the group of the rules.
        flags: of `do_routing`.
        whitelist: of `do_routing`.
        length, priority: of the rule in use: its prefix has so many characters.
        used: the ids of the rules with that length and priority that have been used.
    """

    uri: str
    number: str
    group: int
    flags: str
    whitelist: str
    length: int
    priority: int
    used: tuple[int, ...]

    def after(self, rule: Rule) -> Fallback:
        """The same when this rule is the one in use."""
        place = len(rule.prefix), rule.priority
        used = self.used if place == (self.length, self.priority) else ()
        return self._replace(length=place[0], priority=place[1], used=(*used, rule.id))

    def is_done(self, rule: Rule) -> bool:
        """Whether this rule was used already, or comes before one that was."""
        place = -len(rule.prefix), -rule.priority
        mine = -self.length, -self.priority
        return place < mine or (place == mine and rule.id in self.used)


def ruri_for(uri: UriParts, address: str, strip: int, prefix: str) -> str | None:
    """The Request-URI that sends a call to a gateway; None where there is no such URI.

    Args:
        uri: the Request-URI before routing.
        address: the gateway's, ``host[:port][;params]``, with or without a scheme.
        strip: how many characters to take off the start of the number.
        prefix: what to put before what is left.
    """
    gateway = gateway_uri(address)
    user = uri.user or ""
    if gateway is None or len(user) < strip or not (number := prefix + user[strip:]):
        return None
    names = {name for piece in gateway.params.split(";") if (name := _name(piece))} | _OF_THE_OLD_HOST
    kept = [piece for piece in uri.params.split(";") if piece and _name(piece) not in names]
    params = ";".join([*([gateway.params] if gateway.params else []), *kept])
    text = str(gateway._replace(user=number, password=uri.password, params=params, headers=uri.headers))
    return text if can_be_sent(text) else None


def gateway_uri(address: str) -> UriParts | None:
    """A gateway's address taken apart; None where it is none."""
    scheme = address[:5].lower()
    found = split_uri(address if scheme.startswith("sip:") or scheme == "sips:" else f"sip:{address}")
    return found if found is not None and found.host else None


def _name(param: str) -> str:
    return param.partition("=")[0].strip().lower()


def put_destinations(avps: Avps, names: AvpNames, destinations: Sequence[Destination]) -> None:
    """Put down where a call goes: the first destination is in use from now on, the others are still to come."""
    last_first = destinations[::-1]
    _put(avps, names.gw_id, [one.gateway for one in last_first])
    _put(avps, names.gw_priprefix, [one.prefix for one in last_first])
    _put(avps, names.carrier_id, [one.carrier for one in last_first])
    _put(avps, names.ruri, [one.uri for one in last_first[:-1]])
    _put(avps, names.gw_sock, [one.socket for one in last_first[:-1]])


def next_destination(avps: Avps, names: AvpNames) -> Destination | None:
    """Take the next destination: it is the one in use from now on. None where none is left.

    A script may have changed the AVPs; what is missing of them counts as empty.
    """
    uri = _pop(avps, names.ruri)
    if uri is None:
        return None
    socket = _pop(avps, names.gw_sock)
    for name in (names.gw_id, names.gw_priprefix, names.carrier_id):
        _pop(avps, name)
    gateway, prefix, carrier = (_top(avps, name) for name in (names.gw_id, names.gw_priprefix, names.carrier_id))
    return Destination(gateway, uri, socket or "", prefix, carrier)


def put_rule(avps: Avps, names: AvpNames, rule: Rule | None) -> None:
    """Put down by which rule a call goes; None for no rule."""
    for name in (names.rule_id, names.rule_prefix, names.rule_attrs):
        avps.pop(name, None)
    if rule is not None:
        avps[names.rule_id] = [str(rule.id)]
        avps[names.rule_prefix] = [rule.prefix]
        avps[names.rule_attrs] = [rule.attrs]


def put_fallback(avps: Avps, names: AvpNames, fallback: Fallback | None) -> None:
    """Put down how to go on to another rule; None where the rule in use is the last."""
    _put(avps, names.fallback, [] if fallback is None else [json.dumps(fallback)])


def fallback_of(avps: Avps, names: AvpNames) -> Fallback | None:
    """What `put_fallback` put down; None where it put down nothing, or a script has changed it."""
    text = _top(avps, names.fallback)
    if not text:
        return None
    try:
        *others, used = json.loads(text)
        uri, number, group, flags, whitelist, length, priority = others
        found = Fallback(uri, number, group, flags, whitelist, length, priority, tuple(used))
    except (ValueError, TypeError):
        return None
    numbers = (found.group, found.length, found.priority, *found.used)
    texts = (found.uri, found.number, found.flags, found.whitelist)
    whole = all(isinstance(one, int) for one in numbers) and all(isinstance(one, str) for one in texts)
    return found if whole else None


def gateway_in_use(avps: Avps, names: AvpNames) -> str:
    """The id of the gateway that the call was sent to last; empty where there is none."""
    return _top(avps, names.gw_id)


def rule_attrs_of(avps: Avps, names: AvpNames) -> str:
    """The attributes of the rule in use."""
    return _top(avps, names.rule_attrs)


def _put(avps: Avps, name: str, values: Iterable[Value]) -> None:
    kept = list(values)
    if kept:
        avps[name] = kept
    else:
        avps.pop(name, None)


def _pop(avps: Avps, name: str) -> str | None:
    values = avps.get(name)
    if not values:
        return None
    value = values.pop()
    if not values:
        del avps[name]
    return str(value)


def _top(avps: Avps, name: str) -> str:
    values = avps.get(name)
    return "" if not values or values[-1] is None else str(values[-1])
