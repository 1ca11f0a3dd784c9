"""Module dispatcher: sets of destinations from a database, spread over by hash, by turn or by lot, probed, failed over.

Destinations are in memory that all processes share: choosing one asks neither a database nor another process.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from runtime.db import DatabaseError, database_of
from runtime.dispatching import recorder
from runtime.dispatching.board import Board, Locks
from runtime.dispatching.destinations import Destination, Refused, State
from runtime.dispatching.partition import CHANGING, RELOADING, Partition, Shared
from runtime.dispatching.partitions import PartitionSettings, partitions_of
from runtime.dispatching.probes import Probes
from runtime.modules.dispatcher_functions import DispatcherFunctions
from runtime.modules.events import events_of
from runtime.modules.texts import script_text
from runtime.modules.tm import tm_settings
from runtime.probing import Prober
from runtime.recording import Recorded, RecordingClock
from runtime.roles import MI, RECORD_DESTINATIONS, role_of
from runtime.script.declare import Event, Parameter, ignored
from runtime.settings import SettingsError
from runtime.sip.fields import is_token
from runtime.sip.uri import parse_uri
from runtime.status_reports import StatusReports
from runtime.store import Store, StoreError
from runtime.transports.base import socket_index

if TYPE_CHECKING:
    from runtime.house import House
    from runtime.process import Process

log = logging.getLogger("layby.dispatcher")

STATUS: Final = Event(
    "E_DISPATCHER_STATUS",
    ("partition", "group", "address", "status", "reason"),
    "A destination has become active, or is active no more.",
)
_COLUMNS: Final = ("setid", "destination", "state", "weight", "priority", "attrs", "socket", "probe_mode")
_OWN: Final = "Of the default partition"


class Dispatcher(DispatcherFunctions):
    """The module as a script loads it."""

    name = "dispatcher"
    events = (STATUS,)
    computed: Mapping[str, str] = {
        "destinations": "Destinations of all partitions.",
        "active_destinations": "Those of them that are active.",
    }
    parameters = (
        Parameter("db_url", str, "", doc="The database of partitions that name none; else it is db_default_url."),
        Parameter("table_name", str, "", doc=f"{_OWN}: the table; dispatcher where it is not set."),
        Parameter("partition", str, repeats=True, doc='One more partition: "name: param = value; param = value".'),
        Parameter("dst_avp", str, "", doc=f"{_OWN}: the AVP with what is left to try; $avp(ds_dst_failover)."),
        Parameter("grp_avp", str, "", doc=f"{_OWN}: the AVP with the sets of that; $avp(ds_grp_failover)."),
        Parameter("cnt_avp", str, "", doc=f"{_OWN}: the AVP with its number; $avp(ds_cnt_failover)."),
        Parameter("sock_avp", str, "", doc=f"{_OWN}: the AVP with the sockets of that; $avp(ds_sock_failover)."),
        Parameter("attrs_avp", str, "", doc=f"{_OWN}: the AVP that gets the attributes of what is chosen."),
        Parameter("script_attrs_avp", str, "", doc=f"{_OWN}: the AVP that gets those that scripts have set."),
        Parameter("algo_route", str, "", doc="The route that algorithm 10 calls for each destination."),
        Parameter("hash_pvar", str, "", doc="The text, with variables in it, that algorithm 7 takes the hash of."),
        Parameter("setid_pvar", str, "", doc="The variable that gets the set that ds_is_in_list() has found."),
        Parameter("pvar_algo_pattern", str, "", doc="The variable that algorithm 9 reads: %u is the URI, %i the set."),
        Parameter("persistent_state", int, 1, doc=f"{_OWN}: 1 reads states from the table, and writes them there."),
        Parameter("ds_ping_method", str, "OPTIONS", doc="The method of probes."),
        Parameter("ds_ping_from", str, "sip:dispatcher@localhost", doc="The URI in From of probes."),
        Parameter("ds_ping_interval", int, 0, doc="Seconds between two probes of a destination; 0 for none."),
        Parameter("ds_ping_maxfwd", int, -1, doc="Max-Forwards of probes; 70 where it is not set."),
        Parameter("ds_probing_sock", str, "", doc="The socket that probes are sent from, where a row names none."),
        Parameter("ds_probing_threshhold", int, 3, doc="How often a destination must fail in a row to be probing."),
        Parameter("ds_probing_threshold", int, 0, doc="The same, spelt otherwise."),
        Parameter("ds_probing_mode", int, 0, doc="0 probes destinations that are probing, 1 all but inactive ones."),
        Parameter("ds_probing_list", str, "", doc='The sets that are probed, "1,2,3"; all where it is not set.'),
        Parameter("options_reply_codes", str, "", doc='What else than 200 says that one is alive: "404, 501".'),
        *(Parameter(f"{name}_col", str, "", doc=f"The column's name in the table, {name}.") for name in _COLUMNS),
        Parameter("fetch_freeswitch_stats", int, 0, doc="Only 0: FreeSWITCH is not asked for its load."),
        ignored("max_freeswitch_weight", int, 100, "FreeSWITCH is not asked for its load."),
        ignored("ds_define_blacklist", str, "", "there are no blacklists."),
        ignored("cluster_id", int, 0, "there is no cluster."),
        ignored("cluster_sharing_tag", str, "", "there is no cluster."),
        ignored("cluster_probing_mode", str, "", "there is no cluster."),
    )

    def __init__(self, settings: dict[str, Any] | None = None) -> None:
        super().__init__(settings)
        found = self.settings
        try:
            self._stated = partitions_of({**found, "partition": None}, found["partition"])
            self._codes = frozenset(_numbers(found["options_reply_codes"]))
            self._probed = frozenset(_numbers(found["ds_probing_list"]))
        except ValueError as error:
            raise SettingsError(f"dispatcher: {error}") from error
        self._threshold = found["ds_probing_threshold"] or found["ds_probing_threshhold"]
        if found["fetch_freeswitch_stats"]:
            raise SettingsError("dispatcher: fetch_freeswitch_stats is not offered")
        if found["ds_probing_mode"] not in (0, 1) or self._threshold < 1 or found["ds_ping_interval"] < 0:
            raise SettingsError(
                "dispatcher: ds_probing_mode is 0 or 1, ds_probing_threshhold 1 or more, ds_ping_interval 0 or more"
            )
        if not -1 <= found["ds_ping_maxfwd"] <= 255:
            raise SettingsError("dispatcher: ds_ping_maxfwd is from 0 to 255")
        for one in self._stated:
            if parse_uri(one.ping_from) is None:
                raise SettingsError(f"dispatcher: {one.ping_from:.64} is no URI that a probe can come from")
            if not is_token(one.ping_method):
                raise SettingsError(f"dispatcher: {one.ping_method:.64} is no method")

    # Life.

    def furnish(self, house: House) -> None:
        super().furnish(house)
        self.board = Board(house.slots)
        self._read_variables(house)
        self._socket = self._socket_of(self.settings["ds_probing_sock"]) if self.settings["ds_probing_sock"] else None
        if self.settings["ds_probing_sock"] and self._socket is None:
            raise SettingsError(f"dispatcher: {self.settings['ds_probing_sock']} is no socket", "ds_probing_sock")
        self.partitions = {one.name: self._partition_of(index, one) for index, one in enumerate(self._stated)}
        house.statistics.compute("dispatcher", "destinations", lambda: len(self._all()))
        house.statistics.compute("dispatcher", "active_destinations", self._count_active)
        self._with_store(self._load_all)

    def _read_variables(self, house: House) -> None:
        found, program = self.settings, house.program
        try:
            self.evaluate = program.evaluator()
            self.hash_text = program.reader(found["hash_pvar"]) if found["hash_pvar"] else None
            self.setid_ref = program.ref(found["setid_pvar"]) if found["setid_pvar"] else None
            if found["pvar_algo_pattern"]:
                program.reader(found["pvar_algo_pattern"])
        except ValueError as error:
            raise SettingsError(f"dispatcher: {error}") from error
        if found["algo_route"] and found["algo_route"] not in program.script.routes.named:
            raise SettingsError(f"dispatcher: there is no route[{found['algo_route']}]", "algo_route")

    def _partition_of(self, index: int, settings: PartitionSettings) -> Partition:
        from runtime.dispatching.tables import DispatcherTable  # SQLAlchemy takes long to import

        names = {name: self.settings[f"{name}_col"] for name in _COLUMNS}
        table = DispatcherTable(database_of(settings.db_url, self.house), settings.table_name, names)
        return Partition(index, settings, table, self._threshold, self._socket_of)

    def _socket_of(self, text: str) -> int | None:
        return socket_index(self.house.sockets, text)

    def _load_all(self) -> None:
        for one in self.partitions.values():
            try:
                one.table.prepare()
                self.load(one, inherit=True)
            except (DatabaseError, StoreError, Refused) as error:
                raise SettingsError(f"module dispatcher: partition {one.name}: {error}", "db_url") from error

    def enter(self, process: Process) -> None:
        super().enter(process)
        self._locks = Locks(self.house.folder, (RELOADING, CHANGING))
        shared = Shared(self.board, process.store, self._locks, process.slot, process.status, self._on_change)
        for one in self.partitions.values():
            one.enter(shared)
        recorder.enter(self._persistent())

    def opened(self) -> None:
        if role_of(self.process.peer.name) != MI:
            return
        if self._persistent():
            recorded = Recorded(RECORD_DESTINATIONS, "states of destinations", log, self.board.has_unsaved)
            RecordingClock(self.process, recorded)
        if self.settings["ds_ping_interval"]:
            self._probe()

    def _probe(self) -> None:
        found = self.settings
        probes = Probes(
            list(self.partitions.values()),
            always=found["ds_probing_mode"] == 1,
            sets=self._probed,
            socket=self._socket,
            max_forwards=found["ds_ping_maxfwd"],
            alive=self._codes,
        )
        tm = tm_settings(self.house.program.modules.get("tm"))
        interval_s = float(found["ds_ping_interval"])
        Prober(self.process, self.name, interval_s, probes.targets, probes.answered, tm.fr_timeout_s)

    def leave(self) -> None:
        self._locks.close()

    def finish(self, house: House) -> None:
        if self._persistent() and self.board.has_unsaved():
            self._with_store(lambda: recorder.put_away(self._persistent()))

    # Details.

    def _with_store(self, work: Any) -> None:
        """In the attendant, which has no store, no lock and no connection of its own: none of them may cross a fork."""
        store, locks = Store(self.house.folder / "store"), Locks(self.house.folder, (RELOADING, CHANGING))
        try:
            for one in self.partitions.values():
                one.enter(Shared(self.board, store, locks, 0, StatusReports(store), lambda *_: None))
            work()
        finally:
            store.close()
            locks.close()
            for one in self.partitions.values():
                one.table.database.close()

    def _persistent(self) -> list[Partition]:
        return [one for one in self.partitions.values() if one.settings.persistent_state]

    def _all(self) -> list[tuple[Partition, Destination]]:
        return [(part, one) for part in self.partitions.values() for one in part.generation().destinations]

    def _count_active(self) -> int:
        return sum(
            [
                state == State.ACTIVE
                for part in self.partitions.values()
                for state in part.states(part.generation().destinations)
            ]
        )

    def _on_change(self, partition: Partition, one: Destination, state: int, reason: str) -> None:
        now = State(state)
        level = logging.INFO if now is State.ACTIVE else logging.WARNING
        shown = script_text(one.uri)
        log.log(level, "%s: set %d: %s is %s: %s", partition.name, one.set_id, shown, now.title, reason)
        values = (
            partition.name,
            one.set_id,
            one.uri,
            "active" if now is State.ACTIVE else "inactive",
            reason,
        )
        events_of(self.house).raised(STATUS.name, values, dict(zip(STATUS.params, values, strict=True)))


def _numbers(text: str) -> list[int]:
    """Numbers between commas."""
    pieces = [piece.strip() for piece in text.split(",") if piece.strip()]
    if not all(piece.isascii() and piece.isdecimal() and len(piece) < 10 for piece in pieces):
        raise ValueError(f"{text[:64]!r} is no list of numbers")
    return [int(piece) for piece in pieces]
