"""A REGISTER as the registrar sees it: which address-of-record it is about, and what it asks for. A core."""

from __future__ import annotations

from typing import Final, NamedTuple
from urllib.parse import unquote

from runtime.location.bindings import Refused, Registration, Wanted
from runtime.location.contact import ALL_METHODS, first_path, methods_of
from runtime.sip.fields import NameAddr, number, parse_name_addr
from runtime.sip.message import Request
from runtime.sip.uri import parse_uri

MOST_ASKED: Final = 64
"""Contact values in one REGISTER. A phone sends one; the rest would be work that a stranger can ask for."""
MAX_EXPIRES: Final = 2**31 - 1
MAX_TEXT: Final = 255
"""Characters of whatever is stored of a request: the columns of OpenSIPS's table are no wider."""
_MALFORMED_EXPIRES: Final = 3600
"""What a malformed time is taken for (RFC 3261 20.10)."""


class AorRules(NamedTuple):
    """How the users of a server are told apart.

    Args:
        use_domain: by user and domain, not by the user alone.
        case_sensitive: whether the user part is (RFC 3261 19.1.4 says so; a domain never is).
        realm_prefix: taken off the domain, e.g. ``sip.``.
        max_username, max_domain, max_aor, max_contact: characters.
    """

    use_domain: bool = False
    case_sensitive: bool = True
    realm_prefix: str = ""
    max_username: int = 64
    max_domain: int = 64
    max_aor: int = 256
    max_contact: int = 255


def aor_of(uri: str, rules: AorRules) -> str | None:
    """The address-of-record of a URI, as it is stored: ``user`` or ``user@domain``.

    Args:
        uri: of a user, e.g. from To; ``user@domain`` without a scheme will do.

    Returns:
        None for a URI without a user, one that is none, and one that is too long.
    """
    found = parse_uri(uri)
    if found is None and ":" not in uri:
        found = parse_uri(f"sip:{uri}")
    if found is None or not found.user or len(uri) > rules.max_aor:
        return None
    # RFC 3261 10.3, step 5: escapes are undone, so that there is one spelling of a user.
    user = unquote(found.user, "latin-1") if "%" in found.user else found.user
    domain = found.host.lower().removeprefix(rules.realm_prefix)
    if len(user) > rules.max_username or len(domain) > rules.max_domain or "\0" in user:
        return None
    if not rules.case_sensitive:
        user = user.lower()
    return f"{user}@{domain}" if rules.use_domain else user


def wanted_of(request: Request, rules: AorRules) -> tuple[Wanted, ...] | Refused:
    """The Contact values of a REGISTER; empty for a query. ``*`` comes as a `Wanted` of that URI (see `is_wildcard`).

    Returns:
        `Refused` with 400 for what RFC 3261 10.3 does not allow.
    """
    values = request.all("contact")
    if len(values) > MOST_ASKED:
        return Refused(400, "Too Many Contacts")
    if len(request.call_id) > MAX_TEXT:
        return Refused(400, "Call-ID Too Long")
    if "*" in values:
        return _wildcard(request, len(values))
    found = []
    for value in values:
        wanted = _wanted(parse_name_addr(value), request, rules)
        if isinstance(wanted, Refused):
            return wanted
        found.append(wanted)
    return tuple(found)


def is_wildcard(wanted: tuple[Wanted, ...]) -> bool:
    """Whether it is ``Contact: *``: all bindings are to go."""
    return len(wanted) == 1 and wanted[0].uri == "*"


def _wildcard(request: Request, values: int) -> tuple[Wanted, ...] | Refused:
    if values > 1:
        return Refused(400, "Contact * Stands Alone")
    if request.field("expires") != "0":
        return Refused(400, "Contact * Needs Expires 0")
    return (Wanted("*", 0),)


def _wanted(contact: NameAddr | None, request: Request, rules: AorRules) -> Wanted | Refused:
    if contact is None or parse_uri(contact.uri) is None:
        return Refused(400, "Malformed Contact")
    if len(contact.uri) > rules.max_contact:
        return Refused(400, "Contact Too Long")
    q = _q(contact.params["q"]) if "q" in contact.params else -1
    if q is None:
        return Refused(400, "Malformed q")
    return Wanted(contact.uri, _expires(contact, request), q, _instance(contact.params.get("+sip.instance") or ""))


def _instance(text: str) -> str:
    """A ``+sip.instance`` without its quotes; empty when it could not be quoted again."""
    text = text.strip('"')
    return text if len(text) <= MAX_TEXT and '"' not in text and "\\" not in text else ""


def _expires(contact: NameAddr, request: Request) -> int | None:
    text = contact.params["expires"] if "expires" in contact.params else request.field("expires")
    if text is None:
        return _MALFORMED_EXPIRES if "expires" in contact.params else None
    seconds = number(text, MAX_EXPIRES)
    if seconds is None:
        return MAX_EXPIRES if text.isdecimal() else _MALFORMED_EXPIRES
    return seconds


def _q(text: str | None) -> int | None:
    """A q value in thousandths (RFC 3261 25.1: at most three digits behind the point)."""
    whole, _, part = (text or "").partition(".")
    if whole not in ("0", "1", "") or not (whole or part) or len(part) > 3 or not (part or "0").isdecimal():
        return None
    q = int(whole or "0") * 1000 + int(part.ljust(3, "0"))
    return q if q <= 1000 else None


class PathRules(NamedTuple):
    """How the Path headers of a REGISTER are treated (RFC 3327; OpenSIPS's ``path-off``, ``-lazy``, ``-strict``).

    Args:
        reply: give them back to a user agent that supports them.
        strict: refuse a request whose user agent does not say that it supports them.
        received: take `received` from the first one's parameter of that name.
        ignore: do not look at them at all: no path mode was asked for.
    """

    reply: bool = False
    strict: bool = False
    received: bool = False
    ignore: bool = True


class Path(NamedTuple):
    """Of a REGISTER: what is stored, what its first hop says of where it came from, and the lines for the reply."""

    stored: str = ""
    received: str = ""
    reply_headers: tuple[str, ...] = ()


def path_of(request: Request, rules: PathRules) -> Path | Refused:
    """Read the Path headers of a REGISTER.

    Returns:
        `Refused` with 420 where ``rules.strict`` wants an extension that the user agent does not offer (RFC 3327 5.3),
        with 400 where a value is no name-addr or all together are longer than `MAX_TEXT`.
    """
    if rules.ignore or "path" not in request.names:
        return Path()
    values = request.all("path")
    stored = ", ".join(values)
    lines = tuple([f"Path: {value}" for value in values])
    supported = any([value.strip().lower() == "path" for value in request.all("supported")])
    if rules.strict and not supported:
        return Refused(420, "Bad Extension", ("Unsupported: path", *lines))
    if len(stored) > MAX_TEXT or any([_is_no_hop(value) for value in values]):
        return Refused(400, "Malformed Path")
    hop = parse_uri(first_path(stored) or "") if rules.received else None
    received = unquote(hop.params.get("received") or "", "latin-1").strip('"') if hop else ""
    if received and parse_uri(received) is None:
        return Refused(400, "Malformed Path")
    return Path(stored, received, lines if rules.reply and supported else ())


def _is_no_hop(value: str) -> bool:
    hop = first_path(value)
    return hop is None or parse_uri(hop) is None


def allowed_of(request: Request) -> int:
    """The methods that its user agent takes, by its Allow header; all of them where it has none."""
    return methods_of(request.all("allow")) if "allow" in request.names else ALL_METHODS


def registration_of(request: Request, wanted: tuple[Wanted, ...]) -> Registration:
    """What `bindings.register` decides on, as far as the request itself says it.

    Args:
        wanted: from `wanted_of`.
    """
    wildcard = is_wildcard(wanted)
    return Registration(
        request.call_id,
        request.cseq_number,
        () if wildcard else wanted,
        wildcard,
        user_agent=(request.user_agent or "")[:MAX_TEXT],
        methods=allowed_of(request),
    )
