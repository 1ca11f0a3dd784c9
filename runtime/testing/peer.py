"""A SIP phone in a test's hands: a real UDP socket that sends and answers what the test says, and nothing by itself."""

from __future__ import annotations

import itertools
import os
import re
import select
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import pytest

from runtime.testing.waiting import LIMIT_S

_HOST: Final = "127.0.0.1"
_LONGEST_DATAGRAM: Final = 65_535
_POLL_S: Final = 0.02
AGAIN_S: Final = 0.5
"""T1 of RFC 3261, 17.1.1.1: after so long a request is sent again. A test's is sent that often until it is answered."""
_serials = itertools.count(1)


@dataclass
class Received:
    """A message that came in.

    Args:
        text: it, decoded as latin-1.
        source: where it came from.
        at: when, in monotonic seconds.
    """

    text: str
    source: tuple[str, int] = ("", 0)
    at: float = field(default_factory=time.monotonic)

    @property
    def start(self) -> str:
        """Its first line."""
        return self.text.partition("\r\n")[0]

    @property
    def is_reply(self) -> bool:
        """Whether it is a reply; else it is a request."""
        return self.start.startswith("SIP/2.0")

    @property
    def method(self) -> str:
        """Of a reply its CSeq's."""
        return self.header("CSeq").split()[1] if self.is_reply else self.start.split(" ")[0]

    @property
    def ruri(self) -> str:
        """The Request-URI of a request."""
        return self.start.split(" ")[1]

    @property
    def status(self) -> int:
        """The status of a reply; 0 of a request."""
        return int(self.start.split(" ")[1]) if self.is_reply else 0

    @property
    def reason(self) -> str:
        """The reason phrase of a reply."""
        return self.start.split(" ", 2)[2]

    @property
    def body(self) -> str:
        """What follows the headers."""
        return self.text.partition("\r\n\r\n")[2]

    def headers(self, name: str) -> list[str]:
        """The values of all header lines of that name, without regard to case; a short form is a name of its own."""
        head = self.text.partition("\r\n\r\n")[0]
        return re.findall(rf"(?im)^{re.escape(name)}[ \t]*:[ \t]*(.*?)\r?$", head)

    def header(self, name: str) -> str:
        """The first of them; empty where there is none."""
        found = self.headers(name)
        return found[0] if found else ""

    @property
    def call_id(self) -> str:
        """Its Call-ID."""
        return self.header("Call-ID")

    @property
    def branch(self) -> str:
        """The branch of its first Via."""
        found = re.search(r"branch=([^;,\s]+)", self.header("Via"))
        return found.group(1) if found else ""


def serial() -> str:
    """A text that no other request of any test process has."""
    return f"{os.getpid()}-{next(_serials)}"


class Peer:
    """One end of calls.

    Args:
        server_port: where its requests go, a UDP port of 127.0.0.1.
        port: its own; 0 for a free one.

    Attributes:
        received: what came in and was not waited for yet, in order.
    """

    def __init__(self, server_port: int, port: int = 0) -> None:
        self.server = (_HOST, server_port)
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((_HOST, port))
        self.port = int(self.socket.getsockname()[1])
        self.received: list[Received] = []

    @property
    def uri(self) -> str:
        """Where it is reached, as its Contact says."""
        return f"sip:peer@{_HOST}:{self.port}"

    def close(self) -> None:
        """Close its socket."""
        self.socket.close()

    def request(
        self,
        method: str,
        ruri: str,
        *,
        call_id: str = "",
        branch: str = "",
        cseq: int = 1,
        from_: str = "",
        to: str = "",
        to_tag: str = "",
        extra: str = "",
        body: str = "",
    ) -> str:
        """Build a request. What is not said is made up.

        Args:
            method, ruri: its first line.
            call_id, branch, cseq: what tells it apart from others.
            from_, to: those header fields, whole.
            to_tag: the tag of a To that is the Request-URI.
            extra: more header lines, each with its line end; Route goes here.
            body: of ASCII characters.
        """
        unique = serial()
        call_id = call_id or f"peer-{unique}"
        from_ = from_ or f"<sip:tester@{_HOST}>;tag=f{call_id}"
        to = to or f"<{ruri}>" + (f";tag={to_tag}" if to_tag else "")
        return (
            f"{method} {ruri} SIP/2.0\r\n"
            f"Via: SIP/2.0/UDP {_HOST}:{self.port};branch={branch or 'z9hG4bK' + unique}\r\n"
            f"Max-Forwards: 70\r\nFrom: {from_}\r\nTo: {to}\r\nCall-ID: {call_id}\r\nCSeq: {cseq} {method}\r\n"
            f"Contact: <{self.uri}>\r\n{extra}Content-Length: {len(body)}\r\n\r\n{body}"
        )

    def send(self, text: str, to: tuple[str, int] | None = None) -> None:
        """Send a message, to the server unless another address is given."""
        self.socket.sendto(text.encode("latin-1"), to or self.server)

    def ask(self, method: str, user: str, limit_s: float = LIMIT_S, **more: str) -> Received:
        """Send a request to `user` at the server and wait for its final reply; it is sent again as a UAC does.

        Args:
            method: any but INVITE, whose reply wants an ACK.
            user: the user part of the Request-URI.
            limit_s: for how many seconds at most.
            more: as `request` takes it.
        """
        text = self.request(method, f"sip:{user}@{_HOST}:{self.server[1]}", **more)  # type: ignore[arg-type]
        self.send(text)
        return self.wait_final(Received(text).call_id, method, limit_s, resend=text)

    def collect(self, for_s: float = 0.0) -> None:
        """Take in what has arrived, waiting up to `for_s` seconds for the first of it."""
        while select.select([self.socket], [], [], for_s)[0]:
            for_s = 0.0
            try:
                data, source = self.socket.recvfrom(_LONGEST_DATAGRAM)
            except ConnectionRefusedError:
                continue  # an answer of the kernel to something sent to a dead server
            self.received.append(Received(data.decode("latin-1"), source))

    def take(self, wanted: Callable[[Received], bool]) -> Received | None:
        """The first message that is wanted of those that have arrived; None where none has."""
        self.collect()
        for at, message in enumerate(self.received):
            if wanted(message):
                del self.received[at]
                return message
        return None

    def wait(
        self, wanted: Callable[[Received], bool], limit_s: float = LIMIT_S, what: str = "", resend: str = ""
    ) -> Received:
        """The first message that is wanted; those before it are left. Without one the test fails.

        Args:
            wanted: tells it.
            limit_s: for how many seconds at most.
            what: says in the failure what did not come.
            resend: what is sent to the server again and again until it comes.
        """
        now = time.monotonic()
        ends, again = now + limit_s, now + AGAIN_S
        while True:
            if (found := self.take(wanted)) is not None:
                return found
            now = time.monotonic()
            if now > ends:
                starts = [message.start for message in self.received]
                pytest.fail(f"no {what or 'such message'} within {limit_s} s; there are {starts}")
            if resend and now > again:
                again += AGAIN_S
                self.send(resend)
            select.select([self.socket], [], [], _POLL_S)

    def wait_request(self, method: str, limit_s: float = LIMIT_S, call_id: str = "", resend: str = "") -> Received:
        """A request of that method, of that call where one is named."""
        return self.wait(
            lambda m: not m.is_reply and m.method == method and call_id in ("", m.call_id), limit_s, method, resend
        )

    def wait_reply(self, call_id: str, status: int, method: str = "", limit_s: float = LIMIT_S) -> Received:
        """A reply with that status, to that method where one is named."""
        return self.wait(
            lambda m: m.is_reply and m.call_id == call_id and m.status == status and method in ("", m.method),
            limit_s,
            f"{status} {method}",
        )

    def wait_final(self, call_id: str, method: str = "", limit_s: float = LIMIT_S, resend: str = "") -> Received:
        """A reply of 200 or more, to that method where one is named."""
        return self.wait(
            lambda m: m.is_reply and m.call_id == call_id and m.status >= 200 and method in ("", m.method),
            limit_s,
            f"final reply {method}",
            resend,
        )

    def nothing(self, wanted: Callable[[Received], bool], for_s: float = 0.3) -> None:
        """Nothing of that kind comes for a while (it would have come at once)."""
        ends = time.monotonic() + for_s
        while time.monotonic() < ends:
            self.collect(_POLL_S)
            found = [message.start for message in self.received if wanted(message)]
            assert not found, found

    def reply(
        self, request: Received, status: int, reason: str = "x", *, tag: str = "", extra: str = "", body: str = ""
    ) -> str:
        """Answer a request to where it came from; what was sent."""
        to = request.header("To")
        if status > 100 and ";tag=" not in to:
            to += f";tag={tag or 'peer' + str(self.port)}"
        vias = "".join(f"Via: {via}\r\n" for via in request.headers("Via"))
        routes = "".join(f"Record-Route: {route}\r\n" for route in request.headers("Record-Route"))
        contact = f"Contact: <{self.uri}>\r\n" if 180 <= status < 300 else ""
        text = (
            f"SIP/2.0 {status} {reason}\r\n{vias}{routes}From: {request.header('From')}\r\nTo: {to}\r\n"
            f"Call-ID: {request.call_id}\r\nCSeq: {request.header('CSeq')}\r\n{contact}{extra}"
            f"Content-Length: {len(body)}\r\n\r\n{body}"
        )
        self.send(text, request.source)
        return text

    def ack(self, invite: str, final: Received) -> None:
        """The ACK of a reply other than 2xx, with the INVITE's branch (RFC 3261, 17.1.1.3)."""
        start, _, rest = invite.partition("\r\n")
        lines = [line for line in rest.split("\r\n") if line[:4].lower() in ("via:", "from", "call", "max-", "rout")]
        cseq = final.header("CSeq").split()[0]
        text = "\r\n".join(
            [start.replace("INVITE", "ACK", 1), *lines, f"To: {final.header('To')}", f"CSeq: {cseq} ACK"]
        )
        self.send(text + "\r\nContent-Length: 0\r\n\r\n")

    def cancel(self, invite: str) -> None:
        """The CANCEL of an INVITE, with its branch (RFC 3261, 9.1)."""
        start, _, rest = invite.partition("\r\n")
        lines = [line for line in rest.split("\r\n") if line[:3].lower() in ("via", "fro", "to:", "cal", "max", "rou")]
        cseq = re.search(r"CSeq: (\d+)", invite)
        assert cseq is not None
        text = "\r\n".join([start.replace("INVITE", "CANCEL", 1), *lines, f"CSeq: {cseq.group(1)} CANCEL"])
        self.send(text + "\r\nContent-Length: 0\r\n\r\n")
