"""Modules that a script brings along: what is wrong with one is told where the script loads it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from runtime.errors import NotLoaded
from runtime.program import Program
from tests.harness import ROOT, free_port

GOOD = """
from runtime.modules.base import RuntimeModule
from runtime.script.declare import function

class Tools(RuntimeModule):
    name = "tools"

    @function("do_it")
    def do_it(self, c):
        '''Do it.'''
        return 1
"""

NO_MODULE = 'tools.py is to have one subclass of RuntimeModule with name = "tools"'


def load(folder: Path, module: str | None, script: str) -> Program:
    if module is not None:
        (folder / "tools.py").write_text(module)
    (folder / "server.cfg").write_text(script)
    return Program.load(folder / "server.cfg")


def problems(folder: Path, module: str | None, script: str = 'loadmodule "tools.py"\nroute { do_it(); }') -> list[str]:
    with pytest.raises(NotLoaded) as caught:
        load(folder, module, script)
    return [str(problem).replace(f"{folder}/", "") for problem in caught.value.problems]


def test_a_file_that_the_script_names_is_a_module(tmp_path: Path) -> None:
    program = load(tmp_path, GOOD, 'loadmodule "tools.py"\nroute { do_it(); }')

    assert program.modules["tools"].name == "tools"


def test_the_path_is_relative_to_the_file_that_names_it(tmp_path: Path) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    (inner / "tools.py").write_text(GOOD)
    (inner / "more.cfg").write_text('loadmodule "tools.py"\n')

    assert "tools" in load(tmp_path, None, 'include_file "inner/more.cfg"\nroute { do_it(); }').modules


def test_two_loads_of_one_file_run_it_once(tmp_path: Path) -> None:
    counting = f"with open({str(tmp_path / 'runs')!r}, 'a') as runs:\n    runs.write('x')\n{GOOD}"

    load(tmp_path, counting, 'loadmodule "tools.py"\nloadmodule "tools.py"\nroute { do_it(); }')

    assert (tmp_path / "runs").read_text() == "x"


@pytest.mark.parametrize(
    ("module", "problem"),
    [
        (None, "cannot read tools.py: No such file or directory"),
        ("def broken(:\n", "tools.py:1: SyntaxError: invalid syntax"),
        ("\n\nraise ValueError('not today')\n", "tools.py:3: ValueError: not today"),
        ("def f():\n    return no_such_name\nf()\n", "tools.py:2: NameError: name 'no_such_name' is not defined"),
        ("import no_such_package\n", "tools.py:1: ModuleNotFoundError: No module named 'no_such_package'"),
        ("raise SystemExit(3)\n", "tools.py:1: SystemExit: 3"),
        ("x = 1\n", NO_MODULE),
        (GOOD.replace('"tools"', '"other"'), NO_MODULE),
        (
            GOOD + GOOD.replace("Tools", "Twice"),
            NO_MODULE,
        ),
        (
            "from runtime.modules.tm import Tm\nTm.name\n",
            NO_MODULE,
        ),
    ],
)
def test_what_is_wrong_with_it_is_told_at_the_loadmodule(tmp_path: Path, module: str | None, problem: str) -> None:
    found = problems(tmp_path, module)

    assert f"server.cfg:1:1: error: {problem}" in found


def test_it_cannot_take_the_name_of_a_module_that_there_is(tmp_path: Path) -> None:
    (tmp_path / "tm.py").write_text(GOOD)

    assert problems(tmp_path, None, 'loadmodule "tm.py"\nroute { exit; }') == [
        "server.cfg:1:1: error: there is a module tm already; give the file another name"
    ]


def test_a_module_that_is_no_file_is_not_looked_for(tmp_path: Path) -> None:
    (tmp_path / "tools.py").write_text(GOOD)

    assert problems(tmp_path, None, 'loadmodule "tools.so"\nroute { exit; }') == [
        "server.cfg:1:1: error: unknown module tools"
    ]


WITH_COMMAND = f"""{GOOD}
    @command("ps")
    def ps(self, params):
        "Mine."
        return "mine"
"""


@pytest.mark.processes
def test_its_mi_commands_cannot_take_a_name_that_is_taken(tmp_path: Path) -> None:
    module = "from mi_script.commands import command\n" + WITH_COMMAND
    load(tmp_path, module, 'loadmodule "tools.py"\nroute { do_it(); }')
    command = [
        sys.executable,
        "-m",
        "runtime",
        "run",
        str(tmp_path / "server.cfg"),
        "-l",
        f"udp:127.0.0.1:{free_port()}",
    ]

    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=20, check=False)

    assert done.returncode == 1
    assert "module tools: there are two MI commands named 'ps'" in done.stderr


def test_a_reload_keeps_the_module_and_takes_no_other(tmp_path: Path) -> None:
    program = load(tmp_path, GOOD, 'loadmodule "tools.py"\nroute { do_it(); }')
    (tmp_path / "tools.py").write_text("raise ValueError('is not run')")
    (tmp_path / "server.cfg").write_text('loadmodule "tools.py"\nroute { do_it(); do_it(); }')

    assert program.publish(tmp_path) == 1

    (tmp_path / "more.py").write_text(GOOD.replace("tools", "more"))
    (tmp_path / "server.cfg").write_text('loadmodule "tools.py"\nloadmodule "more.py"\nroute { do_it(); }')

    with pytest.raises(NotLoaded, match=r"more\.py is not loaded; a reload takes new routes only"):
        program.publish(tmp_path)
