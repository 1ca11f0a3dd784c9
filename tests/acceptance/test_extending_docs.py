"""docs/extending.md: the module and the script on that page run in a real server, and do what the page says."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from runtime.cli import app
from tests.harness import ROOT, Server, free_port, wait_until

pytestmark = pytest.mark.processes

PAGE = (ROOT / "docs" / "extending.md").read_text()


def block(name: str) -> str:
    """The file that the page shows under that name."""
    found = re.search(rf"^`{re.escape(name)}`[^\n]*:\n\n```\w*\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    assert found is not None, f"the page has no {name}"
    return found[1]


def write_files(folder: Path, sip_port: int, http_port: int) -> Path:
    (folder / "prices.py").write_text(block("prices.py"))
    script = folder / "prices.cfg"
    script.write_text(block("prices.cfg").replace("5060", str(sip_port)).replace("8888", str(http_port)))
    return script


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with tempfile.TemporaryDirectory(prefix="layby") as name:
        folder = Path(name)
        sip_port, http_port = free_port(), free_port(socket.SOCK_STREAM)
        script = write_files(folder, sip_port, http_port)
        command = [sys.executable, "-m", "runtime", "run", str(script), "-R", str(folder / "run"), "--drain", "1"]
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=ROOT)
        server = Server(process, sip_port, http_port, folder / "run", folder / "log", script)
        wait_until(lambda: process.poll() is not None or server.answers(), what="the server answers MI")
        assert process.poll() is None, server.log()
        yield server
        for client in server.clients:
            client.close()
        assert server.stop() == 0


@pytest.mark.parametrize(
    ("user", "reason"),
    [
        ("4930555", "1 cents, 1 by prefix, 1"),
        ("4989555", "2 cents, 2 by prefix, 1"),
        ("1555", "10 cents, <null> by prefix, -1"),
        ("later", "1 cents, 1"),
    ],
)
def test_the_script_calls_the_module(server: Server, user: str, reason: str) -> None:
    before = server.statistic("prices:lookups")

    answer = server.client().ask(user)

    assert (answer.status, answer.reason) == (200, reason)
    assert server.statistic("prices:lookups") == before + 1


def test_its_command_is_one_of_the_server(server: Server) -> None:
    assert server.mi("price_get", {"number": "4930555"}) == 1
    assert server.mi_error("price_get", {"number": "1"}) == {"code": 404, "message": "No price"}
    assert server.mi("which", {"command": "price_get"}) == [["number"]]
    assert server.mi("help", {"mi_cmd": "price_get"}) == {"Help": "The price of a number.", "Exported by": "prices"}


def test_a_reload_keeps_it(server: Server) -> None:
    assert server.mi("reload_routes") == "OK"
    assert server.client().ask("4930555").reason == "1 cents, 1 by prefix, 1"


def which(script: Path, name: str) -> Result:
    return CliRunner().invoke(app, ["which", "--script", str(script), name])


def test_which_tells_of_it(tmp_path: Path) -> None:
    script = write_files(tmp_path, 5060, 8888)

    assert which(script, "find_price").stdout.splitlines() == [
        "find_price(number, result)    function of prices",
        "    The price of a number into a variable; -1 where it is the one of all others.",
        "    number: a string",
        "    result: a variable that is written",
        "    routes: request_route, failure_route",
        "    asynchronous: async(find_price(...), route) and launch(find_price(...))",
    ]
    assert which(script, "prices").stdout.splitlines() == [
        "prices    module",
        "    What a call costs per minute, by the prefix of its number.",
        '    load: loadmodule "prices.py"',
    ]
    assert which(script, "$price").stdout.startswith("$price    variable of prices\n")
    assert which(script, "prices.otherwise").stdout.startswith("prices.otherwise    module parameter of prices\n")
    assert which(script, "price_get").stdout.startswith("price_get    MI command of prices\n")
    assert which(script, "lookups").stdout.startswith("prices:lookups    statistic of prices\n")


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("find_price($rU);", 'find_price() needs its second argument, "result"'),
        ('find_price($rU, "text");', 'find_price(): "result" is a variable that the function writes'),
        ("find_prise($rU, $var(x));", 'did you mean "find_price"?'),
        ("$price(49) = 1;", "$price cannot be written"),
    ],
)
def test_the_checker_knows_it(tmp_path: Path, line: str, problem: str) -> None:
    script = write_files(tmp_path, 5060, 8888)
    script.write_text(script.read_text().replace("    find_price($rU, $var(cents));", f"    {line}"))

    assert problem in which(script, "find_price").stderr


def test_what_its_parameters_do_not_take_is_told(tmp_path: Path) -> None:
    script = write_files(tmp_path, 5060, 8888)
    script.write_text(script.read_text().replace("49=2", "49=two"))

    assert 'modparam("prices", "price", "49=two"): it is "PREFIX=CENTS"' in which(script, "find_price").stderr
