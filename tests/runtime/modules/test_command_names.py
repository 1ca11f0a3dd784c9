"""Every MI command goes by a name of OpenSIPS 4.0, `module:command`, too."""

from __future__ import annotations

import pytest

from mi_script.builtin import register_builtin
from mi_script.calls import Call, Cause, prepare
from mi_script.commands import Registry, commands_of
from runtime.modules.catalog import ALWAYS, CATALOG

CORE = {"core", "statistics", "evi", "status_report", "mi", "jobs", "mem", "tcp", "shm", "timeline"}
"""Before the colon of the commands that come without a module."""
OTHERS = {"cachedb_local": {"cache", "cachedb"}}
"""OpenSIPS 4.0's, where it is not the module's own name."""


@pytest.fixture(scope="module")
def registry():
    registry = Registry()
    register_builtin(registry)
    for name, module in {**ALWAYS, **CATALOG}.items():
        registry.extend(commands_of(module, "core" if name in ALWAYS else name))
    return registry


def test_every_command_has_a_name_with_its_module_in_it(registry):
    for command in registry:
        prefixes = {name.partition(":")[0] for name in command.names if ":" in name}
        known = CORE if command.module == "core" else {command.module} | OTHERS.get(command.module, set())
        assert prefixes, f"{command.name} has no such name"
        assert prefixes <= known, command.names


def test_what_stands_behind_the_colon_finds_the_only_one_or_says_which_there_are(registry):
    for command in registry:
        for name in command.names:
            local = name.rpartition(":")[2]
            meant = {registry.find(one).name for one in registry.called(local)}
            found = registry.find(local)
            if found is None:
                fault = prepare(registry, Call(local))
                assert (fault.code, fault.cause, len(meant) > 1) == (-32001, Cause.UNKNOWN, True)
                assert name in fault.data
            else:
                assert local in found.names or meant == {found.name}
