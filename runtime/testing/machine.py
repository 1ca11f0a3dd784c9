"""A ready state machine: calls, requests, MI commands and faults in any order, and what must hold of every server.

It holds a server to the promise that a parked message is answered, whatever happens meanwhile: each request has one
final reply, nothing stays parked when nothing is going on, and the server lives. `docs/testing.md` extends it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final, TypeVar

import pytest
from hypothesis import HealthCheck, Phase, event, settings
from hypothesis import strategies as st
from hypothesis.errors import Flaky
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from runtime.testing.calls import By, Call
from runtime.testing.peer import Peer, Received
from runtime.testing.server import Server
from runtime.testing.waiting import LIMIT_S, wait_until

_SIDES: Final[tuple[By, ...]] = ("caller", "callee")
REFUSALS: Final = (404, 480, 486, 603)
"""How a callee refuses."""
_Subject = TypeVar("_Subject")


def one_of(name: str) -> st.SearchStrategy[Any]:
    """One of those that an attribute of the machine has when the step is drawn."""
    return st.runner().flatmap(lambda machine: st.sampled_from(getattr(machine, name)))


@dataclass(slots=True)
class Asked:
    """A request outside calls.

    Args:
        text: it, as it is sent again.
        method: its method.
        finals: the status of each final reply, copies included.
        excused: whether a process that may have had it was killed: then a copy of it is a request of its own.
    """

    text: str
    method: str
    finals: list[int] = field(default_factory=list)
    excused: bool = False


class SettledMachine(RuleBasedStateMachine):
    """A run that is brought to its end, and judged then, unless it has failed already.

    Attributes:
        failure: what has ended the run, once it is over.
    """

    failure: BaseException | None = None

    def settle(self) -> None:
        """Bring everything to its end, and see that it comes to rest. It is called at the end of each run."""

    def teardown(self) -> None:
        """Settle, unless the run has failed already: what fails then says nothing more."""
        self.failure = sys.exc_info()[1]
        try:
            if self.failure is None:
                self.settle()
        except BaseException as error:
            self.failure = error
            raise


class LaybyMachine(SettledMachine):
    """Subclass it, say what there is to ask for, and add rules and invariants of your own.

    Args:
        server: it. All runs share it, so each run leaves it as it was: see `settle`.

    Attributes:
        users: the user parts that requests and calls name.
        methods: what is sent outside calls.
        commands: MI commands that may be run at any time; without parameters.
        faults: kinds of processes that are killed, as `Server.pids` names them: "MI worker", "SIP".
        limit_s: for how long a reply, or the server's coming to rest, is waited for in the end.
        caller, callee: the phones.
        asked: by Call-ID, the requests outside calls.
        ringing, answered: the calls that are going on.
    """

    users: ClassVar[Sequence[str]] = ("bob",)
    methods: ClassVar[Sequence[str]] = ("OPTIONS", "MESSAGE")
    commands: ClassVar[Sequence[str]] = ("ps", "uptime", "job_list", "worker_list")
    faults: ClassVar[Sequence[str]] = ("MI worker",)
    limit_s: ClassVar[float] = LIMIT_S

    def __init__(self, server: Server) -> None:
        super().__init__()
        self.server = server
        self.caller = Peer(server.sip_port)
        self.callee = Peer(server.sip_port)
        self.asked: dict[str, Asked] = {}
        self.ringing: list[Call] = []
        self.answered: list[Call] = []

    def ruri(self, user: str) -> str:
        """The Request-URI by which a user is asked for: the callee's own address. Override it where users register."""
        return f"sip:{user}@127.0.0.1:{self.callee.port}"

    # Requests outside calls

    @rule(user=one_of("users"), method=one_of("methods"))
    def ask(self, user: str, method: str) -> None:
        """A request is sent, and its reply may take its time."""
        text = self.caller.request(method, f"sip:{user}@127.0.0.1:{self.server.sip_port}")
        self.asked[Received(text).call_id] = Asked(text, method)
        self.caller.send(text)

    @precondition(lambda self: self.asked)
    @rule(call_id=st.runner().flatmap(lambda machine: st.sampled_from(list(machine.asked))))
    def repeat(self, call_id: str) -> None:
        """A request is sent again, as by a network that doubles it, or by an impatient client."""
        self.caller.send(self.asked[call_id].text)

    @rule()
    def listen(self) -> None:
        """What has arrived is taken in."""
        self.caller.collect()
        self.callee.collect()
        self._read()

    # Calls

    @rule(user=one_of("users"))
    def place(self, user: str) -> None:
        """A call is placed; it rings, or the script refuses it."""
        call = Call(self.caller, self.callee, self.ruri(user))
        if call.place() is not None:
            self.ringing.append(call)
        event("a call rings" if call.arrived else "a call is refused by the script")

    @precondition(lambda self: self.ringing)
    @rule(call=one_of("ringing"))
    def ring(self, call: Call) -> None:
        """The callee says that it rings."""
        call.ring()

    @precondition(lambda self: self.ringing)
    @rule(call=one_of("ringing"))
    def accept(self, call: Call) -> None:
        """The callee takes a call."""
        self.ringing.remove(call)
        call.accept()
        self.answered.append(call)

    @precondition(lambda self: self.ringing)
    @rule(call=one_of("ringing"), status=st.sampled_from(REFUSALS))
    def refuse(self, call: Call, status: int) -> None:
        """The callee refuses a call."""
        self.ringing.remove(call)
        call.refuse(status)

    @precondition(lambda self: self.ringing)
    @rule(call=one_of("ringing"))
    def cancel(self, call: Call) -> None:
        """The caller gives up a call that rings."""
        self.ringing.remove(call)
        call.cancel()

    @precondition(lambda self: self.answered)
    @rule(call=one_of("answered"), by=st.sampled_from(_SIDES))
    def reinvite(self, call: Call, by: By) -> None:
        """An end of an answered call sends a re-INVITE."""
        assert call.again(by).status == 200

    @precondition(lambda self: self.answered)
    @rule(call=one_of("answered"), by=st.sampled_from(_SIDES))
    def hang_up(self, call: Call, by: By) -> None:
        """An end of an answered call ends it."""
        self.answered.remove(call)
        assert call.hang_up(by).status == 200

    # Management and faults

    @precondition(lambda self: self.commands)
    @rule(command=one_of("commands"))
    def manage(self, command: str) -> None:
        """An MI command is run."""
        self.server.mi(command)

    @precondition(lambda self: self.faults)
    @rule(kind=one_of("faults"))
    def kill(self, kind: str) -> None:
        """A process is killed, and another takes its place."""
        event(f"{kind} is killed" if self.server.kill(kind) else f"{kind} is spared")
        if kind.startswith("SIP"):
            self._excuse()  # also those of the spared: what a run does must not hang on what earlier ones have done

    # What must hold

    @invariant()
    def it_lives(self) -> None:
        """The server runs."""
        assert self.server.running, self.server.log()

    def settle(self) -> None:
        """Bring everything to its end, and see that it comes to rest. It is called at the end of each run."""
        for call in self.ringing:
            call.refuse()
        for call in self.answered:
            call.hang_up()
        self._read()
        for call_id, asked in self.asked.items():
            if not asked.finals:
                final = self.caller.wait_final(call_id, asked.method, self.limit_s, resend=asked.text)
                asked.finals.append(final.status)
        wait_until(lambda: self.server.parked() == 0, self.limit_s, "nothing is parked")
        wait_until(lambda: not self.server.mi("job_list")["Jobs"], self.limit_s, "there are no jobs")
        self.it_lives()
        # Seen only now, when all copies have come: seen in mid-run, a run would end at another step each time, which
        # Hypothesis cannot make shorter.
        self._read()
        contradicted = [one for one in self.asked.values() if len(set(one.finals)) > 1 and not one.excused]
        assert not contradicted, f"a request has two answers: {contradicted}"

    def teardown(self) -> None:
        """Settle, and close the phones."""
        try:
            super().teardown()
        finally:
            self.caller.close()
            self.callee.close()

    def _excuse(self) -> None:
        """Calls are given up, since their next message may have been in the process that is dead; so may requests."""
        self.ringing.clear()
        self.answered.clear()
        for asked in self.asked.values():
            asked.excused = True

    def _read(self) -> None:
        """Take in the final replies to requests outside calls."""
        while (found := self.caller.take(self._is_final)) is not None:
            self.asked[found.call_id].finals.append(found.status)

    def _is_final(self, message: Received) -> bool:
        return message.status >= 200 and message.call_id in self.asked


def run_machine(
    machine: Callable[[_Subject], SettledMachine], subject: _Subject, settings: settings | None = None
) -> None:
    """Run a state machine many times, as Hypothesis does: the test fails with the shortest run that fails.

    Args:
        machine: a subclass of `LaybyMachine`, or of `SimulatedMachine`.
        subject: what it is made of: the one server that all runs share, or what begins a simulated run.
        settings: how often and how long; 20 runs of up to 30 steps unless they are given.
    """
    made: list[SettledMachine] = []

    def make() -> SettledMachine:
        made[:] = [*(one for one in made if _failure(one) is not None), machine(subject)]
        return made[-1]

    try:
        run_state_machine_as_test(make, settings=settings or _USUAL)  # type: ignore[arg-type]
    except Flaky as flaky:
        failures = [failure for one in made if (failure := _failure(one)) is not None]
        if not failures:
            raise
        failures[0].add_note("The same steps do not fail each time, so they could not be made fewer.")
        raise failures[0] from flaky


def _failure(machine: SettledMachine) -> BaseException | None:
    """What a run has failed with; Hypothesis ends others by exceptions of its own."""
    found = machine.failure
    return found if isinstance(found, AssertionError | OSError | pytest.fail.Exception) else None


_USUAL: Final = settings(
    max_examples=20,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    # Without the phase that explains: each failure is one of waiting in vain, and it wants dozens of them.
    phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink],
)
