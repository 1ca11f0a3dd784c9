"""Functions and handlers: what a pool may be asked to run, and how a worker runs it. See `workers.targets` as well.

**Two ways to name what is to run.** By the name of a function in the modules that the pool was made with (``"resize"``,
or ``"myapp.jobs:resize"`` where two modules have one of that name); or, where the pool allows imports, by the function
itself, which travels as its import path ``package.module:qualname``. A worker runs nothing else.

An origin need not import the modules: what there is stands in a file in the pool's folder, written where the handlers
are loaded.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import sys
import types
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol, TypeVar, overload

import msgpack
from msgspec import Struct

from workers.errors import BadHandlers, NotImportable
from workers.packing import Codec, codec_named
from workers.worker import Handler, Running

Function = TypeVar("Function", bound=Callable[..., Any])

BY_PATH = "workers.calls:by_path"
"""The handler that runs a function by its import path; only where the pool allows it."""

CHUNK = "workers.calls:chunk"
"""The handler that runs such a function over several items."""

ANY_FUNCTION = "*"
"""Stands among a pool's handlers where functions by their import paths are allowed."""

DESCRIPTION = "handlers.msgpack"
"""The file in a pool's folder that says what can be called."""

MAIN = "__mp_main__"
"""The name under which a worker imports the owner's main program, so that its ``if __name__ == "__main__":`` is not
entered. The same that multiprocessing uses, and for the same reason."""

_MOST_FUNCTIONS = 4096
_importing_main = False

_DECLARED = "__layby_job__"
_ASYNC = "__layby_async__"


class CallSettings(Protocol):
    """What of a pool's settings concerns calls."""

    @property
    def folder(self) -> Path:
        """Where the pool lives."""

    @property
    def handlers(self) -> tuple[str, ...]:
        """Modules (``package.module``), functions (``package.module:function``), and `ANY_FUNCTION`."""

    @property
    def codec(self) -> str:
        """``msgpack`` or ``pickle``."""

    @property
    def main_path(self) -> str | None:
        """The owner's main program."""


class Options(Struct, frozen=True):
    """What `job` declares."""

    idempotent: bool = False
    label: str | None = None
    timeout_s: float | None = None


_PLAIN = Options()


@overload
def job(function: Function, /) -> Function: ...


@overload
def job(
    *, idempotent: bool = False, label: str | None = None, timeout_s: float | None = None
) -> Callable[[Function], Function]: ...


def job(
    function: Function | None = None,
    /,
    *,
    idempotent: bool = False,
    label: str | None = None,
    timeout_s: float | None = None,
) -> Function | Callable[[Function], Function]:
    """Declare something about a handler. The function stays what it is; one that is not declared can be run as well.

    Args:
        function: the handler, where there is nothing to declare.
        idempotent: it may run a second time after its worker died.
        label: under which name its running time is learnt; its own by default. Functions that always take equally long
            may share one.
        timeout_s: its deadline in seconds from the submission, where the submission gives none.

    Raises:
        ValueError: the time limit is not a positive number.

    Example::

        @job(idempotent=True, timeout_s=2.0)
        def resize(path: str, width: int) -> bytes:
            ...
    """
    if timeout_s is not None and not 0.0 < timeout_s < float("inf"):
        raise ValueError(f"not a time limit: {timeout_s}")
    options = Options(idempotent, label, timeout_s)

    def declare(function: Function) -> Function:
        setattr(function, _DECLARED, options)
        return function

    return declare if function is None else declare(function)


def options_of(function: Callable[..., Any]) -> Options:
    """What was declared of a function, or what holds where nothing was."""
    options: Options = getattr(function, _DECLARED, _PLAIN)
    return options


def load(settings: CallSettings) -> dict[str, Handler]:
    """Make the table of what a worker of this pool runs, and publish in its folder what origins have to know of it.

    Raises:
        BadHandlers: a module cannot be imported, has nothing public, or two of them have a function of one name.
    """
    codec = codec_named(settings.codec)
    functions = _find(settings)
    table = {name: _handler(function, codec) for name, function in functions.items()}
    _publish(settings.folder, msgpack.packb(_descriptions(functions)))
    if ANY_FUNCTION in settings.handlers:
        table[BY_PATH] = by_path = _ByPath(codec, settings.main_path)
        table[CHUNK] = by_path.run_chunk
    return table


def any_async(handlers: Mapping[str, Handler]) -> bool:
    """Whether some handler of a table that `load` made is a coroutine function, so that a worker needs an event loop.

    Functions by import path are not known beforehand; a coroutine function among them has its worker to itself.
    """
    return any(getattr(handler, _ASYNC, False) for handler in handlers.values())


def initialize(path: str, main_path: str | None, codec: str, packed: bytes) -> None:
    """Run a pool's initialiser in a worker; it may be a function of the owner's main program."""
    args, kwargs = codec_named(codec).unpack_call(packed)
    resolve(path, main_path)(*args, **kwargs)


def _find(settings: CallSettings) -> dict[str, Callable[..., Any]]:
    """Every function by its full path, and by its own name."""
    found: dict[str, Callable[..., Any]] = {}
    for entry in settings.handlers:
        if entry == ANY_FUNCTION:
            continue
        for path, function in _exposed(entry, settings.main_path).items():
            name = path.partition(":")[2]
            other = found.get(name)
            if other is not None and other is not function:
                raise BadHandlers(f"two handlers are called {name!r}: in {other.__module__} and in {entry}")
            found[name] = found[path] = function
    return found


def _exposed(entry: str, main_path: str | None) -> dict[str, Callable[..., Any]]:
    name, colon, qualname = entry.partition(":")
    try:
        module = _import(name, main_path)
        if colon:
            return {entry: _callable(entry, attribute(module, qualname))}
    except (ImportError, AttributeError, NotImportable) as problem:
        raise BadHandlers(f"handlers {entry!r}: {type(problem).__name__}: {problem}") from problem
    exposed = {f"{name}:{public}": function for public, function in _public(module).items()}
    if not exposed:
        raise BadHandlers(f"handlers {entry!r}: no public function is defined there and __all__ names none")
    return exposed


def _public(module: ModuleType) -> dict[str, Callable[..., Any]]:
    names = getattr(module, "__all__", None)
    if names is not None:
        found = {name: getattr(module, name) for name in names}
        return {name: value for name, value in found.items() if callable(value) and not inspect.isclass(value)}
    return {
        name: value
        for name, value in vars(module).items()
        if not name.startswith("_")
        and callable(value)
        and not inspect.isclass(value)
        and getattr(value, "__module__", None) == module.__name__
    }


def _handler(function: Callable[..., Any], codec: Codec) -> Handler:
    pack, unpack = codec.pack_result, codec.unpack_call

    async def finish(payload: bytes) -> bytes:
        try:
            args, kwargs = unpack(payload)
            return pack(await function(*args, **kwargs))
        except Exception as error:
            return _raised(codec, error)

    def run_async(payload: bytes, running: Running) -> bytes | Awaitable[bytes]:
        from asyncio import run  # workers without such handlers need not load it

        # In a worker without an event loop, as one is for functions by import path, it has the worker to itself.
        return finish(payload) if _is_in_loop() else run(finish(payload))

    def run(payload: bytes, running: Running) -> bytes:
        try:
            if not payload:
                return pack(function())
            args, kwargs = unpack(payload)
            return pack(function(*args, **kwargs) if kwargs else function(*args))
        except Exception as error:
            return _raised(codec, error)

    if not inspect.iscoroutinefunction(function):
        return run
    setattr(run_async, _ASYNC, True)
    return run_async


def _raised(codec: Codec, error: Exception) -> bytes:
    """What to answer for an exception; it goes on where it travels as text, and the worker tells of it."""
    packed = codec.pack_raised(error)
    if packed is None:
        raise error
    return packed


def _is_in_loop() -> bool:
    from asyncio import get_running_loop

    try:
        get_running_loop()
    except RuntimeError:
        return False
    return True


class _ByPath:
    """Runs functions by their import paths, each found once."""

    def __init__(self, codec: Codec, main_path: str | None) -> None:
        self._codec = codec
        self._main_path = main_path
        self._known: dict[bytes, Handler] = {}
        # What is pickled may be an object of a class of the main program, which is to be there beforehand.
        self._main_wanted = main_path is not None and codec.name == "pickle"

    def __call__(self, payload: bytes, running: Running) -> bytes | Awaitable[bytes]:
        path, packed = self._split(payload)
        handler = self._known.get(path)
        if handler is None:
            handler = _handler(resolve(path.decode(), self._main_path), self._codec)
            if len(self._known) >= _MOST_FUNCTIONS:
                self._known.clear()
            self._known[path] = handler
        return handler(packed, running)

    def run_chunk(self, payload: bytes, running: Running) -> bytes:
        """Run one function over rows of arguments; the first failure is that of all."""
        path, packed = self._split(payload)
        try:
            function = resolve(path.decode(), self._main_path)
            rows, _ = self._codec.unpack_call(packed)
            return self._codec.pack_result([function(*row) for row in rows])
        except Exception as error:
            return _raised(self._codec, error)

    def _split(self, payload: bytes) -> tuple[bytes, bytes]:
        if self._main_wanted:
            self._main_wanted = False
            _import("__main__", self._main_path)
        ends = 2 + int.from_bytes(payload[:2], "big")
        return payload[2:ends], payload[ends:]


def apply(function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    """Call what has no import path of its own but can be pickled: a ``partial``, a bound method."""
    return function(*args, **kwargs)


def resolve(path: str, main_path: str | None = None) -> Callable[..., Any]:
    """Import a function.

    Raises:
        NotImportable: the path leads nowhere, or to nothing that can be called.
    """
    module, _, qualname = path.partition(":")
    try:
        return _callable(path, attribute(_import(module, main_path), qualname))
    except (ImportError, AttributeError) as problem:
        raise NotImportable(f"{path}: {problem}") from problem


def _callable(path: str, found: Any) -> Callable[..., Any]:
    if not callable(found):
        raise NotImportable(f"{path} is a {type(found).__name__} and cannot be called")
    function: Callable[..., Any] = found
    return function


def attribute(module: ModuleType, qualname: str) -> Any:
    """What a module has under a dotted name."""
    return functools.reduce(getattr, qualname.split("."), module)


def _import(name: str, main_path: str | None) -> ModuleType:
    global _importing_main
    if name != "__main__":
        return importlib.import_module(name)
    if MAIN in sys.modules:
        return sys.modules[MAIN]
    if main_path is None:
        raise NotImportable("the main program of this pool's owner is no file; put the function into a module")
    import runpy

    # As multiprocessing's spawn does it: pickled names of __main__ are then found as well.
    module = types.ModuleType(MAIN)
    sys.modules[MAIN] = sys.modules["__main__"] = module
    _importing_main = True
    try:
        vars(module).update(runpy.run_path(main_path, run_name=MAIN))
    except BaseException:
        del sys.modules[MAIN]
        raise
    finally:
        _importing_main = False
    return module


def importing_main() -> bool:
    """Whether this process is a worker that is just importing the main program of the pool's owner."""
    return _importing_main


def _descriptions(functions: Mapping[str, Callable[..., Any]]) -> dict[str, list[Any]]:
    found = {}
    for name, function in functions.items():
        options = options_of(function)
        own = name.partition(":")[2] or name
        found[name] = [options.label or own, options.idempotent, options.timeout_s]
    return found


def _publish(folder: Path, description: bytes) -> None:
    # At once or not at all: somebody may be waiting for it.
    part = folder / f"{DESCRIPTION}.part"
    part.write_bytes(description)
    part.replace(folder / DESCRIPTION)
