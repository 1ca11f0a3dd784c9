"""Modules that a script brings along: Python files that a `loadmodule "folder/name.py"` names, and no others.

Their code runs in the attendant, before any fork, with all the rights of the server, as a script's own does. So only
those who may write the script should be able to write them.
"""

from __future__ import annotations

import sys
import traceback
from pathlib import Path
from types import ModuleType

from runtime.script.declare import Module
from runtime.script.load import ModuleFault


def import_module(path: Path) -> type[Module]:
    """Run a Python file and give the module that it declares.

    Args:
        path: the file. Its name without ``.py`` is the module's.

    Returns:
        its subclass of `Module` that has that `name`.

    Raises:
        ModuleFault: it cannot be read or fails, or declares no such module, or two.
    """
    try:
        source = path.read_bytes()
    except OSError as error:
        raise ModuleFault(f"cannot read {path}: {error.strerror}") from error
    namespace = ModuleType(f"layby_module_{path.stem}")
    namespace.__file__ = str(path)
    sys.modules[namespace.__name__] = namespace  # where dataclasses and typing look for it
    try:
        exec(compile(source, str(path), "exec"), namespace.__dict__)
    except (Exception, SystemExit) as error:
        del sys.modules[namespace.__name__]
        raise ModuleFault(f"{path}:{_line(error, path)}: {type(error).__name__}: {_why(error)}") from error
    found = _declared(namespace, path.stem)
    if len(found) != 1:
        raise ModuleFault(f'{path} is to have one subclass of RuntimeModule with name = "{path.stem}"')
    return found.pop()


def _declared(namespace: ModuleType, name: str) -> set[type[Module]]:
    classes = {thing for thing in vars(namespace).values() if isinstance(thing, type) and issubclass(thing, Module)}
    return {one for one in classes if one.name == name and one.__module__ == namespace.__name__}


def _line(error: BaseException, path: Path) -> int:
    """The line of the file that was running, or that is no Python."""
    if isinstance(error, SyntaxError) and error.filename == str(path):
        return error.lineno or 1
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    return (lines[-1] if lines else None) or 1


def _why(error: BaseException) -> str:
    return error.msg if isinstance(error, SyntaxError) else str(error)
