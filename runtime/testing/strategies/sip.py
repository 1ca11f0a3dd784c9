"""SIP messages, drawn: what RFC 3261 allows in its several spellings, and what it does not."""

from __future__ import annotations

from collections.abc import Sequence
from string import ascii_letters, digits
from typing import Final

from hypothesis import strategies as st

EXAMPLE: Final = (
    b"INVITE sip:bob@example.com SIP/2.0\r\n"
    b"Via: SIP/2.0/UDP 192.0.2.1:5070;branch=z9hG4bKa1;rport\r\n"
    b"Via: SIP/2.0/TCP [2001:db8::1];branch=z9hG4bKa0, SIP/2.0/UDP x\r\n"
    b"Max-Forwards: 70\r\n"
    b'From: "Alice \\"A\\" <x>" <sip:alice@example.com>;tag=f1\r\n'
    b"To: Bob <sip:bob@example.com>\r\n"
    b"Call-ID: c1@192.0.2.1\r\n"
    b"CSeq: 7 INVITE\r\n"
    b"Contact: <sip:alice@192.0.2.1:5070>;expires=60, <sip:c@d>\r\n"
    b"Record-Route: <sip:p1;lr>,\r\n <sip:p2;lr>\r\n"
    b"X-Custom: one\r\n"
    b"Content-Type: text/plain\r\n"
    b"Content-Length: 5\r\n\r\nhello"
)
"""A good request with something of everything: what `damaged()` damages unless it is given another one."""

EXAMPLE_REPLY: Final = EXAMPLE.replace(b"INVITE sip:bob@example.com SIP/2.0", b"SIP/2.0 180 Ringing", 1)
"""The same as a reply."""

METHODS: Final = (
    *("INVITE", "ACK", "BYE", "CANCEL", "OPTIONS", "REGISTER"),
    *("MESSAGE", "INFO", "NOTIFY", "PRACK", "PUBLISH", "REFER", "SUBSCRIBE", "UPDATE"),
)
_COMPACT: Final = {
    **{"Via": "v", "From": "f", "To": "t", "Call-ID": "i", "Contact": "m", "Content-Length": "l"},
    **{"Content-Type": "c", "Subject": "s", "Supported": "k"},
}
"""RFC 3261, 7.3.3 and 20."""
_COLONS: Final = (": ", ":", " : ", ":\r\n ")
_MARKS: Final = ("\r\n", "\n", "\r", "\0", ":", ";", ",", '"', "\\", "<", ">", " ", "\t", "=", "SIP/2.0", "@", "[", "]")
_WORDS: Final = ("branch", "rport", "z9hG4bK", "Via:", "CSeq: 7 INVITE", "9" * 20, "-1", "\xff", "\xb2", "\x85")
_PIECES: Final = st.sampled_from([piece.encode("latin-1") for piece in _MARKS + _WORDS])
# Texts over an alphabet and choices of few: a message has dozens of parts, and each regular expression costs as much as
# ten of these.
_LETTERS: Final = ascii_letters + digits
_ADDRESSES: Final = ("192.0.2.1", "198.51.100.255", "[2001:db8::1]", "[::ffff:192.0.2.1]", "example.com")


def tokens(max_size: int = 20) -> st.SearchStrategy[str]:
    """Tokens (RFC 3261, 25.1): names of methods, of header fields, of parameters and what tags are made of."""
    return st.text(_LETTERS + "-.!%*_+`'~", min_size=1, max_size=max_size)


def header_values(max_size: int = 40) -> st.SearchStrategy[str]:
    """What may stand behind the colon of a header line that nobody reads: Latin-1 without control characters."""
    characters = st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_characters="\x7f")
    return st.text(characters, max_size=max_size)


def header_lines() -> st.SearchStrategy[str]:
    """Header lines of names that no standard has, without their line ends."""
    return st.builds("X-{}: {}".format, tokens(), header_values())


def hosts() -> st.SearchStrategy[str]:
    """Names and addresses, IPv6 in its brackets."""
    return st.text(_LETTERS, min_size=1, max_size=8).map("h{}.test".format) | st.sampled_from(_ADDRESSES)


@st.composite
def uris(draw: st.DrawFn, users: Sequence[str] = ()) -> str:
    """SIP URIs that a server must take (RFC 3261, 19.1), without headers.

    Args:
        users: what the user part is one of; without them it is anything that is allowed there.
    """
    user = draw(st.sampled_from(users) if users else st.text(_LETTERS + "-._!~*'()&=+$,;?/", min_size=1, max_size=12))
    port = draw(st.none() | st.integers(1, 65_535))
    params = draw(st.lists(st.sampled_from([";transport=udp", ";user=phone", ";x=1", ";lr"]), max_size=3, unique=True))
    return f"sip:{user}@{draw(hosts())}{'' if port is None else f':{port}'}{''.join(params)}"


@st.composite
def requests(
    draw: st.DrawFn,
    methods: Sequence[str] = METHODS,
    ruris: st.SearchStrategy[str] | None = None,
    sent_by: str = "192.0.2.1:5060",
) -> bytes:
    """Requests that nobody may refuse for their form: in any order, with short names, folded lines and a body.

    Args:
        methods: what they are one of.
        ruris: the Request-URIs.
        sent_by: address and port in the first Via, where the replies go.
    """
    method, ruri = draw(st.sampled_from(methods)), draw(ruris if ruris is not None else uris())
    via = f"SIP/2.0/UDP {sent_by};branch=z9hG4bK{draw(tokens())}{draw(st.sampled_from(['', ';rport']))}"
    lines = [
        *_common(draw, method, via),
        ("Max-Forwards", str(draw(st.integers(1, 70)))),
        ("Contact", f"<{draw(uris())}>"),
    ]
    return _message(draw, f"{method} {ruri} SIP/2.0", lines)


@st.composite
def replies(draw: st.DrawFn, statuses: st.SearchStrategy[int] | None = None) -> bytes:
    """Replies as good as `requests()`.

    Args:
        statuses: what they say.
    """
    status = draw(statuses if statuses is not None else st.integers(100, 699))
    via = f"SIP/2.0/UDP {draw(hosts())};branch=z9hG4bK{draw(tokens())};received=192.0.2.9"
    lines = _common(draw, draw(st.sampled_from(METHODS)), via, ";tag=their")
    return _message(draw, f"SIP/2.0 {status} {draw(header_values(12))}", lines)


def _common(draw: st.DrawFn, method: str, via: str, to_tag: str = "") -> list[tuple[str, str]]:
    return [
        ("Via", via),
        ("From", _address(draw, f";tag={draw(tokens())}")),
        ("To", _address(draw, to_tag or draw(st.sampled_from(["", ";tag=known"])))),
        ("Call-ID", draw(tokens()) + draw(st.sampled_from(["", "@192.0.2.1"]))),
        ("CSeq", f"{draw(st.integers(0, 2**31 - 1))} {method}"),
    ]


def _address(draw: st.DrawFn, params: str) -> str:
    name = draw(st.sampled_from(["", "Bob ", '"Bob \\"B\\" <x>" ', '"B\xf6b"']))
    return f"{name}<{draw(uris())}>{params}"


def _message(draw: st.DrawFn, start: str, lines: list[tuple[str, str]]) -> bytes:
    body = draw(st.binary(max_size=40))
    content = [("Content-Type", "application/octet-stream")] if body else []
    lines = [*lines, *content, ("Content-Length", str(len(body)))]
    spelt = [f"{_name(draw, name)}{draw(st.sampled_from(_COLONS))}{value}" for name, value in lines]
    head = "\r\n".join([start, *draw(st.permutations([*spelt, *draw(st.lists(header_lines(), max_size=3))])), "", ""])
    return head.encode("latin-1") + body


def _name(draw: st.DrawFn, name: str) -> str:
    return draw(st.sampled_from([name, name.lower(), name.upper(), _COMPACT.get(name, name)]))


@st.composite
def damaged(draw: st.DrawFn, message: bytes = EXAMPLE) -> bytes:
    """A message with a few cuts, doublings and insertions.

    Args:
        message: what is damaged.
    """
    data = message
    for _ in range(draw(st.integers(1, 4))):
        start, end = sorted((draw(st.integers(0, len(data))), draw(st.integers(0, len(data)))))
        end = min(end, start + draw(st.integers(0, 30)))
        piece = draw(st.one_of(st.just(b""), _PIECES, st.just(data[start:end] * 2), st.binary(max_size=6)))
        data = data[:start] + piece + data[end:]
    return data


def hostile_messages() -> st.SearchStrategy[bytes]:
    """Datagrams that may be anything: mostly damaged messages, some beyond recognition, some good."""
    return st.one_of(
        st.binary(max_size=300), damaged(), damaged(), damaged(), damaged(EXAMPLE_REPLY), requests(), replies()
    )
