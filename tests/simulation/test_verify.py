"""`layby verify`: what is wrong with a script is found at its line, and nothing where nothing is wrong.

The bugs are `planting`'s.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.simulation.simulator import Simulator
from runtime.simulation.verifying import FAULTS, Asked, Seen
from tests.simulation.planting import ARM, SCRIPTS, SERVER_BUGS, expected_in, served

EXAMPLES = Path(__file__).parents[2] / "examples"
MOST_RUNS = 20
REST_S, FORGOTTEN_S = 75.0, 210.0
"""Until nothing may be held any more, and until the server gives up waiting for its script."""


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    with Simulator([ARM]) as one:
        yield one


def look(script: Path, rest_s: float, calls: int = 40) -> Seen:
    return Seen(Asked(script, 600.0, 1, FAULTS, 100.0, calls=calls, rest_s=rest_s, shrinking=0))


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


@pytest.mark.parametrize("bug", SERVER_BUGS)
def test_a_bug_that_is_planted_in_the_server_is_found(bug: str, simulator: Simulator, tmp_path: Path) -> None:
    kind, _ = SERVER_BUGS[bug]
    seen = look(served(bug, tmp_path), REST_S)

    for number in range(1, MOST_RUNS):  # the run of number 0 is without faults
        if kind in {finding.kind for finding in seen.verified.findings}:
            break
        seen.run(simulator, number)

    assert kind in {finding.kind for finding in seen.verified.findings}


@pytest.mark.parametrize(
    ("example", "share"), [("article.cfg", 1.0), ("opensips.cfg", 1.0), ("proxy.cfg", 0.85), ("app.py", 0.85)]
)
def test_nothing_is_found_in_a_script_that_is_right_and_most_of_it_is_reached_at_once(
    example: str, share: float, simulator: Simulator
) -> None:
    seen = look(EXAMPLES / example, REST_S, calls=80)

    seen.run(simulator, 2)

    assert seen.verified.findings == []
    assert seen.verified.share >= share
