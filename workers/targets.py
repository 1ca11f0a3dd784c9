"""Where calls go: what an origin knows of the functions that a pool runs. The worker's side is in `workers.calls`."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import msgpack
from msgspec import Struct

from workers.calls import BY_PATH, CHUNK, DESCRIPTION, apply, attribute, options_of
from workers.errors import NoSuchJob, NotImportable
from workers.packing import Codec

_MOST_FUNCTIONS = 4096


class Target(Struct, frozen=True):
    """Where a call goes, as its origin knows it.

    Args:
        handler: the handler's name on the wire.
        label: under which name running times are learnt.
        idempotent: whether it may run a second time.
        timeout_s: its own deadline in seconds, or None.
        prefix: what stands before the packed arguments.
        applied: whether the callable itself goes along as the first argument (`apply`).
    """

    handler: str
    label: str
    idempotent: bool = False
    timeout_s: float | None = None
    prefix: bytes = b""
    applied: bool = False


def published(folder: Path) -> bytes | None:
    """What can be called in the pool that lives there, for `Targets`; None when that is not known yet."""
    try:
        return (folder / DESCRIPTION).read_bytes()
    except FileNotFoundError:
        return None


class Targets:
    """What can be called in one pool, as seen by an origin.

    Args:
        description: as `published` gives it.
        allow_imports: whether functions run by import path.
        codec: the pool's codec; with pickle, callables without a path of their own can be sent too.
    """

    def __init__(self, description: bytes, *, allow_imports: bool, codec: Codec) -> None:
        described: dict[str, list[Any]] = msgpack.unpackb(description)
        # A function has two names and is one target: its short name goes over the wire.
        self._named = {
            name: Target(name.partition(":")[2] or name, label, idempotent, timeout_s)
            for name, (label, idempotent, timeout_s) in described.items()
        }
        self._allow_imports = allow_imports
        self._codec = codec
        self._functions: dict[Callable[..., Any], Target] = {}

    @property
    def allow_imports(self) -> bool:
        """Whether functions run by import path."""
        return self._allow_imports

    def of(self, what: str | Callable[..., Any]) -> Target:
        """Where a call goes.

        Raises:
            NoSuchJob: no handler has that name.
            NotImportable: the function has no import path, or the pool runs no functions by import path.
        """
        target = self._named.get(what) if type(what) is str else self._functions.get(what)  # type: ignore[arg-type]
        if target is not None:
            return target
        if isinstance(what, str):
            raise NoSuchJob(f"no handler {what!r}; {_names(self._named)}")
        return self._learn(what)

    def _learn(self, function: Callable[..., Any]) -> Target:
        try:
            path = path_of(function)
        except NotImportable:
            if self._codec.name != "pickle" or _is_nested(function):
                raise
            path = None
        known = self._named.get(path) if path is not None else None
        target = known or self._by_path(path, function)
        if path is not None:
            if len(self._functions) >= _MOST_FUNCTIONS:
                self._functions.clear()
            self._functions[function] = target
        return target

    def _by_path(self, path: str | None, function: Callable[..., Any]) -> Target:
        if not self._allow_imports:
            shown = path or repr(function)
            raise NotImportable(
                f"this pool runs only its own handlers, and {shown} is none of them; name its module in handlers=, or "
                "make the pool with allow_imports=True"
            )
        options = options_of(function)
        label = options.label or path or type(function).__qualname__
        prefix = _prefix(path or f"{apply.__module__}:{apply.__name__}")
        return Target(BY_PATH, label, options.idempotent, options.timeout_s, prefix, applied=path is None)

    def chunk_of(self, function: Callable[..., Any], size: int) -> Target:
        """Where calls go that run a function over so many rows of arguments.

        Raises:
            NotImportable: it has no import path.
        """
        single = self.of(function)
        return Target(CHUNK, f"{single.label} x {size}", single.idempotent, None, _prefix(path_of(function)))


def _names(named: Iterable[str]) -> str:
    names = sorted(name for name in named if ":" not in name)
    return f"the pool has {', '.join(names)}" if names else "the pool has none; submit the function itself"


def path_of(function: Callable[..., Any]) -> str:
    """The import path of a function.

    Raises:
        NotImportable: it has none, because it is a lambda, is nested in another function, or is bound to an object.
    """
    module = getattr(function, "__module__", None)
    qualname = getattr(function, "__qualname__", None)
    if module is None and (owner := getattr(function, "__objclass__", None)) is not None:
        module = owner.__module__  # a method of a type written in C, e.g. str.upper
    if not (isinstance(module, str) and isinstance(qualname, str)):
        raise NotImportable(
            f"{function!r} is an object and no function of a module; write a function that calls it, at the top level "
            'of a module, or make the pool with codec="pickle"'
        )
    if _is_nested(function):
        what = "a lambda" if "<lambda>" in qualname else f"{qualname.rpartition('.')[2]!r}, defined in a function,"
        raise NotImportable(
            f"{what} has no import path that a worker could follow; write a function at the top level of a module and "
            "pass what it needs as arguments"
        )
    path = f"{module}:{qualname}"
    try:
        found = attribute(sys.modules.get(module) or importlib.import_module(module), qualname)
    except (ImportError, AttributeError):
        found = None
    if found is not function and found != function:
        raise NotImportable(
            f"{path} leads to something else than {function!r}, which a worker could therefore not find; submit what "
            "stands there"
        )
    return path


def _is_nested(function: Callable[..., Any]) -> bool:
    qualname = getattr(function, "__qualname__", "")
    return isinstance(qualname, str) and ("<locals>" in qualname or "<lambda>" in qualname)


def _prefix(path: str) -> bytes:
    encoded = path.encode()
    return len(encoded).to_bytes(2, "big") + encoded
