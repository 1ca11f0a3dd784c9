"""What is done to the server's processes, and when: decided by the seed before anything runs, performed by `Chaos`."""

from __future__ import annotations

import contextlib
import http.client
import os
import random
import signal
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final, Literal, NamedTuple, TypeAlias

from mi_load.site import ask

from soak_load.house import Process, processes
from soak_load.ledger import Death, Role
from soak_load.site import Site

What: TypeAlias = Literal["kill", "stop", "reload"]

_WHATS: Final[dict[What, int]] = {"kill": 9, "stop": 7, "reload": 4}
_ROLES: Final[dict[Role, int]] = {"sip": 6, "worker": 3, "mi": 1}
LONGEST_STOP_S: Final = 2.0
_STORM_S: Final = 30.0
_MOST_KILLS: Final = 8
"""Of one role within that time: the server gives up after ten, and that it does is no question here."""


class Action(NamedTuple):
    """Something to do.

    Args:
        at: seconds from the begin of the load.
        what, role: to whom; a reload has no role.
        pick: which of the living of that role, from 0 to 1.
        for_s: how long a stop lasts.
    """

    at: float
    what: What
    role: Role
    pick: float
    for_s: float


def plan(seed: int, every_s: float, seconds: float) -> list[Action]:
    """What to do in a run of so many seconds, about every `every_s` seconds; the same for the same arguments."""
    chance = random.Random(seed)
    actions: list[Action] = []
    for number in range(1, int(seconds / every_s) + 1):
        at = every_s * (number + chance.uniform(-0.4, 0.4))
        (what,) = chance.choices(list(_WHATS), list(_WHATS.values()))
        (role,) = chance.choices(list(_ROLES), list(_ROLES.values()))
        if what == "kill" and _kills(actions, role, at) >= _MOST_KILLS:
            what = "stop"
        actions.append(Action(at, what, role, chance.random(), chance.uniform(0.1, LONGEST_STOP_S)))
    return [one for one in actions if one.at < seconds]


def _kills(actions: list[Action], role: Role, at: float) -> int:
    return sum(one.what == "kill" and one.role == role and one.at > at - _STORM_S for one in actions)


class Happened(NamedTuple):
    """Something that was done; `at` in monotonic seconds."""

    at: float
    text: str


class Chaos:
    """Performs a plan.

    Args:
        actions: the plan.
        begin: the monotonic second at which the load begins.
        attendant: the server's first process, which nothing is done to.
        site: where the script is that is reloaded.
        told: gets each death just before it is brought about.
    """

    def __init__(
        self, actions: list[Action], begin: float, attendant: int, site: Site, told: Callable[[Death], None]
    ) -> None:
        self._actions = list(reversed(actions))
        self._begin, self._attendant, self._site, self._told = begin, attendant, site, told
        self._stopped: dict[int, tuple[float, Process]] = {}
        """Until when which process is stopped."""
        self._version = 1
        self._reloading: Future[str] | None = None
        self._thread = ThreadPoolExecutor(1)  # a reload waits for processes that are stopped
        self.killed: dict[int, Death] = {}
        self.log: list[Happened] = []
        self.counts: dict[What, int] = dict.fromkeys(_WHATS, 0)
        self.problems: list[Happened] = []

    def turn(self, now: float) -> None:
        """Do what is due."""
        for pid, (until, process) in list(self._stopped.items()):
            if until <= now:
                self._continue(pid, process)
        while self._actions and self._begin + self._actions[-1].at <= now:
            self._do(self._actions.pop(), now)
        self._read_reload()

    def end(self) -> None:
        """Let everything go on that is stopped, and wait for a reload that is under way."""
        for pid, (_, process) in list(self._stopped.items()):
            self._continue(pid, process)
        self._thread.shutdown()
        self._read_reload()

    def _do(self, action: Action, now: float) -> None:
        if action.what == "reload":
            self._reload(now)
            return
        living = [one for one in processes(self._attendant) if one.role == action.role and one.pid not in self.killed]
        if not living:
            self._note(now, f"no {action.role} to {action.what}")
            return
        process = living[int(action.pick * len(living))]
        self.counts[action.what] += 1
        if action.what == "kill":
            self._kill(process)
        elif process.pid not in self._stopped:
            self._note(now, f"{process.name} (PID {process.pid}) stopped for {action.for_s:.2f} s")
            self._stopped[process.pid] = now + action.for_s, process
            os.kill(process.pid, signal.SIGSTOP)

    def _kill(self, process: Process) -> None:
        now = time.monotonic()
        death = self.killed[process.pid] = Death(process.pid, process.name, process.role, now)
        self._stopped.pop(process.pid, None)
        self._told(death)
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)
        self._note(now, f"{process.name} (PID {process.pid}) killed")

    def _continue(self, pid: int, process: Process) -> None:
        del self._stopped[pid]
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)
        self._note(time.monotonic(), f"{process.name} (PID {pid}) goes on")

    def _reload(self, now: float) -> None:
        if self._reloading is not None:
            self._note(now, "no reload: one is under way")
            return
        self.counts["reload"] += 1
        self._version += 1
        self._site.write_script(self._version)
        self._note(now, f"reload to version {self._version}")
        self._reloading = self._thread.submit(self._ask_for_reload)

    def _ask_for_reload(self) -> str:
        begun = time.monotonic()
        try:
            answer = ask(self._site.http_port, "reload_routes", within_s=30.0)
        except (OSError, http.client.HTTPException, ValueError) as error:
            answer = {"error": repr(error)}
            if any(death.role == "mi" and death.at >= begun - 1.0 for death in list(self.killed.values())):
                return ""
        return "" if answer.get("result") == "OK" else f"the reload failed: {answer.get('error', answer)}"

    def _read_reload(self) -> None:
        if self._reloading is None or not self._reloading.done():
            return
        problem, self._reloading = self._reloading.result(), None
        now = time.monotonic()
        self._note(now, problem or f"reload to version {self._version} is over")
        if problem:
            self.problems.append(Happened(now, problem))

    def _note(self, at: float, text: str) -> None:
        self.log.append(Happened(at, text))
