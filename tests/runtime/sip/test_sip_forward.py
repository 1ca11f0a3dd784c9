"""What a proxy sends on (RFC 3261 16.6, 16.7, 17.1.1.3, 9.1): what changes, and that nothing else does."""

from __future__ import annotations

import time

import pytest

from runtime.context import Address
from runtime.sip.forward import ack_of, cancel_of, forwarded_request, relayed_reply
from runtime.sip.message import Reply, Request, parse

SOURCE = Address("192.0.2.1", 5060)
OURS = "SIP/2.0/UDP 192.0.2.9:5060;branch=z9hG4bK1.2.3"
VIA = "Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKa1"
FROM = "From: <sip:alice@example.com>;tag=f1"
TO = "To: <sip:bob@example.com>"
NEEDED = [FROM, TO, "Call-ID: c1", "CSeq: 7 INVITE"]
HOPS = "Max-Forwards: 70"


def head(*lines: str, start: str = "INVITE sip:bob@example.com SIP/2.0") -> bytes:
    return "\r\n".join([start, *lines, "", ""]).encode("latin-1")


def request(*lines: str, body: bytes = b"", start: str = "INVITE sip:bob@example.com SIP/2.0") -> Request:
    parsed = parse(head(*lines, start=start) + body)
    assert isinstance(parsed, Request), parsed
    return parsed


def reply(*lines: str, body: bytes = b"", start: str = "SIP/2.0 200 OK") -> Reply:
    parsed = parse(head(*lines, start=start) + body)
    assert isinstance(parsed, Reply), parsed
    return parsed


def sent(found: Request, **what: object) -> list[str]:
    """The head that goes on, line by line, without its request line and our Via."""
    arguments: dict[str, object] = {"ruri": "sip:bob@192.0.2.7", "via": OURS, "source": SOURCE, **what}
    data = forwarded_request(found, **arguments)  # type: ignore[arg-type]
    start, via, *lines = data[: data.index(b"\r\n\r\n")].decode("latin-1").split("\r\n")
    assert (start, via) == (f"{found.method} sip:bob@192.0.2.7 SIP/2.0", f"Via: {OURS}")
    return lines


# Requests.


def test_the_target_our_via_and_one_hop_less_and_nothing_else() -> None:
    found = request(VIA, HOPS, *NEEDED, "X-Own: 1", "Content-Length: 3", body=b"abc")
    data = forwarded_request(found, ruri="sip:bob@192.0.2.7;x=y", via=OURS, source=SOURCE)
    expected = head(
        f"Via: {OURS}",
        VIA,
        "Max-Forwards: 69",
        *NEEDED,
        "X-Own: 1",
        "Content-Length: 3",
        start="INVITE sip:bob@192.0.2.7;x=y SIP/2.0",
    )
    assert data == expected + b"abc"
    assert (found.ruri, found.max_forwards) == ("sip:bob@example.com", 70), "what was received stays"


def test_lines_stay_as_they_were_written() -> None:
    odd = [
        "v  :SIP / 2.0/UDP\t192.0.2.1;branch=z9hG4bKa1",
        "Subject:  folded \r\n\t over \r\n   three \r\n \t\r\n lines\t ",
        'fROM\t:\r\n "A \\"B\\", C"\r\n <sip:alice@example.com>\r\n ;tag=f1',
        "t:<sip:bob@example.com>",
        "i:c1",
        "cseq:0007\r\n INVITE",
        "X-Empty:",
        "X-Bytes: \xff\xfe\x80\x00",
        "x-unknown  :;;,,;;,;",
        "k: a,b , c",
    ]
    found = request(*odd, "MAX-forwards :  007")
    assert sent(found) == [*"\r\n".join(odd).split("\r\n"), "Max-Forwards: 6"]


def test_what_follows_the_body_does_not_go_on() -> None:
    found = request(VIA, HOPS, *NEEDED, "l: 3", body=b"abcINVITE sip:x SIP/2.0\r\n\r\n")
    data = forwarded_request(found, ruri="sip:b", via=OURS, source=SOURCE)
    assert data.endswith(b"\r\nl: 3\r\n\r\nabc")


def test_a_body_without_a_length_goes_on_whole() -> None:
    found = request(VIA, HOPS, *NEEDED, body=b"\x00\xff\r\n\r\n")
    assert forwarded_request(found, ruri="sip:b", via=OURS, source=SOURCE).endswith(b"INVITE\r\n\r\n\x00\xff\r\n\r\n")
    over_a_stream = forwarded_request(found, ruri="sip:b", via=OURS, source=SOURCE, stream=True)
    assert over_a_stream.endswith(b"INVITE\r\nContent-Length: 6\r\n\r\n\x00\xff\r\n\r\n")


@pytest.mark.parametrize(
    ("via", "stamped"),
    [
        ("SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKa1", "SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKa1"),
        (
            "SIP/2.0/UDP 192.0.2.1;rport;branch=z9hG4bKa1",
            "SIP/2.0/UDP 192.0.2.1;rport=5060;received=192.0.2.1;branch=z9hG4bKa1",
        ),
        (
            "SIP/2.0/UDP host.example.com;branch=z9hG4bKa1",
            "SIP/2.0/UDP host.example.com;branch=z9hG4bKa1;received=192.0.2.1",
        ),
        (
            "SIP/2.0/UDP host;received=203.0.113.1;branch=z9hG4bKa1",
            "SIP/2.0/UDP host;branch=z9hG4bKa1;received=192.0.2.1",
        ),
        (
            "SIP/2.0/UDP host;branch=z9hG4bKa1, SIP/2.0/TCP other;x=1",
            "SIP/2.0/UDP host;branch=z9hG4bKa1;received=192.0.2.1, SIP/2.0/TCP other;x=1",
        ),
    ],
)
def test_the_senders_via_says_where_it_came_from(via: str, stamped: str) -> None:
    below = "Via: SIP/2.0/TCP below.example.com;rport"
    assert sent(request(f"Via: {via}", below, HOPS, *NEEDED))[:2] == [f"Via: {stamped}", below]


def test_a_request_of_our_own_has_no_sender() -> None:
    placeholder = "Via: SIP/2.0/UDP placeholder;rport;branch=z9hG4bKa1"
    assert sent(request(placeholder, HOPS, *NEEDED), source=None) == ["Max-Forwards: 69", *NEEDED]


def test_ipv6_stays_ipv6() -> None:
    via = "Via: SIP/2.0/UDP [2001:db8::9:1]:6050;branch=z9hG4bKas3-111"
    found = request(via, HOPS, *NEEDED, "Contact: <sip:a@[2001:db8::1]>", "Route: <sip:[2001:db8::2]:5070;lr>")
    assert sent(found, source=Address("2001:db8::9:1", 6050)) == [
        via,
        "Max-Forwards: 69",
        *NEEDED,
        "Contact: <sip:a@[2001:db8::1]>",
        "Route: <sip:[2001:db8::2]:5070;lr>",
    ]
    assert sent(found, source=Address("2001:db8::7", 6050))[0] == f"{via};received=2001:db8::7"


@pytest.mark.parametrize(
    ("hops", "left"),
    [("70", "69"), ("1", "0"), ("0", "0"), ("300", "299"), ("x", "70"), ("-1", "70"), ("9" * 30, "70")],
)
def test_max_forwards_is_one_less(hops: str, left: str) -> None:
    assert sent(request(VIA, f"Max-Forwards: {hops}", *NEEDED))[1] == f"Max-Forwards: {left}"


def test_max_forwards_is_added_where_it_is_absent_and_written_as_the_script_says() -> None:
    assert sent(request(VIA, *NEEDED)) == ["Max-Forwards: 70", VIA, *NEEDED]
    assert sent(request(VIA, *NEEDED), max_forwards=10) == ["Max-Forwards: 10", VIA, *NEEDED]
    assert sent(request(VIA, HOPS, *NEEDED), max_forwards=10) == [VIA, "Max-Forwards: 10", *NEEDED]


def test_our_record_routes_stand_above_all_others() -> None:
    theirs = "Record-Route: <sip:p1;lr>, <sip:p2;lr>"
    found = request(VIA, HOPS, theirs, *NEEDED)
    lines = sent(found, record_routes=["<sip:192.0.2.9;lr;did=1>", "<sip:[2001:db8::9];lr>"])
    assert lines == [
        "Record-Route: <sip:192.0.2.9;lr;did=1>",
        "Record-Route: <sip:[2001:db8::9];lr>",
        VIA,
        "Max-Forwards: 69",
        theirs,
        *NEEDED,
    ]


A, B, C = "<sip:a;lr>", '"B, b" <sip:b;lr;x=1,2>', "<sip:c;lr>;p"


def routed(*lines: str) -> Request:
    return request(VIA, HOPS, *NEEDED[:2], *lines, *NEEDED[2:])


@pytest.mark.parametrize(
    ("lines", "taken", "expected"),
    [
        ([f"Route: {A}"], 0, [f"Route: {A}"]),
        ([f"Route: {A}"], 1, []),
        ([f"Route: {A}", f"Route: {B}"], 1, [f"Route: {B}"]),
        ([f"route :{A}", f"ROUTE:  {B} ,\t{C}"], 1, [f"ROUTE:  {B} ,\t{C}"]),
        ([f"Route: {A},{B}", f"Route: {C}"], 3, []),
        ([f"Route: {A}, ,{B},"], 0, [f"Route: {A}, ,{B},"]),
    ],
)
def test_route_values_are_taken_off_the_top(lines: list[str], taken: int, expected: list[str]) -> None:
    found = routed(*lines)
    routes = found.all("route")[taken:]
    assert sent(found, routes=routes) == [VIA, "Max-Forwards: 69", *NEEDED[:2], *expected, *NEEDED[2:]]
    assert sent(found) == [VIA, "Max-Forwards: 69", *NEEDED[:2], *lines, *NEEDED[2:]]


def test_of_two_route_values_in_one_line_one_is_left() -> None:
    lines = sent(routed(f"Route: {A}, {B}", f"Route: {C}"), routes=[B, C])
    assert lines == [f"Route: {B}", VIA, "Max-Forwards: 69", *NEEDED[:2], f"Route: {C}", *NEEDED[2:]]


def test_a_folded_route_of_which_all_is_left_stays_folded() -> None:
    folded = f"Route:\r\n {A}\r\n ,\r\n\t{B}"
    found = routed(f"Route: {A}", folded)
    assert found.all("route") == [A, A, B]
    lines = sent(found, routes=[A, B])
    assert lines == [VIA, "Max-Forwards: 69", *NEEDED[:2], *folded.split("\r\n"), *NEEDED[2:]]


def test_other_routes_than_it_had_stand_in_their_place() -> None:
    assert sent(routed(f"Route: {A}"), routes=[C, A])[0] == f"Route: {C}"
    lines = sent(routed(f"Route: {A}", f"Route: {B}"), routes=[B, A])
    assert lines == [f"Route: {B}", VIA, "Max-Forwards: 69", *NEEDED[:2], f"Route: {A}", *NEEDED[2:]]
    assert sent(request(VIA, HOPS, *NEEDED), routes=[A, B])[:2] == [f"Route: {A}", f"Route: {B}"]


def test_a_value_that_leaves_a_bracket_or_quotation_open_takes_in_no_other() -> None:
    found = routed("Route: <sip:a", 'Route: "b')
    again = request_of(forwarded_request(found, ruri="sip:b", via=OURS, source=SOURCE, routes=["<sip:a", '"b', C]))
    assert again.all("route") == ["<sip:a", '"b', C]


def test_the_order_of_the_routes_is_kept_whatever_is_written_anew() -> None:
    found = routed(f"Route: {A}", f"Route: {B}", f"Route: {C}")
    for routes in ([A, B, C], [B, C], [C], [], [C, B, A], [A, C], [A, A, B, C], [B, A, B, C]):
        data = forwarded_request(found, ruri="sip:b", via=OURS, source=SOURCE, routes=routes)
        again = parse(data)
        assert isinstance(again, Request)
        assert again.all("route") == routes


# Edits and bodies.


def test_edits_add_and_remove() -> None:
    found = request(VIA, HOPS, *NEEDED, "X-Own: 1", "Supported: a", "k: b", "x-OWN:\r\n 2", "Content-Length: 0")
    lines = sent(
        found,
        edits=[
            ("remove", "x-own"),
            ("append", "X-Last: 1\r\n"),
            ("insert", "X-First: 1\r\n"),
            ("remove", "k"),
            ("append", "X-Own: 3\r\n"),
            ("remove", "No-Such"),
        ],
    )
    assert lines == ["X-First: 1", VIA, "Max-Forwards: 69", *NEEDED, "Content-Length: 0", "X-Last: 1", "X-Own: 3"]


def test_lines_are_put_beside_a_header() -> None:
    found = request(VIA, HOPS, *NEEDED, "X-Own: 1", "x-own:\r\n 2", "Content-Length: 0")
    lines = sent(
        found,
        edits=[
            ("after x-own", "X-A: 1\r\n"),
            ("before X-Own", "X-B: 1\r\n"),
            ("after i", "X-C: 1\r\n"),
            ("after X-Own", "X-D: 1\r\n"),
            ("after None", "X-E: 1\r\n"),
            ("remove", "x-own"),
        ],
    )
    at = [line.partition(":")[0] for line in NEEDED].index("Call-ID") + 1
    needed = [*NEEDED[:at], "X-C: 1", *NEEDED[at:]]
    assert lines == [VIA, "Max-Forwards: 69", *needed, "X-B: 1", "X-A: 1", "X-D: 1", "Content-Length: 0"]


@pytest.mark.parametrize("name", ["Via", "v", "FROM", "f", "To", "Call-ID", "i", "CSeq", "Max-Forwards", "l"])
def test_what_a_message_must_have_cannot_be_removed(name: str) -> None:
    found = request(VIA, HOPS, *NEEDED, "Content-Length: 0")
    assert sent(found, edits=[("remove", name)]) == sent(found)


def test_another_body_brings_its_length() -> None:
    edits = [("remove", "Content-Type"), ("append", "Content-Type: text/plain\r\n")]
    found = request(VIA, HOPS, *NEEDED, "c: application/sdp", "l: 3", body=b"abc")
    data = forwarded_request(found, ruri="sip:b", via=OURS, source=SOURCE, edits=edits, body=b"longer")
    assert data.endswith(b"CSeq: 7 INVITE\r\nContent-Length: 6\r\nContent-Type: text/plain\r\n\r\nlonger")
    bare = request(VIA, HOPS, *NEEDED)
    data = forwarded_request(bare, ruri="sip:b", via=OURS, source=SOURCE, body=b"")
    assert data.endswith(b"CSeq: 7 INVITE\r\nContent-Length: 0\r\n\r\n")


# Replies.


OUR_VIA = f"Via: {OURS}"


def relayed(found: Reply, **what: object) -> list[str]:
    data = relayed_reply(found, **what)  # type: ignore[arg-type]
    return data[: data.index(b"\r\n\r\n")].decode("latin-1").split("\r\n")


@pytest.mark.parametrize(
    ("vias", "left"),
    [
        ([OUR_VIA, VIA], [VIA]),
        ([OUR_VIA], []),
        (["v:" + OURS, "v :\tSIP/2.0/UDP x"], ["v :\tSIP/2.0/UDP x"]),
        ([f"{OUR_VIA}, SIP/2.0/UDP x;y", VIA], ["Via: SIP/2.0/UDP x;y", VIA]),
        ([f"{OUR_VIA} ,\tSIP/2.0/UDP x;y,,SIP/2.0/UDP z ", VIA], ["Via: SIP/2.0/UDP x;y, SIP/2.0/UDP z", VIA]),
        ([f"{OUR_VIA},\r\n SIP/2.0/UDP x ,SIP/2.0/TCP z"], ["Via: SIP/2.0/UDP x, SIP/2.0/TCP z"]),
        ([f"{OUR_VIA}\r\n ;folded=1", VIA], [VIA]),
        ([f'{OUR_VIA};x="a,b"', VIA], [VIA]),
        ([OUR_VIA, VIA + "\r\n ;folded=1"], [VIA, " ;folded=1"]),
    ],
)
@pytest.mark.parametrize("first", [True, False], ids=["via first", "via later"])
@pytest.mark.parametrize("edits", [[], [("append", "X-A: 1\r\n")]], ids=["plain", "edited"])
def test_only_the_topmost_via_is_taken_off(
    vias: list[str], left: list[str], first: bool, edits: list[tuple[str, str]]
) -> None:
    others = ["Contact:\r\n  <sip:b@192.0.2.7>", *NEEDED, "Content-Length: 2"]
    found = reply(*(vias + others if first else [others[0], *vias, *others[1:]]), body=b"ab and more")
    contact = others[0].split("\r\n")
    rest = [*NEEDED, "Content-Length: 2"] + ["X-A: 1"] * len(edits)
    kept = [*left, *contact, *rest] if first else [*contact, *left, *rest]
    assert relayed(found, edits=edits) == ["SIP/2.0 200 OK", *kept]
    assert relayed_reply(found, edits=edits).endswith(b"\r\n\r\nab")


def test_the_reason_is_passed_on_byte_for_byte() -> None:
    start = "SIP/2.0 200 = 2**3  * 5**2 \xd0\xbd\xff "
    for more in ([], ["X-A:\r\n 1"]):
        assert relayed(reply(OUR_VIA, VIA, *NEEDED, *more, start=start))[0] == start
        assert relayed(reply(OUR_VIA, VIA, *NEEDED, *more, start=start), body=b"x")[0] == start
    assert relayed(reply(OUR_VIA, VIA, *NEEDED, start="SIP/2.0 100"))[0] == "SIP/2.0 100"


def test_another_status_and_another_body() -> None:
    found = reply(OUR_VIA, VIA, *NEEDED, "Retry-After: 5", "l: 1", body=b"a", start="SIP/2.0 503 Overloaded")
    assert relayed_reply(found, status=(500, "Server Internal Error"), edits=[("remove", "Retry-After")]) == (
        head(VIA, *NEEDED, "l: 1", start="SIP/2.0 500 Server Internal Error") + b"a"
    )
    assert relayed_reply(found, body=b"new") == (
        head(VIA, *NEEDED, "Retry-After: 5", "Content-Length: 3", start="SIP/2.0 503 Overloaded") + b"new"
    )


def test_over_a_stream_a_reply_has_its_length() -> None:
    found = reply(OUR_VIA, VIA, *NEEDED, body=b"abc")
    assert relayed_reply(found) == head(VIA, *NEEDED, start="SIP/2.0 200 OK") + b"abc"
    assert relayed_reply(found, stream=True) == (
        head(VIA, *NEEDED, "Content-Length: 3", start="SIP/2.0 200 OK") + b"abc"
    )
    known = reply(OUR_VIA, VIA, *NEEDED, "Content-Length: 0")
    assert relayed_reply(known, stream=True) == relayed_reply(known)


# What a client transaction sends by itself.


def invite() -> Request:
    found = request(VIA, HOPS, f"Route: {A}, {B}", "r:\r\n <sip:c>", *NEEDED, "X-A: 1", "l: 1", body=b"a")
    return request_of(forwarded_request(found, ruri="sip:bob@192.0.2.7", via=OURS, source=SOURCE))


def request_of(data: bytes) -> Request:
    parsed = parse(data)
    assert isinstance(parsed, Request)
    return parsed


def test_the_ack_of_a_failure() -> None:
    answer = reply(OUR_VIA, VIA, FROM, f"{TO};tag=t9", *NEEDED[2:], start="SIP/2.0 486 Busy")
    assert ack_of(invite(), answer) == head(
        OUR_VIA,
        f"Route: {A}, {B}",
        "Max-Forwards: 70",
        FROM,
        f"{TO};tag=t9",
        "Call-ID: c1",
        "CSeq: 7 ACK",
        "Content-Length: 0",
        start="ACK sip:bob@192.0.2.7 SIP/2.0",
    )


def test_the_cancel_of_an_invite() -> None:
    data = cancel_of(invite())
    assert data == head(
        OUR_VIA,
        f"Route: {A}, {B}",
        "Max-Forwards: 70",
        *NEEDED[:3],
        "CSeq: 7 CANCEL",
        "Content-Length: 0",
        start="CANCEL sip:bob@192.0.2.7 SIP/2.0",
    )
    cancel = request_of(data)
    assert cancel.all("via") == [OURS], "one Via, whose branch is that of the request"


# Hostile ones.


@pytest.mark.parametrize(
    "more",
    [
        ["Route: " + "<sip:a;lr>," * 700] * 7,
        ["Route:" + "\r\n <sip:a;lr>," * 600 + "<sip:b>"] * 6,
        ["X:" + "\r\n a" * 15_000],
        ["Via: " + "SIP/2.0/UDP a," * 500 + "SIP/2.0/UDP b"] * 5,
        ["X: 1"] * 240,
    ],
    ids=["routes", "folded routes", "folds", "vias", "lines"],
)
def test_no_message_takes_long(more: list[str]) -> None:
    found = parse(head(VIA, HOPS, *NEEDED, *more))
    if not isinstance(found, Request):
        return
    routes = found.all("route")
    began = time.process_time()
    for left in (routes, routes[1:], routes[len(routes) // 2 :], routes[::-1], []):
        forwarded_request(found, ruri="sip:b", via=OURS, source=SOURCE, routes=left, edits=[("remove", "x")])
    assert time.process_time() - began < 0.3
