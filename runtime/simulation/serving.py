"""One interpreter's work: it takes plans, runs each in a fork of itself, and gives back what happened."""

from __future__ import annotations

import gc
import importlib
import logging
import os
import shutil
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final, assert_never

from runtime.errors import NotLoaded
from runtime.script.parse import parse
from runtime.simulation.machine import Machine
from runtime.simulation.plan import Plan
from runtime.simulation.run import Advance, Failed, Finish, Open, Order, Run, RunPlan, order_of, pack

_WARMS_UP: Final = 'route { if ($rU == "a") { xlog("b"); exit; } }'
"""Read once before the first fork, so that no run has to make the parser: half of what a short one costs."""


def prepare(arguments: Sequence[str]) -> Path:
    """Heed the command line, see `runtime.simulation.simulator.Simulator`. Gives the folder for what runs share."""
    folder = Path()
    logging.getLogger().addHandler(logging.NullHandler())  # what the attendant says of every crash
    for argument in arguments:
        if argument.startswith("--cpu="):
            os.sched_setaffinity(0, {int(argument.removeprefix("--cpu="))})
        elif argument.startswith("--folder="):
            folder = Path(argument.removeprefix("--folder="))
        else:
            module, _, function = argument.partition(":")
            getattr(importlib.import_module(module), function)()
    return folder


def serve(folder: Path, orders: BinaryIO, answers: BinaryIO) -> int:
    """Run every plan that comes, one after the other, until there are no more."""
    parse(_WARMS_UP, "")
    gc.freeze()
    while line := orders.readline():
        pid = os.fork()
        if not pid:
            _serve_run(folder / "1", order_of(line), orders, answers)
            os._exit(0)
        _, status = os.waitpid(pid, 0)
        if status:
            _answer(answers, Failed(f"the run ended with status {status}"))
    shutil.rmtree(folder, ignore_errors=True)
    return 0


def _answer(answers: BinaryIO, word: Run | Failed) -> None:
    answers.write(pack(word) + b"\n")
    answers.flush()


def _serve_run(folder: Path, order: Order, orders: BinaryIO, answers: BinaryIO) -> None:
    """One run, in a process of its own. Nothing that comes meanwhile is anybody else's: orders wait for answers."""
    try:
        match order:
            case RunPlan(plan):
                with _machine(plan, folder) as machine:
                    machine.run()
                    run = machine.report()
                # Not before all has been closed: what goes wrong then is this order's one answer.
                _answer(answers, run)
            case Open(plan):
                with _machine(plan, folder) as machine:
                    machine.start()
                    _answer(answers, machine.take_news())
                    last = _converse(machine, orders, answers)
                if last is not None:
                    _answer(answers, last)
            case Advance() | Finish():
                _answer(answers, Failed("no run is open"))
            case _:
                assert_never(order)
    except NotLoaded as error:
        _answer(answers, Failed("\n".join(str(problem) for problem in error.problems)))
    except Exception:
        _answer(answers, Failed(traceback.format_exc()))


def _converse(machine: Machine, orders: BinaryIO, answers: BinaryIO) -> Run | None:
    """Step by step; the whole run, None where nobody waits for it any more."""
    while line := orders.readline():
        match order_of(line):
            case Advance(items, until_s):
                for item in items:
                    machine.add(item)
                machine.advance(until_s)
                _answer(answers, machine.take_news())
            case Finish(until_s):
                machine.finish(until_s)
                return machine.report()
            case RunPlan() | Open():
                _answer(answers, Failed("a run is open"))
    return None


@contextmanager
def _machine(plan: Plan, folder: Path) -> Iterator[Machine]:
    shutil.rmtree(folder, ignore_errors=True)  # of a run that did not come to its end
    folder.mkdir()
    try:
        machine = Machine(plan, folder)
        try:
            yield machine
        finally:
            machine.close()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
