"""The MI process: what outside programs talk to, and where the script's own clock runs.

It is never the one that blocks: every command is a job for the workers, so a slow one holds up nobody's next
request but its own answer.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Final, Protocol

from mi_script.calls import Call
from mi_script.execute import HANDLER, Answer, answer_of, pack_call
from mi_script.service import Service
from mi_script.transports.datagram import DatagramTransport
from mi_script.transports.fifo import FifoTransport
from runtime.clock import epoch_now
from runtime.context import RouteType
from runtime.script_process import ScriptProcess
from runtime.settings import SettingsError, parse_listen
from workers.pool import BootFailure

log = logging.getLogger("layby.mi")

MI_TIMEOUT_S: Final = 60.0
"""How long an outside program's command may take."""


class Transport(Protocol):
    """One way in."""

    async def start(self) -> None: ...

    async def close(self) -> None: ...


class MiProcess(ScriptProcess):
    """FIFO, datagram and HTTP; startup and timer routes; the sweep of what is out of date."""

    executes = False

    def open(self) -> None:
        super().open()
        self.leave_traffic()
        self.service = Service(self._perform)
        self.transports: list[Transport] = []
        self.under_way = 0
        try:
            self.loop.run_until_complete(self._open_transports())
        except OSError as error:
            raise BootFailure(f"MI cannot listen: {error}") from error
        self._start_clock()

    def close(self) -> None:
        self.loop.run_until_complete(self._close_transports())

    def start_drain(self) -> None:
        # A client that waits for an answer gets it; nobody new is let in.
        self._closing = self.loop.create_task(self._close_transports())

    def unfinished(self) -> int:
        return super().unfinished() + self.under_way

    # Requests from outside.

    async def _perform(self, call: Call, transport: str) -> Answer:
        found = self.house.registry.find(call.method)
        self.under_way += 1
        try:
            outcome = await self.node.call(
                HANDLER, pack_call(call), label=found.name if found else call.method, timeout_s=MI_TIMEOUT_S
            )
        finally:
            self.under_way -= 1
        return answer_of(outcome)

    async def _open_transports(self) -> None:
        modules = self.house.program.modules
        if "mi_fifo" in modules:
            settings = modules["mi_fifo"].settings
            self.transports.append(
                FifoTransport(Path(settings["fifo_name"]), Path(settings["reply_dir"]), self.service)
            )
        if "mi_datagram" in modules and (name := modules["mi_datagram"].settings["socket_name"]):
            self.transports.append(_datagram(str(name), self.service))
        if "mi_http" in modules:
            # Imported here because the HTTP server takes half of all start-up time, and most scripts need none.
            from mi_script.transports.http import HttpTransport

            http, root = modules["httpd"].settings, str(modules["mi_http"].settings["root"])
            self.transports.append(HttpTransport(http["ip"], http["port"], self.service, root=root))
        for transport in self.transports:
            await transport.start()

    async def _close_transports(self) -> None:
        transports, self.transports = self.transports, []
        for transport in transports:
            await transport.close()

    # The script's own clock.

    def _start_clock(self) -> None:
        routes = self.house.program.script.routes
        if routes.startup is not None:
            self.loop.call_soon(self._run_startup)
        for index, (_, interval_s, _) in enumerate(routes.timers):
            self.loop.call_later(interval_s, self._run_timer, index, self.loop.time() + interval_s)
        if "cachedb_local" in self.house.program.modules:
            self.loop.call_later(self._sweep_period_s, self._sweep)

    def _run_startup(self) -> None:
        startup = self.house.program.script.routes.startup
        # Once in the life of a server, not of a process.
        if startup is not None and self.peer.incarnation == 1:
            self.run_route(self.dummy_context(RouteType.STARTUP), startup)

    def _run_timer(self, index: int, due: float) -> None:
        timers = self.house.program.script.routes.timers
        if self.draining or index >= len(timers):
            return
        name, interval_s, route = timers[index]
        context = self.dummy_context(RouteType.TIMER)
        context.route_name = name
        self.run_route(context, route)
        # By the schedule, not from the end of the run; what was missed meanwhile is left out.
        due = max(due + interval_s, self.loop.time())
        self.loop.call_at(due, self._run_timer, index, due)

    @property
    def _sweep_period_s(self) -> float:
        return float(max(1, self.house.program.modules["cachedb_local"].settings["cache_clean_period"]))

    def _sweep(self) -> None:
        more = self.store.sweep(epoch_now()) > 0
        self.loop.call_later(0.1 if more else self._sweep_period_s, self._sweep)


def _datagram(name: str, service: Service) -> DatagramTransport:
    if not name.startswith("udp:"):
        return DatagramTransport(Path(name), service)
    try:
        listen = parse_listen(name)
    except SettingsError as error:
        raise BootFailure(str(error)) from error
    return DatagramTransport((listen.host, listen.port), service)
