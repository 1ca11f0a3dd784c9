"""MI commands over the pool: the jobs that are under way, and the processes that run them."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

import msgpack

from mi_script.commands import Json, MiError, Params, command
from runtime.asking import ask
from runtime.modules.base import RuntimeModule
from runtime.modules.events import events_of
from runtime.modules.texts import bytes_text
from runtime.roles import ASK, COMMAND, MI, RELOAD, SIP, WORKER, role_of
from runtime.script.declare import Event
from workers.jobs import Job, JobId, Peer
from workers.stimuli import JobView
from workers.supervision import RETIRED

if TYPE_CHECKING:
    from runtime.process import Process

MAX_LISTED: Final = 20_000
"""Jobs of one process in one answer, the oldest first: what fits one message of the pool."""
_OUR_OWN: Final = frozenset((RELOAD, ASK, "job_list"))
"""Jobs that exist only because somebody asks."""
_JOBS: Final = "jobs"
_CANCEL: Final = "cancel job"
JOB_TIMEOUT: Final = Event(
    "E_JOB_TIMEOUT",
    ("command", "id", "seconds", "asked_by"),
    "Nobody waits any more for an MI command that runs as a job: the seconds that it had are over.",
)
WORKER_LOST: Final = Event(
    "E_WORKER_LOST", ("process", "pid", "reason"), "A process died that was not told to end; it is being replaced."
)
AUTO_SCALE: Final = Event(
    "E_CORE_PROC_AUTO_SCALE",
    ("group_type", "group_filter", "group_load", "scale", "process_id", "pid"),
    "A further worker has come because jobs waited or soon would (`up`), or one has gone that was not needed any more "
    "(`down`); group_load is the percentage of the workers that are occupied.",
)


class Jobs(RuntimeModule):
    """Always there; a script does not load it."""

    name = "jobs"
    events = (JOB_TIMEOUT, WORKER_LOST, AUTO_SCALE)

    def enter(self, process: Process) -> None:
        super().enter(process)
        process.on_timed_out = self._on_timed_out
        process.questions[_JOBS] = partial(_jobs, process)
        process.questions[_CANCEL] = partial(_cancel, process)
        self._pids: dict[str, int] = {}
        self._tells = role_of(process.peer.name) == MI
        """Whether this process tells of the ends of others."""

    def opened(self) -> None:
        me = self.process.peer
        if self._tells and me.incarnation > 1:  # nobody else tells of what stood here before
            self._lost(Peer(me.name, me.incarnation - 1), None, "")

    def on_peer_up(self, peer: Peer) -> None:
        if self._tells and peer in self.process.node.peers():
            row = self.house.table.read(self.process.node.peers()[peer][0])
            self._pids[peer.name] = row.pid
            if self._is_further(row.slot):
                self._scaled("up", row.slot, row.pid)

    def on_peer_down(self, peer: Peer) -> None:
        pid, reason = self._pids.pop(peer.name, None), self.process.ends.get(peer.name, "")
        if not self._tells or self.process.draining:
            return
        if reason == RETIRED:
            self._scaled("down", self.house.settings.udp_workers + int(peer.name.rpartition("-")[2]) - 1, pid)
        else:
            self._lost(peer, pid, reason)

    def _is_further(self, slot: int) -> bool:
        """Whether a slot is one of the workers that are there only while the others are not enough."""
        settings = self.house.settings
        return settings.mi_workers <= slot - settings.udp_workers < settings.mi_workers_max

    def _scaled(self, scale: str, slot: int, pid: int | None) -> None:
        loads = [load.outstanding > 0 for load in self.house.board.loads() if self.house.table.read(load.slot).pid]
        busy = round(100 * sum(loads) / max(1, len(loads)))
        events_of(self.house).tell(AUTO_SCALE, "MI", "", busy, scale, slot + 1, pid)

    def _lost(self, peer: Peer, pid: int | None, reason: str) -> None:
        events_of(self.house).tell(WORKER_LOST, str(peer), pid, bytes_text(reason))

    def _on_timed_out(self, job: Job, timeout_s: float) -> None:
        if job.kind.handler == COMMAND:
            seconds = int(timeout_s) if timeout_s == int(timeout_s) else f"{timeout_s:g}"
            told = bytes_text(job.kind.label), str(job.id), seconds, str(self.process.peer)
            events_of(self.house).tell(JOB_TIMEOUT, *told)

    @command("job_list", (), idempotent=True, aliases=("jobs:list",))
    async def job_list(self, params: Params) -> Json:
        """All jobs of all processes that have no outcome yet: waiting (`queued`) or with a worker (`sent`).

        A process that is blocked in a command and does not say within half a second is named under `Silent`.
        """
        node = self.process.node
        # The workers are not asked: they run jobs, and who asked for them knows them.
        peers = [peer for peer in (*node.peers(), node.me) if role_of(peer.name) != WORKER]
        answers = await ask(self.process, peers, _JOBS)
        jobs = [job for said in answers.said for job in msgpack.unpackb(said) if job["command"] not in _OUR_OWN]
        return {"Jobs": jobs, "Silent": [str(peer) for peer in answers.silent]}

    @command("job_cancel", ("id",), ("id", "reason"), aliases=("jobs:cancel",))
    async def job_cancel(self, params: Params) -> Json:
        """End a job before it has an outcome: its context resumes with `$rc` -487. A running command is left to end."""
        job = JobId.parse(params.text("id"))
        if job is None:
            raise MiError(400, "Bad parameter value", "id must be as job_list shows it, e.g. sip-1.1.42")
        reason = params.text("reason") if "reason" in params else "job_cancel"
        node = self.process.node
        if job.origin != node.me and job.origin not in node.peers():
            raise MiError(404, "Job not found")
        answers = await ask(self.process, [job.origin], _CANCEL, msgpack.packb([job.serial, reason]))
        if answers.silent:
            raise MiError(500, "No answer from the process", str(job.origin))
        if not msgpack.unpackb(answers.said[0]):
            raise MiError(404, "Job not found")
        return "OK"

    @command("worker_list", (), idempotent=True, aliases=("jobs:workers",))
    def worker_list(self, params: Params) -> Json:
        """The processes that run jobs: PID (0 while it is being replaced), jobs in hand and done, work, restarts."""
        house = self.house
        role, first = (WORKER, house.settings.udp_workers) if house.settings.mi_workers else (SIP, 0)
        loads = {load.slot: load for load in house.board.loads()}
        rows: list[Json] = []
        for number in range(house.settings.mi_workers_max or house.settings.udp_workers):
            row, load = house.table.read(first + number), loads[first + number]
            if not row.pid and number >= house.settings.mi_workers > 0:
                continue  # one that is there only while the others are not enough
            rows.append(
                {
                    "Name": f"{role}-{number + 1}",
                    "PID": row.pid,
                    "Load": load.outstanding,
                    "Jobs done": house.board.done_by(row.slot),
                    "Expected work [ms]": round(load.expected_s * 1000, 3),
                    "Restarts": row.restarts,
                }
            )
        return {"Workers": rows}


def _jobs(process: Process, body: bytes) -> bytes:
    """The jobs of a process that have no outcome yet, as `job_list` shows them."""
    return _packed([_row(view) for view in process.node.jobs()[:MAX_LISTED]])


def _cancel(process: Process, body: bytes) -> bytes:
    """``[serial, reason]``: cancel a job of a process; whether there was one."""
    serial, reason = msgpack.unpackb(body)
    found = [view.id for view in process.node.jobs() if view.id.serial == serial]
    return _packed(any(process.node.cancel(job, reason) for job in found))


def _row(view: JobView) -> dict[str, Any]:
    return {
        "id": str(view.id),
        "command": view.label,
        "state": view.state,
        "worker": str(view.worker) if view.worker else None,
        "age_ms": round(view.age_s * 1000),
        "remaining_ms": round(view.remaining_s * 1000),
        "asked_by": view.id.origin.name,
    }


def _packed(value: object) -> bytes:
    return bytes(msgpack.packb(value))
