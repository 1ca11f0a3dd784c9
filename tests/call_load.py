"""Calls at a steady rate through a server, both ends of them: each end sends again as RFC 3261 says, and keeps a diary.

A call is INVITE, 180, 200, ACK, BYE, 200. Both ends live in one asyncio loop, in which the test may kill and stop
processes meanwhile; afterwards it reads from the diary what became of each call.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.sip_peer import Received

T1_S, T2_S = 0.5, 4.0
RING_S = 0.3
TALK_S = 0.15
Address = tuple[str, int]


@dataclass
class Call:
    """What both ends have seen of one call. Times are monotonic seconds, 0 for what has not happened.

    Attributes:
        user: the user that is called; the script and the callee do by it.
        begun, ringing, answered, over: at the caller: first INVITE, first provisional reply, final reply, 200 to BYE.
        finals: at the caller, by method: the status of each final reply, copies included.
        owners: at the callee: the process that relayed each copy of its INVITE, by its `X-Owner`.
        bye_owners: the same of its BYE.
        branches: at the callee, by Request-URI: the Via branches of its INVITEs.
        acked: whether the ACK of the 2xx came to the callee.
    """

    call_id: str
    user: str
    begun: float = 0.0
    ringing: float = 0.0
    answered: float = 0.0
    over: float = 0.0
    finals: dict[str, list[int]] = field(default_factory=dict)
    owners: list[str] = field(default_factory=list)
    bye_owners: list[str] = field(default_factory=list)
    branches: dict[str, set[str]] = field(default_factory=dict)
    acked: bool = False

    @property
    def completed(self) -> bool:
        return bool(self.over) and self.acked and set(self.finals["INVITE"]) == set(self.finals["BYE"]) == {200}

    @property
    def contradicted(self) -> bool:
        """Whether one request got two different final answers."""
        return any(len(set(statuses)) > 1 for statuses in self.finals.values())

    def passed_through(self, pid: int) -> bool:
        return str(pid) in self.owners + self.bye_owners

    def was_waiting(self, at: float) -> bool:
        """Whether the caller had been told to wait, and nothing final: it did not send its INVITE again."""
        return bool(self.ringing) and self.ringing <= at and not 0 < self.answered <= at


class _Again:
    """Sends something again until it is stopped: after T1, then twice as long each time."""

    def __init__(self, loop: asyncio.AbstractEventLoop, send: Callable[[], None], longest_s: float) -> None:
        self._loop, self.send, self._longest_s = loop, send, longest_s
        self._wait_s = T1_S
        send()
        self._handle = loop.call_later(T1_S, self._fire)

    def _fire(self) -> None:
        self.send()
        self._wait_s = min(2 * self._wait_s, self._longest_s)
        self._handle = self._loop.call_later(self._wait_s, self._fire)

    def stop(self) -> None:
        self._handle.cancel()


class End(asyncio.DatagramProtocol):
    """One end: a UDP socket of the loop."""

    def __init__(self, load: Load) -> None:
        self.load = load
        self.loop = asyncio.get_running_loop()
        self.again: dict[object, _Again] = {}

    async def open(self) -> None:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind(("127.0.0.1", 0))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 21)
        self.port = int(sock.getsockname()[1])
        self.transport, _ = await self.loop.create_datagram_endpoint(lambda: self, sock=sock)

    def close(self) -> None:
        for one in self.again.values():
            one.stop()
        self.transport.close()

    def error_received(self, exc: Exception) -> None:
        pass  # the server is down for a moment

    def datagram_received(self, data: bytes, addr: Address) -> None:
        message = Received(data.decode("latin-1"), addr)
        call = self.load.calls.get(message.call_id)
        if call is not None:
            self.received(call, message)

    def received(self, call: Call, message: Received) -> None:
        raise NotImplementedError

    def repeat(self, key: object, text: str, to: Address, longest_s: float = T2_S) -> None:
        self.stop(key)
        data = text.encode("latin-1")
        self.again[key] = _Again(self.loop, lambda: self.transport.sendto(data, to), longest_s)

    def stop(self, key: object) -> None:
        one = self.again.pop(key, None)
        if one is not None:
            one.stop()

    def send(self, text: str, to: Address) -> None:
        self.transport.sendto(text.encode("latin-1"), to)


class Caller(End):
    """Places the calls and ends them."""

    def request(self, call: Call, method: str, ruri: str, branch: str, to_tag: str = "", extra: str = "") -> str:
        cseq = 2 if method == "BYE" else 1
        return (
            f"{method} {ruri} SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:{self.port};branch=z9hG4bK{branch}\r\n"
            f"Max-Forwards: 70\r\nFrom: <sip:caller@127.0.0.1>;tag=f{call.call_id}\r\n"
            f"To: <sip:{call.user}@127.0.0.1>{to_tag}\r\nCall-ID: {call.call_id}\r\nCSeq: {cseq} {method}\r\n"
            f"Contact: <sip:caller@127.0.0.1:{self.port}>\r\n{extra}"
            f"X-Callee: {self.load.callee.port}\r\nContent-Length: 0\r\n\r\n"
        )

    def invite(self, call: Call) -> None:
        call.begun = time.monotonic()
        text = self.request(call, "INVITE", f"sip:{call.user}@127.0.0.1:{self.load.server[1]}", f"{call.call_id}i")
        self.repeat((call.call_id, "INVITE"), text, self.load.server)

    def copy(self, call: Call) -> None:
        """Send its INVITE once more, now, where it is still being sent."""
        again = self.again.get((call.call_id, "INVITE"))
        if again is not None:
            again.send()

    def received(self, call: Call, message: Received) -> None:
        if not message.is_reply:
            return
        method, status = message.method, message.status
        if status < 200:
            call.ringing = call.ringing or time.monotonic()
            if not self.load.stubborn:
                self.stop((call.call_id, "INVITE"))
            return
        self.stop((call.call_id, method))
        call.finals.setdefault(method, []).append(status)
        if method == "BYE":
            call.over = call.over or time.monotonic()
        elif status < 300:
            self._answered(call, message)
        else:
            self._refused(call, message)

    def _answered(self, call: Call, message: Received) -> None:
        def within(method: str, branch: str) -> str:
            routes = "".join(f"Route: {one}\r\n" for one in reversed(message.headers("Record-Route")))
            contact = message.header("Contact").strip("<>")
            to_tag = ";tag=" + message.header("To").partition("tag=")[2]
            return self.request(call, method, contact, f"{call.call_id}{branch}", to_tag, routes)

        self.send(within("ACK", "a"), self.load.server)
        if not call.answered:
            call.answered = time.monotonic()
            key = (call.call_id, "BYE")
            self.loop.call_later(TALK_S, lambda: self.repeat(key, within("BYE", "b"), self.load.server))

    def _refused(self, call: Call, message: Received) -> None:
        call.answered = call.answered or time.monotonic()
        ruri = f"sip:{call.user}@127.0.0.1:{self.load.server[1]}"
        to_tag = ";tag=" + message.header("To").partition("tag=")[2]
        self.send(self.request(call, "ACK", ruri, f"{call.call_id}i", to_tag), self.load.server)


class Callee(End):
    """Answers: 180 and then 200, or 486 to who calls `busy`."""

    def __init__(self, load: Load) -> None:
        super().__init__(load)
        self.replies: dict[str, str] = {}
        """The last reply by the Via branch and method."""

    def received(self, call: Call, message: Received) -> None:
        if message.is_reply:
            return
        if message.method == "ACK":
            self._acknowledged(call, message)
            return
        key = f"{message.branch} {message.method}"
        (call.owners if message.method == "INVITE" else call.bye_owners).append(message.header("X-Owner"))
        known = self.replies.get(key)
        if known is not None:
            self.send(known, message.source)
        elif message.method == "INVITE":
            call.branches.setdefault(message.ruri, set()).add(message.branch)
            self._ring(call, key, message)
        else:
            self._reply(key, message, 200)

    def _acknowledged(self, call: Call, ack: Received) -> None:
        if f"{ack.branch} INVITE" in self.replies:
            self.stop(ack.branch)  # that of a 486
        else:
            self.stop(call.call_id)
            call.acked = True

    def _ring(self, call: Call, key: str, invite: Received) -> None:
        if invite.ruri.startswith("sip:busy@"):
            self.replies[key] = self._text(invite, 486)
            self.repeat(invite.branch, self.replies[key], invite.source)
            return
        self._reply(key, invite, 180)
        self.loop.call_later(RING_S, self._answer, call, key, invite)

    def _answer(self, call: Call, key: str, invite: Received) -> None:
        self.replies[key] = self._text(invite, 200)
        self.repeat(call.call_id, self.replies[key], invite.source)

    def _reply(self, key: str, request: Received, status: int) -> None:
        self.replies[key] = self._text(request, status)
        self.send(self.replies[key], request.source)

    def _text(self, request: Received, status: int) -> str:
        kept = "".join(
            f"{name}: {value}\r\n"
            for name in ("Via", "Record-Route", "From", "Call-ID", "CSeq")
            for value in request.headers(name)
        )
        to = request.header("To")
        return (
            f"SIP/2.0 {status} x\r\n{kept}To: {to if 'tag=' in to else to + ';tag=callee'}\r\n"
            f"Contact: <sip:callee@127.0.0.1:{self.port}>\r\nContent-Length: 0\r\n\r\n"
        )


class Load:
    """Calls at a steady rate.

    Args:
        server_port: of the server's UDP socket.
        per_s: calls a second.
        users: whom they call, in turn.
        stubborn: the callers go on sending their INVITE after a provisional reply, as one does that has not got it.
    """

    _serials = itertools.count(1)

    def __init__(self, server_port: int, per_s: float, users: tuple[str, ...], *, stubborn: bool = False) -> None:
        self.server = ("127.0.0.1", server_port)
        self.per_s = per_s
        self.stubborn = stubborn
        self.calls: dict[str, Call] = {}
        self._users = itertools.cycle(users)
        self._over = False

    async def __aenter__(self) -> Load:
        self.caller, self.callee = Caller(self), Callee(self)
        await self.caller.open()
        await self.callee.open()
        self._placing = asyncio.create_task(self._place())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._placing.cancel()
        self.caller.close()
        self.callee.close()
        await asyncio.sleep(0)

    async def _place(self) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            call = Call(f"load{os.getpid()}x{next(self._serials)}", next(self._users))
            self.calls[call.call_id] = call
            self.caller.invite(call)
            due += 1 / self.per_s
            await asyncio.sleep(max(0.0, due - loop.time()))

    async def until(self, condition: Callable[[], bool], limit_s: float) -> bool:
        """Let the calls go on until something is so; whether it came to be in time."""
        loop = asyncio.get_running_loop()
        ends = loop.time() + limit_s
        while not condition():
            if loop.time() > ends:
                return False
            await asyncio.sleep(0.01)
        return True

    async def end(self, limit_s: float, may_fail: Callable[[Call], bool] = lambda call: False) -> None:
        """Place no more, and wait for the calls that are to come to their end."""
        self._placing.cancel()
        await self.until(lambda: all(c.completed or may_fail(c) for c in self.calls.values()), limit_s)

    def failed(self) -> list[Call]:
        return [call for call in self.calls.values() if not call.completed]
