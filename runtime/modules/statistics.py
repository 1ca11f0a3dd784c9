"""Module statistics: the script's own counters, and all statistics as variables.

A script may count under a name that nobody has declared. The name then gets a place for all processes: the table in the
store says which, and the places are used in its order.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from runtime.context import Context, Value
from runtime.modules.base import RuntimeModule
from runtime.script.declare import Kind, Param, Parameter, Ref, function, ignored, variable
from runtime.settings import SettingsError
from runtime.statistics import MAX_COUNTERS
from runtime.store import StoreError, Table

if TYPE_CHECKING:
    from runtime.house import House
    from runtime.process import Process

log = logging.getLogger("layby.script")

GROUP: Final = "script"
MAX_NEW: Final = 256
"""Names that a script may make up while it runs: what it counts by may come from outside."""
_NAME: Final = re.compile(r"[!-9;-~]{1,64}")
_NO_RESET: Final = "no_reset"
_MAX_ITERATORS: Final = 100


class StatisticsModule(RuntimeModule):
    """The module as a script loads it."""

    name = "statistics"
    group = GROUP
    parameters = (
        Parameter(
            "variable",
            str,
            repeats=True,
            doc="Declares a statistic in the group `script`, or `group:name`; `name/no_reset` is never reset.",
        ),
        Parameter("stat_groups", str, "", doc="Groups that the script may count in, beside `script`: `a, b`."),
        ignored("stat_series_profile", str, "", "there are no series."),
    )

    def __init__(self, settings: dict[str, Any] | None = None) -> None:
        super().__init__(settings)
        self._groups = {GROUP, *filter(None, (one.strip() for one in self.settings["stat_groups"].split(",")))}
        self._declared = dict(map(_declared, self.settings["variable"]))
        self.counters = {name: "" for group, name in map(_parted, self._declared) if group == GROUP}
        for full in self._declared:
            if _parted(full)[0] not in self._groups:
                raise SettingsError(f'"{full}": the group is none of stat_groups', full)
        self._own: set[str] = set(self._declared)
        """Full names that the script may change, as far as this process knows."""
        self._iterators: dict[str, Iterator[tuple[str, int]]] = {}

    def furnish(self, house: House) -> None:
        super().furnish(house)
        for full, resets in self._declared.items():
            group, name = _parted(full)
            house.statistics.declare(group, [name])
            if not resets:
                house.statistics.keep(full)

    def enter(self, process: Process) -> None:
        super().enter(process)
        self._table: Table = process.store.table("statistics")
        self._known = 0
        """How many of the names that were made up since the start this process knows."""
        self._first = self.house.statistics.next_place()
        self.house.statistics.learn = self._learn

    # Names that are made up while the script runs.

    def _learn(self) -> None:
        with self.process.store.reading() as transaction:
            if transaction.stat(self._table)["entries"] == self._known:
                return
            for place, full in transaction.cursor(db=self._table):
                self._add(int.from_bytes(place, "big"), bytes(full).decode())

    def _add(self, place: int, full: str) -> None:
        if full not in self._own:
            self.house.statistics.add(*_parted(full), self._first + place)
            self._own.add(full)
            self._known += 1

    def _make_up(self, full: str) -> bool:
        """Give a name a place; False where there is none left."""
        group, name = _parted(full)
        if group not in self._groups or not _NAME.fullmatch(name) or full in self.house.statistics.find(full):
            return full in self._own
        most = min(MAX_NEW, MAX_COUNTERS - self._first)
        if self._known >= most:  # told without a lock: names may come from outside, again and again
            return False
        with self.process.store.writing() as transaction:
            place = transaction.stat(self._table)["entries"]
            if place >= most:
                return False
            # Whoever came first may have made the same name up since it was looked for.
            if all(bytes(known) != full.encode() for _, known in transaction.cursor(db=self._table)):
                transaction.put(place.to_bytes(2, "big"), full.encode(), db=self._table)
        self._learn()
        return full in self._own

    # Script functions.

    @function("update_stat", Param("name", Kind.STRING), Param("amount", Kind.INTEGER))
    def update_stat(self, c: Context, name: str, amount: int) -> int:
        """Add to a statistic of the script's: in the group `script`, or `group:name` in one of `stat_groups`.

        One that is not there yet is made, up to 256 of them. -1 for a name that cannot be one, and for those of
        modules.
        """
        full = name if ":" in name else f"{GROUP}:{name}"
        try:
            if full not in self._own and not self._make_up(full):
                return -1
        except StoreError as error:
            log.error("the statistic %.80r cannot be made: %s", full, error)
            return -1
        self.house.statistics.count(full, amount)
        return 1

    @function("reset_stat", Param("name", Kind.STRING))
    def reset_stat(self, c: Context, name: str) -> int:
        """Let a statistic read zero from now on; -1 for one that is not there, is computed, or is never reset."""
        found = self.house.statistics.find(name)
        done = [self.house.statistics.reset(full) for full in found]
        return 1 if done and all(done) else -1

    @function("stat_iter_init", Param("group", Kind.STRING), Param("iter", Kind.STRING))
    def stat_iter_init(self, c: Context, group: str, key: str) -> int:
        """Begin to go through the statistics of a group; `iter` is a name for that; -1 where the group has none."""
        statistics = self.house.statistics
        found = statistics.find(f"{group}:")
        self._iterators.pop(key, None)
        self._iterators[key] = ((full, statistics.value(full)) for full in found)
        if len(self._iterators) > _MAX_ITERATORS:
            del self._iterators[next(iter(self._iterators))]
        return 1 if found else -1

    @function("stat_iter_next", Param("name", Kind.OUTPUT), Param("val", Kind.OUTPUT), Param("iter", Kind.STRING))
    def stat_iter_next(self, c: Context, name: Ref, val: Ref, key: str) -> int:
        """The next statistic's name, without its group, and its value, into two variables; -1 after the last one."""
        found = next(self._iterators.get(key, _NOTHING), None)
        if found is None:
            self._iterators.pop(key, None)
            return -1
        name.set(c, _parted(found[0])[1])
        val.set(c, found[1])
        return 1

    @variable("stat")
    def stat(self, c: Context, inner: str) -> Value:
        """`$stat(name)`: a statistic's value over all processes."""
        found = self.house.statistics.find(inner)
        return self.house.statistics.value(found[0]) if found else None


_NOTHING: Final[Iterator[tuple[str, int]]] = iter(())


def _declared(text: str) -> tuple[str, bool]:
    """Full name, and whether it can be reset."""
    name, _, flag = (part.strip() for part in text.partition("/"))
    full = name if ":" in name else f"{GROUP}:{name}"
    if not _NAME.fullmatch(_parted(full)[1]) or flag not in ("", _NO_RESET):
        raise SettingsError(f'"{text}" is no statistic: "name", "group:name" or "name/no_reset" is', text)
    return full, not flag


def _parted(full: str) -> tuple[str, str]:
    """Group and name."""
    group, _, name = full.partition(":")
    return group, name
