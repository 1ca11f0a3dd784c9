"""Have spin look at every state of the models: ``python model/check.py [NAME ...]``; what they are is in
docs/protocol-model.md.

spin writes a verifier in C, gcc compiles it, and it visits every state that the bounds of a configuration allow. A
state that breaks an assertion ends the search, and the way there can be printed step by step.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

MODELS = Path(__file__).parent
REMEDY = "spin checks the models: apt-get install spin gcc libc6-dev (Debian), or see https://spinroot.com"
_LIMIT_S = 300.0
_COMPILE = ("gcc", "-w", "-DVECTORSZ=4096")
_MANY = 100_000
"""So many states take longer to visit than what is slow at that takes to compile with more thought."""
_MOST = 1_000_000
"""More than that are kept compressed, without loss, which takes half as long again and two thirds of the memory."""


class Configuration(NamedTuple):
    """A model with its bounds.

    Args:
        model: the file's name without its ending.
        bounds: what is defined, e.g. ``{"JOBS": 2}``.
        states: how many states there are; a change of the model changes it.
        shows: what it is there to show.
        by_hand: it takes too long for the tests.
    """

    model: str
    bounds: dict[str, int]
    states: int
    shows: str
    by_hand: bool = False


CONFIGURATIONS = {
    "two deaths": Configuration(
        "parking", {"DEATHS": 2, "LIVES": 3}, 565_621, "one job, two workers: processes die, close and come back twice"
    ),
    "run again": Configuration(
        "parking", {"DEATHS": 2, "LIVES": 3, "AGAIN": 1}, 659_188, "the same with an idempotent job, which runs again"
    ),
    "directed": Configuration(
        "parking",
        {"DEATHS": 2, "LIVES": 3, "AGAIN": 1, "DIRECTED": 1},
        148_380,
        "the same with one for one worker only",
    ),
    "two origins": Configuration("parking", {"ORIGINS": 2}, 843_003, "two origins with a job each, and one death"),
    "two jobs": Configuration("parking", {"JOBS": 2, "EARLY": 0}, 152_749, "two jobs of one origin, and one death"),
    "one worker": Configuration("parking", {"JOBS": 2, "WORKERS": 1}, 78_261, "two jobs for one worker, and one death"),
    "two ask": Configuration(
        "asking", {"PROCESSES": 2}, 1_112, "two processes stop for answers of each other, twice; one may die"
    ),
    "three ask": Configuration("asking", {"PROCESSES": 3, "ASKS": 1}, 26_253, "the same with three, once"),
    "one leaves": Configuration(
        "leaving", {"ORIGINS": 2}, 10_227, "a worker is replaced twice in good order, two origins send it two jobs each"
    ),
    "three send": Configuration(
        "leaving", {"ORIGINS": 3, "JOBS": 1}, 56_946, "the same with three origins, a job each"
    ),
    "three drain": Configuration("draining", {"PROCESSES": 3}, 71_724, "a server stops: three processes; one may die"),
    "two drain": Configuration("draining", {"PROCESSES": 2, "JOBS": 2}, 2_046, "the same with two and more jobs"),
    "two jobs, early ends": Configuration(
        "parking", {"JOBS": 2}, 2_180_502, "two jobs of one origin, one death, one deadline or cancellation", True
    ),
    "two early ends": Configuration(
        "parking", {"DEATHS": 2, "LIVES": 3, "EARLY": 2}, 1_145_709, "one job, two deaths, two early ends", True
    ),
    "two origins, two deaths": Configuration(
        "parking", {"ORIGINS": 2, "WORKERS": 1, "DEATHS": 2, "LIVES": 3}, 1_742_943, "for one worker", True
    ),
    "two jobs, two deaths": Configuration(
        "parking", {"JOBS": 2, "WORKERS": 1, "DEATHS": 2, "LIVES": 3}, 4_003_243, "for one worker", True
    ),
}


class Verdict(NamedTuple):
    """What the search came to.

    Args:
        broken: the assertion that does not hold, or another complaint; empty where all is well.
        states: how many were visited.
        complete: whether these were all.
        seconds: of the search alone.
        steps: the way to the fault, where one was asked for.
    """

    broken: str
    states: int
    complete: bool
    seconds: float
    steps: str = ""


def missing() -> str:
    """What of the programs is not installed, as a remedy; empty where all are."""
    return "" if shutil.which("spin") and shutil.which("gcc") else REMEDY


def check(
    model: str, bounds: Iterable[tuple[str, int]], *, cycles: bool = False, steps: bool = False, states: int = 0
) -> Verdict:
    """Visit every state of a model.

    Args:
        model: the file's name without its ending.
        bounds: what is defined besides.
        cycles: look for something that goes on for ever, and not for broken assertions.
        steps: print the way to a fault.
        states: how many there will be, where they are many.

    Raises:
        RuntimeError: the model cannot be understood, or the programs are not there.
    """
    if missing():
        raise RuntimeError(missing())
    defines = [f"-D{name}={value}" for name, value in bounds]
    with tempfile.TemporaryDirectory(prefix="layby-model-") as name:
        folder = Path(name)
        source = str(MODELS / f"{model}.pml")
        _run(["spin", "-a", *defines, source], folder)
        _run([*_COMPILE, *_effort(states), "-DNP" if cycles else "-DSAFETY", "-o", "pan", "pan.c"], folder)
        began = time.monotonic()
        words = _run(["./pan", "-m100000", *(["-l"] if cycles else [])], folder)
        seconds = time.monotonic() - began
        trail = folder / f"{model}.pml.trail"
        way = _run(["spin", "-k", str(trail), "-p", "-g", *defines, source], folder) if steps and trail.exists() else ""
    return _verdict(words, seconds, _readable(way))


def _effort(states: int) -> list[str]:
    if states > _MOST:
        return ["-O2", "-DCOLLAPSE"]
    return ["-Og" if states > _MANY else "-O0"]


def _run(command: Sequence[str], folder: Path) -> str:
    done = subprocess.run(
        command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_LIMIT_S
    )
    words = done.stdout + done.stderr
    if done.returncode and not words.lstrip().startswith(("pan:", "hint:")):
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}:\n{words}")
    return words


_STEP = re.compile(r"\s*(\d+):\tproc +\d+ \((:?\w+:?):1\).*")
_VALUE = re.compile(r"\t\t(?:queue \d+ \()?(\w+(?:\[\d+\])?)(?:\):| =) ?(.*?) *")
_SCRATCH = frozenset({"a", "b", "c", "k", "said", "serial", "owner", "happened", "name", "whose", "gone"})


def _readable(words: str) -> str:
    """What each step has changed, step by step, and what spin says in the end."""
    known: dict[str, str] = {}
    steps: dict[str, dict[str, str]] = {}
    ending = []
    step = ""
    for line in words.splitlines():
        if found := _STEP.fullmatch(line):
            step = "" if found[2] == ":init:" else f"{found[1]} {found[2]}"
        elif (found := _VALUE.fullmatch(line)) and found[1] not in _SCRATCH:
            if step and known.get(found[1]) != found[2]:
                steps.setdefault(step, {})[found[1]] = found[2]
            known[found[1]] = found[2]
        elif line.startswith("spin:"):
            ending.append(line)
    changes = [", ".join(f"{name} = {value}" for name, value in changed.items()) for changed in steps.values()]
    return "\n".join([*map(": ".join, zip(steps, changes, strict=True)), *ending])


def _verdict(words: str, seconds: float, steps: str) -> Verdict:
    states = re.search(r"(\d+) states, stored", words)
    errors = re.search(r"errors: (\d+)", words)
    if states is None or errors is None:
        raise RuntimeError(f"the search said nothing:\n{words}")
    broken = re.search(r"pan:1: (.*) \(at depth", words)
    complete = "Search not completed" not in words and "search depth too small" not in words
    found = broken[1] if broken else words if errors[1] != "0" else ""
    return Verdict(found, int(states[1]), complete and not found, seconds, steps)


def main(names: Sequence[str]) -> int:
    """Check these configurations, or all that the tests check, two at a time; 0 where all is well."""
    wanted = {name: one for name, one in CONFIGURATIONS.items() if name in names or (not names and not one.by_hand)}
    ends = True
    with ThreadPoolExecutor(2) as pool:
        jobs = {
            name: pool.submit(check, one.model, one.bounds.items(), steps=True, states=one.states)
            for name, one in wanted.items()
        }
        for name, job in jobs.items():
            verdict = job.result()
            ends = ends and not verdict.broken and verdict.complete
            told = verdict.broken or "nothing broken"
            print(f"{name}: {told}; {verdict.states:,} states in {verdict.seconds:.1f} s: {wanted[name].shows}")
            if verdict.steps:
                print(verdict.steps)
    return 0 if ends and wanted else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
