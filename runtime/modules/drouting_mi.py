"""The MI commands of drouting: loading the tables anew, states of gateways and carriers, and where a number goes."""

from __future__ import annotations

import logging
import mmap
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

from mi_script.commands import Json, MiError, Params, Recipe, command
from runtime.clock import epoch_now
from runtime.db import DatabaseError
from runtime.drouting.generation import View
from runtime.drouting.partitions import DEFAULT
from runtime.drouting.rules import Carrier, Gateway, State
from runtime.modules.drouting_base import DroutingBase, load_partition, word_of
from runtime.modules.drouting_states import States
from runtime.modules.inheriting import inherits_state
from runtime.modules.texts import bytes_text
from runtime.store import StoreError
from workers.homes import try_lock

log = logging.getLogger("layby.drouting")


def _status_recipes(of: str) -> tuple[Recipe, ...]:
    return tuple((*partition, *rest) for partition in ((), ("partition_name",)) for rest in ((), (of,), (of, "status")))


class DroutingCommands(DroutingBase):
    """The commands of the module.

    Attributes:
        states: writes states into the tables.
        probing: a byte that all processes share: whether gateways are probed.
    """

    states: States
    probing: mmap.mmap

    @command(
        "dr_reload",
        (),
        ("partition_name",),
        ("inherit_state",),
        ("inherit_state", "partition_name"),
        cost="slow",
        idempotent=True,
        aliases=("drouting:reload",),
        positional=("partition_name",),
    )
    def dr_reload(self, params: Params) -> Json:
        """Load the tables of a partition anew, or of all; traffic goes on by the old ones meanwhile.

        Gateways and carriers keep the state that they have; with `inherit_state` 0 they get the one in their table.
        """
        inherit_state = inherits_state(params)
        names = [self._partition(params)] if "partition_name" in params else self.routing.partitions()
        failed = []
        with self._one_at_a_time():
            for name in names:
                try:
                    self._reload(name, inherit_state)
                except (DatabaseError, StoreError) as error:
                    failed.append(f"{name}: {error}")
                    if self.routing.view(name) is not None:  # what was never loaded is tried, and told, again and again
                        log.error("partition %s stays as it was: %s", name, error)
        if failed:
            raise MiError(500, "Failed to reload", "\n".join(failed))
        return "OK"

    def _reload(self, partition: str, inherit_state: bool) -> None:
        if self.persistent and not inherit_state:
            self.states.write(partition)  # else a state that is not in the table yet would be lost
        load_partition(self.routing, self.process.status, partition, inherit_state=inherit_state)
        self._tell_changed()

    @contextmanager
    def _one_at_a_time(self) -> Iterator[None]:
        """With `no_concurrent_reload` a reload is refused while another one runs, in whichever process."""
        if not self.settings["no_concurrent_reload"]:
            yield
            return
        lock = try_lock(self.house.folder / "drouting.lock")
        if lock is None:
            raise MiError(500, "Reload already in progress")
        try:
            yield
        finally:
            os.close(lock)

    @command("dr_reload_status", (), ("partition_name",), idempotent=True, aliases=("drouting:reload_status",))
    def dr_reload_status(self, params: Params) -> Json:
        """When the tables of each partition, or of one, were loaded last."""
        if not self.use_partitions and "partition_name" not in params:
            return {"Date": self._date(DEFAULT)}
        if "partition_name" in params:
            name = self._partition(params)
            return {"name": name, "Date": self._date(name)}
        return {"Partitions": [{"name": name, "Date": self._date(name)} for name in self.routing.partitions()]}

    def _date(self, partition: str) -> str | None:
        view = self.routing.view(partition)
        return None if view is None else time.ctime(view.loaded_at)

    # States.

    @command(
        "dr_gw_status", *_status_recipes("gw_id"), named_only=True, idempotent=True, aliases=("drouting:gw_status",)
    )
    def dr_gw_status(self, params: Params) -> Json:
        """The state of all gateways, or of one; with `status` 0 it is disabled, and with 1 enabled."""
        partition = self._partition_needed(params)
        view = self._view(partition)
        if "gw_id" not in params:
            return {"Gateways": [self._gateway_row(partition, one) for one in view.gateways.values()]}
        gateway = view.gateways.get(params.text("gw_id"))
        if gateway is None:
            raise MiError(404, "GW ID not found")
        if "status" not in params:
            return {"State": word_of(gateway, self.routing.state(partition, gateway))}
        return self._set(partition, gateway, params)

    def _gateway_row(self, partition: str, gateway: Gateway) -> dict[str, Json]:
        return {
            "ID": gateway.id,
            "IP": gateway.address,
            "State": word_of(gateway, self.routing.state(partition, gateway)),
        }

    @command(
        "dr_carrier_status",
        *_status_recipes("carrier_id"),
        named_only=True,
        idempotent=True,
        aliases=("drouting:carrier_status",),
    )
    def dr_carrier_status(self, params: Params) -> Json:
        """Whether carriers are enabled: all of them, or one; with `status` 0 it is disabled, and with 1 enabled."""
        partition = self._partition_needed(params)
        view = self._view(partition)
        if "carrier_id" not in params:
            rows: list[Json] = [
                {"ID": one.id, "Enabled": self._enabled(partition, one)} for one in view.carriers.values()
            ]
            return {"Carriers": rows}
        carrier = view.carriers.get(params.text("carrier_id"))
        if carrier is None:
            raise MiError(404, "Carrier ID not found")
        if "status" not in params:
            return {"Enabled": self._enabled(partition, carrier)}
        return self._set(partition, carrier, params)

    def _enabled(self, partition: str, carrier: Carrier) -> str:
        return "yes" if self.routing.state(partition, carrier) is State.ACTIVE else "no"

    def _set(self, partition: str, of: Gateway | Carrier, params: Params) -> Json:
        status = params.integer("status")
        if status not in (0, 1):
            raise MiError(400, "Bad parameter value", "status is 0 to disable, and 1 to enable")
        try:
            self.change(partition, of, State.ACTIVE if status else State.INACTIVE, "MI command")
        except StoreError as error:
            raise MiError(500, "The state is not kept", str(error)) from error
        return "OK"

    @command("dr_enable_probing", (), ("status",), idempotent=True, aliases=("drouting:enable_probing",))
    def dr_enable_probing(self, params: Params) -> Json:
        """Whether gateways are probed; with `status` 0 they are not any more, and with 1 they are again."""
        if "status" not in params:
            return {"Status": self.probing[0]}
        self.probing[0] = int(params.integer("status") != 0)
        self._tell_changed()
        return "OK"

    # Numbers.

    @command(
        "dr_number_routing",
        ("number",),
        ("group_id", "number"),
        ("partition_name", "number"),
        ("partition_name", "group_id", "number"),
        named_only=True,
        idempotent=True,
        aliases=("drouting:number_routing",),
    )
    def dr_number_routing(self, params: Params) -> Json:
        """The prefix that a number matches and the gateways and carriers of that rule."""
        partition = self._partition_needed(params)
        group = params.integer("group_id", max(0, self.settings["default_group"]))
        match = next(self.routing.find(partition, group, bytes_text(params.text("number")), epoch_now()), None)
        if match is None:
            return "No match"
        targets: list[Json] = [{"CARRIER" if one.carrier else "GATEWAY": one.id} for one in match.rule.targets]
        return {"Matched Prefix": match.prefix, "GW List": targets}

    # Partitions.

    def _partition_needed(self, params: Params) -> str:
        if self.use_partitions and "partition_name" not in params:
            raise MiError(400, "Missing parameter: 'partition_name'", "with use_partitions it has to be given")
        return self._partition(params) if "partition_name" in params else DEFAULT

    def _partition(self, params: Params) -> str:
        name = params.text("partition_name")
        if name not in self.routing.partitions():
            _no_partition()
        return name

    def _view(self, partition: str) -> View:
        view = self.routing.view(partition)
        if view is None:
            raise MiError(404, "No Data available yet")
        return view


def _no_partition() -> NoReturn:
    raise MiError(404, "Partition not found")
