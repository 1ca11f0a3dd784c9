"""The MI process: what outside programs talk to, and where the script's own clock runs.

It is never the one that blocks: a command that says of itself that it is slow is a job for the workers, and all others
run here, so that one can always ask what goes on, and end it, whatever the workers are busy with.
"""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from mi_script.calls import Call
from mi_script.commands import Command
from mi_script.execute import REQUEST_TIMEOUT, Answer, answer_of, pack_call
from mi_script.service import Service
from mi_script.transports.datagram import DatagramTransport
from mi_script.transports.fifo import FifoTransport
from runtime.background import lower_priority
from runtime.clock import epoch_now, monotonic_now
from runtime.context import RouteType, Value
from runtime.errands import Errands
from runtime.garbage import Collector
from runtime.modules.mi_access import MiModule
from runtime.modules.mi_datagram import MiDatagram
from runtime.modules.mi_fifo import MiFifo
from runtime.modules.mi_http import Httpd, MiHttp, is_loopback
from runtime.roles import COMMAND
from runtime.runs import nothing_more
from runtime.script_process import ScriptProcess
from runtime.settings import SettingsError, parse_listen
from runtime.sip.own_request import OwnRequest
from runtime.store import StoreError
from workers.jobs import Peer, TimedOut
from workers.tree import BootFailure

if TYPE_CHECKING:
    from mi_script.transports.http import HttpTransport

log = logging.getLogger("layby.mi")

SWEEP_AT_ONCE: Final = 1000
MI_TIMEOUT_S: Final = 60.0
"""How long an outside program's command may take."""
_NEVER_S: Final = 10 * 365 * 86_400.0
"""How long a connection may lie idle that is never to be closed."""


class Transport(Protocol):
    """One way in."""

    async def start(self) -> None: ...

    async def close(self) -> None: ...


class MiProcess(ScriptProcess):
    """FIFO, datagram and HTTP; startup and timer routes; the sweep of what is out of date."""

    executes = False

    def open(self) -> None:
        super().open()
        # An operator who reads page after page must not make calls wait for a CPU.
        lower_priority()
        self.leave_traffic()
        self.transports: list[Transport] = []
        self.http: HttpTransport | None = None
        self.under_way = 0
        self.errands = Errands(self)
        try:
            self.loop.run_until_complete(self._open_transports())
        except OSError as error:
            raise BootFailure(f"MI cannot listen: {error}") from error
        self._start_clock()
        # A collection in the midst of a command would stop it while it may hold what calls wait for.
        self._garbage = Collector(self.loop, lambda: self.under_way + len(self.parked))
        self._garbage.begin()

    def close(self) -> None:
        self.loop.run_until_complete(self._close_transports())
        if self.http is not None:
            self.loop.run_until_complete(self.http.close())

    def start_drain(self) -> None:
        # A client that waits for an answer gets it; nobody new is let in. That this server goes can be read to the end.
        if self.http is not None:
            self.http.drain()
        self._closing = self.loop.create_task(self._close_transports())

    def unfinished(self) -> int:
        return super().unfinished() + self.under_way

    # Requests from outside.

    async def _perform(self, call: Call, transport: str) -> Answer:
        way_in = self.house.program.modules.get(f"mi_{transport}")
        if isinstance(way_in, MiModule) and (fault := way_in.refused(call)) is not None:
            return fault
        found = self.house.registry.find(call.method)
        self.under_way += 1
        try:
            if found is not None and found.cost == "slow":
                return await self._have_run(call, found)
            # Here and now: who asks for the jobs, or to cancel one, must not have to wait for a worker.
            async with asyncio.timeout(MI_TIMEOUT_S):
                return await self.executor.answer(call)
        except TimeoutError:
            self.house.figures.failed(found.name if found is not None else "", REQUEST_TIMEOUT)
            return answer_of(TimedOut(MI_TIMEOUT_S))
        finally:
            self.under_way -= 1

    async def _have_run(self, call: Call, command: Command) -> Answer:
        asked_at = monotonic_now()
        outcome = await self.node.call(
            COMMAND, pack_call(call), label=command.name, timeout_s=MI_TIMEOUT_S, idempotent=command.idempotent
        )
        self.house.figures.settled(command.name, outcome, monotonic_now() - asked_at)
        return answer_of(outcome)

    async def _open_transports(self) -> None:
        modules = self.house.program.modules
        service = Service(self._perform)
        if isinstance(fifo := modules.get("mi_fifo"), MiFifo):
            self.transports.append(_fifo(fifo, service))
        if isinstance(datagram := modules.get("mi_datagram"), MiDatagram):
            names = [str(name) for name in datagram.settings["socket_name"] if name]
            self.transports += [_datagram(datagram, name, service) for name in names]
        if isinstance(http := modules.get("mi_http"), MiHttp) and isinstance(httpd := modules.get("httpd"), Httpd):
            self.http = self._http(httpd, http)
            await self.http.start()
        for transport in self.transports:
            await transport.start()

    def _http(self, httpd: Httpd, module: MiHttp) -> HttpTransport:
        # Imported here because the HTTP server takes half of all start-up time, and most scripts need none.
        from mi_script.transports.http import HttpTransport, Security
        from runtime.http_pages import Pages

        host, port = httpd.host, int(httpd.settings["port"])
        if not is_loopback(host) and module.token is None and not httpd.checks_clients:
            log.warning(
                "mi_http: whoever reaches %s:%d may run MI commands: set token_file or tls_client_ca", host, port
            )
        return HttpTransport(
            host,
            port,
            Service(self._perform, int(module.settings["max_body"])),
            root=str(module.settings["root"]),
            pages=Pages(self, module).by_path(),
            security=Security(module.token, httpd.tls),
            counters=module,
            keepalive_s=float(httpd.settings["conn_timeout"]) or _NEVER_S,
        )

    async def _close_transports(self) -> None:
        transports, self.transports = self.transports, []
        for transport in transports:
            await transport.close()

    # The script's own clock.

    def _start_clock(self) -> None:
        self._timers: dict[str, tuple[int, asyncio.TimerHandle]] = {}
        # Once in the life of a server, not of a process.
        if self.house.program.script.routes.startup is not None and self.peer.incarnation == 1:
            self.loop.call_soon(self._run_startup)
        self._set_timers()
        if "cachedb_local" in self.house.program.modules:
            self.loop.call_later(self._sweep_period_s, self._sweep)

    def _run_startup(self) -> None:
        script = self.house.program.script
        if script.routes.startup is not None:
            self.run_script(self.dummy_context(script, RouteType.STARTUP), script.routes.startup, nothing_more)

    def on_reloaded(self) -> None:
        self._set_timers()
        self.status.report("core", "main", f"the script was read again, generation {self.house.program.generation}")

    def _set_timers(self) -> None:
        """Have one timer run for each timer route of the script; one whose interval is as before runs on."""
        wanted = {timer.name: timer.interval_s for timer in self.house.program.script.routes.timers}
        for name, (interval_s, handle) in list(self._timers.items()):
            if wanted.get(name) != interval_s:
                handle.cancel()
                del self._timers[name]
        for name, interval_s in wanted.items():
            if name not in self._timers:
                self._set_timer(name, interval_s, self.loop.time() + interval_s)

    def _set_timer(self, name: str, interval_s: int, due: float) -> None:
        self._timers[name] = interval_s, self.loop.call_at(due, self._run_timer, name, interval_s, due)

    def _run_timer(self, name: str, interval_s: int, due: float) -> None:
        if self.draining:
            return
        # By the schedule, not from the end of the run; what was missed meanwhile is left out.
        self._set_timer(name, interval_s, max(due + interval_s, self.loop.time()))
        script = self.house.program.script
        for timer in script.routes.timers:
            if timer.name == name:
                self.run_script(self.dummy_context(script, RouteType.TIMER), timer.code, nothing_more)

    def on_peer_up(self, peer: Peer, slot: int) -> None:
        super().on_peer_up(peer, slot)
        self.errands.send_waiting()

    def on_peer_down(self, peer: Peer) -> None:
        super().on_peer_down(peer)
        self.store.free_readers()

    def start_request(self, wanted: OwnRequest, avps: dict[str, list[Value]]) -> None:
        self.errands.send(wanted, avps)

    @property
    def _sweep_period_s(self) -> float:
        return float(max(1, self.house.program.modules["cachedb_local"].settings["cache_clean_period"]))

    def _sweep(self) -> None:
        again_s = self._sweep_period_s
        try:
            if self.store.sweep(epoch_now(), SWEEP_AT_ONCE) == SWEEP_AT_ONCE:
                again_s = 0.1
        except StoreError as error:
            log.error("values whose time is over cannot be removed: %s", error)
        self.loop.call_later(again_s, self._sweep)


def _fifo(module: MiFifo, service: Service) -> FifoTransport:
    settings = module.settings
    return FifoTransport(
        Path(settings["fifo_name"]),
        Path(settings["reply_dir"]),
        service,
        mode=int(settings["fifo_mode"]),
        counters=module,
    )


def _datagram(module: MiDatagram, name: str, service: Service) -> DatagramTransport:
    if not name.startswith("udp:"):
        return DatagramTransport(Path(name), service, counters=module)
    try:
        listen = parse_listen(name)
    except SettingsError as error:
        raise BootFailure(str(error)) from error
    if not is_loopback(listen.host):
        log.warning("mi_datagram: whoever reaches %s may run MI commands", listen)
    return DatagramTransport((listen.host, listen.port), service, counters=module)
