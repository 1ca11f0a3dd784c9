"""Module echoes: an MI command of one to ten parameters, for tests of how parameters travel."""

from __future__ import annotations

from typing import Final

from mi_script.commands import Json, MiError, Params, command
from runtime.modules.base import RuntimeModule

_NAMES: Final = tuple(f"p{number}" for number in range(1, 11))


class Echoes(RuntimeModule):
    """The module as a test's script loads it."""

    name = "echoes"

    @command("echoes", *(_NAMES[:count] for count in range(1, 11)), idempotent=True)
    def echoes(self, params: Params) -> Json:
        """Gives back what it got, by name; a first parameter that is "404" it refuses with that code."""
        if params.raw("p1") == "404":
            raise MiError(404, "Not here", "told to say so")
        return {name: params.raw(name) for name in params.names()}
