"""Module event_route: `raise_event()` and the event routes of the script."""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING

from runtime.context import Context, RouteType, Value
from runtime.modules.base import RuntimeModule
from runtime.runs import nothing_more
from runtime.script.declare import Kind, Param, Ref, function

if TYPE_CHECKING:
    from runtime.script_process import ScriptProcess

log = logging.getLogger("layby.script")

_TOO_FEW_NAMES = -1


class EventRoute(RuntimeModule):
    """The module as a script loads it."""

    name = "event_route"
    process: ScriptProcess

    @function(
        "raise_event",
        Param("event", Kind.STRING),
        Param("names", Kind.AVP, optional=True),
        Param("values", Kind.AVP, optional=True),
    )
    def raise_event(self, c: Context, event: str, names: Ref | None, values: Ref | None) -> int:
        """Raise an event. Its route sees the values as `$param(name)` and, in order, as `$param(1)` and so on.

        With one AVP its values have no names. Gives 1, also where nobody listens; -1 where there are fewer names than
        values.
        """
        if values is None:
            names, values = None, names
        given = [] if values is None else values.all(c)
        named = [] if names is None else [str(name) for name in names.all(c)]
        if names is not None and len(named) < len(given):
            log.error("raise_event(%s): %d names for %d values", event, len(named), len(given))
            return _TOO_FEW_NAMES
        self.raised(event, tuple(given), dict(zip(named, given, strict=False)))
        return 1

    def raised(self, event: str, params: tuple[Value, ...], named: dict[str, Value]) -> bool:
        """Run the event's route in this process; False where the script has none.

        One that is declared ``sync`` runs now, on the caller's time; any other in the next turn of the loop.
        """
        script = self.house.program.script
        route = script.routes.events.get(event)
        if route is None:
            return False
        context = self.process.dummy_context(script, RouteType.EVENT)
        context.params, context.named_params = params, named
        run = partial(self.process.run_script, context, route, nothing_more)
        if script.routes.event_modes.get(event) == "sync":
            run()
        else:
            self.process.soon(run)
        return True
