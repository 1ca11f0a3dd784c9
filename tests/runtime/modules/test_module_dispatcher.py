"""Settings of module dispatcher that cannot be: each is told before the server starts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from runtime.attendant import furnish
from runtime.folder import RuntimeFolder
from runtime.house import House
from runtime.modules.dispatcher import Dispatcher
from runtime.program import Program
from runtime.settings import SettingsError, settle


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"ds_probing_mode": 2}, "ds_probing_mode is 0 or 1"),
        ({"ds_probing_threshhold": 0}, "ds_probing_threshhold 1 or more"),
        ({"ds_ping_interval": -1}, "ds_ping_interval 0 or more"),
        ({"ds_ping_maxfwd": 256}, "ds_ping_maxfwd is from 0 to 255"),
        ({"ds_ping_from": "prober"}, "prober is no URI"),
        ({"ds_ping_method": "two words"}, "two words is no method"),
        ({"options_reply_codes": "404, x"}, "'404, x' is no list of numbers"),
        ({"ds_probing_list": "1;2"}, "'1;2' is no list of numbers"),
        ({"fetch_freeswitch_stats": 1}, "fetch_freeswitch_stats is not offered"),
        ({"dst_avp": "dst"}, "'dst' is no AVP"),
        ({"partition": ["far"]}, 'partition "far"'),
    ],
)
def test_a_setting_that_cannot_be_is_refused(settings: dict[str, Any], why: str) -> None:
    usual = {one.name: [] if one.repeats else one.default for one in Dispatcher.parameters}

    with pytest.raises(SettingsError, match=why.replace("(", r"\(")):
        Dispatcher({**usual, **settings})


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    """A server, before its first fork, whose script loads nothing."""
    script = tmp_path / "none.cfg"
    script.write_text("route { exit; }\n")
    folder = RuntimeFolder.make(tmp_path / "run")
    made = furnish(Program.load(script), settle({}, [], udp_workers=1), folder, [], [])
    yield made
    made.handover.close()
    folder.close()


@pytest.mark.parametrize(
    ("head", "why"),
    [
        ("", "no database: set the module's db_url, or db_default_url"),
        ('modparam("dispatcher", "db_url", "sqlite:/nowhere/at/all.db")', "unable to open database file"),
        ('modparam("dispatcher", "hash_pvar", "$nothing")', r"there is no variable \$nothing"),
        ('modparam("dispatcher", "setid_pvar", "$ci")', "cannot be (changed|written)|read-only"),
        ('modparam("dispatcher", "algo_route", "nowhere")', r"there is no route\[nowhere\]"),
        ('modparam("dispatcher", "ds_probing_sock", "udp:192.0.2.1:5060")', "udp:192.0.2.1:5060 is no socket"),
    ],
)
def test_what_only_a_server_can_know_is_told_when_it_starts(tmp_path: Path, house: House, head: str, why: str) -> None:
    script = tmp_path / "some.cfg"
    script.write_text(f'loadmodule "dispatcher.so"\n{head}\nroute {{ exit; }}\n')
    house.program = Program.load(script)

    with pytest.raises(SettingsError, match=why):
        house.program.modules["dispatcher"].furnish(house)
