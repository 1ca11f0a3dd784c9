"""Module path, as a script uses it (RFC 3327)."""

import pytest

from runtime.context import Address
from runtime.modules.path import use_received

HEAD = """
socket=udp:10.0.0.1:5060
socket=tcp:10.0.0.1:5060
loadmodule "rr.so"
loadmodule "path.so"
"""


def request(method="REGISTER", ruri="sip:registrar.example.com", route=""):
    return (
        f"{method} {ruri} SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1\r\n{route}"
        f"From: <sip:a@h>;tag=1\r\nTo: <sip:a@h>\r\nCall-ID: c1\r\nCSeq: 2 {method}\r\nContent-Length: 0\r\n\r\n"
    ).encode()


@pytest.mark.parametrize(
    ("statements", "line"),
    [
        ("add_path();", "Path: <sip:10.0.0.1:5060;lr>"),
        ('add_path("edge");', "Path: <sip:edge@10.0.0.1:5060;lr>"),
        ('add_path("a>\\r\\nX: y");', "Path: <sip:a%3E%0D%0AX%3A%20y@10.0.0.1:5060;lr>"),
        ("add_path_received();", "Path: <sip:10.0.0.1:5060;lr;received=sip:192.0.2.1:5060>"),
        ('add_path_received("in");', "Path: <sip:in@10.0.0.1:5060;lr;received=sip:192.0.2.1:5060>"),
        ('$du = "sip:core;transport=sctp"; add_path();', "Path: <sip:10.0.0.1:5060;lr>"),
        (
            '$du = "sip:core;transport=tcp"; add_path();',
            "Path: <sip:10.0.0.1:5060;transport=tcp;r2=on;lr>, <sip:10.0.0.1:5060;r2=on;lr>",
        ),
    ],
)
def test_the_path_header(scripted, statements, line):
    made = scripted(f"{HEAD} route {{ {statements} }}", request())
    assert made.context.edits == [("insert", f"{line}\r\n")]


def test_only_one_when_double_is_off(scripted):
    made = scripted(
        HEAD + 'modparam("path", "enable_double_path", 0) route { $du = "sip:core;transport=tcp"; add_path(); }',
        request(),
    )
    assert made.context.edits == [("insert", "Path: <sip:10.0.0.1:5060;transport=tcp;lr>\r\n")]


def test_a_phone_behind_tcp_and_ipv6_is_found_again(scripted):
    """What add_path_received writes is what use_received reads when the registrar's INVITE comes back."""
    made = scripted(HEAD + "route { $var(x) = 1; }", request())
    made.context.source, made.context.socket = Address("2001:db8::5", 40000), 1
    path = made.tools["path"]
    assert path.add_path_received(made.context, None) == 1
    values = made.context.edits[0][1].removeprefix("Path: ").strip()
    back = scripted(HEAD + "route { $var(x) = 1; }", request("INVITE", "sip:a@10.9.9.9", f"Route: {values}\r\n"))
    rr = back.tools["rr"]
    rr.on_loose_route.append(use_received)
    assert (rr.loose_route(back.context), back.context.routes) == (-1, [])
    assert back.context.dst_uri == "sip:[2001:db8::5]:40000;transport=tcp"


@pytest.mark.parametrize("received", ["", ";received=", ";received=nonsense", ";received=sip:a%20b"])
def test_a_received_that_says_nothing_is_ignored(scripted, received):
    made = scripted(
        HEAD + "route { $var(x) = 1; }", request("INVITE", route=f"Route: <sip:10.0.0.1;lr{received}>, <sip:p2;lr>\r\n")
    )
    made.tools["rr"].on_loose_route.append(use_received)
    assert (made.tools["rr"].loose_route(made.context), made.context.dst_uri) == (1, "sip:p2;lr")
