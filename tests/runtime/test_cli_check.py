"""`layby check` as it is run: what it prints, where, and its exit code."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
import time
from pathlib import Path

import pytest

from runtime.checking import problems_of

pytestmark = pytest.mark.processes

ROOT = Path(__file__).parent.parent.parent
RIGHT = 'loadmodule "sl.so"\nroute { sl_send_reply(200, "OK"); }\n'
ODD = 'loadmodule "sl.so"\nroute {\n\texit;\n\tsl_send_reply(200, "OK");\n}\n'
WRONG = 'loadmodule "sl.so"\nroute {\n\tsl_send_repl(200, "Größe");\n}\n'


def layby(*arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "runtime", *map(str, arguments)],
        **{"cwd": ROOT, "capture_output": True, "text": True, "timeout": 30, **options},  # type: ignore[call-overload]
    )


@pytest.fixture
def script(tmp_path):
    def write(text: str, name: str = "a.cfg") -> Path:
        path = tmp_path / name
        path.write_text(text)
        return path

    return write


@pytest.mark.parametrize(
    ("text", "options", "code"), [(RIGHT, [], 0), (ODD, [], 0), (ODD, ["--strict"], 1), (WRONG, [], 1)]
)
def test_the_exit_code_says_whether_it_is_right(script, text, options, code):
    assert layby("check", *options, script(text)).returncode == code


def test_a_problem_with_its_line_its_mark_and_the_count(script):
    path = script(WRONG)
    done = layby("check", path)
    assert done.stdout == (
        f'{path}:3:2: error: unknown function sl_send_repl() (did you mean "sl_send_reply"?) [unknown-function]\n'
        ' 3 |    sl_send_repl(200, "Größe");\n'
        "   |    ^^^^^^^^^^^^\n"
        "\n"
        "1 error\n"
    )
    assert done.stderr == ""


def test_nothing_wrong_is_said_too(script):
    assert layby("check", script(RIGHT)).stdout == "no problems\n"


def test_running_says_the_same(script):
    path = script(WRONG)
    checked, run = layby("check", path), layby("run", "-C", path)
    assert (run.returncode, run.stdout) == (1, "")
    assert run.stderr == checked.stdout


def test_several_files_are_told_together(script):
    one, other = script(WRONG, "one.cfg"), script(ODD, "other.cfg")
    done = layby("check", one, other)
    assert f"{one}:3:2: error: " in done.stdout
    assert f"{other}:4:2: warning: " in done.stdout
    assert done.stdout.endswith("\n1 error, 1 warning\n")
    assert done.returncode == 1


def test_for_editors(script):
    one, other = script(WRONG, "one.cfg"), script(ODD, "other.cfg")
    done = layby("check", "--format", "json", one, other)
    found = json.loads(done.stdout)
    assert [(entry["file"], entry["line"], entry["column"], entry["end_column"]) for entry in found] == [
        (str(one), 3, 2, 14),
        (str(other), 4, 2, 15),
    ]
    assert [(entry["severity"], entry["code"], entry["suggestion"]) for entry in found] == [
        ("error", "unknown-function", "sl_send_reply"),
        ("warning", "never-runs", None),
    ]
    assert done.returncode == 1
    assert json.loads(layby("check", "--format", "json", script(RIGHT)).stdout) == []


@pytest.mark.parametrize("arguments", [["no-such-file.cfg"], ["."], [], ["--format", "xml", "a.cfg"]])
def test_what_cannot_be_checked_is_exit_code_2(arguments):
    done = layby("check", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr


def test_an_include_that_is_missing_is_a_problem_of_the_script(script):
    done = layby("check", script('include_file "nowhere.cfg"\n' + RIGHT))
    assert done.returncode == 1
    assert "[unreadable-file]" in done.stdout


@pytest.mark.parametrize(
    ("line", "place", "said"),
    [
        ("udp_workers=1000", "1:1", "udp_workers"),
        ("socket=udp:127.0.0.1:99999", "1:8", "99999"),
        ('loadmodule "dialog.so"\nmodparam("dialog", "hash_size", 5)', "2:21", "must be a power of two"),
    ],
)
def test_settings_that_only_the_start_would_refuse(script, line, place, said):
    path = script(f"{line}\n{RIGHT}")
    done = layby("check", path)
    assert done.stdout.startswith(f"{path}:{place}: error: ")
    assert said in done.stdout.splitlines()[0]
    assert "[bad-setting]" in done.stdout


def test_it_starts_and_opens_nothing(script):
    path = script(f"socket=udp:eth7:5060\nsocket=tcp:*:5060\n{RIGHT}")
    watch = (
        "import sys\n"
        "events = []\n"
        "sys.addaudithook(lambda event, _: events.append(event))\n"
        "from runtime.checking import problems_of\n"
        "from pathlib import Path\n"
        f"assert problems_of(Path({str(path)!r})) == []\n"
        "print(sorted({event for event in events if event.startswith(('socket.', 'subprocess.', 'os.fork'))}))\n"
    )
    done = subprocess.run([sys.executable, "-c", watch], cwd=ROOT, capture_output=True, text=True, timeout=30)
    assert (done.stdout, done.stderr) == ("[]\n", "")


@pytest.mark.parametrize("options", [[], ["--format", "json"]])
def test_a_terminal_that_knows_ascii_only(script, options):
    path = script('route {\n\tnothing("电话…");\n}\n')
    done = layby("check", *options, path, env={**os.environ, "PYTHONIOENCODING": "ascii"})
    assert done.returncode == 1
    assert "unknown function nothing()" in done.stdout


def test_what_editors_read_is_json_in_every_locale(script, tmp_path):
    path = Path(script(WRONG)).rename(tmp_path / "café.cfg")
    done = layby("check", "--format", "json", path, env={**os.environ, "PYTHONIOENCODING": "ascii"})
    assert {problem["file"] for problem in json.loads(done.stdout)} == {str(path)}


def test_a_thousand_lines_take_no_time(script):
    routes = "".join(
        f"route[r{number}] {{\n"
        f'    $avp(n{number}) = "profile";\n    $avp(v{number}) = $fU;\n'
        f'    if ($rU =~ "^[0-9]+$" && is_method("INVITE"))\n'
        f'        xlog("L_INFO", "[$ci] $fU to $(rU{{s.substr,0,3}})\\n");\n'
        f'    async(mi("profile_get_values", $avp(out), $avp(n{number}), $avp(v{number})), r0, 2);\n'
        "}\n\n"
        for number in range(125)
    )
    loads = "".join(f'loadmodule "{name}.so"\n' for name in ("sl", "sipmsgops", "dialog", "mi_script"))
    path = script(f"{loads}{routes}{RIGHT.partition(chr(10))[2]}")
    assert path.read_text().count("\n") > 1000
    assert layby("check", path).stdout == "no problems\n"
    began = time.process_time()
    assert problems_of(path) == []
    assert time.process_time() - began < 1.0


def test_colours_on_a_terminal_only(script):
    path = script(WRONG)
    ours, theirs = pty.openpty()
    environment = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "FORCE_COLOR")}
    layby(
        "check", path, capture_output=False, stdout=theirs, stderr=theirs, env={**environment, "TERM": "xterm-256color"}
    )
    os.close(theirs)
    seen = os.read(ours, 65536).decode()
    os.close(ours)
    assert "\x1b[1;31merror: \x1b[0m" in seen
    assert "\x1b" not in layby("check", path).stdout
