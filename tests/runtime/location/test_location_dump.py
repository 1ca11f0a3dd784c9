"""All bindings in one answer, and what becomes of more than it can hold."""

from __future__ import annotations

from pathlib import Path

import pytest

from mi_script.commands import MiError, Params
from runtime.clock import epoch_now
from runtime.location.bindings import Limits, Registration, Wanted, register
from runtime.location.store import Locations, User
from runtime.modules import usrloc_commands
from runtime.modules.usrloc import Usrloc
from runtime.store import Store

FULL, BRIEF = Params({}), Params({"brief": "brief"})


def test_more_than_an_answer_holds_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, module = Store(tmp_path / "store"), Usrloc()
    module.locations, module.domains, module.records = Locations(store), frozenset(["location"]), False
    for name in ("alice", "bob"):
        wanted = Registration("call", 1, (Wanted(f"sip:{name}@h", 60), Wanted(f"sip:{name}@i", 60)))
        module.locations.change(
            User("location", name),
            lambda old, first, wanted=wanted: register(old, wanted, Limits(), epoch_now(), first_id=first),
            mark=False,
        )
    for limit, name, params in ((4, "MAX_DUMPED", FULL), (2, "MAX_BRIEF", BRIEF)):
        monkeypatch.setattr(usrloc_commands, name, limit)
        (domain,) = module.ul_dump(params)["Domains"]
        assert [one["AOR"] for one in domain["AORs"]] == ["alice", "bob"]
        monkeypatch.setattr(usrloc_commands, name, limit - 1)
        with pytest.raises(MiError, match="Too many contacts"):
            module.ul_dump(params)
    store.close()
