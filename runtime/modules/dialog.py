"""Module dialog: calls as a whole, with values, flags, profiles, a lifetime, pings, and an end from the middle."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from runtime.db import DatabaseError, database_of
from runtime.dialogs.clock import DialogClock
from runtime.dialogs.keeper import COUNTERS, Keeper
from runtime.dialogs.recorder import (
    COLUMNS,
    DELAYED,
    NO_DB,
    REALTIME,
    SHUTDOWN,
    Recorder,
    enter,
    put_away,
)
from runtime.dialogs.store import DialogStore
from runtime.dialogs.telling import STATE_CHANGED, Rules
from runtime.modules.dialog_functions import MODES, DialogFunctions
from runtime.recording import LOOK_EVERY_S, Recorded, RecordingClock
from runtime.roles import MI, RECORD_DIALOGS, SIP, role_of
from runtime.script.declare import Parameter, ignored
from runtime.settings import SettingsError
from runtime.sip.dialog import Terms
from runtime.store import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable

    from runtime.house import House
    from runtime.process import Process
    from runtime.sip.dialog import Dialog
    from workers.jobs import Peer

log = logging.getLogger("layby.dialog")

_ACCEPTED: Final = (
    ignored("enable_stats", int, 0, "statistics are always on."),
    ignored("timer_bulk_del_no", int, 0, "rows of ended dialogs are deleted together."),
    ignored("log_profile_hash_size", int, 4, "the store's indexes grow with what is in them."),
    ignored("db_flush_vals_profiles", int, 1, "values, profiles and flags always go to the database."),
)


class DialogModule(DialogFunctions):
    """The module as a script loads it."""

    name = "dialog"
    counters = COUNTERS
    computed: Mapping[str, str] = {
        "active_dialogs": "Dialogs that are answered and have not ended.",
        "early_dialogs": "Dialogs that are ringing.",
    }
    events = (STATE_CHANGED,)
    parameters = (
        Parameter("default_timeout", int, 43200, doc="Seconds that a dialog lasts where the script does not say."),
        Parameter("delete_delay", int, 0, doc="Seconds that a dialog is kept after its end."),
        Parameter("dlg_match_mode", int, 0, doc="0: by the Record-Route parameter; 1: or by tags; 2: by tags only."),
        Parameter("rr_param", str, "did", doc="The Record-Route parameter that carries the identifier."),
        Parameter("profiles_with_value", str, "", doc='"caller; callee": names of profiles with values.'),
        Parameter("profiles_no_value", str, "", doc='"inbound; outbound": names of profiles without values.'),
        Parameter("options_ping_interval", int, 30, doc="Seconds between two OPTIONS to an end that is pinged so."),
        Parameter("ping_interval", int, 0, doc="The older name of options_ping_interval."),
        Parameter(
            "reinvite_ping_interval", int, 300, doc="Seconds between two re-INVITEs to an end that is pinged so."
        ),
        Parameter("race_condition_timeout", int, 5, doc="Seconds until a dialog with a race condition is ended."),
        Parameter("dlg_extra_hdrs", str, "", doc="Header lines of the requests that the module makes."),
        Parameter("hash_size", int, 4096, doc="A power of two: the first half of an identifier is below it."),
        Parameter("db_url", str, "", doc="The database that dialogs are kept in; db_default_url where it is not set."),
        Parameter("db_mode", int, 0, doc="0: none; 1: at once; 2: every db_update_period seconds; 3: at the end only."),
        Parameter("db_update_period", int, 60, doc="Seconds between two writings with db_mode 2."),
        Parameter("table_name", str, "dialog", doc="The table's name."),
        *(
            Parameter(f"{word}_column", str, column, doc=f"The name of the column {column}.")
            for column, word in COLUMNS.items()
        ),
        *_ACCEPTED,
    )

    def __init__(self, settings: dict[str, Any] | None = None) -> None:
        super().__init__(settings)
        self.on_end: list[Callable[[Dialog], None]] = []
        """Who is told, in SIP processes, of each answered call that has just ended there."""
        self.profiles = {
            **_profiles(self.settings["profiles_no_value"], has_value=False),
            **_profiles(self.settings["profiles_with_value"], has_value=True),
        }
        for name, least in (("default_timeout", 1), ("options_ping_interval", 1), ("reinvite_ping_interval", 1)):
            if self.settings[name] < least:
                raise SettingsError(f'modparam("dialog", "{name}", …) must be at least {least}', name)
        size = self.settings["hash_size"]
        if size < 1 or size & (size - 1) or size > 1 << 31:
            raise SettingsError('modparam("dialog", "hash_size", …) must be a power of two', "hash_size")
        if self.settings["dlg_match_mode"] not in MODES.values():
            raise SettingsError('modparam("dialog", "dlg_match_mode", …) must be 0, 1 or 2', "dlg_match_mode")
        if not NO_DB <= self.settings["db_mode"] <= SHUTDOWN or self.settings["db_update_period"] < 1:
            raise SettingsError(
                'modparam("dialog", "db_mode", …) must be 0 to 3, db_update_period at least 1', "db_mode"
            )

    # Life.

    def furnish(self, house: House) -> None:
        super().furnish(house)
        compute = house.statistics.compute
        compute("dialog", "active_dialogs", lambda: self.store.totals().confirmed)
        compute("dialog", "early_dialogs", lambda: self.store.totals().early)
        if self.settings["db_mode"] != NO_DB:
            self._restore(house)

    def _restore(self, house: House) -> None:
        found = self.settings
        names = {column: found[f"{word}_column"] for column, word in COLUMNS.items()}
        sockets = [str(one.listen) for one in house.sockets]
        recorder = self.recorder = Recorder(database_of(found["db_url"], house), found["table_name"], names, sockets)
        # No LMDB environment may cross a fork, and neither a connection: both are closed again.
        store = self.open_store(house)
        try:
            recorder.prepare()
            count = self.restore_from(recorder, store)
        except (DatabaseError, StoreError) as error:
            raise SettingsError(f"module dialog: {error}", "db_url") from error
        finally:
            store.close()
            recorder.database.close()
        if count:
            log.info("%d dialogs go on from before", count)

    def restore_from(self, recorder: Recorder, store: DialogStore) -> int:
        rules = self._rules()
        return recorder.restore(store, list(self.profiles), rules.terms, rules.linger_s)

    def open_store(self, house: House, outbox: bool = False) -> DialogStore:
        """The dialogs of all processes, opened in this one; `outbox` says whether changes are noted."""
        return DialogStore(house.folder / "dialogs", outbox=outbox)

    def enter(self, process: Process) -> None:
        super().enter(process)
        self.store = self.open_store(self.house, outbox=self.settings["db_mode"] in (REALTIME, DELAYED))
        if self.recorder is not None:
            enter(self.recorder, self.store)

    def opened(self) -> None:
        role = role_of(self.process.peer.name)
        if role == SIP:
            self._keep()
        elif role == MI:
            self._clock = DialogClock(self.process, self.store, self.count)
            periods_s = {REALTIME: LOOK_EVERY_S, DELAYED: float(self.settings["db_update_period"])}
            if self.settings["db_mode"] in periods_s:
                recorded = Recorded(RECORD_DIALOGS, "dialogs", log, self.store.has_changed)
                RecordingClock(self.process, recorded, periods_s[self.settings["db_mode"]])

    def finish(self, house: House) -> None:
        if self.recorder is not None:
            store = self.open_store(house, outbox=True)
            put_away(self.recorder, store, self.settings["db_mode"])
            store.close()

    def _keep(self) -> None:
        self.keeper = Keeper(self.process, self.store, self._rules(), self.count)  # type: ignore[arg-type]
        self.keeper.teller.on_end = self.on_end
        self.process.watchers.append(self.keeper)  # type: ignore[attr-defined]
        rr: Any = self.house.program.modules.get("rr")
        if rr is not None:
            rr.on_loose_route.append(self.on_loose_route)

    def _rules(self) -> Rules:
        found = self.settings
        return Rules(
            Terms(
                float(found["ping_interval"] or found["options_ping_interval"]),
                float(found["reinvite_ping_interval"]),
                float(found["race_condition_timeout"]),
            ),
            rr_param=found["rr_param"],
            marks=found["dlg_match_mode"] != MODES["DID_NONE"],
            lifetime_s=found["default_timeout"],
            linger_s=found["delete_delay"],
            headers=tuple(line for line in found["dlg_extra_hdrs"].splitlines() if line),
            entries=found["hash_size"],
        )

    def on_peer_down(self, peer: Peer) -> None:
        if role_of(self.process.peer.name) == MI:
            self.store.free_readers()
            self._clock.owner_died(str(peer))

    def leave(self) -> None:
        self.store.close()


def _profiles(text: str, has_value: bool) -> dict[str, bool]:
    """``caller; gateway/s``: what stands behind a slash would share the profile between servers."""
    names = [one.partition("/")[0].strip() for one in text.split(";")]
    return {name: has_value for name in names if name}
