"""What a message's headers and body say, for the variables that are named after them.

Source of names and meanings: OpenSIPS, "Core variables".
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable
from typing import Final

from runtime.context import Context, Value
from runtime.script.uris import parts_of
from runtime.sip.body import matches_type, read_body
from runtime.sip.fields import NameAddr, parse_name_addr
from runtime.sip.headers import spelling
from runtime.sip.message import Reply, Request

Reads = Callable[[Context], Value]

# Headers, and the message as a whole


def display(text: str) -> Value:
    """A display name; NULL when there is none."""
    return text or None


def get_header(c: Context, name: str) -> Value:
    """`$hdr(name)`: the first header of that name, whole."""
    return c.message.field(name)


def all_headers(c: Context, name: str) -> list[Value]:
    """Every header of that name, the first first."""
    return list(c.message.fields(name))


def get_header_count(c: Context, name: str) -> Value:
    """`$hdrcnt(name)`."""
    return len(c.message.fields(name))


def get_contact(c: Context) -> Value:
    """`$ct`: the first contact."""
    return c.message.get("contact")


def all_contacts(c: Context, _: str) -> list[Value]:
    """Every contact, the first first."""
    return list(c.message.all("contact"))


def get_contact_field(c: Context, name: str) -> Value:
    """`$ct.fields(name)`: `name`, `uri`, `q`, `expires`, `methods`, `received`, or `params` as a whole."""
    return _contact_field(c.message.contact, name)


def all_contact_fields(c: Context, name: str) -> list[Value]:
    """`$(ct.fields(name)[i])` of every contact, the first first."""
    return [_contact_field(parse_name_addr(text), name) for text in c.message.all("contact")]


def _contact_field(contact: NameAddr | None, name: str) -> Value:
    if contact is None:
        return None
    if name == "uri":
        return contact.uri
    if name == "name":
        return contact.display.strip('"') or None
    if name == "params":
        return ";".join(key if value is None else f"{key}={value}" for key, value in contact.params.items())
    return contact.params.get(name.lower())


def get_buffer(c: Context) -> Value:
    """`$mb`: the message as it came."""
    return c.message.raw.decode("latin-1")


def get_length(c: Context) -> Value:
    """`$ml`: the message's length in bytes."""
    return len(c.message.raw)


def get_message_id(c: Context, inner: str) -> Value:
    """`$mi` is a number that stands for the message; `$mi(code)` and its like tell how the last job ended."""
    return c.story.get(inner) if inner else zlib.crc32(c.message.raw)


def get_status(c: Context) -> Value:
    """`$rs`: a reply's status; NULL in a request."""
    return c.message.status if isinstance(c.message, Reply) else None


def get_reason(c: Context) -> Value:
    """`$rr`: a reply's reason phrase; NULL in a request."""
    return c.message.reason if isinstance(c.message, Reply) else None


def get_source_host(c: Context) -> Value:
    """`$si`."""
    return c.source.host if c.source else None


def get_source_port(c: Context) -> Value:
    """`$sp`."""
    return c.source.port if c.source else None


# Digest credentials and challenges

CREDENTIALS: Final = ("authorization", "proxy-authorization")
CHALLENGES: Final = ("www-authenticate", "proxy-authenticate")
# The look behind keeps a long word from being tried at each of its letters.
_FIELD = re.compile(
    r'(?<![A-Za-z0-9_-])([A-Za-z][A-Za-z0-9_-]*)[ \t]{0,8}=[ \t]{0,8}(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))'
)


def digest_field(headers: tuple[str, str], name: str) -> Reads:
    """Reads a field of the first header that is there (RFC 3261 25.1, auth-param); NULL where it has none."""

    def get(c: Context) -> Value:
        text = c.message.field(headers[0]) or c.message.field(headers[1]) or ""
        for found in _FIELD.finditer(text):
            if found[1].lower() == name:
                return found[3] if found[2] is None else found[2]
        return None

    return get


_username = digest_field(CREDENTIALS, "username")


def get_auth_user(c: Context) -> Value:
    """`$au`: the username of the credentials, without a domain."""
    name = _username(c)
    return name.partition("@")[0] if isinstance(name, str) else None


def get_auth_domain(c: Context) -> Value:
    """`$ad`: the domain of the username of the credentials."""
    name = _username(c)
    return name.partition("@")[2] or None if isinstance(name, str) else None


def get_accounted_user(c: Context) -> Value:
    """`$Au`: `$au`, or the user of From."""
    return get_auth_user(c) or parts_of(c.message.from_.uri).user


# Headers that hold an address


def _address(c: Context, header: str) -> NameAddr | None:
    text = c.message.get(header)
    return None if text is None else parse_name_addr(text)


def address_of(header: str) -> Reads:
    """Reads the URI of a header."""

    def get(c: Context) -> Value:
        found = _address(c, header)
        return None if found is None else found.uri

    return get


def display_of(header: str) -> Reads:
    """Reads the display name of a header, without its quotes."""

    def get(c: Context) -> Value:
        found = _address(c, header)
        return None if found is None else found.display.strip('"') or None

    return get


def param_of(header: str, name: str) -> Reads:
    """Reads a parameter of a header."""

    def get(c: Context) -> Value:
        found = _address(c, header)
        value = None if found is None else found.params.get(name)
        return None if value is None else value.strip('"')

    return get


# Headers as such


def all_header_names(c: Context, _: str) -> list[Value]:
    """`$(hdr_name[i])`: the name of every header, in order."""
    return [spelling(name) for name in c.message.names]


def get_header_name(c: Context) -> Value:
    """`$hdr_name`: the name of the first header."""
    return spelling(c.message.names[0])


def get_path(c: Context) -> Value:
    """`$path`: the values of Path (RFC 3327), joined by commas."""
    return ", ".join(c.message.fields("path")) or None


def is_request(c: Context) -> Value:
    """`$msg.is_request`: 1 in a request, 0 in a reply."""
    return int(isinstance(c.message, Request))


def get_message_type(c: Context) -> Value:
    """`$msg.type`: `request` or `reply`."""
    return "request" if is_request(c) else "reply"


# Bodies


def all_bodies(c: Context, media_type: str) -> list[Value]:
    """`$(rb(type)[i])`: the parts of the body, or those of a media type; the body itself when it has none."""
    body = read_body(c.message)
    if body is None:
        return []
    parts = [part for part in body.leaves() if not media_type or matches_type(part.media_type, media_type)]
    return [part.content.decode("latin-1") for part in parts]


def get_body(c: Context, media_type: str) -> Value:
    """`$rb`: the whole body; `$rb(type)`: the first part of a media type. NULL when there is none."""
    if media_type:
        return next(iter(all_bodies(c, media_type)), None)
    return c.message.body.decode("latin-1") or None


def all_content_types(c: Context, _: str) -> list[Value]:
    """`$(cT[i])`: the media types of the parts of the body."""
    body = read_body(c.message)
    return [] if body is None else [part.media_type for part in body.leaves()]


# Colours


def get_colour(c: Context, pair: str) -> Value:
    """`$C(xy)` colours a terminal in OpenSIPS. Here no text may drive one, so this is empty."""
    return ""
