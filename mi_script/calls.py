"""The one ladder that every call climbs, wherever it comes from: find, allow, match the parameters.

The texts and codes are those that MI clients know (JSON-RPC 2.0 section 5.1, and OpenSIPS for the `data`).
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import Final

from mi_script.commands import (
    INVALID_PARAMS,
    METHOD_NOT_FOUND,
    SERVER_ERROR,
    Command,
    Json,
    Params,
    Recipe,
    Registry,
)


class Cause(enum.Enum):
    """Why a call has no result, for callers to whom the code alone does not say it."""

    COMMAND = "command"  # the command, or a check of its parameters, refused
    UNKNOWN = "unknown"  # there is no such command
    DENIED = "denied"  # the caller may not run it
    NO_ANSWER = "no answer"  # it ran or may have run, and no answer came of it


@dataclass(frozen=True, slots=True)
class Call:
    """A command to be run.

    Args:
        method: the command's name.
        params: by name, by position, or None for no parameters.
        warning: what the caller should log about how it was built; no part of the call itself.
    """

    method: str
    params: dict[str, Json] | list[Json] | None = None
    warning: str | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Fault:
    """A call without a result: the JSON-RPC error object, and why."""

    code: int
    message: str
    data: str | None = None
    cause: Cause = Cause.COMMAND


@dataclass(frozen=True, slots=True)
class Ready:
    """A call that may run: its command, and the parameters by name."""

    command: Command
    params: Params


@dataclass(frozen=True, slots=True)
class Access:
    """Who may run what. A command is named by any of its names; what is denied stays denied when also allowed.

    Args:
        allow: the only commands that may run, or None for all.
        deny: the commands that may not.
    """

    allow: frozenset[str] | None = None
    deny: frozenset[str] = frozenset()

    def refuses(self, command: Command) -> str | None:
        """Why the command may not run, or None."""
        if not self.deny.isdisjoint(command.names):
            return f"Command '{command.name}' is denied here"
        if self.allow is not None and self.allow.isdisjoint(command.names):
            return f"Command '{command.name}' is not among those allowed here"
        return None


NOT_FOUND: Final = Fault(METHOD_NOT_FOUND, "Method not found", None, Cause.UNKNOWN)


def prepare(registry: Registry, call: Call, access: Access | None = None) -> Ready | Fault:
    """Find the call's command, see whether it may run, and give its parameters their names."""
    command = registry.find(call.method)
    if command is None:
        return NOT_FOUND
    reason = access.refuses(command) if access else None
    if reason is not None:
        return Fault(SERVER_ERROR, "Server error", reason, Cause.DENIED)
    params = _matched(command, call.params)
    return params if isinstance(params, Fault) else Ready(command, params)


def _matched(command: Command, params: dict[str, Json] | list[Json] | None) -> Params | Fault:
    if isinstance(params, list) and params and command.named_only:
        return _invalid("Command only supports named parameters")
    candidates = [recipe for recipe in command.recipes if len(recipe) == len(params or ())]
    if not candidates:
        return _invalid("Too few or too many parameters")
    if not params:
        return Params()
    if isinstance(params, dict):
        return _by_name(candidates, params)
    return _by_position(command, candidates, params)


def _by_name(candidates: list[Recipe], params: dict[str, Json]) -> Params | Fault:
    if any(params.keys() == set(recipe) for recipe in candidates):
        return Params(params)
    return _invalid("Named parameters do not match")


def _by_position(command: Command, candidates: list[Recipe], params: list[Json]) -> Params | Fault:
    if len(candidates) > 1:
        candidates = [recipe for recipe in candidates if recipe in command.positional]
    if not candidates:
        return _invalid("Ambiguous call, use named parameters instead")
    return Params(dict(zip(candidates[0], params, strict=True)))


def _invalid(data: str) -> Fault:
    return Fault(INVALID_PARAMS, "Invalid params", data)
