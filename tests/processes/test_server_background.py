"""Who may keep a CPU busy in a real server, and how much it gives way to those who carry calls."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from runtime.background import NICER
from runtime.short_turns import TURN_S
from tests.cpu_turns import turn_s
from tests.harness import Server, wait_until

pytestmark = pytest.mark.processes

ROUTES = """
route {
    async(mi("bench_sleep 800", $var(told)), told);
}
route[told] { send_reply(200, "$rc"); }
"""


@pytest.fixture(scope="module")
def server(start_shared: Callable[..., Server]) -> Server:
    return start_shared(ROUTES, options=("--udp-workers", "1", "--mi-workers", "1"))


def nice_values(pid: int) -> list[int]:
    """Those of a process's threads, its main one's first (proc_pid_stat(5), field 19)."""
    found = []
    for path in Path(f"/proc/{pid}/task").glob("*/stat"):
        with contextlib.suppress(OSError):  # that thread has ended just now
            found.append(int(path.read_text().rpartition(")")[2].split()[16]))
    return found


def test_a_slow_command_gives_way_to_calls_and_its_worker_is_as_before(server: Server) -> None:
    (worker,), (sip,) = server.pids("MI worker"), server.pids("SIP")
    before = nice_values(worker)
    assert len(set(before)) == 1
    with ThreadPoolExecutor(1) as outside:
        reload = outside.submit(server.mi, "bench_sleep", {"ms": 800})
        wait_until(lambda: before[0] + NICER in nice_values(worker), what="the command runs in the background")
        assert nice_values(sip)[0] == before[0]
        assert reload.result() == {"slept_ms": 800}
    wait_until(lambda: nice_values(worker) == before, what="the thread has ended")


def test_so_does_one_that_a_script_waits_for(server: Server) -> None:
    (worker,) = server.pids("MI worker")
    before, client = nice_values(worker), server.client()
    call_id, request = client.request("asks")
    client.send(request)
    wait_until(lambda: before[0] + NICER in nice_values(worker), what="the command runs in the background")
    assert client.final(call_id, resend=request).reason == "1"


def test_what_does_not_take_long_goes_at_full_speed(server: Server) -> None:
    """It is done by the worker's own thread, which has the priority that the SIP processes have."""
    (worker,), (sip,) = server.pids("MI worker"), server.pids("SIP")
    assert nice_values(worker)[0] == nice_values(sip)[0]


def test_the_management_interface_gives_way(server: Server) -> None:
    (mi,), (sip,) = server.pids("MI HTTP"), server.pids("SIP")
    assert nice_values(mi)[0] == min(nice_values(sip)[0] + NICER, 19)


@pytest.mark.skipif(turn_s() is None, reason="this kernel does not tell how long turns are")
def test_those_who_carry_calls_take_short_turns_and_the_others_long_ones(server: Server) -> None:
    (mi,), (worker,), (sip,) = server.pids("MI HTTP"), server.pids("MI worker"), server.pids("SIP")
    assert (turn_s(sip), turn_s(mi), turn_s(worker)) == (TURN_S, turn_s(), turn_s())
