"""Module drouting: calls go by the rules, gateways and carriers of a database (OpenSIPS's dynamic routing).

The attendant loads the tables before the first process is forked. A database that is away then does not keep the server
from serving what does not need it: the log says so, `do_routing()` finds no rule, and the MI process has the tables
loaded by a job as soon as the database is there.
"""

from __future__ import annotations

import logging
import mmap
import operator
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from mi_script.calls import Call, Fault
from mi_script.execute import answer_of, pack_call
from runtime.context import Context
from runtime.db import DatabaseError, database_of
from runtime.drouting.generation import View
from runtime.drouting.partitions import AVPS, DEFAULT, Partition, TableNames, read_partitions
from runtime.drouting.routing import Routing, Setup
from runtime.drouting.rules import Gateway, State
from runtime.modules.drouting_base import LETTER, load_partition
from runtime.modules.drouting_calls import AvpNames, avp_names, gateway_uri
from runtime.modules.drouting_functions import DroutingFunctions
from runtime.modules.drouting_gateways import GatewayFunctions
from runtime.modules.drouting_hosts import Hosts, HostWatch
from runtime.modules.drouting_mi import DroutingCommands
from runtime.modules.drouting_places import named_uri
from runtime.modules.drouting_states import Marks, States, enter
from runtime.modules.texts import bytes_text
from runtime.probing import Probe, Prober
from runtime.recording import Recorded, RecordingClock, retry_pause_s
from runtime.roles import COMMAND, MI, RECORD_STATES, role_of
from runtime.script.access import push_avp, set_var
from runtime.script.declare import Parameter, ignored
from runtime.settings import SettingsError
from runtime.sip.uri import parse_uri
from runtime.status_reports import StatusReports
from runtime.store import Store, StoreError
from workers.jobs import Job, Outcome, Peer

if TYPE_CHECKING:
    from runtime.house import House
    from runtime.process import Process

log = logging.getLogger("layby.drouting")

_LOAD_TIMEOUT_S: Final = 600.0
"""How long the job may take that loads what could not be loaded at the start."""
_COMPLAIN_EVERY: Final = 20
_ALWAYS: Final = 2
"""The probe mode of gateways that are probed also while they work."""
_METHOD: Final = re.compile(r"[A-Za-z0-9.!%*_+`'~-]+")
_CODE: Final = re.compile(r"[1-6][0-9]{2}")
_AVP: Final = re.compile(r"\$avp\(([^()$]+)\)")
_VAR: Final = re.compile(r"\$var\(([^()$]+)\)")
_NO_CLUSTER: Final = "there is no cluster."


class Drouting(DroutingFunctions, GatewayFunctions, DroutingCommands):
    """The module as a script loads it."""

    name = "drouting"
    parameters = (
        Parameter("db_url", str, "", doc="The database; db_default_url where it is not set."),
        Parameter("drd_table", str, "dr_gateways", doc="The table of gateways."),
        Parameter("drr_table", str, "dr_rules", doc="The table of rules."),
        Parameter("drg_table", str, "dr_groups", doc="The table of the users' groups."),
        Parameter("drc_table", str, "dr_carriers", doc="The table of carriers."),
        Parameter("use_partitions", int, 0, doc="1 has the tables of each row of the table of partitions."),
        Parameter("db_partitions_url", str, "", doc="Where the table of partitions is; db_default_url by default."),
        Parameter("db_partitions_table", str, "dr_partitions", doc="The table of partitions."),
        Parameter("partition_id_pvar", str, "", doc="`$var(…)` or `$avp(…)` that gets the partition found by `*`."),
        Parameter("ruri_avp", str, "", doc="`$avp(…)` of the Request-URIs that are still to be tried."),
        Parameter("gw_id_avp", str, "", doc="`$avp(…)` of the id of the gateway in use."),
        Parameter("gw_priprefix_avp", str, "", doc="`$avp(…)` of the prefix that it has put before the number."),
        Parameter("gw_sock_avp", str, "", doc="`$avp(…)` of the sockets of the gateways that are still to be tried."),
        Parameter("rule_id_avp", str, "", doc="`$avp(…)` of the id of the rule in use."),
        Parameter("rule_prefix_avp", str, "", doc="`$avp(…)` of the prefix that it matched."),
        Parameter("carrier_id_avp", str, "", doc="`$avp(…)` of the id of the carrier of the gateway in use."),
        Parameter("default_group", int, -1, doc="The group of callers that the table of groups does not have."),
        Parameter("use_domain", int, 1, doc="0 tells callers apart by their user alone, in the table of groups."),
        Parameter("extra_prefix_chars", str, "", doc="Characters that prefixes may have beside digits."),
        Parameter("persistent_state", int, 1, doc="0 does not write states of gateways and carriers into the tables."),
        Parameter("no_concurrent_reload", int, 0, doc="1 refuses dr_reload while another one runs."),
        Parameter("probing_interval", int, 30, doc="Seconds between two probes of a gateway; 0 for none at all."),
        Parameter("probing_method", str, "OPTIONS", doc="The method of a probe."),
        Parameter("probing_from", str, "sip:prober@localhost", doc="The URI in From of a probe."),
        Parameter("probing_reply_codes", str, "", doc="Replies beside 200 that show a gateway alive: `404, 501`."),
        Parameter("probing_socket", str, "", doc="The socket that probes go out from, for gateways without one."),
        Parameter("force_dns", int, 1, doc="0 looks no gateway's name up, but to send a call there."),
        ignored("define_blacklist", str, "", "there are no blacklists; `goes_to_gw()` says what goes to a gateway."),
        ignored("gw_socket_filter_mode", str, "all", "all gateways are loaded; one without its socket has none."),
        ignored("enable_restart_persistency", int, 0, "the tables are loaded at each start."),
        ignored("extra_id_chars", str, "", "ids may have any characters but `,`, `;`, `=` and a leading `#`."),
        ignored("rule_tables_query", str, "", "a partition has one table of rules."),
        ignored("generate_data_checksum", int, 0, "`dr_reload_status` tells when tables were loaded."),
        ignored("fetch_rows", int, 1000, "rows are read as they come."),
        Parameter("drg_user_col", str, "username", doc="Only the usual name."),
        Parameter("drg_domain_col", str, "domain", doc="Only the usual name."),
        Parameter("drg_grpid_col", str, "groupid", doc="Only the usual name."),
        ignored("cluster_id", int, 0, _NO_CLUSTER),
        ignored("cluster_sharing_tag", str, "", _NO_CLUSTER),
        ignored("cluster_probing_mode", str, "all", _NO_CLUSTER),
    )

    def __init__(self, settings: dict[str, Any] | None = None) -> None:
        super().__init__(settings)
        found = self.settings
        self.use_partitions = bool(found["use_partitions"])
        self.persistent = bool(found["persistent_state"])
        self.partition_id = _assignment(found["partition_id_pvar"])
        self._given_avps = {name: found[name] for name in AVPS if found[name]}
        for name, text in self._given_avps.items():
            if _AVP.fullmatch(text) is None:
                raise SettingsError(f"drouting: {name} {text!r} is no AVP; write $avp(name)", name)
        self._alive = _codes(found["probing_reply_codes"]) | {200}
        for name in ("drg_user_col", "drg_domain_col", "drg_grpid_col"):
            usual = next(one.default for one in self.parameters if one.name == name)
            if found[name] != usual:
                raise SettingsError(f'drouting: {name} can only be "{usual}"', name)
        if found["probing_interval"] < 0:
            raise SettingsError("drouting: probing_interval is 0 or more seconds", "probing_interval")
        if parse_uri(found["probing_from"]) is None:
            raise SettingsError("drouting: probing_from is no SIP URI", "probing_from")
        if _METHOD.fullmatch(found["probing_method"]) is None:
            raise SettingsError("drouting: probing_method is no method", "probing_method")

    # Life.

    def furnish(self, house: House) -> None:
        super().furnish(house)
        self.probing = mmap.mmap(-1, 1)
        self.probing[0] = 1
        self._located = mmap.mmap(-1, 8)
        self._watch: HostWatch | None = None
        self._partitions = {one.name: one for one in self._read_partitions(house)}
        self._names = {
            name: _names_of(one, bytes_text(name) if self.use_partitions else "")
            for name, one in self._partitions.items()
        }
        self._setup = Setup(
            house.folder / "drouting", tuple(self._partitions.values()), self.settings["extra_prefix_chars"]
        )
        self._with_store(house, self._load_all)

    def _read_partitions(self, house: House) -> list[Partition]:
        found = self.settings
        if not self.use_partitions:
            tables = TableNames(found["drd_table"], found["drr_table"], found["drg_table"], found["drc_table"])
            return [Partition(DEFAULT, database_of(found["db_url"], house), tables, self._given_avps)]
        database = database_of(found["db_partitions_url"], house)
        try:
            return read_partitions(database, found["db_partitions_table"])
        except DatabaseError as error:
            raise SettingsError(f"drouting: the table of partitions cannot be read: {error}") from error
        finally:
            database.close()

    def _load_all(self, store: Store) -> None:
        """In the attendant: load what can be loaded."""
        routing, status = Routing(self._setup, store), StatusReports(store)
        for name in self._partitions:
            try:
                load_partition(routing, status, name, inherit_state=False)
            except (DatabaseError, StoreError) as error:
                log.error("partition %s is not loaded, and has no routes until it is: %s", name, error)

    def _with_store(self, house: House, work: Callable[[Store], None]) -> None:
        """In the attendant, which has no store and no connection of its own: none of them may cross a fork."""
        store = Store(house.folder / "store")
        try:
            work(store)
        finally:
            store.close()
            for one in self._partitions.values():
                one.database.close()

    def enter(self, process: Process) -> None:
        super().enter(process)
        routing, marks = Routing(self._setup, process.store), Marks(process.store)
        routing.join(process)
        self.begin(routing, marks, self._names, Hosts(process.store, self._located))
        self.states = States(routing, marks, self._partitions)
        enter(self.states)
        if role_of(process.peer.name) == MI:
            self._enter_mi(process)

    def _enter_mi(self, process: Process) -> None:
        self._failures = 0
        self._probes: dict[str, Probe] = {}
        self._probed: dict[str, tuple[str, str]] = {}
        """Of each of the probes, by its name: the partition and the id of its gateway."""
        self._probed_views: list[View | None] = []
        self._states_are_old = True
        process.letters[LETTER] = lambda sender, body: self.states_changed()
        process.loop.call_later(retry_pause_s(0), self._load_missing)
        if self.persistent:
            RecordingClock(process, Recorded(RECORD_STATES, "states of gateways", log, self.marks.waiting), 1.0)
        if self.settings["force_dns"]:
            self._named: tuple[list[View | None], frozenset[str]] = [], frozenset()
            self._watch = HostWatch(process, self.hosts, self._named_uris)
        if self.settings["probing_interval"]:
            Prober(process, self.name, self.settings["probing_interval"], self._to_probe, self._on_probed)

    def on_peer_down(self, peer: Peer) -> None:
        self.routing.catch_up()

    def leave(self) -> None:
        if self._watch is not None:
            self._watch.close()

    def finish(self, house: House) -> None:
        if self.persistent:
            self._with_store(house, self._write_states)

    def _write_states(self, store: Store) -> None:
        states = States(Routing(self._setup, store), Marks(store), self._partitions)
        try:
            states.write()
        except (DatabaseError, StoreError) as error:
            log.error("states of gateways are not written, and lost: %s", error)

    # Loading what was not there at the start.

    def _load_missing(self) -> None:
        missing = [name for name in self._partitions if self.routing.view(name) is None]
        if not missing or self.process.draining:
            return
        name = missing[self._failures % len(missing)]
        self.process.node.submit(
            COMMAND,
            pack_call(Call("dr_reload", {"partition_name": name})),
            label=f"load {name}",
            timeout_s=_LOAD_TIMEOUT_S,
            settled=self._on_loaded,
            idempotent=True,
        )

    def _on_loaded(self, job: Job, outcome: Outcome) -> None:
        answer = answer_of(outcome)
        failed = isinstance(answer, Fault)
        pause_s = retry_pause_s(self._failures) if failed else 0.0
        if failed and self._failures % _COMPLAIN_EVERY == 0:
            log.error("still not loaded, next try in %.1f s: %s", pause_s, answer)
        self._failures = self._failures + 1 if failed else 0
        self.process.loop.call_later(pause_s, self._load_missing)

    # Names and probing, in the MI process.

    def _named_uris(self) -> frozenset[str]:
        views = [self.routing.view(name) for name in self._partitions]
        if not _same(views, self._named[0]):
            gateways = [one for view in views if view is not None for one in view.gateways.values()]
            self._named = views, frozenset(uri for one in gateways if (uri := named_uri(one)) is not None)
        return self._named[1]

    def states_changed(self) -> None:
        self._states_are_old = True

    def _to_probe(self) -> Mapping[str, Probe]:
        views = [self.routing.view(name) for name in self._partitions]
        if self._states_are_old or not _same(views, self._probed_views):
            self._states_are_old, self._probed_views = False, views
            found = list(self._wanted_probes(views))
            self._probes = {key: probe for key, _, probe in found}
            self._probed = {key: gateway for key, gateway, _ in found}
        return self._probes

    def _wanted_probes(self, views: Sequence[View | None]) -> Iterator[tuple[str, tuple[str, str], Probe]]:
        for name, view in zip(self._partitions, views, strict=True) if self.probing[0] else ():
            for gateway in view.gateways.values() if view is not None else ():
                probe = self._probe_of(gateway) if self._is_to_be_probed(name, gateway) else None
                if probe is not None:
                    # An id has no comma, so no two gateways have the same.
                    yield f"{gateway.id}, partition {name}", (name, gateway.id), probe

    def _is_to_be_probed(self, partition: str, gateway: Gateway) -> bool:
        """By its mode, 0 never, 1 while it is failed, 2 always; and never while MI has disabled it."""
        match self.routing.state(partition, gateway) if gateway.probe_mode else State.INACTIVE:
            case State.INACTIVE:
                return False
            case State.PROBING:
                return True
            case State.ACTIVE:
                return gateway.probe_mode == _ALWAYS

    def _probe_of(self, gateway: Gateway) -> Probe | None:
        uri = gateway_uri(bytes_text(gateway.address))
        if uri is None:
            return None
        socket = gateway.socket or self.settings["probing_socket"]
        index = self.socket_index(socket, None) if socket else None
        return Probe(str(uri), self.settings["probing_method"], self.settings["probing_from"], index)

    def _on_probed(self, key: str, status: int) -> None:
        name, gateway_id = self._probed.get(key, ("", ""))
        view = self.routing.view(name)
        gateway = view.gateways.get(gateway_id) if view is not None else None
        if gateway is None:
            return
        try:
            self._probe_ended(name, gateway, status)
        except StoreError as error:
            log.error("the state of %s is not kept: %s", key, error)

    def _probe_ended(self, partition: str, gateway: Gateway, status: int) -> None:
        if status in self._alive:
            self.change(partition, gateway, State.ACTIVE, f"{status} Reply", only_from=State.PROBING)
        else:
            self.change(partition, gateway, State.PROBING, f"{status} Reply", only_from=State.ACTIVE)


def _same(some: Sequence[object], others: Sequence[object]) -> bool:
    return len(some) == len(others) and all(map(operator.is_, some, others))


def _names_of(partition: Partition, suffix: str) -> AvpNames:
    """The AVPs of a partition, the usual ones where it names none or what is no AVP."""
    given = {}
    for column, text in partition.avps.items():
        if (found := _AVP.fullmatch(bytes_text(text))) is not None:
            given[column.removesuffix("_avp")] = found.group(1)
        else:
            log.error("partition %s: %s %r is no AVP, and not used; write $avp(name)", partition.name, column, text)
    return avp_names(given, suffix)


def _assignment(variable: str) -> Callable[[Context, str], None] | None:
    """What assigns a variable that a parameter names; None where it names none."""
    for pattern, assign in ((_VAR, set_var), (_AVP, push_avp)):
        if (found := pattern.fullmatch(variable)) is not None:
            name = found.group(1)
            return lambda c, value: assign(c, name, value)
    if variable:
        raise SettingsError(f"drouting: partition_id_pvar {variable!r}: write $var(name) or $avp(name)")
    return None


def _codes(text: str) -> frozenset[int]:
    """SIP status codes, separated by commas."""
    pieces = [piece.strip() for piece in text.split(",") if piece.strip()]
    if not all(_CODE.fullmatch(piece) for piece in pieces):
        raise SettingsError(f"drouting: probing_reply_codes {text!r} are no status codes", "probing_reply_codes")
    return frozenset(map(int, pieces))
