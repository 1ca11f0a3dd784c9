"""What MI commands have cost, as an MI command."""

from __future__ import annotations

from mi_script.commands import Json, MiError, Params, command
from runtime.command_figures import Figures, Histogram
from runtime.modules.base import RuntimeModule


class CommandList(RuntimeModule):
    """Always there; a script does not load it."""

    name = "command_list"

    @command("command_list", (), ("command",), idempotent=True, cost="quick", aliases=("mi:list",))
    def command_list(self, params: Params) -> Json:
        """What MI commands have cost since the start: all that were called, or one.

        `Errors` are numbers by code, with `other` for rare ones. Times are in milliseconds; of `p50` and `p99` the
        bound of a bucket is told below which so many lie, and null where they are above the last. `Wait` is what jobs
        waited before a process ran them; of those that mi_gather() asks for together it is not known.
        """
        figures = self.house.figures.figures()
        if "command" not in params:
            return {"Commands": [self._row(one) for one in figures if one.errors or one.runs.count or one.waits.count]}
        found = self.house.registry.find(params.text("command"))
        if found is None:
            raise MiError(404, "unknown MI command")
        return self._row(next(one for one in figures if one.command == found.name))

    def _row(self, figures: Figures) -> dict[str, Json]:
        found = self.house.registry.find(figures.command)
        declared: dict[str, Json] = {"Module": found.module, "Cost": found.cost} if found else {}
        return {
            "Name": figures.command,
            **declared,
            "Runs": figures.runs.count,
            "Errors": {str(code or "other"): number for code, number in figures.errors.items()},
            "Run time [ms]": _times(figures.runs),
            "Wait [ms]": _times(figures.waits),
        }


def _times(histogram: Histogram) -> Json:
    if not histogram.count:
        return None
    mean = round(histogram.total_s * 1000 / histogram.count, 3)
    return {"mean": mean, "p50": _ms(histogram.bound_of(0.5)), "p99": _ms(histogram.bound_of(0.99))}


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 3)
