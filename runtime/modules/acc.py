"""Module acc: records of transactions and calls, in the log, as events, and in a database.

Nothing waits for the database: a record is put down where it survives the process, and written by a job.
"""

from __future__ import annotations

import logging
import re
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, assert_never

from runtime.acc.accountant import Accountant
from runtime.acc.accounts import Backend, Wants, backends_of, chosen, extras_of, wants_of
from runtime.acc.calls import Calls
from runtime.acc.recorder import Recorder, enter, put_away
from runtime.acc.records import (
    CALL_ENDED,
    ENDED_PARAMS,
    EVENT_PARAMS,
    REFUSED,
    SUCCEEDED,
    Record,
    Subject,
    commented,
    event_of,
    log_line,
    row_of,
)
from runtime.clock import epoch_now
from runtime.context import Context, RouteType, Value
from runtime.db import DatabaseError, database_of
from runtime.log_levels import to_python
from runtime.modules.base import RuntimeModule
from runtime.modules.events import events_of
from runtime.outbox import Outbox
from runtime.recording import Recorded, RecordingClock
from runtime.roles import MI, RECORD_ACCOUNTS, SIP, role_of
from runtime.script.declare import Event, Kind, Param, Parameter, function, ignored, variable
from runtime.settings import SettingsError
from runtime.sip.message import Request

if TYPE_CHECKING:
    from runtime.house import House
    from runtime.modules.dialog import DialogModule
    from runtime.process import Process
    from runtime.script_process import ScriptProcess
    from runtime.sip_process import SipProcess
    from workers.jobs import Peer

log = logging.getLogger("layby.acc")

_COLUMNS: Final = {
    "method": "acc_method_column",
    "from_tag": "acc_from_tag_column",
    "to_tag": "acc_to_tag_column",
    "callid": "acc_callid_column",
    "sip_code": "acc_sip_code_column",
    "sip_reason": "acc_sip_reason_column",
    "time": "acc_time_column",
}
"""The columns that can be called otherwise, each with its parameter."""
_TABLE: Final = re.compile(r"[A-Za-z0-9_]{1,48}")
_MORE: Final = "The ``evi`` fields of ``extra_fields`` stand behind ``time``."
_REPORTING: Final = RouteType.BUILDING | RouteType.LOCAL
_COMPLAIN_EVERY: Final = 1000
"""Of the records that are lost, the first and each so many-th is logged."""
_STRING: Final = Kind.STRING


class Acc(RuntimeModule):
    """The module as a script loads it.

    Attributes:
        recorder: the database's side of it; None without a database.
        accountant: in SIP processes, what sees transactions.
    """

    name = "acc"
    process: ScriptProcess
    counters = MappingProxyType({"lost_records": "Records that too many others waited before, or no table takes."})
    computed = MappingProxyType({"waiting_records": "Records that the database has not got yet."})
    parameters = (
        Parameter("early_media", int, 0, doc="1 records provisional replies with a body, too."),
        Parameter("report_cancels", int, 0, doc="1 records the CANCEL of an INVITE that is accounted."),
        Parameter(
            "detect_direction",
            int,
            0,
            doc="1 records a request of the callee's with From and To as the caller had them.",
        ),
        Parameter(
            "extra_fields",
            str,
            repeats=True,
            doc='What `$acc_extra(tag)` adds to records, and how it is called there: ``"log: tag->name; tag"``, and so '
            "for ``db`` (columns) and ``evi`` (parameters).",
        ),
        Parameter("log_level", int, 2, doc="The level of the lines in the log; 2 is notice."),
        ignored("log_facility", str, "LOG_DAEMON", "the server logs with one facility."),
        Parameter("db_url", str, "", doc="The database; db_default_url where it is not set."),
        Parameter("db_table_acc", str, "acc", doc="The table of transactions and calls, made where there is none."),
        Parameter("db_table_missed_calls", str, "missed_calls", doc="The table of missed calls, made likewise."),
        *(Parameter(name, str, column, doc=f"The name of the column {column}.") for column, name in _COLUMNS.items()),
    )
    events = (
        Event(CALL_ENDED, (*EVENT_PARAMS, *ENDED_PARAMS), f"A call with ``cdr`` has ended. {_MORE}"),
        Event(SUCCEEDED, EVENT_PARAMS, f"An accounted request was answered with a class 2 reply. {_MORE}"),
        Event(REFUSED, EVENT_PARAMS, f"An accounted request was answered otherwise, or a call was missed. {_MORE}"),
    )

    def __init__(self, settings: dict[str, Any] | None = None) -> None:
        super().__init__(settings)
        try:
            self._extras = extras_of(self.settings["extra_fields"])
        except ValueError as error:
            raise SettingsError(f'modparam("acc", "extra_fields", …): {error}', "extra_fields") from error
        self._refuse_names_taken()
        self._tags = {one.tag for fields in self._extras.values() for one in fields}
        for name in ("db_table_acc", "db_table_missed_calls"):
            if not _TABLE.fullmatch(self.settings[name]):
                raise SettingsError(f'modparam("acc", "{name}", …) must be the name of a table', name)
        self.recorder: Recorder | None = None
        self.accountant: Accountant | None = None
        self._boxes: list[Outbox] = []
        """What waits for the database, as this process sees it."""
        self._lost = 0

    def _refuse_names_taken(self) -> None:
        """What a caller has written must not stand where something of our own is looked for."""
        own = {*EVENT_PARAMS, *ENDED_PARAMS}
        columns = {"id", *(str(self.settings[name]).lower() for name in _COLUMNS.values())}
        for backend, taken in ((Backend.DB, own | columns), (Backend.EVI, own)):
            for one in self._extras[backend]:
                if one.name.lower() in taken:
                    text = f"{backend.value}: {one.name} is what every record has"
                    raise SettingsError(f'modparam("acc", "extra_fields", …): {text}', "extra_fields")

    # Life.

    def furnish(self, house: House) -> None:
        super().furnish(house)
        house.statistics.compute("acc", "waiting_records", lambda: sum([len(box) for box in self._boxes]))
        url = self.settings["db_url"]
        if not url and not house.program.checked.globals.get("db_default_url"):
            return
        names = {column: self.settings[name] for column, name in _COLUMNS.items()}
        columns = [one.name for one in self._extras[Backend.DB]]
        self.recorder = Recorder(database_of(url, house), names, columns, self._refused)
        if url:
            self._prepare(self.recorder)

    def _prepare(self, recorder: Recorder) -> None:
        """Make the tables that are not there. Where the script names no database for this, when they are needed."""
        try:
            recorder.prepare([self.settings["db_table_acc"], self.settings["db_table_missed_calls"]])
        except DatabaseError as error:
            raise SettingsError(f"module acc: {error}", "db_url") from error
        finally:
            recorder.database.close()  # no connection may cross a fork

    @property
    def _dialog(self) -> DialogModule | None:
        return self.house.program.modules.get("dialog")  # type: ignore[return-value]

    def enter(self, process: Process) -> None:
        super().enter(process)
        if self.recorder is not None:
            self._box = Outbox.in_folder(self.house.folder / "acc")

    def opened(self) -> None:
        role, dialog = role_of(self.process.peer.name), self._dialog
        if self.recorder is not None:
            self._boxes = [self._box] if dialog is None else [self._box, dialog.store.parting]
            for box in self._boxes:
                box.on_refused = self._refused
            enter(self.recorder, self._boxes, self.house.folder / "acc" / "writing")
            if role == MI:
                RecordingClock(self.process, Recorded(RECORD_ACCOUNTS, "accounts", log, self._waits))
        if role == SIP:
            self._look_on(dialog)

    def _waits(self) -> bool:
        return any(len(box) for box in self._boxes)

    def _look_on(self, dialog: DialogModule | None) -> None:
        calls = None if dialog is None else Calls(dialog.store, self._packed, self._tell)
        if dialog is not None and calls is not None:
            dialog.store.keepsake = calls.keepsake
            dialog.on_end.append(calls.on_end)
        process: SipProcess = self.process  # type: ignore[assignment]
        found = self.settings
        self.accountant = Accountant(
            self._tell,
            process.transactions.__contains__,
            calls,
            early_media=bool(found["early_media"]),
            cancels=bool(found["report_cancels"]),
            direction=bool(found["detect_direction"]),
        )
        process.watchers.append(self.accountant)

    def on_peer_down(self, peer: Peer) -> None:
        if self.recorder is not None and role_of(self.process.peer.name) == MI:
            self._box.free_readers()

    def leave(self) -> None:
        if self.recorder is not None:
            self._box.close()

    def finish(self, house: House) -> None:
        if self.recorder is None:
            return
        box = Outbox.in_folder(house.folder / "acc")
        dialogs = None if self._dialog is None else self._dialog.open_store(house)
        put_away(self.recorder, [box] if dialogs is None else [box, dialogs.parting])
        box.close()
        if dialogs is not None:
            dialogs.close()

    # Records on their way.

    def _tell(self, record: Record, backends: list[Backend], table: str) -> None:
        for one in backends:
            match one:
                case Backend.LOG:
                    self._log(record)
                case Backend.EVI:
                    self._raise(record)
                case Backend.DB:
                    self._box.put(self._packed(record, table))
                case _:
                    assert_never(one)

    def _log(self, record: Record) -> None:
        text = log_line(record, chosen(self._extras[Backend.LOG], record.extra))
        level = to_python(self.settings["log_level"])
        log.log(level, "%s", text.encode("latin-1", "replace").decode("utf-8", "replace"))

    def _raise(self, record: Record) -> None:
        name, named = event_of(record, chosen(self._extras[Backend.EVI], record.extra))
        events_of(self.house).raised(name, tuple(named.values()), named)

    def _packed(self, record: Record, table: str) -> bytes:
        usual = "db_table_missed_calls" if record.subject is Subject.MISSED else "db_table_acc"
        return row_of(record, table or self.settings[usual], chosen(self._extras[Backend.DB], record.extra))

    def _refused(self, count: int = 1) -> None:
        """Records are lost, because too many wait, or the database does not take them."""
        self.count("lost_records", count)
        told, self._lost = -(-self._lost // _COMPLAIN_EVERY), self._lost + count
        if -(-self._lost // _COMPLAIN_EVERY) > told:
            log.error("%d records are lost", self._lost)

    # What scripts do.

    @function(
        "do_accounting",
        Param("type", _STRING),
        Param("flags", _STRING, optional=True),
        Param("table", _STRING, optional=True),
        routes=RouteType.BUILDING,
    )
    def do_accounting(self, c: Context, type: str, flags: str | None, table: str | None) -> int:
        """Record how the request's transaction ends.

        `type` says where: ``log``, ``db`` and ``evi`` (the events E_ACC_EVENT, E_ACC_MISSED_EVENT and E_ACC_CDR), with
        ``|`` between. Without `flags` replies of class 2 are recorded; ``failed`` adds the others, ``missed`` an INVITE
        that nobody took. With ``cdr`` a call is recorded when it has ended, with its duration; it becomes a dialog, and
        the module dialog must be loaded. One that this server takes itself is recorded when it is answered. `table` is
        the database's.
        """
        backends, wants = backends_of(type), wants_of(flags or "")
        if backends is None or wants is None or not self._usable(backends, table) or self.accountant is None:
            log.error("do_accounting(%s, %s, %s) cannot be done", type, flags, table)
            return -1
        if Wants.CDR in wants:
            request = c.message
            if isinstance(request, Request) and request.method == "INVITE" and request.to.tag is None:
                rc = self._begin_dialog(c)
                if rc != 1:
                    return rc
            else:
                wants &= ~Wants.CDR
        self.accountant.open(c).ask(backends, wants, table or "")
        return 1

    def _begin_dialog(self, c: Context) -> int:
        """Make the INVITE's dialog. Not for a branch alone: the call is more than that."""
        keeper = None if self._dialog is None else self._dialog.keeper
        if keeper is None or (c.route is RouteType.BRANCH and c.dialog is None):
            log.error("do_accounting() with cdr needs the module dialog, and to be called before the branch route")
            return -1
        return keeper.create(c, 0)

    def _usable(self, backends: tuple[Backend, ...], table: str | None) -> bool:
        return (Backend.DB not in backends or self.recorder is not None) and (
            not table or _TABLE.fullmatch(table) is not None
        )

    @function(
        "drop_accounting",
        Param("type", _STRING, optional=True),
        Param("flags", _STRING, optional=True),
        routes=RouteType.BUILDING,
    )
    def drop_accounting(self, c: Context, type: str | None, flags: str | None) -> int:
        """Take back what do_accounting() has asked for: all of it, that of some types, or some of their flags."""
        backends, wants = backends_of(type or ""), wants_of(flags or "")
        if (type and backends is None) or wants is None or self.accountant is None:
            return -1
        account = self.accountant.find(c)
        if account is not None:
            account.drop(backends, wants)
        return 1

    @function("acc_log_request", Param("comment", _STRING), routes=_REPORTING)
    def acc_log_request(self, c: Context, comment: str) -> int:
        """Record the request in the log, now. The comment is a code and a reason: ``404 Nobody home``."""
        return self._report(c, comment, Backend.LOG)

    @function("acc_db_request", Param("comment", _STRING), Param("table", _STRING), routes=_REPORTING)
    def acc_db_request(self, c: Context, comment: str, table: str) -> int:
        """Record the request in a table of the database, now."""
        return self._report(c, comment, Backend.DB, table)

    @function("acc_evi_request", Param("comment", _STRING), routes=_REPORTING)
    def acc_evi_request(self, c: Context, comment: str) -> int:
        """Raise E_ACC_EVENT of the request, now; E_ACC_MISSED_EVENT where the code is no success."""
        return self._report(c, comment, Backend.EVI)

    def _report(self, c: Context, comment: str, backend: Backend, table: str = "") -> int:
        if self.accountant is None or not self._usable((backend,), table):
            return -1
        account = self.accountant.find(c)
        extra = {} if account is None else account.extra
        self._tell(commented(self.accountant.parties(c), comment, epoch_now(), extra), [backend], table)
        return 1

    @variable("acc_extra", setter="set_acc_extra")
    def acc_extra(self, c: Context, inner: str) -> Value:
        """`$acc_extra(tag)`: what an extra field of the records says; in a call's later requests, of its record."""
        return None if self.accountant is None else self.accountant.get_extra(c, inner)

    def set_acc_extra(self, c: Context, inner: str, value: Value) -> None:
        """Assign `$acc_extra(tag)`; NULL takes it away."""
        if inner not in self._tags:
            raise ValueError(f"extra_fields has no {inner}")
        if self.accountant is not None:
            self.accountant.put_extra(c, inner, value)
