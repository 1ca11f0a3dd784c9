"""What a worker does with a packed call, and what the end of a job means."""

from __future__ import annotations

import asyncio
import logging

import pytest

from mi_script.calls import Call, Cause, Fault
from mi_script.execute import (
    Answered,
    Executor,
    answer_of,
    pack_answer,
    pack_call,
    unpack_answer,
    unpack_call,
)
from workers.jobs import Cancelled, Failed, Peer, Rejected, Returned, TimedOut, WorkerLost

WORKER = Peer("worker-1", 3)


def run(executor, call, pretty=False):
    """Through the bytes, as the pool does it."""
    packed = executor.run(pack_call(call, pretty))
    if not isinstance(packed, bytes):

        async def wait():
            return await packed

        packed = asyncio.run(wait())
    return unpack_answer(packed)


@pytest.mark.parametrize(
    "call",
    [
        Call("uptime"),
        Call("", []),
        Call("x", {"a": [None, True, 1, 2.5, "ä\ud800\0", 2**100, {"b": {}}]}),
    ],
)
@pytest.mark.parametrize("pretty", [False, True])
def test_calls_survive_packing(call, pretty):
    assert unpack_call(pack_call(call, pretty)) == (call, pretty)


@pytest.mark.parametrize(
    "answer",
    [
        Answered('{"a":"ä"}'),
        Fault(404, "no ä\ud800"),
        Fault(-32000, "Server error", "why", Cause.DENIED),
    ],
)
def test_answers_survive_packing(answer):
    assert unpack_answer(pack_answer(answer)) == answer


@pytest.mark.parametrize("payload", [b"", b"C", b"X[]", b'C["a"]', b"C[1,null]", b'C["a",1]', b"C" + b"[" * 99999])
def test_what_is_no_packed_call_is_answered(executor, payload):
    assert unpack_answer(executor.run(payload)) == Fault(-32000, "Server error", "Not a packed call")


@pytest.mark.parametrize("payload", [b"", b"A\xff", b"F", b"F[1]", b'F[1,"a",null,"nonsense"]', b"?"])
def test_what_is_no_packed_answer_is_no_answer(payload):
    assert unpack_answer(payload).cause is Cause.NO_ANSWER


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (Call("echo", ["ä"]), Answered('"ä"')),
        (Call("echo", [None]), Answered("null")),
        (Call("dlg_list", {"index": "0", "counter": 1}), Answered('{"count":20,"Dialogs":[{"ID":"0"}]}')),
        (
            Call("dlg_list", {"index": [], "counter": 1}),
            Fault(-32602, "Invalid params", "Bad type for parameter 'index'"),
        ),
        (
            Call("get_statistics", ["rcv_requests"]),
            Fault(-32602, "Invalid params", "Bad type for parameter 'statistics'"),
        ),
        (Call("dr_reload", ["other"]), Fault(404, "Partition not found", "there is only extensions")),
        (Call("nosuch"), Fault(-32601, "Method not found", None, Cause.UNKNOWN)),
        (Call("t_uac_dlg", {"method": "OPTIONS", "ruri": "sip:x"}), Answered('{"Status":"200 OK"}')),
        (Call("t_uac_dlg", {"method": "OPTIONS", "ruri": "sip:nobody"}), Fault(480, "Temporarily Unavailable")),
    ],
)
def test_ends(executor, call, expected):
    assert run(executor, call) == expected


def test_pretty(executor):
    assert run(executor, Call("cache_store", ["local", "k", "v"]), pretty=True) == Answered('"OK"')
    assert run(executor, Call("cache_fetch", ["local", "k"]), pretty=True) == Answered(
        '{\n\t"key":\t"k",\n\t"value":\t"v"\n}'
    )


@pytest.mark.parametrize(
    ("method", "data", "kind"),
    [
        ("broken", "Command handler failed", ZeroDivisionError),
        ("broken_later", "Command handler failed", ZeroDivisionError),
        ("no_json", "Command result is no JSON", TypeError),
        ("no_end", "Command result is no JSON", RecursionError),
    ],
)
def test_our_own_mistakes_are_answered_and_logged(executor, caplog, method, data, kind):
    assert run(executor, Call(method)) == Fault(-32000, "Server error", data)
    (record,) = caplog.records
    assert (record.levelno, record.exc_info[0]) == (logging.ERROR, kind)
    assert method in record.getMessage()


def test_too_long_results(registry):
    executor = Executor(registry, max_answer_bytes=100)
    assert run(executor, Call("big", [98])) == Answered('"' + "x" * 98 + '"')
    too_long = Fault(-32000, "Server error", "Command result is longer than 100 bytes")
    assert run(executor, Call("big", [99])) == too_long
    assert run(executor, Call("echo", ["ä" * 49])) == Answered('"' + "ä" * 49 + '"')
    assert run(executor, Call("echo", ["ä" * 50])) == too_long


def test_a_cancelled_command_is_no_answer(executor):
    async def cancelled():
        task = asyncio.ensure_future(executor.answer(Call("t_uac_dlg", {"method": "M", "ruri": "sip:x"})))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return task.cancelled()

    assert asyncio.run(cancelled())


@pytest.mark.parametrize(
    ("outcome", "expected"),
    [
        (Returned(pack_answer(Answered("1")), WORKER, 0.1), Answered("1")),
        (Returned(pack_answer(Fault(404, "no")), WORKER, 0.1), Fault(404, "no")),
        (Failed("KeyError", "x", WORKER, 0.1), Fault(-32000, "The worker failed with KeyError", "x", Cause.NO_ANSWER)),
        (TimedOut(1.5), Fault(408, "No answer within 1.5 s")),
        (Cancelled("job_cancel"), Fault(487, "Cancelled: job_cancel")),
        (WorkerLost(WORKER), Fault(500, "Worker worker-1.3 died; the command may have run in part")),
        (Rejected("queue is full"), Fault(503, "Not accepted: queue is full")),
    ],
)
def test_outcomes(outcome, expected):
    assert answer_of(outcome) == expected


class Watcher:
    """Notes what it is told; its clock goes on by a second with each look."""

    def __init__(self) -> None:
        self.seen: list[tuple[object, ...]] = []
        self.now = 0.0

    def clock(self) -> float:
        self.now += 1.0
        return self.now

    def ran(self, command: str, elapsed_s: float, code: int | None) -> None:
        self.seen.append((command, elapsed_s, code))

    def failed(self, command: str, code: int) -> None:
        self.seen.append((command, code))


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (Call("uptime"), ("uptime", 1.0, None)),
        (Call("drouting:reload"), ("dr_reload", 1.0, None)),
        (Call("cache_fetch", ["local", "none"]), ("cache_fetch", 1.0, 400)),
        (Call("t_uac_dlg", {"method": "M", "ruri": "sip:x"}), ("t_uac_dlg", 1.0, None)),
        (Call("t_uac_dlg", {"method": "M", "ruri": "sip:nobody"}), ("t_uac_dlg", 1.0, 480)),
        (Call("no_json"), ("no_json", 1.0, -32000)),
        (Call("uptime", ["x"]), ("uptime", -32602)),
        (Call("nosuch"), ("", -32601)),
    ],
)
def test_an_observer_hears_of_each_call_once(registry, call, expected):
    watcher = Watcher()
    run(Executor(registry, observer=watcher, clock=watcher.clock), call)
    assert watcher.seen == [expected]
