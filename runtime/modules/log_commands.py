"""The MI commands about the log: up to which level each process writes, and what goes where."""

from __future__ import annotations

from typing import Final

from mi_script.commands import INVALID_PARAMS, Json, MiError, Params, command
from runtime.log_levels import CONSUMERS, HIGHEST, LOWEST
from runtime.modules.base import RuntimeModule
from runtime.modules.processes import alive, title_of

_LEVELS: Final = range(LOWEST, HIGHEST + 1)


class LogCommands(RuntimeModule):
    """The commands, for the core to inherit."""

    @command("log_level", (), ("level",), ("level", "pid"), idempotent=True, aliases=("core:log_level",))
    def log_level(self, params: Params) -> Json:
        """Show the log level of each process, or set that of all (`level`) or of one (`level`, `pid`)."""
        house = self.house
        if "level" not in params:
            return {
                "Processes": [
                    {"PID": row.pid, "Log level": house.levels.get(row.slot), "Type": title_of(house, row)}
                    for row in alive(house)
                ]
            }
        level = level_of(params)
        if "pid" not in params:
            house.levels.set(None, level)
            return {"New global log level": level}
        house.levels.set(self._slot(params), level)
        return {"Log level": level}

    @command("xlog_level", (), ("level",), ("level", "pid"), idempotent=True, aliases=("core:xlog_level",))
    def xlog_level(self, params: Params) -> Json:
        """Show the level up to which the script's xlog lines are written, with the processes that have another one; or
        set that of all (`level`) or of one (`level`, `pid`)."""
        levels = self.house.xlog_levels
        if "level" not in params:
            shown: dict[str, Json] = {"xLog Level": levels.get(None)}
            others = [row for row in alive(self.house) if levels.get(row.slot) != levels.get(None)]
            if others:
                shown["Processes"] = [
                    {"PID": row.pid, "xLog level": levels.get(row.slot), "Type": title_of(self.house, row)}
                    for row in others
                ]
            return shown
        level = level_of(params)
        if "pid" in params:
            levels.set(self._slot(params), level)
            return {"xLog level": level}
        levels.set(None, level)
        return {"New xLog level": level}

    def _slot(self, params: Params) -> int:
        """The slot of the process with that PID."""
        slot = next((row.slot for row in alive(self.house) if row.pid == params.integer("pid")), None)
        if slot is None:
            raise MiError(INVALID_PARAMS, "Invalid params", "Bad PID")
        return slot

    @command(
        "log_level_filter",
        ("consumer",),
        ("consumer", "level_filter"),
        idempotent=True,
        aliases=("core:log_level_filter",),
    )
    def log_level_filter(self, params: Params) -> Json:
        """Show or set up to which level what is logged goes to ``stderror`` or ``syslog``; 0: all that is logged."""
        consumer = _consumer(params)
        if "level_filter" not in params:
            return {"Log level filter": self.house.consumers.filter_of(consumer)}
        self.house.consumers.set_filter(consumer, level_of(params, "level_filter"))
        return "OK"

    @command(
        "log_mute_state",
        ("consumer",),
        ("consumer", "mute_state"),
        idempotent=True,
        aliases=("core:log_mute_state",),
    )
    def log_mute_state(self, params: Params) -> Json:
        """Show or set whether nothing goes to ``stderror`` or ``syslog``: 1 mutes it, 0 lets it write again."""
        consumer = _consumer(params)
        if "mute_state" not in params:
            return {"mute state": int(self.house.consumers.is_muted(consumer))}
        self.house.consumers.mute(consumer, bool(params.integer("mute_state")))
        return "OK"


def level_of(params: Params, name: str = "level") -> int:
    """A parameter that is one of OpenSIPS's log levels."""
    level = params.integer(name)
    if level not in _LEVELS:
        raise MiError(400, "Bad parameter value", f"{name} must be from {LOWEST} to {HIGHEST}")
    return level


def _consumer(params: Params) -> str:
    name = params.text("consumer")
    if name not in CONSUMERS:
        raise MiError(404, "Unknown log consumer")
    return name
