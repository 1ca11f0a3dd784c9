"""What functions and commands of drouting build on: the tables, the states of gateways, and who hears of a change."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

from runtime.context import Context, Value
from runtime.drouting.generation import View
from runtime.drouting.partitions import DEFAULT
from runtime.drouting.routing import Routing
from runtime.drouting.rules import Carrier, Gateway, State
from runtime.modules.base import RuntimeModule
from runtime.modules.complaints import Complaints
from runtime.modules.drouting_calls import AvpNames, avp_names
from runtime.modules.drouting_hosts import Hosts
from runtime.modules.drouting_places import Place, Places
from runtime.modules.drouting_states import Marks
from runtime.modules.events import events_of
from runtime.modules.texts import bytes_text, script_text
from runtime.roles import MI, role_of
from runtime.script.declare import Event, Kind, Param, Ref
from runtime.status_reports import StatusReports
from runtime.transports.base import socket_index

log = logging.getLogger("layby.drouting")

GATEWAY_EVENT: Final = "E_DROUTING_STATUS"
CARRIER_EVENT: Final = "E_DROUTING_CARRIER_STATUS"
GROUP: Final = "drouting"
"""What the partitions' status and reports are found under."""
LETTER: Final = "drouting"
"""Tells the MI process that a state has changed, and so perhaps what is to be probed."""

FLAGS: Final = Param("flags", Kind.STRING, optional=True)
GW_ATTRS: Final = Param("gw_attrs", Kind.OUTPUT, optional=True)
CARRIER_ATTRS: Final = Param("carrier_attrs", Kind.OUTPUT, optional=True)
PARTITION: Final = Param("partition", Kind.STRING, optional=True)
"""What several functions take."""
_ALL: Final = "*"


class Outputs(NamedTuple):
    """The variables that are to show attributes."""

    rule: Ref | None = None
    gateway: Ref | None = None
    carrier: Ref | None = None


class DroutingBase(RuntimeModule):
    """The module without what scripts and commands see of it.

    Attributes:
        routing: the tables, as this process sees them.
        use_partitions: whether there are several partitions.
        partition_id: assigns `partition_id_pvar`; None where it is not set.
        persistent: whether states are written into the tables.
    """

    events = (
        Event(
            GATEWAY_EVENT,
            ("partition", "gwid", "address", "status", "reason"),
            "The state of a gateway has changed: ``active``, ``inactive``, ``probing`` or ``disabled MI``.",
        ),
        Event(
            CARRIER_EVENT,
            ("partition", "carrierid", "status", "reason"),
            "The state of a carrier has changed: ``active`` or ``disabled MI``.",
        ),
    )
    routing: Routing
    use_partitions: bool
    partition_id: Callable[[Context, str], None] | None
    persistent: bool

    def begin(self, routing: Routing, marks: Marks, names: Mapping[str, AvpNames], hosts: Hosts) -> None:
        """In each process: have what the rest of this class works with.

        Args:
            routing: the tables.
            marks: of states that are to be written.
            names: of the AVPs, by partition.
            hosts: where gateways are that have a name.
        """
        self.routing = routing
        self.marks = marks
        self.hosts = hosts
        self._avp_names = names
        self._sockets: dict[str, int | None] = {}
        self._places: dict[str, tuple[View, int, Places]] = {}
        self.complain = Complaints(log).make

    def avp_names(self, partition: str) -> AvpNames:
        """The AVPs of a partition's calls."""
        return self._avp_names.get(partition) or avp_names({}, bytes_text(partition))

    def gateways_at(self, partition: str, place: Place, *, any_port: bool) -> Sequence[Gateway]:
        """The gateways of a partition at a place."""
        view = self.routing.view(partition)
        if view is None:
            return ()
        return self._places_of(partition, view).at(place, any_port=any_port)

    def carrier_with(self, partition: str, gateway: Gateway) -> Carrier | None:
        """The first carrier that has this gateway."""
        view = self.routing.view(partition)
        return None if view is None else self._places_of(partition, view).carrier_of(gateway)

    def _places_of(self, partition: str, view: View) -> Places:
        known, number = self._places.get(partition), self.hosts.number
        if known is None or known[0] is not view or known[1] != number:
            places = Places(view.gateways.values(), view.carriers.values(), self.hosts.all())
            known = self._places[partition] = view, number, places
        return known[2]

    def socket_index(self, socket: str, default: int | None) -> int | None:
        """The number of the listening socket that a gateway's row names; `default` where there is none like it."""
        if socket not in self._sockets:
            self._sockets[socket] = socket_index(self.house.sockets, socket)
        found = self._sockets[socket]
        if found is None:
            self.complain(f"there is no socket {socket[:80]}")
            return default
        return found

    # Partitions.

    def chosen(self, partition: str | None) -> Sequence[str]:
        """The partitions that a call names: one, or all of them with `*`."""
        if self.use_partitions and partition is not None and partition.strip() == _ALL:
            return self.routing.partitions()
        return [self.one(partition)]

    def one(self, partition: str | None) -> str:
        """The partition that a call names; the only one where there are none to name."""
        if not self.use_partitions:
            return DEFAULT
        if not partition:
            self.complain("with use_partitions each call of drouting has to name its partition")
        return script_text(partition or "")

    def tell_partition(self, c: Context, asked: str | None, found: str) -> None:
        """Put the name of the partition that was found by `*` into `partition_id_pvar`."""
        if self.use_partitions and asked is not None and asked.strip() == _ALL and self.partition_id is not None:
            self.partition_id(c, bytes_text(found))

    # States.

    def fail(self, partition: str, gateway_id: str, reason: str) -> bool:
        """Take a gateway out of use because it failed; False where there is none. One that MI disabled stays so."""
        view = self.routing.view(partition)
        gateway = view.gateways.get(gateway_id) if view is not None else None
        if gateway is None:
            return False
        self.change(partition, gateway, State.PROBING, reason, only_from=State.ACTIVE)
        return True

    def change(
        self, partition: str, of: Gateway | Carrier, state: State, reason: str, only_from: State | None = None
    ) -> None:
        """Set the state of a gateway or a carrier in all processes, and tell who wants to know.

        Args:
            only_from: nothing is changed where it has another state, which MI may have given it this moment.

        Raises:
            StoreError: there is no room.
        """
        before = self.routing.set_state(partition, of, state, only_from)
        if before is state or only_from not in (None, before):
            return
        if self.persistent:
            self.marks.add(partition, of)
        word = word_of(of, state)
        word = word[0].lower() + word[1:]
        log.warning("partition %s: %s is %s now: %s", partition, of.id, word, reason)
        self.process.status.report(GROUP, f"{partition};events", f"{of.id} is {word}: {reason}")
        if isinstance(of, Gateway):
            self._raise(GATEWAY_EVENT, (partition, of.id, of.address, word, reason))
        else:
            self._raise(CARRIER_EVENT, (partition, of.id, word, reason))
        self._tell_changed()

    def _raise(self, name: str, params: Sequence[str]) -> None:
        event = next(one for one in self.events if one.name == name)
        values: tuple[Value, ...] = tuple(map(bytes_text, params))
        events_of(self.house).raised(name, values, dict(zip(event.params, values, strict=True)))

    def _tell_changed(self) -> None:
        if role_of(self.process.peer.name) == MI:
            self.states_changed()
            return
        for peer in self.process.node.peers():
            if role_of(peer.name) == MI:
                self.process.node.post(peer, LETTER, b"")

    def states_changed(self) -> None:
        """In the MI process: some state is another one now."""


def word_of(of: Gateway | Carrier, state: State) -> str:
    """A state as OpenSIPS names it.

    One that failed is ``Probing`` where it is probed, and ``Inactive`` where nothing finds out that it is back.
    """
    match state:
        case State.ACTIVE:
            return "Active"
        case State.INACTIVE:
            return "Disabled MI"
        case State.PROBING:
            return "Probing" if isinstance(of, Gateway) and of.probe_mode else "Inactive"


def load_partition(routing: Routing, status: StatusReports, partition: str, *, inherit_state: bool) -> None:
    """Load a partition, and tell the log and whoever asks for its status what has come of it.

    Raises:
        DatabaseError, StoreError: nothing was loaded.
    """
    with status.loading(GROUP, partition, anew=routing.view(partition) is not None) as report:
        found = routing.reload(partition, inherit_state=inherit_state)
        text = (
            f"{found.rules} rules, {found.gateways} gateways, {found.carriers} carriers and {found.groups} users with "
            f"a group loaded in {found.seconds:.1f} s, {found.skipped} rows left out"
        )
        report(text)
    log.info("partition %s: %s", partition, text)
