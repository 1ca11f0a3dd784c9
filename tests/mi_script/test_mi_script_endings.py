"""What each outcome is to the script: `$rc`, the return variable, `$mi(...)`."""

from __future__ import annotations

import asyncio

import pytest

from mi_script.access import Access
from mi_script.calls import Call, Cause, Fault, refusal
from mi_script.execute import Answered, pack_answer, pack_call
from mi_script.script import Ending, ending, ending_of, script_call
from workers.jobs import Cancelled, Failed, Peer, Rejected, Returned, TimedOut, WorkerLost

WORKER = Peer("worker-1", 2)


def story(code=None, message=None, data=None, worker=None, elapsed=None):
    return {"code": code, "message": message, "data": data, "worker": worker, "elapsed": elapsed}


def returned(answer):
    return Returned(pack_answer(answer), WORKER, 0.001234)


RAN = {"worker": "worker-1.2", "elapsed": 1234}
DIED = "Worker worker-1.2 died; the command may have run in part"


@pytest.mark.parametrize(
    ("outcome", "expected"),
    [
        (returned(Answered('"OK"')), Ending(1, '"OK"', story(**RAN))),
        (returned(Answered("null")), Ending(1, "null", story(**RAN))),
        (returned(Fault(404, "No such dialog")), Ending(-404, "No such dialog", story(404, "No such dialog", **RAN))),
        (returned(Fault(-400, "no", "why")), Ending(-400, "no", story(-400, "no", "why", **RAN))),
        (returned(Fault(0, "no")), Ending(-3, "no", story(0, "no", **RAN))),
        (
            returned(Fault(-32602, "Invalid params", "Too few or too many parameters")),
            Ending(-32602, "Invalid params", story(-32602, "Invalid params", "Too few or too many parameters", **RAN)),
        ),
        (
            returned(Fault(-32601, "Method not found", None, Cause.UNKNOWN)),
            Ending(-1, "Method not found", story(-32601, "Method not found", **RAN)),
        ),
        (
            returned(Fault(-32000, "Server error", "denied", Cause.DENIED)),
            Ending(-403, "Server error: denied", story(-32000, "Server error", "denied", **RAN)),
        ),
        (
            Returned(b"nonsense", WORKER, 0.001234),
            Ending(
                -3,
                "Server error: The answer cannot be read",
                story(-32000, "Server error", "The answer cannot be read", **RAN),
            ),
        ),
        (
            Failed("KeyError", "'x'", WORKER, 0.001234),
            Ending(
                -3,
                "The worker failed with KeyError: 'x'",
                story(-32000, "The worker failed with KeyError", "'x'", **RAN),
            ),
        ),
        (TimedOut(2.0), Ending(-408, "No answer within 2 s", story(408, "No answer within 2 s"))),
        (Cancelled("CANCEL"), Ending(-487, "Cancelled: CANCEL", story(487, "Cancelled: CANCEL"))),
        (WorkerLost(WORKER), Ending(-500, DIED, story(500, DIED, worker="worker-1.2"))),
        (
            Rejected("queue is full"),
            Ending(-503, "Not accepted: queue is full", story(503, "Not accepted: queue is full")),
        ),
    ],
)
def test_table(outcome, expected):
    assert ending(outcome) == expected


def test_36_leaves_the_variable_alone_for_an_unknown_command():
    unknown = Fault(-32601, "Method not found", None, Cause.UNKNOWN)
    assert ending(returned(unknown), "3.6").value is None
    assert ending(returned(unknown), "3.6").rc == -1
    assert ending_of(unknown, compat="3.6") == Ending(-1, None, story(-32601, "Method not found"))
    assert ending(returned(Fault(404, "no")), "3.6").value == "no"


def test_results_and_errors_are_spelled_as_the_script_spells():
    assert ending_of(Answered('"ä€"')).value == '"ä€"'.encode().decode("latin-1")
    told = ending_of(Fault(400, "nö", "wäre"))
    for text in (told.value, told.story["message"], told.story["data"]):
        assert text.encode("latin-1").decode("utf-8") in ("nö", "wäre")
    assert ending_of(Fault(400, "half \ud800")).value == "half ?"


@pytest.mark.parametrize(
    ("text", "names", "values"),
    [
        ("uptime", None, None),
        ("nosuch", None, None),
        ("uptime x", None, None),
        ("dr_reload extensions", None, None),
        ("dr_reload other", None, None),
        ("dlg_list", ["index", "counter"], [0, 10]),
        ("echo", ["\xc3\xa4"], None),
        ("get_statistics", ["statistics"], ["__array(rcv_requests)"]),
        ("t_uac_dlg", ["method", "ruri"], ["OPTIONS", "sip:x"]),
        ("t_uac_dlg", ["method", "ruri"], ["OPTIONS", "sip:nobody"]),
        ("broken", None, None),
    ],
)
@pytest.mark.parametrize("pretty", [False, True])
def test_inline_and_in_a_worker_give_the_same(executor, text, names, values, pretty):
    call = script_call(text, names, values)

    async def both():
        inline = await executor.answer(call, pretty)
        packed = executor.run(pack_call(call, pretty))
        return inline, packed if isinstance(packed, bytes) else await packed

    inline, packed = asyncio.run(both())
    assert ending_of(inline, 0.5, str(WORKER)) == ending(Returned(packed, WORKER, 0.5))


def test_not_allowed(registry):
    told = ending_of(refusal(registry, Call("dr_reload"), Access(allow=frozenset({"uptime"}))))
    assert told.rc == -403
    assert told.value == "Server error: Command 'dr_reload' is not among those allowed here"
