"""Being a process of a simulated machine, from its fork to its end, which may come at a step of the protocol."""

from __future__ import annotations

import logging
import mmap
import os
import signal
import sys
from collections.abc import Callable, Iterable, Mapping
from fnmatch import fnmatchcase
from functools import partial
from types import FrameType
from typing import Any

from runtime.house import House
from runtime.pyscript.load import PyChecked
from runtime.simulation import events
from runtime.simulation.clock import CHANCE, CLOCK, put
from runtime.simulation.coverage import Watching
from runtime.simulation.kernel import KERNEL, SimulatedLink
from runtime.simulation.plan import CrashAt
from runtime.simulation.processes import KINDS, spelled
from runtime.simulation.stepping import watch
from runtime.simulation.words import Line
from runtime.whereabouts import statement_on
from workers.birth import Child
from workers.jobs import Peer
from workers.terms import BootFailure
from workers.tree_events import ExitCode

log = logging.getLogger("layby.process")

_BLOCKED_S = 0.001
"""A route that sleeps for longer keeps its process from everything else."""


class _Notes(logging.Handler):
    """Log lines, as events."""

    def __init__(self, process: str, level: int) -> None:
        super().__init__(level)
        self._process = process

    def emit(self, record: logging.LogRecord) -> None:
        KERNEL.note(events.Noted(CLOCK.at_s, self._process, f"{record.levelname}: {record.getMessage()}"))


class Doom:
    """What `CrashAt` of a plan says. Each of them befalls one process, once.

    Args:
        items: of the plan.
    """

    def __init__(self, items: Iterable[CrashAt]) -> None:
        self._items = list(items)
        self._done = mmap.mmap(-1, max(1, len(self._items)))

    def enter(self, name: str) -> None:
        """After the fork: this is the process of that name."""
        mine = [(at, one) for at, one in enumerate(self._items) if fnmatchcase(name, one.process)]
        if not mine:
            return
        came = dict.fromkeys([at for at, _ in mine], 0)
        kill = partial(os.kill, os.getpid(), signal.SIGKILL)

        def reached(step: str) -> None:
            for at, one in mine:
                if one.step == step and not self._done[at] and one.at_s <= CLOCK.at_s:
                    came[at] += 1
                    if came[at] == one.times:
                        self._done[at] = 1
                        KERNEL.die(kill)

        watch(reached)


def live(
    line: Line, peer: Peer, slot: int, role: str, house: House, pid: int, seed: int, everything: bool, doom: Doom
) -> int:
    """Be a process of the machine, from the fork to its end; the exit code.

    Args:
        line: to the machine.
        peer, slot, role: who it is.
        house: what all share.
        pid: what it shall take for its PID.
        seed: the run's.
        everything: whether log lines are events too.
        doom: where it may have to die.
    """
    CHANCE.seed(f"{seed} {spelled(peer)}")
    doom.enter(peer.name)
    put(os, "getpid", lambda: pid)  # the real one differs from run to run
    root = logging.getLogger()
    root.handlers[:] = [_Notes(spelled(peer), logging.INFO if everything else logging.ERROR)]
    root.setLevel(logging.INFO if everything else logging.ERROR)
    KERNEL.enter(line)
    KERNEL.on_slept = _tell_blocked(spelled(peer))
    KERNEL.wait(CLOCK.now, 0)
    program = house.program
    if isinstance(program.watch, Watching) and isinstance(program.checked, PyChecked):
        _mark_lines(program.watch)
    link = SimulatedLink()
    code = _run(Child(peer, slot, role, link), house)
    KERNEL.flush()
    return code


def _mark_lines(watching: Watching) -> None:
    """Have each line of a script in Python marked as it begins."""
    tracers = {file: _tracer(marks) for file, marks in watching.by_line().items()}
    sys.settrace(lambda frame, event, argument: tracers.get(frame.f_code.co_filename))


def _tracer(marks: Mapping[int, Iterable[Callable[[], object]]]) -> Callable[[FrameType, str, Any], Any]:
    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        if event == "line":
            for mark in marks.get(frame.f_lineno, ()):
                mark()
        return trace

    return trace


def _run(child: Child, house: House) -> int:
    try:
        return KINDS[child.role](child, house).run()
    except BootFailure as failure:
        child.control.last_words(str(failure))
        return ExitCode.BOOT_FAILED
    except SystemExit as leaving:
        return leaving.code if isinstance(leaving.code, int) else 1
    except BaseException as problem:
        log.critical("%s crashed", child.peer, exc_info=True)
        child.control.last_words(f"{type(problem).__name__}: {problem}")
        return ExitCode.CRASHED


def _tell_blocked(process: str) -> Callable[[float], None]:
    def slept(seconds: float) -> None:
        statement = statement_on(sys._getframe(2)) if seconds >= _BLOCKED_S else None
        if statement is not None:
            place = statement.place
            KERNEL.note(events.Blocked(CLOCK.at_s, process, str(place.file), place.line, seconds))

    return slept
