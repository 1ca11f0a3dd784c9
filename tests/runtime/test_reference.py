"""The reference is made of the declarations, so each declaration says what it is."""

from __future__ import annotations

import pytest

from runtime.modules.catalog import ALWAYS, CATALOG
from runtime.script.functions import Core
from runtime.script.known import known_of
from runtime.script.settings import GLOBALS
from runtime.script.transformations import CHANGES
from runtime.settings import settle

MODULES = {"core": Core, **ALWAYS, **CATALOG}
KNOWN = known_of([*ALWAYS.values(), *CATALOG.values()])

DOCS = {
    **{f"{name}()": found.doc for name, found in KNOWN.functions.items()},
    **{f"${name}": found.doc for name, found in KNOWN.variables.items()},
    **{f"{{{family}.{name}}}": found.doc for (family, name), found in CHANGES.items()},
    **{name: found.doc for name, found in GLOBALS.items()},
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
