"""Handlers by their names: the import paths under which jobs ask for them."""

from __future__ import annotations

import importlib
from collections.abc import Iterable

from workers.worker import Handler


class NoSuchHandler(ValueError):
    """An import path leads to nothing that can be called; the text says to what."""


def load_handlers(paths: Iterable[str]) -> dict[str, Handler]:
    """Import handlers, for the table of a `Node`.

    Only what its owner names here can ever be run: the path in a job is looked up in this table and never imported.

    Args:
        paths: ``package.module:function``, each a callable ``(payload: bytes, running: Running)`` that gives bytes, or
            something to await for them.

    Returns:
        The functions by their paths.

    Raises:
        NoSuchHandler: a path is malformed, cannot be imported, or names nothing that can be called.
    """
    return {path: _load(path) for path in paths}


def _load(path: str) -> Handler:
    module, colon, name = path.partition(":")
    if not (colon and module and name):
        raise NoSuchHandler(f"{path!r} is no import path; write package.module:function")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise NoSuchHandler(f"{path}: {error}") from error
    if not callable(found):
        raise NoSuchHandler(f"{path} is a {type(found).__name__} and cannot be called")
    handler: Handler = found
    return handler
