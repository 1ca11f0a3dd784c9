"""Calls through a server between two phones, message by message."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from tests.sip_peer import Peer, Received


@dataclass
class Call:
    """One call. Its phones say only what the test has them say."""

    caller: Peer
    callee: Peer
    invite: str = ""
    arrived: Received = field(default_factory=lambda: Received("", ("", 0)))
    answer: Received = field(default_factory=lambda: Received("", ("", 0)))
    cseq: int = 1
    callee_cseq: int = 700

    @property
    def call_id(self) -> str:
        return Received(self.invite, ("", 0)).call_id

    def ring(self, user: str = "bob", *, extra: str = "", body: str = "") -> Received:
        """INVITE, as it arrives at the callee, which has not answered it yet."""
        extra += f"X-To: {self.callee.port}\r\n"
        self.invite = self.caller.request(
            "INVITE", f"sip:{user}@127.0.0.1:{self.caller.server[1]}", extra=extra, body=body
        )
        self.caller.send(self.invite)
        self.arrived = self.callee.wait_request("INVITE")
        return self.arrived

    def pick_up(self, status: int = 200, *, body: str = "") -> Received:
        """The callee's answer, as it arrives at the caller."""
        self.callee.reply(self.arrived, status, body=body)
        self.answer = self.caller.wait_reply(self.call_id, status)
        return self.answer

    def establish(self, user: str = "bob", *, extra: str = "") -> Call:
        """INVITE, 180, 200, ACK."""
        self.ring(user, extra=extra)
        self.callee.reply(self.arrived, 180)
        self.caller.wait_reply(self.call_id, 180)
        self.pick_up()
        self.say("ACK", cseq=1)
        self.callee.wait_request("ACK")
        return self

    def say(self, method: str, *, upstream: bool = False, cseq: int = 0, extra: str = "", body: str = "") -> Received:
        """Send a request within the dialog, along its route set; gives what was sent."""
        sender, receiver = (self.callee, self.caller) if upstream else (self.caller, self.callee)
        from_, to = self.answer.header("From"), self.answer.header("To")
        if upstream:
            from_, to = to, from_
        if not cseq:
            self.cseq += not upstream
            self.callee_cseq += upstream
            cseq = self.callee_cseq if upstream else self.cseq
        routes = self.answer.headers("Record-Route")
        routes = routes if upstream else routes[::-1]
        text = sender.request(method, receiver.uri, call_id=self.call_id, cseq=cseq, extra=extra, body=body)
        text = re.sub(r"(?m)^From: .*\r$", f"From: {from_}\r", text)
        text = re.sub(r"(?m)^To: .*\r$", f"To: {to}\r", text)
        text = text.replace("Max-Forwards", "".join(f"Route: {route}\r\n" for route in routes) + "Max-Forwards", 1)
        sender.send(text)
        return Received(text, ("", 0))

    def exchange(self, method: str, *, upstream: bool = False, status: int = 200, extra: str = "") -> Received:
        """A request within the dialog and its answer; gives the request as it arrived."""
        sender, receiver = (self.callee, self.caller) if upstream else (self.caller, self.callee)
        sent = self.say(method, upstream=upstream, extra=extra)
        arrived = receiver.wait_request(method)
        receiver.reply(arrived, status)
        final = sender.wait_reply(self.call_id, status, method)
        assert final.header("CSeq") == sent.header("CSeq"), "what it asked is what is answered"
        return arrived

    def hang_up(self, *, upstream: bool = False) -> Received:
        """BYE and its 200."""
        return self.exchange("BYE", upstream=upstream)
