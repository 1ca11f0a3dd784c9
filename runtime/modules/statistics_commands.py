"""The MI commands over statistics."""

from __future__ import annotations

from mi_script.commands import Json, MiError, Params, command
from runtime.modules.base import RuntimeModule


class StatisticsCommands(RuntimeModule):
    """The commands, for the core to inherit."""

    @command(
        "get_statistics",
        ("statistics",),
        idempotent=True,
        cost="quick",
        aliases=("statistics:get",),
        instead="$stat(name)",
    )
    def get_statistics(self, params: Params) -> Json:
        """Values by name, ``group:name``, ``group:`` or ``all``; names that there are not are left out."""
        found = [full for name in params.texts("statistics") for full in self.house.statistics.find(name)]
        return {full: self.house.statistics.value(full) for full in found}

    @command("list_statistics", (), ("statistics",), idempotent=True, aliases=("statistics:list",))
    def list_statistics(self, params: Params) -> Json:
        """Names of statistics, and whether each is counted or computed."""
        wanted = params.texts("statistics") if "statistics" in params else ["all"]
        statistics = self.house.statistics
        found = [full for name in wanted for full in statistics.find(name)]
        return {full: "incremental" if statistics.is_incremental(full) else "non-incremental" for full in found}

    @command(
        "reset_statistics", ("statistics",), idempotent=True, aliases=("statistics:reset",), instead="reset_stat()"
    )
    def reset_statistics(self, params: Params) -> Json:
        """Let counted statistics read zero from now on."""
        found = [full for name in params.texts("statistics") for full in self.house.statistics.find(name)]
        if not found:
            raise MiError(404, "Statistics Not Found")
        for full in found:
            self.house.statistics.reset(full)
        return "OK"

    @command("reset_all_statistics", (), idempotent=True, aliases=("statistics:reset_all",))
    def reset_all_statistics(self, params: Params) -> Json:
        """Let all counted statistics read zero from now on."""
        for full in self.house.statistics.find("all"):
            self.house.statistics.reset(full)
        return "OK"
