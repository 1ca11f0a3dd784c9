"""Module event_route: accepted as scripts load it. Event routes and `raise_event()` are always there."""

from __future__ import annotations

from runtime.modules.base import RuntimeModule


class EventRoute(RuntimeModule):
    """The module as a script loads it."""

    name = "event_route"
