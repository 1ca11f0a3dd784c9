"""`layby verify` and `layby replay` as programs: exit codes, findings as files, and what is shown of them."""

import json
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

pytestmark = pytest.mark.processes

SCRIPTS = Path(__file__).parent / "scripts"
FORGETS = (SCRIPTS / "forgets_to_answer.cfg").read_text()
RIGHT = FORGETS.replace("exit; # found: never-answered", 't_reply(480, "Not Now"); exit;')


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
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(Path(__file__).parents[2]), "COLUMNS": "100"},
    )
    return Ended(done.returncode, done.stdout, done.stderr)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("verify")
    (folder / "forgets.cfg").write_text(FORGETS)
    (folder / "right.cfg").write_text(RIGHT)
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
    gone = layby(folder, *replay, "--step", told="\n" * 100)

    assert (shown.code, gone.code) == (1, 0), shown
    assert "● parks in line 12 " in shown.out
    assert len(json.loads((folder / replay[1]).read_text())["plan"]["items"]) == 1
    assert "Call-ID: call-" in gone.out
    assert "not found any more: forgets.cfg:19: never-answered" in gone.out


def test_nothing_found_is_said_so(folder: Path) -> None:
    ended = layby(folder, "verify", "right.cfg", "--faults", "", "--seconds", "30", "--runs", "1")

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


def test_an_unknown_fault_is_refused(folder: Path) -> None:
    ended = layby(folder, "verify", "right.cfg", "--faults", "crash,flood")

    assert ended.code == 2
    assert "flood is none of" in ended.err
