"""The one ladder that every call climbs, wherever it comes from: find, allow, match the parameters.

The texts and codes are those that MI clients know (JSON-RPC 2.0 section 5.1, and OpenSIPS for the `data`).
"""

from __future__ import annotations

import enum
from typing import Final

from msgspec import Struct

from mi_script.access import Access
from mi_script.commands import (
    INVALID_PARAMS,
    METHOD_AMBIGUOUS,
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
    UNKNOWN = "unknown"  # there is no such command, or there are several
    DENIED = "denied"  # the caller may not run it
    NO_ANSWER = "no answer"  # it ran or may have run, and no answer came of it


# Structs, not frozen dataclasses: some are made for every command that a script runs, in 0.1 µs instead of 0.5.


class Call(Struct, frozen=True, eq=False):
    """A command to be run. Two with the same command and parameters are equal.

    Args:
        method: the command's name; also what stands behind the colon of one, where only one command has it there.
        params: by name, by position, or None for no parameters.
        warning: what the caller should log about how it was built; no part of the call itself.
    """

    method: str
    params: dict[str, Json] | list[Json] | None = None
    warning: str | None = None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Call) and (self.method, self.params) == (other.method, other.params)


class Fault(Struct, frozen=True):
    """A call without a result: the JSON-RPC error object, and why."""

    code: int
    message: str
    data: str | None = None
    cause: Cause = Cause.COMMAND


class Ready(Struct, frozen=True):
    """A call that may run: its command, and the parameters by name."""

    command: Command
    params: Params


NOT_FOUND: Final = Fault(METHOD_NOT_FOUND, "Method not found", None, Cause.UNKNOWN)


def refusal(registry: Registry, call: Call, access: Access | None) -> Fault | None:
    """Why a call may not be made by whoever makes it, whatever its parameters; None when it may.

    To be asked before anything is begun. That there is no such command is for `prepare` to say.
    """
    command = registry.find(call.method) if access else None
    reason = access.refuses(command) if access and command else None
    return None if reason is None else Fault(SERVER_ERROR, "Server error", reason, Cause.DENIED)


def prepare(registry: Registry, call: Call) -> Ready | Fault:
    """Find the call's command, and give its parameters their names."""
    command = registry.find(call.method)
    if command is None:
        return _not_found(registry, call.method)
    params = _matched(command, call.params)
    return params if isinstance(params, Fault) else Ready(command, params)


def _not_found(registry: Registry, method: str) -> Fault:
    meant = registry.called(method)
    if not meant:
        return NOT_FOUND
    return Fault(METHOD_AMBIGUOUS, "Method ambiguous", f"supported names: {', '.join(meant)}", Cause.UNKNOWN)


def _matched(command: Command, params: dict[str, Json] | list[Json] | None) -> Params | Fault:
    if isinstance(params, list) and params and command.named_only:
        return _invalid("Command only supports named parameters")
    if not params:
        return Params() if () in command.recipes else _WRONG_NUMBER
    candidates = [recipe for recipe in command.recipes if len(recipe) == len(params)]
    if not candidates:
        return _WRONG_NUMBER
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


_WRONG_NUMBER: Final = _invalid("Too few or too many parameters")
