"""The server's processes as the system shows them, and what they have: memory, descriptors, files."""

from __future__ import annotations

import contextlib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from mi_load.site import MIB, memory_mib
from pools_peers.processes import descendants

from soak_load.ledger import Role
from soak_load.site import SHARED_MEMORY

_TITLE: Final = re.compile(rb"layby: ((sip|worker|mi)-[0-9]+)")


class Process(NamedTuple):
    """One of the processes below the attendant."""

    pid: int
    name: str
    role: Role


def processes(attendant: int) -> list[Process]:
    """Those that have their name already, in the order of their names."""
    found = []
    for pid in descendants(attendant):
        with contextlib.suppress(OSError):  # it has just ended
            title = _TITLE.match(Path(f"/proc/{pid}/cmdline").read_bytes())
            if title:
                role: Role = title[2].decode()  # type: ignore[assignment]
                found.append(Process(pid, title[1].decode(), role))
    return sorted(found, key=lambda one: (one.role, one.name))


@dataclass(frozen=True, slots=True)
class Sample:
    """What the house has at one moment.

    Args:
        at: seconds since the load began.
        memory_mib, descriptors: of each process by PID, the attendant's included; memory is the proportional share.
        files, files_mib: in the runtime folder, and what they take of the memory that it lies in.
        mapped: files of /dev/shm that the processes have mapped, those that are deleted included.
        dropped: datagrams for which the server's socket has had no room, since it was opened.
    """

    at: float
    memory_mib: dict[int, float]
    descriptors: dict[int, int]
    files: int
    files_mib: float
    mapped: int
    dropped: int


def sample(at: float, attendant: int, folder: Path, port: int) -> Sample:
    """Look at everything now. A process that ends meanwhile is left out."""
    memory, descriptors, mapped = {}, {}, set()
    for pid in [attendant, *(one.pid for one in processes(attendant))]:
        with contextlib.suppress(OSError):
            memory[pid] = memory_mib(pid)
            descriptors[pid] = len(os.listdir(f"/proc/{pid}/fd"))
            mapped |= _shared_files(pid)
    files = [path for path in folder.rglob("*")]
    return Sample(at, memory, descriptors, len(files), sum(map(_allocated, files)) / MIB, len(mapped), _dropped(port))


def _shared_files(pid: int) -> set[str]:
    lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
    return {line.split(maxsplit=5)[5] for line in lines if str(SHARED_MEMORY) in line}


def _allocated(path: Path) -> int:
    with contextlib.suppress(OSError):
        return path.lstat().st_blocks * 512
    return 0


def _dropped(port: int) -> int:
    """The last column of /proc/net/udp (proc(5)), of the socket on that port."""
    for line in Path("/proc/net/udp").read_text().splitlines()[1:]:
        words = line.split()
        if words[1].endswith(f":{port:04X}"):
            return int(words[-1])
    return 0
