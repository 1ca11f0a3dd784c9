"""What drouting says to scripts of gateways: whether a message comes from one, goes to one, or a URI is one's."""

from __future__ import annotations

from typing import Final

from runtime.context import Context, RouteType
from runtime.drouting.rules import Gateway
from runtime.modules.drouting_base import CARRIER_ATTRS, FLAGS, GW_ATTRS, PARTITION, DroutingBase, Outputs
from runtime.modules.drouting_places import Place, host_key, place_of
from runtime.modules.texts import bytes_text
from runtime.script.access import Unwritable, set_ruri_user
from runtime.script.declare import Kind, Param, Ref, function
from runtime.script.uris import parts_of

_TYPE: Final = Param("type", Kind.INTEGER, optional=True)


class GatewayFunctions(DroutingBase):
    """The functions that ask who is a gateway."""

    @function("is_from_gw", _TYPE, FLAGS, GW_ATTRS, CARRIER_ATTRS, PARTITION, routes=RouteType.MESSAGE)
    def is_from_gw(
        self,
        c: Context,
        type_: int | None,
        flags: str | None,
        gw_attrs: Ref | None,
        carrier_attrs: Ref | None,
        partition: str | None,
    ) -> int:
        """Whether the message came from a gateway's address and port; with `n` the port does not matter.

        `type` is that of the gateways that count, -1 for all. Of the gateway that is found, `i` puts the id and `c`
        the carrier's id into their AVPs, `s` strips the Request-URI's user and `p` puts the prefix before it.
        """
        if c.source is None:
            return -1
        place = Place(host_key(c.source.host), c.source.port)
        return self._is_gateway(c, place, type_, flags, Outputs(None, gw_attrs, carrier_attrs), partition)

    @function("goes_to_gw", _TYPE, FLAGS, GW_ATTRS, CARRIER_ATTRS, PARTITION, routes=RouteType.MESSAGE)
    def goes_to_gw(
        self,
        c: Context,
        type_: int | None,
        flags: str | None,
        gw_attrs: Ref | None,
        carrier_attrs: Ref | None,
        partition: str | None,
    ) -> int:
        """Whether the request goes to a gateway, by `$du` or its Request-URI; the rest is as for `is_from_gw`."""
        place = place_of(c.dst_uri or c.ruri)
        return self._is_gateway(c, place, type_, flags, Outputs(None, gw_attrs, carrier_attrs), partition)

    @function("dr_is_gw", Param("sip_uri", Kind.STRING), _TYPE, FLAGS, GW_ATTRS, CARRIER_ATTRS, PARTITION)
    def dr_is_gw(
        self,
        c: Context,
        sip_uri: str,
        type_: int | None,
        flags: str | None,
        gw_attrs: Ref | None,
        carrier_attrs: Ref | None,
        partition: str | None,
    ) -> int:
        """Whether a URI is that of a gateway; the rest is as for `is_from_gw`. No name is looked up in DNS."""
        place = place_of(sip_uri)
        return self._is_gateway(c, place, type_, flags, Outputs(None, gw_attrs, carrier_attrs), partition)

    def _is_gateway(
        self,
        c: Context,
        place: Place | None,
        type_: int | None,
        flags: str | None,
        outputs: Outputs,
        partition: str | None,
    ) -> int:
        if place is None:
            return -1
        letters = (flags or "").lower()
        for name in self.chosen(partition):
            for gateway in self.gateways_at(name, place, any_port="n" in letters):
                if type_ is None or type_ < 0 or gateway.type == type_:
                    self._tell_gateway(c, name, gateway, letters, outputs)
                    self.tell_partition(c, partition, name)
                    return 1
        return -1

    def _tell_gateway(self, c: Context, partition: str, gateway: Gateway, flags: str, outputs: Outputs) -> None:
        names = self.avp_names(partition)
        user = parts_of(c.ruri).user or ""
        changed = user[gateway.strip :] if "s" in flags else user
        if "p" in flags:
            changed = bytes_text(gateway.pri_prefix) + changed
        if changed != user:
            try:
                set_ruri_user(c, changed)
            except Unwritable as error:
                self.complain(f"gateway {gateway.id}: {error}")
        if "i" in flags:
            c.avps[names.gw_id] = [bytes_text(gateway.id)]
        if outputs.gateway is not None:
            outputs.gateway.set(c, bytes_text(gateway.attrs))
        if "c" in flags or outputs.carrier is not None:
            carrier = self.carrier_with(partition, gateway)
            if "c" in flags:
                c.avps[names.carrier_id] = ["" if carrier is None else bytes_text(carrier.id)]
            if outputs.carrier is not None:
                outputs.carrier.set(c, "" if carrier is None else bytes_text(carrier.attrs))
