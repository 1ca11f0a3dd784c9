"""The reference is made of the declarations, so each declaration says what it is."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import runtime
from runtime.modules.catalog import ALWAYS, CATALOG
from runtime.script.declare import Parameter
from runtime.script.functions import Core
from runtime.script.known import known_of
from runtime.script.settings import GLOBALS
from runtime.script.transformations import CHANGES
from runtime.settings import settle

MODULES = {"core": Core, **ALWAYS, **CATALOG}
PARAMETERS = [(module.name, parameter) for module in MODULES.values() for parameter in module.parameters]
KNOWN = known_of([*ALWAYS.values(), *CATALOG.values()])

DOCS = {
    **{f"{name}()": found.doc for name, found in KNOWN.functions.items()},
    **{f"${name}": found.doc for name, found in KNOWN.variables.items()},
    **{f"{{{family}.{name}}}": found.doc for (family, name), found in CHANGES.items()},
    **{name: found.doc for name, found in GLOBALS.items()},
    **{f"{module}.{parameter.name}": parameter.doc for module, parameter in PARAMETERS},
}


@pytest.mark.parametrize("name", DOCS)
def test_every_declaration_has_a_sentence(name: str) -> None:
    first = DOCS[name].split("\n\n")[0]
    assert first[:1].strip()
    assert first.endswith((".", ".)"))


def test_the_defaults_of_the_globals_are_the_ones_that_hold() -> None:
    said = {found.name: found.default for found in GLOBALS.values() if found.effect and found.default is not None}
    socket = str(said.pop("socket"))

    assert settle(said, [socket]) == settle({}, [])


def texts_in_use() -> Iterator[str]:
    """Regular expressions of all texts in the sources that stand outside of a parameter's declaration."""
    waiting: list[ast.AST] = [ast.parse(path.read_text()) for path in Path(runtime.__path__[0]).rglob("*.py")]
    while waiting:
        node = waiting.pop()
        match node:
            case ast.Call(func=ast.Name("Parameter" | "ignored" | "Global" | "_ignored")):
                continue
            case ast.JoinedStr(values=[ast.FormattedValue(), ast.Constant(value=end)]) if end in ("_column", "_port"):
                yield rf"\w+{end}"
            case ast.Constant(value=str(text)):
                yield re.escape(text)
            case _:
                waiting.extend(ast.iter_child_nodes(node))


IN_USE = re.compile("|".join(sorted(texts_in_use())))


def test_a_text_that_stands_nowhere_is_not_in_use() -> None:
    assert not IN_USE.fullmatch("no_such_" + "parameter")


@pytest.mark.parametrize(("module", "parameter"), [pair for pair in PARAMETERS if pair[1].effect])
def test_a_parameter_that_has_an_effect_is_read_somewhere(module: str, parameter: Parameter) -> None:
    assert IN_USE.fullmatch(parameter.name)


@pytest.mark.parametrize("name", [name for name, found in GLOBALS.items() if found.effect])
def test_a_global_that_has_an_effect_is_read_somewhere(name: str) -> None:
    assert IN_USE.fullmatch(name)


def test_what_has_no_effect_says_so() -> None:
    declared = [*GLOBALS.values(), *(parameter for _, parameter in PARAMETERS)]

    assert [one.name for one in declared if one.effect is one.doc.startswith("No effect: ")] == []
