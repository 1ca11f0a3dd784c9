"""A tree of real processes: each test runs an attendant of its own and reads what it and its children say."""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.processes

ROOT = Path(__file__).parents[2]
LIMIT_S = 10.0

PREAMBLE = """
import gc, json, logging, os, select, signal, sys, time
from msgspec.structs import asdict
from workers.control import AttendantGone, Drain, PeerDown, PeerUp, Tell
from workers.tree import BootFailure, ProcessTree, RestartPolicy, Role

def say(**words):
    words["at"] = time.monotonic()
    os.write(1, (json.dumps(words, default=str) + "\\n").encode())

def names(thing):
    return {key: str(value) if key == "peer" else value
            for key, value in ((field, getattr(thing, field)) for field in thing.__struct_fields__)}

def on_event(event):
    say(event=type(event).__name__, **names(event))

def on_tell(peer, topic, body):
    say(topic=topic, by=str(peer), body=body.decode())

def descriptors():
    found = {}
    for fd in os.listdir("/proc/self/fd"):
        try:
            found[fd] = os.readlink("/proc/self/fd/" + fd).split(":")[0]
        except OSError:
            pass  # the one that lists
    return found

def listen(child, leave=True):
    '''Live until told to drain, and say what is heard.'''
    while True:
        select.select([child.control.fileno()], [], [])
        for told in child.control.receive():
            say(heard=type(told).__name__, by=str(child.peer), peer=str(getattr(told, "peer", "")),
                slot=getattr(told, "slot", None))
            if isinstance(told, AttendantGone) or (leave and isinstance(told, Drain)):
                return 0

def serve(child):
    child.control.ready()
    return listen(child)

class LogToSay(logging.Handler):
    def emit(self, record):
        say(logged=self.format(record))

logging.getLogger().addHandler(LogToSay())
"""


class Tree:
    """A script that runs a tree, and everything that it has said so far."""

    def __init__(self, path: Path, body: str) -> None:
        path.write_text(PREAMBLE + body)
        self.process = subprocess.Popen(
            [sys.executable, str(path)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            start_new_session=True,
        )
        assert self.process.stdout is not None
        self._fd = self.process.stdout.fileno()
        os.set_blocking(self._fd, False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._fd, selectors.EVENT_READ)
        self._rest = b""
        self.words: list[dict] = []
        self.pids: set[int] = set()

    def read(self, timeout_s: float) -> bool:
        """Take in what was said; False when everybody is gone."""
        if not self._selector.select(timeout_s):
            return True
        data = os.read(self._fd, 65536)
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            try:
                word = json.loads(line)
            except ValueError:
                word = {"noise": line.decode("utf-8", "replace")}
            self.words.append(word)
            if word.get("event") == "Started":
                self.pids.add(word["pid"])
        return bool(data)

    def all(self, **wanted: object) -> list[dict]:
        return [word for word in self.words if wanted.items() <= word.items()]

    def expect(self, count: int = 1, **wanted: object) -> dict:
        """The `count`-th word with these items, waiting for it."""
        deadline = time.monotonic() + LIMIT_S
        while len(self.all(**wanted)) < count:
            assert time.monotonic() < deadline, f"no {wanted} among:\n" + self.story()
            if not self.read(0.2):
                break
        assert len(self.all(**wanted)) >= count, f"ended without {wanted}:\n" + self.story()
        return self.all(**wanted)[count - 1]

    def exit_code(self) -> int:
        """Of the attendant; everything that was said before its end is in `words` afterwards."""
        deadline = time.monotonic() + LIMIT_S
        while self.read(0.2):
            assert time.monotonic() < deadline, "does not end:\n" + self.story()
        return self.process.wait(LIMIT_S)

    def signal(self, number: int) -> None:
        os.kill(self.process.pid, number)

    def story(self) -> str:
        return "\n".join(map(str, self.words))

    def close(self) -> None:
        for pid in (self.process.pid, *self.pids):
            if not is_gone(pid):
                os.kill(pid, signal.SIGKILL)
        self.process.wait(LIMIT_S)
        self._selector.close()
        assert self.process.stdout is not None
        self.process.stdout.close()


def is_gone(pid: int) -> bool:
    """Whether it does not run: reaped, or a zombie of whoever inherited it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return True


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[str], Tree]]:
    trees: list[Tree] = []

    def start(body: str) -> Tree:
        trees.append(Tree(tmp_path / f"tree{len(trees)}.py", body))
        return trees[-1]

    yield start
    for tree in trees:
        tree.close()


THREE = """
def show():
    say(table=[[str(row.peer), row.slot, row.pid, row.role, row.restarts, row.state] for row in tree.table()],
        fds=descriptors())

tree = ProcessTree(
    [Role("sip", 2, serve, 0, False), Role("worker", 1, serve, 2, True)],
    on_event=on_event, on_tell=on_tell, signals={signal.SIGUSR1: show},
)
sys.exit(tree.run())
"""


def tree_table(tree: Tree, count: int) -> list:
    deadline = time.monotonic() + LIMIT_S
    while len(tables := [word["table"] for word in tree.words if "table" in word]) < count:
        assert time.monotonic() < deadline, tree.story()
        assert tree.read(0.2), tree.story()
    return tables[count - 1]


def table(tree: Tree) -> dict[str, list]:
    """The tree's table now, by peer."""
    seen = len([word for word in tree.words if "table" in word])
    tree.signal(signal.SIGUSR1)
    return {row[0]: row for row in tree_table(tree, seen + 1)}


def test_a_killed_process_is_replaced_and_nobody_else_is(start):
    tree = start(THREE)
    tree.expect(3, event="Ready")
    before = table(tree)
    assert [row[1:2] + row[3:] for row in before.values()] == [
        [0, "sip", 0, "up"],
        [1, "sip", 0, "up"],
        [2, "worker", 0, "up"],
    ]

    killed_at = time.monotonic()
    os.kill(before["sip-2.1"][2], signal.SIGKILL)
    died = tree.expect(event="Died", peer="sip-2.1")
    down = [tree.expect(heard="PeerDown", by=by, peer="sip-2.1") for by in ("sip-1.1", "worker-1.1")]
    assert (died["slot"], died["pid"], died["status"]) == (1, before["sip-2.1"][2], "killed by SIGKILL")
    assert all(word["at"] - killed_at < 0.5 for word in down)
    restarting = tree.expect(event="Restarting", peer="sip-2.2")
    assert restarting["after_s"] == 0.0
    started = tree.expect(event="Started", peer="sip-2.2")
    assert all(died["at"] < word["at"] for word in [*down, restarting])
    assert restarting["at"] < started["at"]
    assert started["slot"] == 1

    tree.expect(event="Ready", peer="sip-2.2")
    for by in ("sip-1.1", "worker-1.1"):
        assert tree.expect(heard="PeerUp", by=by, peer="sip-2.2")["slot"] == 1
    tree.expect(heard="PeerUp", by="sip-2.2", peer="sip-1.1")
    tree.expect(heard="PeerUp", by="sip-2.2", peer="worker-1.1")
    after = table(tree)
    assert [after["sip-1.1"], after["worker-1.1"]] == [before["sip-1.1"], before["worker-1.1"]]
    assert after["sip-2.2"][1] == 1
    assert after["sip-2.2"][2:] == [started["pid"], "sip", 1, "up"]
    assert len(tree.all(event="Died")) == 1


def test_sigterm_drains_in_order(start):
    tree = start(THREE)
    tree.expect(3, event="Ready")
    tree.signal(signal.SIGTERM)
    assert tree.exit_code() == 0
    draining, stopped = tree.expect(event="Draining"), tree.expect(event="Stopped")
    heard = [tree.expect(heard="Drain", by=by) for by in ("sip-1.1", "sip-2.1", "worker-1.1")]
    died = [tree.expect(event="Died", peer=peer) for peer in ("sip-1.1", "sip-2.1", "worker-1.1")]
    assert draining["within_s"] == 5.0
    assert stopped["code"] == 0
    for drain, death in zip(heard, died, strict=True):
        assert draining["at"] < drain["at"] < death["at"] < stopped["at"]
        assert death["status"] == "exit code 0"
    assert not tree.all(event="Restarting")


def test_an_interrupt_of_the_whole_group_drains_and_kills_nobody(start):
    tree = start(THREE)
    tree.expect(3, event="Ready")
    os.killpg(tree.process.pid, signal.SIGINT)
    assert tree.exit_code() == 0
    assert [word["status"] for word in tree.all(event="Died")] == ["exit code 0"] * 3


STUBBORN = """
def stay(child):
    child.control.ready()
    return listen(child, leave=False)

sys.exit(ProcessTree(
    [Role("sip", 1, stay, 0, False), Role("worker", 1, serve, 1, True)], policy=RestartPolicy(grace_s=0.2),
    drain_s=DRAIN_S, on_event=on_event, on_tell=on_tell).run())
"""


def test_who_does_not_leave_in_time_is_killed(start):
    tree = start(STUBBORN.replace("DRAIN_S", "0.2"))
    tree.expect(2, event="Ready")
    tree.signal(signal.SIGTERM)
    assert tree.exit_code() == 0
    assert tree.expect(event="Died", peer="worker-1.1")["status"] == "exit code 0"
    killed = tree.expect(event="Died", peer="sip-1.1")
    assert killed["status"] == "killed by SIGKILL"
    assert 0.4 <= killed["at"] - tree.expect(event="Draining")["at"] < 1.5


def test_a_second_sigterm_kills_at_once(start):
    tree = start(STUBBORN.replace("DRAIN_S", "60"))
    tree.expect(2, event="Ready")
    tree.signal(signal.SIGTERM)
    began = tree.expect(event="Draining")
    tree.expect(heard="Drain", by="sip-1.1")
    while time.monotonic() < began["at"] + 0.06:  # sooner, it would be taken for an echo of the first
        pass
    asked_at = time.monotonic()
    tree.signal(signal.SIGTERM)
    assert tree.exit_code() == 5
    killed = tree.expect(event="Died", peer="sip-1.1")
    assert killed["status"] == "killed by SIGKILL"
    assert killed["at"] - asked_at < 0.5


@pytest.mark.parametrize(
    "failure",
    ["raise BootFailure('no such port')", "raise RuntimeError('no such port')", "os._exit(3)", "return 0"],
)
def test_a_boot_failure_ends_the_tree(start, failure):
    tree = start(f"""
def fail(child):
    {failure}

sys.exit(ProcessTree([Role("sip", 1, serve, 0, False), Role("worker", 1, fail, 1, True)],
    on_event=on_event, on_tell=on_tell).run())
""")
    assert tree.exit_code() == 3
    gave_up = tree.expect(event="GaveUp")
    assert gave_up["code"] == 3
    words = "no such port" if "BootFailure" in failure else "exit code "
    assert gave_up["reason"].startswith(f"worker-1.1 could not start: {words}")
    assert not tree.all(event="Restarting")
    assert tree.expect(event="Stopped")["code"] == 3
    assert bool([word for word in tree.words if "no such port" in word.get("logged", "")]) == ("raise" in failure)


LATER = """
def main(child):
    if child.peer.incarnation == 1:
        child.control.ready()
        return 1
    if child.peer.incarnation == 2:
        SECOND
    return serve(child)

tree = ProcessTree([Role("sip", 1, main, 7, False)], on_event=on_event, on_tell=on_tell)
sys.exit(tree.run())
"""


def test_a_later_life_that_cannot_start_is_tried_again_unless_it_says_that_it_never_will(start):
    again = start(LATER.replace("SECOND", "raise RuntimeError('by chance')"))
    never = start(LATER.replace("SECOND", "raise BootFailure('the licence is over')"))
    assert again.expect(event="Ready", peer="sip-1.3")["slot"] == 7
    assert [word["after_s"] for word in again.all(event="Restarting")] == [0.0, 0.1]
    again.signal(signal.SIGTERM)
    assert again.exit_code() == 0
    assert never.exit_code() == 3
    assert [word["peer"] for word in never.all(event="Started")] == ["sip-1.1", "sip-1.2"]
    assert [word for word in never.words if word.get("logged") == "sip-1.2 cannot start: the licence is over"]


def test_a_crash_storm_gives_up_and_drains_the_others(start):
    tree = start("""
def crash(child):
    child.control.ready()
    raise RuntimeError("always")

sys.exit(ProcessTree([Role("sip", 1, serve, 0, False), Role("worker", 1, crash, 1, True)],
    policy=RestartPolicy(backoff_s=0.01, storm_deaths=3), on_event=on_event, on_tell=on_tell).run())
""")
    assert tree.exit_code() == 4
    assert [word["peer"] for word in tree.all(event="Died")][:4] == [f"worker-1.{life}" for life in (1, 2, 3, 4)]
    assert tree.expect(event="GaveUp")["reason"] == "more than 3 deaths of worker in 30 s; the last: exit code 1"
    assert tree.expect(event="Died", peer="sip-1.1")["status"] == "exit code 0"
    crashes = [word["logged"] for word in tree.words if "logged" in word]
    assert len(crashes) == 4
    assert all("crashed\nTraceback" in text and "RuntimeError: always" in text for text in crashes)


def test_a_killed_attendant_leaves_nobody(start):
    tree = start("""
def deaf(child):
    child.control.ready()
    time.sleep(600)

sys.exit(ProcessTree([Role("sip", 3, deaf, 0, False)], on_event=on_event, on_tell=on_tell).run())
""")
    tree.expect(3, event="Ready")
    assert len(tree.pids) == 3
    assert not any(is_gone(pid) for pid in tree.pids)
    tree.signal(signal.SIGKILL)
    wait_until(lambda: all(is_gone(pid) for pid in tree.pids))


def test_without_the_kernels_help_the_link_says_that_the_attendant_is_gone(start):
    tree = start("""
from workers import birth
birth._LIBC = None
sys.exit(ProcessTree([Role("sip", 3, serve, 0, False)], on_event=on_event, on_tell=on_tell).run())
""")
    tree.expect(3, event="Ready")
    tree.signal(signal.SIGKILL)
    for name in ("sip-1.1", "sip-2.1", "sip-3.1"):
        tree.expect(heard="AttendantGone", by=name)
    wait_until(lambda: all(is_gone(pid) for pid in tree.pids))


def test_nothing_leaks_over_fifty_restarts(start):
    tree = start("""
def crash_often(child):
    if child.peer.incarnation <= 50:
        child.control.ready()
        return 1
    say(by=str(child.peer), control=child.control.fileno(), fds=descriptors())
    return serve(child)

def show():
    say(table=[], fds=descriptors())

tree = ProcessTree([Role("sip", 2, serve, 0, False), Role("worker", 1, crash_often, 2, True)],
    policy=RestartPolicy(backoff_max_s=0.0, storm_deaths=1000), on_event=on_event, on_tell=on_tell,
    signals={signal.SIGUSR1: show})
show()
sys.exit(tree.run())
""")
    tree.expect(event="Ready", peer="worker-1.51")
    before, child = tree.words[0]["fds"], next(word for word in tree.words if "control" in word)
    # A child has what was open before the tree, its own link, and nothing else.
    assert child["by"] == "worker-1.51"
    assert child["fds"] == {**before, str(child["control"]): "socket"}
    # The attendant has its selector, its wake-up pair, and a pidfd and a link for each of three.
    tree.signal(signal.SIGUSR1)
    tree_table(tree, 2)
    after = [word for word in tree.words if "table" in word][1]["fds"]
    new = sorted(kind for fd, kind in after.items() if fd not in before)
    assert new.count("socket") == 2 + 3
    assert len(new) == 1 + 2 + 3 + 3
    assert [word["peer"] for word in tree.all(event="Died")] == [f"worker-1.{life}" for life in range(1, 51)]
    assert {word["slot"] for word in tree.all(event="Died")} == {2}


def test_titles_readers_timers_and_words(start):
    tree = start("""
reading, writing = os.pipe()

def on_pipe():
    data = os.read(reading, 100)
    say(piped=data.decode())
    tree.tell("echo", data, to=tree.table()[1].peer)

ticks = []
def on_tick():
    ticks.append(1)
    if len(ticks) == 3:
        os.write(writing, b"three")

def answer(child):
    child.control.ready()
    while True:
        select.select([child.control.fileno()], [], [])
        for told in child.control.receive():
            if isinstance(told, Tell):
                assert child.control.tell("answer", told.topic.encode() + b" " + told.body)
            if isinstance(told, Drain):
                for number in range(150):  # more than the attendant reads in one turn
                    child.control.tell("last words", b"%d" % number)
                return 0

tree = ProcessTree([Role("sip", 2, answer, 0, False)], title="parlour", on_event=on_event, on_tell=on_tell)
tree.add_reader(reading, on_pipe)
tree.add_timer(0.02, on_tick)
sys.exit(tree.run())
""")
    tree.expect(topic="answer", body="echo three", by="sip-2.1")
    tree.expect(2, event="Ready")
    titles = {
        Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0").decode() for pid in (*tree.pids, tree.process.pid)
    }
    assert titles == {"parlour: sip-1", "parlour: sip-2", "parlour: attendant"}
    tree.signal(signal.SIGTERM)
    assert tree.exit_code() == 0
    assert not tree.all(topic="answer", by="sip-1.1")
    for name in ("sip-1.1", "sip-2.1"):
        words, died = tree.all(topic="last words", by=name), tree.expect(event="Died", peer=name)
        assert [word["body"] for word in words] == [str(number) for number in range(150)]
        assert words[-1]["at"] < died["at"]


def test_who_does_not_read_is_killed_and_holds_nobody_up(start):
    tree = start("""
def deaf(child):
    child.control.ready()
    if child.peer.incarnation > 1:
        return serve(child)
    time.sleep(600)

def flood():
    deaf_one = tree.table()[0].peer
    began = time.monotonic()
    for _ in range(40):
        tree.tell("flood", bytes(60_000), to=deaf_one)
    tree.tell("after", b"", to=tree.table()[1].peer)
    say(flooded_s=time.monotonic() - began)

tree = ProcessTree([Role("worker", 1, deaf, 0, True), Role("sip", 1, serve, 1, False)],
    on_event=on_event, on_tell=on_tell, signals={signal.SIGUSR1: flood})
sys.exit(tree.run())
""")
    tree.expect(2, event="Ready")
    tree.signal(signal.SIGUSR1)
    tree.expect(heard="Tell", by="sip-1.1")
    assert tree.expect(event="Died", peer="worker-1.1")["status"] == "killed by SIGKILL"
    tree.expect(event="Ready", peer="worker-1.2")
    assert next(word["flooded_s"] for word in tree.words if "flooded_s" in word) < 1.0
    assert len([word for word in tree.words if "does not read what it is told" in word.get("logged", "")]) == 1


def test_a_slow_reader_gets_everything_in_order(start):
    tree = start("""
def slow(child):
    child.control.ready()
    time.sleep(0.3)
    got = []
    while len(got) < 100:
        select.select([child.control.fileno()], [], [])
        got += [int.from_bytes(told.body[:4], "big") for told in child.control.receive() if isinstance(told, Tell)]
    say(in_order=got == list(range(100)))
    return serve(child)

def on_ready(event):
    on_event(event)
    if type(event).__name__ == "Ready":
        for number in range(100):  # 800 kB: more than the socket holds, less than the backlog
            tree.tell("number", number.to_bytes(4, "big") + bytes(8_000))

tree = ProcessTree([Role("sip", 1, slow, 0, False)], on_event=on_ready, on_tell=on_tell)
sys.exit(tree.run())
""")
    tree.expect(in_order=True)


def test_deaths_are_seen_without_pidfds_too(start):
    tree = start("del os.pidfd_open\n" + THREE)
    tree.expect(3, event="Ready")
    killed_at = time.monotonic()
    os.kill(table(tree)["worker-1.1"][2], signal.SIGKILL)
    assert tree.expect(event="Died", peer="worker-1.1")["at"] - killed_at < 0.5
    tree.expect(event="Ready", peer="worker-1.2")
    tree.signal(signal.SIGTERM)
    assert tree.exit_code() == 0


def test_a_fork_that_fails_is_a_boot_failure(start):
    tree = start("""
def no_fork():
    raise BlockingIOError(11, "Resource temporarily unavailable")
os.fork = no_fork
sys.exit(ProcessTree([Role("sip", 2, serve, 0, False)], on_event=on_event, on_tell=on_tell).run())
""")
    assert tree.exit_code() == 3
    assert "the fork failed" in tree.expect(event="GaveUp")["reason"]


def test_a_bug_of_the_owner_is_loud_and_leaves_nobody(start):
    tree = start("""
def broken(event):
    on_event(event)
    if type(event).__name__ == "Ready":
        raise RuntimeError("the owner's bug")

sys.exit(ProcessTree([Role("sip", 3, serve, 0, False)], on_event=broken, on_tell=on_tell).run())
""")
    assert tree.exit_code() == 1
    assert len(tree.pids) >= 1
    assert all(is_gone(pid) for pid in tree.pids)
    assert "RuntimeError: the owner's bug" in tree.story()


def test_signals_that_were_ignored_or_blocked_before_do_not_disturb(start):
    tree = start(
        """
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])

def main(child):
    say(by=str(child.peer), blocked=sorted(signal.pthread_sigmask(signal.SIG_BLOCK, [])),
        chld=signal.getsignal(signal.SIGCHLD) == signal.SIG_DFL, wakeup=signal.set_wakeup_fd(-1))
    return serve(child)
"""
        + THREE.replace("serve", "main")
    )
    tree.expect(3, event="Ready")
    for word in [word for word in tree.words if "blocked" in word]:
        assert (word["blocked"], word["chld"], word["wakeup"]) == ([signal.SIGUSR2], True, -1)
    os.kill(table(tree)["sip-1.1"][2], signal.SIGKILL)
    assert tree.expect(event="Died")["status"] == "killed by SIGKILL"
    tree.expect(event="Ready", peer="sip-1.2")
