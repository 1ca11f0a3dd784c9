"""Module usrloc: the bindings of all users, in memory that all processes share, and in a database where wanted.

It has no functions for scripts: the module registrar reads and changes bindings through it.
"""

from __future__ import annotations

import enum
import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

from runtime.clock import epoch_now
from runtime.db import DatabaseError, database_of
from runtime.house import House
from runtime.location.bindings import Accepted, Change, Expired, Refused
from runtime.location.contact import Contact, Matching, matching_of
from runtime.location.domains import domains_of
from runtime.location.events import EVENTS, told_of
from runtime.location.recorder import Recorder, Recording, Waiting, enter, finish, load_tables
from runtime.location.store import Decide, Locations, User
from runtime.modules.events import events_of
from runtime.modules.usrloc_commands import UsrlocCommands
from runtime.process import Process
from runtime.roles import MI, role_of
from runtime.script.declare import Parameter, ignored
from runtime.settings import SettingsError
from runtime.store import Store, StoreError

log = logging.getLogger("layby.usrloc")

OnChange = Callable[[User, Change], None]

_SWEEP_USERS: Final = 200
"""Users in one transaction of the sweep: it keeps others from writing for some 4 ms."""
_SWEEP_PAUSE_S: Final = 0.02
_COMMIT_LIMIT_S: Final = 0.5
"""How long a 200 to a REGISTER waits for the database at most."""
_RENAMABLE: Final = (
    "contact_id",
    "user",
    "domain",
    "contact",
    "expires",
    "q",
    "callid",
    "cseq",
    "methods",
    "flags",
    "cflags",
    "user_agent",
    "received",
    "socket",
    "path",
    "sip_instance",
    "kv_store",
    "attr",
)


class DbMode(enum.IntEnum):
    """What a database has to do with it (OpenSIPS's ``db_mode``)."""

    NO_DB = 0
    WRITE_THROUGH = 1
    WRITE_BACK = 2


_PRESETS: Final = {
    "single-instance-no-db": DbMode.NO_DB,
    "single-instance-sql-write-through": DbMode.WRITE_THROUGH,
    "single-instance-sql-write-back": DbMode.WRITE_BACK,
}
_WRITE_MODES: Final = {"": DbMode.WRITE_BACK, "write-through": DbMode.WRITE_THROUGH, "write-back": DbMode.WRITE_BACK}


class Usrloc(UsrlocCommands):
    """The module as a script loads it.

    Attributes:
        locations: the bindings, as this process sees them.
        mode: what a database has to do with them.
        records: whether it has.
        matching: which contacts are the same, unless `save()` says otherwise.
        on_change: told of each change that this process makes.
    """

    name = "usrloc"
    counters: Mapping[str, str] = {
        "late_commits": "REGISTERs that were answered before the database had them.",
        "DOMAIN-expires": "Contacts of a table whose time ran out.",
    }
    computed: Mapping[str, str] = {
        "registered_users": "Users that have a contact.",
        "DOMAIN-users": "Users of a table that have a contact.",
        "DOMAIN-contacts": "Contacts of a table.",
    }
    events = EVENTS
    parameters = (
        Parameter("use_domain", int, 0, doc="1 tells users apart by their domain too."),
        Parameter("desc_time_order", int, 0, doc="1 tries the contact that registered last first, instead of by q."),
        Parameter("timer_interval", int, 60, doc="Seconds between two sweeps, and two write-backs to the database."),
        Parameter("matching_mode", int, 0, doc="Contacts are the same by 0 their URI, 1 their URI and Call-ID."),
        Parameter(
            "cseq_delay",
            int,
            20,
            doc="Seconds for which a REGISTER with the same Call-ID and CSeq is a retransmission.",
        ),
        Parameter("nat_bflag", str, "", doc="The branch flag of contacts behind a NAT."),
        Parameter("db_url", str, "", doc="The database; db_default_url where it is not set."),
        Parameter("db_mode", int, -1, doc="0 no database, 1 write-through, 2 write-back; 3 is not offered."),
        Parameter(
            "working_mode_preset", str, "", doc="One of single-instance-no-db, -sql-write-through and -sql-write-back."
        ),
        Parameter("restart_persistency", str, "none", doc='"load-from-sql" where there is a database, else "none".'),
        Parameter("sql_write_mode", str, "", doc="With load-from-sql: write-through, or write-back as by default."),
        Parameter("cluster_mode", str, "none", doc='Only "none": there is no cluster.'),
        ignored("cachedb_url", str, "none", "there is no NoSQL database."),
        ignored("location_cluster", int, 0, "there is no cluster."),
        ignored("ha_cluster", int, 0, "there is no cluster."),
        ignored("ha_shtag", str, "", "there is no cluster."),
        ignored("skip_replicated_db_ops", int, 0, "there is no cluster."),
        ignored("pinging_mode", str, "", "contacts are not pinged."),
        ignored("latency_event_min_us", int, 0, "contacts are not pinged."),
        ignored("latency_event_min_us_delta", int, 0, "contacts are not pinged."),
        ignored("contact_refresh_timer", int, 0, "there are no push notifications."),
        ignored("max_contact_delete", int, 10, "a user's rows are deleted together."),
        ignored("hash_size", int, 9, "bindings are kept in a tree."),
        ignored("regen_broken_contactid", int, 0, "ids are taken as they are in the database."),
        ignored("mi_dump_kv_store", int, 0, "there is no key-value store."),
        *[
            Parameter(f"{name}_column", str, "", doc=f"The column's name in the database, {name}.")
            for name in _RENAMABLE
        ],
    )

    def __init__(self, settings: dict[str, Any] | None = None) -> None:
        super().__init__(settings)
        self.mode = _mode_of(self.settings)
        matching = matching_of(str(self.settings["matching_mode"]))
        if matching is None:
            raise SettingsError(f'modparam("usrloc", "matching_mode", {self.settings["matching_mode"]}): 0 or 1')
        self.matching: Matching = matching
        for name in ("timer_interval", "cseq_delay"):
            if self.settings[name] < (name == "timer_interval"):
                raise SettingsError(f'modparam("usrloc", "{name}", {self.settings[name]}) is too small')
        self.use_domain = bool(self.settings["use_domain"])
        self.newest_first = bool(self.settings["desc_time_order"])
        self.nat_flag: str = self.settings["nat_bflag"]
        self.on_change: list[OnChange] = []
        self.records = self.mode is not DbMode.NO_DB
        self._recording: Recording | None = None

    # Life.

    def furnish(self, house: House) -> None:
        self.domains = domains_of(house.program.checked.routes)
        expires = self.counters["DOMAIN-expires"]
        late = self.counters["late_commits"]
        self.counters = {"late_commits": late, **{f"{domain}-expires": expires for domain in sorted(self.domains)}}
        super().furnish(house)
        house.statistics.compute("usrloc", "registered_users", lambda: self.locations.users())
        for domain in sorted(self.domains):
            house.statistics.compute("usrloc", f"{domain}-users", partial(self._counted, domain, 0))
            house.statistics.compute("usrloc", f"{domain}-contacts", partial(self._counted, domain, 1))
        if self.mode is not DbMode.NO_DB:
            self._recording = Recording(database_of(self.settings["db_url"], house), self._table_of)
            self._with_store(house, self._load)

    def enter(self, process: Process) -> None:
        super().enter(process)
        self.locations = Locations(process.store)
        self._scribe: Recorder | Waiting | None = None
        is_mi = role_of(process.peer.name) == MI
        if self._recording is not None:
            enter(self._recording, self.locations)
            period_s = float(self.settings["timer_interval"]) if self.mode is DbMode.WRITE_BACK else None
            if is_mi:
                # Without workers jobs go to SIP processes, and one whose route waits for `ul_flush` runs none.
                to = None if self.house.settings.mi_workers else process.peer
                self._scribe = Recorder(process, self.locations, period_s, to)
            else:
                limit_s = _COMMIT_LIMIT_S if period_s is None else None
                self._scribe = Waiting(process, self.locations, limit_s, partial(self.count, "late_commits"))
        if is_mi:
            process.loop.call_later(self.settings["timer_interval"], self._sweep)

    def finish(self, house: House) -> None:
        if self._recording is not None:
            self._with_store(house, partial(finish, self._recording))

    # For registrar and the MI commands.

    def contacts(self, user: User, now: float) -> list[Contact]:
        """A user's bindings whose time is not over at `now` (seconds of the epoch)."""
        return [contact for contact in self.locations.get(user) if contact.is_alive(now)]

    def change(self, user: User, decide: Decide) -> Accepted | Refused:
        """Change a user's bindings as `decide` says (see `Locations.change`), and tell who wants to know.

        Raises:
            StoreError: there is no room, or the user's name is too long.
        """
        found = self.locations.change(user, decide, mark=self.records)
        if isinstance(found, Accepted) and found.changes:
            if self._scribe is not None:
                self._scribe.changed()
            self._changed(user, found.changes, len(found.contacts))
        return found

    def when_recorded(self, user: User, then: Callable[[], object]) -> bool:
        """Call `then` once the database has a user's bindings, or has taken too long.

        Returns:
            False when nothing is to be waited for; `then` is not called then.
        """
        scribe = self._scribe
        return isinstance(scribe, Waiting) and self.locations.is_marked(user) and scribe.until_recorded(user, then)

    # Details.

    def _changed(self, user: User, changes: Sequence[Change], left: int) -> None:
        for change in changes:
            if isinstance(change, Expired) and user.domain in self.domains:
                self.count(f"{user.domain}-expires")
            for tell in self.on_change:
                try:
                    tell(user, change)
                except Exception:
                    log.exception("who wants to know of changed bindings raised")
        events = events_of(self.house)
        for name, params in told_of(user.domain, user.aor, changes, left, events.is_heard):
            events.raised(name, tuple(params.values()), params)

    def _counted(self, domain: str, at: int) -> int:
        return self.locations.counts(domain)[at]

    def _sweep(self) -> None:
        again_s = float(self.settings["timer_interval"])
        try:
            ended = self.locations.sweep(epoch_now(), _SWEEP_USERS, mark=self.records)
        except StoreError as error:
            log.error("bindings whose time is over cannot be removed: %s", error)
        else:
            for user, changes, left in ended:
                self._changed(user, changes, left)
            if ended:
                again_s = _SWEEP_PAUSE_S
                if self._scribe is not None:
                    self._scribe.changed()
        self.process.loop.call_later(again_s, self._sweep)

    def _table_of(self, domain: str) -> Any:
        from runtime.location.rows import location_table

        names = {name: self.settings[f"{name}_column"] for name in _RENAMABLE}
        names["username"] = names.pop("user")
        return location_table(
            domain, use_domain=self.use_domain, names={key: name for key, name in names.items() if name}
        )

    def _load(self, locations: Locations) -> None:
        assert self._recording is not None
        try:
            load_tables(self._recording, locations, self.domains, epoch_now())
        except (DatabaseError, StoreError) as error:
            raise SettingsError(f"usrloc: {error}", "db_url") from error

    def _with_store(self, house: House, work: Callable[[Locations], None]) -> None:
        """In the attendant, which has no store and no connection of its own: none of them may cross a fork."""
        store = Store(house.folder / "store")
        try:
            work(Locations(store))
        finally:
            store.close()
            if self._recording is not None:
                self._recording.database.close()


def _mode_of(settings: dict[str, Any]) -> DbMode:
    preset, number = settings["working_mode_preset"], settings["db_mode"]
    if settings["cluster_mode"] != "none":
        raise SettingsError(f'modparam("usrloc", "cluster_mode", "{settings["cluster_mode"]}"): there is only "none"')
    if preset:
        if number >= 0:
            raise SettingsError("usrloc: db_mode and working_mode_preset say the same; set one of them")
        if preset not in _PRESETS:
            raise SettingsError(
                f'usrloc: working_mode_preset "{preset}" is not offered; there are {", ".join(_PRESETS)}'
            )
        return _PRESETS[preset]
    if number >= 0:
        if number not in list(DbMode):
            raise SettingsError(
                f"usrloc: db_mode {number} is not offered: bindings are always kept in memory that all processes "
                "share; 0 is without a database, 1 writes through, 2 writes back"
            )
        return DbMode(number)
    persistency, write_mode = settings["restart_persistency"], settings["sql_write_mode"]
    if persistency == "none":
        return DbMode.NO_DB
    if persistency != "load-from-sql" or write_mode not in _WRITE_MODES:
        raise SettingsError(f'usrloc: restart_persistency "{persistency}" with "{write_mode}" is not offered')
    return _WRITE_MODES[write_mode]
