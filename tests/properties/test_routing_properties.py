"""What holds of every dialog's path, whatever routers it leads through, and of every Route, however hostile."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import event, given
from hypothesis import strategies as st

from runtime.context import RecordRoute
from runtime.listen import Listen
from runtime.sip.own import OwnAddresses
from runtime.sip.routing import (
    NotRouted,
    Routed,
    are_params,
    from_tag_param,
    is_upstream,
    loose_route,
    params_text,
    record_route_values,
)
from runtime.sip.uri import parse_uri

CALLER, CALLEE = "sip:caller@u1.example.com", "sip:callee@u2.example.com:5070;transport=udp"


@dataclass(frozen=True)
class Router:
    """A proxy in the path: loose (with one socket or two), or strict, as RFC 2543 had them."""

    name: str
    kind: str

    @property
    def sockets(self) -> tuple[Listen, Listen]:
        """Where requests of the caller come in, and where they go out."""
        left, right = (Listen("udp", host, 5060) for host in (f"l.{self.name}", f"r.{self.name}"))
        return (left, right) if self.kind == "pair" else (left, left)

    def record_routes(self) -> list[str]:
        left, right = self.sockets
        if self.kind == "strict":
            return [f"<sip:{left.sent_by}>"]
        return record_route_values(RecordRoute(f"{from_tag_param('ct')};x={self.name}"), left, right)

    def forward(self, ruri: str, routes: list[str]) -> tuple[str, str, list[str]]:
        """The next hop's URI, the Request-URI and the Route values that are sent there."""
        if self.kind == "strict":
            following, *rest = routes
            return following.strip("<>"), following.strip("<>"), rest
        routed = loose_route(ruri, routes, OwnAddresses(self.sockets).is_own)
        assert isinstance(routed, Routed)
        assert f"x={self.name}" in params_text(routed.own[0])
        return routed.dst_uri or routed.ruri, routed.ruri, routed.routes


def send(target: str, route_set: list[str], routers: set[Router]) -> tuple[list[Router], str, list[str]]:
    """Send a request within a dialog (RFC 3261 12.2.1.1): which routers it came by, and what arrived."""
    ruri, routes = target, route_set
    if ";lr" not in route_set[0]:
        ruri, routes = route_set[0].strip("<>"), [*route_set[1:], f"<{target}>"]
    next_hop = ruri if routes != route_set else route_set[0].strip("<>")
    places = {socket.host: router for router in routers for socket in router.sockets}
    passed: list[Router] = []
    while (uri := parse_uri(next_hop)) is not None and uri.host in places and len(passed) < 20:
        passed.append(places[uri.host])
        next_hop, ruri, routes = passed[-1].forward(ruri, routes)
    assert next_hop == target
    return passed, ruri, routes


ROUTERS = st.lists(
    st.builds(Router, st.sampled_from(["p1", "p2", "p3", "p4"]), st.sampled_from(["loose", "pair", "strict"])),
    min_size=1,
    max_size=4,
)


@given(ROUTERS)
def test_both_ends_of_a_dialog_reach_each_other_along_its_path(chain: list[Router]) -> None:
    """A router that stands in the chain twice is one that the request came by twice (a spiral)."""
    kinds: dict[str, Router] = {}
    path = [kinds.setdefault(router.name, router) for router in chain]
    event(" ".join(router.kind for router in path))
    record_routes: list[str] = []
    for router in path:
        record_routes = router.record_routes() + record_routes
    routers = set(path)
    assert send(CALLER, record_routes, routers) == (path[::-1], CALLER, [])
    assert send(CALLEE, record_routes[::-1], routers) == (path, CALLEE, [])


WORDS = ["sip:", "sips:", "tel:", "p1", "p2", "lr", "r2=on", "transport=tcp", "5060", "\r\n", "\xff"]
VALUES = st.lists(st.sampled_from([*'<>;,:@?="[] %\\', *WORDS]), max_size=14).map("".join)
OWN = ["<sip:p1;lr>", "<sip:p1;r2=on;lr>", "<sip:p2;lr>", "<sip:p2;r2=on;lr>", "sip:p1;lr"]
NAMED = st.sampled_from([*OWN, "<sip:p3>", "<sip:p3;lr>"])


@given(VALUES | NAMED.map(lambda value: value.strip("<>")), st.lists(VALUES | NAMED, max_size=6))
def test_hostile_routes(ruri: str, routes: list[str]) -> None:
    """Nothing raises, nothing of ours is left on top, nothing is sent that was not there."""
    before = list(routes)
    found = loose_route(ruri, routes, lambda host, port, protocol: host in ("p1", "p2"))
    assert routes == before
    if isinstance(found, NotRouted):
        return event(found.name)
    event(f"own {len(found.own)}, next hop {found.dst_uri is not None}")
    assert len(found.routes) <= len(routes)
    assert set(found.routes) <= {*routes, f"<{ruri}>", *(f"<{value.strip('<> ')}>" for value in routes)}
    return None


@given(st.lists(st.sampled_from(["<", ">", "sip:", "p1", "p2", ":5060", ";lr", ";r2=on", ";ftag=a", ";did=b.1", "="])))
def test_a_usual_route_value_says_what_it_would_if_it_were_unusual(pieces: list[str]) -> None:
    """White space before it changes nothing but how it is read."""
    value = "".join(pieces)
    for text in (value, f"<sip:{value}>", f"<sip:p1;lr{value}>"):
        usual, unusual = (loose_route(CALLEE, [read], lambda *place: place[0] == "p1") for read in (text, f" {text}"))
        if usual != unusual:
            assert isinstance(usual, Routed)
            assert isinstance(unusual, Routed)
            assert usual == unusual._replace(routes=[text]), "nobody's of ours: it stays as it was written"
        event(type(usual).__name__)


@given(st.text(st.characters(max_codepoint=255), max_size=40), st.text(st.characters(max_codepoint=255), max_size=40))
def test_the_direction_is_known_by_any_tag(tag: str, other: str) -> None:
    param = from_tag_param(tag)
    assert are_params(param)
    uri = parse_uri(f"sip:p1;lr{param}")
    assert uri is not None
    assert not is_upstream(params_text(str(uri)), tag)
    assert is_upstream(params_text(str(uri)), other) == bool(tag and other and tag != other)
