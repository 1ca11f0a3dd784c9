"""What can be asked over HTTP, as a description for programs (OpenAPI 3.1, JSON Schema 2020-12), made of the register.

JSON-RPC has one path, so what is told apart elsewhere by paths is told apart here by the schemas of the request's body:
one for each command, with its lists of parameters by name and by position.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

from mi_script.commands import (
    INVALID_PARAMS,
    INVALID_REQUEST,
    METHOD_AMBIGUOUS,
    METHOD_NOT_FOUND,
    PARSE_ERROR,
    SERVER_ERROR,
    Command,
    Json,
    Recipe,
)
from mi_script.jsonrpc import MAX_BATCH

_VERSION: Final = "3.1.0"
_NOT_IN_A_KEY: Final = re.compile(r"[^A-Za-z0-9._-]")
_ID: Final[Json] = {"type": ["integer", "number", "string", "null"]}
_VALUE: Final[Json] = {
    "description": "A string or a number for most parameters, and an array of strings for some.",
    "type": ["string", "number", "boolean", "null", "array", "object"],
}
_ERRORS: Final = {
    PARSE_ERROR: "no JSON",
    INVALID_REQUEST: "no request",
    METHOD_NOT_FOUND: "no such command",
    INVALID_PARAMS: "not with these parameters",
    SERVER_ERROR: "it failed, or may not be run here",
    METHOD_AMBIGUOUS: "several commands have that name behind their module's",
}
_TOKEN: Final = "token"


def description(
    commands: Iterable[Command], root: str, pages: Mapping[str, Json], *, version: str, token: bool
) -> dict[str, Json]:
    """The description of a server.

    Args:
        commands: what can be run.
        root: the path at which, without the slash before it.
        pages: what GET reads beside it: operations by path, likewise.
        version: the server's.
        token: whether a bearer token is asked for.
    """
    schemas = _commands_by_key(commands)
    paths: dict[str, Json] = {f"/{root}": {"post": _post()}}
    paths.update({f"/{path}": {"get": operation} for path, operation in pages.items()})
    components: dict[str, Json] = {"schemas": {**_envelope(list(schemas)), **schemas}}
    found: dict[str, Json] = {
        "openapi": _VERSION,
        "info": {"title": "layby", "summary": "MI commands by JSON-RPC 2.0.", "version": version},
        "paths": paths,
        "components": components,
    }
    if token:
        components["securitySchemes"] = {_TOKEN: {"type": "http", "scheme": "bearer"}}
        found["security"] = [{_TOKEN: []}]
    return found


def text_answer(what: str) -> Json:
    """A response of plain text."""
    return {"description": what, "content": {"text/plain": {"schema": {"type": "string"}}}}


def json_answer(what: str, schema: Json) -> Json:
    """A response of JSON."""
    return {"description": what, "content": {"application/json": {"schema": schema}}}


def _ref(key: str) -> dict[str, Json]:
    return {"$ref": f"#/components/schemas/{key}"}


def _post() -> Json:
    one_or_more: Json = {"oneOf": [_ref("Call"), _ref("Batch")]}
    answers: Json = {"oneOf": [_ref("Answer"), {"type": "array", "items": _ref("Answer")}]}
    return {
        "operationId": "mi",
        "summary": "Run an MI command, or several one after the other.",
        "requestBody": {"required": True, "content": {"application/json": {"schema": one_or_more}}},
        "responses": {
            "200": json_answer("What came of it. A command's error is an answer too.", answers),
            "204": {"description": "Run; a call without an id asks for no answer."},
            "400": text_answer("No body, or no HTTP."),
            "401": text_answer("No token, or not the one that is asked for."),
            "408": text_answer("The body did not come in time."),
            "413": text_answer("The body is too long."),
            "415": text_answer("The body is not application/json."),
            "503": text_answer("The server is shutting down."),
        },
    }


def _envelope(keys: list[str]) -> dict[str, Json]:
    codes = "; ".join(f"{code}: {meaning}" for code, meaning in _ERRORS.items())
    error: Json = {
        "type": "object",
        "required": ["code", "message"],
        "properties": {
            "code": {"type": "integer", "description": f"{codes}; others are the commands' own, e.g. 404."},
            "message": {"type": "string"},
            "data": {"type": "string", "description": "Details."},
        },
        "additionalProperties": False,
    }
    return {
        "Call": {"oneOf": [_ref(key) for key in keys]},
        "Batch": {"type": "array", "items": _ref("Call"), "minItems": 1, "maxItems": MAX_BATCH},
        "Answer": {"oneOf": [_answer("result", True), _answer("error", error)]},
        "Value": _VALUE,
    }


def _answer(kind: str, schema: Json) -> Json:
    return {
        "type": "object",
        "required": ["jsonrpc", kind, "id"],
        "properties": {"jsonrpc": {"const": "2.0"}, kind: schema, "id": _ID},
        "additionalProperties": False,
    }


def _commands_by_key(commands: Iterable[Command]) -> dict[str, Json]:
    """The schemas of calls; a key is the command's name as far as keys may have its letters."""
    found: dict[str, Json] = {}
    for command in commands:
        key = f"mi.{_NOT_IN_A_KEY.sub('_', command.name)}"
        while key in found:
            key += "_"
        found[key] = _call(command)
    return found


def _call(command: Command) -> Json:
    required: list[Json] = ["jsonrpc", "method"]
    if () not in command.recipes:
        required.append("params")
    return {
        "title": command.name,
        "description": command.help,
        "type": "object",
        "required": required,
        "properties": {
            "jsonrpc": {"const": "2.0"},
            "method": {"enum": list(command.names)},
            "params": {"oneOf": [*map(_by_name, command.recipes), *map(_by_position, _positional(command))]},
            "id": _ID,
        },
        "x-module": command.module,
        "x-cost": command.cost,
        "x-idempotent": command.idempotent,
        "x-later": command.later,
    }


def _by_name(recipe: Recipe) -> Json:
    return {
        "type": "object",
        "properties": {name: _ref("Value") for name in recipe},
        "required": list(recipe),
        "additionalProperties": False,
    }


def _by_position(recipe: Recipe) -> Json:
    found: dict[str, Json] = {"type": "array", "minItems": len(recipe), "maxItems": len(recipe)}
    if recipe:
        found["prefixItems"] = [{"title": name, **_ref("Value")} for name in recipe]
    return found


def _positional(command: Command) -> list[Recipe]:
    """The recipes that a call by position can mean: of those with as many parameters the only one, or the preferred."""
    if command.named_only:
        return [recipe for recipe in command.recipes if not recipe]
    counts = [len(recipe) for recipe in command.recipes]
    return [one for one in command.recipes if counts.count(len(one)) == 1 or one in command.positional]
