"""The core's own MI commands: what OpenSIPS gives without any module, and the statistics."""

from __future__ import annotations

import asyncio
import os
import platform
import signal
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import ExitStack, asynccontextmanager
from functools import lru_cache, partial
from importlib.metadata import version as package_version
from typing import TYPE_CHECKING, Final, assert_never

import msgpack

from mi_script.commands import Json, MiError, Params, command
from runtime.asking import ask, sip_processes
from runtime.clock import epoch_now, monotonic_now
from runtime.cpu_board import Board
from runtime.cpu_load import Meter, Seen
from runtime.errors import NotLoaded
from runtime.memory import cpu_s_of
from runtime.modules.log_commands import LogCommands
from runtime.modules.memory_commands import MemoryCommands
from runtime.modules.processes import alive, title_of
from runtime.modules.statistics_commands import StatisticsCommands
from runtime.roles import CATCH_UP, MI, RELOAD, SIP, role_of
from runtime.sip_answers import CONNECTIONS
from runtime.transports.streams import PeerRow
from workers.jobs import Cancelled, Failed, Outcome, Peer, Rejected, Returned, TimedOut, WorkerLost

if TYPE_CHECKING:
    from runtime.house import House

RELOAD_TIMEOUT_S: Final = 10.0
TURN_S: Final = 1.0
"""How long the others wait for a process that is to take a newer script, beside what compiling it takes. One that needs
longer is stopped in a command."""
SPOKEN: Final = "3.6.0"
"""The version of OpenSIPS whose commands and answers these are; opensips-cli reads it before it diagnoses anything."""

_date: Final = lru_cache(maxsize=2)(time.ctime)
"""A second as people read it. The same two are asked for again and again: kept, they cost a tenth."""


class Management(LogCommands, MemoryCommands, StatisticsCommands):
    """Always there; a script does not load it."""

    name = "management"
    computed: Mapping[str, str] = {
        "core:timestamp": "Seconds since the start.",
        "load:load": "Percent of a CPU that the SIP processes had in the last second, on average.",
        "load:load1m": "The same of the last minute.",
        "load:load10m": "The same of the last ten minutes.",
        "load:load-all": "As load:load, of all processes.",
        "load:load1m-all": "The same of the last minute.",
        "load:load10m-all": "The same of the last ten minutes.",
        "load:load-proc-N": "The same of the process that ps shows as N.",
        "load:load1m-proc-N": "The same of the last minute.",
        "load:load10m-proc-N": "The same of the last ten minutes.",
        "load:processes_number": "How many processes there are.",
        "pkmem:N-real_used_size": "Bytes of process N of ps that are in memory, and in no other's: free without it.",
        "pkmem:N-max_used_size": "The most memory that it ever had, with what it shares.",
        "pkmem:N-free_size": "Bytes that it could still get: what the machine has to give.",
        "shmem:total_size": "Bytes of memory that the processes may share.",
        "shmem:used_size": "Bytes of it that are in use, or were: the store gives none back.",
        "shmem:real_used_size": "The same.",
        "shmem:max_used_size": "The same.",
        "shmem:free_size": "Bytes of it that were never used.",
    }

    def furnish(self, house: House) -> None:
        super().furnish(house)
        house.statistics.compute("core", "timestamp", lambda: int(epoch_now() - house.started_at))
        self._loads = Board(house.slots + 1)
        self._declare_loads(house)

    def _declare_loads(self, house: House) -> None:
        compute = house.statistics.compute
        compute("load", "processes_number", lambda: len(alive(house)) + 1)
        for window, name in enumerate(("load", "load1m", "load10m")):
            compute("load", name, partial(self._mean_load, window, SIP))
            compute("load", f"{name}-all", partial(self._mean_load, window))
            for number in range(house.slots + 1):
                compute("load", f"{name}-proc-{number}", partial(self._load, window, number))

    def _load(self, window: int, number: int) -> int:
        return self._loads.read(number)[window]

    def _mean_load(self, window: int, role: str | None = None) -> int:
        loads = [self._load(window, row.slot + 1) for row in alive(self.house) if role in (None, row.role)]
        return round(sum(loads) / max(1, len(loads)))

    def opened(self) -> None:
        if role_of(self.process.peer.name) == MI:
            self._meter = Meter(self.house.slots + 1)
            self._measure()

    def _measure(self) -> None:
        pids = [self.house.attendant_pid, *(row.pid for row in self.house.table)]
        self._loads.write(self._meter.add(monotonic_now(), [Seen(pid, cpu_s_of(pid)) for pid in pids]))
        self.process.loop.call_later(1.0, self._measure)

    @command("uptime", (), idempotent=True, aliases=("core:uptime",))
    def uptime(self, params: Params) -> Json:
        """When the server was started, and how long ago."""
        now, started_at = epoch_now(), self.house.started_at
        return {
            "Now": _date(int(now)),
            "Up since": _date(int(started_at)),
            "Up time": f"{int(now - started_at)} [sec]",
        }

    @command("version", (), ("revision",), idempotent=True, aliases=("core:version",))
    def version(self, params: Params) -> Json:
        """Whose management interface this is, the version that clients go by first, and of which server."""
        return {"Server": f"OpenSIPS ({SPOKEN} MI of {server_name()})"}

    @command("pwd", (), idempotent=True, aliases=("core:pwd",))
    def pwd(self, params: Params) -> Json:
        """The server's working directory."""
        return {"WD": os.getcwd()}

    @command("arg", (), idempotent=True, aliases=("core:arg",))
    def arg(self, params: Params) -> Json:
        """The command line that the server was started with."""
        return list(self.house.arguments)

    @command("ps", (), idempotent=True, aliases=("core:ps",))
    def ps(self, params: Params) -> Json:
        """All processes: number, PID and kind."""
        attendant: Json = {"ID": 0, "PID": self.house.attendant_pid, "Type": "attendant"}
        rows: list[Json] = [
            {"ID": row.slot + 1, "PID": row.pid, "Type": title_of(self.house, row)} for row in alive(self.house)
        ]
        return {"Processes": [attendant, *rows]}

    @command("kill", (), idempotent=True, aliases=("core:kill",))
    def kill(self, params: Params) -> Json:
        """Shut the server down, as SIGTERM does."""
        os.kill(self.house.attendant_pid, signal.SIGTERM)
        return "OK"

    @command("list_tcp_conns", (), idempotent=True, aliases=("tcp:list",))
    async def list_tcp_conns(self, params: Params) -> Json:
        """The TCP connections of all SIP processes; null where no TCP is served.

        A process that is blocked in a command and does not say in time is named under `Silent`.
        """
        if not any(one.reliable for one in self.house.sockets):
            return None
        answers = await ask(self.process, sip_processes(self.process), CONNECTIONS)
        rows = [PeerRow(*row) for said in answers.said for row in msgpack.unpackb(said)]
        shown: dict[str, Json] = {"Connections": [_connection(row) for row in sorted(rows)]}
        if answers.silent:
            shown["Silent"] = [str(peer) for peer in answers.silent]
        return shown

    @command("reload_routes", (), idempotent=True, cost="quick", aliases=("core:reload_routes",))
    async def reload_routes(self, params: Params) -> Json:
        """Read the script file again: new messages take the new routes, parked ones resume on the old ones.

        The processes take it one after the other, so that the others serve meanwhile.
        """
        began = monotonic_now()
        try:
            generation = self.house.program.publish(self.house.folder)
        except NotLoaded as error:
            self.process.status.report("core", "main", f"the script was not read again: {error.problems[0]}")
            raise MiError(500, "Script is not loaded", "\n".join(str(one) for one in error.problems)) from error
        except OSError as error:
            raise MiError(500, "Script is not loaded", f"{error.filename}: {error.strerror}") from error
        runners = [peer for peer in self._peers() if role_of(peer.name) in (SIP, MI)]
        turn, turn_s = asyncio.Lock(), TURN_S + monotonic_now() - began  # it was compiled here, twice
        outcomes = await asyncio.gather(*(self._have_it_taken(peer, turn, turn_s) for peer in runners))
        # Who has died meanwhile runs nothing any more, and its replacement takes the newest before its first message.
        living = set(self._peers())
        missing = [
            f"{peer}: {why}"
            for peer, outcome in zip(runners, outcomes, strict=True)
            if peer in living and (why := _not_reloaded(outcome, generation)) is not None
        ]
        if missing:
            raise MiError(500, "Reload is not complete", "\n".join(missing))
        return "OK"

    async def _have_it_taken(self, peer: Peer, turn: asyncio.Lock, turn_s: float) -> Outcome:
        """Have a process take the script that was published, when it is its turn."""
        outcome: Outcome | None = None
        try:
            async with _at_most(turn_s, turn):
                outcome = await self.process.node.call(RELOAD, b"", label=RELOAD, timeout_s=RELOAD_TIMEOUT_S, to=peer)
                return outcome
        finally:
            # Where its time was over, or that of all of this, the job is not begun any more; but a letter is read
            # some time.
            if outcome is None or isinstance(outcome, TimedOut):
                self.process.node.post(peer, CATCH_UP, b"")

    def _peers(self) -> list[Peer]:
        return [*self.process.node.peers(), self.process.peer]


@asynccontextmanager
async def _at_most(limit_s: float, lock: asyncio.Lock) -> AsyncIterator[None]:
    """Hold a lock, but let others have it after a while, whatever is still done under it."""
    await lock.acquire()
    held = ExitStack()
    held.callback(lock.release)
    ends = asyncio.get_running_loop().call_later(limit_s, held.close)
    try:
        yield
    finally:
        ends.cancel()
        held.close()


def server_name() -> str:
    """As `version` and the `--version` of the command line show it."""
    return f"layby {package_version('layby')} ({platform.machine()}/{platform.system().lower()})"


def _not_reloaded(outcome: Outcome, generation: int) -> str | None:
    """Why a process does not run that generation of the script, or a later one; None when it does."""
    match outcome:
        case Returned(payload):
            return None if msgpack.unpackb(payload) >= generation else "still has the script of before"
        case Failed(kind, message):
            return f"{kind}: {message}"
        case TimedOut() | WorkerLost() | Cancelled() | Rejected():
            return "no word in time; it takes the script as soon as it can, or when it is replaced"
        case _:
            assert_never(outcome)


def _connection(row: PeerRow) -> Json:
    return {
        "ID": row.id,
        "Type": row.type,
        "State": row.state,
        "Remote": row.remote,
        "Local": row.local,
        "Lifetime": time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(row.ends_at)),
    }
