"""A ready state machine over the simulated machine: what `LaybyMachine` does to real servers, and faults at any moment.

Nothing waits in it, so it does a hundred times as much in the same time; and since the same steps are the same run,
Hypothesis makes a run that fails as short as can be.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar, Final

from hypothesis import event
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from runtime.simulation.plan import Answer
from runtime.testing.machine import REFUSALS, SettledMachine, one_of
from runtime.testing.simulated import Simulation

_SOON: Final = st.sampled_from([0.001, 0.01, 0.1, 1.0])
_FINALS: Final = st.just(200) | st.sampled_from(REFUSALS)


class SimulatedMachine(SettledMachine):
    """Subclass it, say what there is to ask for, and add rules and invariants of your own.

    Args:
        begin: begins a run: ``lambda: layby_sim(script)``.

    Attributes:
        users: the user parts that requests and calls name.
        methods: what is sent outside calls.
        commands: MI commands that may be run at any time; without parameters.
        processes: those that are killed and stopped.
        reloads: whether the script is loaded again while it runs.
        sim: the run.
    """

    users: ClassVar[Sequence[str]] = ("bob",)
    methods: ClassVar[Sequence[str]] = ("OPTIONS", "MESSAGE")
    commands: ClassVar[Sequence[str]] = ("ps", "uptime", "job_list", "worker_list")
    processes: ClassVar[Sequence[str]] = ("sip-1", "sip-2", "worker-1", "worker-2")
    reloads: ClassVar[bool] = True

    def __init__(self, begin: Callable[[], Simulation]) -> None:
        super().__init__()
        self.sim = begin()

    @rule(user=one_of("users"), method=one_of("methods"), copies=st.lists(_SOON, max_size=2))
    def ask(self, user: str, method: str, copies: list[float]) -> None:
        """A request outside calls; copies of it come later."""
        self.sim.ask(method, user, copies_after_s=copies)

    @rule(user=one_of("users"), rings_s=_SOON, answers_s=_SOON, status=_FINALS, bye_s=_SOON)
    def place(self, user: str, rings_s: float, answers_s: float, status: int, bye_s: float) -> None:
        """A call, which whoever is called takes or refuses."""
        answers = [Answer(rings_s, 180), Answer(rings_s + answers_s, status)]
        self.sim.ask("INVITE", user, answers=answers, bye_after_s=bye_s)

    @rule(user=one_of("users"), rings_s=_SOON, gives_up_s=_SOON)
    def give_up(self, user: str, rings_s: float, gives_up_s: float) -> None:
        """A call that rings until its caller gives up."""
        self.sim.ask("INVITE", user, answers=[Answer(rings_s, 180)], cancel_after_s=gives_up_s)

    @precondition(lambda self: self.commands)
    @rule(command=one_of("commands"))
    def manage(self, command: str) -> None:
        """An MI command is run."""
        self.sim.mi(command)

    @precondition(lambda self: self.processes)
    @rule(process=one_of("processes"))
    def crash(self, process: str) -> None:
        """A process is killed."""
        event(f"{process} is killed")
        self.sim.crash(process)

    @precondition(lambda self: self.processes)
    @rule()
    def crash_in_job(self) -> None:
        """The next job that a worker begins kills it."""
        self.sim.crash_in_job()

    @precondition(lambda self: self.processes)
    @rule(process=one_of("processes"), for_s=_SOON)
    def stall(self, process: str, for_s: float) -> None:
        """A process stands still for a while."""
        self.sim.stall(process, for_s)

    @precondition(lambda self: self.reloads)
    @rule()
    def reload(self) -> None:
        """The script is loaded again."""
        self.sim.reload()

    @rule(seconds=_SOON)
    def elapse(self, seconds: float) -> None:
        """Time goes on."""
        self.sim.advance(seconds)

    def settle(self) -> None:
        """Let the run come to its end, and hold it to the promise."""
        self.sim.check()
