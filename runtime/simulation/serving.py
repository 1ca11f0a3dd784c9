"""One interpreter's work: it takes plans, runs each in a fork of itself, and gives back what happened."""

from __future__ import annotations

import gc
import os
import shutil
import tempfile
import traceback
from pathlib import Path
from typing import BinaryIO

import msgspec

from runtime.settings import runtime_home
from runtime.simulation.machine import Machine
from runtime.simulation.plan import Plan, plan_of
from runtime.simulation.run import Failed, Run, report


def serve(orders: BinaryIO, answers: BinaryIO) -> int:
    """Run every plan that comes, one after the other, until there are no more."""
    gc.freeze()
    for line in orders:
        answers.write(_in_a_fork(plan_of(line)) + b"\n")
        answers.flush()
    return 0


def _in_a_fork(plan: Plan) -> bytes:
    reading, writing = os.pipe()
    pid = os.fork()
    if not pid:
        os.close(reading)
        with open(writing, "wb") as out:
            out.write(msgspec.json.encode(_run(plan)))
        os._exit(0)
    os.close(writing)
    with open(reading, "rb") as answer:
        text = answer.read()
    _, status = os.waitpid(pid, 0)
    return text or msgspec.json.encode(Failed(f"the run ended with status {status}"))


def _run(plan: Plan) -> Run | Failed:
    folder = Path(tempfile.mkdtemp(prefix="s", dir=runtime_home().parent))
    try:
        machine = Machine(plan, folder)
        try:
            machine.run()
            return report(machine)
        finally:
            machine.close()
    except Exception:
        return Failed(traceback.format_exc())
    finally:
        shutil.rmtree(folder, ignore_errors=True)
