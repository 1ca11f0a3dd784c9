"""What the process that runs scripts in Python does for them beyond what it does for those in the cfg language."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from runtime.context import Context
from runtime.futures import FutureRequest
from runtime.script.declare import Begin
from runtime.script.problems import Place
from runtime.script.script import Hooks, RouteCode


class PyHooks(Hooks, Protocol):
    """Parking and launching with code instead of names of routes."""

    def wait(
        self,
        context: Context,
        begin: Begin | FutureRequest,
        resume: RouteCode,
        place: Place,
        *,
        abandon: Callable[[], None],
    ) -> bool:
        """Begin, and run `resume` on the context when that has ended, never before this returns.

        Where that will never be, `abandon` is called. False where another process has the message: nothing was begun.
        """

    def start(
        self, context: Context, begin: Begin, report_to: RouteCode | None, param: str | None, place: Place
    ) -> int:
        """Begin and go on; `report_to` runs on a message of its own when that has ended. Gives `$rc`."""
