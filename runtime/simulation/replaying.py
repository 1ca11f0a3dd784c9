"""Running a finding's plan once more, with its script as it is now."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from runtime.errors import SettingsError
from runtime.modules.base import RuntimeModule
from runtime.program import Program
from runtime.pyscript.load import PyChecked
from runtime.script import tree
from runtime.script.load import read_file
from runtime.settings import settle
from runtime.simulation.drafts import Surroundings
from runtime.simulation.events import Event
from runtime.simulation.findings import Finding, found_in, unreachable
from runtime.simulation.network import GATEWAY_ADDRESS
from runtime.simulation.python_routes import readable_routes
from runtime.simulation.simulator import Simulator
from runtime.simulation.wishes import Wishes, wishes_of, words_of

_SOURCE = "198.51.100.7"


class Replay(NamedTuple):
    """What came of running a finding's plan once more.

    Args:
        events: what happened; nothing where it was seen without a run.
        found: the finding as it is now; None where it is not there any more.
        changed: whether the script says something else than when it was found.
    """

    events: list[Event]
    found: Finding | None
    changed: bool


def replay(finding: Finding) -> Replay:
    """Run a finding's plan once more, with the script as it is now.

    In a script that has changed it may stand at another line, so what is of its kind and befalls the same call is it.

    Raises:
        As `runtime.simulation.verifying.verify`.
    """
    program = Program.load(Path(finding.script))
    changed = hash_of(program) != finding.script_hash
    if finding.plan is None:
        return Replay([], _same(finding, unreachable(*read(program)), changed), changed)
    surroundings(program)
    with Simulator() as simulator:
        run = simulator.run(finding.plan)
    again = found_in(finding.plan, run.events, run.violations, finding.block_s)
    return Replay(run.events, _same(finding, again, changed), changed)


def _same(finding: Finding, found: Sequence[Finding], changed: bool) -> Finding | None:
    alike = [one for one in found if (one.kind, one.call) == (finding.kind, finding.call)] if changed else []
    return next((one for one in found if one.key == finding.key), alike[0] if alike else None)


def hash_of(program: Program) -> str:
    """A hash of what a script says, in all of its files. Raises OSError."""
    checked = program.checked
    files = set(checked.files) if isinstance(checked, PyChecked) else set()
    files |= {item.place.file for item in tree.everything_in(tuple(checked.routes)) if isinstance(item, tree.Statement)}
    hashed = hashlib.sha256()
    for file in sorted({str(program.path), *files}):
        hashed.update(read_file(Path(file)))
    return hashed.hexdigest()


def read(program: Program) -> tuple[Sequence[tree.Route], Wishes]:
    """Its routes, and what messages must be like to reach each stretch of them. Raises OSError.

    Of a script in Python it is not known all that calls a function, so nothing in it is out of reach.
    """
    routes = readable_routes(program.checked)
    wishes = wishes_of(routes)
    wishes.complete = wishes.complete and not isinstance(program.checked, PyChecked)
    return routes, wishes


def surroundings(program: Program) -> Surroundings:
    """The addresses of the network around a script's server.

    Raises:
        SettingsError: it listens to no UDP socket, and the simulated network carries nothing else.
    """
    settings = settle(program.checked.globals, program.checked.sockets)
    address = next((one for one in settings.listen if not one.reliable), None)
    if address is None:
        raise SettingsError("the script has no UDP socket, and the simulated network carries nothing else", "socket")
    hop = f"{GATEWAY_ADDRESS.host}:{GATEWAY_ADDRESS.port}"
    return Surroundings(f"{address.host}:{address.port}", hop, _SOURCE, *words_of(readable_routes(program.checked)))


def events_raised(program: Program) -> frozenset[str]:
    """The names of the events that the script's modules raise."""
    modules = (module for module in program.modules.values() if isinstance(module, RuntimeModule))
    return frozenset(event.name for module in modules for event in module.events)
