"""`layby which`: what a name is, from the declarations."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from runtime.cli import app


def which(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["which", *arguments])


@pytest.mark.parametrize(
    ("name", "head"),
    [
        ("t_relay", "t_relay([flags], [outbound_proxy])    function of tm"),
        ("t_relay()", "t_relay([flags], [outbound_proxy])    function of tm"),
        ("$ru", "$ru    variable of core"),
        ("$(hdr(From)[0])", "$hdr(name)    variable of core"),
        ("{s.select}", "{s.select,integer,text}    transformation of core"),
        ("s.index", "{s.index,text[,integer]}    transformation of core"),
        ("fr_timeout", "tm.fr_timeout    module parameter of tm"),
        ("tm.fr_timeout", "tm.fr_timeout    module parameter of tm"),
        ("udp_workers", "udp_workers    global parameter of core"),
        ("dlg_list", "dlg_list    MI command of dialog"),
        ("dialog:list", "dlg_list    MI command of dialog"),
        ("rcv_requests", "core:rcv_requests    statistic of core"),
        ("async", "async    word"),
        ("dialog", "dialog    module"),
        ("E_DLG_STATE_CHANGED", "E_DLG_STATE_CHANGED    event of dialog"),
    ],
)
def test_a_name_is_told_however_it_is_spelled(name: str, head: str) -> None:
    done = which(name)

    assert done.exit_code == 0
    assert done.stdout.splitlines()[0] == head


def test_the_whole_declaration_is_told() -> None:
    assert which("mf_process_maxfwd_header").stdout.splitlines() == [
        "mf_process_maxfwd_header(max_value)    function of maxfwd",
        "    Take one off Max-Forwards.",
        "    1 when that was done, 2 when there was none and the request is sent on with `max_value`, -1 when",
        "    nothing was left (answer 483), -2 when the header is no number.",
        "    max_value: an integer",
        "    routes: request_route",
    ]


def test_one_name_may_be_several_things() -> None:
    variable, command, setting = (
        "$log_level    variable of core",
        "log_level    MI command of core",
        "log_level    global parameter of core",
    )

    assert {variable, command, setting} <= set(which("log_level").stdout.splitlines())


@pytest.mark.parametrize(
    ("name", "heads"),
    [
        ("$statistics", []),
        ("$log_level", ["$log_level    variable of core"]),
        ("log_level()", []),
        ("mi()", ["mi(command, [result], [names], [values])    function of mi_script"]),
        ("$mi", ["$mi[(name)]    variable of core"]),
        ("async()", ["async    word"]),
    ],
)
def test_a_name_that_is_spelled_as_one_thing_is_no_other(name: str, heads: list[str]) -> None:
    assert [line for line in which(name).stdout.splitlines() if line[:1].strip()] == heads


@pytest.mark.parametrize(
    ("name", "near"), [("t_rely", "t_relay()"), ("$hdrr", "$hdr"), ("sl_send_repl", "sl_send_reply()")]
)
def test_of_an_unknown_name_the_near_ones_are_told(name: str, near: str) -> None:
    done = which(name)

    assert done.exit_code == 1
    assert done.stderr.startswith(f"layby: nothing is named {name} (did you mean ")
    assert near in done.stderr


def test_what_is_like_nothing_has_no_suggestion() -> None:
    done = which("qqqqqqqqqqqqqqqq")

    assert (done.exit_code, done.stderr) == (1, "layby: nothing is named qqqqqqqqqqqqqqqq\n")


def test_without_a_name_all_of_one_module_are_listed() -> None:
    assert which("--module", "sl").stdout.splitlines() == [
        "modules (1)",
        "    sl",
        "functions (2)",
        "    sl_reply_error()",
        "    sl_send_reply(code, reason)",
        "statistics (2)",
        "    sl:received_ACKs",
        "    sl:sent_replies",
    ]


def test_only_what_a_script_loads_is_told(tmp_path: Path) -> None:
    script = tmp_path / "a.cfg"
    script.write_text('loadmodule "sl.so"\nroute { sl_reply_error(); }\n')

    assert which("--script", str(script), "sl_reply_error").exit_code == 0
    assert which("--script", str(script), "t_relay").exit_code == 1


def test_a_script_with_errors_is_told_by_its_errors(tmp_path: Path) -> None:
    script = tmp_path / "a.cfg"
    script.write_text("route { nothing(); }\n")

    done = which("--script", str(script))

    assert done.exit_code == 1
    assert f"{script}:1:9: error: unknown function nothing()" in done.stderr
