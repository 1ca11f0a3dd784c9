"""Expected ends of the runtime's own work."""

from __future__ import annotations

from runtime.script.problems import ScriptProblem


class NotLoaded(Exception):
    """A script has errors and is not taken. ``problems`` holds every one of them."""

    def __init__(self, problems: list[ScriptProblem]) -> None:
        super().__init__("; ".join(str(problem) for problem in problems))
        self.problems = problems
