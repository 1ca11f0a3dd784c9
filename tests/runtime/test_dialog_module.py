"""Module dialog's parameters."""

from __future__ import annotations

from typing import Any

import pytest

from runtime.modules.dialog import DialogModule
from runtime.settings import SettingsError


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
