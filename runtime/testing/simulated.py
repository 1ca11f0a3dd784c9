"""The simulated machine in a test's hands: the real processes and the real script on a virtual clock, led step by step.

Nothing waits and nothing is left to chance: the same steps with the same seed are the same run, byte for byte. Time
passes only when the test lets it; `check` lets it go on until nothing can be going on any more, and says what broke the
promise, with the line of the script and a diagram.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import pytest

from runtime.simulation.diagram import diagram
from runtime.simulation.events import Event, Parked
from runtime.simulation.oracle import REST_S, Exchange, Violation
from runtime.simulation.plan import (
    Answer,
    Crash,
    CrashInJob,
    Follow,
    Gateway,
    Item,
    Mi,
    Network,
    Plan,
    Reload,
    Send,
    Stall,
)
from runtime.simulation.run import Run
from runtime.simulation.simulator import SimulationFailed, Simulator

_HOST: Final = "192.0.2.1"
_UP_S: Final = 0.1
"""When all processes are up. One that dies before it was up for the first time ends a server: that is no fault."""
_REST_S: Final = REST_S + 150.0
"""A call that nobody answers any more lasts as long as `fr_inv_timer` says, 120 s, before its transaction lingers."""
_MOST_EVENTS: Final = 400
"""How many of the last events a diagram shows."""


class Simulation:
    """One run. `layby_sim` makes it.

    What is asked of it happens at this moment of the virtual clock, as soon as time goes on.

    Args:
        simulator: the interpreter that it runs in, which has one run at a time.
        plan: what it runs.

    Attributes:
        now_s: seconds since the run began; when it is given to the test all processes are up.
        events: what happened so far.
        answers: the answers of MI commands so far, in the order in which they came.
    """

    def __init__(self, simulator: Simulator, plan: Plan) -> None:
        self._simulator = simulator
        self._processes = [f"sip-{number}" for number in range(1, plan.sip + 1)]
        self._processes += [f"worker-{number}" for number in range(1, plan.workers + 1)] + ["mi-1"]
        self._serials = itertools.count(1)
        self._items: list[Item] = []
        self._over: Run | None = None
        first = simulator.open(plan)
        self.now_s = 0.0
        self.events: list[Event] = list(first.events)
        self._exchanges: list[Exchange] = []
        self.answers: list[Any] = []
        self.advance(_UP_S)

    # What is asked of it.

    def ask(
        self,
        method: str,
        user: str,
        *,
        answers: Sequence[Answer] | None = None,
        cancel_after_s: float | None = None,
        bye_after_s: float | None = None,
        copies_after_s: Sequence[float] = (),
        extra: str = "",
        body: str = "",
    ) -> str:
        """A caller of its own sends a request, and again until it is answered.

        Args:
            method: it.
            user: the user part of the Request-URI.
            answers: what everybody replies to whom the script relays it; without them 180 and then 200.
            cancel_after_s: when the caller gives up, where nothing final has come by then.
            bye_after_s: when the caller ends a call, after it was taken.
            copies_after_s: when it is sent again although nothing is lost.
            extra: more header lines, each with its line end.
            body: of ASCII characters.

        Returns:
            its Call-ID.
        """
        number = next(self._serials)
        call_id = f"call-{number}"
        self._items.append(
            Send(
                self.now_s,
                f"uac-{number}",
                _request(method, user, number, call_id, extra, body),
                None if cancel_after_s is None else self.now_s + cancel_after_s,
                answers=None if answers is None else [list(answers)],
                follows=[] if bye_after_s is None else [Follow(bye_after_s, "BYE")],
                copies_at_s=[self.now_s + one for one in copies_after_s],
            )
        )
        return call_id

    def mi(self, method: str, params: Any = None) -> None:
        """An outside program runs an MI command; what it is answered is among `answers`, later."""
        call = {"jsonrpc": "2.0", "id": next(self._serials), "method": method, "params": params or {}}
        self._items.append(Mi(self.now_s, json.dumps(call)))

    def crash(self, process: str) -> None:
        """A process is killed: ``sip-1``, ``worker-2``, ``mi-1``. Another takes its place.

        Raises:
            ValueError: nobody is called so.
        """
        self._items.append(Crash(self.now_s, self._named(process)))

    def crash_in_job(self) -> None:
        """The next job that a worker begins kills it."""
        self._items.append(CrashInJob(self.now_s))

    def stall(self, process: str, for_s: float) -> None:
        """A process stands still for a while.

        Raises:
            ValueError: nobody is called so.
        """
        self._items.append(Stall(self.now_s, self._named(process), for_s))

    def reload(self, text: str | None = None) -> None:
        """The script is loaded again, with another text where one is given."""
        self._items.append(Reload(self.now_s, text))

    def _named(self, process: str) -> str:
        # The machine takes no notice of a fault of nobody, for whoever draws faults may draw one.
        if process not in self._processes:
            raise ValueError(f"no process is called {process}: there are {', '.join(self._processes)}")
        return process

    # Time.

    def advance(self, seconds: float) -> None:
        """Let time go on."""
        self.now_s += seconds
        self._take(self._simulator.advance(self.now_s, self._items))
        self._items = []

    def finals(self, call_id: str) -> list[int]:
        """The statuses of the different final replies that a request of `ask` has had so far."""
        found = [one for one in self._exchanges if one.call_id == call_id]
        return [status for status, _ in found[0].finals] if found else []

    def finish(self) -> Run:
        """Let time go on until nothing can be going on any more; the whole run, judged. Further calls give the same."""
        if self._over is None:
            self.advance(0.0)
            deadlines = (event.at_s + event.timeout_s for event in self.events if isinstance(event, Parked))
            self.now_s = max(self.now_s, max(deadlines, default=0.0)) + _REST_S
            self._over = self._simulator.finish(self.now_s)
            self.events = []
            self._take(self._over)
        return self._over

    def check(self) -> Run:
        """`finish` it, and fail the test where the promise was broken."""
        run = self.finish()
        if run.violations:
            shown = "\n".join(_shown(violation) for violation in run.violations)
            pytest.fail(f"the promise was broken:\n{shown}\n\n{diagram(self.events[-_MOST_EVENTS:])}", pytrace=False)
        return run

    def _take(self, news: Run) -> None:
        self.events += news.events
        self._exchanges = list(news.exchanges)
        self.answers = [json.loads(text) for text in news.answers if text]


class Simulations:
    """Starts runs, one at a time: to begin one ends the one before.

    All of them are in one interpreter, which is started with the first.
    """

    def __init__(self) -> None:
        self._simulator: Simulator | None = None
        self._last: Simulation | None = None

    def __call__(
        self,
        script: str | Path,
        *,
        seed: int = 0,
        sip: int = 2,
        workers: int = 2,
        network: Network | None = None,
        gateway: Gateway | None = None,
    ) -> Simulation:
        """Begin a run.

        Args:
            script: its text, or its file.
            seed: where all chance comes from: how long packets take, who takes which.
            sip, workers: how many processes there are of each kind.
            network: what else happens to packets: loss, copies, delays.
            gateway: how everybody answers whom the script sends requests to.

        Raises:
            SimulationFailed: the script has errors; the text has them.
        """
        self._end_last()
        if self._simulator is None:
            self._simulator = Simulator()
        path, text = (str(script), None) if isinstance(script, Path) else ("script.cfg", script)
        plan = Plan(
            path,
            text,
            seed=seed,
            sip=sip,
            workers=workers,
            network=network or Network(),
            gateway=gateway or Gateway(),
        )
        self._last = Simulation(self._simulator, plan)
        return self._last

    def _end_last(self) -> None:
        last, self._last = self._last, None
        try:
            if last is not None:
                last.finish()
        except SimulationFailed:
            self.close()  # its own test has been told, and this is another one's: it has an interpreter of its own

    def close(self) -> None:
        """End the interpreter."""
        if self._simulator is not None:
            self._simulator.close()
            self._simulator = None


def _request(method: str, user: str, number: int, call_id: str, extra: str, body: str) -> str:
    contact = f"198.51.{100 + number // 250 % 100}.{number % 250 + 1}"  # where the simulated network has that caller
    return (
        f"{method} sip:{user}@{_HOST} SIP/2.0\r\nVia: SIP/2.0/UDP {contact}:5060;branch=z9hG4bK-{number}\r\n"
        f"Max-Forwards: 70\r\nFrom: <sip:tester@example.com>;tag=f{number}\r\nTo: <sip:{user}@{_HOST}>\r\n"
        f"Call-ID: {call_id}\r\nCSeq: 1 {method}\r\nContact: <sip:tester@{contact}>\r\n"
        f"{extra}Content-Length: {len(body)}\r\n\r\n{body}"
    )


def _shown(violation: Violation) -> str:
    where = f"{violation.file}:{violation.line}: " if violation.file else ""
    return f"{where}{violation.rule}: {violation.what} (at {violation.at_s:.3f} s)"
