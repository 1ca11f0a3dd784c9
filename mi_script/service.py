"""From a JSON-RPC text to its answer, for every transport alike."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

from mi_script.calls import Call, Fault
from mi_script.commands import SERVER_ERROR
from mi_script.execute import Answer, Answered
from mi_script.jsonrpc import MAX_BYTES, Batch, Id, Item, Malformed, Request, Single, decode, fault_text, result_text

log = logging.getLogger("layby.mi")

Perform: TypeAlias = Callable[[Call, str], Awaitable[Answer]]
"""Runs a call for the transport of that name."""

MAX_REPLY_BYTES: Final = 16 << 20
"""The longest answer to one text, in bytes."""

_NO_ID_FAULT_BYTES: Final = 200  # the answer of last resort, and the brackets of a batch, fit in this


class Service:
    """Answers JSON-RPC texts.

    The members of a batch run one after the other, in the order of the batch.

    Args:
        perform: runs one call: in this process, or in a worker.
        max_bytes: the longest text that is read.
    """

    def __init__(self, perform: Perform, max_bytes: int = MAX_BYTES) -> None:
        self._perform = perform
        self.max_bytes = max_bytes

    async def answer(
        self, text: bytes, transport: str, *, max_reply: int = MAX_REPLY_BYTES, strays: bool = True
    ) -> bytes | None:
        """Run what the text asks for.

        Args:
            text: one request or a batch, in whatever state.
            transport: the name of the transport, for `perform`.
            max_reply: what the transport can carry, in bytes; an answer that is longer becomes an error that
                says so.
            strays: whether texts that are answers themselves are told that they are no requests. Over
                datagrams they must not be, or two servers could answer each other for ever.

        Returns:
            The answer, or None where there is none to give (notifications, strays).
        """
        match decode(text, self.max_bytes):
            case Single(item):
                reply = await self._one(item, transport, max_reply, strays)
            case Batch(items):
                reply = await self._batch(items, transport, max_reply, strays)
        return None if reply is None else reply.encode("utf-8")

    async def _batch(self, items: tuple[Item, ...], transport: str, max_reply: int, strays: bool) -> str | None:
        replies: list[str] = []
        room = max_reply - 1
        for item in items:
            reply = await self._one(item, transport, max(room - 1, _NO_ID_FAULT_BYTES), strays)
            if reply is not None:
                replies.append(reply)
                room -= _bytes_of(reply) + 1
        if not replies:
            return None
        joined = "[" + ",".join(replies) + "]"
        return joined if room >= 0 else _too_long(None, max_reply)

    async def _one(self, item: Item, transport: str, max_reply: int, strays: bool) -> str | None:
        if isinstance(item, Malformed):
            if item.stray and not strays:
                return None
            return _fitting(fault_text(item.fault, item.id), item, max_reply)
        answer = await self._performed(item.call, transport)
        if item.notification:
            return None
        if isinstance(answer, Answered):
            return _fitting(result_text(answer.text, item.id), item, max_reply)
        return _fitting(fault_text(answer, item.id), item, max_reply)

    async def _performed(self, call: Call, transport: str) -> Answer:
        try:
            return await self._perform(call, transport)
        except Exception:
            log.exception("MI command %.64r over %s could not be run", call.method, transport)
            return Fault(SERVER_ERROR, "Server error", "The command could not be run")


def _fitting(reply: str, item: Request | Malformed, max_reply: int) -> str:
    if _bytes_of(reply) <= max_reply:
        return reply
    fault = _too_long(item.id, max_reply)
    # The identifier itself may be what is too long.
    return fault if _bytes_of(fault) <= max_reply else _too_long(None, max_reply)


def _too_long(id: Id, max_reply: int) -> str:
    data = f"The answer is longer than the {max_reply} bytes that this transport carries"
    return fault_text(Fault(SERVER_ERROR, "Server error", data), id)


def _bytes_of(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8"))
