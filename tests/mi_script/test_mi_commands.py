"""Declaring commands, finding them, and what a handler can ask of its parameters."""

from __future__ import annotations

import pytest

from mi_script.commands import Command, MiError, Params, Registry, command, commands_of


def bad_type(name):
    return (-32602, "Invalid params", f"Bad type for parameter '{name}'")


@pytest.mark.parametrize(
    ("value", "text", "integer", "texts"),
    [
        ("a", "a", None, None),
        ("12", "12", 12, None),
        ("-12", "-12", -12, None),
        ("+3", "+3", 3, None),
        ("", "", None, None),
        ("1.5", "1.5", None, None),
        (" 1", " 1", None, None),
        ("٣", "٣", None, None),  # a digit, but none of ASCII's
        ("9" * 5000, "9" * 5000, None, None),
        (str(2**63), str(2**63), None, None),
        (7, "7", 7, None),
        (2**63, str(2**63), None, None),
        (7.0, None, 7, None),
        (7.5, None, None, None),
        (True, None, None, None),
        (None, None, None, None),
        ({}, None, None, None),
        ([], None, None, []),
        (["a", 1], None, None, ["a", "1"]),
        (["a", None], None, None, None),
    ],
)
def test_types(value, text, integer, texts):
    params = Params({"p": value})
    for read, expected in ((params.text, text), (params.integer, integer), (params.texts, texts)):
        if expected is None:
            with pytest.raises(MiError) as refused:
                read("p")
            assert refused.value.args == bad_type("p")
        else:
            assert read("p") == expected
    assert params.raw("p") == value


def test_absent_parameters_have_the_default_that_the_handler_says():
    params = Params({"there": None})
    assert "there" in params
    assert "gone" not in params
    assert (params.text("gone", "x"), params.integer("gone", None), params.texts("gone", ["y"])) == ("x", None, ["y"])
    assert params.raw("there", 1) is None
    for read in (params.text, params.integer, params.texts, params.raw):
        with pytest.raises(KeyError):
            read("gone")


class Declared:
    @command("second", ("b", "a"), named_only=True, idempotent=True, cost="slow", aliases=("x:second",))
    async def zweiter(self, params):
        """Does it
        later.

        And more.
        """

    @command("third")
    @command("first", positional=())
    def erster(self, params):
        return "first"

    @staticmethod
    @command("fourth")
    def vierter(params):
        return "fourth"

    @property
    def trap(self):
        raise AssertionError("nobody may read this")


def test_commands_of_an_object_in_the_order_of_declaration():
    second, first, third, fourth = commands_of(Declared(), "demo")
    assert (second.name, second.recipes, second.module) == ("second", (("b", "a"),), "demo")
    assert (second.later, second.named_only, second.idempotent, second.cost) == (True, True, True, "slow")
    assert second.help == "Does it later."
    assert second.names == ("second", "x:second")
    assert (first.name, first.recipes, first.later, first.help) == ("first", ((),), False, "")
    assert (third.name, third.handler(Params())) == ("third", "first")
    assert fourth.handler(Params()) == "fourth"


def handler(params):
    return None


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": ""},
        {"name": "two words"},
        {"name": "ok", "aliases": ("with\ttab",)},
        {"name": "ok", "recipes": ()},
        {"name": "ok", "recipes": (("a", "b"), ("b", "a"))},
        {"name": "ok", "recipes": (("a", "a"),)},
        {"name": "ok", "positional": (("b",),)},
        {"name": "ok", "recipes": (("a",), ("b",)), "positional": (("a",), ("b",))},
    ],
)
def test_malformed_declarations_are_refused(wrong):
    with pytest.raises(ValueError, match="MI command"):
        Command(**{"recipes": (("a",),), "handler": handler} | wrong)


def test_register():
    one = Command("one", ((),), handler, aliases=("m:one",))
    registry = Registry([one])
    assert registry.find("one") is registry.find("m:one") is one
    assert registry.find("two") is None
    with pytest.raises(ValueError, match="two MI commands named 'm:one'"):
        registry.add(Command("m:one", ((),), handler))
    with pytest.raises(ValueError, match="two MI commands named 'same'"):
        registry.add(Command("same", ((),), handler, aliases=("same",)))
    assert (registry.names(), registry.all_names(), list(registry), len(registry)) == (
        ["one"],
        ["m:one", "one"],
        [one],
        1,
    )
