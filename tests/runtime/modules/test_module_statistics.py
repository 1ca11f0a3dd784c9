"""Module statistics: what a script declares and makes up, in groups, over all processes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from runtime.modules.statistics import MAX_NEW, StatisticsModule
from runtime.settings import SettingsError
from runtime.statistics import Statistics
from runtime.store import Store

SETTINGS = {"variable": ["declared", "kept/no_reset", "calls:any"], "stat_groups": "calls, codes"}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    one = Store(tmp_path / "store")
    yield one
    one.close()


def processes(store: Store, count: int, settings: dict[str, Any] = SETTINGS) -> list[Any]:
    """The module as so many processes have it: one memory of cells, and each its own names."""
    modules = []
    shared = Statistics(count)
    for slot in range(count):
        statistics = Statistics(count)
        statistics._memory, statistics._cells = shared._memory, shared._cells
        statistics.declare("core", ["rcv_requests"])
        house: Any = SimpleNamespace(statistics=statistics)
        module: Any = StatisticsModule(settings)
        module.furnish(house)
        statistics.enter(slot)
        module.enter(SimpleNamespace(store=store))
        modules.append(module)
    return modules


class Written:
    value: Any = None

    def set(self, context: Any, value: Any) -> None:
        self.value = value


def all_of(module: Any, group: str) -> dict[str, int]:
    found, name, value = {}, Written(), Written()
    if module.stat_iter_init(None, group, "i") < 0:
        return {}
    while module.stat_iter_next(None, name, value, "i") > 0:
        found[name.value] = value.value
    return found


def test_what_is_declared_counts_in_its_group(store: Store) -> None:
    one, two = processes(store, 2)
    for module in (one, two):
        for name in ("declared", "script:declared", "calls:any"):
            assert module.update_stat(None, name, 2) == 1
    assert (one.stat(None, "declared"), one.stat(None, "calls:any"), one.stat(None, "any")) == (8, 4, 4)
    assert (all_of(one, "calls"), all_of(two, "script")) == ({"any": 4}, {"declared": 8, "kept": 0})
    assert all_of(one, "none") == {}


def test_what_is_made_up_by_one_process_is_there_for_all(store: Store) -> None:
    one, two = processes(store, 2)
    assert one.stat(None, "codes:200") is None
    assert (one.update_stat(None, "codes:200", 1), two.update_stat(None, "codes:404", 5)) == (1, 1)
    assert two.update_stat(None, "codes:200", 1) == 1
    assert one.update_stat(None, "free", -3) == 1
    for module in (one, two):
        assert all_of(module, "codes") == {"200": 2, "404": 5}
        assert module.stat(None, "free") == -3
        assert module.house.statistics.is_incremental("codes:404")
    assert one.reset_stat(None, "codes:404") == 1
    assert two.stat(None, "codes:404") == 0


@pytest.mark.parametrize("name", ["core:rcv_requests", "other:x", "codes:", "", "co des:x", "codes:a b", "x" * 65, "é"])
def test_what_a_script_cannot_count(store: Store, name: str) -> None:
    [module] = processes(store, 1)
    assert module.update_stat(None, name, 1) == -1
    assert module.stat(None, "core:rcv_requests") == 0


def test_names_from_outside_are_bounded(store: Store) -> None:
    one, two = processes(store, 2)
    made = [module.update_stat(None, f"codes:{number}", 1) for number in range(MAX_NEW) for module in (one, two)]
    assert set(made) == {1}
    assert (one.update_stat(None, "codes:more", 1), two.update_stat(None, "codes:more", 1)) == (-1, -1)
    assert one.update_stat(None, "codes:7", 1) == 1
    assert two.stat(None, "codes:7") == 3


def test_what_is_never_reset(store: Store) -> None:
    [module] = processes(store, 1)
    module.update_stat(None, "kept", 4)
    assert module.reset_stat(None, "kept") == module.reset_stat(None, "none") == -1
    assert module.stat(None, "kept") == 4


@pytest.mark.parametrize("wrong", ["other:x", "a b", "x/reset", "", ":x"])
def test_declarations_that_are_none(wrong: str) -> None:
    with pytest.raises(SettingsError):
        StatisticsModule({**SETTINGS, "variable": [wrong]})
