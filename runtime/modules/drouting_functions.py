"""What drouting gives to scripts: where calls go, and whether a message comes from a gateway or goes to one."""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Iterator, Sequence
from typing import Final

from runtime.clock import epoch_now
from runtime.context import Context, RouteType
from runtime.drouting.choice import Hop, hops
from runtime.drouting.generation import View
from runtime.drouting.rules import MAX_TARGETS, Carrier, Gateway, Match, Sort, State, Target
from runtime.modules.drouting_base import CARRIER_ATTRS, FLAGS, GW_ATTRS, PARTITION, DroutingBase, Outputs
from runtime.modules.drouting_calls import (
    AvpNames,
    Destination,
    Fallback,
    Rule,
    fallback_of,
    gateway_in_use,
    next_destination,
    put_destinations,
    put_fallback,
    put_rule,
    rule_attrs_of,
    ruri_for,
)
from runtime.modules.texts import bytes_text, script_text
from runtime.script.declare import Kind, Param, Ref, function
from runtime.script.script import Exit
from runtime.script.uris import UriParts, parts_of
from runtime.store import StoreError

_LONGER_THAN_ANY: Final = 1 << 16
_ROUTING: Final = RouteType.BUILDING | RouteType.LOCAL
_GROUP: Final = Param("group", Kind.INTEGER, optional=True)
_RULE_ATTRS: Final = Param("rule_attrs", Kind.OUTPUT, optional=True)
_chance: Final = secrets.SystemRandom().random
"""The kernel's: a seeded generator would be the same in every fork."""


class DroutingFunctions(DroutingBase):
    """The functions of the module."""

    # Routing.

    @function(
        "do_routing",
        _GROUP,
        FLAGS,
        Param("gw_whitelist", Kind.STRING, optional=True),
        _RULE_ATTRS,
        GW_ATTRS,
        CARRIER_ATTRS,
        PARTITION,
        routes=_ROUTING,
    )
    def do_routing(
        self,
        c: Context,
        group: int | None,
        flags: str | None,
        gw_whitelist: str | None,
        rule_attrs: Ref | None,
        gw_attrs: Ref | None,
        carrier_attrs: Ref | None,
        partition: str | None,
    ) -> int:
        """Route the request by the number in its Request-URI: the rules' first gateway takes the Request-URI's place.

        The other gateways wait for `use_next_gw()`. Without `group` it is the one that the caller has in the table of
        groups, or else `default_group`. Flags: `F` goes on to shorter prefixes and lower priorities when a rule's
        gateways are used up, `L` takes only rules whose prefix is the whole number, `C` only says whether there is a
        rule, `W` takes each rule's gateways by weight. `gw_whitelist` names the only gateways, and with `#` carriers,
        that may be used. The partition `*` stands for all, one after the other. -1 where there is no way.
        """
        outputs = Outputs(rule_attrs, gw_attrs, carrier_attrs)
        letters = (flags or "").upper()
        for name in self.chosen(partition):
            found = self._route(c, name, group, letters, gw_whitelist or "", outputs)
            if found != -1:
                self.tell_partition(c, partition, name)
                return found
        return -1

    def _route(
        self, c: Context, partition: str, group: int | None, flags: str, whitelist: str, outputs: Outputs
    ) -> int:
        number = parts_of(c.ruri).user or ""
        wanted = self._group(c, partition, group)
        if wanted is None:
            return -1
        search = Fallback(c.ruri, number, wanted, flags, whitelist, _LONGER_THAN_ANY, 0, ())
        if "C" in flags:
            return 1 if next(self._matches(partition, search), None) is not None else -1
        names = self.avp_names(partition)
        put_destinations(c.avps, names, [])
        put_rule(c.avps, names, None)
        put_fallback(c.avps, names, None)
        return self._use_rule(c, partition, names, search, outputs)

    def _group(self, c: Context, partition: str, group: int | None) -> int | None:
        if group is not None and group >= 0:
            return group
        caller = parts_of(c.message.from_.uri)
        domain = caller.host if self.settings["use_domain"] else ""
        found = self.routing.group_of(partition, script_text(caller.user or ""), script_text(domain))
        default = self.settings["default_group"]
        return found if found is not None else default if default >= 0 else None

    def _matches(self, partition: str, search: Fallback) -> Iterator[Match]:
        """The rules that are still to be used, in the order to use them."""
        strict = len(search.number) if "L" in search.flags else None
        for match in self.routing.find(partition, search.group, search.number, epoch_now()):
            if strict is not None and len(match.prefix) != strict:
                return  # they come by length
            if not search.is_done(_rule_of(match)):
                yield match

    def _use_rule(self, c: Context, partition: str, names: AvpNames, search: Fallback, outputs: Outputs) -> int:
        """Send the call by the first rule that still has a gateway for it."""
        view = self.routing.view(partition)
        if view is None:
            return -1
        for match in self._matches(partition, search):
            rule = _rule_of(match)
            put_rule(c.avps, names, rule)
            if self._run_route(c, match.rule.route):
                return 0
            sort = Sort.WEIGHT if "W" in search.flags else match.rule.sort
            destinations = self._destinations(partition, view, match.rule.targets, sort, search.uri, search.whitelist)
            if destinations:
                put_fallback(c.avps, names, search.after(rule) if "F" in search.flags else None)
                put_destinations(c.avps, names, destinations)
                self._go(c, view, names, destinations[0], outputs)
                return 1
            if "F" not in search.flags:
                break
        put_rule(c.avps, names, None)
        put_fallback(c.avps, names, None)
        return -1

    def _run_route(self, c: Context, name: str) -> bool:
        """Run the route that a rule names; whether that has ended the script."""
        if not name:
            return False
        route = c.script.routes.named.get(bytes_text(name)) if c.script is not None else None
        if route is None:
            self.complain(f"a rule names route[{name}], which is not there")
            return False
        return isinstance(route(c), Exit)

    def _destinations(
        self, partition: str, view: View, targets: Sequence[Target], sort: Sort, ruri: str, whitelist: str = ""
    ) -> list[Destination]:
        """Those of the gateways that can take a call to `ruri` now, in the order to try them."""

        def is_usable(one: Gateway | Carrier) -> bool:
            return self.routing.state(partition, one) is State.ACTIVE

        found = hops(targets, sort, view.gateways, view.carriers, is_usable, _chance)
        if whitelist:
            allowed = set(_names(whitelist))
            found = (hop for hop in found if hop.gateway.id in allowed or f"#{_carrier_id(hop)}" in allowed)
        uri = parts_of(ruri)
        made = (self._destination(hop, uri) for hop in found)
        return list(itertools.islice((one for one in made if one is not None), MAX_TARGETS))

    def _destination(self, hop: Hop, uri: UriParts) -> Destination | None:
        gateway = hop.gateway
        prefix = bytes_text(gateway.pri_prefix)
        ruri = ruri_for(uri, bytes_text(gateway.address), gateway.strip, prefix)
        if ruri is None:
            self.complain(f"gateway {gateway.id} cannot be used: no Request-URI comes of its address and strip")
            return None
        return Destination(
            bytes_text(gateway.id), ruri, bytes_text(gateway.socket), prefix, bytes_text(_carrier_id(hop))
        )

    def _go(self, c: Context, view: View, names: AvpNames, to: Destination, outputs: Outputs) -> None:
        c.ruri = to.uri
        if to.socket:
            c.send_socket = self.socket_index(to.socket, c.send_socket)
        if outputs.rule is not None:
            outputs.rule.set(c, rule_attrs_of(c.avps, names))
        if outputs.gateway is not None:
            gateway = view.gateways.get(script_text(to.gateway))
            outputs.gateway.set(c, "" if gateway is None else bytes_text(gateway.attrs))
        if outputs.carrier is not None:
            carrier = view.carriers.get(script_text(to.carrier))
            outputs.carrier.set(c, "" if carrier is None else bytes_text(carrier.attrs))

    @function("use_next_gw", _RULE_ATTRS, GW_ATTRS, CARRIER_ATTRS, PARTITION, routes=_ROUTING)
    def use_next_gw(
        self,
        c: Context,
        rule_attrs: Ref | None,
        gw_attrs: Ref | None,
        carrier_attrs: Ref | None,
        partition: str | None,
    ) -> int:
        """Let the next gateway take the Request-URI's place, one that is active; -1 where none is left."""
        name = self.one(partition)
        view = self.routing.view(name)
        if view is None:
            return -1
        names, outputs = self.avp_names(name), Outputs(rule_attrs, gw_attrs, carrier_attrs)
        self._forget_socket(c, view, gateway_in_use(c.avps, names))
        while (to := next_destination(c.avps, names)) is not None:
            gateway = view.gateways.get(script_text(to.gateway))
            if gateway is not None and self.routing.state(name, gateway) is State.ACTIVE:
                self._go(c, view, names, to, outputs)
                return 1
        search = fallback_of(c.avps, names)
        return -1 if search is None else self._use_rule(c, name, names, search, outputs)

    def _forget_socket(self, c: Context, view: View, gateway_id: str) -> None:
        """The socket of a gateway that failed is not the next one's."""
        gateway = view.gateways.get(script_text(gateway_id))
        if gateway is not None and gateway.socket and c.send_socket == self.socket_index(gateway.socket, None):
            c.send_socket = None

    @function(
        "route_to_carrier",
        Param("carriers", Kind.STRING),
        GW_ATTRS,
        CARRIER_ATTRS,
        PARTITION,
        routes=_ROUTING,
    )
    def route_to_carrier(
        self, c: Context, carriers: str, gw_attrs: Ref | None, carrier_attrs: Ref | None, partition: str | None
    ) -> int:
        """Route the request to the gateways of these carriers, whatever its number; a comma stands between two ids."""
        targets = [Target(name, carrier=True) for name in _names(carriers)]
        return self._route_straight(c, targets, Outputs(None, gw_attrs, carrier_attrs), partition)

    @function("route_to_gw", Param("gw_id", Kind.STRING), GW_ATTRS, CARRIER_ATTRS, PARTITION, routes=_ROUTING)
    def route_to_gw(
        self, c: Context, gw_id: str, gw_attrs: Ref | None, carrier_attrs: Ref | None, partition: str | None
    ) -> int:
        """Route the request to these gateways, whatever its number; their ids are separated by commas."""
        targets = [Target(name) for name in _names(gw_id)]
        return self._route_straight(c, targets, Outputs(None, gw_attrs, carrier_attrs), partition)

    def _route_straight(self, c: Context, targets: Sequence[Target], outputs: Outputs, partition: str | None) -> int:
        name = self.one(partition)
        view = self.routing.view(name)
        if view is None:
            return -1
        names = self.avp_names(name)
        destinations = self._destinations(name, view, targets, Sort.NONE, c.ruri)
        put_rule(c.avps, names, None)
        put_fallback(c.avps, names, None)
        put_destinations(c.avps, names, destinations)
        if not destinations:
            return -1
        self._go(c, view, names, destinations[0], outputs)
        return 1

    @function("dr_disable", PARTITION, routes=RouteType.MESSAGE)
    def dr_disable(self, c: Context, partition: str | None) -> int:
        """Take the gateway that the call was sent to last out of use, until probing finds it alive or MI enables it."""
        done = -1
        for name in self.chosen(partition):
            gateway = gateway_in_use(c.avps, self.avp_names(name))
            try:
                if gateway and self.fail(name, script_text(gateway), "dr_disable() in the script"):
                    done = 1
            except StoreError as error:
                self.complain(f"the state of {gateway} is not kept: {error}")
        return done

    @function(
        "dr_match",
        _GROUP,
        FLAGS,
        Param("number", Kind.STRING),
        _RULE_ATTRS,
        PARTITION,
        routes=RouteType.MESSAGE,
    )
    def dr_match(
        self,
        c: Context,
        group: int | None,
        flags: str | None,
        number: str,
        rule_attrs: Ref | None,
        partition: str | None,
    ) -> int:
        """Whether there is a rule for a number; with the flag `L`, one whose prefix is the whole number."""
        for name in self.chosen(partition):
            wanted = self._group(c, name, group)
            if wanted is None:
                continue
            search = Fallback("", number, wanted, (flags or "").upper(), "", _LONGER_THAN_ANY, 0, ())
            match = next(self._matches(name, search), None)
            if match is not None:
                if rule_attrs is not None:
                    rule_attrs.set(c, bytes_text(match.rule.attrs))
                return 1
        return -1


def _rule_of(match: Match) -> Rule:
    rule = match.rule
    return Rule(rule.id, match.prefix, rule.priority, bytes_text(rule.attrs))


def _carrier_id(hop: Hop) -> str:
    return "" if hop.carrier is None else hop.carrier.id


def _names(listed: str) -> list[str]:
    """The ids in a list of the script's own."""
    return [name for one in script_text(listed).split(",") if (name := one.strip())]
