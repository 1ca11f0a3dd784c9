"""Whether a server is well: all processes there that must be, and answering; room in its store."""

from __future__ import annotations

import asyncio
from collections.abc import Container
from typing import TYPE_CHECKING, Final

import msgpack

from mi_script.commands import Json
from runtime.asking import ask_one
from runtime.memory import is_stopped
from runtime.roles import SIP, STANDS_STILL, role_of
from workers.jobs import Outcome, Peer, Returned, TimedOut

if TYPE_CHECKING:
    from runtime.process import Process

_FULL: Final = 0.95
"""Which part of the store may be used: a write needs some pages more than what it writes."""


class Health:
    """Looks when somebody asks, once for all who ask at the same time.

    Args:
        process: where it is asked.
        within_s: how long a process that serves SIP may stand still, in seconds, and how long its answer may take.
    """

    def __init__(self, process: Process, within_s: float) -> None:
        self._process = process
        self._within_s = within_s
        self._looking: asyncio.Task[list[str]] | None = None

    async def report(self) -> tuple[bool, Json]:
        """Whether all is well, and the report: ``status`` is `ok` or `failing`, and ``problems`` says what is wrong."""
        if self._looking is None or self._looking.done():
            self._looking = self._process.loop.create_task(self._problems())
        problems = await asyncio.shield(self._looking)
        status = "failing" if problems else "ok"
        return not problems, {"status": status, "problems": list[Json](problems), "processes": self._there()}

    def _there(self) -> int:
        return 1 + sum(row.pid > 0 for row in self._process.house.table)

    async def _problems(self) -> list[str]:
        found: list[str] = []
        if not self._process.draining:
            stopped = self._stopped()
            found = [*self._absent(), *self._store(), *[f"{name} is stopped" for name in stopped]]
            found += await self._silent(stopped)
        # Who goes answers nobody any more, and others have gone.
        return ["the server is shutting down"] if self._process.draining else list(dict.fromkeys(found))

    def _absent(self) -> list[str]:
        """Those that are not there, or do not serve yet."""
        process, house = self._process, self._process.house
        names, serving = house.names(), {process.peer.name, *(peer.name for peer in process.node.peers())}
        return [
            f"{names[slot]} is {'starting' if house.table.read(slot).pid else 'not there'}"
            for slot in house.wanted()
            if names[slot] not in serving or not house.table.read(slot).pid
        ]

    def _store(self) -> list[str]:
        part = self._process.store.used() / self._process.store.size()
        return [f"the store is {part:.0%} full"] if part >= _FULL else []

    def _stopped(self) -> list[str]:
        """Those that a signal or a debugger has stopped; this process cannot be one."""
        house = self._process.house
        names = house.names()
        rows = [("attendant", house.attendant_pid), *[(names[row.slot], row.pid) for row in house.table if row.pid]]
        return [name for name, pid in rows if is_stopped(pid)]

    async def _silent(self, but: Container[str]) -> list[str]:
        """Those that have stood still for too long: they do not answer, or say that they serve nothing meanwhile."""
        peers = [one for one in self._process.node.peers() if role_of(one.name) == SIP and one.name not in but]
        asked = [ask_one(self._process, peer, STANDS_STILL, timeout_s=self._within_s) for peer in peers]
        outcomes = await asyncio.gather(*asked)
        found = [self._wrong(peer, outcome) for peer, outcome in zip(peers, outcomes, strict=True)]
        return [wrong for wrong in found if wrong]

    def _wrong(self, peer: Peer, outcome: Outcome) -> str:
        match outcome:
            case Returned(payload) if msgpack.unpackb(payload) < self._within_s:
                return ""
            case Returned() | TimedOut():
                return f"{peer.name} has stood still for {self._within_s:g} s"
            case _:
                return f"{peer.name} is not there"  # it has just ended
