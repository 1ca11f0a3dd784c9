"""The MI commands and statistics about memory.

A process of this server is a Python interpreter: its private memory is what the kernel gives it, and there is no pool
of a fixed size that could be dumped. What all processes share is tables of fixed sizes and the LMDB environments in
the runtime folder.
"""

from __future__ import annotations

import gc
import json
import logging
import sys
from functools import partial
from typing import TYPE_CHECKING, Final

import msgpack

from mi_script.commands import Json, MiError, Params, command
from runtime.asking import ask
from runtime.log_levels import HIGHEST, to_python
from runtime.memory import available, memory_of, peak_of
from runtime.modules.base import RuntimeModule
from runtime.modules.log_commands import level_of
from runtime.modules.processes import alive, title_of

if TYPE_CHECKING:
    from runtime.house import House
    from runtime.process import Process

log = logging.getLogger("layby.mi")

_BLOCK: Final = 512
"""Bytes of what stat(2) counts in."""
_HEAP: Final = "heap"
"""The question what a process's interpreter says of its memory."""


class MemoryCommands(RuntimeModule):
    """The commands, for the core to inherit."""

    def furnish(self, house: House) -> None:
        super().furnish(house)
        compute = house.statistics.compute
        compute("shmem", "total_size", lambda: house.shared_bytes() + self.process.store.size())
        for name in ("used_size", "real_used_size", "max_used_size"):
            compute("shmem", name, lambda: house.shared_bytes() + self.process.store.used())
        compute("shmem", "free_size", lambda: self.process.store.size() - self.process.store.used())
        for number in range(house.slots + 1):
            there = partial(self._is_there, number)
            compute("pkmem", f"{number}-real_used_size", partial(self._private, number), there)
            compute("pkmem", f"{number}-max_used_size", partial(self._peak, number), there)
            compute("pkmem", f"{number}-free_size", available, there)

    def enter(self, process: Process) -> None:
        super().enter(process)
        process.questions[_HEAP] = _heap

    @command("mem_pkg_dump", ("pid",), ("pid", "log_level"), idempotent=True, cost="quick", aliases=("mem:pkg_dump",))
    async def mem_pkg_dump(self, params: Params) -> Json:
        """The private memory of one process, in bytes, and what its interpreter says of it; logged, too."""
        pid, level = params.integer("pid"), self._level(params)
        title = self._titles().get(pid)
        memory = None if title is None else memory_of(pid)
        if title is None or memory is None:
            raise MiError(404, "Process not found")
        dump: dict[str, Json] = {
            "PID": pid,
            "Type": title,
            "RSS": memory.rss,
            "PSS": memory.pss,
            "Private": memory.private,
            "Shared": memory.shared,
            "Swap": memory.swap,
            "Peak RSS": peak_of(pid),
            "Heap": await self._heap_of(pid),
        }
        return _logged(dump, "Memory status (pkg)", level)

    async def _heap_of(self, pid: int) -> Json:
        """What the interpreter says; None where it does not answer, as the attendant, which runs no commands."""
        slots = {row.slot for row in alive(self.house) if row.pid == pid}
        known = {peer: slot for peer, (slot, _) in self.process.node.peers().items()}
        known[self.process.peer] = self.process.slot
        answers = await ask(self.process, [peer for peer, slot in known.items() if slot in slots], _HEAP)
        return msgpack.unpackb(answers.said[0]) if answers.said else None

    @command("mem_shm_dump", (), ("log_level",), idempotent=True, aliases=("mem:shm_dump",))
    def mem_shm_dump(self, params: Params) -> Json:
        """The memory that the processes share, in bytes: tables of fixed sizes, LMDB environments; logged, too."""
        level = self._level(params)
        stores = {path.parent.name: path.stat() for path in sorted(self.house.folder.glob("*/data.mdb"))}
        parts: list[Json] = [{"Name": "tables", "Size": self.house.shared_bytes()}]
        parts += [{"Name": name, "Size": found.st_blocks * _BLOCK} for name, found in stores.items()]
        return _logged({"Parts": parts}, "Memory status (shm)", level)

    @command("mem_rpm_dump", (), ("log_level",), idempotent=True, aliases=("mem:rpm_dump",))
    def mem_rpm_dump(self, params: Params) -> Json:
        """Refused: no memory outlives a restart; what is to outlive it is in the database."""
        raise MiError(404, "Functionality disabled", "no memory outlives a restart")

    @command("shm_check", (), idempotent=True, aliases=("mem:shm_check", "mem_shm_check"))
    def shm_check(self, params: Params) -> Json:
        """Free what dead processes still hold of the shared store, and say which tables were too small."""
        house = self.house
        overflows = sum(house.fingerprints.overflows(slot) for slot in range(house.settings.udp_workers))
        return {"Stale readers": self.process.store.free_readers(), "Transactions without a place": overflows}

    def _level(self, params: Params) -> int:
        return level_of(params, "log_level") if "log_level" in params else HIGHEST

    def _titles(self) -> dict[int, str]:
        rows = {row.pid: title_of(self.house, row) for row in alive(self.house)}
        return {self.house.attendant_pid: "attendant", **rows}

    def _is_there(self, number: int) -> bool:
        return self._pid(number) > 0

    def _private(self, number: int) -> int:
        memory = memory_of(self._pid(number))
        return 0 if memory is None else memory.private

    def _peak(self, number: int) -> int:
        return peak_of(self._pid(number))

    def _pid(self, number: int) -> int:
        """The PID of the process that `ps` shows under a number; -1, which nobody has, where there is none."""
        return (self.house.table.read(number - 1).pid or -1) if number else self.house.attendant_pid


def _logged(dump: dict[str, Json], title: str, level: int) -> Json:
    log.log(to_python(level), "%s: %s", title, json.dumps(dump))
    return dump


def _heap(body: bytes) -> bytes:
    # Nothing here walks over the objects: a SIP process answers this, too.
    heap = {
        "Allocated blocks": sys.getallocatedblocks(),
        "Collections": [one["collections"] for one in gc.get_stats()],
        "Collected": [one["collected"] for one in gc.get_stats()],
        "New objects": gc.get_count()[0],
        "Frozen objects": gc.get_freeze_count(),
    }
    return bytes(msgpack.packb(heap))
