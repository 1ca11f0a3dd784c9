"""Programs in Python that nobody had in mind: each hurts nobody but its own message."""

from __future__ import annotations

import re

import pytest

from tests.harness import Server, wait_until

pytestmark = pytest.mark.processes

SCRIPT = """
import asyncio
import sys
import threading

module("mi_script", timeout=20)
print("printed at the top")
KEPT = []


@route.request
async def main(call: Call) -> None:
    found = PROGRAMS[call.ruri_user or ""](call)
    if hasattr(found, "__await__"):
        await found
    else:
        tell(call, type(found).__name__)


def tell(call: Call, text: object) -> None:
    call.append_to_reply(f"X-Told: {text}\\r\\n")
    call.send_reply(200, "OK")


async def nested(call: Call) -> None:
    async def inner() -> int:
        return int((await call.mi("uptime")).rc)

    async def middle() -> int:
        return await inner()

    tell(call, await middle())


async def iterates(call: Call) -> None:
    async def numbers():
        for number in range(3):
            await call.mi("uptime")
            yield number

    class Manager:
        async def __aenter__(self) -> str:
            return str((await call.mi("uptime")).rc)

        async def __aexit__(self, *error: object) -> None:
            await call.mi("uptime")

    async with Manager() as entered:
        tell(call, [entered, *[number async for number in numbers()]])


async def one_after_the_other(call: Call) -> None:
    first, second = call.mi("uptime"), call.mi("version")
    tell(call, [(await second).rc, (await first).rc])


async def in_a_thread(call: Call) -> None:
    tell(call, await asyncio.to_thread(threading.get_ident) != threading.get_ident())


async def exits_in_a_bare_except(call: Call) -> None:
    try:
        call.exit()
    except BaseException:
        tell(call, "went on")


async def prints(call: Call) -> None:
    print("printed by a route")
    tell(call, "printed")


async def keeps(call: Call) -> None:
    KEPT.append(call)
    tell(call, "kept")


async def uses_what_is_kept(call: Call) -> None:
    tell(call, KEPT[-1].call_id != call.call_id)


def generator(call: Call):
    yield 5


async def asynchronous_generator(call: Call):
    yield 5


async def raises_in_finally(call: Call) -> None:
    try:
        await call.mi("uptime")
        raise ValueError("first")
    finally:
        raise KeyError("second")


async def awaits_twice(call: Call) -> None:
    command = call.mi("uptime")
    await command
    await command


async def gathers_with_asyncio(call: Call) -> None:
    await asyncio.gather(call.mi("uptime"), call.mi("version"))


async def recurses(call: Call) -> None:
    await recurses(call)


async def leaves_the_process(call: Call) -> None:
    await call.mi("uptime")
    sys.exit(3)


async def is_interrupted(call: Call) -> None:
    raise KeyboardInterrupt("by intent")


async def raises_what_is_no_exception(call: Call) -> None:
    raise BaseException("by intent")


async def raises_what_closes_coroutines(call: Call) -> None:
    raise GeneratorExit("by intent")


async def raises_what_ends_coroutines(call: Call) -> None:
    raise StopIteration("by intent")


async def never_ends(call: Call) -> None:
    while True:
        await asyncio.sleep(0)


async def never_ends_asking(call: Call) -> None:
    while True:
        await call.mi("uptime")


async def refuses_to_end(call: Call) -> None:
    while True:
        try:
            await asyncio.sleep(60)
        except BaseException as error:
            KEPT.append(error)


PROGRAMS = dict(globals())
"""


@pytest.fixture(scope="module")
def server(start_shared) -> Server:
    return start_shared(SCRIPT, options=("--udp-workers", "1", "--mi-workers", "1"), python=True)


@pytest.mark.parametrize(
    ("program", "told"),
    [
        ("nested", "1"),
        ("iterates", "['1', 0, 1, 2]"),
        ("one_after_the_other", "[1, 1]"),
        ("in_a_thread", "True"),
        ("exits_in_a_bare_except", "went on"),
        ("prints", "printed"),
        ("keeps", "kept"),
        ("uses_what_is_kept", "True"),
        ("generator", "generator"),
        ("asynchronous_generator", "async_generator"),
    ],
)
def test_what_is_odd_and_right(server: Server, program: str, told: str) -> None:
    answer = server.client().ask(program)
    assert (answer.status, answer.header("X-Told")) == (200, told)


@pytest.mark.parametrize(
    ("program", "line"),
    [
        ("raises_in_finally", "KeyError: 'second'"),
        ("awaits_twice", "RuntimeError: this has been waited for already: call it again"),
        ("gathers_with_asyncio", "MiCall, which only the route itself can await; several by call.gather()"),
        ("recurses", "RecursionError: maximum recursion depth exceeded"),
        ("leaves_the_process", "SystemExit: 3"),
        ("is_interrupted", "KeyboardInterrupt: by intent"),
        ("raises_what_is_no_exception", "BaseException: by intent"),
        ("raises_what_closes_coroutines", "GeneratorExit: by intent"),
        ("raises_what_ends_coroutines", "RuntimeError: coroutine raised StopIteration"),
    ],
)
def test_what_is_wrong_is_answered_500_and_told_in_one_line(server: Server, program: str, line: str) -> None:
    client = server.client()
    call_id, request = client.request(program)
    client.send(request)
    assert client.final(call_id, resend=request).status == 500
    pattern = rf"ERROR \S+\.py:\d+:\d+: .*{re.escape(line)}.* \[OPTIONS {call_id}\]"
    wait_until(lambda: re.search(pattern, server.log()), what=pattern)
    assert "Traceback" not in server.log()


def test_what_never_ends_stops_neither_the_others_nor_the_end_of_the_server(server: Server) -> None:
    client = server.client()
    before = server.statistic("async:parked") - server.statistic("async:resumed")
    for program in ("never_ends", "never_ends_asking", "refuses_to_end"):
        client.send(client.request(program)[1])
    wait_until(lambda: server.statistic("async:parked") - server.statistic("async:resumed") > before)
    assert client.ask("nested").header("X-Told") == "1"
    assert server.stop() == 0
