"""What a script may name: the functions and variables of the core and of the modules that it loads."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from runtime.script.declare import Function, Module, Variable, functions_of, variables_of
from runtime.script.functions import Core
from runtime.script.variable_table import CONTEXT_VARIABLES
from runtime.script.variables import ContextVariable


@dataclass(frozen=True, slots=True)
class Known:
    """Functions and variables by name. A later module's stand before an earlier one's and before the core's."""

    functions: dict[str, Function]
    variables: dict[str, ContextVariable | Variable]


def known_of(modules: Iterable[Module | type[Module]], core: Core | type[Core] = Core) -> Known:
    """Gather what modules give: from classes for the checker, from instances for the compiler."""
    functions: dict[str, Function] = {}
    variables: dict[str, ContextVariable | Variable] = dict(CONTEXT_VARIABLES)
    for module in (core, *modules):
        functions.update(functions_of(module))
        variables.update(variables_of(module))
    return Known(functions, variables)
