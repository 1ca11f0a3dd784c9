"""Module cachedb_local: a key-value store that all processes share, for scripts and MI."""

from __future__ import annotations

import re
from typing import Any, Final

from mi_script.commands import INVALID_PARAMS, Json, MiError, Params, command
from runtime.clock import epoch_now
from runtime.context import Context
from runtime.modules.base import RuntimeModule
from runtime.modules.texts import bytes_text, script_text
from runtime.script.changes import integer_of
from runtime.script.declare import Kind, Param, Parameter, Ref, function, ignored
from runtime.settings import SettingsError
from runtime.store import StoreError

SYSTEM: Final = "local"
DEFAULT_COLLECTION: Final = "default"
MAX_EXPIRE_S: Final = 1 << 31
MAX_CHUNK: Final = 8 << 20
"""Bytes of names and values in one answer."""
_URL: Final = re.compile(rf"{SYSTEM}(?::(?P<name>[^:/\0]+))?://[^/\0]*(?:/(?P<collection>[^\0]*))?")
_COUNTED: Final = (
    Param("system", Kind.STRING),
    Param("attr", Kind.STRING),
    Param("amount", Kind.INTEGER),
    Param("expire", Kind.INTEGER, optional=True),
    Param("result", Kind.OUTPUT, optional=True),
)


class CachedbLocal(RuntimeModule):
    """The module as a script loads it.

    A store is named ``local`` or, for a collection of its own, ``local:NAME``.
    """

    name = "cachedb_local"
    parameters = (
        Parameter(
            "cachedb_url",
            str,
            repeats=True,
            doc="`local:NAME:///COLLECTION`: which collection the store `local:NAME` is, where it is not NAME.",
        ),
        ignored("cache_collections", str, "", "each `local:NAME` is a store of its own as soon as it is used."),
        Parameter("cache_clean_period", int, 600, doc="Seconds between two sweeps of values whose time is over."),
    )

    def __init__(self, settings: dict[str, Any] | None = None) -> None:
        super().__init__(settings)
        self._collections = dict(map(_url, self.settings["cachedb_url"]))

    def _collection_of(self, system: str) -> str | None:
        """Which collection ``local`` or ``local:NAME`` means; None for a system that is not served."""
        self.house.statistics.count("cdb:cdb_total_queries")
        kind, _, name = system.partition(":")
        if kind != SYSTEM or "\0" in name:
            return None
        return self._collections.get(name, name or DEFAULT_COLLECTION)

    # Script functions.

    @function(
        "cache_store",
        Param("system", Kind.STRING),
        Param("attr", Kind.STRING),
        Param("value", Kind.STRING),
        Param("expire", Kind.INTEGER, optional=True),
    )
    def cache_store(self, c: Context, system: str, attr: str, value: str, expire: int | None) -> int:
        """Store a value under a name, for `expire` seconds or for good."""
        collection = self._collection_of(system)
        if collection is None:
            return -1
        try:
            self.process.store.put(collection, attr, value, _end_of_life(expire))
        except StoreError:
            return -1
        return 1

    @function("cache_fetch", Param("system", Kind.STRING), Param("attr", Kind.STRING), Param("result", Kind.OUTPUT))
    def cache_fetch(self, c: Context, system: str, attr: str, result: Ref) -> int:
        """Fetch a value into a variable; -2 when there is none."""
        value = self._fetched(system, attr)
        if isinstance(value, int):
            return value
        result.set(c, value)
        return 1

    @function("cache_remove", Param("system", Kind.STRING), Param("attr", Kind.STRING))
    def cache_remove(self, c: Context, system: str, attr: str) -> int:
        """Forget a value; succeeds also when there was none."""
        collection = self._collection_of(system)
        if collection is None:
            return -1
        try:
            self.process.store.remove(collection, attr)
        except StoreError:
            return -1
        return 1

    @function(
        "cache_counter_fetch", Param("system", Kind.STRING), Param("attr", Kind.STRING), Param("result", Kind.OUTPUT)
    )
    def cache_counter_fetch(self, c: Context, system: str, attr: str, result: Ref) -> int:
        """Fetch a number into a variable, as an integer; -2 when there is none, -1 for what is no number."""
        value = self._fetched(system, attr)
        if isinstance(value, int):
            return value
        number = integer_of(value)
        if number is None:
            return -1
        result.set(c, number)
        return 1

    def _fetched(self, system: str, attr: str) -> str | int:
        """A value, or what the function that was to fetch it gives instead."""
        collection = self._collection_of(system)
        if collection is None:
            return -1
        try:
            value = self.process.store.get(collection, attr, epoch_now())
        except StoreError:
            return -1
        return -2 if value is None else value

    @function("cache_add", *_COUNTED)
    def cache_add(self, c: Context, system: str, attr: str, amount: int, expire: int | None, result: Ref | None) -> int:
        """Add to a number, in one step for all processes, and say what it is now; one that is not there counts as 0.

        An `expire` above 0 gives it that many seconds from now on. -1 where what is stored is no number.
        """
        return self._add(c, system, attr, amount, expire, result)

    @function("cache_sub", *_COUNTED)
    def cache_sub(self, c: Context, system: str, attr: str, amount: int, expire: int | None, result: Ref | None) -> int:
        """Take from a number, as `cache_add()` adds to it."""
        return self._add(c, system, attr, -amount, expire, result)

    def _add(self, c: Context, system: str, attr: str, amount: int, expire: int | None, result: Ref | None) -> int:
        collection = self._collection_of(system)
        if collection is None:
            return -1
        try:
            total = self.process.store.add(collection, attr, amount, epoch_now(), _end_of_life(expire))
        except StoreError:
            return -1
        if result is not None:
            result.set(c, total)
        return 1

    # MI commands. Their strings are real text; the store holds what scripts hold, bytes spelled as latin-1.

    @command(
        "cache_store",
        ("system", "attr", "value"),
        ("system", "attr", "value", "expire"),
        idempotent=True,
        aliases=("cache:store", "cachedb:store"),
        instead="cache_store()",
    )
    def mi_cache_store(self, params: Params) -> Json:
        """Store a value in the cache of all processes, for `expire` seconds or for good."""
        collection, attr = self._known(params, "store"), _given(params, "attr", "attribute name")
        value = _given(params, "value", "value")
        if params.integer("expire", 0) < 0:
            raise _invalid("Negative expire value")
        try:
            self.process.store.put(collection, attr, value, _end_of_life(params.integer("expire", 0)))
        except StoreError as error:
            raise MiError(500, "Cache store command failed", str(error)) from error
        return "OK"

    @command(
        "cache_fetch",
        ("system", "attr"),
        idempotent=True,
        aliases=("cache:fetch", "cachedb:fetch"),
        instead="cache_fetch()",
    )
    def mi_cache_fetch(self, params: Params) -> Json:
        """Fetch a value from the cache of all processes."""
        collection, attr = self._known(params, "fetch"), _given(params, "attr", "attribute name")
        try:
            value = self.process.store.get(collection, attr, epoch_now())
        except StoreError as error:
            raise MiError(500, "Cache fetch command failed", str(error)) from error
        if value is None:
            raise MiError(400, "Value not found")
        return {"key": params.text("attr"), "value": script_text(value)}

    @command(
        "cache_remove",
        ("system", "attr"),
        idempotent=True,
        aliases=("cache:remove", "cachedb:remove"),
        instead="cache_remove()",
    )
    def mi_cache_remove(self, params: Params) -> Json:
        """Forget a value in the cache of all processes."""
        collection, attr = self._known(params, "remove"), _given(params, "attr", "attribute name")
        try:
            self.process.store.remove(collection, attr)
        except StoreError as error:
            raise MiError(500, "Cache remove command failed", str(error)) from error
        return "OK"

    def _known(self, params: Params, verb: str) -> str:
        collection = self._collection_of(_given(params, "system", "memory cache id"))
        if collection is None:
            raise MiError(500, f"Cache {verb} command failed", f"no cache system {params.text('system')!r:.80}")
        return collection

    @command(
        "cache_fetch_chunk",
        ("glob",),
        ("glob", "collection"),
        idempotent=True,
        cost="slow",
        aliases=("cachedb_local:fetch_chunk",),
    )
    def mi_cache_fetch_chunk(self, params: Params) -> Json:
        """The values of a collection whose names match a pattern of the shell's kind, e.g. ``user_*``."""
        collection, glob = _chunk(params)
        keys: list[Json] = []
        size = 0
        for name, value in self.process.store.matching(collection, glob, epoch_now()):
            size += len(name) + len(value)
            if size > MAX_CHUNK:
                raise MiError(500, "Cache fetch chunk command failed", f"more than {MAX_CHUNK} bytes match")
            keys.append({"name": script_text(name), "value": script_text(value)})
        return {"keys": keys}

    @command(
        "cache_remove_chunk",
        ("glob",),
        ("glob", "collection"),
        idempotent=True,
        cost="slow",
        aliases=("cachedb_local:remove_chunk",),
    )
    def mi_cache_remove_chunk(self, params: Params) -> Json:
        """Forget the values of a collection whose names match a pattern of the shell's kind, e.g. ``user_*``."""
        collection, glob = _chunk(params)
        try:
            self.process.store.remove_matching(collection, glob)
        except StoreError as error:
            raise MiError(500, "Cache remove chunk command failed", str(error)) from error
        return "OK"


def _url(text: str) -> tuple[str, str]:
    """Name and collection."""
    found = _URL.fullmatch(text)
    if found is None:
        raise SettingsError(f'"{text}" is no store: "local:name:///collection" is', text)
    return found["name"] or "", found["collection"] or DEFAULT_COLLECTION


def _given(params: Params, name: str, what: str) -> str:
    """A parameter that may not be empty, as scripts have it."""
    text = params.text(name)
    if not text:
        raise _invalid(f"Empty {what}")
    return bytes_text(text)


def _chunk(params: Params) -> tuple[str, str]:
    """Collection and pattern."""
    collection = bytes_text(params.text("collection", "")) or DEFAULT_COLLECTION
    if "\0" in collection:
        raise MiError(400, "Invalid collection")
    return collection, _given(params, "glob", "glob")


def _invalid(data: str) -> MiError:
    return MiError(INVALID_PARAMS, "Invalid params", data)


def _end_of_life(expire_s: int | None) -> float:
    if expire_s is not None and not 0 <= expire_s <= MAX_EXPIRE_S:
        raise StoreError(f"expire must be from 0 (never) to {MAX_EXPIRE_S} seconds")
    return epoch_now() + expire_s if expire_s else 0.0
