"""Module rr, as a script uses it."""

import pytest

from runtime.context import RecordRoute
from runtime.modules.rr import MAX_PARAMS_CHARS

HEAD = """
socket=udp:10.0.0.1:5060
socket=tcp:10.0.0.1:5060
socket=udp:10.0.0.1:5080
alias="sip.example.com"
loadmodule "rr.so"
"""


def request(*routes, ruri="sip:bob@192.0.2.9:5070", to_tag="t1", from_tag="f1"):
    lines = "".join(f"Route: {route}\r\n" for route in routes)
    tag = f";tag={to_tag}" if to_tag else ""
    return (
        f"BYE {ruri} SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1\r\nMax-Forwards: 70\r\n{lines}"
        f"From: <sip:alice@example.com>;tag={from_tag}\r\nTo: <sip:bob@example.com>{tag}\r\n"
        f"Call-ID: c1\r\nCSeq: 2 BYE\r\nContent-Length: 0\r\n\r\n"
    ).encode("latin-1")


@pytest.fixture
def run(scripted):
    """Run statements with the module rr loaded."""

    def go(statements, raw, *, settings=""):
        return scripted(f"{HEAD}{settings}\nroute {{ {statements} }}\n", raw)

    return go


LOOSE = 'if (loose_route()) xlog("loose"); else xlog("not loose $rc");'


class TestLooseRoute:
    def test_the_last_proxy_before_the_target(self, run):
        made = run(LOOSE + ' xlog("$rr_params");', request("<sip:10.0.0.1;lr;ftag=f1;did=a.1>"))
        c = made.context
        assert made.texts == ["loose", "lr;ftag=f1;did=a.1"]
        assert (c.ruri, c.dst_uri, c.routes) == ("sip:bob@192.0.2.9:5070", None, [])

    def test_another_proxy_follows(self, run):
        made = run(LOOSE + ' xlog("$du");', request("<sip:sip.example.com;lr>,<sip:p2.example.com;lr>", "<sip:p3;lr>"))
        assert made.texts == ["loose", "sip:p2.example.com;lr"]
        assert made.context.routes == ["<sip:p2.example.com;lr>", "<sip:p3;lr>"]

    def test_a_strict_router_follows(self, run):
        made = run(LOOSE + ' xlog("$ru $du");', request("<sip:10.0.0.1;lr>", "<sip:p2.example.com>"))
        assert made.texts == ["loose", "sip:p2.example.com <null>"]
        assert made.context.routes == ["<sip:bob@192.0.2.9:5070>"]

    def test_a_strict_router_went_before(self, run):
        raw = request("<sip:p1;lr>", "<sip:alice@192.0.2.1>", ruri="sip:10.0.0.1;lr;ftag=f1")
        made = run(LOOSE + ' xlog("$ru $du $rr_params");', raw)
        assert made.texts == ["loose", "sip:alice@192.0.2.1 sip:p1;lr lr;ftag=f1"]
        assert made.context.routes == ["<sip:p1;lr>"]

    def test_without_route_the_script_decides(self, run):
        made = run(LOOSE + ' xlog("$rr_params");', request())
        assert made.texts == ["not loose -1", "<null>"]
        assert (made.context.routes, made.context.dst_uri) == (None, None)

    def test_an_initial_request_with_no_route_but_ours(self, run):
        """The Route is gone then, and still it says nothing."""
        made = run(LOOSE, request("<sip:10.0.0.1;lr>", to_tag=""))
        assert (made.texts, made.context.routes) == (["not loose -1"], [])

    def test_an_initial_request_with_a_preloaded_route(self, run):
        made = run(LOOSE, request("<sip:10.0.0.1;lr>", "<sip:p2;lr>", to_tag=""))
        assert (made.texts, made.context.dst_uri) == (["loose"], "sip:p2;lr")
        assert made.context.routes == ["<sip:p2;lr>"]

    def test_a_route_that_cannot_be_read(self, run):
        made = run(LOOSE, request("<http://x>"))
        assert (made.texts, made.context.routes) == (["not loose -1"], None)

    def test_the_script_may_have_changed_the_request_uri(self, run):
        made = run('$ru = "sip:new@h"; loose_route();', request("<sip:10.0.0.1;lr>", "<sip:strict>"))
        assert (made.context.ruri, made.context.routes) == ("sip:strict", ["<sip:new@h>"])

    def test_hooks_run_once_the_way_is_known(self, run, scripted):
        seen = []
        made = run("$var(x) = 1;", request("<sip:10.0.0.1;lr;did=7>", "<sip:p2;lr>"))
        made.tools["rr"].on_loose_route.append(lambda c: seen.append((c.own_route, c.dst_uri, c.routes)))
        assert made.tools["rr"].loose_route(made.context) == 1
        assert seen == [("lr;did=7", "sip:p2;lr", ["<sip:p2;lr>"])]

    def test_hooks_do_not_run_for_the_route_of_another(self, run):
        seen = []
        made = run("$var(x) = 1;", request("<sip:p2;lr>"))
        made.tools["rr"].on_loose_route.append(seen.append)
        assert (made.tools["rr"].loose_route(made.context), seen) == (1, [])


@pytest.mark.parametrize(
    ("routes", "index"),
    [
        ("<sip:10.0.0.1;lr>", None),
        ("<sip:10.0.0.1:5060;r2=on;lr>,<sip:10.0.0.1:5080;r2=on;lr>", 2),
        ("<sip:10.0.0.1:5080;r2=on;lr>,<sip:10.0.0.1:5060;transport=tcp;r2=on;lr>", 1),
        ("<sip:10.0.0.1:5060;r2=on;lr>,<sip:sip.example.com;r2=on;lr>", None),
    ],
)
def test_a_pair_names_the_socket_to_leave_by(run, routes, index):
    made = run("loose_route();", request(routes))
    assert (made.context.send_socket, made.context.routes) == (index, [])


@pytest.mark.parametrize(
    ("ftag", "from_tag", "direction"),
    [(";ftag=f1", "f1", "downstream"), (";ftag=f1", "t1", "upstream"), ("", "t1", "downstream")],
)
def test_directions(run, ftag, from_tag, direction):
    statements = """loose_route();
        if (is_direction("downstream")) xlog("downstream");
        if (is_direction("UPSTREAM")) xlog("upstream");
        if (is_direction("sideways")) xlog("sideways");"""
    assert run(statements, request(f"<sip:10.0.0.1;lr{ftag}>", from_tag=from_tag)).texts == [direction]


def test_route_parameters(run):
    statements = """
        if (check_route_param("lr")) xlog("too early");
        loose_route();
        if (check_route_param("nat=yes")) xlog("nat");
        if (check_route_param("^;lr;")) xlog("from the start");
        if (check_route_param("tan")) xlog("wrong");"""
    assert run(statements, request("<sip:10.0.0.1;lr;NAT=yes>")).texts == ["nat", "from the start"]


class TestRecordRoute:
    @pytest.mark.parametrize(
        ("statements", "asked"),
        [
            ("record_route();", RecordRoute(";ftag=f1")),
            ('record_route(";nat=yes");', RecordRoute(";ftag=f1;nat=yes")),
            ('add_rr_param(";a=1"); record_route(); add_rr_param(";b");', RecordRoute(";ftag=f1;a=1;b")),
            ('add_rr_param(";a=$rU"); add_rr_param("$var(none)"); record_route();', RecordRoute(";ftag=f1;a=bob")),
            ('record_route_preset("edge:5090");', RecordRoute(";ftag=f1", "edge:5090")),
            ('record_route_preset("out", "in:5090"); add_rr_param(";c");', RecordRoute(";ftag=f1;c", "out", "in:5090")),
        ],
    )
    def test_what_is_asked_for(self, run, statements, asked):
        assert run(statements, request()).context.record_route == asked

    def test_settings(self, run):
        settings = "".join(
            f'modparam("rr", "{name}", {value})\n'
            for name, value in (("append_fromtag", 0), ("enable_double_rr", 0), ("add_username", 1))
        )
        made = run("record_route();", request(ruri='sip:b"ob@h'), settings=settings)
        assert made.context.record_route == RecordRoute("", user="b%22ob", double=False)

    @pytest.mark.parametrize(
        ("ruri", "statements", "user"),
        [
            ("sip:bob@h", '$ru = "sip:eve@h";', "bob"),
            ("sip:h", '$ru = "sip:eve@h";', "eve"),
            ("sip:h", "", ""),
        ],
    )
    def test_the_user_is_that_of_the_request_as_it_came(self, run, ruri, statements, user):
        made = run(f"{statements} record_route();", request(ruri=ruri), settings='modparam("rr", "add_username", 1)')
        assert made.context.record_route.user == user

    @pytest.mark.parametrize("more", [0, 1])
    def test_so_many_parameters_and_no_more(self, run, more):
        """The tag, the parameters given before and those given now count together."""
        tag, before = ";ftag=f1", ";b=" + "1" * 100
        now = ";n=" + "1" * (MAX_PARAMS_CHARS - len(tag + before) - 3 + more)
        made = run(f'add_rr_param("{before}"); record_route("{now}"); xlog("$rc");', request())
        assert made.texts == (["-1"] if more else ["1"])
        assert made.context.record_route == (None if more else RecordRoute(tag + now + before))

    def test_not_twice(self, run):
        made = run(
            'record_route(); if (!record_route(";x")) xlog("$rc"); if (!record_route_preset("h")) xlog("$rc");',
            request(),
        )
        assert (made.texts, made.context.record_route) == (["-1", "-1"], RecordRoute(";ftag=f1"))

    @pytest.mark.parametrize(
        "call",
        [
            'record_route("x=y")',
            'record_route(";x=$var(evil)")',
            'add_rr_param(";x=$var(evil)")',
            'add_rr_param("")',
            'record_route_preset("a@b")',
            'record_route_preset("h", "$var(evil)")',
            'add_rr_param(";x=$var(long)")',
        ],
    )
    def test_what_would_break_the_header(self, run, call):
        evil = '$var(evil) = "1>\\r\\nX: y"; $var(long) = $(rU{s.fill_right,a,' + str(MAX_PARAMS_CHARS) + "});"
        made = run(f'{evil} if (!{call}) xlog("refused");', request())
        assert (made.texts, made.context.record_route, made.context.rr_params) == (["refused"], None, "")

    def test_a_tag_that_is_no_token(self, run):
        made = run("record_route();", request(from_tag='"a;b"'))
        assert made.context.record_route == RecordRoute(";ftag=%22a%3Bb%22")
