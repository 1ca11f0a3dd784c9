"""MI commands over the pool: the jobs that are under way, and the processes that run them."""

from __future__ import annotations

import asyncio
from typing import Final

import msgpack

from mi_script.commands import Json, MiError, Params, command
from runtime.modules.base import RuntimeModule
from runtime.roles import CANCEL, JOBS, RELOAD, SIP, WORKER, role_of
from workers.jobs import JobId, Outcome, Peer, Returned

ASK_TIMEOUT_S: Final = 0.5
"""How long a process may take to say which jobs it has. One that is blocked in a command does not say."""


_OUR_OWN: Final = frozenset((JOBS, CANCEL, RELOAD, "job_list"))
"""Jobs that exist only because somebody asks."""


class Jobs(RuntimeModule):
    """Always there; a script does not load it."""

    name = "jobs"

    @command("job_list", (), idempotent=True)
    async def job_list(self, params: Params) -> Json:
        """All jobs of all processes that have no outcome yet: waiting (`queued`) or with a worker (`sent`).

        A process that is blocked in a command and does not say within half a second is named under `Silent`.
        """
        node = self.process.node
        # The workers are not asked: they run jobs, and who asked for them knows them.
        peers = [peer for peer in (*node.peers(), node.me) if role_of(peer.name) != WORKER]
        outcomes = await asyncio.gather(*(self._ask(peer, JOBS, b"") for peer in peers))
        jobs: list[Json] = []
        silent: list[Json] = []
        for peer, outcome in zip(peers, outcomes, strict=True):
            if isinstance(outcome, Returned):
                jobs.extend(job for job in msgpack.unpackb(outcome.payload) if job["command"] not in _OUR_OWN)
            else:
                silent.append(str(peer))
        return {"Jobs": jobs, "Silent": silent}

    @command("job_cancel", ("id",), ("id", "reason"))
    async def job_cancel(self, params: Params) -> Json:
        """End a job before it has an outcome: its context resumes with `$rc` -487. A running command is left to end."""
        job = JobId.parse(params.text("id"))
        if job is None:
            raise MiError(400, "Bad parameter value", "id must be as job_list shows it, e.g. sip-1.1.42")
        reason = params.text("reason") if "reason" in params else "job_cancel"
        node = self.process.node
        if job.origin != node.me and job.origin not in node.peers():
            raise MiError(404, "Job not found")
        outcome = await self._ask(job.origin, CANCEL, msgpack.packb([job.serial, reason]))
        if not isinstance(outcome, Returned):
            raise MiError(500, "No answer from the process", str(job.origin))
        if not msgpack.unpackb(outcome.payload):
            raise MiError(404, "Job not found")
        return "OK"

    @command("worker_list", (), idempotent=True)
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

    async def _ask(self, peer: Peer, handler: str, payload: bytes) -> Outcome:
        return await self.process.node.call(handler, payload, label=handler, timeout_s=ASK_TIMEOUT_S, to=peer)
