"""What a SIP process answers others about its transactions and connections (`runtime.asking`)."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

import msgpack

from runtime.sip.message import Request

if TYPE_CHECKING:
    from runtime.relay import Relay
    from runtime.sip_process import SipProcess

CANCEL_INVITES: Final = "cancel"
REPLY: Final = "reply"
CONNECTIONS: Final = "connections"

UNKNOWN: Final = 0
REPLIED: Final = 1
FAILED: Final = -1


def answer_others(process: SipProcess) -> None:
    """From now on the process answers the questions of this module."""
    process.questions[CANCEL_INVITES] = partial(_cancel_invites, process)
    process.questions[REPLY] = partial(_reply, process)
    process.questions[CONNECTIONS] = partial(_connections, process)


def _cancel_invites(process: SipProcess, body: bytes) -> bytes:
    """``[Call-ID, CSeq number as text]``: CANCEL such INVITEs of this process; how many there were.

    In a turn of its own: who asks may be a script of this very process, and what follows must not run on its stack.
    """
    call_id, cseq = msgpack.unpackb(body)
    sendings = [one for one in process.uac.sendings() if _is_invite(one.request, call_id, cseq)]
    relays = [one for one in process.proxy.relays.values() if _is_invite(_relayed(one), call_id, cseq)]
    for sending in sendings:
        process.soon(sending.cancel)
    for relay in relays:
        process.soon(partial(process.transactions.cancel, relay.key))
    return _packed(len(sendings) + len(relays))


def _relayed(relay: Relay) -> Request | None:
    """The request, while a final reply is awaited."""
    message = None if relay.context is None else relay.context.message
    return message if isinstance(message, Request) and not relay.responses.final else None


def _is_invite(request: Request | None, call_id: str, cseq: str) -> bool:
    return (
        request is not None
        and request.method == "INVITE"
        and request.call_id == call_id
        and str(request.cseq_number) == cseq
    )


def _reply(process: SipProcess, body: bytes) -> bytes:
    """``[key, status, reason, headers, body, To tag]``: reply through a transaction; what came of it."""
    key, status, reason, headers, content, tag = msgpack.unpackb(body)
    if key not in process.transactions:
        return _packed(UNKNOWN)
    done = process.answer(key, status, reason, headers, body=content, tag=tag)
    return _packed(REPLIED if done == 1 else FAILED)


def _connections(process: SipProcess, body: bytes) -> bytes:
    return _packed([list(row) for row in process.transports.peers()])


def _packed(value: object) -> bytes:
    return bytes(msgpack.packb(value))
