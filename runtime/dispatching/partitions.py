"""What module parameters say of partitions: independent collections of sets, each with a table of its own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

DEFAULT: Final = "default"
MAX_PARTITIONS: Final = 64
_ALIASES: Final = {"ds_ping_from": "ping_from", "ds_ping_method": "ping_method"}
"""Parameters of the module that a partition calls otherwise."""
_OWN: Final = frozenset(
    (
        "db_url",
        "table_name",
        "dst_avp",
        "grp_avp",
        "cnt_avp",
        "sock_avp",
        "attrs_avp",
        "script_attrs_avp",
        "ping_from",
        "ping_method",
        "persistent_state",
        "ds_define_blacklist",
    )
)
"""What can be said of one partition. A blacklist is accepted, as of the module, without effect."""


class PartitionSettings(NamedTuple):
    """One partition.

    Args:
        name: as functions and commands name it.
        db_url: its database; empty for the server's default.
        table_name: its table.
        dst_avp, grp_avp, cnt_avp, sock_avp: names of the AVPs with what is left to try, with its sets, its number and
            its sockets.
        attrs_avp, script_attrs_avp: names of the AVPs with the attributes of what is left to try; empty for none.
        ping_from, ping_method: what probes look like.
        persistent_state: whether states are read from the table, and written back.
    """

    name: str
    db_url: str
    table_name: str
    dst_avp: str
    grp_avp: str
    cnt_avp: str
    sock_avp: str
    attrs_avp: str
    script_attrs_avp: str
    ping_from: str
    ping_method: str
    persistent_state: bool


def partitions_of(settings: Mapping[str, Any], texts: Iterable[str]) -> list[PartitionSettings]:
    """All partitions, the default one first where there is one.

    Args:
        settings: the module's parameters, which are also those of the default partition; None or empty for unset.
        texts: the parameters ``partition``: ``name: param = value; param = value``.

    Raises:
        ValueError: one cannot be read; the text says why.
    """
    given = {_ALIASES.get(name, name): value for name, value in settings.items()}
    usual = {name: value for name, value in given.items() if name in _OWN and value not in (None, "")}
    stated: dict[str, dict[str, Any]] = {}
    for text in texts:
        name, own = _read(text)
        stated.setdefault(name, {}).update(own)
    usual |= stated.pop(DEFAULT, {})
    found = [_made(name, usual | own) for name, own in stated.items()]
    if usual.keys() - {"ping_from", "ping_method", "persistent_state"} or not found:
        found.insert(0, _made(DEFAULT, usual))
    if len(found) > MAX_PARTITIONS:
        raise ValueError(f"there are more than {MAX_PARTITIONS} partitions")
    return found


def _read(text: str) -> tuple[str, dict[str, Any]]:
    name, colon, rest = text.partition(":")
    name = name.strip()
    if not colon or not name or not (name.isprintable() and name.isascii()) or " " in name:
        raise ValueError(f'partition "{text:.64}": write "name: param = value; param = value"')
    own: dict[str, Any] = {}
    for piece in filter(None, map(str.strip, rest.split(";"))):
        param, equals, value = (part.strip() for part in piece.partition("="))
        param = _ALIASES.get(param, param)
        if not equals or param not in _OWN:
            raise ValueError(f"partition {name}: {piece[:64]!r} is no parameter of a partition")
        own[param] = value
    return name, own


def _made(name: str, own: Mapping[str, Any]) -> PartitionSettings:
    behind = "" if name == DEFAULT else f"_{name}"
    persistent = str(own.get("persistent_state", 1))
    if persistent not in ("0", "1"):
        raise ValueError(f"partition {name}: persistent_state is 0 or 1")
    avps = {f"{what}_avp": f"$avp(ds_{what}_failover{behind})" for what in ("dst", "grp", "cnt", "sock")}
    avps |= {"attrs_avp": "", "script_attrs_avp": ""}
    return PartitionSettings(
        name=name,
        db_url=own.get("db_url", ""),
        table_name=own.get("table_name", "dispatcher"),
        **{param: _avp(own.get(param, usual)) for param, usual in avps.items()},
        ping_from=own.get("ping_from", "sip:dispatcher@localhost"),
        ping_method=own.get("ping_method", "OPTIONS"),
        persistent_state=persistent == "1",
    )


def _avp(text: str) -> str:
    """The name in ``$avp(name)``; empty for no AVP."""
    if not text:
        return ""
    if not (text.startswith("$avp(") and text.endswith(")") and len(text) > 6):
        raise ValueError(f"{text!r} is no AVP; write $avp(name)")
    return text[5:-1]
