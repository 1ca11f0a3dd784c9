"""The MI commands of module dispatcher."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Final

from mi_script.commands import Json, MiError, Params, command
from runtime.db import DatabaseError
from runtime.dispatching.destinations import Destination, Refused, State
from runtime.dispatching.generation import Figures
from runtime.dispatching.partition import MAX_SCRIPT_ATTRS, Partition
from runtime.dispatching.partitions import DEFAULT
from runtime.modules.base import RuntimeModule
from runtime.modules.inheriting import inherits_state
from runtime.modules.texts import bytes_text, script_text
from runtime.sip.own import normal_host
from runtime.store import StoreError

log = logging.getLogger("layby.dispatcher")

STATES: Final[Mapping[str, State]] = {
    **dict.fromkeys(("a", "A", "1"), State.ACTIVE),
    **dict.fromkeys(("i", "I", "0"), State.INACTIVE),
    **dict.fromkeys(("p", "P", "2"), State.PROBING),
}
"""States as scripts and commands write them."""
ANY_SET: Final = -1
_UNKNOWN_PARTITION: Final = "ERROR Unknown partition"


class DispatcherCommands(RuntimeModule):
    """The commands, for the module to inherit."""

    partitions: dict[str, Partition]

    @command(
        "ds_list",
        (),
        ("full",),
        ("partition",),
        ("full", "partition"),
        idempotent=True,
        cost="quick",
        aliases=("dispatcher:list",),
        positional=("full",),
    )
    def ds_list(self, params: Params) -> Json:
        """The destinations of all partitions, or of one, set by set; with a `full` that is not 0 all that is known."""
        full = bool(params.integer("full", 0))
        wanted = [self._named(params.text("partition"), 500)] if "partition" in params else self.partitions.values()
        return {"PARTITIONS": [self._shown(one, full) for one in wanted]}

    def _shown(self, partition: Partition, full: bool) -> Json:
        sets: list[Json] = [
            {"id": set_id, "Destinations": [_row(partition, one, full) for one in members]}
            for set_id, members in partition.generation().sets.items()
        ]
        return {"name": partition.name, "SETS": sets} if sets else {"name": partition.name}

    @command(
        "ds_reload",
        (),
        ("partition",),
        ("inherit_state",),
        ("partition", "inherit_state"),
        idempotent=True,
        cost="slow",
        aliases=("dispatcher:reload",),
        positional=("partition",),
    )
    def ds_reload(self, params: Params) -> Json:
        """Read all tables again, or that of one partition.

        Destinations that were there keep their states; with `inherit_state` n they have those of the table.
        """
        inherit = inherits_state(params)
        named = "partition" in params
        for one in [self._named(params.text("partition"), 500)] if named else self.partitions.values():
            self._reload(one, inherit)
        return "OK"

    def _reload(self, partition: Partition, inherit: bool) -> None:
        try:
            self.load(partition, inherit=inherit)
        except (DatabaseError, StoreError, Refused) as error:
            log.error("partition %s stays as it was: %s", partition.name, error)
            raise MiError(500, "ERROR Reloading data", f"{partition.name}: {error}") from error

    def load(self, partition: Partition, *, inherit: bool) -> Figures:
        """Read a partition's table. Raises as `Partition.reload`."""
        others = [name for name in self.partitions if name != partition.name]
        found = partition.reload(others, inherit=inherit)
        log.info("partition %s: %d destinations, %d rows skipped", partition.name, found.loaded, len(found.refused))
        return found

    @command(
        "ds_set_state",
        ("state", "group", "address"),
        ("state", "group", "address", "partition"),
        aliases=("dispatcher:set_state",),
        idempotent=True,
    )
    def ds_set_state(self, params: Params) -> Json:
        """Set the state of a destination: a for active, i for inactive, p for probing.

        `group` is the number of its set, behind the name of its partition and a colon where that is not the default
        one, unless `partition` says it.
        """
        state = STATES.get(params.text("state")[:1])
        if state is None:
            raise MiError(500, "Bad state value")
        name, colon, group = params.text("group").rpartition(":")
        partition = self._named(params.text("partition", name.strip() if colon else DEFAULT))
        group = group.strip()
        if not (group.isascii() and group.isdecimal() and len(group) < 12):
            raise MiError(500, "bad group value")
        found = partition.generation().find(int(group), bytes_text(params.text("address")))
        if not found:
            raise MiError(404, "destination not found")
        partition.set_state(found, state, "MI")
        return "OK"

    @command(
        "ds_push_script_attrs",
        ("attrs", "ip", "port", "set"),
        ("attrs", "ip", "port", "setid"),
        ("attrs", "ip", "port", "set", "partition"),
        ("attrs", "ip", "port", "setid", "partition"),
        idempotent=True,
        aliases=("dispatcher:push_script_attrs",),
        positional=(("attrs", "ip", "port", "set"), ("attrs", "ip", "port", "set", "partition")),
    )
    def mi_push_script_attrs(self, params: Params) -> Json:
        """Set the attributes that scripts have for the destinations of a set with an address; port 0 for any."""
        attrs = bytes_text(params.text("attrs"))
        if not attrs or len(attrs) > MAX_SCRIPT_ATTRS:
            raise MiError(500, "Bad attrs value")
        partition = self._named(params.text("partition", DEFAULT))
        set_id = params.integer("set" if "set" in params else "setid")
        found = at_address(partition, bytes_text(params.text("ip")), params.integer("port"), set_id)
        if not found:
            raise MiError(404, "destination not found")
        try:
            partition.push_attrs(found, attrs)
        except StoreError as error:
            raise MiError(500, "Cannot keep attributes", str(error)) from error
        return "OK"

    def _named(self, name: str, code: int = 404) -> Partition:
        found = self.partitions.get(bytes_text(name) or DEFAULT)
        if found is None:
            raise MiError(code, _UNKNOWN_PARTITION)
        return found


def at_address(partition: Partition, ip: str, port: int, set_id: int) -> list[Destination]:
    """The destinations with an IP address and a port; 0 is any port, and so is a set of -1."""
    return [
        one
        for own_port, one in partition.generation().by_address.get(normal_host(ip), ())
        if (not port or not own_port or port == own_port) and set_id in (ANY_SET, one.set_id)
    ]


def _row(partition: Partition, one: Destination, full: bool) -> Json:
    state = State(partition.states([one])[0])
    shown: dict[str, Json] = {
        "URI": script_text(one.uri),
        "state": state.title,
        "first_hit_counter": partition.hits(one),
    }
    told: Sequence[tuple[str, str]] = (
        ("socket", one.socket),
        ("attr", one.attrs),
        ("script_attr", partition.attrs_of(one)),
    )
    shown.update({name: script_text(text) for name, text in told if text})
    if full:
        shown |= {"weight": one.weight, "priority": one.priority}
        if one.description:
            shown["description"] = script_text(one.description)
    return shown
