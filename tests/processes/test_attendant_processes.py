"""Embedded pools in real processes: who comes and goes, and what a death or a close leaves behind."""

from __future__ import annotations

import mmap
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import pytest
from msgspec.structs import replace

from tests.harness import ROOT, wait_until
from workers import joining
from workers.control import AttendantGone
from workers.jobs import Job, JobId, Outcome, Peer, Returned, TimedOut, WorkerLost
from workers.joining import AttendantProcess, BootFailure, CannotJoin, NoSuchPool, PoolSettings, join, start_attendant
from workers.node import Node
from workers.tree_events import Drain, PeerDown, PeerUp

pytestmark = pytest.mark.processes

LIMIT_S = 30.0
"""Of what is polled for: a start is four interpreters, each of which may have a fraction of a busy CPU."""


class Guest:
    """A process's place in a pool, in a plain loop, and all that it heard."""

    def __init__(self, folder: Path) -> None:
        self.membership = join(folder)
        self.peer = self.membership.peer
        self.board = self.membership.board
        self.node = Node(
            self.peer,
            self.membership.slot,
            folder,
            self.board,
            executes=False,
            handlers={},
            transport=self.membership.settings.transport,
        )
        self.heard: list[object] = []
        self.outcomes: dict[JobId, Outcome] = {}
        self._poller = select.poll()
        self._poller.register(self.node.fileno(), select.POLLIN)
        self._poller.register(self.membership.link.fileno(), select.POLLIN)
        self.membership.link.ready()

    def turn(self, limit_s: float = 0.05) -> None:
        now, deadline = time.monotonic(), self.node.next_deadline()
        wait_s = limit_s if deadline is None else max(0.0, min(limit_s, deadline - now))
        events = self._poller.poll(wait_s * 1000)
        for fd, _ in events:
            if fd == self.node.fileno():
                self.node.on_readable(time.monotonic())
            else:
                self.listen()
        self.node.on_deadline(time.monotonic())

    def listen(self) -> None:
        for told in self.membership.link.receive():
            self.heard.append(told)
            match told:
                case PeerUp(peer, slot, executes):
                    self.node.peer_up(peer, slot, executes)
                case PeerDown(peer, reason):
                    self.node.peer_down(peer, reason)
                case AttendantGone():
                    self._poller.unregister(self.membership.link.fileno())

    def until(self, condition: Callable[[], Any], what: str = "") -> Any:
        ends_at = time.monotonic() + LIMIT_S
        while not (value := condition()):
            assert time.monotonic() < ends_at, f"not within {LIMIT_S} s: {what}; heard {self.heard}"
            self.turn()
        return value

    def submit(self, handler: str, payload: bytes = b"", **more: Any) -> JobId:
        more = {"label": handler, "timeout_s": 60.0} | more
        return self.node.submit(handler, payload, settled=self._settled, **more).id

    def _settled(self, job: Job, outcome: Outcome) -> None:
        assert job.id not in self.outcomes, "told twice"
        self.outcomes[job.id] = outcome

    def outcome(self, job: JobId) -> Outcome:
        return self.until(lambda: self.outcomes.get(job), f"{job} is settled")

    def call(self, handler: str, payload: bytes = b"", **more: Any) -> bytes:
        outcome = self.outcome(self.submit(handler, payload, **more))
        assert isinstance(outcome, Returned), outcome
        return outcome.payload

    def workers(self) -> dict[Peer, int]:
        """The workers that are up as far as is known here, and their slots."""
        return {peer: slot for peer, (slot, executes) in self.node.peers().items() if executes}

    def ends(self) -> dict[Peer, str]:
        """Who went, and why."""
        return {told.peer: told.reason for told in self.heard if isinstance(told, PeerDown)}

    def close(self) -> None:
        self.node.close()
        self.membership.close()


class Pools:
    """Starts pools, and sees to it that nothing is left of them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "pool"
        self.attendants: list[AttendantProcess] = []
        self.guests: list[Guest] = []

    def start(self, ready: bool = True, **more: Any) -> AttendantProcess:
        settings = replace(PoolSettings(folder=self.folder, workers=2, drain_s=3.0, title="pool-test"), **more)
        attendant = start_attendant(settings)
        self.attendants.append(attendant)
        if ready:
            attendant.wait_ready(LIMIT_S)
        return attendant

    def guest(self, **more: Any) -> Guest:
        self.guests.append(Guest(self.folder))
        guest = self.guests[-1]
        guest.until(guest.workers, "a worker is announced")
        return guest

    def close(self) -> None:
        for guest in self.guests:
            guest.close()
        for attendant in self.attendants:
            attendant.close(LIMIT_S)
        for attendant in self.attendants:
            wait_until(lambda pid=attendant.pid: not members_of(pid), what="no process is left")


def members_of(session: int) -> dict[int, str]:
    """The living processes of a session, and their titles. An attendant leads one of its own."""
    found = {}
    for entry in Path("/proc").iterdir():
        with suppress(OSError, ValueError):
            state, _, _, sid = (entry / "stat").read_text().rpartition(")")[2].split()[:4]
            if int(sid) == session and state not in "ZX":
                found[int(entry.name)] = (entry / "cmdline").read_bytes().rstrip(b"\0").decode()
    return found


def descriptors() -> list[str]:
    found = []
    for fd in os.listdir("/proc/self/fd"):
        with suppress(OSError):
            found.append(os.readlink(f"/proc/self/fd/{fd}"))
    return sorted(found)


@pytest.fixture
def pools(tmp: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pools]:
    """Pools whose handlers are those of `tests.processes.attendant_jobs`."""
    ours = "from tests.processes.attendant_jobs import load; sys.exit(main({fd}, load))"
    monkeypatch.setattr(joining, "_BOOTSTRAP", joining._BOOTSTRAP.replace("sys.exit(main({fd}))", ours))
    monkeypatch.setattr(sys, "path", [str(ROOT), *sys.path])
    before = descriptors()
    pools = Pools(tmp)
    try:
        yield pools
    finally:
        pools.close()
    assert not pools.folder.exists()
    assert len(descriptors()) == len(before), (before, descriptors())


def test_a_pool_starts_runs_jobs_and_leaves_nothing(pools: Pools) -> None:
    attendant = pools.start()
    guest = pools.guest()
    assert guest.call("echo", b"hello") == b"hello"
    assert set(members_of(attendant.pid).values()) == {
        "pool-test: attendant",
        "pool-test: worker-1",
        "pool-test: worker-2",
    }
    assert pools.folder.stat().st_mode & 0o777 == 0o700
    assert (pools.folder / "pool.sock").stat().st_mode & 0o777 == 0o600
    guest.close()
    assert attendant.close() == 0
    assert attendant.close() == 0
    assert members_of(attendant.pid) == {}


def test_guests_hear_of_each_other_and_of_each_others_end(pools: Pools) -> None:
    pools.start()
    first, second = pools.guest(), pools.guest()
    first.until(lambda: second.peer in first.node.peers())
    assert {first.peer, second.peer} == {Peer("guest-1", 1), Peer("guest-2", 1)}
    second.close()
    first.until(lambda: second.peer in first.ends())
    assert first.ends() == {second.peer: "it left"}
    third = pools.guest()
    assert third.peer == Peer("guest-2", 2)
    assert third.call("pid")


def test_a_guest_that_is_killed_frees_its_place_and_what_it_had(pools: Pools) -> None:
    pools.start()
    guest = pools.guest()
    other = fork_a_guest(pools.folder, busy=True)
    peer = guest.until(lambda: next((peer for peer in guest.node.peers() if peer.name == "guest-2"), None))
    guest.until(lambda: any(load.outstanding for load in guest.board.loads()))
    os.kill(other, signal.SIGKILL)
    os.waitpid(other, 0)
    assert guest.until(lambda: guest.ends().get(peer)) in {"it left", "it died"}
    assert not any(load.outstanding for load in guest.board.loads())
    assert guest.call("pid")


def fork_a_guest(folder: Path, busy: bool) -> int:
    """Another process that has joined; killed by whoever wants it gone."""
    program = (
        "import sys; sys.path[:] = {!r}; from tests.processes.test_attendant_processes import linger; linger({!r}, {})"
    )
    process = subprocess.Popen([sys.executable, "-c", program.format(sys.path, str(folder), busy)])
    process.returncode = 0  # reaped by the test
    return process.pid


def linger(folder: str, busy: bool) -> None:
    guest = Guest(Path(folder))
    guest.until(guest.workers)
    if busy:
        guest.submit("nap", b"0.2")
    while True:
        guest.turn()


def test_a_guest_that_never_says_ready_or_says_nonsense_holds_nobody_up(pools: Pools) -> None:
    pools.start(max_guests=3)
    empty = join(pools.folder)
    empty.link._socket.send(b"")  # as good as an end of file
    wait_until(lambda: AttendantGone() in empty.link.receive(), what="it is dismissed")
    empty.close()
    silent = [join(pools.folder) for _ in range(2)]
    silent[0].link._socket.send(b"\xc1nonsense")
    guest = pools.guest()
    with pytest.raises(CannotJoin, match="the pool is full: 3 guests are the most"):
        join(pools.folder)
    assert guest.call("echo", b"x") == b"x"
    assert [peer.name for peer in guest.node.peers() if peer.name.startswith("guest")] == []
    for membership in silent:
        membership.close()
    wait_until(lambda: can_join(pools.folder), what="a place is free")


def can_join(folder: Path) -> bool:
    try:
        join(folder).close()
    except CannotJoin:
        return False
    return True


def test_strangers_at_the_door_are_told_why(pools: Pools, tmp: Path) -> None:
    with pytest.raises(NoSuchPool, match="no pool runs here"):
        join(tmp)
    with pytest.raises(NoSuchPool, match="at most 80 bytes"):
        join(Path("/" + "x" * 90))
    pools.start()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as wrong, pytest.raises(OSError, match="wrong type"):
        wrong.connect(str(pools.folder / "pool.sock"))
    assert pools.guest().call("echo") == b""


def test_two_pools_cannot_share_a_folder(pools: Pools) -> None:
    pools.start()
    second = pools.start(ready=False)
    with pytest.raises(BootFailure, match="another pool runs in this folder"):
        second.wait_ready(LIMIT_S)
    second.close()
    assert pools.guest().call("echo") == b""


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"handlers": ("missing",)}, "handlers: No module named 'missing'"),
        (
            {"initializer": "tests.processes.attendant_jobs:refuse", "initargs": ("no licence",)},
            "could not start: initializer tests.processes.attendant_jobs:refuse: ValueError: no licence",
        ),
        ({"initializer": "tests.processes.attendant_jobs:nowhere"}, "has no attribute 'nowhere'"),
        ({"memory_limit_bytes": 1_000_000}, "before its first job, and its limit is 1 MiB"),
    ],
)
def test_a_pool_that_cannot_start_says_why(pools: Pools, settings: dict[str, Any], text: str) -> None:
    attendant = pools.start(ready=False, **settings)
    with pytest.raises(BootFailure) as caught:
        attendant.wait_ready(LIMIT_S)
    assert text in str(caught.value)
    attendant.close()


def test_settings_that_cannot_be_are_refused_before_anything_starts(tmp: Path) -> None:
    good = PoolSettings(folder=tmp / "pool")
    for wrong, text in (
        ({"workers": 0}, "workers=0"),
        ({"workers": 4, "max_workers": 2}, "max_workers=2"),
        ({"idle_s": -1.0}, "idle_s"),
        ({"folder": Path("/" + "x" * 100)}, "at most 80 bytes"),
    ):
        with pytest.raises(ValueError, match=text):
            start_attendant(replace(good, **wrong))
    with pytest.raises(TypeError):
        start_attendant(replace(good, initargs=(object(),)))
    assert not (tmp / "pool").exists()


def test_the_initialiser_runs_in_every_life(pools: Pools) -> None:
    pools.start(workers=1, initializer="tests.processes.attendant_jobs:initialize", initargs=("hello",))
    guest = pools.guest()
    assert guest.call("greet") == b"hello"
    os.kill(int(guest.call("pid")), signal.SIGKILL)
    guest.until(guest.ends)
    assert guest.call("greet") == b"hello"


def test_a_worker_that_cannot_start_again_does_not_end_a_pool_that_works(pools: Pools, tmp: Path) -> None:
    stop = tmp / "stop"
    pools.start(initializer="tests.processes.attendant_jobs:refuse_if_there", initargs=(str(stop),))
    guest = pools.guest()
    guest.until(lambda: len(guest.workers()) == 2)
    stop.touch()
    os.kill(int(guest.call("pid")), signal.SIGKILL)
    guest.until(guest.ends)
    for _ in range(20):
        assert guest.call("echo", b"still here") == b"still here"
    stop.unlink()
    guest.until(lambda: len(guest.workers()) == 2, "it starts again")


# Deaths.


def test_a_killed_worker_is_replaced_and_the_reason_told(pools: Pools) -> None:
    pools.start()
    guest = pools.guest()
    job = guest.submit("die")
    outcome = guest.outcome(job)
    assert isinstance(outcome, WorkerLost)
    assert guest.ends() == {outcome.worker: "killed by SIGKILL"}
    successor = Peer(outcome.worker.name, 2)
    guest.until(lambda: successor in guest.workers())
    assert guest.call("echo", b"again", to=successor) == b"again"


def test_the_pool_ends_with_its_creator_however_that_dies(pools: Pools) -> None:
    creator = start_a_creator(pools.folder)
    guest = pools.guest()
    attendant_pid = os.getsid(int(guest.call("pid")))
    os.kill(creator.pid, signal.SIGKILL)
    creator.wait()
    guest.until(lambda: any(isinstance(told, Drain) for told in guest.heard))
    guest.node.drain("the pool ends")
    guest.until(lambda: AttendantGone() in guest.heard)
    wait_until(lambda: not members_of(attendant_pid))
    assert not pools.folder.exists()


def test_a_child_of_the_creator_does_not_keep_the_pool_alive(pools: Pools) -> None:
    creator = start_a_creator(pools.folder, before="if os.fork() == 0: time.sleep(60)")
    guest = pools.guest()
    attendant_pid = os.getsid(int(guest.call("pid")))
    child = next(
        int(one)
        for one in Path(f"/proc/{creator.pid}/task/{creator.pid}/children").read_text().split()
        if int(one) != attendant_pid
    )
    try:
        os.kill(creator.pid, signal.SIGKILL)
        creator.wait()
        guest.until(lambda: AttendantGone() in guest.heard)
        wait_until(lambda: not members_of(attendant_pid))
    finally:
        os.kill(child, signal.SIGKILL)


def start_a_creator(folder: Path, before: str = "") -> subprocess.Popen[bytes]:
    """A program that starts a pool and sleeps."""
    program = f"""
import os, sys, time
sys.path[:] = {sys.path!r}
from pathlib import Path
from workers import joining
joining._BOOTSTRAP = {joining._BOOTSTRAP!r}
attendant = joining.start_attendant(joining.PoolSettings(folder=Path({str(folder)!r}), workers=2, drain_s=1.0))
attendant.wait_ready(10.0)
{before}
os.write(1, b"ready\\n")
time.sleep(60)
"""
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    process.stdout.close()
    return process


def test_a_killed_attendant_takes_its_workers_along_and_guests_hear_of_it(pools: Pools) -> None:
    attendant = pools.start()
    guest = pools.guest()
    os.kill(attendant.pid, signal.SIGKILL)
    guest.until(lambda: AttendantGone() in guest.heard)
    wait_until(lambda: not members_of(attendant.pid), what="the workers are gone")
    with pytest.raises(NoSuchPool):
        join(pools.folder)
    guest.close()
    assert pools.folder.exists()
    assert attendant.close() == -signal.SIGKILL
    assert not pools.folder.exists()


def test_what_a_killed_pool_left_is_removed_by_the_next(
    pools: Pools, tmp: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp))
    pools.folder = joining.fresh_folder()
    assert pools.folder.parent == tmp
    first = pools.start()
    second = joining.fresh_folder()  # one that has not started yet is left alone, and so is one that lives
    assert joining.fresh_folder().is_dir()
    assert second.is_dir()
    assert pools.folder.is_dir()
    os.kill(first.pid, signal.SIGKILL)
    wait_until(lambda: not members_of(first.pid))
    assert (pools.folder / "pool.sock").exists()
    joining.fresh_folder()
    assert not pools.folder.exists()


def test_ctrl_c_and_sigterm(pools: Pools) -> None:
    attendant = pools.start()
    guest = pools.guest()
    for pid in members_of(attendant.pid):
        os.kill(pid, signal.SIGINT)
    assert guest.call("echo", b"unmoved") == b"unmoved"
    assert guest.ends() == {}
    job = guest.submit("nap", b"0.3")
    guest.until(lambda: any(load.outstanding for load in guest.board.loads()))
    os.kill(attendant.pid, signal.SIGTERM)
    assert isinstance(guest.outcome(job), Returned)
    guest.until(lambda: AttendantGone() in guest.heard)
    assert attendant.close() == 0


def test_a_close_lets_work_finish_up_to_its_limit_and_kills_what_is_left(pools: Pools) -> None:
    attendant = pools.start()
    guest = pools.guest()
    guest.submit("nap", b"30")
    guest.until(lambda: any(load.outstanding for load in guest.board.loads()))
    began_at = time.monotonic()
    attendant.close(0.3)
    assert 0.3 <= time.monotonic() - began_at < 3.0
    assert members_of(attendant.pid) == {}


def test_nobody_joins_a_pool_that_shuts_down(pools: Pools) -> None:
    attendant = pools.start()
    guest = pools.guest()
    guest.submit("nap", b"1.0")
    guest.until(lambda: any(load.outstanding for load in guest.board.loads()))
    os.kill(attendant.pid, signal.SIGTERM)
    guest.until(lambda: any(isinstance(told, Drain) for told in guest.heard))
    with pytest.raises(CannotJoin, match="shutting down"):
        join(pools.folder)


# Planned ends, and the number of workers.


def test_a_spent_worker_is_replaced_and_loses_nothing(pools: Pools) -> None:
    pools.start(workers=2, max_jobs_per_worker=10)
    guest = pools.guest()
    jobs = [guest.submit("echo", b"%d" % number) for number in range(400)]
    outcomes = [guest.outcome(job) for job in jobs]
    assert [outcome for outcome in outcomes if not isinstance(outcome, Returned)] == []
    assert [outcome.payload for outcome in outcomes] == [b"%d" % number for number in range(400)]
    guest.until(guest.ends)
    assert all(reason.startswith("it served its ") for reason in guest.ends().values())


@pytest.mark.parametrize("handlers", [(), ("async",)], ids=["plain", "async"])
def test_a_fast_worker_is_spent_when_it_has_served_its_number(pools: Pools, handlers: tuple[str, ...]) -> None:
    """One job after the other: what it serves beyond that was sent before anybody could see that it leaves."""
    pools.start(workers=1, handlers=handlers, max_jobs_per_worker=10)
    guest = pools.guest()
    served = Counter(guest.call("pid") for _ in range(50))
    assert sum(served.values()) == 50
    assert max(served.values()) <= 13
    assert len(served) >= 4


@pytest.mark.parametrize("handlers", [(), ("async",)], ids=["plain", "async"])
@pytest.mark.parametrize("limit", [{"max_jobs_per_worker": 10_000}, {"memory_limit_bytes": 2**30}], ids=str)
def test_a_worker_with_a_limit_sleeps_while_there_is_nothing_to_do(
    pools: Pools, handlers: tuple[str, ...], limit: dict[str, int]
) -> None:
    pools.start(workers=1, handlers=handlers, **limit)
    guest = pools.guest()
    pid = int([guest.call("pid") for _ in range(20)][-1])
    seen_at, seen = time.monotonic(), -1

    def slept() -> bool:
        nonlocal seen_at, seen
        now, wakings = time.monotonic(), wakings_of(pid)
        if wakings != seen:
            seen_at, seen = now, wakings
        return now - seen_at > 0.3

    guest.until(slept, "it is not woken for a while")


@pytest.mark.parametrize("handlers", [(), ("async",)], ids=["plain", "async"])
def test_a_worker_that_grew_too_large_just_after_it_was_looked_at_is_replaced(
    pools: Pools, handlers: tuple[str, ...]
) -> None:
    """Nothing more is asked of it, and so it has no turn in which to notice."""
    pools.start(workers=1, handlers=handlers, memory_limit_bytes=60 * 2**20)
    guest = pools.guest()
    for _ in range(5):
        guest.call("echo")
    for _ in range(20):  # one meal of all would take so long that a look is due after it anyhow
        guest.submit("eat", b"3")
    guest.until(guest.ends)
    assert set(guest.ends().values()) == {"over its memory limit of 60 MiB"}


def test_a_worker_that_grew_too_large_is_replaced_after_its_job(pools: Pools) -> None:
    pools.start(workers=1, memory_limit_bytes=60 * 2**20)
    guest = pools.guest()
    first = guest.call("eat", b"60")
    guest.until(guest.ends)
    assert list(guest.ends().values()) == ["over its memory limit of 60 MiB"]
    assert guest.call("pid") != first


def test_a_worker_that_takes_too_much_in_mid_job_is_killed(pools: Pools) -> None:
    pools.start(workers=1, memory_limit_bytes=120 * 2**20)
    guest = pools.guest()
    outcome = guest.outcome(guest.submit("gorge", b"300"))
    assert isinstance(outcome, WorkerLost)
    assert guest.ends() == {outcome.worker: "over its memory limit of 120 MiB"}
    assert guest.call("pid")


def test_a_worker_whose_job_is_past_its_deadline_is_killed_and_replaced_at_once(pools: Pools) -> None:
    """Eleven in a row would be a crash storm if they counted."""
    pools.start(workers=1, kill_grace_s=0.05)
    guest = pools.guest()
    late_s = []
    for life in range(1, 13):
        due = time.monotonic() + 0.1
        job = guest.submit("nap", b"60", timeout_s=0.05, kill=True)
        worker = Peer("worker-1", life)
        assert guest.until(partial(reason_of, guest, worker)) == "its job was past its deadline"
        late_s.append(time.monotonic() - due)
        assert isinstance(guest.outcome(job), TimedOut)
        guest.until(guest.workers)
    assert min(late_s) >= 0.0
    assert median(late_s) < 0.5, "not when somebody happens to look"


def reason_of(guest: Guest, peer: Peer) -> str | None:
    return guest.ends().get(peer)


def test_a_pool_grows_while_jobs_wait_and_shrinks_again(pools: Pools) -> None:
    pools.start(workers=1, max_workers=4, idle_s=0.5)
    guest = pools.guest()
    assert len(guest.workers()) == 1
    jobs = [guest.submit("nap", b"0.3", label="nap") for _ in range(16)]
    assert guest.until(lambda: len(guest.workers()) == 4, "four workers")
    assert all(isinstance(guest.outcome(job), Returned) for job in jobs)
    assert len({guest.outcomes[job].worker for job in jobs}) == 4
    guest.until(lambda: len(guest.workers()) == 1, "one worker")
    assert set(guest.ends().values()) == {"retired"}
    assert guest.call("echo", b"x") == b"x"
    jobs = [guest.submit("nap", b"0.3") for _ in range(4)]
    assert all(isinstance(guest.outcome(job), Returned) for job in jobs)
    assert len({guest.outcomes[job].worker for job in jobs}) > 1, "it grows again"


def test_handlers_that_await(pools: Pools) -> None:
    pools.start(workers=1, handlers=("async",), max_jobs_per_worker=50)
    guest = pools.guest()
    jobs = [guest.submit("later", b"0.2") for _ in range(20)] + [guest.submit("echo", b"x")]
    began_at = time.monotonic()
    assert all(isinstance(guest.outcome(job), Returned) for job in jobs)
    assert time.monotonic() - began_at < 2.0
    for _ in range(60):
        assert guest.call("echo", b"x") == b"x"
    guest.until(guest.ends)
    assert all(reason.startswith("it served its ") for reason in guest.ends().values())


def test_an_idle_pool_uses_no_processor(pools: Pools) -> None:
    attendant = pools.start(workers=1, max_workers=4)
    guest = pools.guest()
    guest.call("echo")
    pids = list(members_of(attendant.pid))
    before = sum(cpu_s(pid) for pid in pids)
    ends_at = time.monotonic() + 1.0
    guest.until(lambda: time.monotonic() > ends_at)
    assert sum(cpu_s(pid) for pid in pids) - before <= 0.03


def wakings_of(pid: int) -> int:
    """How often a process, with its threads, has begun to wait."""
    statuses = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/status")]
    return sum(int(status.partition("\nvoluntary_ctxt_switches:")[2].split()[0]) for status in statuses)


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_a_worker_costs_little_memory(pools: Pools) -> None:
    pools.start()
    guest = pools.guest()
    assert int(guest.call("private")) <= 10 * 2**20


def test_a_worker_holds_nothing_of_the_attendants(pools: Pools) -> None:
    """However many guests and siblings there are: its link, its node, and nothing else."""
    pools.start(workers=1)
    first = pools.guest()
    first.call("pid")
    before = first.call("open_files").split(b"\n")
    os.kill(int(first.call("pid")), signal.SIGKILL)
    first.until(first.ends)
    assert first.call("pid")
    assert first.call("open_files").split(b"\n") == before
    assert not [one for one in before if b"pool.lock" in one or b"pidfd" in one], before
    assert sum(b"memfd" in one for one in before) == 1, "the board, once: mmap keeps a descriptor of its own"


def test_the_board_is_one_memory(pools: Pools) -> None:
    pools.start()
    first, second = pools.guest(), pools.guest()
    first.board.wait(first.membership.slot, 7)
    assert second.board.waiting()[first.membership.slot] == 7
    assert isinstance(first.membership._memory, mmap.mmap)
    first.close()
    second.until(lambda: first.peer in second.ends())
    assert second.board.waiting()[first.membership.slot] == 0
