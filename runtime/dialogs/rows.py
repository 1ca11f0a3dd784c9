"""Dialogs as rows of a database, in OpenSIPS's table ``dialog``.

Times are seconds of the epoch there, and ours on the monotonic clock, which ends with the machine: both are given.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import BigInteger, Column, Integer, LargeBinary, MetaData, String, Table, Text

from runtime.sip.dialog import Dialog
from runtime.sip.dialog_words import Leg, Side, State
from runtime.sip.fields import split_outside
from runtime.sip.message import MAX_CSEQ


def dialog_table(name: str = "dialog", names: Mapping[str, str] | None = None) -> Table:
    """The table, with OpenSIPS's column names as keys, whatever they are called in the database.

    Args:
        name: the table's.
        names: columns that are called otherwise.
    """
    called = names or {}

    def column(key: str, kind: Any, *, null: bool = True, **more: Any) -> Column[Any]:
        return Column(called.get(key, key), kind, key=key, nullable=null, **more)

    return Table(
        name,
        MetaData(),
        column("dlg_id", BigInteger, null=False, primary_key=True, autoincrement=False),
        column("callid", String(255), null=False),
        column("from_uri", String(255), null=False),
        column("from_tag", String(64), null=False),
        column("to_uri", String(255), null=False),
        column("to_tag", String(64), null=False),
        column("mangled_from_uri", String(255)),
        column("mangled_to_uri", String(255)),
        column("caller_cseq", String(11), null=False),
        column("callee_cseq", String(11), null=False),
        column("caller_ping_cseq", Integer, null=False),
        column("callee_ping_cseq", Integer, null=False),
        column("caller_route_set", Text),
        column("callee_route_set", Text),
        column("caller_contact", String(255)),
        column("callee_contact", String(255)),
        column("caller_sock", String(64), null=False),
        column("callee_sock", String(64), null=False),
        column("state", Integer, null=False),
        column("start_time", Integer, null=False),
        column("timeout", Integer, null=False),
        column("vars", LargeBinary),
        column("profiles", Text),
        column("script_flags", String(255)),
        column("module_flags", Integer, null=False),
        column("flags", Integer, null=False),
        column("rt_on_answer", String(64)),
        column("rt_on_timeout", String(64)),
        column("rt_on_hangup", String(64)),
    )


def row_of(dialog: Dialog, sockets: Sequence[str], now: float, wall: float) -> dict[str, Any]:
    """A dialog as a row.

    Args:
        dialog: one that is confirmed.
        sockets: the listening sockets, as text.
        now, wall: the moment on the monotonic clock, and in seconds of the epoch.
    """
    caller, callee = dialog.caller, dialog.callee
    return {
        "dlg_id": dialog.id,
        "callid": dialog.call_id,
        "from_uri": caller.uri,
        "from_tag": caller.tag,
        "to_uri": callee.uri,
        "to_tag": callee.tag,
        "caller_cseq": str(max(caller.cseq, 0)),
        "callee_cseq": str(max(callee.cseq, 0)),
        "caller_ping_cseq": max(caller.sent, 0),
        "callee_ping_cseq": max(callee.sent, 0),
        "caller_route_set": ",".join(caller.routes) or None,
        "callee_route_set": ",".join(callee.routes) or None,
        "caller_contact": caller.contact or None,
        "callee_contact": callee.contact or None,
        "caller_sock": _socket(caller, sockets),
        "callee_sock": _socket(callee, sockets),
        "state": int(dialog.state),
        "start_time": int(dialog.started),
        "timeout": int(wall + dialog.ends_at - now),
        "vars": join_pairs(dialog.values.items()).encode("latin-1", "replace") or None,
        "profiles": join_pairs(dialog.profiles) or None,
        "script_flags": " ".join(dialog.script_flags) or None,
        "module_flags": 0,
        "flags": int(dialog.flags),
        "rt_on_answer": dialog.on_answer or None,
        "rt_on_timeout": dialog.on_timeout or None,
        "rt_on_hangup": dialog.on_hangup or None,
    }


def dialog_of_row(row: Mapping[str, Any], sockets: Sequence[str], now: float, wall: float) -> Dialog | None:
    """A row's dialog; None where it is no dialog that can go on: it has ended, its time is over, or it makes no sense.

    Pings begin anew, those by re-INVITE as OPTIONS: the session that they would offer is not in the table.

    Args:
        row: by OpenSIPS's column names.
        sockets, now, wall: as for `row_of`.
    """
    left_s = row["timeout"] - wall
    if row["state"] not in (State.CONFIRMED_NA, State.CONFIRMED) or left_s <= 0 or not 0 <= row["dlg_id"] < 1 << 63:
        return None
    caller, callee = _leg(row, Side.CALLER, sockets), _leg(row, Side.CALLEE, sockets)
    for receiver, sender in ((caller, callee), (callee, caller)):
        receiver.sent = max(receiver.sent, sender.cseq)
        receiver.shift = receiver.invite_shift = max(0, receiver.sent - sender.cseq) if sender.cseq >= 0 else 0
    return Dialog(
        row["dlg_id"],
        row["callid"],
        float(row["start_time"]),
        max(1, int(row["timeout"] - row["start_time"])),
        caller,
        callee,
        flags=row["flags"] or 0,
        state=row["state"],
        started=float(row["start_time"]),
        ends_at=now + left_s,
        due=now + left_s,
        values=dict(split_pairs((row["vars"] or b"").decode("latin-1"))),
        script_flags=(row["script_flags"] or "").split(),
        profiles=[(name, str(value)) for name, value in split_pairs(row["profiles"] or "")],
        on_answer=row["rt_on_answer"] or "",
        on_timeout=row["rt_on_timeout"] or "",
        on_hangup=row["rt_on_hangup"] or "",
    )


def _socket(leg: Leg, sockets: Sequence[str]) -> str:
    return sockets[leg.socket] if leg.socket < len(sockets) else ""


def _leg(row: Mapping[str, Any], side: Side, sockets: Sequence[str]) -> Leg:
    name, party = ("caller", "from") if side is Side.CALLER else ("callee", "to")
    cseq, sent = _number(row[f"{name}_cseq"]), _number(row[f"{name}_ping_cseq"])
    socket = row[f"{name}_sock"]
    return Leg(
        tag=row[f"{party}_tag"],
        uri=row[f"{party}_uri"],
        contact=row[f"{name}_contact"] or "",
        routes=split_outside(row[f"{name}_route_set"] or "", ","),
        socket=sockets.index(socket) if socket in sockets else 0,
        cseq=cseq or (-1 if side is Side.CALLEE else 0),
        sent=sent or -1,
    )


def _number(value: Any) -> int:
    text = str(value or 0)
    return min(int(text), MAX_CSEQ) if text.isdecimal() and len(text) <= 11 else 0


# --- vars and profiles: ``name#value|name#value|``, with a backslash before what is no separator

_SPECIAL: Final = re.compile(r"[\\#|]")
_INTEGER: Final = "\\i"
"""Stands before a value that is an integer. To whoever does not know it, it is an escaped letter."""


def join_pairs(pairs: Iterable[tuple[str, str | int]]) -> str:
    """Names and values as one text."""
    found = []
    for name, value in pairs:
        text = _escaped(value) if isinstance(value, str) else f"{_INTEGER}{value}"
        found.append(f"{_escaped(name)}#{text}|" if text else f"{_escaped(name)}|")
    return "".join(found)


def split_pairs(text: str) -> list[tuple[str, str | int]]:
    """The names and values of such a text; a name without a value has an empty one."""
    found: list[tuple[str, str | int]] = []
    for piece in _cut(text, "|"):
        name, *rest = _cut(piece, "#")
        value = "#".join(rest)
        digits = value.removeprefix(_INTEGER)
        if value.startswith(_INTEGER) and digits.removeprefix("-").isdecimal() and len(digits) <= 20:
            found.append((_plain(name), int(digits)))
        elif name:
            found.append((_plain(name), _plain(value)))
    return found


def _escaped(text: str) -> str:
    return _SPECIAL.sub(lambda found: "\\" + found[0], text)


def _plain(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text, flags=re.DOTALL)


def _cut(text: str, separator: str) -> list[str]:
    """Cut at a separator that has no backslash before it; without an empty last piece."""
    pieces, start, at = [], 0, 0
    while at < len(text):
        if text[at] == "\\":
            at += 1
        elif text[at] == separator:
            pieces.append(text[start:at])
            start = at + 1
        at += 1
    if start < len(text) or not pieces:
        pieces.append(text[start:])
    return pieces
