"""A record of a transaction or a call, and how the log, an event and the database spell it. A core.

The words and their order in the log line, the event's parameters and the columns are those of OpenSIPS's module acc,
whose output other programs read.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Final, NamedTuple

import msgspec

from runtime.acc.accounts import Account, Backend, Parties
from runtime.context import Value
from runtime.sip.dialog import Dialog
from runtime.sip.reasons import reason_of

CDR: Final = "acc_cdr"
"""The dialog's value in which what is to be recorded of the call is kept, so that it lives as long as the dialog."""
CALL_ENDED: Final = "E_ACC_CDR"
SUCCEEDED: Final = "E_ACC_EVENT"
REFUSED: Final = "E_ACC_MISSED_EVENT"
EVENT_PARAMS: Final = ("method", "from_tag", "to_tag", "callid", "sip_code", "sip_reason", "time")
ENDED_PARAMS: Final = ("duration", "ms_duration", "setuptime", "created")
"""What E_ACC_CDR has behind them, and behind the extra fields."""
_MAX_CHARS: Final = 255
"""Of a text that a caller chooses: a reason phrase, a tag, a Call-ID."""


class Subject(enum.Enum):
    """What a record is about, as a log line begins."""

    ANSWERED = "transaction answered"
    MISSED = "call missed"
    ENDED = "call ended"
    REQUEST = "request accounted"


class Record(NamedTuple):
    """One record.

    Args:
        code, reason: of the reply.
        time: when it came to that; of a call, when it was answered. In seconds of the epoch, as `created`.
        created: when its INVITE came; 0.0 where it does not matter.
        extra: `$acc_extra(tag)`.
        ms: how long the call lasted, in milliseconds.
    """

    subject: Subject
    method: str
    from_tag: str
    to_tag: str
    call_id: str
    code: int
    reason: str
    time: float
    created: float = 0.0
    extra: Mapping[str, str | int] = {}
    ms: int = 0

    @property
    def seconds(self) -> int:
        """How long the call lasted; a second that has begun counts."""
        return -(-self.ms // 1000)

    @property
    def setup_s(self) -> int:
        """How long it took from the INVITE on."""
        return max(0, int(self.time) - int(self.created)) if self.created else 0


def record_of(
    subject: Subject, parties: Parties, code: int, reason: str, now: float, to_tag: str, account: Account
) -> Record:
    """A record of a transaction.

    Args:
        now: in seconds of the epoch.
        to_tag: the reply's.
        account: the transaction's.
    """
    return Record(
        subject,
        parties.method,
        parties.from_tag[:_MAX_CHARS],
        parties.tag_of(to_tag)[:_MAX_CHARS],
        parties.call_id[:_MAX_CHARS],
        code,
        reason[:_MAX_CHARS],
        now,
        account.created if subject is Subject.MISSED else 0.0,
        account.extra,
    )


def commented(parties: Parties, comment: str, now: float, extra: Mapping[str, str | int]) -> Record:
    """A record that the script makes: ``404 Nobody home`` says its code and its reason."""
    first, _, rest = comment.strip().partition(" ")
    is_code = len(first) == 3 and first.isascii() and first.isdecimal()
    code = int(first) if is_code else 0
    reason = (rest.strip() or reason_of(code)) if is_code else comment.strip()
    method, from_tag, to_tag, call_id = (text[:_MAX_CHARS] for text in parties[:4])
    return Record(Subject.REQUEST, method, from_tag, to_tag, call_id, code, reason[:_MAX_CHARS], now, 0.0, extra)


# --- calls


class Cdr(msgspec.Struct, array_like=True):
    """What is kept with a dialog.

    Args:
        backends: where the call's end is recorded.
        table: the database's table.
        code, reason: of the 2xx.
        extra: `$acc_extra(tag)`.
    """

    backends: list[Backend]
    table: str
    code: int
    reason: str
    extra: dict[str, str | int]


_CDR: Final = msgspec.json.Decoder(Cdr)


def packed_cdr(cdr: Cdr) -> str:
    """As a dialog's value."""
    return msgspec.json.encode(cdr).decode()


def cdr_of(dialog: Dialog) -> Cdr | None:
    """What is kept with a dialog; None where nothing is, or what the script has put there itself."""
    found = dialog.values.get(CDR)
    if not isinstance(found, str):
        return None
    try:
        return _CDR.decode(found)
    except (msgspec.DecodeError, UnicodeEncodeError):
        return None


def ended(dialog: Dialog, cdr: Cdr, now: float) -> Record:
    """The record of a call that has ended.

    Args:
        now: in seconds of the epoch.
    """
    return Record(
        Subject.ENDED,
        "INVITE",
        dialog.caller.tag[:_MAX_CHARS],
        dialog.callee.tag[:_MAX_CHARS],
        dialog.call_id[:_MAX_CHARS],
        cdr.code,
        cdr.reason[:_MAX_CHARS],
        dialog.started,
        dialog.created,
        cdr.extra,
        max(0, round((now - dialog.started) * 1000)),
    )


# --- how they are spelt


def log_line(record: Record, extra: Mapping[str, str | int | None]) -> str:
    """A record as a line of the log.

    Args:
        extra: the extra values by the names that the log has for them.
    """
    if record.subject is Subject.ENDED:
        begins = (
            f"created={int(record.created)};call_start_time={int(record.time)};duration={record.seconds};"
            f"ms_duration={record.ms};setuptime={record.setup_s}"
        )
    else:
        begins = f"timestamp={int(record.time)}"
    more = "".join([f";{name}={'' if value is None else _part(value)}" for name, value in extra.items()])
    return (
        f"ACC: {record.subject.value}: {begins};method={_part(record.method)};from_tag={_part(record.from_tag)};"
        f"to_tag={_part(record.to_tag)};call_id={_part(record.call_id)};code={record.code or ''};"
        f"reason={_part(record.reason)}{more}"
    )


def _part(value: str | int) -> str:
    """A value within the line: it cannot end there, and no other begin, by what a caller has written."""
    return str(value) if isinstance(value, int) else value.replace(";", "%3B")


def event_of(record: Record, extra: Mapping[str, str | int | None]) -> tuple[str, dict[str, Value]]:
    """A record as an event: its name and its parameters, in order."""
    code = str(record.code or "")
    values = (record.method, record.from_tag, record.to_tag, record.call_id, code, record.reason, int(record.time))
    named: dict[str, Value] = {**dict(zip(EVENT_PARAMS, values, strict=True)), **extra}
    if record.subject is not Subject.ENDED:
        return SUCCEEDED if 0 < record.code < 300 else REFUSED, named
    times = (record.seconds, record.ms, record.setup_s, int(record.created))
    return CALL_ENDED, named | dict(zip(ENDED_PARAMS, times, strict=True))


def row_of(record: Record, table: str, extra: Mapping[str, str | int | None]) -> bytes:
    """A record on its way to the database: ``[table, values by OpenSIPS's column names, extra values by theirs]``."""
    values: dict[str, str | int | float] = {
        "method": _text(record.method),
        "from_tag": _text(record.from_tag),
        "to_tag": _text(record.to_tag),
        "callid": _text(record.call_id),
        "sip_code": str(record.code or ""),
        "sip_reason": _text(record.reason),
        "time": record.time,
    }
    if record.subject is Subject.ENDED:
        values |= {"duration": record.seconds, "ms_duration": record.ms}
    if record.created:
        values |= {"setuptime": record.setup_s, "created": record.created}
    more = {name: None if value is None else _text(str(value)) for name, value in extra.items()}
    return msgspec.msgpack.encode([table, values, more])


def _text(value: str) -> str:
    """The script's bytes as text that every database takes; PostgreSQL has no NUL."""
    return value.encode("latin-1", "replace").decode("utf-8", "replace").replace("\0", "")
