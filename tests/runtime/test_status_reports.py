"""What the parts of the server say of themselves, as any process sees it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from runtime.status_reports import MAX_PARTS, MAX_REPORTS, MAX_TEXT, Part, StatusReports
from runtime.store import Store


@pytest.fixture
def store(tmp: Path) -> Iterator[Store]:
    one = Store(tmp / "store")
    yield one
    one.close()


@pytest.fixture
def status(store: Store) -> StatusReports:
    return StatusReports(store)


@pytest.fixture
def changes(status: StatusReports) -> list[tuple[Part, int]]:
    found: list[tuple[Part, int]] = []
    status.on_changed = lambda part, before: found.append((part, before))
    return found


def texts(status: StatusReports, group: str, identifier: str) -> list[str]:
    return [report.text for report in status.reports_of(group, identifier)]


def test_a_part_is_made_by_the_first_word_about_it(status: StatusReports) -> None:
    assert status.groups() == {}

    status.set_status("drouting", "Default", -1, "no data")
    status.report("drouting", "Default;events", "gateway gw1 is gone")

    no_data, events = Part("drouting", "Default", -1, "no data"), Part("drouting", "Default;events", 1, "", 1)
    assert status.groups() == {"drouting": [no_data, events]}
    assert not no_data.is_ready
    assert events.is_ready
    assert status.part("drouting", "Default") == no_data
    assert status.part("drouting", "nowhere") is None
    assert status.group("dr") == []


def test_each_change_of_a_status_is_told_and_no_repetition(
    status: StatusReports, changes: list[tuple[Part, int]]
) -> None:
    status.set_status("drouting", "Default", 1, "data")
    status.set_status("drouting", "Default", 1, "newer data")
    status.report("drouting", "Default", "loaded")
    status.set_status("drouting", "Default", 0)
    status.set_status("drouting", "Default", -2, "gone")

    assert [(part.status, part.details, before) for part, before in changes] == [(1, "data", -1), (-2, "gone", 1)]


def test_names_are_told_apart_without_regard_to_case(status: StatusReports) -> None:
    status.set_status("DRouting", "Default", 1)
    status.set_status("drouting", "DEFAULT", 2)
    status.report("drouting", "default", "x")

    assert status.groups() == {"DRouting": [Part("DRouting", "Default", 2, "", 1)]}
    assert texts(status, "DROUTING", "default") == ["x"]


def test_the_last_reports_are_kept_in_their_order(status: StatusReports) -> None:
    for number in range(MAX_REPORTS + 5):
        status.report("core", "main", str(number))
    status.report("core", "main2", "of another part")

    assert texts(status, "core", "main") == [str(number) for number in range(5, MAX_REPORTS + 5)]
    assert texts(status, "core", "main2") == ["of another part"]
    assert texts(status, "core", "mai") == []


def test_others_see_the_same(status: StatusReports, store: Store) -> None:
    status.set_status("core", "main", 1, "running")
    status.report("core", "main", "here we are")
    other = StatusReports(store)

    assert other.part("core", "main") == Part("core", "main", 1, "running", 1)
    assert texts(other, "core", "main") == ["here we are"]


def test_what_is_introduced_is_said_only_where_nothing_was_said(status: StatusReports) -> None:
    status.introduce("database", "dialogs", 1, "written")
    status.set_status("database", "dialogs", -1, "it is away")

    status.introduce("database", "dialogs", 1, "written")

    assert status.group("database") == [Part("database", "dialogs", -1, "it is away")]


_KEPT = "what was there before is in use, nothing new was loaded: no room"


@pytest.mark.parametrize(
    ("anew", "meanwhile", "after_failure", "said"),
    [(False, -1, -2, "nothing was loaded: no room"), (True, 2, 1, _KEPT)],
)
def test_what_is_read_from_a_database_is_told_as_it_goes(
    status: StatusReports, anew: bool, meanwhile: int, after_failure: int, said: str
) -> None:
    def now() -> int:
        part = status.part("drouting", "a")
        assert part is not None
        return part.status

    def fail() -> None:
        with status.loading("drouting", "a", anew=anew):
            assert now() == meanwhile
            raise ValueError("no room")

    with pytest.raises(ValueError, match="no room"):
        fail()
    assert now() == after_failure

    with status.loading("drouting", "a", anew=anew) as report:
        report("5 rules")
    assert now() == 1
    assert texts(status, "drouting", "a") == ["being read", said, "being read", "5 rules"]


@pytest.mark.parametrize("name", ["\ud800", "é" * 300, "a\0b", ""])
def test_whatever_comes_from_outside_is_kept_in_some_way(status: StatusReports, name: str) -> None:
    status.set_status(name, name, 1, name)
    status.report(name, name, name * MAX_TEXT)

    (parts,) = status.groups().values()
    assert len(parts) == 1
    assert len(status.reports_of(name, name)[0].text) <= MAX_TEXT


@pytest.mark.parametrize(
    "speak", [lambda status: status.report("x", "new", "y"), lambda status: status.set_status("x", "new", 1)]
)
def test_what_cannot_be_kept_is_logged_and_fails_nobody(
    status: StatusReports,
    changes: list[tuple[Part, int]],
    caplog: pytest.LogCaptureFixture,
    speak: Callable[[StatusReports], None],
) -> None:
    for number in range(MAX_PARTS):
        status.set_status("x", str(number), -1)

    speak(status)

    assert changes == []
    assert status.part("x", "new") is None
    assert f"status of x/new: more than {MAX_PARTS} parts have a status" in caplog.text
