"""Faults at a step of the protocol: how tests order one, and what must hold of a server after any of them."""

from __future__ import annotations

import re
import signal
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.harness import Server, SipClient, wait_until
from tests.sip_peer import Received
from workers.steps import VARIABLE, Order

PROMPT_S = 8.0
"""How soon a death has to show at whoever waits. The jobs of these tests have more than twice as long, and none takes
long itself; what is left is for a machine that has other things to do."""

MOST_DEATHS = 9
"""A server that has seen so many of one role is not used again: one more than ten in half a minute would end it."""


class Faults:
    """The file with the order that servers look at. At most one is in force at a time."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "fault"
        self.variable = VARIABLE, str(self.path)
        """The environment variable that servers find it by, and its value."""

    def order(self, who: str, step: str, times: int = 1, number: int = signal.SIGKILL) -> None:
        """Have the first process that matches get a signal when it comes to a step for the so manieth time."""
        assert not self.path.exists(), f"nobody came to {self.path.read_text()}"
        for one in self._taken():
            one.unlink()
        new = self.path.with_suffix(".new")
        new.write_text(str(Order(who, step, times, number)))
        new.rename(self.path)

    def victim(self) -> int | None:
        """The process that followed the order, if one has."""
        taken = self._taken()
        return int(taken[0].suffix[1:]) if taken else None

    def withdraw(self) -> None:
        self.path.unlink(missing_ok=True)

    def _taken(self) -> list[Path]:
        return [one for one in self.path.parent.glob("fault.*") if one.suffix[1:].isdigit()]


@dataclass
class Yard:
    """Servers for faults. One is used until it has seen too many deaths of a role; the next test gets a new one."""

    start: Callable[[], Server]
    faults: Faults
    deaths: Counter[str] = field(default_factory=Counter)
    server: Server | None = None

    def ready(self, role: str, deaths: int = 1) -> Server:
        """A server in which so many processes of that role may die."""
        many = self.deaths[role] + deaths > MOST_DEATHS
        if self.server is not None and (many or self.server.process.poll() is not None):
            self.server.process.send_signal(signal.SIGTERM)  # waited for when all tests are through
            self.server = None
        if self.server is None:
            self.faults.withdraw()
            self.server, self.deaths = self.start(), Counter()
        self.deaths[role] += deaths
        return self.server


@dataclass
class Calls:
    """Requests under way, each with a name of its own that its answer has to bring back."""

    client: SipClient
    sent: dict[str, tuple[str, bytes, float]] = field(default_factory=dict)
    """By Call-ID: the user that was called, the bytes, and when they were first sent."""

    def send(self, users: list[str]) -> None:
        for user in users:
            call_id, data = self.client.request(user)
            self.sent[call_id] = user, data, time.monotonic()
            self.client.send(data)

    def finals(self, limit_s: float = 2 * PROMPT_S, resend: bool = False) -> Iterator[tuple[str, Received, float]]:
        """Each call's user, its final answer, and how long that took; what has none is sent again as a UAC does."""
        self.wait(0, limit_s, resend)
        for call_id, (user, _, at) in self.sent.items():
            answer = self._final(call_id)
            assert answer is not None
            yield user, answer, answer.at - at

    def wait(self, left: int, limit_s: float, resend: bool = True) -> None:
        """Wait until no more than so many have no final answer."""
        ends, again = time.monotonic() + limit_s, time.monotonic() + 0.5
        while len(waiting := [sent for call_id, sent in self.sent.items() if self._final(call_id) is None]) > left:
            assert time.monotonic() < ends, f"never answered: {[user for user, _, _ in waiting]}"
            self.client.collect(0.02)
            if resend and time.monotonic() > again:
                again += 0.5
                for _, data, _ in waiting:
                    self.client.send(data)

    def _final(self, call_id: str) -> Received | None:
        return next((answer for answer in self.client.answers.get(call_id, []) if answer.status >= 200), None)

    def check_single(self) -> None:
        """No request was answered twice, but with copies of the same bytes."""
        self.client.collect(0.05)
        for call_id, (user, _, _) in self.sent.items():
            finals = {answer.text for answer in self.client.answers[call_id] if answer.status >= 200}
            assert len(finals) == 1, (user, finals)


def its_own(user: str, answer: Received) -> bool:
    """Whether an answer is the result of the very command that its request asked for: so many ms, as the user says."""
    result = answer.header("X-Result").replace(" ", "")
    return answer.header("X-Rc") == "1" and re.search(rf'_ms":{user[1:]}(?!\d)', result) is not None


def lost_with(answer: Received) -> str | None:
    """Which process an answer says that its job died with; None where it says nothing of the kind."""
    found = re.match(r"Worker (\S+-\d+\.\d+) died;", answer.header("X-Result"))
    return found.group(1) if found and answer.header("X-Rc") == "-500" else None


def counted(server: Server, *names: str) -> dict[str, int]:
    found: dict[str, Any] = server.mi("get_statistics", [list(names)])
    return {name: int(found[name]) for name in names}


def check_rest(server: Server) -> None:
    """Nothing is parked or under way, nothing is left on the board, and everybody is there."""
    wait_until(lambda: counted(server, "async:waiting")["async:waiting"] == 0, what="nothing is parked any more")
    wait_until(lambda: not server.mi("job_list")["Jobs"], what="no job is under way")
    wait_until(lambda: all(is_at_rest(row) for row in server.mi("worker_list")["Workers"]), what="an empty board")
    wait_until(lambda: is_well(server), what="everybody is there")


def is_well(server: Server) -> bool:
    """What the server says of its own health: all processes are there that must be, and serve."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{server.http_port}/healthz", timeout=5) as reply:
            return bool(reply.status == 200)
    except OSError:  # 503, or nobody there
        return False


def is_at_rest(row: dict[str, Any]) -> bool:
    return row["PID"] != 0 and row["Load"] == 0 and row["Expected work [ms]"] == 0


def alive(pid: int) -> bool:
    """Whether a process has that PID which is not merely waiting to be reaped."""
    try:
        return b"\nState:\tZ" not in Path(f"/proc/{pid}/status").read_bytes()
    except OSError:
        return False
