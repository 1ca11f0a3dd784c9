"""The variables that the language itself has.

What needs the world around the context (time, chance, the process) is with the core's functions.
Source of names and meanings: OpenSIPS, "Core variables".
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from runtime.context import Context, Value
from runtime.script.access import (
    REALM,
    USERNAME,
    all_avp,
    all_branches,
    all_contacts,
    all_headers,
    credential,
    display,
    error_part,
    get_avp,
    get_body,
    get_branch,
    get_branch_flag,
    get_branch_flags,
    get_buffer,
    get_contact,
    get_contact_field,
    get_flag,
    get_header,
    get_header_count,
    get_length,
    get_message_flags,
    get_message_id,
    get_original_uri,
    get_param,
    get_reason,
    get_refer_to,
    get_return,
    get_route,
    get_route_name,
    get_route_type,
    get_ruri,
    get_source_host,
    get_source_port,
    get_status,
    get_var,
    part_of,
    push_avp,
    set_branch,
    set_branch_flag,
    set_dst_host,
    set_dst_port,
    set_dst_uri,
    set_flag,
    set_ruri,
    set_ruri_host,
    set_ruri_port,
    set_ruri_user,
    set_var,
    transport,
)


class Gives(enum.Flag):
    """What a variable may hold: the compiler leaves out the checks that can never fail."""

    STRING = enum.auto()
    INTEGER = enum.auto()
    NULL = enum.auto()
    ANY = STRING | INTEGER | NULL


class Inner(enum.Enum):
    """Whether a variable has a name in brackets."""

    NO = "no"
    MAY = "may"
    MUST = "must"


@dataclass(frozen=True, slots=True)
class ContextVariable:
    """A variable of the language.

    Args:
        name: without the dollar sign.
        get: ``get(context)``, or ``get(context, inner)`` where it may have brackets.
        set: the same with the value behind; None for a read-only one. Raises Unwritable.
        inner: whether brackets follow the name.
        gives: what it may hold.
        path: where it is no more than an attribute of the context, the dotted path of that.
        uri: where it is a part of a URI, the dotted path of the URI and the part's name.
        all: every value, in the order of the index (0 first), for a variable that can be indexed.
    """

    name: str
    get: Callable[..., Value]
    set: Callable[..., None] | None = None
    inner: Inner = Inner.NO
    gives: Gives = Gives.STRING | Gives.NULL
    path: str = ""
    uri: tuple[str, str] | None = None
    all: Callable[[Context, str], list[Value]] | None = None


def _path(path: str) -> Callable[[Context], Value]:
    names = path.split(".")

    def get(c: Context) -> Value:
        value: object = c
        for name in names:
            value = getattr(value, name)
        assert value is None or isinstance(value, str | int)
        return value

    return get


def _nothing(c: Context) -> Value:
    raise AssertionError("the compiler puts the constant in")


_S, _I, _N = Gives.STRING, Gives.INTEGER, Gives.NULL


def _at(name: str, path: str, gives: Gives) -> ContextVariable:
    return ContextVariable(name, _path(path), gives=gives, path=path)


def _of_uri(name: str, path: str, part: str, set: Callable[..., None] | None = None) -> ContextVariable:
    gives = (_I if part == "port" else _S) | _N
    return ContextVariable(name, part_of(_path(path), part), set, gives=gives, uri=(path, part))


def _read(name: str, get: Callable[..., Value], gives: Gives = _S | _N) -> ContextVariable:
    return ContextVariable(name, get, gives=gives)


_MUST, _MAY = Inner.MUST, Inner.MAY

CONTEXT_VARIABLES: Final[dict[str, ContextVariable]] = {
    variable.name: variable
    for variable in (
        ContextVariable("var", get_var, set_var, _MUST, Gives.ANY),
        ContextVariable("avp", get_avp, push_avp, _MUST, Gives.ANY, all=all_avp),
        ContextVariable("param", get_param, None, _MUST, Gives.ANY),
        ContextVariable("return", get_return, None, _MUST, Gives.ANY),
        ContextVariable("cfg_line", _nothing, gives=_I),
        ContextVariable("cfg_file", _nothing, gives=_S),
        _at("rc", "rc", _I),
        _at("retcode", "rc", _I),
        ContextVariable("ru", get_ruri, set_ruri),
        _of_uri("rU", "ruri", "user", set_ruri_user),
        _of_uri("rd", "ruri", "host", set_ruri_host),
        _of_uri("rp", "ruri", "port", set_ruri_port),
        _read("rP", transport(get_ruri)),
        _read("ou", get_original_uri),
        _read("oU", part_of(get_original_uri, "user")),
        _read("od", part_of(get_original_uri, "host")),
        _read("op", part_of(get_original_uri, "port"), _I | _N),
        _at("fu", "message.from_.uri", _S),
        _of_uri("fU", "message.from_.uri", "user"),
        _of_uri("fd", "message.from_.uri", "host"),
        _at("ft", "message.from_.tag", _S | _N),
        _read("fn", lambda c: display(c.message.from_.display)),
        _at("tu", "message.to.uri", _S),
        _of_uri("tU", "message.to.uri", "user"),
        _of_uri("td", "message.to.uri", "host"),
        _at("tt", "message.to.tag", _S | _N),
        _read("tn", lambda c: display(c.message.to.display)),
        _at("ci", "message.call_id", _S),
        _at("cs", "message.cseq_number", _I),
        _at("rm", "message.cseq_method", _S),
        _read("rs", get_status, _I | _N),
        _read("rr", get_reason),
        _read("rt", get_refer_to),
        _read("si", get_source_host),
        _read("sp", get_source_port, _I | _N),
        ContextVariable("du", _path("dst_uri"), set_dst_uri, path="dst_uri"),
        _of_uri("dd", "dst_uri", "host", set_dst_host),
        _of_uri("dp", "dst_uri", "port", set_dst_port),
        _read("dP", transport(_path("dst_uri"))),
        ContextVariable("hdr", get_header, None, _MUST, all=all_headers),
        ContextVariable("hdrcnt", get_header_count, None, _MUST, _I),
        ContextVariable("ct", get_contact, all=all_contacts),
        ContextVariable("ct.fields", get_contact_field, None, _MUST),
        _at("ua", "message.user_agent", _S | _N),
        _at("cT", "message.content_type", _S | _N),
        _read("cl", lambda c: len(c.message.body), _I),
        _read("rb", get_body),
        _read("mb", get_buffer, _S),
        _read("ml", get_length, _I),
        _read("au", credential(USERNAME)),
        _read("ar", credential(REALM)),
        ContextVariable("mi", get_message_id, None, _MAY, Gives.ANY),
        _read("mf", get_message_flags, _S),
        _read("bf", get_branch_flags, _S),
        ContextVariable("msg.flag", get_flag, set_flag, _MUST, _I),
        ContextVariable("msg.branch.flag", get_branch_flag, set_branch_flag, _MUST, _I),
        ContextVariable("branch.flag", get_branch_flag, set_branch_flag, _MUST, _I),
        ContextVariable("branch", get_branch, set_branch, _MAY, Gives.ANY, all=all_branches),
        *(_read(f"err.{part}", error_part(part), Gives.ANY) for part in ("class", "level", "info", "rcode", "rreason")),
        _read("route", get_route, _S),
        _read("route.name", get_route_name),
        _read("route.type", get_route_type),
    )
}
"""Every variable of the language by name."""
