"""`layby bench`: what is swept, and what is refused before anything starts."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from runtime.bench.plan import FLAVOURS, Asked, Cell, cells, expected_s, numbers, order
from runtime.bench.results import NoResults, from_json, to_json
from runtime.bench.site import options_of, plan_of, script_of, warm_up_of
from runtime.cli import app
from tests.harness import ROOT
from tests.runtime.bench.made import document


def test_what_makes_no_difference_is_measured_once() -> None:
    asked = Asked(workers=(4, 0), durations_ms=(5.0, 50.0), shares=(0.0, 0.05))
    found = cells(asked)
    assert len(found) == len(set(found)) == 1 + 2 * (1 + 2 * 3)
    assert found[0] == Cell("none", 4, 0.0, 0.0)
    assert [cell for cell in found if cell.flavour == "mi"] == [Cell("mi", 4, ms, 0.05) for ms in (5.0, 50.0)]
    assert {cell.workers for cell in found if cell.flavour == "gather"} == {0, 4}


def test_a_command_that_is_not_told_how_long_it_takes_is_measured_once() -> None:
    found = cells(Asked(command="uptime", durations_ms=(5.0, 50.0), workers=(1,), flavours=("none", "mi", "async")))
    assert [str(cell) for cell in found] == ["none", "mi, 5 %", "async, 1 worker, 5 %"]


def test_a_script_of_the_users_own_is_measured_in_the_ways_that_he_names() -> None:
    assert cells(Asked(script="a.cfg", flavours=("script",))) == [Cell("script", 4, 50.0, 0.05)]
    assert cells(Asked(script="a.cfg", flavours=("red",), shares=(0.0,))) == [Cell("red", 4, 0.0, 0.0)]


def test_runs_go_to_and_fro_and_the_expected_time_grows_with_all_of_it() -> None:
    asked = Asked()
    found = cells(asked)
    assert order(found, 0) == found
    assert order(found, 1) == found[::-1]
    assert expected_s(Asked(runs=6)) == pytest.approx(2 * expected_s(Asked(runs=3)))
    assert expected_s(Asked(rates_per_s=(1000.0,))) < expected_s(asked)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"flavours": ("none", "nosuch")}, "flavours of the built-in script are none, mi"),
        ({"flavours": ()}, "nothing to measure"),
        ({"workers": (65,)}, "job workers: 0 to 64"),
        ({"durations_ms": (0.0,)}, "the command takes up to"),
        ({"shares": (1.1,)}, "share of the requests"),
        ({"rates_per_s": (0.5,)}, "rates: 1 to"),
        ({"from_per_s": 500.0, "to_per_s": 100.0}, "the knee is looked for"),
        ({"slo_ms": 0.0}, "the p99 that is too much"),
        ({"seconds": 0.0}, "seconds of each load"),
        ({"runs": 0}, "runs: 1 to"),
        ({"sip_processes": 0}, "SIP processes: 1 to"),
        ({"gathered": 0}, "gathered commands: 1 to"),
        ({"generator": "wrk"}, "generators are auto, own, sipp"),
    ],
)
def test_what_makes_no_sense_is_refused(changes: dict[str, object], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        Asked(**changes)  # type: ignore[arg-type]


def test_lists_of_numbers_are_read() -> None:
    assert numbers("0.1, 5,50") == (0.1, 5.0, 50.0)
    for wrong in ("", "a", "1,nan", "inf"):
        with pytest.raises(ValueError, match=r"number|could not convert"):
            numbers(wrong)


def test_the_script_is_told_how_the_command_is_called(tmp_path: Path) -> None:
    cell, asked = Cell("gather", 4, 0.5, 0.05), Asked(gathered=3)
    options = dict(option.split("=", 1) for option in options_of(cell, asked)[3::2])
    one = "bench_sleep 0.5"
    assert options == {"flavour": "gather", "duration_ms": "0.5", "command": one, "commands": f"{one}; {one}; {one}"}
    assert script_of(asked, tmp_path).read_text().startswith("# What `layby bench` measures")
    assert script_of(Asked(script="mine.py", flavours=("x",)), tmp_path) == Path("mine.py")


@pytest.mark.parametrize("share", [0.0, 0.001, 0.05, 1.0])
@pytest.mark.parametrize("duration_ms", [0.1, 50.0, 10_000.0])
def test_a_warm_up_calls_the_command_but_never_more_than_one_process_can_run(share: float, duration_ms: float) -> None:
    plan = warm_up_of(Cell("async", 0, duration_ms, share), Asked(), 5060)
    calls = round(plan.count * plan.slow_share)
    assert (calls > 0) == (share > 0)
    assert calls <= max(1, plan.seconds * 1000 / duration_ms)


def test_a_load_has_the_share_of_its_cell_and_time_for_the_last_command() -> None:
    plan = plan_of(Cell("async", 4, 500.0, 0.25), Asked(seconds=4.0, user="a", slow_user="b"), 5060, 100.0)
    assert (plan.count, plan.slow_share, plan.fast_user, plan.slow_user) == (400, 0.25, "a", "b")
    assert plan.grace_s == 2.5


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--flavours", "none,nosuch"], "flavours of the built-in script"),
        (["--ms", "soon"], "could not convert"),
        (["--method", "BYE"], "BYE belongs to a call"),
        (["--user", "a b"], "what a SIP URI may have there"),
        (["--accept", "ok"], "accept: final statuses"),
        (["nosuch.cfg"], "nosuch.cfg: no such file"),
        (["--generator", "sipp", "--accept", "404"], "sipp"),
        (["--compare", __file__], "has no results of layby bench"),
        (["--compare", "nosuch.json"], "nosuch.json"),
        (["--request", "nosuch.sip"], "nosuch.sip"),
    ],
)
def test_options_that_make_no_sense_end_with_2_and_say_why(options: list[str], told: str) -> None:
    done = CliRunner().invoke(app, ["bench", "--list", *options])
    assert (done.exit_code, told in done.output) == (2, True), done.output


def test_the_plan_is_shown_and_nothing_is_measured() -> None:
    done = CliRunner().invoke(app, ["bench", "--list", "--workers", "0,4", "--runs", "2"])
    assert done.exit_code == 0
    lines = done.output.splitlines()
    assert lines[: 1 + 1 + 2 * 3] == [str(cell) for cell in cells(Asked(workers=(0, 4)))]
    assert "8 of these in 2 runs: about" in lines[-1]


def test_the_built_in_script_is_printed_and_passes_its_own_check(tmp_path: Path) -> None:
    shown = CliRunner().invoke(app, ["bench", "--show-script"]).output
    path = tmp_path / "bench.cfg"
    path.write_text(shown)
    done = CliRunner().invoke(app, ["check", "--strict", str(path)])
    assert done.exit_code == 0, done.output
    assert all(f'case "{flavour}":' in shown for flavour in FLAVOURS if flavour != "none")


@pytest.mark.parametrize("text", [b"", b"{}", b"[]", b'{"format": 1}', b'{"format": 2}', b"\xff"])
def test_what_are_no_results_is_refused(text: bytes) -> None:
    with pytest.raises(NoResults):
        from_json(text)


DOC = (ROOT / "docs" / "benchmarking.md").read_text()
LINES = re.findall(r"^layby (bench .*)$", DOC, re.MULTILINE)


@pytest.mark.parametrize("line", LINES)
def test_every_line_of_the_guide_asks_for_something_that_can_be_measured(
    line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "bench.json").write_bytes(to_json(document()))
    (tmp_path / "calls.cfg").touch()
    done = CliRunner().invoke(app, [*shlex.split(line), "--list"])
    assert done.exit_code == 0, done.output
    assert re.search(r"runs?: about \d+:\d\d in all", done.output)


def test_the_guides_request_can_be_offered() -> None:
    [request] = [block for block in re.findall(r"```\n(.*?)```", DOC, re.DOTALL) if block.startswith("MESSAGE")]
    plan_of(Cell("none", 4, 0.0, 0.0), Asked(request=request), 5060, 10.0)
