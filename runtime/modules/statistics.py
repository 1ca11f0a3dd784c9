"""Module statistics: the script's own counters, and all statistics as variables."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runtime.context import Context, Value
from runtime.modules.base import RuntimeModule
from runtime.script.declare import Kind, Param, Parameter, function, variable

if TYPE_CHECKING:
    from runtime.house import House


class StatisticsModule(RuntimeModule):
    """The module as a script loads it."""

    name = "statistics"
    group = "script"
    parameters = (Parameter("variable", str, repeats=True, doc="Declares a statistic in the group `script`."),)

    def furnish(self, house: House) -> None:
        self.counters = dict.fromkeys((name.split("/")[0].strip() for name in self.settings["variable"]), "")
        super().furnish(house)

    @function("update_stat", Param("name", Kind.STRING), Param("amount", Kind.INTEGER))
    def update_stat(self, c: Context, name: str, amount: int) -> int:
        """Add to a statistic that `modparam("statistics", "variable", …)` declared; -1 for another name."""
        name = name.removeprefix("script:")
        if name not in self.counters:
            return -1
        self.count(name, amount)
        return 1

    @function("reset_stat", Param("name", Kind.STRING))
    def reset_stat(self, c: Context, name: str) -> int:
        """Let a statistic read zero from now on; -1 for one that is not there or is computed."""
        found = self.house.statistics.find(name)
        done = [self.house.statistics.reset(full) for full in found]
        return 1 if done and all(done) else -1

    @variable("stat")
    def stat(self, c: Context, inner: str) -> Value:
        """`$stat(name)`: a statistic's value over all processes."""
        found = self.house.statistics.find(inner)
        return self.house.statistics.value(found[0]) if found else None
