"""What tests of a routing script are made of; `docs/testing.md` shows how. It needs pytest and Hypothesis::

    pip install "layby[testing]"

The fixtures are there wherever layby is installed. The rest is here, and each name is loaded when it is first asked
for: a session of pytest that tests something else loads none of it::

    from runtime.testing import Server, Peer, Received, wait_until    # a server, phones, and waiting for both
    from runtime.testing import Call, CallPlan, play                  # calls, step by step or as planned
    from runtime.testing import LaybyMachine, run_machine             # everything at once, faults too
    from runtime.testing import Simulation, SimulatedMachine          # the same without real time
    from runtime.testing import strategies                            # Hypothesis: messages, calls, MI commands
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from runtime.testing import strategies as strategies
    from runtime.testing.calls import Call as Call
    from runtime.testing.calls import CallPlan as CallPlan
    from runtime.testing.calls import play as play
    from runtime.testing.machine import LaybyMachine as LaybyMachine
    from runtime.testing.machine import run_machine as run_machine
    from runtime.testing.peer import Peer as Peer
    from runtime.testing.peer import Received as Received
    from runtime.testing.server import Server as Server
    from runtime.testing.simulated import Simulation as Simulation
    from runtime.testing.simulated_machine import SimulatedMachine as SimulatedMachine
    from runtime.testing.waiting import wait_until as wait_until

_WHERE = {
    "calls": ["Call", "CallPlan", "play"],
    "machine": ["LaybyMachine", "run_machine"],
    "peer": ["Peer", "Received"],
    "server": ["Server"],
    "simulated": ["Simulation"],
    "simulated_machine": ["SimulatedMachine"],
    "waiting": ["wait_until"],
}
_MODULE_OF = {name: module for module, names in _WHERE.items() for name in names}

__all__ = sorted(_MODULE_OF)


def __getattr__(name: str) -> Any:
    module = _MODULE_OF.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"{__name__}.{module}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
