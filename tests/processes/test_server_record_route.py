"""A server that stays in the path of dialogs: the user agents on both sides see what RFC 3261 promises them."""

from __future__ import annotations

import itertools
import re
import select
import socket
import time
from collections import deque
from collections.abc import Iterator

import pytest

from tests.harness import LIMIT_S, free_port

pytestmark = pytest.mark.processes

HEAD = """
loadmodule "rr.so"
loadmodule "maxfwd.so"
loadmodule "path.so"
modparam("path", "use_received", 1)
"""
ROUTES = """
route {
    if (!mf_process_maxfwd_header(10)) {
        sl_send_reply(483, "Too Many Hops");
        exit;
    }
    if (has_totag()) {
        if (!loose_route()) {
            if (!is_method("ACK")) sl_send_reply(404, "Not Here");
            exit;
        }
        if (is_direction("upstream")) append_hf("X-Direction: upstream\\r\\n");
        else append_hf("X-Direction: downstream\\r\\n");
        append_hf("X-Params: $rr_params\\r\\n");
        if (check_route_param("mark=two words")) append_hf("X-Wrong: yes\\r\\n");
        t_relay();
        exit;
    }
    if (is_method("REGISTER")) {
        add_path_received("edge");
        t_relay();
        exit;
    }
    loose_route();
    record_route(";mark=m1");
    t_relay();
}
"""


Source = tuple[str, int] | socket.socket
"""Where a message came from: an address, or the connection that it came over."""


class Message:
    """A message as text, read with no more than the tests need."""

    def __init__(self, data: bytes, source: Source) -> None:
        self.text = data.decode("latin-1")
        self.source = source
        self.start, _, rest = self.text.partition("\r\n")
        self.lines = rest.partition("\r\n\r\n")[0].split("\r\n")

    def all(self, name: str) -> list[str]:
        lines = [line.partition(":")[2].strip() for line in self.lines if line.lower().startswith(f"{name.lower()}:")]
        return [value.strip() for line in lines for value in re.split(r",(?=\s*<)", line)]

    def get(self, name: str) -> str:
        return self.all(name)[0]


class Agent:
    """A user agent on a socket of its own: it does what a test says, and keeps nothing but its dialog."""

    _serial = itertools.count(1)
    transport, kind = "UDP", socket.SOCK_DGRAM

    def __init__(self, name: str, proxy: tuple[str, int]) -> None:
        self.name, self.proxy = name, proxy
        self.socket = socket.socket(socket.AF_INET6 if ":" in proxy[0] else socket.AF_INET, self.kind)
        self.socket.bind((proxy[0], 0))
        host, self.port = self.socket.getsockname()[:2]
        self.place = f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"
        self.uri = f"sip:{name}@{self.place}"
        self.pending: deque[Message] = deque()

    def send(self, data: bytes, to: Source | None = None) -> None:
        """Send to an address, or to the proxy."""
        self.socket.sendto(data, to or self.proxy)

    def receive(self, limit_s: float) -> Iterator[Message]:
        """What arrives within a time."""
        if select.select([self.socket], [], [], limit_s)[0]:
            data, source = self.socket.recvfrom(65535)
            yield Message(data, source[:2])

    def close(self) -> None:
        self.socket.close()

    def request(
        self,
        method: str,
        ruri: str,
        call: str,
        *,
        to: str,
        tag: str,
        cseq: int = 1,
        routes: tuple[str, ...] = (),
        hops: str | None = "70",
    ) -> None:
        """Send a request to the proxy."""
        lines = [
            f"{method} {ruri} SIP/2.0",
            f"Via: SIP/2.0/{self.transport} {self.place};branch=z9hG4bK{call}{next(self._serial)}",
            *([] if hops is None else [f"Max-Forwards: {hops}"]),
            *[f"Route: {value}" for value in routes],
            f"From: <{self.uri}>;tag={tag}",
            f"To: {to}",
            f"Call-ID: {call}",
            f"CSeq: {cseq} {method}",
            f"Contact: <{self.uri}>",
            "Content-Length: 0",
        ]
        self.send("\r\n".join([*lines, "", ""]).encode("latin-1"))

    def answer(self, request: Message, status: int, tag: str) -> None:
        """Answer a request along its Via."""
        kept = [line for line in request.lines if re.match(r"(Via|Record-Route|From|Call-ID|CSeq):", line)]
        to = request.get("To") + ("" if ";tag=" in request.get("To") else f";tag={tag}")
        lines = "\r\n".join([*kept, f"To: {to}", f"Contact: <{self.uri}>", "Content-Length: 0", "", ""])
        self.send(f"SIP/2.0 {status} Fine\r\n{lines}".encode("latin-1"), request.source)

    def expect(self, start: str) -> Message:
        """The next message whose first line starts so; others (100, copies) are passed over."""
        ends = time.monotonic() + LIMIT_S
        while (left := ends - time.monotonic()) > 0:
            self.pending.extend([] if self.pending else self.receive(left))
            message = self.pending.popleft() if self.pending else None
            if message is not None and message.start.startswith(start):
                return message
        pytest.fail(f"{self.name} has not got {start!r} within {LIMIT_S} s")


class StreamAgent(Agent):
    """A user agent that speaks TCP: it takes connections, and opens one to the proxy for its requests."""

    transport, kind = "TCP", socket.SOCK_STREAM

    def __init__(self, name: str, proxy: tuple[str, int]) -> None:
        super().__init__(name, proxy)
        self.socket.listen()
        self.uri += ";transport=tcp"
        self.connections: dict[socket.socket, bytes] = {}

    def send(self, data: bytes, to: Source | None = None) -> None:
        if not isinstance(to, socket.socket):
            to = socket.create_connection(self.proxy, LIMIT_S)
            self.connections[to] = b""
        to.sendall(data)

    def receive(self, limit_s: float) -> Iterator[Message]:
        for one in select.select([self.socket, *self.connections], [], [], limit_s)[0]:
            if one is self.socket:
                self.connections[self.socket.accept()[0]] = b""
                continue
            data = one.recv(65535)
            if not data:
                one.close()
                del self.connections[one]
                continue
            # No message here has a body.
            *whole, self.connections[one] = (self.connections[one] + data).split(b"\r\n\r\n")
            yield from [Message(head + b"\r\n\r\n", one) for head in whole]

    def close(self) -> None:
        super().close()
        for one in self.connections:
            one.close()


@pytest.fixture
def agents():
    """Make user agents; their sockets are closed at the end."""
    made = []

    def make(name, proxy, kind=Agent):
        made.append(kind(name, proxy))
        return made[-1]

    yield make
    for agent in made:
        agent.close()


def set_up(caller: Agent, callee: Agent, call: str) -> tuple[Message, Message]:
    """INVITE, 200, ACK; gives the INVITE as the callee got it and the 200 as the caller got it."""
    caller.request("INVITE", callee.uri, call, to=f"<{callee.uri}>", tag="from-1")
    invite = callee.expect("INVITE")
    callee.answer(invite, 200, "to-1")
    accepted = caller.expect("SIP/2.0 200")
    assert accepted.all("Record-Route") == invite.all("Record-Route")
    routes = tuple(reversed(accepted.all("Record-Route")))
    caller.request("ACK", callee.uri, call, to=accepted.get("To"), tag="from-1", routes=routes)
    ack = callee.expect("ACK")
    assert (ack.start, ack.all("Route"), ack.get("X-Direction")) == (f"ACK {callee.uri} SIP/2.0", [], "downstream")
    return invite, accepted


def bye(sender: Agent, receiver: Agent, call: str, routes: list[str], to: str, tag: str) -> Message:
    """BYE along a route set and its 200; the BYE as it arrived."""
    sender.request("BYE", receiver.uri, call, to=to, tag=tag, cseq=2, routes=tuple(routes))
    arrived = receiver.expect("BYE")
    receiver.answer(arrived, 200, "none")
    sender.expect("SIP/2.0 200")
    assert (arrived.start, arrived.all("Route")) == (f"BYE {receiver.uri} SIP/2.0", [])
    assert arrived.get("Max-Forwards") == "69"
    return arrived


def test_a_dialog_over_one_socket(start_server, agents):
    server = start_server(ROUTES, head=HEAD)
    proxy = ("127.0.0.1", server.sip_port)
    caller, callee = agents("alice", proxy), agents("bob", proxy)

    invite, accepted = set_up(caller, callee, "call-1")
    assert invite.all("Record-Route") == [f"<sip:127.0.0.1:{server.sip_port};lr;ftag=from-1;mark=m1>"]
    down = bye(caller, callee, "call-1", accepted.all("Record-Route")[::-1], accepted.get("To"), "from-1")
    assert (down.get("X-Direction"), down.get("X-Params")) == ("downstream", "lr;ftag=from-1;mark=m1")
    assert down.all("X-Wrong") == []

    invite, _ = set_up(caller, callee, "call-2")
    up = bye(callee, caller, "call-2", invite.all("Record-Route"), invite.get("From"), "to-1")
    assert (up.get("X-Direction"), up.get("X-Params")) == ("upstream", "lr;ftag=from-1;mark=m1")


def test_a_dialog_between_ipv4_and_ipv6(start_server, agents):
    port6 = free_port()
    server = start_server(ROUTES, head=HEAD, options=("-l", f"udp:[::1]:{port6}"))
    caller, callee = agents("alice", ("127.0.0.1", server.sip_port)), agents("bob", ("::1", port6))

    invite, accepted = set_up(caller, callee, "call-1")
    params = "r2=on;lr;ftag=from-1;mark=m1>"
    assert invite.all("Record-Route") == [f"<sip:[::1]:{port6};{params}", f"<sip:127.0.0.1:{server.sip_port};{params}"]
    assert invite.source == ("::1", port6)
    down = bye(caller, callee, "call-1", accepted.all("Record-Route")[::-1], accepted.get("To"), "from-1")
    assert (down.source, down.get("X-Direction")) == (("::1", port6), "downstream")

    invite, _ = set_up(caller, callee, "call-2")
    up = bye(callee, caller, "call-2", invite.all("Record-Route"), invite.get("From"), "to-1")
    assert (up.source, up.get("X-Direction")) == (("127.0.0.1", server.sip_port), "upstream")


@pytest.mark.parametrize(("caller_kind", "callee_kind"), [(Agent, StreamAgent), (StreamAgent, Agent)])
def test_a_dialog_between_udp_and_tcp(start_server, agents, caller_kind, callee_kind):
    tcp_port = free_port(socket.SOCK_STREAM)
    server = start_server(ROUTES, head=HEAD, options=("-l", f"tcp:127.0.0.1:{tcp_port}"))
    ports = {Agent: server.sip_port, StreamAgent: tcp_port}
    caller = agents("alice", ("127.0.0.1", ports[caller_kind]), caller_kind)
    callee = agents("bob", ("127.0.0.1", ports[callee_kind]), callee_kind)

    invite, accepted = set_up(caller, callee, "call-1")
    params = "r2=on;lr;ftag=from-1;mark=m1>"
    both = {
        Agent: f"<sip:127.0.0.1:{server.sip_port};{params}",
        StreamAgent: f"<sip:127.0.0.1:{tcp_port};transport=tcp;{params}",
    }
    assert invite.all("Record-Route") == [both[callee_kind], both[caller_kind]]
    down = bye(caller, callee, "call-1", accepted.all("Record-Route")[::-1], accepted.get("To"), "from-1")
    assert down.get("X-Direction") == "downstream"

    invite, _ = set_up(caller, callee, "call-2")
    up = bye(callee, caller, "call-2", invite.all("Record-Route"), invite.get("From"), "to-1")
    assert up.get("X-Direction") == "upstream"


@pytest.mark.parametrize("address", ["udp:0.0.0.0:{port}", "udp:127.0.0.1:{port} as sip.example.org:5099"])
def test_a_dialog_over_a_socket_that_is_known_under_another_address(start_server, agents, address):
    port = free_port()
    server = start_server(ROUTES, head=HEAD, options=("-l", address.format(port=port)))
    assert server.sip_port != port
    caller, callee = agents("alice", ("127.0.0.1", port)), agents("bob", ("127.0.0.1", port))
    invite, accepted = set_up(caller, callee, "call-1")
    (value,) = invite.all("Record-Route")
    host, _, seen_port = value.removeprefix("<sip:").partition(";")[0].rpartition(":")
    assert f"Via: SIP/2.0/UDP {host}:{seen_port};" in invite.text
    assert (host, seen_port) == (("sip.example.org", "5099") if " as " in address else ("127.0.0.1", str(port)))
    bye(caller, callee, "call-1", accepted.all("Record-Route")[::-1], accepted.get("To"), "from-1")


def test_strict_routers_on_both_sides(start_server, agents):
    """The caller's side sends as a strict router does; the callee's is one (RFC 3261 16.12.1.2)."""
    server = start_server(ROUTES, head=HEAD)
    proxy = ("127.0.0.1", server.sip_port)
    before, behind = agents("before", proxy), agents("behind", proxy)
    own = f"sip:127.0.0.1:{server.sip_port};lr;ftag=from-1"
    target = "sip:bob@192.0.2.77"
    before.request(
        "BYE", own, "call-1", to="<sip:bob@h>;tag=t", tag="from-1", routes=(f"<sip:{behind.place}>", f"<{target}>")
    )
    arrived = behind.expect("BYE")
    assert (arrived.start, arrived.all("Route")) == (f"BYE sip:{behind.place} SIP/2.0", [f"<{target}>"])
    assert arrived.get("X-Direction") == "downstream"


def test_a_preloaded_route_leads_an_initial_request(start_server, agents):
    server = start_server(ROUTES, head=HEAD)
    proxy = ("127.0.0.1", server.sip_port)
    caller, following = agents("alice", proxy), agents("p2", proxy)
    routes = (f"<sip:127.0.0.1:{server.sip_port};lr>", f"<sip:{following.place};lr>")
    caller.request("INVITE", "sip:bob@192.0.2.77", "call-1", to="<sip:bob@192.0.2.77>", tag="f", routes=routes)
    arrived = following.expect("INVITE")
    assert (arrived.start, arrived.all("Route")) == ("INVITE sip:bob@192.0.2.77 SIP/2.0", [routes[1]])
    following.answer(arrived, 480, "t")
    caller.expect("SIP/2.0 480")


def test_max_forwards(start_server, agents):
    server = start_server(ROUTES, head=HEAD)
    proxy = ("127.0.0.1", server.sip_port)
    caller, callee = agents("alice", proxy), agents("bob", proxy)
    caller.request("OPTIONS", callee.uri, "call-1", to=f"<{callee.uri}>", tag="f", hops="0")
    assert caller.expect("SIP/2.0 483").get("Call-ID") == "call-1"
    caller.request("OPTIONS", callee.uri, "call-2", to=f"<{callee.uri}>", tag="f", hops=None)
    assert callee.expect("OPTIONS").all("Max-Forwards") == ["10"]


def test_a_registrar_reaches_a_phone_along_its_path(start_server, agents):
    """RFC 3327: the phone's Contact is an address that nobody can reach, the Path tells where it was heard from."""
    server = start_server(ROUTES, head=HEAD)
    proxy = ("127.0.0.1", server.sip_port)
    phone, registrar = agents("alice", proxy), agents("registrar", proxy)
    phone.request("REGISTER", f"sip:{registrar.place}", "call-1", to="<sip:alice@example.com>", tag="f")
    register = registrar.expect("REGISTER")
    path = register.get("Path")
    assert path == f"<sip:edge@127.0.0.1:{server.sip_port};lr;received=sip:{phone.place}>"
    registrar.answer(register, 200, "t")
    phone.expect("SIP/2.0 200")
    unreachable = "sip:alice@10.255.255.1:5060"
    registrar.request("INVITE", unreachable, "call-2", to="<sip:alice@example.com>", tag="g", routes=(path,))
    invite = phone.expect("INVITE")
    assert (invite.start, invite.all("Route")) == (f"INVITE {unreachable} SIP/2.0", [])
    phone.answer(invite, 486, "t")
    registrar.expect("SIP/2.0 486")
