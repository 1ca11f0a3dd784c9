"""Execute a script in Python, and check what it says of itself as a cfg script is checked."""

from __future__ import annotations

import dataclasses
import importlib
import re
import sys
import threading
import traceback
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import CodeType, ModuleType
from typing import Final

from runtime.pyscript.bodies import Source, check_bodies
from runtime.pyscript.registering import App, Registered, Said, registering
from runtime.pyscript.words import to_script
from runtime.script import tree
from runtime.script.check import Checked, check, module_name
from runtime.script.declare import Module
from runtime.script.known import known_of
from runtime.script.load import IGNORED, import_none, own_modules, read_file
from runtime.script.problems import Code, Place, ScriptProblem
from runtime.script.sources import MAX_SCRIPT_BYTES

NAME: Final = "layby_script"
"""What the script's module is called. Its own name could be that of a module that the runtime needs."""


@dataclasses.dataclass(frozen=True, slots=True)
class PyChecked(Checked):
    """A script in Python that makes sense.

    Args:
        registered: its routes with their functions.
        files: the script's file and those of the modules beside it that it imports.
    """

    registered: tuple[Registered, ...] = ()
    files: frozenset[str] = frozenset()


def load(
    path: Path,
    *,
    catalog: Mapping[str, type[Module]],
    always: Mapping[str, type[Module]] | None = None,
    read: Callable[[Path], bytes] = read_file,
    import_module: Callable[[Path], type[Module]] = import_none,
) -> PyChecked | list[ScriptProblem]:
    """Load a script in Python: execute it, and check its parameters, modules and routes.

    Args:
        path: the script file. Modules beside it can be imported, behind all others of the same name.
        catalog: every module that could be loaded, by name.
        always: the modules that every server has, by name. Without them no MI command is called unknown.
        read: gives the file's bytes, or raises OSError.
        import_module: loads a module of the script's own, ``module("folder/name.py")``. Raises ModuleFault.

    Returns:
        the checked script; or every problem that was found, at least one of which is an error.
    """
    try:
        text = read(path)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        return [_wrong(path, "unreadable-file", f"cannot read {path}: {reason}")]
    code = _compiled(path, text)
    if isinstance(code, ScriptProblem):
        return [code]
    app, folder = App(), str(path.parent.resolve())
    _forget_others(folder)
    before, threads = _set_aside(folder), set(threading.enumerate())
    wrong = _execute(path, code, app, folder)
    left = _left_running(path, threads)
    result = [wrong, *left] if wrong is not None else _checked(path, app, text, left, catalog, always, import_module)
    if isinstance(result, list):
        _set_aside(folder)  # what runs on goes on with the modules that it had
        sys.modules.update(before)
    return result


def _compiled(path: Path, text: bytes) -> CodeType | ScriptProblem:
    if len(text) > MAX_SCRIPT_BYTES:
        return _wrong(path, "unreadable-file", f"a script has at most {MAX_SCRIPT_BYTES} bytes")
    try:
        return compile(text, str(path), "exec", dont_inherit=True)
    except SyntaxError as error:
        return _syntax_problem(path, error)
    except (ValueError, RecursionError, MemoryError) as error:  # a NUL, or what stands too deep in itself
        return _wrong(path, "syntax", str(error) or "too complex")


def _wrong(path: Path, code: Code, message: str) -> ScriptProblem:
    return ScriptProblem(Place(str(path), 1, 1), message, code=code)


def _syntax_problem(path: Path, error: SyntaxError) -> ScriptProblem:
    return ScriptProblem(Place(error.filename or str(path), error.lineno or 1, max(1, error.offset or 1)), error.msg)


_folders: Final[set[str]] = set()
"""Where modules are looked for because a script lies there."""


def _forget_others(folder: str) -> None:
    """Let no script import what lies beside another one that was loaded before it, as `layby check` does."""
    for other in _folders - {folder}:
        _set_aside(other)
        _folders.remove(other)
        if other in sys.path:
            sys.path.remove(other)


def _set_aside(folder: str) -> dict[str, ModuleType]:
    """Take the script's module and those beside it out of what is imported, so that they are executed anew."""
    if not _of_others:
        _of_others.update(name.partition(".")[0] for name in sys.modules)
    found = {name: module for name, module in sys.modules.items() if name == NAME or _is_beside(module, folder)}
    for name in found:
        del sys.modules[name]
    return found


def _execute(path: Path, code: CodeType, app: App, folder: str) -> ScriptProblem | None:
    """Run the file as a module of its own."""
    if folder not in sys.path:
        _folders.add(folder)
        sys.path.append(folder)  # at the end: nothing that lies beside the script hides what the runtime imports
    importlib.invalidate_caches()
    found = sys.modules[NAME] = ModuleType(NAME)
    found.__file__ = str(path)
    try:
        with registering(app):
            exec(code, found.__dict__)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        return _raised(path, folder, error)
    return None


def _left_running(path: Path, before: set[threading.Thread]) -> list[ScriptProblem]:
    """A warning of threads that the file has started, itself or by what it imports."""
    names = [thread.name for thread in threading.enumerate() if thread not in before]
    if not names:
        return []
    message = f"executing the file leaves {names[0]} running, which the processes that are forked do not have"
    help = "and what it has locked at that moment stays locked there: start it in the process that needs it"
    return [ScriptProblem(Place(str(path), 1, 1), message, "warning", "thread-at-load", help=help)]


def _is_beside(module: ModuleType, folder: str) -> bool:
    """Whether a module is one of the script's own: it lies in the script's folder, and was found by that."""
    file, spec = getattr(module, "__file__", None), getattr(module, "__spec__", None)
    if not isinstance(file, str) or spec is None or not file.startswith(f"{folder}/"):
        return False
    top = module.__name__.partition(".")[0]
    return top not in _of_others and file.startswith((f"{folder}/{top}.", f"{folder}/{top}/"))


_of_others: set[str] = set()
"""What had been imported before the first script was: no module of any script, wherever it lies."""


def _raised(path: Path, folder: str, error: BaseException) -> ScriptProblem:
    """What a script raised while it was executed, at the statement of its own that is nearest."""
    if isinstance(error, SyntaxError):
        return _syntax_problem(path, error)
    place = Place(str(path), 1, 1)
    for frame in traceback.extract_tb(error.__traceback__):
        if frame.filename == str(path) or frame.filename.startswith(f"{folder}/"):
            place = Place(frame.filename, frame.lineno or 1, (frame.colno or 0) + 1)
    return ScriptProblem(place, f"{type(error).__name__}: {error}", code="bad-statement")


def _checked(
    path: Path,
    app: App,
    text: bytes,
    warned: list[ScriptProblem],
    catalog: Mapping[str, type[Module]],
    always: Mapping[str, type[Module]] | None,
    import_module: Callable[[Path], type[Module]],
) -> PyChecked | list[ScriptProblem]:
    sources = _sources(path, text)
    items, problems = _items(app.said, sources)
    own, faults = own_modules(items, catalog, import_module)
    if faults:
        return [*problems, *faults]
    catalog = {**catalog, **own}
    loaded = [module_name(item.name) for item in items if isinstance(item, tree.LoadModule)]
    known = known_of([*(always or {}).values(), *(catalog[name] for name in loaded if name in catalog)])
    routes, found = check_bodies(app.routes, sources, known)
    result = check(path, [*items, *routes], catalog, always)
    said = result.warnings if isinstance(result, Checked) else result
    told = {one for one in (*warned, *problems, *found, *map(_in_python, said)) if not _is_ignored(one, sources)}
    problems = sorted(told, key=lambda one: (one.place, one.message))
    if isinstance(result, list) or any(problem.severity == "error" for problem in problems):
        return problems
    fields = {one.name: getattr(result, one.name) for one in dataclasses.fields(Checked)}
    files = frozenset((str(path), *sources))
    return PyChecked(**{**fields, "warnings": problems, "own": own}, registered=tuple(app.routes), files=files)


def _is_ignored(problem: ScriptProblem, sources: Mapping[str, Source]) -> bool:
    """Whether it is a warning that its line wants ignored."""
    source = sources.get(problem.place.file)
    found = None if source is None or problem.severity == "error" else IGNORED.search(source.line(problem.place.line))
    return found is not None and problem.code in [code.strip() for code in found[1].split(",")]


def _in_python(problem: ScriptProblem) -> ScriptProblem:
    """What the checker says, in the words of this language."""
    message = _LOADMODULE.sub(r'module("\1")', problem.message)
    return dataclasses.replace(problem, message=message, help=_HELP.get(problem.code, problem.help))


_LOADMODULE: Final = re.compile(r'loadmodule "(\w+)\.so"')
_HELP: Final[dict[Code, str]] = {
    "blocking-mi": "write await call.mi(…): the message waits for the answer, and this process serves others meanwhile",
    "reload-not-launched": "write call.launch(call.mi(…), report) unless the message needs the result",
}


def _sources(path: Path, text: bytes) -> dict[str, Source]:
    """The script's files as trees: itself, and the modules beside it."""
    folder = str(path.parent.resolve())
    sources = {str(path): Source(text)}
    for module in list(sys.modules.values()):
        if _is_beside(module, folder):
            file = str(module.__file__)
            try:
                sources[file] = Source(Path(file).read_bytes())
            except (OSError, ValueError, SyntaxError):
                continue  # an extension module, or a file that is not there any more
    return sources


def _items(said: Iterable[Said], sources: Mapping[str, Source]) -> tuple[list[tree.Item], list[ScriptProblem]]:
    items: list[tree.Item] = []
    problems: list[ScriptProblem] = []
    for one in said:
        if one.module is not None:
            items.append(tree.LoadModule(one.module, one.place))
        source = sources.get(one.place.file)
        for name, setting in one.settings.items():
            place = one.place if source is None else source.keyword(one.place, name)
            for value in setting if isinstance(setting, list | tuple) else [setting]:
                if not isinstance(value, int | str):
                    message = f"{name} is a number or a string, not {value!r}"
                    problems.append(ScriptProblem(place, message, code="wrong-type"))
                elif one.module is None:
                    items.append(tree.Setting(name, _kept(value), place))
                else:
                    items.append(tree.ModParam(module_name(one.module), name, _kept(value), place))
    return items, problems


def _kept(value: int | str) -> int | str:
    """Text as the bytes that a cfg script would have."""
    return int(value) if isinstance(value, int) else to_script(value)
