"""Module cachedb_local: which collection a store's name means, for scripts and for MI."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from mi_script.commands import MiError, Params
from runtime.counters import COUNTERS
from runtime.modules.cachedb_local import CachedbLocal
from runtime.settings import SettingsError
from runtime.statistics import Statistics
from runtime.store import Store


@pytest.fixture
def module(tmp_path):
    store = Store(tmp_path / "store")
    urls = ["local:///main", "local:group:///chunks", "local:bare://", "local:host://127.0.0.1/there"]
    one: Any = CachedbLocal({"cachedb_url": urls})
    statistics = Statistics(1)
    statistics.declare("cdb", COUNTERS["cdb"])
    one.house, one.process = SimpleNamespace(statistics=statistics), SimpleNamespace(store=store)
    yield one
    store.close()


@pytest.mark.parametrize(
    ("system", "collection"),
    [
        ("local", "main"),
        ("local:group", "chunks"),
        ("local:bare", ""),
        ("local:host", "there"),
        ("local:other", "other"),
        ("local:ü", "ü"),
    ],
)
def test_a_store_s_collection(module, system, collection):
    script_name = system.encode().decode("latin-1")
    assert module.cache_store(None, script_name, "k", "v", None) == 1
    assert module.mi_cache_fetch(Params({"system": system, "attr": "k"})) == {"key": "k", "value": "v"}
    chunk = {"glob": "*", **({"collection": collection} if collection else {})}
    assert module.mi_cache_fetch_chunk(Params(chunk)) == {"keys": [{"name": "k", "value": "v"}]}
    assert module.mi_cache_remove_chunk(Params(chunk)) == "OK"
    assert module.cache_fetch(None, script_name, "k", None) == -2


@pytest.mark.parametrize("url", ["", "local", "redis:x:///y", "local:a:b:///c", "local:a/b:///c"])
def test_addresses_that_are_none(url):
    with pytest.raises(SettingsError, match="is no store"):
        CachedbLocal({"cachedb_url": [url]})


def test_what_is_too_much_for_an_answer_is_refused(module, monkeypatch):
    monkeypatch.setattr("runtime.modules.cachedb_local.MAX_CHUNK", 1000)
    for number in range(3):
        module.cache_store(None, "local:big", f"k{number}", "v" * 400, None)
    with pytest.raises(MiError, match="Cache fetch chunk command failed"):
        module.mi_cache_fetch_chunk(Params({"glob": "*", "collection": "big"}))
    assert len(module.mi_cache_fetch_chunk(Params({"glob": "k[01]", "collection": "big"}))["keys"]) == 2
