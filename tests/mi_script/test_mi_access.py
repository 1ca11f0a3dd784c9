"""What settings say of who may run what."""

from __future__ import annotations

import pytest

from mi_script.access import Access, UnknownName, access_of, named, words


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        (" , ", []),
        ("ps", ["ps"]),
        ("ps uptime", ["ps", "uptime"]),
        ("ps, uptime ,\n\tdlg_*,, kill", ["ps", "uptime", "dlg_*", "kill"]),
    ],
)
def test_words(text, expected):
    assert words(text) == expected


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("uptime", {"uptime"}),
        ("dr_reload", {"dr_reload"}),
        ("drouting:reload", {"dr_reload"}),
        ("reload", {"dr_reload"}),
        ("cache_*", {"cache_store", "cache_fetch"}),
        ("drouting:*", {"dr_reload"}),
        ("core:*", {"which", "help"}),
        ("broken*", {"broken", "broken_later"}),
    ],
)
def test_a_word_names_commands(registry, word, expected):
    assert named(registry, word) == expected


def test_all_and_all_of_a_module(registry):
    everything = frozenset(registry.names())
    assert named(registry, "*") == everything
    assert named(registry, "demo:*") == everything - {"which", "help"}


@pytest.mark.parametrize("word", ["nosuch", "uptime:", "demo:uptime", "nosuch:*", "UPTIME", "cache_?", "*time"])
def test_a_word_that_names_nothing_is_told(registry, word):
    with pytest.raises(UnknownName) as told:
        access_of(registry, [], ["ps, uptime".replace("ps", "echo"), f"which {word}"])
    assert told.value.word == word


def test_settings_become_access(registry):
    assert access_of(registry, [], []) is access_of(registry, [" "], [","]) is None
    assert access_of(registry, ["uptime", "cache_*"], []) == Access(frozenset({"uptime", "cache_store", "cache_fetch"}))
    assert access_of(registry, [], ["reload"]) == Access(None, frozenset({"dr_reload"}))
