"""The core's own MI commands: what OpenSIPS gives without any module, and the statistics."""

from __future__ import annotations

import asyncio
import os
import platform
import signal
import time
from collections.abc import Mapping
from importlib.metadata import version as package_version
from typing import TYPE_CHECKING, Final, assert_never

import msgpack

from mi_script.commands import Json, MiError, Params, command
from runtime.clock import epoch_now
from runtime.errors import NotLoaded
from runtime.modules.base import RuntimeModule
from runtime.process_table import Row
from runtime.roles import CATCH_UP, MI, RELOAD, SIP, TITLES, role_of
from workers.jobs import Cancelled, Failed, Outcome, Peer, Rejected, Returned, TimedOut, WorkerLost

if TYPE_CHECKING:
    from runtime.house import House

_INVALID_PARAMS: Final = -32602
_LEVELS: Final = range(-3, 5)
RELOAD_TIMEOUT_S: Final = 10.0


class Management(RuntimeModule):
    """Always there; a script does not load it."""

    name = "management"
    computed: Mapping[str, str] = {
        "core:timestamp": "Seconds since the start.",
        "shmem:total_size": "Bytes of memory that the processes may share.",
        "shmem:used_size": "Bytes of it that are in use.",
    }

    def furnish(self, house: House) -> None:
        super().furnish(house)
        statistics = house.statistics
        statistics.compute("core", "timestamp", lambda: int(epoch_now() - house.started_at))
        statistics.compute("shmem", "total_size", lambda: house.shared_bytes() + self.process.store.size())
        statistics.compute("shmem", "used_size", lambda: house.shared_bytes() + self.process.store.used())

    @command("uptime", (), idempotent=True, aliases=("core:uptime",))
    def uptime(self, params: Params) -> Json:
        """When the server was started, and how long ago."""
        now = epoch_now()
        return {
            "Now": time.ctime(now),
            "Up since": time.ctime(self.house.started_at),
            "Up time": f"{int(now - self.house.started_at)} [sec]",
        }

    @command("version", (), ("revision",), idempotent=True, aliases=("core:version",))
    def version(self, params: Params) -> Json:
        """Name and version of this server."""
        return {"Server": server_name()}

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
        rows: list[Json] = [{"ID": row.slot + 1, "PID": row.pid, "Type": self._title(row)} for row in self._alive()]
        return {"Processes": [attendant, *rows]}

    @command("kill", (), idempotent=True, aliases=("core:kill",))
    def kill(self, params: Params) -> Json:
        """Shut the server down, as SIGTERM does."""
        os.kill(self.house.attendant_pid, signal.SIGTERM)
        return "OK"

    @command("log_level", (), ("level",), ("level", "pid"), idempotent=True, aliases=("core:log_level",))
    def log_level(self, params: Params) -> Json:
        """Show the log level of each process, or set that of all (`level`) or of one (`level`, `pid`)."""
        if "level" not in params:
            return {
                "Processes": [
                    {"PID": row.pid, "Log level": self.house.levels.get(row.slot), "Type": self._title(row)}
                    for row in self._alive()
                ]
            }
        level = _level(params)
        if "pid" not in params:
            self.house.levels.set(None, level)
            return {"New global log level": level}
        slot = next((row.slot for row in self._alive() if row.pid == params.integer("pid")), None)
        if slot is None:
            raise MiError(_INVALID_PARAMS, "Invalid params", "Bad PID")
        self.house.levels.set(slot, level)
        return {"Log level": level}

    @command("xlog_level", (), ("level",), idempotent=True, aliases=("core:xlog_level",))
    def xlog_level(self, params: Params) -> Json:
        """Show or set the level up to which the script's xlog lines are written."""
        if "level" not in params:
            return {"xLog Level": self.house.xlog_levels.get(None)}
        level = _level(params)
        self.house.xlog_levels.set(None, level)
        return {"New xLog level": level}

    @command("get_statistics", ("statistics",), idempotent=True, aliases=("statistics:get",), instead="$stat(name)")
    def get_statistics(self, params: Params) -> Json:
        """Values by name, ``group:name``, ``group:`` or ``all``; names that there are not are left out."""
        found = [full for name in params.texts("statistics") for full in self.house.statistics.find(name)]
        return {full: self.house.statistics.value(full) for full in found}

    @command("list_statistics", (), ("statistics",), idempotent=True, aliases=("statistics:list",))
    def list_statistics(self, params: Params) -> Json:
        """Names of statistics, and whether each is counted or computed."""
        wanted = params.texts("statistics") if "statistics" in params else ["all"]
        statistics = self.house.statistics
        found = [full for name in wanted for full in statistics.find(name)]
        return {full: "incremental" if statistics.is_incremental(full) else "non-incremental" for full in found}

    @command(
        "reset_statistics", ("statistics",), idempotent=True, aliases=("statistics:reset",), instead="reset_stat()"
    )
    def reset_statistics(self, params: Params) -> Json:
        """Let counted statistics read zero from now on."""
        found = [full for name in params.texts("statistics") for full in self.house.statistics.find(name)]
        if not found:
            raise MiError(404, "Statistics Not Found")
        for full in found:
            self.house.statistics.reset(full)
        return "OK"

    @command("reset_all_statistics", (), idempotent=True, aliases=("statistics:reset_all",))
    def reset_all_statistics(self, params: Params) -> Json:
        """Let all counted statistics read zero from now on."""
        for full in self.house.statistics.find("all"):
            self.house.statistics.reset(full)
        return "OK"

    @command("reload_routes", (), idempotent=True, cost="quick", aliases=("core:reload_routes",))
    async def reload_routes(self, params: Params) -> Json:
        """Read the script file again: new messages take the new routes, parked ones resume on the old ones."""
        try:
            generation = self.house.program.publish(self.house.folder)
        except NotLoaded as error:
            self.process.status.report("core", "main", f"the script was not read again: {error.problems[0]}")
            raise MiError(500, "Script is not loaded", "\n".join(str(one) for one in error.problems)) from error
        except OSError as error:
            raise MiError(500, "Script is not loaded", f"{error.filename}: {error.strerror}") from error
        runners = [peer for peer in self._peers() if role_of(peer.name) in (SIP, MI)]
        outcomes = await asyncio.gather(
            *(self.process.node.call(RELOAD, b"", label=RELOAD, timeout_s=RELOAD_TIMEOUT_S, to=p) for p in runners)
        )
        missing = [
            f"{peer}: {why}"
            for peer, outcome in zip(runners, outcomes, strict=True)
            if (why := _not_reloaded(outcome, generation)) is not None
        ]
        for peer, outcome in zip(runners, outcomes, strict=True):
            if isinstance(outcome, TimedOut):  # the job is not begun any more, but a letter is read some time
                self.process.node.post(peer, CATCH_UP, b"")
        if missing:
            raise MiError(500, "Reload is not complete", "\n".join(missing))
        return "OK"

    def _peers(self) -> list[Peer]:
        return [*self.process.node.peers(), self.process.peer]

    def _alive(self) -> list[Row]:
        return [row for row in self.house.table if row.pid]

    def _title(self, row: Row) -> str:
        title = TITLES[row.role]
        return " ".join([title, *map(str, self.house.settings.listen)]) if row.role == SIP else title


def server_name() -> str:
    """As `version` and the `--version` of the command line show it."""
    return f"layby ({package_version('layby')} ({platform.machine()}/{platform.system().lower()}))"


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


def _level(params: Params) -> int:
    level = params.integer("level")
    if level not in _LEVELS:
        raise MiError(400, "Bad parameter value", f"level must be from {_LEVELS[0]} to {_LEVELS[-1]}")
    return level
