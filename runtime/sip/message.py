"""A datagram's bytes as a SIP message (RFC 3261 section 7).

The head is decoded as latin-1 (one byte, one character, nothing lost), cut into lines in one pass, and each line's
name is looked up once. A field is read only when somebody asks for it, and then kept. What the transaction layer
needs for every message (the topmost Via, CSeq) is read, and so checked, at once.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from sys import intern
from typing import Final, Literal, TypeAlias

from mypy_extensions import mypyc_attr

from runtime.compiled import is_compiled
from runtime.sip.fields import (
    LWS,
    USUAL_PARAMS,
    NameAddr,
    Via,
    is_token,
    number,
    parse_name_addr,
    parse_via,
    split_outside,
)
from runtime.sip.headers import COMPACT, KNOWN_NAMES, LIST_HEADERS, spelling
from runtime.sip.lazy import Lazy

__all__ = [
    "Bad",
    "KeepAlive",
    "Message",
    "NameAddr",
    "Parsed",
    "Reply",
    "Request",
    "Via",
    "dummy_request",
    "parse",
    "parse_any",
]

MAX_DATAGRAM_BYTES: Final = 65_536
MAX_HEADERS: Final = 256
MAX_LINE_CHARS: Final = 8_192
"""One header field, unfolded. Far beyond what is met, and it bounds the work that one field can ask for."""
MAX_CSEQ: Final = 2**31 - 1
"""RFC 3261 8.1.1.5: the number is below 2**31."""
_FOLD = re.compile(r"(?:\r\n[ \t]+)+")
_KEEP_ALIVE_BYTES = b"\r\n\0 \t"


@mypyc_attr(native_class=False)
class Message(Lazy):
    """What requests and replies have in common.

    The lazy fields are slots that stay unset until they are asked for: then `__getattr__` reads the field and fills
    the slot, so a second access costs what an attribute costs. A property would cost three times that.

    Attributes:
        raw: the datagram, without leading empty lines.
        lines: the header lines as they stand, unfolded, without their CRLF.
        names: for each of `lines` its header's full name in lower case.
        via: the topmost Via.
        cseq_number, cseq_method: CSeq's two parts.
        from_, to: From and To; one that cannot be read is a NameAddr whose `uri` is the field's text.
        call_id: Call-ID.
        max_forwards, expires: None when absent or not a number (Expires: below 2**32).
        contact: the first Contact, None when absent or unreadable.
        content_type, user_agent: None when absent.
        body_at, body_end: where in `raw` the body begins and ends.
        folded: whether a header line of `raw` goes on in the next, so that `lines` are not what was written.
    """

    __slots__ = (
        "body_at",
        "body_end",
        "call_id",
        "contact",
        "content_type",
        "cseq_method",
        "cseq_number",
        "expires",
        "folded",
        "from_",
        "lines",
        "max_forwards",
        "names",
        "raw",
        "to",
        "user_agent",
        "via",
    )

    raw: bytes
    lines: list[str]
    names: list[str]
    via: Via
    cseq_number: int
    cseq_method: str
    from_: NameAddr
    to: NameAddr
    call_id: str
    max_forwards: int | None
    expires: int | None
    contact: NameAddr | None
    content_type: str | None
    user_agent: str | None
    body_at: int
    body_end: int
    folded: bool

    @property
    def body(self) -> bytes:
        """What follows the empty line, cut to Content-Length."""
        return self.raw[self.body_at : self.body_end]

    def field(self, name: str) -> str | None:
        """The first field of that name, whole, even where it is a comma-joined list; None when absent.

        Args:
            name: in any case, full or compact.
        """
        key = _key(name)
        names = self.names
        return _value(self.lines[names.index(key)]) if key in names else None

    def fields(self, name: str) -> list[str]:
        """Every field of that name, in order, each as it stands."""
        key = _key(name)
        return [_value(line) for found, line in zip(self.names, self.lines, strict=True) if found == key]

    def get(self, name: str) -> str | None:
        """The first value of a header: of a list header (RFC 3261 7.3.1) the first member.

        Args:
            name: in any case, full or compact.
        """
        value = self.field(name)
        if value is None or "," not in value or _key(name) not in LIST_HEADERS:
            return value
        members = split_outside(value, ",")
        return members[0] if members else ""

    def all(self, name: str) -> list[str]:
        """Every value of a header, in order; the members of comma-joined fields one by one."""
        fields = self.fields(name)
        if _key(name) not in LIST_HEADERS:
            return fields
        return [member for value in fields for member in split_outside(value, ",")]

    def compact(self) -> None:
        """Forget all that can be read from `raw` again. For a message that waits for long: it saves two thirds."""
        self.cseq_method = intern(self.cseq_method)  # one for all of the same method
        for name in _READERS:
            # An unset slot cannot be deleted, and asking for it would read the field. Not by contextlib.suppress: it is
            # done for every message that waits, and took twice as long.
            try:  # noqa: SIM105
                delattr(self, name)
            except AttributeError:
                pass


@mypyc_attr(native_class=False)
class Request(Message):
    """A request.

    Attributes:
        method, ruri: as received.
        plain: whether Request-URI, From and To were seen to be as `judge` finds nearly all of them, while they were
            read; False says nothing about them.
    """

    __slots__ = ("method", "plain", "ruri")

    method: str
    ruri: str
    plain: bool

    def compact(self) -> None:
        super().compact()
        self.method = intern(self.method)

    def __repr__(self) -> str:
        return f"<Request {self.method} {self.ruri!r} {len(self.raw)} bytes>"


@mypyc_attr(native_class=False)
class Reply(Message):
    """A reply: `status` is 100 to 699."""

    __slots__ = ("reason", "status")

    status: int
    reason: str

    def __repr__(self) -> str:
        return f"<Reply {self.status} {self.reason!r} {len(self.raw)} bytes>"


@dataclass(frozen=True, slots=True)
class Bad:
    """Not a message that may be processed.

    Args:
        reason: for the log and for the reply's reason phrase; printable ASCII, never the sender's text.
        answerable: the request to answer, whose `via`, `names` and `lines` may be relied on; None for replies, ACKs,
            and what lacks one of Via, From, To, Call-ID, CSeq.
        status: with which status to answer it (RFC 3261 21.4.1, 21.5.6).
    """

    reason: str
    answerable: Request | None = None
    status: Literal[400, 505] = 400


@dataclass(frozen=True, slots=True)
class KeepAlive:
    """An empty datagram, or one of CRLF and NUL alone (RFC 5626 3.5.1): to be ignored."""


Parsed: TypeAlias = Request | Reply | Bad | KeepAlive


def parse(data: bytes) -> Parsed:
    """Read one datagram.

    Args:
        data: all of it, up to 64 KiB.

    Returns:
        the message; `Bad` for one that RFC 3261 does not allow; `KeepAlive` for a datagram that says nothing.
        Never raises, whatever the bytes are.
    """
    if _scan is not None and (usual := _scan(data)) is not None:
        return usual
    return parse_any(data)


def parse_any(data: bytes) -> Parsed:
    """The same in Python alone, for any message: what says how a message is read, and the only one that says why not.

    Args:
        data: as for `parse`.
    """
    if not data or data[0] <= 0x20:
        if not data.strip(_KEEP_ALIVE_BYTES):
            return KeepAlive()
        data = data.lstrip(b"\r\n")  # RFC 3261 7.5: empty lines before the start line are ignored
    if len(data) > MAX_DATAGRAM_BYTES:
        return Bad("Message too long")
    head, empty_line, _ = data.decode("latin-1").partition("\r\n\r\n")
    lines = head.split("\r\n")
    start = lines.pop(0)
    if not empty_line and lines and not lines[-1]:
        lines.pop()  # the last line's own end
    message = _start(start)
    if message is None:
        return Bad("Not a SIP message")
    problem = _fill(message, data, len(head) + 4 if empty_line else -1, lines)
    if isinstance(message, Reply):
        return message if problem is None else Bad(problem)
    if problem is None and _is_usual(message, start):
        return message
    return _judge(message, start, problem)


def _is_usual(request: Request, start: str) -> bool:
    """Whether a request with good headers needs no closer look. Torture lies beyond, e.g. RFC 4475 3.1.2.8."""
    method = request.method
    return (
        method == request.cseq_method
        and start[-8:] == " SIP/2.0"
        and request.ruri != ""
        and "<" not in start
        and method.isalpha()
        and method.isascii()
    )


def _start(line: str) -> Request | Reply | None:
    """The request or reply that this line starts, its other slots still unset; None when it starts neither."""
    if "\n" in line or "\r" in line:
        return None
    words = line.split(" ")
    if words[0][:4] == "SIP/":
        return _start_reply(words)
    version = words[-1] or _version(words) if len(words) > 2 else ""
    if version[:4] != "SIP/" and version[:4].upper() != "SIP/":
        return None
    request = Request()
    request.method = words[0]
    request.ruri = words[1] if len(words) == 3 else ""
    request.plain = False
    return request


def _version(words: list[str]) -> str:
    """The last word of a start line that is not empty: spaces may follow it (RFC 4475 3.1.2.10)."""
    return next((word for word in reversed(words) if word), "")


def _start_reply(words: list[str]) -> Reply | None:
    if len(words) < 2 or words[0] != "SIP/2.0" or len(words[1]) != 3:
        return None
    status = number(words[1], 699)
    if status is None or status < 100:
        return None
    reply = Reply()
    reply.status = status
    reply.reason = " ".join(words[2:])
    return reply


def _judge(request: Request, start: str, problem: str | None) -> Request | Bad:
    """Find what is wrong with an unusual request, if anything."""
    words = start.split(" ")
    version = _version(words).upper()
    if version != "SIP/2.0":
        return Bad("SIP version not supported", _answerable(request, version), 505)
    if not request.ruri or not words[-1] or "<" in request.ruri or not is_token(request.method):
        return Bad("Malformed request line", _answerable(request))
    if problem is None and request.method != request.cseq_method:
        problem = "CSeq does not match the method"
    return request if problem is None else Bad(problem, _answerable(request))


def _answerable(request: Request, version: str = "SIP/2.0") -> Request | None:
    """The request when a reply to it can be built. Also where its CSeq cannot be read: a reply echoes it."""
    if request.method == "ACK" or not is_token(request.method) or not request.names:
        return None
    if not _NEEDED.issubset(request.names) or any("\n" in line or "\r" in line for line in request.lines):
        return None
    via = _sender(request, version)
    if via is None:
        return None
    request.via = via
    if _read_cseq(request) is None:
        request.cseq_number, request.cseq_method = 0, request.method
    return request


_NEEDED: Final = frozenset(("via", "from", "to", "call-id", "cseq"))
_ONCE: Final = ("from", "to", "call-id", "cseq", "max-forwards", "content-length")


def _fill(message: Message, data: bytes, body_at: int, lines: list[str]) -> str | None:
    """Fill what every message has, and check it; the first problem found, or None."""
    message.raw = data
    message.body_at = message.body_end = len(data)
    message.folded = False
    try:
        # The usual message: every line's name is a usual spelling of a known name, and nothing is folded.
        names = [KNOWN_NAMES[line[: line.index(":")]] for line in lines]
    except (KeyError, ValueError):  # ValueError: a line without a colon
        written = lines
        lines, names = _unusual_lines(written)
        message.folded = lines is not written
    message.lines = lines
    message.names = names
    found = set(names)
    if not found.issuperset(_NEEDED):
        return _missing(found)
    if len(found) != len(names) and (problem := _repeated(names)):
        return problem
    if body_at < 0:
        return "No empty line after the headers"
    # A line end that is not CRLF is where two parsers disagree about what is a header, and the next hop is another one.
    joined = "".join(lines)
    if "\n" in joined or "\r" in joined:
        return "Bare line end in a header"
    if len(lines) > MAX_HEADERS:
        return "Too many headers"
    if body_at > MAX_LINE_CHARS and max(map(len, lines)) > MAX_LINE_CHARS:
        return "Header too long"
    via = _top_via(message)
    if via is None:
        return "Malformed Via header"
    message.via = via
    if _read_cseq(message) is None:
        return "Malformed CSeq header"
    message.body_at = body_at
    return _cut_body(message) if "content-length" in found else None


def _unusual_lines(lines: list[str]) -> tuple[list[str], list[str]]:
    """Unfold the lines and name each one. Without a proper name for every line there are no names at all.

    A name stands before its colon in one line, whatever is folded elsewhere (RFC 3261 25.1, HCOLON).
    """
    names: list[str] = []
    known = KNOWN_NAMES.get
    for line in lines:
        written, colon, _ = line.partition(":")
        name = known(written)
        if name is None:
            if line[:1] in _BLANKS and names and all(":" in other or other[:1] in _BLANKS for other in lines):
                return _unusual_lines(_unfold(lines))
            name = _unusual_name(written)
        if not colon or name is None:
            return lines, []
        names.append(name)
    return lines, names


def _unfold(lines: list[str]) -> list[str]:
    # Spaces before the line end go first, by themselves: one expression for both is quadratic on a line of spaces.
    return _FOLD.sub(" ", "\r\n".join([line.rstrip(" \t") or " " for line in lines])).split("\r\n")


_BLANKS: Final = frozenset((" ", "\t"))


def _unusual_name(written: str) -> str | None:
    name = written.rstrip(" \t")
    if not is_token(name):
        return None
    name = name.lower()
    return COMPACT.get(name, name)


def _missing(found: set[str]) -> str:
    if not found:
        return "Malformed header"
    return f"Missing {spelling(next(name for name in ('via', *_ONCE) if name not in found))} header"


def _repeated(names: list[str]) -> str | None:
    for name in _ONCE:
        if names.count(name) > 1:
            return f"Repeated {spelling(name)} header"
    return None


def _key(name: str) -> str:
    known = KNOWN_NAMES.get(name)
    if known is not None:
        return known
    name = name.strip(LWS).lower()
    return COMPACT.get(name, name)


def _value(line: str) -> str:
    return line.partition(":")[2].strip(LWS)


def _top_via(message: Message) -> Via | None:
    value = message.lines[message.names.index("via")].partition(":")[2].strip(LWS)
    if "," not in value:
        return parse_via(value)
    # The rest of the list is where a reply goes next, so a list that goes on with rubbish is none (RFC 4475 3.1.2.1).
    vias = [parse_via(member) for member in split_outside(value, ",")]
    return vias[0] if vias and None not in vias else None


def _sender(request: Request, version: str) -> Via | None:
    """The topmost Via of a request that is refused, also one of another version or of a list that goes on badly."""
    members = split_outside(request.field("via") or "", ",")
    return parse_via(members[0].replace(f"{version}/", "SIP/2.0/", 1)) if members else None


def _read_cseq(message: Message) -> int | None:
    """Fill both of CSeq's slots; None, and nothing filled, when it cannot be read."""
    digits, _, method = message.lines[message.names.index("cseq")].partition(":")[2].strip(LWS).partition(" ")
    if not method.isalpha():
        # Other white space than one blank, and methods of other characters than letters.
        digits, method = _unusual_cseq(f"{digits} {method}")
    value = int(digits) if digits.isdecimal() and len(digits) < 10 else number(digits, MAX_CSEQ)
    if value is None:
        return None
    message.cseq_number = value
    message.cseq_method = method
    return value


def _unusual_cseq(value: str) -> tuple[str, str]:
    digits, _, method = value.replace("\t", " ").strip(" ").partition(" ")
    method = method.lstrip(" ")
    return (digits, method) if is_token(method) else ("", "")


def _cut_body(message: Message) -> str | None:
    """RFC 3261 18.3: a shorter Content-Length cuts the body, a longer one is an error."""
    value = message.lines[message.names.index("content-length")].partition(":")[2].strip(LWS)
    if value == "0":
        message.body_end = message.body_at
        return None
    if not value.isdecimal():
        return "Malformed Content-Length header"
    length = number(value, MAX_DATAGRAM_BYTES)
    if length is None or length > message.body_end - message.body_at:
        return "Content-Length longer than the message"
    message.body_end = message.body_at + length
    return None


def _read_ruri(message: Message) -> str:
    return message.raw[: message.raw.find(b"\r\n")].decode("latin-1").split(" ")[1]


def _read_lines(message: Message) -> list[str]:
    text = message.raw.decode("latin-1")
    return _unusual_lines(text[: text.find("\r\n\r\n")].split("\r\n")[1:])[0]


def _read_names(message: Message) -> list[str]:
    return _unusual_lines(message.lines)[1]


def _read_via(message: Message) -> Via:
    via = _top_via(message)
    assert via is not None, "the same Via was readable when the message was parsed"
    return via


def _name_addr(message: Message, name: str) -> NameAddr:
    text = message.lines[message.names.index(name)].partition(":")[2]  # a message without From or To is none
    return parse_name_addr(text) or NameAddr("", text.strip(LWS), {})


def _contact(message: Message) -> NameAddr | None:
    text = message.get("contact")
    return None if text is None else parse_name_addr(text)


def _number_of(message: Message, name: str, limit: int) -> int | None:
    text = message.field(name)
    return None if text is None else number(text, limit)


_READERS: Final[dict[str, Callable[[Message], object]]] = {
    "ruri": _read_ruri,
    "lines": _read_lines,
    "names": _read_names,
    "via": _read_via,
    "from_": lambda message: _name_addr(message, "from"),
    "to": lambda message: _name_addr(message, "to"),
    "call_id": lambda message: message.field("call-id") or "",
    "max_forwards": lambda message: _number_of(message, "max-forwards", 2**32 - 1),
    "contact": _contact,
    "expires": lambda message: _number_of(message, "expires", 2**32 - 1),
    "content_type": lambda message: message.field("content-type"),
    "user_agent": lambda message: message.field("user-agent"),
}
"""Every lazy slot and what fills it. CSeq's two are not among them: they are small, and always filled."""
Message.readers = _READERS

_scan: Callable[[bytes], Request | Reply | None] | None = None
"""Reads a usual message in a quarter of the time, where that is compiled; None for any other message."""
if is_compiled("runtime.sip.scan"):
    from runtime.sip import scan

    scan.learn(
        KNOWN_NAMES, USUAL_PARAMS, (MAX_DATAGRAM_BYTES, MAX_HEADERS, MAX_LINE_CHARS), (Request, Reply, Via, NameAddr)
    )
    _scan = scan.scan

_DUMMY = (
    b"DUMMY sip:user@dummy.com SIP/2.0\r\n"
    b"Via: SIP/2.0/UDP 127.0.0.1;branch=z9hG4bKdummy\r\n"
    b"From: <sip:user@dummy.com>;tag=dummy\r\n"
    b"To: <sip:user@dummy.com>\r\n"
    b"Call-ID: dummy-1\r\n"
    b"CSeq: 1 DUMMY\r\n"
    b"Max-Forwards: 70\r\n"
    b"Content-Length: 0\r\n\r\n"
)


# Kept, since nothing changes a message: to read it anew took 5 µs for each report of a `launch`.
@cache
def dummy_request() -> Request:
    """The request that a route works on where there is none: startup and timer routes, reports of `launch`."""
    request = parse(_DUMMY)
    assert isinstance(request, Request)
    return request
