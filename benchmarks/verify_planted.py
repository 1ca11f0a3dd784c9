"""Does `layby verify` find each of the planted bugs, and how long does it take?

    python benchmarks/verify_planted.py [NAME ...] [--seconds 60] [--whole]

Runs the real command line for each of them, one after the other: for scripts with one bug each, and for servers with
one each, whose interpreters plant it (`tests/simulation/planting.py`). The time is that of the whole program, from its
start to its end, with the shorter plan for `layby replay` that it makes of what it finds. It stops at the first run
that finds something; with ``--whole`` it looks for as long as it is told to. Exit code 1 where a bug was not found in
that time, or something was found that is none.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.simulation.planting import SCRIPTS, SERVER_BUGS, expected_in, served  # noqa: E402

_LATER_S = 60.0
"""For how long the program may go on after its time, before it is given up."""


@dataclass(frozen=True, slots=True)
class Case:
    """A bug: the script, the module that is run as `layby`, and what is to be found as ``KIND`` or ``KIND:LINE``."""

    script: Path
    program: str
    expected: frozenset[str]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one: what was found, and which of that was to be; the program's time and exit code."""

    found: tuple[str, ...]
    right: bool
    seconds: float
    code: int


def cases(names: list[str], folder: Path) -> Iterator[Case]:
    """Those of the names; all where there are none."""
    for script in SCRIPTS:
        if not names or script.stem in names:
            yield Case(script, "runtime", frozenset(f"{kind}:{line}" for kind, line in expected_in(script)))
    for bug, (kind, _) in SERVER_BUGS.items():
        if not names or bug in names:
            yield Case(served(bug, folder), "tests.simulation.planting", frozenset({kind}))


def look(case: Case, seconds: float, whole: bool, folder: Path) -> Outcome:
    """Run the program for one bug."""
    options = ["--seconds", f"{seconds:g}", "--json", "-", "--out", str(folder / "findings")]
    options += [] if whole else ["--first"]
    command = [sys.executable, "-m", case.program, "verify", str(case.script), *options]
    began = time.monotonic()
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=seconds + _LATER_S)
    took_s = time.monotonic() - began
    if done.returncode not in (0, 1):
        sys.exit(f"{case.script.name}: exit code {done.returncode}\n{done.stderr}")
    found = {spelling for one in json.loads(done.stdout)["findings"] for spelling in spellings(one)}
    shown = tuple(sorted(one for one in found if ":" in one))
    return Outcome(shown, is_right(case, found, whole), took_s, done.returncode)


def spellings(finding: dict[str, Any]) -> tuple[str, str]:
    """How a finding may be expected: by its kind, and by its kind and line."""
    return finding["kind"], f"{finding['kind']}:{finding['line']}"


def is_right(case: Case, found: set[str], whole: bool) -> bool:
    """Whether what was to be found was. A server's bug may show itself in more than one way, a script's may not."""
    if case.program != "runtime":
        return case.expected <= found
    told = {one for one in found if ":" in one}
    return told == case.expected if whole else bool(told) and told <= case.expected


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--whole", action="store_true")
    options = parser.parse_args()
    wrong = 0
    print(f"{'bug':26} {'found':34} {'s':>5} {'exit':>4}")
    with tempfile.TemporaryDirectory(prefix="layby") as folder:
        for case in cases(options.names, Path(folder)):
            outcome = look(case, options.seconds, options.whole, Path(folder))
            in_time = options.whole or outcome.seconds < options.seconds
            right = outcome.right and in_time
            wrong += not right
            shown = ", ".join(outcome.found) or "nothing"
            print(
                f"{case.script.stem:26} {shown:34} {outcome.seconds:5.1f} {outcome.code:4}{'' if right else '  WRONG'}",
                flush=True,
            )
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
