"""What the machine may do to a server: another time of day, no room, no descriptors, nobody who reads, deaths in a row.

The limits are put on processes that run (prlimit), and taken away again: a server has to come out of each as it was.
"""

from __future__ import annotations

import os
import resource
import select
import shutil
import signal
import socket
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest

from tests.harness import Server, free_port, wait_until
from tests.processes.faults import PROMPT_S, Calls, alive, check_rest, counted, is_well, its_own
from workers.tree_events import ExitCode

pytestmark = pytest.mark.processes

ROUTES = """
route {
    $var(ms) = $(rU{s.substr,1,0});
    switch ($(rU{s.substr,0,1})) {
    case "n":
        async(mi("bench_sleep $var(ms)", $var(r)), done, 20);
    case "w":
        async(mi("bench_wait $var(ms)", $var(r)), done, 20);
    case "t":
        async(mi("bench_wait 5000", $var(r)), done, 1);
    case "b":
        mi("bench_wait $var(ms)", $var(r));
        append_to_reply("X-Rc: $rc\\r\\n");
        break;
    case "c":
        cache_store("local", "key-$rU", "$hdr(X-Value)");
        append_to_reply("X-Rc: $rc\\r\\n");
        $var(r) = "";
        cache_fetch("local", "key-$rU", $var(r));
        break;
    case "x":
        $var(i) = 0;
        while ($var(i) < 20) {
            xlog("L_ERR", "$hdr(X-Value)");
            $var(i) = $var(i) + 1;
        }
        break;
    }
    append_to_reply("X-Epoch: $Ts\\r\\n");
    append_to_reply("X-Result: $var(r)\\r\\n");
    sl_send_reply(200, "OK");
}
route[done] {
    append_to_reply("X-Rc: $rc\\r\\n");
    append_to_reply("X-Result: $var(r)\\r\\n");
    t_reply(200, "OK");
}
timer_route[beat, 1] { update_stat("beats", 1); }
"""
HEAD = 'loadmodule "proto_tcp.so"\nmodparam("statistics", "variable", "beats")\n'
OPTIONS = ("--udp-workers", "2", "--mi-workers", "2")
NUMBERS = range(10, 18)


@pytest.fixture(scope="module")
def tcp_port() -> int:
    return free_port(socket.SOCK_STREAM)


@pytest.fixture(scope="module")
def server(wall: WallClock | None, start_shared: Callable[..., Server], tcp_port: int) -> Server:
    return start_shared(ROUTES, head=HEAD, options=(*OPTIONS, "-l", f"tcp:127.0.0.1:{tcp_port}"))


def check_serves(server: Server) -> None:
    """Whatever was, the next requests get their own answers, soon, and nothing is left over."""
    calls = Calls(server.client())
    calls.send([f"{kind}{number}" for number in NUMBERS for kind in "nb"])
    for user, answer, took_s in calls.finals(resend=True):
        assert its_own(user, answer), (user, answer.text)
        assert took_s < PROMPT_S, user
    check_rest(server)


# The time of day.


class WallClock:
    """An offset that all processes of a server see the wall clock with."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.set(0)

    def set(self, offset_s: int) -> None:
        with self.path.open("r+b" if self.path.exists() else "wb") as file:
            file.write(struct.pack("@l", offset_s))


@pytest.fixture(scope="module")
def wall(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WallClock | None]:
    if shutil.which("gcc") is None:
        yield None
        return
    folder = tmp_path_factory.mktemp("clock")
    source, library = Path(__file__).with_name("clock.c"), folder / "clock.so"
    subprocess.run(["gcc", "-shared", "-fPIC", "-O2", "-o", library, source, "-ldl"], check=True, timeout=60)
    clock = WallClock(folder / "offset")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LD_PRELOAD", str(library))
        patch.setenv("LAYBY_TEST_CLOCK", str(clock.path))
        yield clock


@pytest.mark.parametrize("jump_s", [86_400, -86_400], ids=["forwards", "backwards"])
def test_nothing_that_waits_goes_by_the_time_of_day(server: Server, wall: WallClock | None, jump_s: int) -> None:
    if wall is None:
        pytest.skip("needs a C compiler")
    calls = Calls(server.client())
    calls.send(["w700", "b701", "t1"])
    wait_until(lambda: counted(server, "async:waiting")["async:waiting"] == 2)
    beats = server.statistic("script:beats")
    wall.set(jump_s)
    try:
        epoch = server.client().ask("x0").header("X-Epoch")
        assert abs(float(epoch or 0) - (time.time() + jump_s)) < 60, "it is another day for the server"
        for user, answer, took_s in calls.finals():
            expected_s = 1.0 if user == "t1" else 0.7
            assert answer.header("X-Rc") == ("-408" if user == "t1" else "1")
            assert expected_s <= took_s < expected_s + PROMPT_S / 2, user
        check_serves(server)
        wait_until(lambda: server.statistic("script:beats") > beats, what="its timer routes go on")
    finally:
        wall.set(0)
    check_serves(server)
    assert server.statistic("script:beats") - beats < 20, "what was missed of another day is not made up for"


# Deaths in a row.


def test_a_server_whose_processes_die_and_die_gives_up_and_says_so(start_shared: Callable[..., Server]) -> None:
    server = start_shared(ROUTES, head=HEAD, options=("--udp-workers", "2", "--mi-workers", "6"))
    calls = Calls(server.client())
    calls.send(["b400"])
    died: set[int] = set()

    def given_up() -> bool:
        for pid in living(server, "MI worker") - died:
            died.add(pid)
            os.kill(pid, signal.SIGKILL)
        return server.process.poll() is not None

    wait_until(given_up, 20, what="it gives up")
    assert server.process.returncode == ExitCode.CRASH_STORM
    assert "giving up: more than 10 deaths of worker in 30 s" in server.log()
    assert len(died) >= 11
    ((_, answer, _),) = calls.finals()
    assert answer.header("X-Rc") in ("1", "-500"), "what was under way has been answered before it went"
    assert not server.folder.exists()


def living(server: Server, kind: str) -> set[int]:
    try:
        return {pid for pid in server.pids(kind) if alive(pid)}
    except (OSError, AssertionError):
        return set()


# No descriptors.


@contextmanager
def limited(kind: int, limits: dict[int, int]) -> Iterator[None]:
    """Put a soft limit on processes that run, and take it back."""
    before = {pid: resource.prlimit(pid, kind) for pid in limits}
    try:
        for pid, soft in limits.items():
            resource.prlimit(pid, kind, (soft, before[pid][1]))
        yield
    finally:
        for pid, limit in before.items():
            resource.prlimit(pid, kind, limit)


STANDARD_FILES = 3
"""Descriptors that every process has."""


def no_more_files(pids: list[int]) -> dict[int, int]:
    """A limit at which a process can open nothing more: the first descriptor that it does not have."""
    return {pid: first_free(pid) for pid in pids}


def first_free(pid: int) -> int:
    there = {int(name) for name in os.listdir(f"/proc/{pid}/fd")}
    return next(number for number in range(len(there) + 1) if number not in there)


def test_without_descriptors_what_needs_none_goes_on(server: Server, tcp_port: int) -> None:
    pids = server.all_pids()
    victims = [pid for kind in ("SIP", "MI worker") for pid in server.pids(kind)]
    calls = Calls(server.client())
    with limited(resource.RLIMIT_NOFILE, no_more_files(victims)):
        calls.send([f"n{number}" for number in NUMBERS] + ["b20", "b21", "c1"])
        for user, answer, took_s in calls.finals(resend=True):
            assert took_s < PROMPT_S, user
            if user[0] == "n":
                assert its_own(user, answer), (user, answer.text)
            elif user[0] == "b":
                # It would wait in a loop of its own, and that takes descriptors.
                assert answer.header("X-Rc") == "-3", (user, answer.text)
                assert "cannot be waited for" in answer.header("X-Result")
        with socket.create_connection(("127.0.0.1", tcp_port), 2) as one:
            one.sendall(b"\r\n\r\n")
            time_before = cpu_s(victims)
            # Nobody can take the connection, so nobody answers what was sent over it.
            assert not select.select([one], [], [], 0.5)[0]
            assert cpu_s(victims) - time_before < 0.4, "nobody spins at the connection that it cannot take"
    assert server.all_pids() == pids, "nobody died of it"
    check_serves(server)


def cpu_s(pids: list[int]) -> float:
    fields = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in pids]
    return sum(int(one[11]) + int(one[12]) for one in fields) / os.sysconf("SC_CLK_TCK")


def test_an_attendant_without_descriptors_replaces_the_dead_as_soon_as_it_can(server: Server) -> None:
    victim = server.pids("MI worker")[0]
    with limited(resource.RLIMIT_NOFILE, no_more_files([server.process.pid])):
        os.kill(victim, signal.SIGKILL)
        calls = Calls(server.client())
        calls.send([f"n{number}" for number in NUMBERS])
        assert all(answer.header("X-Rc") in ("1", "-500") for _, answer, _ in calls.finals())
        wait_until(lambda: "the fork failed" in server.log() or "starts in" in server.log())
        assert not is_well(server)
    wait_until(lambda: is_well(server), what="it is replaced")
    check_serves(server)


def test_an_mi_process_without_descriptors_takes_clients_again_afterwards(server: Server) -> None:
    (mi,) = set(server.pids("MI")) - set(server.pids("MI worker"))
    # Not the first that is free: that of the client who asked for the process's number is being closed.
    with limited(resource.RLIMIT_NOFILE, {mi: STANDARD_FILES}):
        assert not server.answers()
        calls = Calls(server.client())
        calls.send([f"n{number}" for number in NUMBERS])
        assert all(its_own(user, answer) for user, answer, _ in calls.finals())
    wait_until(server.answers, what="it takes clients again")
    check_serves(server)
    assert mi in server.all_pids()


# No room.


def test_a_store_without_room_refuses_and_the_rest_goes_on(server: Server) -> None:
    pids = server.all_pids()
    data = server.folder / "store" / "data.mdb"
    client = server.client()
    value = f"X-Value: {'v' * 3_000}\r\n"
    assert client.ask("c100", extra=value).header("X-Rc") == "1"
    with limited(resource.RLIMIT_FSIZE, dict.fromkeys(pids, data.stat().st_size)):
        refused = 0
        for number in range(101, 130):
            answer = client.ask(f"c{number}", extra=value)
            stored = answer.header("X-Rc") == "1"
            refused += not stored
            assert ("vvv" in answer.text) == stored, "what was refused is not there"
        assert refused > 20
        calls = Calls(server.client())
        calls.send([f"n{number}" for number in NUMBERS])
        assert all(its_own(user, answer) for user, answer, _ in calls.finals())
    assert client.ask("c200", extra=value).header("X-Rc") == "1"
    assert server.all_pids() == pids
    check_serves(server)


@pytest.fixture(scope="module")
def small_disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("disk")
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", folder], capture_output=True).returncode:
        pytest.skip("may not mount")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def test_on_a_full_disk_the_dead_are_replaced_and_calls_go_on(
    small_disk: Path, start_shared: Callable[..., Server]
) -> None:
    server = start_shared(ROUTES, head=HEAD, options=(*OPTIONS, "-R", str(small_disk / "run")))
    client, ballast = server.client(), small_disk / "ballast"
    value = f"X-Value: {'v' * 3_000}\r\n"
    assert client.ask("c100", extra=value).header("X-Rc") == "1"
    with pytest.raises(OSError, match="No space left"), ballast.open("wb", buffering=0) as file:
        fill(file)
    refused = [client.ask(f"c{number}", extra=value).header("X-Rc") != "1" for number in range(101, 120)]
    assert all(refused[-5:]), "there is no room for the last of them at least"
    victims = [server.pids("SIP")[0], server.pids("MI worker")[0]]
    for victim in victims:
        os.kill(victim, signal.SIGKILL)
    wait_until(lambda: not set(victims) & set(server.all_pids()) and is_well(server), what="they are replaced")
    check_serves(server)
    ballast.unlink()
    assert client.ask("c200", extra=value).header("X-Rc") == "1"
    check_serves(server)
    assert server.stop() == 0


def fill(file: IO[bytes]) -> None:
    while True:
        file.write(b"x" * 4096)


# Nobody who reads.


def test_a_log_that_nobody_reads_holds_up_no_request(server: Server) -> None:
    """The attendant writes the log of all; what finds no room in the pipe to it is lost, and counted."""
    calls = Calls(server.client())
    os.kill(server.process.pid, signal.SIGSTOP)
    try:
        extra = f"X-Value: {'x' * 2000}\r\n"
        for number in range(200):
            call_id, data = calls.client.request(f"x{number}", extra=extra)
            calls.sent[call_id] = f"x{number}", data, time.monotonic()
            calls.client.send(data)
        calls.send([f"n{number}" for number in NUMBERS])
        for user, answer, took_s in calls.finals(resend=True):
            assert user[0] == "x" or its_own(user, answer), (user, answer.text)
            assert took_s < PROMPT_S, user
    finally:
        os.kill(server.process.pid, signal.SIGCONT)
    # How much was lost can be told of a process when the next record comes from it.
    client = server.client()
    wait_until(lambda: client.ask("x1") and "log records of this process are lost" in server.log())
    check_serves(server)


def test_a_stopped_process_with_a_full_inbox_deals_with_what_it_has_and_nobody_waits_for_it(server: Server) -> None:
    """Each waits for answers of a worker that reads nothing, while thousands of requests come and go."""
    stopped = server.pids("MI worker")[0]
    calls = Calls(server.client())
    os.kill(stopped, signal.SIGSTOP)
    try:
        for batch in range(10):
            calls.send([f"{'wn'[number % 2]}{number % 7}" for number in range(batch, batch + 100)])
            calls.client.collect(0.05)
        # The other worker does the rest. Commands that answer later weigh nothing: whoever stops may have been given
        # all of them before it is seen, after half a second, that nothing moves there.
        calls.wait(len(calls.sent) // 2 + 20, 15)
    finally:
        os.kill(stopped, signal.SIGCONT)
    for user, answer, _ in calls.finals(limit_s=20, resend=True):
        assert its_own(user, answer), (user, answer.text)
    calls.check_single()
    check_serves(server)
