"""`layby verify`: what is wrong with a script is found at its line, and nothing where nothing is wrong.

Each script in scripts/ has a bug planted. A comment ``found: KIND`` stands at each line that is to be found.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.simulation.simulator import Simulator
from runtime.simulation.verifying import FAULTS, Asked, Seen

SCRIPTS = sorted((Path(__file__).parent / "scripts").glob("*.cfg"))
EXAMPLES = [Path(__file__).parents[2] / "examples" / name for name in ("article.cfg", "proxy.cfg")]
MOST_RUNS = 6
REST_S, FORGOTTEN_S = 75.0, 210.0
"""Until nothing may be held any more, and until the server gives up waiting for its script."""

BENCH = """
loadmodule "proto_udp.so"
loadmodule "sl.so"
loadmodule "signaling.so"
loadmodule "tm.so"
loadmodule "sipmsgops.so"
loadmodule "mi_script.so"
loadmodule "bench.so"
socket=udp:192.0.2.1:5060
route {
    if (!is_method("ACK"))
        async(mi("COMMAND", $var(r)), resumed, 1);
}
route[resumed] { send_reply(480, "Later"); }
"""
CORE_BUGS = {
    "resumes_twice": ("resumed-twice", "bench_wait 50"),
    "swaps_answers": ("wrong-answer", "bench_wait 50"),
    "loses_a_job": ("left-over", "bench_wait 50"),
    "ignores_deadlines": ("resumed-late", "bench_wait 60000"),
    "keeps_transactions": ("left-over", "bench_wait 60000"),
    "answers_twice": ("answered-twice", "bench_wait 50"),
    "forgets_the_dead": ("never-resumed", "bench_wait 300"),
    "tells_of_the_dead_late": ("lost-job", "bench_wait 300"),
}
"""Bugs that `planted` has: what verify finds of each, with a command that brings it to light."""


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    with Simulator(["tests.simulation.planted:arm"]) as one:
        yield one


def expected_in(script: Path) -> set[tuple[str, int]]:
    lines = script.read_text().split("\n")
    return {(found[1], at) for at, line in enumerate(lines, 1) if (found := re.search(r"# found: ([a-z-]+)", line))}


def look(script: Path, rest_s: float) -> Seen:
    return Seen(Asked(script, 600.0, 1, FAULTS, 100.0, calls=40, rest_s=rest_s, shrinking=0))


def found_by(seen: Seen) -> set[tuple[str, int]]:
    return {(finding.kind, finding.line) for finding in seen.verified.findings}


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_a_planted_bug_is_found_at_its_line_and_nothing_else_is(script: Path, simulator: Simulator) -> None:
    expected = expected_in(script)
    seen = look(script, FORGOTTEN_S if "exit; # found: never-answered" in script.read_text() else REST_S)

    for number in range(MOST_RUNS):
        if found_by(seen) == expected:
            break
        seen.run(simulator, number)

    assert found_by(seen) == expected
    assert {finding.file for finding in seen.verified.findings} == {str(script)}


@pytest.mark.parametrize("bug", CORE_BUGS)
def test_a_bug_that_is_planted_in_the_server_is_found(bug: str, simulator: Simulator, tmp_path: Path) -> None:
    kind, command = CORE_BUGS[bug]
    script = tmp_path / f"{bug}.cfg"
    script.write_text(BENCH.replace("COMMAND", command))
    seen = look(script, REST_S)

    for number in range(1, MOST_RUNS):  # the run of number 0 is without faults
        if kind in {finding.kind for finding in seen.verified.findings}:
            break
        seen.run(simulator, number)

    assert kind in {finding.kind for finding in seen.verified.findings}


@pytest.mark.parametrize("script", EXAMPLES, ids=lambda path: path.stem)
def test_nothing_is_found_in_a_script_that_is_right(script: Path, simulator: Simulator) -> None:
    seen = look(script, REST_S)

    seen.run(simulator, 1)

    assert seen.verified.findings == []
    assert seen.verified.share > 0.7
