"""The named steps of the protocol: absent unless asked for, and followed by one process when they are."""

from __future__ import annotations

import ast
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.steps import ServerStep
from workers.endpoint import Endpoint
from workers.steps import VARIABLE, Order, Step, after, before, read_order

ROOT = Path(__file__).parent.parent.parent

PROGRAM = """
import os
from workers.steps import after, before, enter

@before("begun")
@after("done")
def work(result):
    print(result, flush=True)
    return result

enter("worker-1")
for number in range(5):
    work(number)
work(False)
if os.fork() == 0:
    enter("sip-1")
    work("child")
    os._exit(0)
os.wait()
print("end", flush=True)
"""


def run(tmp_path: Path, order: str | None) -> tuple[list[str], int]:
    """What a program with two steps has printed, and its exit code."""
    fault = tmp_path / "fault"
    if order is not None:
        fault.write_text(order)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={**os.environ, VARIABLE: str(fault)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=20,
    )
    return done.stdout.split(), done.returncode


def test_nothing_is_there_unless_it_is_asked_for() -> None:
    assert VARIABLE not in os.environ

    def function() -> None:
        """Nothing."""

    assert before(Step.SETTLED)(function) is function
    assert after(Step.SETTLED)(function) is function
    assert not hasattr(Endpoint.send_result, "__wrapped__")


ALL = ["0", "1", "2", "3", "4", "False", "child", "end"]


@pytest.mark.parametrize(
    ("order", "printed", "code"),
    [
        (None, ALL, 0),
        ("worker-1:begun:3:KILL", ["0", "1"], -signal.SIGKILL),
        ("worker-*:done:3:KILL", ["0", "1", "2"], -signal.SIGKILL),
        ("*:begun:1:TERM", [], -signal.SIGTERM),
        ("worker-2:begun:1:KILL", ALL, 0),
        ("worker-1:other:1:KILL", ALL, 0),
        # The last call gave False and so has not been done; the child counts for itself, and its end is not the end.
        ("worker-1:done:6:KILL", ALL, 0),
        ("sip-1:done:1:KILL", ALL, 0),
        ("sip-1:begun:1:KILL", [one for one in ALL if one != "child"], 0),
        ("sip-1:begun:2:KILL", ALL, 0),
    ],
)
def test_an_order_is_followed_at_its_step(tmp_path: Path, order: str | None, printed: list[str], code: int) -> None:
    assert run(tmp_path, order) == (printed, code)


def test_an_order_fells_one_process(tmp_path: Path) -> None:
    run(tmp_path, "*:begun:1:KILL")
    assert not (tmp_path / "fault").exists()
    assert run(tmp_path, None) == (ALL, 0)


def test_an_order_reads_back() -> None:
    order = Order("sip-*", Step.FRAME_SENT, 2, signal.SIGSTOP)
    assert str(order) == "sip-*:frame sent:2:STOP"
    assert read_order(str(order)) == order


@pytest.mark.parametrize("text", ["", "sip-1", "sip-1:settled:x:KILL", "sip-1:settled:1:NONE", "a:b:1:KILL:c"])
def test_what_is_no_order_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match="order"):
        read_order(text)


def decorated() -> Iterator[str]:
    """Every step by which the sources name a place, as ``Step.NAME``."""
    for path in [*(ROOT / "workers").rglob("*.py"), *(ROOT / "runtime").rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef):
                yield from (ast.unparse(one.args[0]) for one in node.decorator_list if names_step(one))


def names_step(decorator: ast.expr) -> bool:
    return isinstance(decorator, ast.Call) and ast.unparse(decorator.func) in ("before", "after")


def test_every_step_is_somewhere_and_nowhere_else_is_one() -> None:
    assert set(decorated()) == {f"{type(step).__name__}.{step.name}" for step in (*Step, *ServerStep)}


def test_somebody_dies_at_every_step() -> None:
    tests = "".join(path.read_text() for path in (ROOT / "tests/processes").glob("test_protocol_steps_*.py"))
    tested = set(re.findall(r"\b(?:Server)?Step\.[A-Z_]+", tests))
    assert tested == {f"{type(step).__name__}.{step.name}" for step in (*Step, *ServerStep)}
