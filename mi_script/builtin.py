"""The commands that need nothing but the register itself."""

from __future__ import annotations

from mi_script.commands import Json, MiError, Params, Registry, command, commands_of

_MANUAL = (
    "'which' lists the commands; 'which command' gives the lists of parameters that a command can be called with; "
    "'help command' says what it does."
)


class Builtin:
    """`which` and `help` over a register of commands.

    Args:
        registry: what they tell about, read at each call.
    """

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    @command("which", (), ("command",), idempotent=True, aliases=("core:which",))
    def which(self, params: Params) -> Json:
        """Lists the commands, or the lists of parameters that one command can be called with."""
        if "command" not in params:
            return list(self._registry.all_names())
        found = self._registry.find(params.text("command"))
        if found is None:
            raise MiError(404, "unknown MI command")
        return [list(recipe) for recipe in found.recipes]

    @command("help", (), ("mi_cmd",), idempotent=True, aliases=("core:help",))
    def help(self, params: Params) -> Json:
        """Says how to use the management interface, or what one command does and who gives it."""
        if "mi_cmd" not in params:
            return _MANUAL
        found = self._registry.find(params.text("mi_cmd"))
        if found is None:
            raise MiError(404, "unknown MI command")
        answer: dict[str, Json] = {"Help": found.help or "not available for this command"}
        if found.module:
            answer["Exported by"] = found.module
        return answer


def register_builtin(registry: Registry, module: str = "core") -> None:
    """Add `which` and `help` to a register."""
    registry.extend(commands_of(Builtin(registry), module))
