"""Requests within a call that an MI command wants (`dlg_send_sequential`): to one end, or a challenge of it.

A challenge has one end say its session anew: an INVITE or UPDATE goes to it, and the session of its 2xx to the other
end in a request of the same method. Where the INVITE had no session, that 2xx makes an offer (RFC 3261 14.1): its
answer is the other end's, and stands in the ACK, which therefore waits.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import msgpack

from runtime.dialogs.telling import Sequential, teller_here
from runtime.sip.dialog_words import Refreshed, Side
from runtime.sip.message import Reply
from runtime.sip.reasons import reason_of

if TYPE_CHECKING:
    from runtime.dialogs.telling import Teller
    from runtime.runs import Done
    from runtime.uac import Sending
    from workers.worker import Running

CHALLENGES: Final = ("INVITE", "UPDATE")
"""The methods that can do it: they carry sessions (RFC 3261 14, RFC 3311)."""
_ANSWER_S: Final = 20.0
"""How long the other end may take: the first one waits 32 s for its ACK (RFC 3261 13.3.1.4), and would hang up then."""
_NOT_SENT: Final = 500


class Challenge:
    """A challenge. It goes on to its end also when nobody waits for that any more: an ACK is owed.

    Args:
        teller: of this process.
        number: the dialog's id.
        side: who is asked first.
        wanted: the request to that end.
        done: told how it ended, once, later: the reply of the other end, or of the first where it came to no more.
    """

    def __init__(self, teller: Teller, number: int, side: Side, wanted: Sequential, done: Done) -> None:
        self._teller = teller
        self._number = number
        self._side = side
        self._wanted = wanted
        self._done = done
        self._first: Sending | None = None
        self._said: Reply | None = None
        """The first end's 2xx."""

    def begin(self) -> bool:
        """Send the first request; False when there is no such dialog, or it cannot be sent."""
        self._first = self._teller.send_sequential(self._number, self._side, self._wanted, self._challenged)
        if self._first is None:
            return False
        self._first.withholds_ack = self._wanted.method == "INVITE" and not self._wanted.body
        return True

    def _challenged(self, status: int, reply: Reply | None) -> None:
        if reply is None or not 200 <= status < 300:
            self._done(status, reply)
            return
        self._said = reply
        if self._wanted.method == "INVITE" and not reply.body:
            self._acknowledge()  # it has said no session, and the other end can be told of none
            self._done(status, reply)
            return
        told = Sequential(self._wanted.method, (), reply.body, reply.content_type or "", _ANSWER_S)
        if self._teller.send_sequential(self._number, self._side.other, told, self._answered) is None:
            self._acknowledge()
            self._done(_NOT_SENT, None)

    def _answered(self, status: int, reply: Reply | None) -> None:
        if reply is not None and 200 <= status < 300:
            self._agreed(reply)
            self._acknowledge(reply.body, reply.content_type or "")
        else:
            self._acknowledge()
        self._done(status, reply)

    def _agreed(self, reply: Reply) -> None:
        """Both ends know another session now; Contacts are left as the script has seen to them."""
        said, asked = self._said, self._wanted
        assert said is not None, "the other end is told of it"
        answer, answer_type = (asked.body, asked.body_type) if asked.body else (reply.body, reply.content_type or "")
        told = Refreshed(self._side, "", "", said.body, said.content_type or "", answer, answer_type)
        self._teller.apply(self._number, told)

    def _acknowledge(self, body: bytes = b"", body_type: str = "") -> None:
        """Send the ACK that waits. Without an answer of the other end the first keeps the session it had, if known."""
        assert self._first is not None, "it was sent"
        if not self._first.withholds_ack:
            return
        if not body and self._said is not None and self._said.body:
            leg = self._teller.leg(self._number, self._side)
            body, body_type = (leg.body, leg.body_type) if leg is not None else (b"", "")
        self._first.acknowledge(body, body_type)


async def send_sequential(payload: bytes, running: Running) -> bytes:
    """The job of a SIP process: send a request within a dialog and wait for its end.

    Args:
        payload: ``[id, side, method, headers, body, body_type, challenges]`` as msgpack.
        running: the job.

    Returns:
        ``[status, reason]`` as msgpack; the status is 0 when there is no such dialog, or it cannot be sent.
    """
    number, side, method, headers, body, body_type, challenges = msgpack.unpackb(payload)
    ended: asyncio.Future[tuple[int, str]] = asyncio.get_running_loop().create_future()

    def done(status: int, reply: Reply | None) -> None:
        if not ended.done():  # the job may have been cancelled meanwhile
            ended.set_result((status, reason_of(status) if reply is None else reply.reason))

    wanted = Sequential(method, tuple(headers), body, body_type)
    teller, end = teller_here(), Side(side)
    if not (
        Challenge(teller, number, end, wanted, done).begin()
        if challenges
        else teller.send_sequential(number, end, wanted, done)
    ):
        return bytes(msgpack.packb([0, ""]))
    return bytes(msgpack.packb(await ended))
