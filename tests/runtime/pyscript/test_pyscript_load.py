"""What a script in Python says of itself, and what is found wrong with it before any traffic."""

from __future__ import annotations

import sys

import pytest

from runtime.checking import problems_of
from runtime.pyscript import module, route, server
from runtime.pyscript.load import NAME, PyChecked, load
from tests.runtime.script.conftest import Tools

ROUTE = "@route.request\nasync def main(call: Call) -> None:\n"


def test_parameters_modules_and_routes_are_those_of_a_cfg_script(checked) -> None:
    found = checked(
        """
        server(socket=["udp:127.0.0.1:5060", "tcp:127.0.0.1:5060"], udp_workers=2, log_prefix="é")
        module("tools.so" if False else "tools2", level="7", line=["a", "b"])

        @route.request
        async def main(call: Call) -> None: ...

        @route.failure("busy")
        def busy(call: Call) -> None: ...

        @route.timer("tick", seconds=5)
        def tick(call: Call) -> None: ...

        @route.event("E_X", mode="sync")
        def seen(call: Call) -> None: ...
        """,
        catalog={"tools": Tools, "tools2": Tools},
    )

    assert isinstance(found, PyChecked), found
    assert found.sockets == ["udp:127.0.0.1:5060", "tcp:127.0.0.1:5060"]
    assert found.globals == {"udp_workers": 2, "log_prefix": "é".encode().decode("latin-1")}
    assert found.modules == ["tools", "tools2"]
    assert found.settings["tools2"] == {"level": 7, "line": ["a", "b"]}
    assert [(one.kind, one.name, one.parameter) for one in found.registered] == [
        ("route", "", None),
        ("failure_route", "busy", None),
        ("timer_route", "tick", 5),
        ("event_route", "E_X", "sync"),
    ]
    assert found.warnings == []


@pytest.mark.parametrize(
    ("text", "told"),
    [
        # Python itself
        ("def main(:\n", "3:10 invalid syntax"),
        ("import nosuchmodule\n", "3:1 ModuleNotFoundError: No module named 'nosuchmodule'"),
        ("if True:\n    raise SystemExit(3)\n", "4:5 SystemExit: 3"),
        # The same checks, at the place of each value
        ("server(udp_wrokers=2)\n", '3:20 unknown global parameter udp_wrokers (did'),
        ("server(\n    udp_workers='x',\n)\n", '4:17 udp_workers is a number, not "x"'),
        ("server(udp_workers=1.5)\n", "3:20 udp_workers is a number or a string, not 1.5"),
        ("module('nosuch')\n", "3:1 unknown module nosuch"),
        ("module('tools', levle=3)\n", '3:23 module tools has no parameter levle (did'),
        ("module('tools', level='x')\n", '3:23 parameter level of module tools is an integer, not "x"'),
        ("@route.timer('t', seconds=0)\ndef f(call): ...\n", "4:1 a timer_route says its seconds"),
        (ROUTE + "    ...\n\n" + ROUTE + "    ...\n", "8:1 route is already at"),
        # Functions
        (ROUTE + "    call.gvie(1)\n", '5:5 unknown function gvie()'),
        (ROUTE + "    call.give()\n", '5:5 give() needs its first argument, "code"'),
        (ROUTE + "    call.give(1, 2)\n", "5:5 give() takes 1 argument, not 2"),
        (ROUTE + "    call.give('x')\n", '5:15 give(): "code" is an integer'),
        (ROUTE + "    call.give(code=b'x')\n", "5:20 a script function takes text, integers and None, not b'x'"),
        (ROUTE + "    call.give(1, code=2)\n", '5:23 give() takes no argument "code", or has it already'),
        (ROUTE + "    call.every('x', output='y')\n", '5:28 every(): "output" is a variable'),
        (ROUTE + "    call.every('x', output='$rm')\n", "5:28 $rm cannot be written"),
        (ROUTE + "    call.every('x', route='nowhere')\n", '5:27 there is no route "nowhere"'),
        (ROUTE + "    call.every('x', pattern='(')\n", '5:29 every(): "pattern" is a regular expression'),
        (ROUTE + "    print(call.rurri)\n", '5:11 a call has no rurri'),
        ("@route.failure('f')\ndef f(call: Call): call.only_requests()\n", "4:20 only_requests() cannot be called"),
        (
            "@route.failure('f')\ndef f(call: Call): g(call)\ndef g(call: Call): call.only_requests()\n",
            "5:20 only_requests() cannot be called in a failure_route, and route[def:g] is reached",
        ),
        # Variables
        (ROUTE + "    call['$xyz']\n", "5:10 unknown variable $xyz"),
        (ROUTE + "    call['$rm'] = 'INVITE'\n", "5:10 $rm cannot be written"),
        (ROUTE + "    call['ru']\n", '5:10 "ru" is no variable such as "$ru"'),
        (ROUTE + "    call['$(avp(x){s.nosuch})']\n", "5:10 unknown transformation {s.nosuch}"),
        # Waiting
        (ROUTE + "    call.mi('ps')\n", "5:5 call.mi('ps') does nothing here: await it, or launch it"),
        (ROUTE + "    rc, x = call.mi('ps')\n", "5:13 call.mi('ps') is no answer before it is awaited"),
        (ROUTE + "    rc, x = await call.mi('ps 1')\n", "5:27 an MI command's parameters are arguments"),
        (ROUTE + "    rc, x = await call.mi('ps')\n", "5:19 unknown function mi()"),
        (ROUTE + "    f(call)\nasync def f(call: Call): ...\n", "5:5 f(call) does nothing here: await it"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_with_its_place(problems, text: str, told: str) -> None:
    found = problems(text)
    place, _, message = told.partition(" ")
    assert any(one.startswith(f"app.py:{place}: error: {message}") for one in found), found
    assert len(found) <= 2


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("import time\n" + ROUTE + "    time.sleep(1)\n", "6:5 time.sleep() stops this whole process"),
        ("from time import sleep as s\n" + ROUTE + "    s(1)\n", "6:5 time.sleep() stops this whole process"),
        (
            "import subprocess\n" + ROUTE + "    subprocess.run(['x'])\n",
            "6:5 subprocess.run() stops this whole process",
        ),
    ],
)  # fmt: skip
def test_what_would_stop_a_process_is_a_warning(problems, text: str, told: str) -> None:
    place, _, message = told.partition(" ")
    [found] = problems(text)
    assert found.startswith(f"app.py:{place}: warning: {message}")


def test_nothing_is_said_of_what_is_right_or_cannot_be_known(problems) -> None:
    text = """
    import asyncio
    import time

    @route.request
    async def main(call: Call) -> None:
        arguments, name, number = ("x",), "avp", 3
        call.every(*arguments)
        call.every("costs $5", number=number, output="$avp(x)", list=call.avp["x"], pattern="^a$")
        call.every(f"{name}", output=name)
        call[f"$hdr({name})"]
        call["$avp(x)"] = call["$(hdr(Via)[1]{s.len})"]
        call.ruri = "sip:a@b"
        call.params["1"].whatever
        helper(call)
        wait = helper(call)
        await wait

    def plain(call: Call) -> None:
        time.sleep(1)

    async def helper(call: Call) -> None:
        def inner(call):
            call.say("x")
        inner(call)
        await asyncio.to_thread(lambda: time.sleep(1))

    class Other:
        def call(self, call: int) -> int:
            return call.bit_length()
    """
    found = [one for one in problems(text) if "helper(call)" not in one]
    assert found == []


def test_what_arms_a_route_names_one_that_exists(problems) -> None:
    from runtime.modules.tm import Tm

    text = """
    module("tm")
    @route.request
    def main(call: Call) -> None:
        call.t_on_failure("busy")
        call.t_on_reply("busy")
        call.t_on_branch("")
    @route.failure("bussy")
    def busy(call: Call) -> None: ...
    @route.reply("busy")
    def reply(call: Call) -> None: ...
    """
    found = problems(text, catalog={"tools": Tools, "tm": Tm})
    assert found == ['app.py:7:23: error: there is no failure_route[busy] (did you mean "bussy"?)']


def test_modules_beside_the_script_are_its_own_and_executed_anew(checked, path) -> None:
    script = """
    import layby_test_beside
    server(log_prefix=layby_test_beside.PREFIX)
    """
    beside = "from runtime.pyscript import Call, route\nPREFIX = '{}'\n" + ROUTE + "    call.say('x')\n"
    first = checked(script, files={"layby_test_beside.py": beside.format("one")})
    assert isinstance(first, PyChecked), first
    second = checked(script, files={"layby_test_beside.py": beside.format("second")})

    assert isinstance(second, PyChecked), second
    assert (first.globals["log_prefix"], second.globals["log_prefix"]) == ("one", "second")
    assert [one.place.line for one in second.registered] == [3]
    assert second.files == {str(path), str(path.parent / "layby_test_beside.py")}


def test_functions_of_one_name_in_two_files_are_two(problems) -> None:
    beside = "from runtime.pyscript import Call\n\ndef tell(call: Call): call.say('x')\n"
    text = "import layby_test_beside\ndef tell(call: Call): call.only_requests()\n"
    assert problems(text, files={"layby_test_beside.py": beside}) == []


def test_what_does_not_pass_the_checks_leaves_the_modules_that_were_imported(checked, problems) -> None:
    script = "import layby_test_beside\n"
    assert isinstance(checked(script, files={"layby_test_beside.py": "X = 1\n"}), PyChecked)
    good = sys.modules[NAME], sys.modules["layby_test_beside"]

    assert len(problems(script + ROUTE + "    call.nothing()\n")) == 1
    assert (sys.modules[NAME], sys.modules["layby_test_beside"]) == good


def test_a_mistake_beside_the_script_is_told_there_and_changes_nothing(checked, problems) -> None:
    script = "import layby_test_beside\n"
    assert isinstance(checked(script, files={"layby_test_beside.py": "X = 1\n"}), PyChecked)
    good = sys.modules[NAME], sys.modules["layby_test_beside"]

    found = problems(script, files={"layby_test_beside.py": "X = 1\nY = X.nothing\n"})
    assert found == ["layby_test_beside.py:2:5: error: AttributeError: 'int' object has no attribute 'nothing'"]
    assert (sys.modules[NAME], sys.modules["layby_test_beside"]) == good
    found = problems(script, files={"layby_test_beside.py": "X = ("})
    assert found == ["layby_test_beside.py:1:5: error: '(' was never closed"]


def test_what_lies_beside_a_script_is_not_for_the_next_one(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    for folder in ("one", "other"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "beside.py").write_text(f"NAME = {folder!r}\n")
        (tmp_path / folder / "app.py").write_text(f"import beside\nassert beside.NAME == {folder!r}\n")
    (tmp_path / "other" / "alone.py").touch()
    for folder in ("one", "other"):
        assert isinstance(load(tmp_path / folder / "app.py", catalog={}), PyChecked)
    (tmp_path / "one" / "app.py").write_text("import alone\n")
    assert "No module named 'alone'" in str(load(tmp_path / "one" / "app.py", catalog={}))


def test_what_stands_too_deep_to_be_read_is_executed_all_the_same(problems) -> None:
    users = "".join(f"    elif call.ruri_user == '{number}': call.say('{number}')\n" for number in range(900))
    assert problems(f"{ROUTE}    if not call.ruri_user: call.exit()\n{users}    call.nothing()\n") == [
        "app.py:906:5: error: unknown function nothing()"
    ]


def test_a_module_beside_the_script_hides_none_of_the_runtime(checked) -> None:
    import json

    assert isinstance(checked("import json\njson.dumps({})\n", files={"json.py": "raise ValueError\n"}), PyChecked)
    assert sys.modules["json"] is json


def test_a_module_of_the_scripts_own_is_loaded_by_its_file(tmp_path) -> None:
    seen = []

    class Mine(Tools):
        name = "mine"

    def import_module(path):
        seen.append(path)
        return Mine

    script = tmp_path / "app.py"
    script.write_text("from runtime.pyscript import module\nmodule('folder/mine.py', level=5)\n")
    found = load(script, catalog={}, import_module=import_module)

    assert isinstance(found, PyChecked), found
    assert (found.modules, found.settings["mine"], found.own) == (["mine"], {"level": 5}, {"mine": Mine})
    assert seen == [tmp_path / "folder/mine.py"]


def test_a_command_that_there_is_not_and_one_that_stops_the_process_are_told(tmp_path) -> None:
    script = tmp_path / "app.py"
    script.write_text(
        "from runtime.pyscript import Call, module, route\nmodule('mi_script')\nmodule('bench')\n"
        + ROUTE
        + "    await call.mi('uptme')\n    await call.mi('bench_wait')\n    call.mi.blocking('bench_wait', 5)\n"
    )
    shown = [(one.place.line, one.code, one.said, one.help) for one in problems_of(script)]
    assert [one[:2] for one in shown] == [(6, "unknown-mi-command"), (7, "mi-parameters"), (8, "blocking-mi")]
    assert shown[0][2] == 'there is no MI command uptme (did you mean "uptime"?)'
    assert shown[2][3].startswith("write await call.mi(…)")


def test_a_file_that_cannot_be_read_is_a_problem(tmp_path) -> None:
    [problem] = load(tmp_path / "nothing.py", catalog={})
    assert problem.message == f"cannot read {tmp_path}/nothing.py: No such file or directory"


@pytest.mark.parametrize("text", ["\0", "(" * 5000 + ")" * 5000, "x = " + "-" * 200_000 + "1"])
def test_what_is_no_python_at_all_is_one_problem(problems, text: str) -> None:
    assert len(problems(text)) == 1


def test_outside_a_server_the_decorators_do_nothing() -> None:
    server(log_level=3)
    module("tm")

    @route.request
    def main(call) -> None: ...

    assert main.__name__ == "main"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (ROUTE + "    await call.only_requests()\n", "5:5: error: only_requests() gives its return code at once"),
        (ROUTE + "    call.method = 'BYE'\n", "5:5: error: call.method cannot be written"),
        (ROUTE + "    call.ruri, call.rc = 'sip:a@b', 1\n", "5:16: error: call.rc cannot be written"),
        ("@route.request\ndef main() -> None: ...\n", "4:1: error: a route takes the call and nothing else"),
        ("@route.request\ndef main(call, other): ...\n", "4:1: error: a route takes the call and nothing else"),
        ("@route.reply\ndef answers(call): ...\n", "3:2: error: TypeError: this decorator is written with brackets"),
        ("@route.failure\ndef busy(call): ...\n", "3:2: error: TypeError: this decorator is written with brackets"),
    ],
)
def test_what_would_only_fail_when_a_message_comes_is_an_error(problems, text: str, told: str) -> None:
    found = problems(text)
    assert found[0].startswith(f"app.py:{told}"), found


def test_a_route_may_have_more_parameters_that_need_not_be_given(problems) -> None:
    text = "@route.request\ndef main(call, other=1, *more, **named): ...\n@route.startup\ndef begin(*calls): ...\n"
    assert problems(text) == []


def test_a_thread_that_the_file_leaves_running_is_a_warning(problems) -> None:
    start = "import threading\nGO = threading.Event()\nthreading.Thread(target=GO.wait, name='watcher').start()\n"
    [found] = problems(start + "import sys\nsys.started = GO\n" + ROUTE + "    call.say('x')\n")
    sys.started.set()
    assert found.startswith("app.py:1:1: warning: executing the file leaves watcher running")
    ended = "import threading\none = threading.Thread(target=int)\none.start()\none.join()\n"
    assert problems(ended + ROUTE + "    call.say('x')\n") == []
