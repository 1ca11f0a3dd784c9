"""What takes too long, or too much, is told: in the log, and by the events E_CORE_THRESHOLD and E_CORE_SHM_THRESHOLD.

Limits are the script's global parameters, and there is none where it sets none. Those of statements to a database are
set by the modules db_mysql and db_postgres. Questions to DNS and statements are counted also where there is no limit.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

from runtime.context import Context, RouteType
from runtime.db import watch_statements
from runtime.modules.base import RuntimeModule
from runtime.modules.events import events_of
from runtime.modules.texts import script_text
from runtime.roles import MI, WORKER, role_of
from runtime.route_clock import RouteClock
from runtime.script.declare import Event
from runtime.sip.message import Request

if TYPE_CHECKING:
    from runtime.house import House
    from runtime.process import Process
    from runtime.script_process import ScriptProcess
    from runtime.sip.dns_records import Query
    from runtime.whereabouts import Statement

log = logging.getLogger("layby.thresholds")

THRESHOLD: Final = Event(
    "E_CORE_THRESHOLD",
    ("source", "time", "extra"),
    "Something took longer than the script allows: what, how many microseconds, and where or which one.",
)
SHM_THRESHOLD: Final = Event(
    "E_CORE_SHM_THRESHOLD",
    ("usage", "threshold", "used", "size"),
    "What processes share is fuller than the script allows, told of each percent: in percent, and in bytes.",
)
_LOOK_EVERY_S: Final = 1.0
_SHOWN: Final = 500
"""Characters of a statement that took too long."""
_SOURCES: Final = {"mysql": "mysql query", "postgresql": "pgsql query"}
"""What OpenSIPS calls statements to a kind of database; its clients look for how it begins."""


class ThresholdsModule(RuntimeModule):
    """Always there; a script does not load it."""

    name = "thresholds"
    events = (THRESHOLD, SHM_THRESHOLD)

    def __init__(self, settings: dict[str, Any] | None = None) -> None:
        super().__init__(settings)
        self.statements_us: dict[str, int] = {}
        """How long a statement may take, by kind of database (`Database.kind`); to be set before the forks."""

    def enter(self, process: Process) -> None:
        super().enter(process)
        self._clock: RouteClock | None = None
        limits, role = self.house.settings.thresholds, role_of(process.peer.name)
        if limits.message_us and role != WORKER:
            runner: ScriptProcess = process  # type: ignore[assignment]
            runner.route_clock = self._clock = RouteClock(limits.message_us, self._route_took)
        if role != WORKER:
            runner = process  # type: ignore[assignment]
            runner.dns_asked = self._dns_took
        watch_statements(self._statement_took)
        if limits.shm_percent and role == MI:
            self._told = 0
            process.loop.call_later(_LOOK_EVERY_S, self._look, limits.shm_percent)

    def leave(self) -> None:
        if self._clock is not None:
            self._clock.close()

    def _route_took(self, took_us: int, context: Context, seen: Statement | None) -> None:
        self.house.statistics.count("core:slow_messages")
        message = context.message
        method = message.method if isinstance(message, Request) else message.cseq_method
        where = f"route {context.route_name}".rstrip()
        if seen is not None:
            called = f" {seen.called}()" if seen.called else ""
            where = f"{seen.place.file}:{seen.place.line}{called}"
        # An event route is only logged: what it takes too long to hear of may be this very event.
        self._tell_slow(
            "msg processing", took_us, f"{where} [{method} {message.call_id}]", raised=context.route != RouteType.EVENT
        )

    def _dns_took(self, query: Query, took_s: float) -> None:
        limit_us, took_us = self.house.settings.thresholds.dns_us, int(took_s * 1_000_000)
        self.house.statistics.count("dns:dns_total_queries")
        if 0 < limit_us < took_us:
            self.house.statistics.count("dns:dns_slow_queries")
            self._tell_slow("dns", took_us, f"{query.type} {query.name}")

    def _statement_took(self, kind: str, took_us: int, statement: str) -> None:
        self.house.statistics.count("sql:sql_total_queries")
        if 0 < self.statements_us.get(kind, 0) < took_us:
            self.house.statistics.count("sql:sql_slow_queries")
            self._tell_slow(_SOURCES.get(kind, kind), took_us, " ".join(statement.split())[:_SHOWN])

    def _tell_slow(self, source: str, took_us: int, extra: str, *, raised: bool = True) -> None:
        """Something took too long.

        Args:
            source: what: ``msg processing``, ``dns``, ``pgsql query``.
            took_us: how long, in microseconds.
            extra: where, or which one; a script string.
            raised: whether the event is raised.
        """
        log.warning("threshold exceeded: %s took %d us: %s", source, took_us, script_text(extra))
        if raised:
            events_of(self.house).tell(THRESHOLD, source, took_us, extra)

    def _look(self, limit: int) -> None:
        used, size = self.process.store.used(), self.process.store.size()
        usage = used * 100 // size
        if usage > max(limit, self._told):  # what was used once is not given back, so it only grows
            self._told = usage
            events_of(self.house).tell(SHM_THRESHOLD, usage, limit, used, size)
        self.process.loop.call_later(_LOOK_EVERY_S, self._look, limit)


def thresholds_of(house: House) -> ThresholdsModule:
    """The server's."""
    found = house.program.modules[ThresholdsModule.name]
    assert isinstance(found, ThresholdsModule)
    return found
