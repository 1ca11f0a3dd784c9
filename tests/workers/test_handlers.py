"""Handlers by import path."""

from __future__ import annotations

import json

import pytest

from workers.handlers import NoSuchHandler, load_handlers


def test_paths_lead_to_functions() -> None:
    assert load_handlers(["json:loads", "json:dumps"]) == {"json:loads": json.loads, "json:dumps": json.dumps}


@pytest.mark.parametrize(
    "path", ["", "json", "json:", ":loads", "json:no_such", "no_such_module:f", "json:__name__", "json:loads:x"]
)
def test_what_leads_nowhere_is_refused_by_its_path(path: str) -> None:
    with pytest.raises(NoSuchHandler) as refused:
        load_handlers(["json:loads", path])
    assert path in str(refused.value)
