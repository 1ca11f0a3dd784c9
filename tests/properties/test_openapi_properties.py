"""The OpenAPI description of the commands says what can be called: no more, and no less."""

from __future__ import annotations

import json
import re

import jsonschema_rs
import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from mi_script.builtin import register_builtin
from mi_script.calls import Ready, prepare
from mi_script.commands import Command, Registry, commands_of
from mi_script.openapi import description
from runtime.modules.catalog import ALWAYS, CATALOG
from runtime.modules.management import server_name
from runtime.testing.strategies import mi_calls

REGISTRY = Registry()
register_builtin(REGISTRY)
for module in (*ALWAYS.values(), *CATALOG.values()):
    REGISTRY.extend(commands_of(module, module.name))
# Besides what the server has: parameters by position that are ambiguous, or never allowed.
REGISTRY.add(Command("odd", (("a",), ("b",), ("a", "b"), ("b", "c")), dict, positional=(("b", "c"),)))
REGISTRY.add(Command("named:odd/name", ((), ("a",), ("b", "a")), dict, named_only=True))

PAGES = {"metrics": {"responses": {"200": {"description": "them"}}}}
DESCRIPTION = description(REGISTRY, "mi", PAGES, version=server_name(), token=True)
TEXT = json.dumps(DESCRIPTION)
RECIPES = {name: command.recipes for command in REGISTRY for name in command.names}


def validator(schema: str) -> jsonschema_rs.Validator:
    return jsonschema_rs.validator_for({**DESCRIPTION, "$ref": f"#/components/schemas/{schema}"})


CALL, BATCH, ANSWER = validator("Call"), validator("Batch"), validator("Answer")


@given(mi_calls(RECIPES, nearly=True), st.none() | st.integers() | st.text(max_size=5))
def test_a_call_is_described_if_and_only_if_it_can_be_made(call, id):
    request = {"jsonrpc": "2.0", "method": call.method, "params": call.params, "id": id}
    can_be_made = isinstance(prepare(REGISTRY, call), Ready)
    event(f"{type(call.params).__name__}, {'can' if can_be_made else 'cannot'} be made")
    assert CALL.is_valid(request) == BATCH.is_valid([request]) == can_be_made


def test_parameters_may_be_left_out_where_none_are_needed():
    for command in REGISTRY:
        request = {"jsonrpc": "2.0", "method": command.name}
        assert CALL.is_valid(request) == (() in command.recipes), command.name


@pytest.mark.parametrize(
    "wrong",
    [
        {"jsonrpc": "1.0"},
        {"method": "nosuch"},
        {"method": 1},
        {"id": {}},
        {"id": True},
        {"params": None},
        {"jsonrpc": 2.0},
    ],
)
def test_what_is_no_request_is_not_described(wrong):
    assert CALL.is_valid({"jsonrpc": "2.0", "method": "uptime", "id": 1})
    assert not CALL.is_valid({"jsonrpc": "2.0", "method": "uptime", "id": 1} | wrong)


@pytest.mark.parametrize(
    ("answer", "valid"),
    [
        ({"jsonrpc": "2.0", "result": None, "id": 1}, True),
        ({"jsonrpc": "2.0", "error": {"code": 404, "message": "no"}, "id": None}, True),
        ({"jsonrpc": "2.0", "error": {"code": 404, "message": "no", "data": "x"}, "id": "a"}, True),
        ({"jsonrpc": "2.0", "error": {"code": 404}, "id": 1}, False),
        ({"jsonrpc": "2.0", "result": 1, "error": {"code": 404, "message": "no"}, "id": 1}, False),
        ({"jsonrpc": "2.0", "id": 1}, False),
    ],
)
def test_answers(answer, valid):
    assert ANSWER.is_valid(answer) == valid


def test_what_it_says_of_commands_and_of_the_server():
    assert set(DESCRIPTION["paths"]) == {"/mi", "/metrics"}
    assert DESCRIPTION["security"] == [{"token": []}]
    assert "security" not in description(REGISTRY, "mi", {}, version="1", token=False)
    said = DESCRIPTION["components"]["schemas"]["mi.log_level"]
    assert said["description"].startswith("Show the log level of each process")
    assert (said["x-cost"], said["x-idempotent"], said["x-later"]) == ("instant", True, False)
    keys = DESCRIPTION["components"]["schemas"]
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+", key) for key in keys)
    assert len(keys) == len(REGISTRY) + 4
    references = set(re.findall(r'"#/components/schemas/([^"]+)"', TEXT))
    assert references == set(keys)
