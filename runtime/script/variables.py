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
        doc: what it holds, in a sentence or two for the reference.
    """

    name: str
    get: Callable[..., Value]
    set: Callable[..., None] | None = None
    inner: Inner = Inner.NO
    gives: Gives = Gives.STRING | Gives.NULL
    path: str = ""
    uri: tuple[str, str] | None = None
    all: Callable[[Context, str], list[Value]] | None = None
    doc: str = ""


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


def _at(name: str, path: str, gives: Gives, doc: str = "") -> ContextVariable:
    return ContextVariable(name, _path(path), gives=gives, path=path, doc=doc)


def _of_uri(name: str, path: str, part: str, set: Callable[..., None] | None = None, doc: str = "") -> ContextVariable:
    gives = (_I if part == "port" else _S) | _N
    return ContextVariable(name, part_of(_path(path), part), set, gives=gives, uri=(path, part), doc=doc)


def _read(name: str, get: Callable[..., Value], gives: Gives = _S | _N, doc: str = "") -> ContextVariable:
    return ContextVariable(name, get, gives=gives, doc=doc)


_MUST, _MAY = Inner.MUST, Inner.MAY

CONTEXT_VARIABLES: Final[dict[str, ContextVariable]] = {
    variable.name: variable
    for variable in (
        ContextVariable(
            "var",
            get_var,
            set_var,
            _MUST,
            Gives.ANY,
            doc="A variable of the process: NULL until something is assigned, and kept from one message to the next.",
        ),
        ContextVariable(
            "avp",
            get_avp,
            push_avp,
            _MUST,
            Gives.ANY,
            all=all_avp,
            doc="A value of the transaction. A name may have several: `=` adds one, the index 0 is the newest.",
        ),
        ContextVariable(
            "param",
            get_param,
            None,
            _MUST,
            Gives.ANY,
            doc="A parameter of the route that runs, by number from 1; an event's also by name.",
        ),
        ContextVariable(
            "return",
            get_return,
            None,
            _MUST,
            Gives.ANY,
            doc="What the last `return(code, value, ...)` gave behind its code, by number from 0.",
        ),
        ContextVariable("cfg_line", _nothing, gives=_I, doc="The line of the script that is running."),
        ContextVariable("cfg_file", _nothing, gives=_S, doc="The script file that is running."),
        _at("rc", "rc", _I, doc="What the last function or route returned."),
        _at("retcode", "rc", _I, doc="What the last function or route returned, as `$rc`."),
        ContextVariable(
            "ru", get_ruri, set_ruri, doc="The Request-URI as it will be sent; NULL puts the received one back."
        ),
        _of_uri("rU", "ruri", "user", set_ruri_user, doc="The user of the Request-URI."),
        _of_uri("rd", "ruri", "host", set_ruri_host, doc="The host of the Request-URI."),
        _of_uri("rp", "ruri", "port", set_ruri_port, doc="The port of the Request-URI."),
        _read("rP", transport(get_ruri), doc="The transport of the Request-URI; UDP when it names none."),
        _read("ou", get_original_uri, doc="The Request-URI as it was received."),
        _read("oU", part_of(get_original_uri, "user"), doc="The user of the received Request-URI."),
        _read("od", part_of(get_original_uri, "host"), doc="The host of the received Request-URI."),
        _read("op", part_of(get_original_uri, "port"), _I | _N, doc="The port of the received Request-URI."),
        _at("fu", "message.from_.uri", _S, doc="The URI in From."),
        _of_uri("fU", "message.from_.uri", "user", doc="The user of the URI in From."),
        _of_uri("fd", "message.from_.uri", "host", doc="The host of the URI in From."),
        _at("ft", "message.from_.tag", _S | _N, doc="The tag of From."),
        _read("fn", lambda c: display(c.message.from_.display), doc="The display name in From."),
        _at("tu", "message.to.uri", _S, doc="The URI in To."),
        _of_uri("tU", "message.to.uri", "user", doc="The user of the URI in To."),
        _of_uri("td", "message.to.uri", "host", doc="The host of the URI in To."),
        _at("tt", "message.to.tag", _S | _N, doc="The tag of To; NULL outside of a dialog."),
        _read("tn", lambda c: display(c.message.to.display), doc="The display name in To."),
        _at("ci", "message.call_id", _S, doc="The Call-ID."),
        _at("cs", "message.cseq_number", _I, doc="The number in CSeq."),
        _at("rm", "message.cseq_method", _S, doc="The method: of a reply, that of its CSeq."),
        _read("rs", get_status, _I | _N, doc="A reply's status; NULL in a request."),
        _read("rr", get_reason, doc="A reply's reason phrase; NULL in a request."),
        _read("rt", get_refer_to, doc="The Refer-To header, whole."),
        _read("si", get_source_host, doc="The address that the message came from."),
        _read("sp", get_source_port, _I | _N, doc="The port that the message came from."),
        ContextVariable(
            "du",
            _path("dst_uri"),
            set_dst_uri,
            path="dst_uri",
            doc="Where the request goes instead of its Request-URI, as a URI; NULL for nowhere else.",
        ),
        _of_uri("dd", "dst_uri", "host", set_dst_host, doc="The host of `$du`."),
        _of_uri("dp", "dst_uri", "port", set_dst_port, doc="The port of `$du`."),
        _read("dP", transport(_path("dst_uri")), doc="The transport of `$du`; UDP when it names none."),
        ContextVariable(
            "hdr",
            get_header,
            None,
            _MUST,
            all=all_headers,
            doc="The header of that name, whole; the index 0 is the first of several.",
        ),
        ContextVariable("hdrcnt", get_header_count, None, _MUST, _I, doc="How many headers of that name there are."),
        ContextVariable(
            "ct", get_contact, all=all_contacts, doc="The contact, whole; the index 0 is the first of several."
        ),
        ContextVariable(
            "ct.fields",
            get_contact_field,
            None,
            _MUST,
            doc="A part of the first contact: name, uri, params, or one of its parameters.",
        ),
        _at("ua", "message.user_agent", _S | _N, doc="The User-Agent header."),
        _at("cT", "message.content_type", _S | _N, doc="The Content-Type header."),
        _read("cl", lambda c: len(c.message.body), _I, doc="The length of the body in bytes."),
        _read("rb", get_body, doc="The body; NULL without one."),
        _read("mb", get_buffer, _S, doc="The message as it was received, whole."),
        _read("ml", get_length, _I, doc="The message's length in bytes."),
        _read("au", credential(USERNAME), doc="The user name of the credentials that the request carries."),
        _read("ar", credential(REALM), doc="The realm of the credentials that the request carries."),
        ContextVariable(
            "mi",
            get_message_id,
            None,
            _MAY,
            Gives.ANY,
            doc="A number that stands for the message; with code, message, data, worker or elapsed, how a job ended.",
        ),
        _read("mf", get_message_flags, _S, doc="The names of the message flags that are set."),
        _read("bf", get_branch_flags, _S, doc="The names of the flags of the main branch that are set."),
        ContextVariable("msg.flag", get_flag, set_flag, _MUST, _I, doc="Whether a message flag is set, 1 or 0."),
        ContextVariable(
            "msg.branch.flag",
            get_branch_flag,
            set_branch_flag,
            _MUST,
            _I,
            doc="Whether a flag of the main branch is set, 1 or 0.",
        ),
        ContextVariable(
            "branch.flag",
            get_branch_flag,
            set_branch_flag,
            _MUST,
            _I,
            doc="Whether a flag of the main branch is set, 1 or 0.",
        ),
        ContextVariable(
            "branch",
            get_branch,
            set_branch,
            _MAY,
            Gives.ANY,
            all=all_branches,
            doc="An appended branch, or a part of it: uri, duri, q, path or flags. Assigning a URI appends one.",
        ),
        *(
            _read(f"err.{part}", error_part(part), Gives.ANY, doc=f"In an error route, {what}.")
            for part, what in {
                "class": "the kind of error: 2 for a message that cannot be read",
                "level": "how grave it is",
                "info": "what is wrong, in words",
                "rcode": "the status that a reply would have",
                "rreason": "the reason phrase that a reply would have",
            }.items()
        ),
        _read("route", get_route, _S, doc="The type of the route that runs, with its name."),
        _read("route.name", get_route_name, doc="The name of the route that runs; NULL where it has none."),
        _read("route.type", get_route_type, doc="The type of the route that runs, such as failure_route."),
    )
}
"""Every variable of the language by name."""
