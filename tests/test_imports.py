"""The architecture, read from the imports: packages import downwards, and a core performs nothing."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MAY_IMPORT = {
    "workers": {"workers"},
    "mi_script": {"mi_script", "workers"},
    "runtime": {"runtime", "mi_script", "workers"},
}
CORES = frozenset(
    [
        "workers.jobs",
        "workers.dispatch",
        "workers.elastic",
        "workers.habits",
        "workers.lanes",
        "workers.policy",
        "workers.stimuli",
        "workers.suspensions",
        "workers.supervision",
        "workers.wire",
        "workers.terms",
        "workers.tree_events",
        "mi_script.access",
        "mi_script.commands",
        "mi_script.calls",
        "mi_script.jsonrpc",
        "mi_script.openapi",
        "mi_script.execute",
        "mi_script.script",
        "mi_script.builtin",
        "runtime.acc.accounts",
        "runtime.acc.records",
        "runtime.context",
        "runtime.drouting.choice",
        "runtime.drouting.lookup",
        "runtime.drouting.recurrence",
        "runtime.drouting.rows",
        "runtime.drouting.rules",
        "runtime.drouting.timerec",
        "runtime.dispatching.aside",
        "runtime.dispatching.choosing",
        "runtime.dispatching.destinations",
        "runtime.dispatching.generation",
        "runtime.dispatching.partitions",
        "runtime.cpu_load",
        "runtime.dialogs.paging",
        "runtime.errors",
        "runtime.inline_times",
        "runtime.listen",
        "runtime.packed",
        "runtime.probe_schedule",
        "runtime.modules.drouting_calls",
        "runtime.roles",
        "runtime.runs",
        "runtime.streaming",
        "runtime.subscriptions",
        "runtime.sip.*",
        "runtime.script.*",
        "runtime.simulation.chance",
        "runtime.simulation.coverage",
        "runtime.simulation.diagram",
        "runtime.simulation.drafts",
        "runtime.simulation.events",
        "runtime.simulation.oracle",
        "runtime.simulation.peers",
        "runtime.simulation.plan",
        "runtime.simulation.programs",
        "runtime.simulation.run",
        "runtime.simulation.shrinking",
        "runtime.simulation.facts",
        "runtime.simulation.findings",
        "runtime.simulation.fulfilling",
        "runtime.simulation.matching",
        "runtime.simulation.traffic",
        "runtime.simulation.wishes",
        "runtime.demo.figures",
        "runtime.traffic.calls",
        "runtime.traffic.request",
        "runtime.traffic.spread",
        "runtime.bench.compare",
        "runtime.bench.knee",
        "runtime.bench.plan",
        "runtime.bench.plots",
        "runtime.bench.results",
        "runtime.bench.statistics",
        "runtime.bench.summary",
        "runtime.location.answers",
        "runtime.location.bindings",
        "runtime.location.contact",
        "runtime.location.domains",
        "runtime.location.events",
        "runtime.location.flags",
        "runtime.location.registration",
        "runtime.pyscript.avps",
        "runtime.pyscript.functions",
        "runtime.pyscript.variables",
        "runtime.pyscript.words",
        "runtime.tracing.arrows",
        "runtime.tracing.events",
        "runtime.tracing.order",
        "runtime.tracing.picture",
        "runtime.tracing.records",
        "runtime.tracing.summary",
        "runtime.tracing.timeline",
    ]
)
CHOICES = {"runtime.compiled"}  # which of two ways to do the same a core takes, decided once, at import
SHELLS = {"runtime.sip.ownership"}  # stands beside the cores that it serves, and waits for other processes
PERFORMS = set(
    [
        "asyncio",
        "fcntl",
        "lmdb",
        "mmap",
        "multiprocessing",
        "os",
        "random",
        "secrets",
        "select",
        "selectors",
        "signal",
        "socket",
        "sqlalchemy",
        "ssl",
        "subprocess",
        "threading",
        "time",
        "uvloop",
        "zmq",
    ]
)


def modules() -> dict[str, Path]:
    found = {}
    for package in MAY_IMPORT:
        for path in (ROOT / package).rglob("*.py"):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


def is_core(name: str) -> bool:
    if name in SHELLS or name not in MODULES:
        return False
    return any(name == core or (core.endswith(".*") and name.startswith(core[:-1])) for core in CORES)


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            assert node.module is not None
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_every_named_core_exists() -> None:
    assert [core for core in CORES if not core.endswith(".*") and core not in MODULES] == []


@pytest.mark.parametrize("name", MODULES)
def test_packages_import_downwards(name: str) -> None:
    package = name.partition(".")[0]
    ours = {found.partition(".")[0] for found in imports(MODULES[name])} & set(MAY_IMPORT)
    assert ours <= MAY_IMPORT[package]


@pytest.mark.parametrize("name", [name for name in MODULES if is_core(name)])
def test_a_core_performs_nothing_and_knows_no_shell(name: str) -> None:
    found = set(imports(MODULES[name]))
    assert {one.partition(".")[0] for one in found} & PERFORMS == set()
    known = {one for one in found if one in MODULES and MODULES[one].name != "__init__.py"}
    assert {one for one in known - CHOICES if not is_core(one)} == set()


@pytest.mark.parametrize("path", sorted((ROOT / "tests/script_interpreter").glob("*.py")), ids=lambda path: path.stem)
def test_the_second_implementation_of_the_language_knows_nothing_of_the_first(path: Path) -> None:
    assert not [name for name in imports(path) if name.partition(".")[0] in MAY_IMPORT]
