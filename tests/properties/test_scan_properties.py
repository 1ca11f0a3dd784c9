"""The compiled scan reads what the Python reads: usual messages in all their variety, and whatever is done to them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import partial
from random import Random

import pytest
from hypothesis import event, example, given, settings
from hypothesis import strategies as st

from runtime.compiled import PURE, is_compiled
from runtime.context import Address
from runtime.server_transactions import to_tag, to_tag_any
from runtime.sip import forward
from runtime.sip.build import build_reply, one_line, reply_head_any
from runtime.sip.fields import parse_name_addr, parse_name_addr_any, split_outside, split_outside_any
from runtime.sip.forward import forwarded_request
from runtime.sip.headers import KNOWN_NAMES
from runtime.sip.judge import refuse
from runtime.sip.keys import server_key, server_key_any
from runtime.sip.message import MAX_DATAGRAM_BYTES, MAX_HEADERS, MAX_LINE_CHARS, Bad, Request, parse, parse_any
from runtime.testing.strategies import damaged, hostile_messages
from tests.fuzz.fuzz_parse import seeds
from tests.fuzz.oracles import everything


@pytest.mark.skipif(PURE or shutil.which("gcc") is None, reason="not to be compiled")
@pytest.mark.parametrize("module", ["runtime.sip.scan", "runtime.sip.usual"])
def test_it_is_compiled_where_a_compiler_is(module: str) -> None:
    assert is_compiled(module)


def agree(data: bytes) -> None:
    read, also = parse(data), parse_any(data)
    assert everything(read) == everything(also)
    if isinstance(read, Request) and isinstance(also, Request) and read.plain:
        assert not also.plain
        assert refuse(also) is None


class Maker:
    """Makes messages of parts of which each is usual most of the time: one of many fields is seldom usual otherwise."""

    def __init__(self, chance: Random) -> None:
        self.chance = chance

    def one(self, usual: str, unusual: str = "") -> str:
        """A part: of the usual ones or, rarely, of the others; each list is parted by bars."""
        return self.chance.choice((usual if self.chance.random() < 0.97 else unusual or usual).split("|"))

    def message(self) -> bytes:
        """A message, whole or not."""
        one, chance = self.one, self.chance
        method = one("OPTIONS|INVITE|ACK|x", "|INVITE |M-X|\xc9|SIP|options")
        if chance.random() < 0.6:
            start = f"{method} {self.uri()} {self.version()}"
        else:
            status = one("200|100|699", "099|700|20|2000|2x0|\xb200|-10")
            start = f"{self.version()} {status}{one(' OK| | b' + chr(233), '|  |x')}"
        lines = [
            f"{one('Via:|v:|VIA:|vIa:', 'Via :|Vi' + chr(224) + ':')}{self.via()}",
            f"{one('From:|f:|fRom:')}{self.address()}",
            f"To:{self.address()}",
            f"Call-ID:{self.blank()}1",
            f"CSeq:{self.blank()}{self.number()}{one(' ', '|  |' + chr(9))}{method}{self.blank()}",
            *[f"{self.name()}:{self.blank()}{one('x||1')}" for _ in range(chance.randrange(5))],
        ]
        if chance.random() < 0.7:
            lines.append(f"{one('Content-Length|l|CONTENT-LENGTH')}:{self.blank()}{self.length()}{self.blank()}")
        if chance.random() < 0.2:
            chance.shuffle(lines)
        return ("\r\n".join([start, *lines]) + one("\r\n\r\n", "\r\n|\n\n|\r\n\r|\r\r\n\r\n|") + "body").encode(
            "latin-1"
        )

    def version(self) -> str:
        return self.one("SIP/2.0", "SIP/3.0|sip/2.0|SIP/2.0 |SIP/2.00|SIP/2|")

    def blank(self) -> str:
        return self.one("| |\t", "  | \t |\r\n |\xa0|\0|\r|\n")

    def uri(self) -> str:
        host = f"{self.one('h|192.0.2.1', 'h_|')}{self.one('|:5060|:59999', ':60000|:|:99999|:x|:1:1')}"
        whole = f"{self.one('sip:|sips:', 'sip|tel:|SIP:')}{self.one('|a@|b.c_+-@', '@|a:b@|a@b@')}{host}"
        return f"{whole}{self.one('|;transport=udp', ';transport=|;transport=UDP|;lr|?a=b')}"

    def address(self) -> str:
        name = self.one('| Ann |"A, B" | "" ', '"|"\\\\" |"a" b|\xe9|\t|a"b')
        params = self.one("|;tag=1|;|;Tag = a ;x|", ';\t|x|;a=<|;a=";b"|;\xc9=1')
        return f"{self.blank()}{name}<{self.uri()}{self.one('>', '>>|')}{params}"

    def number(self) -> str:
        return self.one("0|1|70|999999999|007", "|2147483647|2147483648|-1|1_0|\xb2")

    def length(self) -> str:
        return self.one("0|4|3|00001", "5|000000|65537||x|\xb2|+1")

    def name(self) -> str:
        odd = f"X-A|rEASON|Route|rOUTE|Record-Route|v|vIA|Max-Forwards|Timestamp|{'x' * 64}"
        return (
            self.chance.choice(KNOWN) if self.chance.random() < 0.8 else self.one(odd, f"|a b|X |\xc9|X\0|{'x' * 65}")
        )

    def host(self) -> str:
        return self.one("192.0.2.1|a-b.c_d|H", "|[2001:db8::1]|h h|\xe9|h/h")

    def via(self) -> str:
        count = self.chance.choice((1, 1, 1, 2, 3))
        values = [self.one_via() for _ in range(count)]
        return self.one(",", ",,|;").join(values) + self.one("|;", ",|, SIP/2.0/UDP h| ;")

    def one_via(self) -> str:
        one = self.one
        port = one("|:5060|:0|:65535|:00080", ":|:65536|:999999| : 5060|:x")
        params = "".join(f";{self.param()}" for _ in range(self.chance.randrange(4)))
        transport = one("UDP|tcp", "|TLS-SCTP|UDP |U\tP|\xe9")
        sent = f"{self.blank()}{self.version()}/{transport}{one(' ', '|  |' + chr(9))}{self.host()}"
        return f"{sent}{port}{params}{one('', 'x' * 300)}{self.blank()}"

    def param(self) -> str:
        name = self.one(f"branch|branch|rport|rport|Received|x-y|{'a' * 64}| ttl ", f'|\xc0|{"a" * 65}|<|"|,')
        value = self.host() if name != "branch" else self.one("z9hG4bK1|z9hG4bK.a\xe9|old", "z9hG4bK|")
        return f"{name}{self.one('=|', '= | =|==')}{value}{self.blank()}" if name != "rport" else name


KNOWN = sorted(KNOWN_NAMES)


@given(st.integers(0, 2**32))
@settings(max_examples=150, deadline=None)
def test_what_is_made_of_usual_and_unusual_parts_is_read_alike(seed: int) -> None:
    maker = Maker(Random(seed))
    for _ in range(50):
        data = maker.message()
        agree(data)
        event(type(parse(data)).__name__)


TEXTS = st.text("aA1 \r\n\0\xe9\u0142.;", max_size=4)
HOSTS = st.sampled_from(["192.0.2.1", "H", "2001:db8::1", "198.51.100.7"])


@given(st.integers(0, 2**32), st.sampled_from([100, 183, 200, 699]), TEXTS, TEXTS, TEXTS, HOSTS)
@settings(max_examples=100, deadline=None)
def test_what_is_made_of_a_request_is_the_same(
    seed: int, status: int, reason: str, tag: str, server: str, host: str
) -> None:
    maker, source = Maker(Random(seed)), Address(host, seed % 65_536)
    for request in filter(None, (answerable(maker.message()) for _ in range(20))):
        assert server_key(request) == server_key_any(request)
        assert to_tag(request) == to_tag_any(request)
        added = f"Server: {one_line(server)}\r\n"
        expected = bytes_or_none(partial(reply_head_any, request, status, reason, source, tag, added, 4))
        made = partial(build_reply, request, status, reason, source=source, to_tag=tag, server=server, body=b"body")
        assert bytes_or_none(made) == (expected and expected + b"body")


@given(
    st.integers(0, 2**32),
    HOSTS,
    st.sampled_from([None, [], ["<sip:r;lr>"]]),
    st.sampled_from([[], ["<sip:192.0.2.9;lr>"], ["<sip:a>", "<sip:\u0142>"]]),
    st.sampled_from([None, 0, 70, 2**40]),
    st.booleans(),
)
@example(393, "h", None, [], None, False)  # Max-Forwards twice
@settings(max_examples=100, deadline=None)
def test_a_request_is_passed_on_alike(
    seed: int, host: str, routes: list[str] | None, ours: list[str], hops: int | None, stream: bool
) -> None:
    maker = Maker(Random(seed))
    for request in filter(None, (answerable(maker.message()) for _ in range(20))):
        send = partial(
            forwarded_request,
            request,
            ruri=maker.uri(),
            via="SIP/2.0/UDP h;branch=z9hG4bK1",
            source=Address(host, 5_060),
            routes=routes,
            record_routes=ours,
            max_forwards=hops,
            stream=stream,
        )
        sent = send()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(forward, "_COMPILED", False)
            assert sent == send()


@given(st.integers(0, 2**32))
@settings(max_examples=50, deadline=None)
def test_an_address_is_read_alike(seed: int) -> None:
    maker = Maker(Random(seed))
    for _ in range(50):
        text = maker.address()
        for one in (text, text[: maker.chance.randrange(len(text) + 1)], text.replace(";", maker.host())):
            read, also = parse_name_addr(one), parse_name_addr_any(one)
            assert (type(read), read) == (type(also), also)
            assert read is None or also is None or list(read.params) == list(also.params)
            for separator in ",;":
                assert split_outside(one, separator) == split_outside_any(one, separator)


def answerable(data: bytes) -> Request | None:
    """The request that a reply is built for, also where it is refused."""
    match parse(data):
        case Request() as request:
            return request
        case Bad(answerable=request):
            return request
        case _:
            return None


def bytes_or_none(make: Callable[[], bytes]) -> bytes | None:
    try:
        return make()
    except ValueError:
        return None


@given(damaged() | hostile_messages())
@settings(max_examples=300, deadline=None)
def test_what_is_damaged_is_read_alike(data: bytes) -> None:
    agree(data)


@pytest.mark.parametrize("data", seeds())
def test_a_message_is_read_alike_wherever_it_ends(data: bytes) -> None:
    for end in range(min(len(data), 1_500)):
        agree(data[:end])


START = b"OPTIONS sip:h SIP/2.0\r\nVia: SIP/2.0/UDP h\r\nFrom: a\r\nTo: b\r\nCall-ID: c\r\nCSeq: 1 OPTIONS\r\n"


@pytest.mark.parametrize("more", [-1, 0, 1])
def test_the_limits_are_the_same(more: int) -> None:
    agree(START + b"X: 1\r\n" * (MAX_HEADERS - 5 + more) + b"\r\n")
    agree(START + b"X:" + b"x" * (MAX_LINE_CHARS - 2 + more) + b"\r\n\r\n")
    agree(START + b"\r\n" + b"x" * (MAX_DATAGRAM_BYTES - len(START) - 2 + more))


@pytest.mark.parametrize("vias", [1, 2, 40, 41, 42, 43, 44, 45, 46, 47, 48, 49, 50, 200])
def test_a_reply_has_all_vias_however_many(vias: int) -> None:
    request = parse(START.replace(b"From", b"v: SIP/2.0/UDP i\r\n" * (vias - 1) + b"From") + b"\r\n")
    assert isinstance(request, Request)
    source = Address("h", 5_060)
    made = build_reply(request, 200, "OK", source=source, to_tag="1")
    assert made == reply_head_any(request, 200, "OK", source, "1", "", 0)
    assert made.count(b"\r\nVia: SIP/2.0/UDP ") == vias
