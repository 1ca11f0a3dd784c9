"""The variables that the language itself has.

What needs the world around the context (time, chance, the process) is with the core's functions.
Source of names and meanings: OpenSIPS, "Core variables".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from runtime.context import Context, Value
from runtime.script import access, branch_access, header_access, sdp_access
from runtime.script.access import part_of, transport
from runtime.script.header_access import CHALLENGES, CREDENTIALS, address_of, digest_field, display_of, param_of
from runtime.script.variables import ContextVariable, Gives, Inner

_S, _I, _N = Gives.STRING, Gives.INTEGER, Gives.NULL
_MUST, _MAY = Inner.MUST, Inner.MAY

Reads = Callable[..., Value]
Writes = Callable[..., None]


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


def _at(name: str, path: str, gives: Gives, doc: str) -> ContextVariable:
    return ContextVariable(name, _path(path), gives=gives, path=path, doc=doc)


def _of_uri(name: str, path: str, part: str, doc: str, set: Writes | None = None) -> ContextVariable:
    gives = (_I if part == "port" else _S) | _N
    return ContextVariable(name, part_of(_path(path), part), set, gives=gives, uri=(path, part), doc=doc)


def _read(name: str, get: Reads, doc: str, gives: Gives = _S | _N) -> ContextVariable:
    return ContextVariable(name, get, gives=gives, doc=doc)


def _named(name: str, get: Reads, doc: str, gives: Gives = _S | _N, *, set: Writes | None = None) -> ContextVariable:
    """One that has a name in brackets."""
    return ContextVariable(name, get, set, _MUST, gives, doc=doc)


def _script_state() -> tuple[ContextVariable, ...]:
    a = access
    return (
        _named(
            "var",
            a.get_var,
            "A variable of the process: NULL until something is assigned, and kept from one message to the next.",
            Gives.ANY,
            set=a.set_var,
        ),
        ContextVariable(
            "avp",
            a.get_avp,
            a.push_avp,
            _MUST,
            Gives.ANY,
            all=a.all_avp,
            put=a.put_avp,
            doc="A value of the transaction. A name may have several: `=` adds one, the index 0 is the newest.",
        ),
        _named(
            "param",
            a.get_param,
            "A parameter of the route that runs, by number from 1; an event's also by name.",
            Gives.ANY,
        ),
        _named(
            "return",
            a.get_return,
            "What the last `return(code, value, ...)` gave behind its code, by number from 0.",
            Gives.ANY,
        ),
    )


def _run_state() -> tuple[ContextVariable, ...]:
    """What a run of the script is at, and what it has noted of the message."""
    a = access
    return (
        _read("cfg_line", _nothing, "The line of the script that is running.", _I),
        _read("cfg_file", _nothing, "The script file that is running.", _S),
        _at("rc", "rc", _I, "What the last function or route returned."),
        _at("retcode", "rc", _I, "What the last function or route returned, as `$rc`."),
        ContextVariable(
            "mi",
            header_access.get_message_id,
            None,
            _MAY,
            Gives.ANY,
            doc="A number that stands for the message; with code, message, data, worker or elapsed, how a job ended.",
        ),
        _read("mf", a.get_message_flags, "The names of the message flags that are set.", _S),
        _read("bf", a.get_branch_flags, "The names of the flags of the main branch that are set.", _S),
        _named("msg.flag", a.get_flag, "Whether a message flag is set, 1 or 0.", _I, set=a.set_flag),
        *(
            _read(f"err.{part}", a.error_part(part), f"In an error route, {what}.", Gives.ANY)
            for part, what in {
                "class": "the kind of error: 2 for a message that cannot be read",
                "level": "how grave it is",
                "info": "what is wrong, in words",
                "rcode": "the status that a reply would have",
                "rreason": "the reason phrase that a reply would have",
            }.items()
        ),
        _read("route", a.get_route, "The type of the route that runs, with its name.", _S),
        _read("route.name", a.get_route_name, "The name of the route that runs; NULL where it has none."),
        _read("route.type", a.get_route_type, "The type of the route that runs, such as failure_route."),
        _named("C", header_access.get_colour, "Nothing: a log line of this server drives no terminal's colours.", _S),
    )


def _requests() -> tuple[ContextVariable, ...]:
    """The Request-URI and the next hop, with the longer names that they have too."""
    a = access
    ruri = "The Request-URI as it will be sent; NULL puts the received one back."
    hop = "Where the request goes instead of its Request-URI, as a URI; NULL for nowhere else."
    return (
        *(ContextVariable(name, a.get_ruri, a.set_ruri, doc=ruri) for name in ("ru", "ruri")),
        *(
            _of_uri(name, "ruri", "user", "The user of the Request-URI.", a.set_ruri_user)
            for name in ("rU", "ruri.user")
        ),
        *(
            _of_uri(name, "ruri", "host", "The host of the Request-URI.", a.set_ruri_host)
            for name in ("rd", "ruri.domain")
        ),
        _of_uri("rp", "ruri", "port", "The port of the Request-URI.", a.set_ruri_port),
        _read("rP", transport(a.get_ruri), "The transport of the Request-URI; UDP when it names none."),
        ContextVariable("ru_q", *_main_q(), doc="The weight of the Request-URI's branch, `0` to `1`; NULL for none."),
        *(_read(name, a.get_original_uri, "The Request-URI as it was received.") for name in ("ou", "ouri")),
        _read("oU", part_of(a.get_original_uri, "user"), "The user of the received Request-URI."),
        _read("od", part_of(a.get_original_uri, "host"), "The host of the received Request-URI."),
        _read("op", part_of(a.get_original_uri, "port"), "The port of the received Request-URI.", _I | _N),
        _read("oP", transport(a.get_original_uri), "The transport of the received Request-URI, or UDP."),
        *(ContextVariable(name, _path("dst_uri"), a.set_dst_uri, path="dst_uri", doc=hop) for name in ("du", "duri")),
        _of_uri("dd", "dst_uri", "host", "The host of `$du`.", a.set_dst_host),
        _of_uri("dp", "dst_uri", "port", "The port of `$du`.", a.set_dst_port),
        _read("dP", transport(_path("dst_uri")), "The transport of `$du`; UDP when it names none."),
    )


def _main_q() -> tuple[Reads, Writes]:
    put, every = branch_access.branch_putter("q"), branch_access.branch_lister("q")
    return lambda c: every(c, "")[0], lambda c, value: put(c, "", 0, value)


def _messages() -> tuple[ContextVariable, ...]:
    h = header_access
    return (
        *(_at(name, "message.from_.uri", _S, "The URI in From.") for name in ("fu", "from")),
        *(_of_uri(name, "message.from_.uri", "user", "The user of the URI in From.") for name in ("fU", "from.user")),
        *(_of_uri(name, "message.from_.uri", "host", "The host of the URI in From.") for name in ("fd", "from.domain")),
        _at("ft", "message.from_.tag", _S | _N, "The tag of From."),
        _read("fn", lambda c: h.display(c.message.from_.display), "The display name in From."),
        *(_at(name, "message.to.uri", _S, "The URI in To.") for name in ("tu", "to")),
        *(_of_uri(name, "message.to.uri", "user", "The user of the URI in To.") for name in ("tU", "to.user")),
        *(_of_uri(name, "message.to.uri", "host", "The host of the URI in To.") for name in ("td", "to.domain")),
        _at("tt", "message.to.tag", _S | _N, "The tag of To; NULL outside of a dialog."),
        _read("tn", lambda c: h.display(c.message.to.display), "The display name in To."),
        _at("ci", "message.call_id", _S, "The Call-ID."),
        _at("cs", "message.cseq_number", _I, "The number in CSeq."),
        _at("rm", "message.cseq_method", _S, "The method: of a reply, that of its CSeq."),
        _read("rs", h.get_status, "A reply's status; NULL in a request.", _I | _N),
        _read("rr", h.get_reason, "A reply's reason phrase; NULL in a request."),
        *(_read(name, h.get_source_host, "The address that the message came from.") for name in ("si", "src_ip")),
        _read("sp", h.get_source_port, "The port that the message came from.", _I | _N),
        _read("mb", h.get_buffer, "The message as it was received, whole.", _S),
        _read("ml", h.get_length, "The message's length in bytes.", _I),
        _read("msg.is_request", h.is_request, "Whether the message is a request, 1 or 0.", _I),
        _read("msg.type", h.get_message_type, "What the message is, `request` or `reply`.", _S),
        *_headers(),
        *_digest(),
    )


def _headers() -> tuple[ContextVariable, ...]:
    h = header_access
    preferred = address_of("p-preferred-identity")
    return (
        ContextVariable(
            "hdr",
            h.get_header,
            None,
            _MUST,
            all=h.all_headers,
            doc="The header of that name, whole; the index 0 is the first of several.",
        ),
        _named("hdrcnt", h.get_header_count, "How many headers of that name there are.", _I),
        ContextVariable(
            "hdr_name",
            h.get_header_name,
            all=h.all_header_names,
            doc="The name of the first header; with an index that of another, 0 being the first.",
        ),
        ContextVariable(
            "ct", h.get_contact, all=h.all_contacts, doc="The contact, whole; the index 0 is the first of several."
        ),
        ContextVariable(
            "ct.fields",
            h.get_contact_field,
            None,
            _MUST,
            all=h.all_contact_fields,
            doc="A part of the first contact, or of that of the index: name, uri, params, or one of its parameters.",
        ),
        _at("ua", "message.user_agent", _S | _N, "The User-Agent header."),
        _read("path", h.get_path, "What the Path headers say, joined by commas."),
        _read("rt", address_of("refer-to"), "The URI in Refer-To."),
        _read("ai", address_of("p-asserted-identity"), "The URI in P-Asserted-Identity, the first of several."),
        _read("pu", preferred, "The URI in P-Preferred-Identity."),
        _read("pU", part_of(preferred, "user"), "The user of the URI in P-Preferred-Identity."),
        _read("pd", part_of(preferred, "host"), "The host of the URI in P-Preferred-Identity."),
        _read("pn", display_of("p-preferred-identity"), "The display name in P-Preferred-Identity."),
        _read("re", address_of("remote-party-id"), "The URI in Remote-Party-ID."),
        _read("di", address_of("diversion"), "The URI in Diversion, the first of several."),
        _read("dip", param_of("diversion", "privacy"), "The parameter privacy of Diversion."),
        _read("dir", param_of("diversion", "reason"), "The parameter reason of Diversion."),
    )


_DIGEST: Final = {
    "aU": ("username", "user name, whole"),
    "ar": ("realm", "realm"),
    "adu": ("uri", "URI"),
    "an": ("nonce", "nonce"),
    "auth.resp": ("response", "response"),
    "auth.nonce": ("nonce", "nonce"),
    "auth.cnonce": ("cnonce", "client's nonce"),
    "auth.opaque": ("opaque", "opaque text"),
    "auth.alg": ("algorithm", "algorithm"),
    "auth.qop": ("qop", "quality of protection"),
    "auth.nc": ("nc", "count of the nonce"),
}
_CHALLENGED: Final = ("algorithm", "realm", "nonce", "opaque", "qop", "ik", "ck")


def _digest() -> tuple[ContextVariable, ...]:
    h = header_access
    return (
        _read("au", h.get_auth_user, "The user name of the credentials that the request carries, without a domain."),
        _read("ad", h.get_auth_domain, "The domain of the user name of the credentials that the request carries."),
        _read("Au", h.get_accounted_user, "The user that is accounted for: `$au`, or else `$fU`."),
        *(
            _read(name, digest_field(CREDENTIALS, field), f"The {what} of the credentials that the request carries.")
            for name, (field, what) in _DIGEST.items()
        ),
        *(
            _read(f"challenge.{name}", digest_field(CHALLENGES, name), f"The field {name} of a reply's challenge.")
            for name in _CHALLENGED
        ),
    )


def _bodies() -> tuple[ContextVariable, ...]:
    h, s = header_access, sdp_access
    return (
        ContextVariable(
            "cT",
            _path("message.content_type"),
            path="message.content_type",
            all=h.all_content_types,
            doc="The Content-Type header; with an index the media type of a part of the body, 0 being the first.",
        ),
        _read("cl", lambda c: len(c.message.body), "The length of the body in bytes.", _I),
        ContextVariable(
            "rb",
            h.get_body,
            None,
            _MAY,
            all=h.all_bodies,
            doc="The body as it was received, NULL without one; with a media type or an index, one of its parts.",
        ),
        ContextVariable(
            "sdp",
            s.get_sdp,
            s.set_sdp,
            doc="The session description as it is now. An assigned one takes the body's place, NULL takes it away.",
        ),
        _named("sdp.line", s.get_line, f"A line of the session description.{_SDP_PATH}", set=s.set_line),
        _named("sdp.session", s.get_session, f"A line before the first stream.{_SDP_PATH}", set=s.set_session),
        _named("sdp.stream", s.get_stream, f"A line of a stream.{_SDP_PATH}{_SDP_STREAM}", set=s.set_stream),
        _named(
            "sdp.stream.idx",
            s.get_stream_index,
            "The number of the first stream that has such a line or word, named as in `$sdp.stream`.",
            _I | _N,
        ),
    )


_SDP_PATH: Final = """

Named `LINE`, or `LINE/WORD` for a word of it: how it starts, and in square brackets its number among those that do, as
in `a=rtpmap[1]`. An assigned value takes the place of a line, or of what follows the start of a word; NULL takes it
away."""
_SDP_STREAM: Final = """

The stream stands before that, `audio[1]/LINE/WORD`; alone it is all of its lines."""


def _branches() -> tuple[ContextVariable, ...]:
    b = branch_access
    flag, attribute = (b.get_flag, b.set_flag, _MUST, _I), (b.get_attribute, b.set_attribute, _MUST, Gives.ANY)
    flag_doc = "Whether a flag of a branch is set, 1 or 0."
    return (
        ContextVariable(
            "msg.branch",
            b.branch_reader("uri"),
            b.append_branch,
            all=b.branch_lister("uri"),
            doc="The URI of the last branch, or of the one of that index; 0 is the Request-URI's own branch. "
            "Assigning a URI appends a branch.",
        ),
        _branch("uri", "The URI of the last branch, or of the one of that index."),
        _branch("duri", "Where the last branch, or the one of that index, goes instead; NULL for nowhere else."),
        _branch("path", "The Route values that the last branch, or the one of that index, gets; NULL for none."),
        _branch("q", "The weight of the last branch, or of the one of that index, `0` to `1`; NULL for none."),
        ContextVariable(
            "msg.branch.flags",
            b.branch_reader("flags"),
            all=b.branch_lister("flags"),
            doc="The names of the flags that the last branch, or the one of that index, has.",
        ),
        _read("msg.branch.last_idx", b.last_branch, "The index of the last branch; 0 while none was appended.", _I),
        ContextVariable("msg.branch.flag", *flag, all=b.all_flag, put=b.put_flag, doc=flag_doc),
        ContextVariable("branch.flag", *flag, all=b.all_flag, put=b.put_flag, doc=flag_doc),
        ContextVariable(
            "msg.branch.attr",
            *attribute,
            all=b.all_attribute,
            put=b.put_attribute,
            doc="An attribute of the last branch, or of the one of that index; NULL until something is assigned.",
        ),
    )


def _branch(field: str, doc: str) -> ContextVariable:
    b = branch_access
    get, write = b.branch_reader(field), b.branch_writer(field)
    every, put = b.branch_lister(field), b.branch_putter(field)
    return ContextVariable(f"msg.branch.{field}", get, write, all=every, put=put, doc=doc)


CONTEXT_VARIABLES: Final[dict[str, ContextVariable]] = {
    variable.name: variable
    for variable in (*_script_state(), *_run_state(), *_requests(), *_messages(), *_bodies(), *_branches())
}
"""Every variable of the language by name."""
