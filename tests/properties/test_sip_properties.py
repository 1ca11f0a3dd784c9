"""What holds of every datagram, reply and URI, however hostile."""

from __future__ import annotations

from hypothesis import assume, event, example, given, settings
from hypothesis import strategies as st

from runtime.context import Address
from runtime.sip.build import build_reply, reply_target
from runtime.sip.fields import LWS, parse_name_addr, parse_params, parse_via, split_outside
from runtime.sip.keys import dialog_ack_key, invite_key, server_key
from runtime.sip.message import Bad, KeepAlive, Message, Reply, Request, parse
from runtime.sip.uri import parse_uri
from runtime.testing.strategies import damaged, header_values, hostile_messages, tokens
from runtime.testing.strategies.sip import EXAMPLE

LAZY = "via from_ to call_id cseq_number cseq_method max_forwards contact expires content_type user_agent body"


def look_at_everything(message: Message) -> None:
    for name in LAZY.split():
        getattr(message, name)
    for name in message.names:
        assert len(message.fields(name)) == message.names.count(name)
        values = message.all(name)
        first = message.get(name)
        assert first == (values[0] if values else "")
    assert len(message.names) == len(message.lines)


@given(hostile_messages())
@example(b"SIP/2.0")
@example(b" \r\n x")
@example(b"\r\n\r\nx")
@example(b"A B SIP/2.0\r\n\r\n")
@settings(max_examples=800, deadline=None)
def test_any_datagram_is_read_without_an_exception(data: bytes) -> None:
    parsed = parse(data)
    event(type(parsed).__name__ + (" answerable" if isinstance(parsed, Bad) and parsed.answerable else ""))
    match parsed:
        case Request():
            look_at_everything(parsed)
            assert not any("\n" in line or "\r" in line for line in parsed.lines)
            key = server_key(parsed)
            parsed.compact()
            look_at_everything(parsed)
            assert server_key(parsed) == key
            assert "\n" not in key + invite_key(parsed) + dialog_ack_key(parsed)
        case Reply():
            look_at_everything(parsed)
        case Bad():
            assert parsed.reason.isprintable()
            assert parsed.reason.isascii()
            if parsed.answerable is not None:
                check_reply(parsed.answerable, parsed.status, parsed.reason)
        case KeepAlive():
            assert not data.strip(b"\r\n\0 \t")


def check_reply(request: Request, status: int, reason: str) -> Reply:
    source = Address("198.51.100.7", 40_001)
    data = build_reply(request, status, reason, source=source, to_tag="our1", headers=["X-A: 1"], body=b"body")
    head, _, body = data.partition(b"\r\n\r\n")
    assert body == b"body"
    assert head.count(b"\n") == head.count(b"\r\n") == head.count(b"\r")
    assert reply_target(request, source).host == source.host
    parsed = parse(data)
    # What is wrong with a bad request may be wrong in its reply as well: its CSeq, a doubled To.
    if isinstance(parsed, Bad):
        return Reply()
    assert isinstance(parsed, Reply)
    assert (parsed.status, parsed.body, parsed.get("X-A")) == (status, b"body", "1")
    assert parsed.via.params["received"] == source.host
    return parsed


@given(damaged())
@settings(max_examples=400, deadline=None)
def test_a_reply_says_again_what_the_request_said(data: bytes) -> None:
    request = parse(data)
    assume(isinstance(request, Request))
    assert isinstance(request, Request)
    reply = check_reply(request, 200, "OK")
    assert reply.names, "a good request has a good reply"
    assert (reply.call_id, reply.cseq_number, reply.cseq_method) == (
        request.call_id,
        request.cseq_number,
        request.cseq_method,
    )
    assert reply.field("from") == request.field("from")
    assert reply.to.tag == request.to.tag or (request.to.tag is None and "tag=our1" in (reply.field("to") or ""))
    assert len(reply.all("via")) == len(request.all("via"))
    assert reply.all("via")[1:] == request.all("via")[1:]
    assert reply.via.branch == request.via.branch
    assert reply.cseq_method != "INVITE" or reply.fields("record-route") == request.fields("record-route")


@given(tokens(), header_values(), st.lists(st.tuples(tokens(), header_values()), max_size=5), st.binary(max_size=40))
@settings(max_examples=200, deadline=None)
def test_header_lines_go_through_unchanged(user: str, subject: str, own: list[tuple[str, str]], body: bytes) -> None:
    headers = [f"X-{name}: {value}" for name, value in own]
    lines = [
        f"OPTIONS sip:{user}@example.com SIP/2.0",
        f"Via: SIP/2.0/UDP h;branch=z9hG4bK{user}",
        "From: <sip:a@b>;tag=1",
        "To: <sip:c@d>",
        "Call-ID: c",
        "CSeq: 1 OPTIONS",
        f"Subject: {subject}",
        *headers,
        f"Content-Length: {len(body)}",
    ]
    parsed = parse("\r\n".join([*lines, "", ""]).encode("latin-1") + body)
    assert isinstance(parsed, Request)
    assert (parsed.ruri, parsed.body) == (f"sip:{user}@example.com", body)
    assert parsed.field("subject") == subject.strip(LWS)
    assert parsed.lines == lines[1:]
    for name, _ in own:
        expected = [value.strip(LWS) for other, value in own if other.lower() == name.lower()]
        assert parsed.fields(f"x-{name}".upper()) == expected
    assert server_key(parsed) == f"OPTIONS h z9hG4bK{user}"


VALUE = st.lists(st.sampled_from(["\r\n", "\n", "\r", "\0", "X-Evil: 1", "Via: x", "a", " ", ":"]), max_size=6).map(
    "".join
)


@given(st.lists(st.one_of(VALUE, VALUE.map(lambda value: f"X-A: {value}")), max_size=4), VALUE | st.text(max_size=30))
@settings(max_examples=300, deadline=None)
def test_no_caller_can_inject_a_header(headers: list[str], reason: str) -> None:
    request = parse(EXAMPLE)
    assert isinstance(request, Request)
    source = Address("192.0.2.1", 5070)
    plain = build_reply(request, 486, "Busy", source=source, to_tag="t")
    data = build_reply(request, 486, reason, source=source, to_tag="t", headers=headers)
    lines = data.split(b"\r\n")
    assert plain.count(b"\r\n") <= data.count(b"\r\n") <= plain.count(b"\r\n") + len(headers)
    assert lines[-2:] == [b"", b""]
    assert not any(b"\n" in line or b"\r" in line for line in lines)
    more = data.count(b"\r\n") - plain.count(b"\r\n")
    event(f"{more} lines more")


@given(st.lists(st.sampled_from(["<", ">", "sip:a@b", ";tag=", ";TAG=", ";x", "1", " ", '"', "\\", ";"])).map("".join))
def test_a_usual_name_addr_says_what_it_would_if_it_were_unusual(text: str) -> None:
    """White space before it changes nothing but how it is read."""
    for value in (text, f"<{text}>", f"<sip:a@b>;tag={text}"):
        assert parse_name_addr(value) == parse_name_addr(f" {value}")


@given(st.one_of(st.text(max_size=60), st.text(st.sampled_from('sip:tel@;?=&[]<>"\\ a1.%+'), max_size=40)))
@settings(max_examples=500, deadline=None)
def test_any_text_is_taken_apart_without_an_exception(text: str) -> None:
    parse_via(text)
    parse_name_addr(text)
    parse_params(text)
    assert all(piece == piece.strip(LWS) and piece for piece in split_outside(text, ","))
    uri = parse_uri(text)
    event("a URI" if uri else "no URI")
    if uri is not None:
        assert parse_uri(str(uri)) == uri
        assert str(parse_uri(str(uri))) == str(uri)


@given(
    st.lists(st.tuples(tokens(), st.one_of(st.none(), tokens())), max_size=4),
    tokens(),
    st.none() | st.integers(0, 65535),
)
@settings(max_examples=200, deadline=None)
def test_a_uri_made_of_good_parts_is_read_as_made(params, user: str, port: int | None) -> None:
    shown = "".join(f";{name}" if value is None else f";{name}={value}" for name, value in params)
    text = f"sip:{user}@example.com{'' if port is None else f':{port}'}{shown}"
    uri = parse_uri(text)
    assert uri is not None
    assert (uri.user, uri.host, uri.port) == (user, "example.com", port)
    for name, value in reversed(params):
        first = next(other for known, other in params if known.lower() == name.lower())
        assert uri.params[name.lower()] == first
        assert value is None or isinstance(value, str)


@given(hostile_messages())
@example(EXAMPLE.replace(b"Max-Forwards: 70", b"Contact"))
@example(EXAMPLE)
def test_a_message_reads_the_same_after_it_was_compacted(data: bytes) -> None:
    first, second = parse(data), parse(data)
    if isinstance(first, Request | Reply) and isinstance(second, Request | Reply):
        second.compact()
        assert (second.names, second.lines, second.via, second.call_id) == (
            first.names,
            first.lines,
            first.via,
            first.call_id,
        )
