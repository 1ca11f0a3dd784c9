"""What a worker runs: a packed call in, a packed answer out; and how a job's outcome reads as an answer.

Packed calls and answers are JSON with one letter before it, so that any integer and any text survives the way.
"""

from __future__ import annotations

import inspect
import json
import logging
import re
from collections.abc import Awaitable, Callable
from typing import Any, Final, Protocol, TypeAlias, assert_never

from msgspec import Struct

from mi_script.calls import Call, Cause, Fault, Ready, prepare
from mi_script.commands import SERVER_ERROR, Command, Json, MiError, Registry
from mi_script.jsonrpc import dump
from workers.jobs import Cancelled, Failed, Outcome, Rejected, Returned, TimedOut, WorkerLost

log = logging.getLogger("layby.mi")

MAX_ANSWER_BYTES: Final = 15 << 20
"""The longest result, in bytes of JSON text: what still fits one message of the pool."""

REQUEST_TIMEOUT: Final = 408
CANCELLED: Final = 487
WORKER_LOST: Final = 500
REJECTED: Final = 503

_CALL, _PRETTY_CALL, _ANSWERED, _FAULT = b"C", b"P", b"A", b"F"
# A command without parameters, read and written by itself: as any JSON it takes 10 µs more.
_USUAL_NAME = re.compile(r"[A-Za-z0-9_:.-]+")
_USUAL_CALL = re.compile(rb'([CP])\["([A-Za-z0-9_:.-]+)",null\]')


class Answered(Struct, frozen=True):
    """A result, as the JSON text that the caller sees."""

    text: str


Answer: TypeAlias = Answered | Fault
ENDED: Final = (Answered, Fault)
"""What is an answer and nothing to be awaited for one. A tuple, for `Answered | Fault` is made anew each time."""
_AT_ONCE: Final = (dict, list, str)


def pack_call(call: Call, pretty: bool = False) -> bytes:
    """A call as the payload of a job for `Executor.run`; `pretty` asks for a result that is laid out for people."""
    if call.params is None and _USUAL_NAME.fullmatch(call.method) is not None:
        text = f'["{call.method}",null]'
    else:
        text = _ENCODER.encode([call.method, call.params])
    return (_PRETTY_CALL if pretty else _CALL) + text.encode("ascii")


def unpack_call(payload: bytes) -> tuple[Call, bool] | Fault:
    """Read back what `pack_call` wrote: the call, and whether the result should be pretty."""
    usual = _USUAL_CALL.fullmatch(payload)
    if usual is not None:
        return Call(usual[2].decode("ascii")), usual[1] == _PRETTY_CALL
    try:
        method, params = json.loads(payload[1:])
    except (ValueError, TypeError, RecursionError):
        return _server_error("Not a packed call")
    whole = payload[:1] in (_CALL, _PRETTY_CALL) and isinstance(method, str)
    if not whole or not isinstance(params, dict | list | None):
        return _server_error("Not a packed call")
    return Call(method, params), payload[:1] == _PRETTY_CALL


def pack_answer(answer: Answer) -> bytes:
    """An answer as the payload that a job returns."""
    match answer:
        case Answered(text):
            return _ANSWERED + text.encode("utf-8")
        case Fault(code, message, data, cause):
            return _FAULT + _ENCODER.encode([code, message, data, cause.value]).encode("ascii")
        case _:
            assert_never(answer)


def unpack_answer(payload: bytes) -> Answer:
    """Read back what `pack_answer` wrote; anything else is a `Fault` whose cause is that there is no answer."""
    try:
        if payload[:1] == _ANSWERED:
            return Answered(payload[1:].decode("utf-8"))
        if payload[:1] == _FAULT:
            code, message, data, cause = json.loads(payload[1:])
            return Fault(code, message, data, Cause(cause))
    except (ValueError, TypeError, RecursionError):
        pass
    return Fault(SERVER_ERROR, "Server error", "The answer cannot be read", Cause.NO_ANSWER)


def answer_of(outcome: Outcome) -> Answer:
    """What the end of a job that ran a call means to the one who called."""
    match outcome:
        case Returned(payload):
            return unpack_answer(payload)
        case Failed(kind, message):
            return Fault(SERVER_ERROR, f"The worker failed with {kind}", message or None, Cause.NO_ANSWER)
        case TimedOut(timeout_s):
            return Fault(REQUEST_TIMEOUT, f"No answer within {timeout_s:g} s")
        case Cancelled(reason):
            return Fault(CANCELLED, f"Cancelled: {reason}" if reason else "Cancelled")
        case WorkerLost(worker):
            return Fault(WORKER_LOST, f"Worker {worker} died; the command may have run in part")
        case Rejected(reason):
            return Fault(REJECTED, f"Not accepted: {reason}" if reason else "Not accepted")
        case _:
            assert_never(outcome)


class Observer(Protocol):
    """Who counts what commands cost."""

    def ran(self, command: str, elapsed_s: float, code: int | None, /) -> None:
        """A command has run for so many seconds, to an error of that code or to a result."""

    def failed(self, command: str, code: int, /) -> None:
        """A call could not be run: no such command (""), or not with such parameters."""


class Executor:
    """Runs calls against a register of commands, in whichever process it stands. Whether they may be made was asked
    where they came from (`mi_script.calls.refusal`).

    It never raises for what a command does: an unexpected exception and a result that is no JSON are logged, and
    the caller gets -32000.

    Args:
        registry: the commands.
        max_answer_bytes: the longest result; a longer one becomes -32000.
        observer: told of every run.
        clock: seconds, for the observer.
    """

    def __init__(
        self,
        registry: Registry,
        *,
        max_answer_bytes: int = MAX_ANSWER_BYTES,
        observer: Observer | None = None,
        clock: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self._registry = registry
        self._observer = observer
        self._clock = clock
        self._max_answer_bytes = max_answer_bytes

    def run(self, payload: bytes, running: object = None) -> bytes | Awaitable[bytes]:
        """The pool's handler: a packed call to a packed answer, later for commands that answer later."""
        unpacked = unpack_call(payload)
        if isinstance(unpacked, Fault):
            return pack_answer(unpacked)
        answer = self.perform(*unpacked)
        if isinstance(answer, ENDED):
            return pack_answer(answer)
        return _packed_later(answer)

    def perform(self, call: Call, pretty: bool = False) -> Answer | Awaitable[Answer]:
        """Run a call here and now; an awaitable where the command answers later."""
        ready = prepare(self._registry, call)
        if isinstance(ready, Fault):
            return self._not_run(call, ready)
        began = self._clock()
        try:
            result = ready.command.handler(ready.params)
        except Exception as error:
            return self._ran(ready.command, began, _refusal(ready.command, error))
        # What most commands give is told at once; to ask whether it can be awaited takes ten times as long.
        if not isinstance(result, _AT_ONCE) and inspect.isawaitable(result):
            return self._perform_later(ready, result, pretty, began)
        return self._ran(ready.command, began, self._serialised(ready.command, result, pretty))

    async def answer(self, call: Call, pretty: bool = False) -> Answer:
        """Run a call in this process and wait for its answer."""
        answer = self.perform(call, pretty)
        return answer if isinstance(answer, ENDED) else await answer

    async def _perform_later(self, ready: Ready, result: Awaitable[Json], pretty: bool, began: float) -> Answer:
        try:
            value = await result
        except Exception as error:
            return self._ran(ready.command, began, _refusal(ready.command, error))
        return self._ran(ready.command, began, self._serialised(ready.command, value, pretty))

    def _ran(self, command: Command, began: float, answer: Answer) -> Answer:
        if self._observer is not None:
            code = answer.code if isinstance(answer, Fault) else None
            self._observer.ran(command.name, self._clock() - began, code)
        return answer

    def _not_run(self, call: Call, fault: Fault) -> Fault:
        if self._observer is not None:
            found = self._registry.find(call.method)
            self._observer.failed("" if found is None else found.name, fault.code)
        return fault

    def _serialised(self, command: Command, result: Any, pretty: bool) -> Answer:
        try:
            text = dump(result, pretty)
        except (TypeError, ValueError, RecursionError):
            log.error("MI command %s gave what is no JSON", command.name, exc_info=True)
            return _server_error("Command result is no JSON")
        # A character takes up to four bytes; only a text that may be too long is measured.
        if len(text) * 4 > self._max_answer_bytes and len(text.encode("utf-8")) > self._max_answer_bytes:
            return _server_error(f"Command result is longer than {self._max_answer_bytes} bytes")
        return Answered(text)


async def _packed_later(answer: Awaitable[Answer]) -> bytes:
    return pack_answer(await answer)


def _refusal(command: Command, error: Exception) -> Fault:
    if isinstance(error, MiError):
        return Fault(error.code, error.message, error.data)
    log.error("MI command %s failed", command.name, exc_info=error)
    return _server_error("Command handler failed")


def _server_error(data: str) -> Fault:
    return Fault(SERVER_ERROR, "Server error", data)


_ENCODER: Final = json.JSONEncoder(ensure_ascii=True, separators=(",", ":"))
