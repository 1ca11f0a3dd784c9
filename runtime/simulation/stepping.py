"""Where a simulated process is in the protocol: the steps that `workers.steps` names, told to whoever wants to know.

A step costs nothing where nobody wants to know of it, which is settled when the shells are loaded; so this stands in
the simulating interpreter before they are.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from runtime.simulation.clock import put

_NOWHERE = os.devnull


class _Told:
    """Who is told now."""

    def __init__(self) -> None:
        self.reached: Callable[[str], None] = lambda step: None


_told = _Told()


def install() -> None:
    """From now on shells that are loaded say where they are."""
    from workers import steps

    assert steps._me is None, "the shells follow orders of their own"
    put(steps, "_me", steps._Obedient(_NOWHERE))
    put(steps._me, "reached", lambda step: _told.reached(step))


def watch(reached: Callable[[str], None]) -> None:
    """Have somebody told of each step of this process."""
    _told.reached = reached
