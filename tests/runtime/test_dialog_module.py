"""Module dialog's parameters."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from mi_script.commands import Json, MiError, Params
from runtime.dialogs.store import DialogStore
from runtime.modules import dialog_lists
from runtime.modules.dialog import DialogModule
from runtime.modules.dialog_lists import AT_ONCE
from runtime.settings import SettingsError
from runtime.sip.dialog import Dialog
from runtime.sip.dialog_words import Leg


def test_profiles_by_name() -> None:
    module = DialogModule({"profiles_with_value": "caller; callee/b ;", "profiles_no_value": " inbound/s"})
    assert module.profiles == {"inbound": False, "caller": True, "callee": True}


@pytest.mark.parametrize(
    "wrong",
    [
        {"default_timeout": 0},
        {"options_ping_interval": 0},
        {"hash_size": 3},
        {"hash_size": 0},
        {"dlg_match_mode": 3},
        {"db_mode": 4},
        {"db_update_period": 0},
    ],
)
def test_parameters_that_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match=next(iter(wrong))):
        DialogModule(wrong)


def test_a_list_that_is_too_long_is_refused_and_a_long_one_lets_others_have_their_turn(tmp_path, monkeypatch) -> None:
    limit = 500
    monkeypatch.setattr(dialog_lists, "MAX_LISTED", limit)
    store = DialogStore(tmp_path / "dialogs")
    module: Any = DialogModule({"profiles_no_value": "all", "profiles_with_value": "caller"})
    module.store, module.house = store, SimpleNamespace(sockets=[])
    for number in range(limit + 1):
        dialog = Dialog(number, f"call-{number}", 0.0, 100, Leg(tag="a", cseq=1), Leg(sent=1))
        dialog.begin(0.0)
        dialog.profiles = [("all", ""), ("caller", f"u{number:04}")]
        store.create(dialog)

    async def listed(params: dict[str, Json]) -> int:
        turns = 0

        async def others() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        beside = asyncio.ensure_future(others())
        try:
            found = await module.dlg_list(Params(params))
        finally:
            beside.cancel()
        assert turns >= len(found["Dialogs"]) // AT_ONCE
        return len(found["Dialogs"])

    assert asyncio.run(listed({"index": 10, "counter": limit})) == limit - 9
    for params in ({}, {"index": 0, "counter": 10**6}):
        with pytest.raises(MiError, match="Too many dialogs"):
            asyncio.run(listed(params))
    with pytest.raises(MiError, match="Too many dialogs"):
        asyncio.run(module.profile_list_dlgs(Params({"profile": "all"})))
    values = asyncio.run(module.profile_get_values(Params({"profile": "caller"})))
    assert values == [{"value": f"u{number:04}", "count": 1} for number in range(limit + 1)]
    assert len(module.dlg_list(Params({"index": 0, "counter": AT_ONCE - 1}))["Dialogs"]) == AT_ONCE - 1, "at once"
    store.close()
