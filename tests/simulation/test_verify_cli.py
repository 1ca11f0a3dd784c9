"""`layby verify` and `layby replay` as programs: exit codes, findings as files, and what is shown of them."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.harness import wait_until

pytestmark = pytest.mark.processes

ROOT = Path(__file__).parents[2]
SCRIPTS = Path(__file__).parent / "scripts"
FORGETS = (SCRIPTS / "forgets_to_answer.cfg").read_text()
RIGHT = FORGETS.replace("exit; # found: never-answered", 't_reply(480, "Not Now"); exit;')
MOVED = FORGETS.replace("\nroute {", "\n# It was in line 19.\nroute {", 1)
UNCALLED = (SCRIPTS / "uncalled.cfg").read_text()
IN_PYTHON = """
from runtime.pyscript import Call, module, route, server

server(socket="udp:192.0.2.1:5060")
for name in ("proto_udp", "sl", "tm", "sipmsgops", "mi_script"):
    module(name)


@route.request
async def main(call: Call) -> None:
    if call.is_method("ACK"):
        return
    user = call.ruri_user
    match user:
        case "status":
            await told(call)
        case "other" | "another":
            call.sl_send_reply(404, "Not Found")
        case _:
            call.sl_send_reply(405, "Not Allowed")


async def told(call: Call) -> None:
    await call.mi("uptime", timeout_s=2)
    if (call.header("User-Agent") or "").startswith("phone"):
        return  # found: never-answered
    call.t_reply(200, "OK")
"""
ENVIRONMENT = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), "COLUMNS": "100"}


class Ended(NamedTuple):
    code: int
    out: str
    err: str


def layby(folder: Path, *arguments: str, told: str = "") -> Ended:
    done = subprocess.run(
        [sys.executable, "-m", "runtime", *arguments],
        cwd=folder,
        input=told,
        capture_output=True,
        text=True,
        timeout=60,
        env=ENVIRONMENT,
    )
    return Ended(done.returncode, done.stdout, done.stderr)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("verify")
    (folder / "forgets.cfg").write_text(FORGETS)
    (folder / "right.cfg").write_text(RIGHT)
    (folder / "uncalled.cfg").write_text(UNCALLED)
    return folder


@pytest.fixture(scope="module")
def found(folder: Path) -> Ended:
    return layby(
        folder, "verify", "forgets.cfg", "--faults", "loss", "--seconds", "30", "--runs", "1", "--json", "all.json"
    )


def test_a_finding_is_told_with_its_place_and_how_to_see_it_again(found: Ended, folder: Path) -> None:
    assert (found.code, found.err) == (1, "")
    assert "forgets.cfg:19: never-answered: " in found.out
    assert "  layby replay findings/never-answered-forgets-19.json\n" in found.out
    assert "1 finding\n" in found.out
    document = json.loads((folder / "all.json").read_text())
    assert [(one["kind"], one["line"]) for one in document["findings"]] == [("never-answered", 19)]
    assert [one["route"] for one in document["coverage"]] == ["route", "route[told]"]
    assert document["runs"] == 1


def test_a_finding_is_a_few_steps_and_is_gone_once_the_script_is_right(found: Ended, folder: Path) -> None:
    replay = ("replay", "findings/never-answered-forgets-19.json")
    shown = layby(folder, *replay)
    (folder / "forgets.cfg").write_text(RIGHT)
    gone = layby(folder, *replay, "--step", told="")

    assert (shown.code, gone.code) == (1, 0), shown
    assert "● parks in line 12 " in shown.out
    assert len(json.loads((folder / replay[1]).read_text())["plan"]["items"]) == 1
    assert "Call-ID: call-" in gone.out
    assert "not found any more: forgets.cfg:19: never-answered" in gone.out


def test_nothing_found_is_said_so(folder: Path) -> None:
    ended = layby(folder, "verify", "right.cfg", "--faults", "none", "--seconds", "30", "--runs", "1")

    assert (ended.code, ended.err) == (0, "")
    assert "no findings" in ended.out
    assert "100 % of the statements" in ended.out


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "No such file"),
        ("route { nonsense(); }", "unknown function"),
        ('loadmodule "proto_tcp.so"\nsocket=tcp:127.0.0.1:5060\nroute { exit; }', "no UDP socket"),
    ],
)
def test_what_cannot_be_run_says_why(tmp_path: Path, text: str | None, said: str) -> None:
    if text is not None:
        (tmp_path / "a.cfg").write_text(text)
    ended = layby(tmp_path, "verify", "a.cfg", "--seconds", "5")

    assert ended.code == 2
    assert said in ended.err


def test_a_file_that_is_no_finding_says_so(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"kind": "odd"}')
    ended = layby(tmp_path, "replay", "a.json")

    assert ended.code == 2
    assert "a.json is no finding" in ended.err


@pytest.mark.parametrize(("faults", "said"), [("crash,flood", "flood is none of"), ("none,crash", "none is none of")])
def test_an_unknown_fault_is_refused(folder: Path, faults: str, said: str) -> None:
    ended = layby(folder, "verify", "right.cfg", "--faults", faults)

    assert ended.code == 2
    assert said in " ".join(ended.err.replace("│", " ").split())


def test_the_first_finding_may_be_enough_and_json_alone_may_be_on_standard_output(folder: Path) -> None:
    ended = layby(folder, "verify", "uncalled.cfg", "--first", "--json", "-")
    document = json.loads(ended.out)

    assert ended.code == 1
    assert [(one["kind"], one["line"]) for one in document["findings"]] == [("unreachable", 14)]
    assert document["runs"] == 0
    assert "uncalled.cfg:14: unreachable: nothing calls route[left_over]" in ended.err


def test_a_finding_is_found_again_in_a_script_that_has_changed(found: Ended, folder: Path) -> None:
    (folder / "forgets.cfg").write_text(MOVED)
    again = layby(folder, "replay", "findings/never-answered-forgets-19.json")
    (folder / "forgets.cfg").write_text(FORGETS)

    assert again.code == 1
    assert "forgets.cfg has changed since this was found" in again.out
    assert "forgets.cfg:20: never-answered: " in again.out


def test_what_is_kept_of_a_finding_of_another_version_is_not_run(found: Ended, folder: Path) -> None:
    kept = json.loads((folder / "findings/never-answered-forgets-19.json").read_text())
    (folder / "older.json").write_text(json.dumps({**kept, "format": 1}))
    ended = layby(folder, "replay", "older.json")

    assert ended.code == 2
    assert "older.json is no finding: it is of format 1" in ended.err


def test_a_script_in_python_is_run_as_well(tmp_path: Path) -> None:
    (tmp_path / "forgets.py").write_text(IN_PYTHON)
    line = IN_PYTHON[: IN_PYTHON.index("# found")].count("\n") + 1
    ended = layby(tmp_path, "verify", "forgets.py", "--faults", "none", "--runs", "1", "--json", "all.json")
    document = json.loads((tmp_path / "all.json").read_text())

    assert ended.code == 1
    assert [(one["kind"], one["line"]) for one in document["findings"]] == [("never-answered", line)]
    assert "100 % of the statements" in ended.out


def test_who_interrupts_is_told_what_was_found_so_far(folder: Path) -> None:
    with begun(folder, "verify", "uncalled.cfg") as process:
        wait_until(lambda: interpreters_of(process.pid))
        os.kill(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=20)

    assert (process.returncode, err) == (1, "")
    assert "uncalled.cfg:14: unreachable" in out
    assert "interrupted\n" in out


def test_it_is_over_soon_after_its_time(folder: Path) -> None:
    ended = layby(folder, "verify", "right.cfg", "--seconds", "2", "--json", "-")

    assert ended.code in (0, 2)  # 2: this machine was too busy for a run
    assert 2 <= json.loads(ended.out)["seconds"] < 4


@contextmanager
def begun(folder: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-m", "runtime", *arguments],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
        # A shell that starts something in its background has it ignore Ctrl-C, and so what that starts.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def interpreters_of(pid: int) -> list[str]:
    """The processes that one has started, from whichever of its threads."""
    return [child for task in Path(f"/proc/{pid}/task").glob("*/children") for child in task.read_text().split()]
