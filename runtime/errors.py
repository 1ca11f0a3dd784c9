"""Expected ends of the runtime's own work."""

from __future__ import annotations

from runtime.script.problems import ScriptProblem


class NotLoaded(Exception):
    """A script has errors and is not taken. ``problems`` holds every one of them."""

    def __init__(self, problems: list[ScriptProblem]) -> None:
        super().__init__("; ".join(str(problem) for problem in problems))
        self.problems = problems


class SettingsError(Exception):
    """A setting is wrong; the text says which, why, and what is accepted.

    Args:
        text: that.
        word: what stands in the script for it, to find the place by: a global parameter's name or an address.
    """

    def __init__(self, text: str, word: str = "") -> None:
        super().__init__(text)
        self.word = word
