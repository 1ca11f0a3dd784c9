"""How a route's coroutine is driven: what it waits for parks the message, and the rest of it is what resumes."""

from __future__ import annotations

import asyncio

import pytest

from runtime.script.problems import ScriptError
from runtime.script.script import EXIT
from workers.jobs import Cancelled, TimedOut

ROUTE = """
import asyncio

@route.request
async def main(call: Call) -> None:
    call.say("begin")
    try:
        call.say(await future(call))
    except Exception as error:
        call.var["rc"] = call.rc
        call.say(f"{type(error).__name__}: {error}")
        raise
    finally:
        call.say("finally")

async def future(call: Call) -> str:
    loop = asyncio.get_event_loop()
    FUTURES.append(loop.create_future())
    return await FUTURES[-1]

FUTURES = []
"""


@pytest.fixture
def loop():
    made = asyncio.new_event_loop()
    asyncio.set_event_loop(made)
    yield made
    asyncio.set_event_loop(None)
    made.close()


@pytest.fixture
def parked(bench, loop):
    made = bench(ROUTE)
    assert made.run() is EXIT
    assert made.tools.calls == ["begin"]
    return made


def test_a_future_that_is_done_goes_into_the_route(parked) -> None:
    parked.process.waits[0][0].future.set_result("done")
    assert parked.resume() is None
    assert parked.tools.calls == ["begin", "done", "finally"]


def test_a_future_that_failed_raises_at_the_await(parked, path) -> None:
    parked.process.waits[0][0].future.set_exception(OSError("refused"))
    with pytest.raises(ScriptError, match="OSError: refused") as caught:
        parked.resume()
    assert str(caught.value.place) == f"{path}:21:12"
    assert parked.tools.calls == ["begin", "OSError: refused", "finally"]


def test_one_that_is_late_raises_a_time_out(parked) -> None:
    with pytest.raises(ScriptError, match="TimeoutError: not done within 30 s"):
        parked.resume(TimedOut(30.0))
    assert parked.context.variables["rc"] == -408


def test_one_that_the_caller_gave_up_ends_the_script(parked) -> None:
    assert parked.resume(Cancelled("CANCEL")) is EXIT
    assert parked.context.variables["rc"] == -487
    assert parked.tools.calls == ["begin", "Cancelled: the caller has given up", "finally"]


def test_a_parked_route_finds_its_name_and_parameters_again(bench, loop) -> None:
    made = bench(
        ROUTE.replace("call.say(await future(call))", 'await future(call)\n        call.say(call["$param(1)"])')
    )
    made.context.params = ("first",)
    made.run()
    made.context.params, made.context.route_name = (), "another"
    made.process.waits[0][0].future.set_result(None)
    made.resume()
    assert made.tools.calls == ["begin", "first", "finally"]
    assert made.context.route_name == ""


def test_a_route_that_is_never_resumed_is_closed(parked) -> None:
    _, _, _, abandon = parked.process.waits.pop()
    abandon()
    assert parked.tools.calls == ["begin", "finally"]


def test_one_that_refuses_to_be_closed_is_logged(bench, loop, caplog) -> None:
    made = bench(ROUTE.replace('call.say("finally")', "call.burst()"))
    made.run()
    made.process.waits.pop()[3]()
    assert "ZeroDivisionError: by intent" in caplog.text


def test_where_another_process_has_the_message_the_route_ends(bench, loop) -> None:
    made = bench(ROUTE)
    made.process.has_it = False
    assert made.run() is EXIT
    assert made.tools.calls == ["begin", "finally"]


def test_a_turn_of_the_loop_can_be_waited_for(bench, loop) -> None:
    made = bench(ROUTE.replace("await future(call)", 'await asyncio.sleep(0) or "on"'))
    made.run()
    assert made.resume() is None
    assert made.tools.calls == ["begin", "on", "finally"]


def test_each_kind_of_route_stands_where_it_is_looked_for(bench) -> None:
    kinds = [
        "request",
        "named:n",
        "failure:f",
        "reply",
        "reply:r",
        "branch:b",
        "local",
        "startup",
        "error",
        "timer:t",
        "event:E_X",
    ]
    more = {"named": "'n'", "failure": "'f'", "branch": "'b'", "timer": "'t', seconds=3", "event": "'E_X'"}
    text = ""
    for kind in kinds:
        name, _, given = kind.partition(":")
        arguments = "('r')" if given == "r" else "()" if name == "reply" else f"({more[name]})" if name in more else ""
        text += f"@route.{name}{arguments}\ndef r{kinds.index(kind)}(call: Call): call.say(call['$route'])\n"
    made = bench(text)
    routes = made.script.routes
    timer, codes = routes.timers[0], [routes.request, routes.named["n"], routes.failure["f"], routes.onreply[""]]
    codes += [routes.onreply["r"], routes.branch["b"], routes.local, routes.startup, routes.error, timer.code]
    for code in [*codes, routes.events["E_X"]]:
        assert code(made.context) is None

    assert (timer.name, timer.interval_s, routes.event_modes) == ("t", 3, {"E_X": "async"})
    assert made.tools.calls == [
        *("request_route", "request_route[n]", "failure_route[f]", "onreply_route", "onreply_route[r]"),
        *("branch_route[b]", "local_route", "startup_route", "error_route", "timer_route[t]", "event_route[E_X]"),
    ]


def test_nothing_is_waited_for_twice(bench) -> None:
    made = bench(
        """
        @route.request
        async def main(call: Call) -> None:
            wait = ONE(None)
            await wait
            await wait

        from runtime.pyscript.waits import Wait
        from runtime.script.declare import Refused

        class ONE(Wait[int]):
            value = 7
            def _begin(self):
                return Refused(lambda context: 1)
        """
    )
    made.run()
    with pytest.raises(ScriptError, match="RuntimeError: this has been waited for already"):
        made.resume()
