"""Route and Record-Route (RFC 3261 16.4, 16.6, 16.12)."""

import re

import pytest

from runtime.context import RecordRoute
from runtime.listen import Listen
from runtime.sip.own import ANY_PORT, Alias, OwnAddresses
from runtime.sip.routing import (
    NotRouted,
    Routed,
    are_params,
    from_tag_param,
    is_preset,
    is_upstream,
    loose_route,
    params_text,
    protocol_of,
    record_route_values,
    route_param,
    user_part,
)
from runtime.sip.uri import parse_uri


def own(*hosts):
    """A proxy that has these names."""
    return OwnAddresses([], [Alias("", host, ANY_PORT) for host in hosts]).is_own


P1, P2, P3, P4 = (
    "<sip:p1.example.com;lr>",
    "<sip:p2.example.com;lr>",
    "<sip:p3.middle.com>",
    "<sip:p4.domain.com;lr>",
)
U1 = "sip:caller@u1.example.com"


class TestWorkedExamples:
    """RFC 3261 16.12.1, hop by hop."""

    def test_basic_trapezoid(self):
        """16.12.1.1: the callee's BYE through P2 and P1, both loose."""
        p2, p1 = "<sip:p2.domain.com;lr>", P1
        at_p2 = loose_route(U1, [p2, p1], own("p2.domain.com"))
        assert at_p2 == Routed(U1, "sip:p1.example.com;lr", [p1], ("sip:p2.domain.com;lr",))
        at_p1 = loose_route(at_p2.ruri, at_p2.routes, own("p1.example.com"))
        assert at_p1 == Routed(U1, None, [], ("sip:p1.example.com;lr",))

    def test_traversing_a_strict_router(self):
        """16.12.1.2: P4 gives P3, a strict router, what it expects; P2 puts right what P3 sent."""
        at_p4 = loose_route(U1, [P4, P3, P2, P1], own("p4.domain.com"))
        assert at_p4 == Routed("sip:p3.middle.com", None, [P2, P1, f"<{U1}>"], ("sip:p4.domain.com;lr",))
        sent_by_p3 = "sip:p2.example.com;lr", [P1, f"<{U1}>"]
        at_p2 = loose_route(*sent_by_p3, own("p2.example.com"))
        assert at_p2 == Routed(U1, "sip:p1.example.com;lr", [P1], ("sip:p2.example.com;lr",))
        at_p1 = loose_route(at_p2.ruri, at_p2.routes, own("p1.example.com"))
        assert at_p1 == Routed(U1, None, [], ("sip:p1.example.com;lr",))

    def test_a_gateway_between_two_name_spaces(self):
        """16.12.1.3: the caller knows the gateway by its left name, the callee by its right one."""
        gateway = own("gateway.leftprivatespace.com", "gateway.rightprivatespace.com")
        u2, left, right = (
            "sip:callee@u2.rightprivatespace.com",
            "sip:gateway.leftprivatespace.com;lr",
            "sip:gateway.rightprivatespace.com;lr",
        )
        assert loose_route(u2, [f"<{left}>"], gateway) == Routed(u2, None, [], (left,))
        assert loose_route(U1, [f"<{right}>"], gateway) == Routed(U1, None, [], (right,))


class TestLooseRoute:
    def test_the_next_hop_is_the_next_loose_router(self):
        routed = loose_route("sip:b@h", [P1, "<sip:p2:5070;transport=tcp;lr>", P4], own("p1.example.com"))
        assert routed == Routed(
            "sip:b@h",
            "sip:p2:5070;transport=tcp;lr",
            ["<sip:p2:5070;transport=tcp;lr>", P4],
            ("sip:p1.example.com;lr",),
        )

    def test_route_of_another_is_followed_as_it_is(self):
        assert loose_route("sip:b@h", [P2], own("p1.example.com")) == Routed(
            "sip:b@h", "sip:p2.example.com;lr", [P2], ()
        )

    def test_display_names_header_parameters_and_spaces(self):
        routes = ['"P; 1" <sip:p1.example.com;lr>;x=<y', '"," < sip:p2;LR >;q=1']
        routed = loose_route("sip:b@h", routes, own("p1.example.com"))
        assert routed == Routed("sip:b@h", "sip:p2;LR", routes[1:], ("sip:p1.example.com;lr",))

    def test_missing_brackets_are_forgiven(self):
        routed = loose_route("sip:b@h", ["sip:p1.example.com;lr", "sip:p2;lr"], own("p1.example.com"))
        assert routed == Routed("sip:b@h", "sip:p2;lr", ["sip:p2;lr"], ("sip:p1.example.com;lr",))

    def test_a_pair_comes_off_together(self):
        pair = ["<sip:10.0.0.1:5060;r2=on;lr;ftag=a>", "<sip:192.0.2.1:5060;transport=tcp;r2=on;lr;ftag=a>"]
        routed = loose_route("sip:b@h", [*pair, P2], own("10.0.0.1", "192.0.2.1"))
        assert routed == Routed("sip:b@h", "sip:p2.example.com;lr", [P2], (pair[0].strip("<>"), pair[1].strip("<>")))

    @pytest.mark.parametrize(
        "second",
        ["<sip:10.0.0.1;lr>", "<sip:192.0.2.1;r2=on;lr>", "<sip:10.0.0.1;x=r2;lr>"],
        ids=["not marked", "of another", "only looks marked"],
    )
    def test_a_value_without_its_second(self, second):
        routed = loose_route("sip:b@h", ["<sip:10.0.0.1;r2=on;lr>", second], own("10.0.0.1"))
        assert (routed.routes, len(routed.own)) == ([second], 1)

    def test_a_value_that_is_not_marked_has_no_second(self):
        second = "<sip:10.0.0.1;r2=on;lr>"
        assert loose_route("sip:b@h", ["<sip:10.0.0.1;lr>", second], own("10.0.0.1")).routes == [second]

    def test_a_spiral_keeps_the_value_of_its_second_time(self):
        first, second = "<sip:10.0.0.1;lr;ftag=a>", "<sip:10.0.0.1;lr;ftag=b>"
        assert loose_route("sip:b@h", [first, second], own("10.0.0.1")).routes == [second]

    def test_after_a_strict_router_a_pair_comes_off_too(self):
        routed = loose_route(
            "sip:10.0.0.1;r2=on;lr", ["<sip:192.0.2.1;r2=on;lr>", P2, "<sip:b@h>"], own("10.0.0.1", "192.0.2.1")
        )
        assert routed == Routed(
            "sip:b@h", "sip:p2.example.com;lr", [P2], ("sip:10.0.0.1;r2=on;lr", "sip:192.0.2.1;r2=on;lr")
        )

    def test_strict_routers_before_and_behind(self):
        routed = loose_route("sip:p2.example.com;lr", [P3, P4, "<sip:b@h>"], own("p2.example.com"))
        assert routed == Routed("sip:p3.middle.com", None, [P4, "<sip:b@h>"], ("sip:p2.example.com;lr",))

    def test_an_address_of_ours_without_lr_is_a_user_here(self):
        """A contact may well be at the proxy's address: nobody put that into Record-Route."""
        routed = loose_route("sip:bob@p1.example.com", [P1, P2], own("p1.example.com"))
        assert (routed.ruri, routed.dst_uri) == ("sip:bob@p1.example.com", "sip:p2.example.com;lr")

    def test_a_request_uri_has_no_headers_and_no_method(self):
        """RFC 3261 19.1.1."""
        strict = loose_route("sip:b@h", ["<sip:p3;method=INVITE;x=y?Subject=a>"], own("p1"))
        assert strict == Routed("sip:p3;x=y", None, ["<sip:b@h>"], ())
        targets = ["sip:b:pw@h:5070;Method=BYE", "sips:b@h?Subject=a", "sip:b@h;x"]
        sent = [loose_route("sip:p1;lr", [f"<{target}>"], own("p1")).ruri for target in targets]
        assert sent == ["sip:b:pw@h:5070", "sips:b@h", "sip:b@h;x"]

    @pytest.mark.parametrize(
        ("ruri", "routes", "why"),
        [
            ("sip:b@h", [], NotRouted.NO_ROUTE),
            ("sip:b@h", ["<>"], NotRouted.MALFORMED),
            ("sip:b@h", ["<sip:p1;lr"], NotRouted.MALFORMED),
            ("sip:b@h", ["<tel:+1>"], NotRouted.MALFORMED),
            ("sip:b@h", ["<sip:p1;lr>", "<http://x>"], NotRouted.MALFORMED),
            ("sip:b@h>", ["<sip:p1;lr>", "<sip:p3>"], NotRouted.MALFORMED),
            ("sip:p1;lr;r2=on", ["<sip:p1;lr;r2=on>"], NotRouted.NO_TARGET),
            ("sip:p1;lr", ["<>"], NotRouted.NO_TARGET),
        ],
    )
    def test_where_route_says_nothing(self, ruri, routes, why):
        assert loose_route(ruri, routes, own("p1")) is why

    def test_the_protocol_of_a_route_counts(self):
        server = OwnAddresses([Listen("udp", "10.0.0.1", 5060), Listen("tls", "10.0.0.1", 5061)]).is_own
        taken = [
            "sip:10.0.0.1;lr",
            "sip:10.0.0.1;transport=UDP;lr",
            "sips:10.0.0.1;lr",
            "sips:10.0.0.1;transport=tcp;lr",
        ]
        left = ["sip:10.0.0.1;transport=tcp;lr", "sip:10.0.0.1:5070;lr", "sips:10.0.0.1:5060;lr"]
        assert [loose_route("sip:b@h", [f"<{uri}>"], server).own for uri in taken] == [(uri,) for uri in taken]
        assert [loose_route("sip:b@h", [f"<{uri}>"], server).own for uri in left] == [(), (), ()]


class TestOwnParameters:
    def test_as_they_are_written(self):
        assert params_text("sip:a;b?c@h:5060;lr;Did=A1;x?Subject=1;2") == "lr;Did=A1;x"

    @pytest.mark.parametrize(("name", "value"), [("lr", ""), ("did", "A1.b=="), ("x", "y"), ("i", None), ("d", None)])
    def test_one_of_them(self, name, value):
        assert route_param("lr;Did=A1.b==;x = y;did=second", name) == value

    def test_none_of_none(self):
        assert (route_param(None, "lr"), route_param("", "lr")) == (None, None)

    @pytest.mark.parametrize(
        ("params", "tag", "upstream"),
        [
            ("lr;ftag=a1", "a1", False),
            ("lr;ftag=a1", "b2", True),
            ("lr;ftag=A1", "a1", True),
            ("lr;ftag=a%25%60", "a%`", False),
            ("lr", "b2", False),
            ("lr;ftag=", "b2", False),
            ("lr;ftag=a1", None, False),
            (None, "b2", False),
        ],
    )
    def test_direction(self, params, tag, upstream):
        assert is_upstream(params, tag) is upstream

    @pytest.mark.parametrize("tag", ["a1", "a-_.!~*'()", "100%", 'say "<hi>";x, y', "\xe9\xff", "a@b?c"])
    def test_any_tag_comes_back(self, tag):
        param = from_tag_param(tag)
        assert re.fullmatch(r";ftag=[^\x00-\x20\x7f-\xff\"<>;,?@]+", param)
        assert not is_upstream(f"lr{param}", tag)

    def test_no_tag_or_an_endless_one(self):
        assert (from_tag_param(None), from_tag_param(""), from_tag_param("a" * 1025)) == ("", "", "")


class TestRecordRoute:
    UDP = Listen("udp", "10.0.0.1", 5060)
    TCP = Listen("tcp", "10.0.0.1", 5060)
    UDP6 = Listen("udp", "2001:db8::1", 5060)
    OTHER = Listen("udp", "10.0.0.1", 5080, "203.0.113.1", 5060)
    TLS = Listen("tls", "10.0.0.1", 5061)

    def test_one_value_where_the_socket_is_the_same(self):
        assert record_route_values(RecordRoute(";ftag=a;did=1"), self.UDP, self.UDP) == [
            "<sip:10.0.0.1:5060;lr;ftag=a;did=1>"
        ]

    @pytest.mark.parametrize(
        ("inbound", "outbound", "values"),
        [
            ("UDP", "TCP", ["<sip:10.0.0.1:5060;transport=tcp;r2=on;lr;x>", "<sip:10.0.0.1:5060;r2=on;lr;x>"]),
            ("TCP", "UDP", ["<sip:10.0.0.1:5060;r2=on;lr;x>", "<sip:10.0.0.1:5060;transport=tcp;r2=on;lr;x>"]),
            ("UDP", "UDP6", ["<sip:[2001:db8::1]:5060;r2=on;lr;x>", "<sip:10.0.0.1:5060;r2=on;lr;x>"]),
            ("OTHER", "UDP", ["<sip:10.0.0.1:5060;r2=on;lr;x>", "<sip:203.0.113.1:5060;r2=on;lr;x>"]),
            ("TCP", "TCP", ["<sip:10.0.0.1:5060;transport=tcp;lr;x>"]),
        ],
    )
    def test_two_values_where_it_is_not(self, inbound, outbound, values):
        """The one for the next hop is topmost, as Record-Route is read from the top by who comes last."""
        assert record_route_values(RecordRoute(";x"), getattr(self, inbound), getattr(self, outbound)) == values

    def test_a_pair_is_known_again(self):
        server = OwnAddresses([self.UDP, self.TCP, self.UDP6, self.OTHER, self.TLS])
        for inbound in server.sockets:
            for outbound in server.sockets:
                values = record_route_values(RecordRoute(), inbound, outbound, secure=True)
                for seen in (values, values[::-1]):
                    routed = loose_route("sip:b@h", seen, server.is_own)
                    assert (routed.routes, len(routed.own)) == ([], len(values))

    def test_only_one_when_double_is_off(self):
        assert record_route_values(RecordRoute(double=False), self.UDP, self.TCP) == [
            "<sip:10.0.0.1:5060;transport=tcp;lr>"
        ]

    def test_a_user(self):
        assert record_route_values(RecordRoute(user="bob"), self.UDP, self.UDP) == ["<sip:bob@10.0.0.1:5060;lr>"]

    def test_sips_as_far_as_the_sockets_go(self):
        """RFC 3261 16.6 step 4: a SIPS request needs a SIPS way back."""
        assert record_route_values(RecordRoute(), self.UDP, self.TLS, secure=True) == [
            "<sips:10.0.0.1:5061;r2=on;lr>",
            "<sip:10.0.0.1:5060;r2=on;lr>",
        ]

    def test_sips_only_where_it_is_asked_for(self):
        assert record_route_values(RecordRoute(user="bob"), self.TLS, self.UDP) == [
            "<sip:bob@10.0.0.1:5060;r2=on;lr>",
            "<sip:bob@10.0.0.1:5061;transport=tls;r2=on;lr>",
        ]
        assert record_route_values(RecordRoute(), self.TLS, self.TCP, secure=True) == [
            "<sip:10.0.0.1:5060;transport=tcp;r2=on;lr>",
            "<sips:10.0.0.1:5061;r2=on;lr>",
        ]

    def test_preset(self):
        one = RecordRoute(";ftag=a", preset="edge.example.com:5090", user="bob")
        two = RecordRoute("", preset="out.example.com;transport=tcp", preset_inbound="in.example.com:5090")
        assert record_route_values(one, self.UDP, self.TCP) == ["<sip:bob@edge.example.com:5090;lr;ftag=a>"]
        assert record_route_values(two, self.UDP, self.UDP) == [
            "<sip:out.example.com;transport=tcp;r2=on;lr>",
            "<sip:in.example.com:5090;r2=on;lr>",
        ]


@pytest.mark.parametrize(
    ("uri", "protocol"),
    [
        ("sip:h", None),
        ("sip:h;transport=TCP", "tcp"),
        ("sip:h;transport", None),
        ("sips:h", "tls"),
        ("sips:h;transport=tcp", "tls"),
        ("sips:h;transport=ws", "wss"),
        ("sips:h;transport=sctp", "sctp"),
    ],
)
def test_the_protocol_that_a_uri_asks_for(uri, protocol):
    assert protocol_of(parse_uri(uri)) == protocol


@pytest.mark.parametrize("text", ["", ";nat=yes", ";a;b=c;d=", ";did=a1.b2==", ";x=%41[::1]:5060"])
def test_parameters_of_a_uri(text):
    assert are_params(text)


@pytest.mark.parametrize(
    "text",
    ["nat=yes", ";", ";;a", ";a b", ";a>", ';a="b"', ";a,b", ";a?b", ";a@b", ";a\r\nX: y", ";=x", ";a=\xe9", "a;"],
)
def test_no_parameters_of_a_uri(text):
    assert not are_params(text)


@pytest.mark.parametrize(
    ("text", "fit"),
    [
        ("192.0.2.1", True),
        ("[::1]:5060", True),
        ("h.example.com:5060;transport=tcp", True),
        ("", False),
        ("a@h", False),
        ("h : 5060", False),
        ("h:99999", False),
        ("h;x>", False),
        ("h, b", False),
    ],
)
def test_presets(text, fit):
    assert is_preset(text) is fit


def test_a_user_part_is_escaped():
    assert user_part('b"o<b>@x y%41\xe9') == "b%22o%3Cb%3E%40x%20y%41%E9"
