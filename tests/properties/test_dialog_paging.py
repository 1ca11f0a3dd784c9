"""Reading the dialogs page by page while calls come and go: what is there all the time is seen once, and only once."""

from __future__ import annotations

import asyncio
import itertools
import tempfile
from collections.abc import Awaitable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mi_script.commands import Params
from runtime.dialogs.paging import LASTS_S, MAX_RUNS, Places
from runtime.dialogs.store import DialogStore
from runtime.modules.dialog import DialogModule
from runtime.sip.dialog import Dialog
from runtime.sip.dialog_words import Leg, Replied

IDS = st.integers(0, 60)
CHURN = st.lists(st.tuples(st.booleans(), IDS), max_size=12)
"""Between two pages: a call comes, or goes."""
GONE = Replied(486, "", "", [], 0, 1.0, 1.0)


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as path:
        yield Path(path)


def module_over(store: DialogStore) -> Any:
    module: Any = DialogModule()
    module.store, module.house = store, SimpleNamespace(sockets=[])
    return module


def come(store: DialogStore, number: int) -> None:
    dialog = Dialog(number, f"call-{number}", 0.0, 100, Leg(tag="a", cseq=1), Leg(sent=1))
    dialog.begin(0.0)
    store.create(dialog)


def go(store: DialogStore, number: int) -> None:
    store.update(number, lambda dialog: dialog.handle(GONE))


def empty(store: DialogStore) -> None:
    for dialog in list(store.alive()):
        go(store, dialog.id)


@pytest.fixture(scope="module")
def store(folder: Path) -> Iterator[DialogStore]:
    one = DialogStore(folder / "dialogs")
    yield one
    one.close()


def page_of(module: Any, index: int, counter: int) -> Any:
    """A page, also where it is so long that others have their turn while it is written."""

    async def written(page: Awaitable[Any]) -> Any:
        return await page

    page = module.dlg_list(Params({"index": index, "counter": counter}))
    return asyncio.run(written(page)) if isinstance(page, Awaitable) else page


@settings(max_examples=150)
@given(
    at_first=st.frozensets(IDS, max_size=40),
    counter=st.integers(1, 15),
    churn=st.lists(CHURN, max_size=20),
    by_count=st.booleans(),
)
def test_what_is_there_all_the_time_is_seen_once(
    store: DialogStore, at_first: frozenset[int], counter: int, churn: list[list[tuple[bool, int]]], by_count: bool
) -> None:
    empty(store)
    for number in at_first:
        come(store, number)
    modules = itertools.cycle([module_over(store), module_over(store)])  # of two processes, which take turns
    for _ in range(3):
        lasting, seen, index, goes_on = {dialog.id for dialog in store.alive()}, list[int](), 0, True
        while goes_on:
            page = page_of(next(modules), index, counter)
            assert list(page) == ["count", "Dialogs"]
            assert page["count"] >= store.totals().alive
            seen += [dialog["db_id"] for dialog in page["Dialogs"]]
            index += counter
            goes_on = index < page["count"] if by_count else bool(page["Dialogs"])
            for comes, number in churn.pop() if churn else []:
                if comes:
                    come(store, number)
                else:
                    go(store, number)
                    lasting.discard(number)
        assert lasting <= set(seen)
        assert len(seen) == len(set(seen))
        assert seen == sorted(seen)


def test_two_who_read_at_once_miss_nothing(store: DialogStore) -> None:
    empty(store)
    for number in range(0, 60, 2):
        come(store, number)
    module, seen = module_over(store), ([], [])
    for index in range(0, 40, 5):
        for reader in seen:
            page = page_of(module, index, 5)
            reader += [dialog["db_id"] for dialog in page["Dialogs"]]
            go(store, index)  # of the even ones a few, before and behind
            come(store, index + 1)
    lasting = set(range(0, 60, 2)) - set(range(0, 40, 5))
    assert lasting <= set(seen[0])
    assert lasting <= set(seen[1])


def test_a_run_is_where_it_has_come_to_and_forgotten_when_it_is_old() -> None:
    places = Places()
    assert places.after(0, 0.0) is None
    places.turn(0, 10, 77, True, 0.0)
    assert (places.after(10, 1.0), places.after(20, 1.0)) == (77, None)
    places.turn(10, 20, 88, True, 1.0)
    assert (places.after(10, 2.0), places.after(20, 2.0)) == (None, 88)
    assert (places.after(20, 0.9 + LASTS_S), places.after(20, 1.0 + LASTS_S)) == (88, None)


def test_only_so_many_runs_are_remembered() -> None:
    places = Places()
    for at in range(MAX_RUNS + 1):
        places.turn(0, 10 + at, at, True, 0.0)
    assert (places.after(10, 1.0), places.after(11, 1.0)) == (None, 1)


def test_of_several_at_one_place_the_first_of_the_latest_is_meant() -> None:
    places = Places()
    places.turn(0, 10, 50, True, 0.0)  # given up
    places.turn(0, 10, 60, False, 9.0)  # over
    places.turn(0, 10, 80, True, 10.0)
    places.turn(0, 10, 70, True, 11.0)
    assert places.after(10, 12.0) == 70
    places.turn(10, 20, 99, True, 12.0)
    assert (places.after(10, 13.0), places.after(20, 13.0)) == (70, 99)
