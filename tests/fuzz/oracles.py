"""What must hold of every datagram, whatever its bytes: the oracles of the fuzzing and of its corpus.

`check` reads a datagram in every way that a server does, has it answered and passed on, and compares what comes out
with what went in by a reading of its own, which knows nothing of the parser's.
"""

from __future__ import annotations

from runtime.context import Address
from runtime.sip.body import read_body
from runtime.sip.build import build_reply, reply_head_any, reply_target
from runtime.sip.fields import parse_via
from runtime.sip.forward import ack_of, cancel_of, forwarded_request, relayed_reply
from runtime.sip.framing import Broken, Framer, Ping
from runtime.sip.judge import refuse, refuse_relaying
from runtime.sip.keys import dialog_ack_key, invite_key, server_key, server_key_any
from runtime.sip.message import (
    MAX_DATAGRAM_BYTES,
    MAX_HEADERS,
    MAX_LINE_CHARS,
    Bad,
    KeepAlive,
    Message,
    Parsed,
    Reply,
    Request,
    parse,
    parse_any,
)
from runtime.sip.sdp import lines_of, sdp_of, split_streams
from runtime.sip.uri import parse_uri

# fmt: off
LAZY = (
    "via", "from_", "to", "call_id", "cseq_number", "cseq_method", "max_forwards", "contact", "expires",
    "content_type", "user_agent", "body", "raw", "lines", "names", "folded", "body_at", "body_end",
)
# fmt: on
SOURCE = Address("198.51.100.7", 40_001)
OURS = "SIP/2.0/UDP 192.0.2.9:5060;branch=z9hG4bKours.1"
OUR_ROUTE = "<sip:192.0.2.9;lr;did=1>"
ROOM = 600
"""What answering and passing on may add; a message without so much room below the limits may be too long after it."""


def check(data: bytes) -> tuple[object, ...]:
    """Hold every oracle against a datagram.

    Returns:
        in which of the ways that a server can tell apart the datagram was treated: to see what is new.

    Raises:
        AssertionError: an oracle does not hold. Any other exception is a fault as well.
    """
    _check_framing(data)
    assert everything(parse(data)) == everything(parse_any(data)), "compiled or not, a message is read in the same way"
    match parse(data):
        case Request() as request:
            return ("request", *_read(request), *_check_request(request))
        case Reply() as reply:
            return ("reply", *_read(reply), *_check_reply(reply))
        case Bad(reason, answerable, status):
            assert reason.isascii()
            assert reason.isprintable()
            assert status in (400, 505)
            if answerable is not None:
                _check_answer(answerable, status, reason)
            return ("bad", reason, answerable is not None)
        case KeepAlive():
            assert not data.strip(b"\r\n\0 \t")
            return ("keep-alive",)


def everything(parsed: Parsed) -> object:
    """All that can be asked of what was read, to compare two readings by."""
    if isinstance(parsed, Bad):
        return parsed.reason, parsed.status, parsed.answerable and everything(parsed.answerable)
    if isinstance(parsed, KeepAlive):
        return parsed
    own = ("method", "ruri") if isinstance(parsed, Request) else ("status", "reason")
    found = [getattr(parsed, name) for name in (*own, *LAZY)]
    return type(parsed), [(type(value), value) for value in found], list(parsed.via.params)


def _check_framing(data: bytes) -> None:
    """A stream is cut in the same way however it arrives, and where the parser says that a message ends."""
    whole = Framer().feed(data)
    for at in {len(data) // 3, max(0, data.find(b"\r\n\r\n") + 2)}:
        framer = Framer()
        assert framer.feed(data[:at]) + framer.feed(data[at:]) == whole
    for framed in whole:
        match framed:
            case bytes():
                assert len(framed) <= MAX_DATAGRAM_BYTES
                message = parse(framed)
                if isinstance(message, Request | Reply):
                    assert message.raw == framed
                    assert message.body_end == len(framed)
                    assert message.body_end == message.body_at or "content-length" in message.names
            case Broken(reason):
                assert framed is whole[-1]
                assert reason.isascii()
                assert reason.isprintable()
            case _:
                assert framed == Ping()


def _read(message: Message) -> tuple[object, ...]:
    """Read everything, forget it, read it again."""
    first = [getattr(message, name) for name in LAZY]
    assert len(message.names) == len(message.lines)
    assert not any("\n" in line or "\r" in line for line in message.lines)
    assert len(message.raw) >= message.body_end >= message.body_at > 0
    for name in set(message.names):
        assert len(message.fields(name)) == message.names.count(name)
        values = message.all(name)
        assert message.get(name) in ("", *values[:1])
        assert all(isinstance(value, str) for value in values)
    message.compact()
    assert [getattr(message, name) for name in LAZY] == first
    again = parse(message.raw)
    assert [getattr(again, name) for name in LAZY] == first, "a message reads the same without what lay before it"
    return (message.folded, min(message.names.count("via"), 3), message.contact is None, *_read_body(message))


def _read_body(message: Message) -> tuple[object, ...]:
    body = read_body(message)
    assert (body is None) == (message.body == b"")
    session = sdp_of(message)
    for stream in session.streams if session is not None else ():
        stream.codecs()
        assert 0 <= stream.port < 65_536
        assert stream.lines[0].startswith("m=")
    if body is None:
        return (0,)
    assert all(leaf.content in message.body for leaf in body.leaves())
    text = body.content.decode("latin-1")
    head, streams = split_streams(text)
    assert head + "".join(streams) == "".join(lines_of(text)) == text
    return (min(len(list(body.leaves())), 4), body.disposition == "session", session is None)


def _check_request(request: Request) -> tuple[object, ...]:
    if request.plain:
        again = parse_any(request.raw)
        assert isinstance(again, Request)
        assert not again.plain
        assert refuse(again) is None, "what was seen to be plain is nothing to refuse"
    assert server_key(request) == server_key_any(request)
    assert "\n" not in server_key(request) + invite_key(request) + dialog_ack_key(request)
    uri = parse_uri(request.ruri)
    assert uri is None or parse_uri(str(uri)) == uri
    refusals = refuse(request), refuse_relaying(request)
    for refusal in refusals:
        if refusal is not None:
            assert 400 <= refusal.status < 500
            assert not any("\n" in line or "\r" in line for line in refusal.headers)
    reply = _check_answer(request, 200, "OK")
    if _has_room(request):
        assert reply is not None, "a good request has a good reply"
        assert (reply.call_id, reply.cseq_number, reply.cseq_method) == (
            request.call_id,
            request.cseq_number,
            request.cseq_method,
        )
        assert reply.all("via")[1:] == request.all("via")[1:]
        assert reply.via.branch == request.via.branch
        _check_forwarding(request)
    return (*[refusal and (refusal.status, refusal.reason) for refusal in refusals], min(len(request.all("route")), 3))


def _check_answer(request: Request, status: int, reason: str) -> Reply | None:
    data = build_reply(request, status, reason, source=SOURCE, to_tag="our1", headers=["X-A: 1"], body=b"body")
    assert data == reply_head_any(request, status, reason, SOURCE, "our1", "X-A: 1\r\n", 4) + b"body"
    near = Address(request.via.host, 5060)
    for code in (100, status):
        plain = build_reply(request, code, reason, source=near, to_tag="our1")
        assert plain == reply_head_any(request, code, reason, near, "our1", "", 0), (
            "compiled or not, a reply is the same"
        )
    head, empty, body = data.partition(b"\r\n\r\n")
    assert empty
    assert body == b"body"
    assert head.count(b"\n") == head.count(b"\r\n") == head.count(b"\r")
    assert reply_target(request, SOURCE).host == SOURCE.host
    match parse(data):
        case Reply() as reply:
            assert (reply.status, reply.body, reply.all("X-A")[-1]) == (status, b"body", "1")
            return reply
        case Bad():
            return None  # what is wrong with a bad request may be wrong with its reply as well
        case other:
            raise AssertionError(other)


def _has_room(message: Message) -> bool:
    """Whether the message is far enough from what is too long and too many."""
    return (
        len(message.names) < MAX_HEADERS - 8
        and len(message.raw) < 65_536 - ROOM
        and max(map(len, message.lines)) < MAX_LINE_CHARS - ROOM
        and len(",".join(message.all("route"))) < MAX_LINE_CHARS - ROOM
    )


# Passing on.


def _written(data: bytes) -> tuple[str, list[tuple[str, str]], bytes]:
    """The start line, each header's name and its lines as they are written, and the body. The oracles' own reading."""
    head, _, body = data.partition(b"\r\n\r\n")
    start, *lines = head.decode("latin-1").split("\r\n")
    fields: list[tuple[str, str]] = []
    for line in lines:
        if line[:1] in (" ", "\t"):
            name, before = fields[-1]
            fields[-1] = (name, f"{before}\r\n{line}")
        else:
            fields.append((line.partition(":")[0].rstrip(" \t").lower(), line))
    return start, fields, body


_VIA = ("via", "v")


def _check_forwarding(request: Request) -> None:
    routes = request.all("route")
    for left in (None, routes, routes[1:], [*routes, OUR_ROUTE], []):
        data = forwarded_request(
            request, ruri="sip:next@192.0.2.7", via=OURS, source=SOURCE, record_routes=[OUR_ROUTE], routes=left
        )
        sent = parse(data)
        assert isinstance(sent, Request), sent
        assert (sent.method, sent.ruri, sent.body) == (request.method, "sip:next@192.0.2.7", request.body)
        assert (sent.call_id, sent.cseq_number) == (request.call_id, request.cseq_number)
        assert sent.all("route") == (routes if left is None else left)
        assert sent.all("record-route") == [OUR_ROUTE, *request.all("record-route")]
        vias = sent.all("via")
        assert vias[0] == OURS
        assert vias[2:] == request.all("via")[1:]
        hops = request.max_forwards
        assert sent.max_forwards == (70 if hops is None else max(0, hops - 1))
        changed = ("max-forwards", "route", "record-route")
        _check_kept(request.raw, data, 1, changed, top_is_ours=True)
        over_a_stream = forwarded_request(request, ruri="sip:n@h", via=OURS, source=SOURCE, routes=left, stream=True)
        assert Framer().feed(over_a_stream * 2) == [over_a_stream] * 2
    _check_follow_ups(request, sent)


def _check_follow_ups(request: Request, sent: Request) -> None:
    answer = parse(build_reply(sent, 486, "Busy", source=SOURCE, to_tag="t1"))
    assert isinstance(answer, Reply)
    for data, method in ((ack_of(sent, answer), "ACK"), (cancel_of(sent), "CANCEL")):
        made = parse(data)
        assert isinstance(made, Request), made
        assert (made.method, made.cseq_number, made.all("via")) == (method, request.cseq_number, [OURS])
        assert (made.call_id, made.field("from"), made.ruri) == (sent.call_id, sent.field("from"), sent.ruri)


def _check_reply(reply: Reply) -> tuple[object, ...]:
    vias = reply.all("via")
    others_are_vias = "" not in reply.fields("via") and None not in map(parse_via, vias)
    for edits in ((), (("append", "X-A: 1\r\n"),)):
        data = relayed_reply(reply, edits=edits)
        start, fields, body = _written(data)
        assert start == _written(reply.raw)[0]
        assert body == reply.body
        passed = parse(data)
        if len(vias) > 1 and others_are_vias and _has_room(reply):
            assert isinstance(passed, Reply), passed
        if isinstance(passed, Reply):
            over_a_stream = relayed_reply(reply, edits=edits, stream=True)
            assert Framer().feed(over_a_stream * 2) == [over_a_stream] * 2
            assert passed.all("via") == vias[1:]
            assert (passed.status, passed.reason, passed.body) == (reply.status, reply.reason, reply.body)
        _check_kept(reply.raw, data, 0, ("x-a",) if edits else (), top_is_ours=False)
        assert bool(edits) == (("x-a", "X-A: 1") in fields[-1:])
    return (min(len(vias), 3), others_are_vias)


def _check_kept(before: bytes, after: bytes, more: int, changed: tuple[str, ...], *, top_is_ours: bool) -> None:
    """Every header that was not to change is there byte for byte, in the order in which it was."""
    _, old, _ = _written(before)
    _, new, _ = _written(after)
    kept = [[line for name, line in fields if name not in (*changed, *_VIA)] for fields in (old, new)]
    assert kept[0] == kept[1]
    # Of the Vias the lines below the one that is changed or taken off.
    vias = [[line for name, line in fields if name in _VIA] for fields in (old, new)]
    below = vias[0][1:]
    assert vias[1][len(vias[1]) - len(below) :] == below
    assert len(vias[1]) - len(below) in ((1 + more,) if top_is_ours else (0, 1))
