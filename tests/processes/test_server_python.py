"""A script in Python in a real server: routes of every kind wait, and traffic goes on meanwhile."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Callable

import pytest

from tests.harness import Server, wait_until
from tests.sip_peer import Peer, Received

pytestmark = pytest.mark.processes

SCRIPT = """
import asyncio

module("tm", fr_timeout=3, onreply_avp_mode=1)
module("mi_script", timeout=20)


@route.request
async def main(call: Call) -> None:
    if call.is_method("ACK"):
        return
    call.avp["who"].append(call.ruri_user)
    await USERS[call.ruri_user or ""](call)


async def waits(call: Call) -> None:
    rc, answer = await call.mi("bench_wait", ms=int(call.header("X-Ms") or 200))
    tell(call, f"{rc} {answer['waited_ms']} {call.avp['who'][-1]}")


async def quick(call: Call) -> None:
    call.sl_send_reply(200, "OK")


async def blocks(call: Call) -> None:
    rc, answer = call.mi.blocking("bench_sleep", ms=50)
    tell(call, f"{rc} {answer['slept_ms']}")


async def gathers(call: Call) -> None:
    answers = await call.gather(*[call.mi("bench_wait", ms=400) for _ in range(12)], call.mi("no_such"))
    tell(call, " ".join(str(rc) for rc, _ in answers))


async def named(call: Call) -> None:
    rc, answer = await call.mi("which", command="uptime")
    tell(call, f"{rc} {answer == call.mi.blocking('which', command='uptime').value}")


async def launches(call: Call) -> None:
    user = call.ruri_user

    async def done(call: Call, rc: int, answer: object) -> None:
        await call.mi("cache_store", "local", "launched", f"{user} {rc} {answer} {call.method}")

    call.launch(call.mi("bench_wait", ms=30), done)
    call.sl_send_reply(202, "Accepted")


async def errs(call: Call) -> None:
    codes = []
    for wait in (call.mi("no_such"), call.mi("bench_wait", ms=-1), call.mi("bench_wait", 5000, timeout_s=0.05)):
        rc, answer = await wait
        codes.append(f"{rc} {answer}")
    tell(call, "; ".join(codes))


async def sleeps(call: Call) -> None:
    async def within(limit_s: float) -> str:
        async with asyncio.timeout(limit_s):
            await asyncio.sleep(0.1)
            return "slept"

    await asyncio.gather(asyncio.sleep(0.1), asyncio.sleep(0.1))
    await asyncio.sleep(0)
    tell(call, await asyncio.create_task(within(5)))


async def raises(call: Call) -> None:
    await call.mi("version")
    raise ValueError("told by\\nits place")  # LINE


async def cannot(call: Call) -> None:
    class Odd:
        def __await__(self):
            yield 42

    try:
        await Odd()
    except TypeError as error:
        tell(call, str(error))


async def long(call: Call) -> None:
    rc, answer = await call.mi("bench_wait", ms=8000)
    if not call.t_relay():
        call.t_reply(487, f"Parked and {rc}")


async def long_sleep(call: Call) -> None:
    try:
        await asyncio.sleep(8)
    except Cancelled:
        call.xlog("L_ERR", "SAW THE CANCEL")
        raise


async def late_sleep(call: Call) -> None:
    call.t_newtran()
    try:
        await asyncio.wait_for(asyncio.sleep(8), 0.05)
    except TimeoutError:
        tell(call, "late")


async def fails(call: Call) -> None:
    call.dst_uri = f"sip:127.0.0.1:{call.header('X-First')}"
    call.t_on_failure("busy")
    call.t_on_branch("each")
    call.t_on_reply("seen")
    call.t_relay()


async def event(call: Call) -> None:
    call["$avp(v)"] = "told"
    call.raise_event("E_TEST", call.avp["v"])
    call.sl_send_reply(200, "OK")


async def local(call: Call) -> None:
    to = f"sip:peer@127.0.0.1:{call.header('X-First')}"
    call.t_new_request("MESSAGE", to, from_="sip:us@here", to="sip:peer@there", body="text/plain hi")
    call.sl_send_reply(200, "OK")


def tell(call: Call, text: str) -> None:
    call.append_to_reply(f"X-Told: {text}\\r\\n")
    call.send_reply(200, "OK")


USERS = {name: globals()[name] for name in "waits quick blocks gathers launches errs sleeps raises cannot long".split()}
USERS |= {name: globals()[name] for name in "long_sleep late_sleep named fails event local".split()}


@route.failure("busy")
async def busy(call: Call) -> None:
    rc, _ = await call.mi("bench_wait", ms=30)
    call.append_hf(f"X-Why: {call.status} {rc} {call.avp['who'][-1]} {call['$route']}")
    call.dst_uri = f"sip:127.0.0.1:{call.header('X-Second')}"
    call.t_on_failure("again")
    call.t_relay()


@route.failure("again")
async def again(call: Call) -> None:
    await call.mi("bench_wait", ms=10)
    call.t_reply(480, f"Both busy {call.avp['who'][-1]}")


@route.branch("each")
async def each(call: Call) -> None:
    rc, _ = await call.mi("bench_wait", ms=10)
    call.append_hf(f"X-Branch: {rc} {call['$T_branch_idx']}")


@route.reply("seen")
async def seen(call: Call) -> None:
    if call.status == 183:
        call.drop()
    rc, _ = await call.mi("bench_wait", ms=10)
    call.append_hf(f"X-Seen: {call.status} {rc} {call.avp['who'][-1]}")


@route.local
async def own(call: Call) -> None:
    rc, _ = await call.mi("bench_wait", ms=10)
    call.append_hf(f"X-Local: {rc} {call['$route.type']}")


@route.event("E_TEST")
async def told(call: Call) -> None:
    rc, _ = await call.mi("bench_wait", ms=10)
    call.xlog("L_ERR", f"EVENT {rc} {call.params['1']}")


@route.startup
async def started(call: Call) -> None:
    rc, _ = await call.mi("version")
    call.xlog("L_ERR", f"STARTUP {rc}")


@route.timer("tick", seconds=1)
async def tick(call: Call) -> None:
    await asyncio.sleep(0.01)
    call.xlog("L_ERR", "TIMER")


@route.error
async def wrong(call: Call) -> None:
    await call.mi("version")
    call.sl_send_reply(call["$(err.rcode)"], f"Parked: {call['$(err.rreason)']}")
"""
FEW = ("--udp-workers", "2", "--mi-workers", "2")


@pytest.fixture(scope="module")
def server(start_shared: Callable[..., Server]) -> Server:
    return start_shared(SCRIPT, options=FEW, python=True)


def invite(caller: Peer, user: str, first: Peer | None = None, second: Peer | None = None) -> tuple[str, str]:
    """Send an INVITE for `user`; its text and Call-ID."""
    extra = f"X-First: {first.port}\r\nX-Second: {second.port}\r\n" if first and second else ""
    text = caller.request("INVITE", f"sip:{user}@127.0.0.1:{caller.server[1]}", extra=extra)
    caller.send(text)
    return text, Received(text, ("", 0)).call_id


@pytest.mark.parametrize(
    ("user", "told"),
    [
        ("waits", "1 200 waits"),
        ("blocks", "1 50"),
        ("named", "1 True"),
        ("gathers", "1 1 1 1 1 1 1 1 1 1 1 1 -1"),
        ("errs", "-1 Method not found; -400 Bad parameter value; -408 No answer within 0.05 s"),
        ("sleeps", "slept"),
        ("late_sleep", "late"),
        ("cannot", "a route waits for commands and futures, not for int"),
    ],
)
def test_a_route_waits_and_answers(server: Server, user: str, told: str) -> None:
    answer = server.client().ask(user)

    assert answer.status == 200
    assert answer.header("X-Told") == told


def test_one_wait_for_several_commands_is_as_long_as_the_longest(server: Server) -> None:
    began = time.monotonic()
    assert 0.4 <= server.client().ask("gathers").at - began < 3.0, "one after the other they would take 4.8 s"


def test_others_are_served_while_messages_are_parked(server: Server) -> None:
    client = server.client()
    parked = [client.request("waits", extra="X-Ms: 1000\r\n") for _ in range(20)]
    for _, data in parked:
        client.send(data)
    wait_until(lambda: server.statistic("async:parked") >= server.statistic("async:resumed") + 10, what="parked")
    quick = client.ask("quick")

    answers = [client.final(call_id, resend=data) for call_id, data in parked]
    assert {answer.header("X-Told") for answer in answers} == {"1 1000 waits"}
    assert quick.at < min(answer.at for answer in answers)


def test_launch_goes_on_and_reports_on_a_message_of_its_own(server: Server) -> None:
    assert server.client().ask("launches").status == 202

    stored = wait_until(lambda: fetched(server, "launched"), what="the report")
    assert stored == "launches 1 {'waited_ms': 30} DUMMY"


def fetched(server: Server, attr: str) -> str | None:
    asked = f'{{"jsonrpc":"2.0","id":1,"method":"cache_fetch","params":{{"system":"local","attr":"{attr}"}}}}'
    found = server.rpc(asked).get("result")
    return None if found is None else str(found["value"])


def test_what_raises_is_answered_500_and_logged_in_one_line_with_its_place(server: Server) -> None:
    answer = server.client().ask("raises")

    assert (answer.status, answer.reason) == (500, "Server Internal Error")
    line = next(at for at, text in enumerate(server.script.read_text().splitlines(), 1) if text.endswith("# LINE"))
    wait_until(lambda: "told by" in server.log(), what="the line")
    [shown] = [text for text in server.log().splitlines() if "told by" in text]
    place = re.escape(f"{server.script}:{line}:5")
    assert re.search(rf"{place}: ValueError: told by\S*its place \[OPTIONS {answer.header('Call-ID')}\]$", shown), shown


def test_a_cancel_resumes_a_command_with_487(server: Server, peers: tuple[Peer, Peer, Peer]) -> None:
    caller, _, _ = peers
    text, call_id = invite(caller, "long")
    caller.wait_reply(call_id, 100)
    caller.cancel(text)

    caller.wait_reply(call_id, 200, "CANCEL")
    final = caller.wait_reply(call_id, 487, "INVITE", 5.0)
    caller.ack(text, final)
    assert final.start == "SIP/2.0 487 Parked and -487"


def test_a_cancel_ends_the_wait_for_a_future_and_the_script(server: Server, peers: tuple[Peer, Peer, Peer]) -> None:
    caller, _, _ = peers
    text, call_id = invite(caller, "long_sleep")
    caller.wait_reply(call_id, 100)
    caller.cancel(text)

    final = caller.wait_reply(call_id, 487, "INVITE", 5.0)
    caller.ack(text, final)
    assert final.start == "SIP/2.0 487 Request Terminated"
    wait_until(lambda: "SAW THE CANCEL" in server.log(), what="the route saw it")


def test_branch_reply_and_failure_routes_wait(peers: tuple[Peer, Peer, Peer]) -> None:
    caller, first, second = peers
    text, call_id = invite(caller, "fails", first, second)
    arrived = first.wait_request("INVITE")
    assert arrived.header("X-Branch") == "1 0"
    first.reply(arrived, 180)
    assert caller.wait_reply(call_id, 180).header("X-Seen") == "180 1 fails"
    first.reply(arrived, 183)
    first.reply(arrived, 486)
    first.wait_request("ACK")

    arrived = second.wait_request("INVITE")
    assert arrived.header("X-Why") == "486 1 fails failure_route[busy]"
    second.reply(arrived, 603)
    final = caller.wait_final(call_id)
    caller.ack(text, final)
    assert final.start == "SIP/2.0 480 Both busy fails"
    caller.nothing(lambda m: m.status == 183, 0.05)


def test_local_event_startup_timer_and_error_routes_wait(server: Server, peers: tuple[Peer, Peer, Peer]) -> None:
    caller, callee, _ = peers
    invite(caller, "local", callee, callee)
    arrived = callee.wait_request("MESSAGE")
    callee.reply(arrived, 200)
    assert (arrived.header("X-Local"), arrived.body) == ("1 local_route", "hi")

    assert server.client().ask("event").status == 200
    for line in ("EVENT 1 told", "STARTUP 1", "TIMER"):
        wait_until(lambda line=line: line in server.log(), what=line)

    text = caller.request("OPTIONS", f"sip:bob@127.0.0.1:{caller.server[1]}")
    caller.send(text.replace("CSeq: 1 OPTIONS", "CSeq: nonsense"))
    assert caller.wait(lambda m: m.status == 400).start == "SIP/2.0 400 Parked: Malformed CSeq header"


def test_nothing_stays_parked(server: Server) -> None:
    wait_until(
        lambda: server.statistic("async:parked") == server.statistic("async:resumed"),
        what="every context that was parked has resumed",
    )
    assert "Traceback" not in server.log()
    assert "never awaited" not in server.log()


RELOADED = """
VERSION = "old"


@route.request
async def main(call: Call) -> None:
    await call.mi("bench_wait", ms=int(call.header("X-Ms") or 0))
    call.send_reply(200, f"{VERSION} {call.launch.__name__}")
"""


def test_a_reload_takes_the_new_text_while_what_is_parked_goes_on_in_the_old(start_server) -> None:
    server = start_server(RELOADED, options=FEW, python=True)
    client = server.client()
    parked, data = client.request("x", extra="X-Ms: 700\r\n")
    client.send(data)
    wait_until(lambda: server.statistic("async:parked"), what="it is parked")
    text = server.script.read_text()
    server.script.write_text(text.replace('"old"', '"new"'))
    assert server.mi("reload_routes") == "OK"

    assert client.ask("x").reason == "new launch"
    assert client.final(parked).reason == "old launch"


@pytest.fixture(scope="module")
def unchanged(start_shared: Callable[..., Server]) -> Server:
    """Serves the text that it was started with."""
    return start_shared(RELOADED, options=("--udp-workers", "1", "--mi-workers", "1"), python=True)


@pytest.mark.parametrize(
    ("was", "now", "told"),
    [
        ("call.send_reply(200", "call.send_reply((200", "{path}:15:20: error: '(' was never closed"),
        ('VERSION = "old"', "VERSION = 1 / 0", "{path}:9:11: error: ZeroDivisionError: division by zero"),
        ("call.send_reply", "call.send_replay", "{path}:15:5: error: unknown function send_replay()"),
        ("module(name)", 'module(name)\nmodule("rr")', "{path}:1:1: error: loads other modules"),
    ],
)
def test_a_reload_of_what_does_not_load_leaves_the_old(unchanged: Server, was: str, now: str, told: str) -> None:
    text = unchanged.script.read_text()
    unchanged.script.write_text(text.replace(was, now, 1))
    error = unchanged.mi_error("reload_routes")
    unchanged.script.write_text(text)
    assert error["message"] == "Script is not loaded"
    assert told.format(path=unchanged.script) in error["data"]
    assert unchanged.client().ask("x").reason == "old launch"


@pytest.mark.parametrize("waited", ['call.mi("bench_wait", ms=60_000)', "asyncio.create_task(sleeps(call))"])
def test_the_end_of_a_drain_answers_what_is_parked_and_closes_its_coroutine(start_server, waited: str) -> None:
    server = start_server(
        f"""
import asyncio

@route.request
async def main(call: Call) -> None:
    try:
        await {waited}
    finally:
        call.xlog("L_ERR", "CLOSED")

async def sleeps(call: Call) -> None:
    try:
        await asyncio.sleep(60)
    finally:
        call.xlog("L_ERR", "TASK ENDED")
""",
        options=("--udp-workers", "1", "--mi-workers", "1", "--drain", "0.3"),
        python=True,
    )
    client = server.client()
    call_id, data = client.request("x")
    client.send(data)
    wait_until(lambda: server.statistic("async:parked"), what="it is parked")
    server.process.send_signal(signal.SIGTERM)

    assert client.final(call_id).status == 503
    assert server.wait() == 0
    assert "CLOSED" in server.log()
    assert "Traceback" not in server.log()
    assert ("TASK ENDED" in server.log()) == ("create_task" in waited)
