"""Which statements were reached: each is marked as it begins, and nothing is in the code of a script nobody watches."""

import inspect
from pathlib import Path

import pytest

from runtime.context import Context
from runtime.program import Program
from runtime.script.check import Checked
from runtime.script.statements import Watch
from runtime.simulation.coverage import Statement, Watching, covered, lines_text, statements_of
from runtime.sip.message import dummy_request

SCRIPT = """loadmodule "sipmsgops.so"
route {
    $var(a) = 1;
    if ($rm == "INVITE") {
        route(calls);
        exit;
    }
    while ($var(a) < 3)
        $var(a) += 1;
    if ($var(a) == 3)
        $var(b) = 1;
    else
        $var(b) = 2;
}
route[calls] {
    switch ($rU) {
    case "a":
        exit;
    default:
        $var(c) = 1;
    }
}
"""


class Watched:
    def __init__(self, path: Path) -> None:
        self.statements: list[Statement] = []
        self.memory = bytearray()
        self.program = Program.load(path, watch=self.watch)

    def watch(self, checked: Checked) -> Watch:
        self.statements = statements_of(checked.routes)
        self.memory = bytearray(len(self.statements))
        return Watching(memoryview(self.memory), self.statements)

    def lines(self) -> list[int]:
        return [one.place.line for one, mark in zip(self.statements, self.memory, strict=True) if mark]


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    (tmp_path / "a.cfg").write_text(SCRIPT)
    return Watched(tmp_path / "a.cfg")


def run(watched: Watched) -> None:
    request = dummy_request()
    route = watched.program.script.routes.request
    assert route is not None
    route(Context(request, ruri=request.ruri))


def test_every_statement_is_known_and_none_is_reached_before_a_run(watched: Watched) -> None:
    assert [one.place.line for one in watched.statements] == [3, 4, 5, 6, 8, 9, 10, 11, 13, 16, 18, 20]
    assert watched.lines() == []


def test_a_run_marks_what_it_passes_and_no_more(watched: Watched) -> None:
    run(watched)

    assert watched.lines() == [3, 4, 8, 9, 10, 11]
    [main, calls] = covered(watched.statements, [n for n, mark in enumerate(watched.memory) if mark])
    assert (main.route, main.reached, main.statements, main.missed) == ("route", 6, 9, (5, 6, 13))
    assert (calls.route, calls.reached, calls.missed) == ("route[calls]", 0, (16, 18, 20))


def test_a_script_that_is_loaded_again_is_watched_on(watched: Watched, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    watched.program.publish(folder)

    assert watched.program.catch_up(folder)
    run(watched)
    assert watched.lines() == [3, 4, 8, 9, 10, 11]


def test_what_a_later_text_has_more_is_not_watched(watched: Watched, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    (tmp_path / "a.cfg").write_text(SCRIPT.replace("$var(a) = 1;", "$var(a) = 1; $var(z) = 1;"))
    watched.program.publish(folder)

    assert watched.program.catch_up(folder)
    run(watched)
    assert watched.lines() == [3, 4, 8, 9, 10, 11]


def test_nothing_of_it_is_in_a_script_that_nobody_watches(tmp_path: Path) -> None:
    (tmp_path / "a.cfg").write_text(SCRIPT)
    bare, watched = (
        inspect.getclosurevars(program.script.routes.request).nonlocals["entries"]
        for program in (Program.load(tmp_path / "a.cfg"), Watched(tmp_path / "a.cfg").program)
        if program.script.routes.request is not None
    )

    assert len([name for name in watched if name.startswith("reached")]) == 12
    assert [name for name in bare if name.startswith("reached")] == []


@pytest.mark.parametrize(
    ("lines", "text"), [((), ""), ((3,), "3"), ((3, 4, 5, 9), "3-5, 9"), (tuple(range(1, 40, 2)), None)]
)
def test_lines_are_told_in_stretches(lines: tuple[int, ...], text: str | None) -> None:
    if text is None:
        assert lines_text(lines).endswith("23, …")
    else:
        assert lines_text(lines) == text
