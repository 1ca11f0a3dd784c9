"""What every process of one server inherits: made by the attendant before the first fork, shared from then on."""

from __future__ import annotations

import mmap
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from mi_script.commands import Registry
from runtime.clock import epoch_now
from runtime.command_figures import CommandFigures
from runtime.handover import Handover
from runtime.log_levels import Consumers, Levels
from runtime.process_table import ProcessTable
from runtime.readers import Readers
from runtime.roles import MI, SIP, WORKER
from runtime.settings import Settings
from runtime.sip.own import OwnAddresses
from runtime.sip.ownership import Claims, Fingerprints
from runtime.statistics import Statistics
from runtime.transports.base import ListenSocket
from runtime.transports.streams import peers_slots
from workers.loads import LoadBoard

if TYPE_CHECKING:
    from runtime.program import Program


@dataclass(slots=True)
class House:
    """The server, apart from any one process.

    Slots number all processes: SIP processes first (their number is also their row among the fingerprints),
    then the job workers, as many as there may be, then the MI process. A replacement takes the slot of the process
    that it replaces.
    """

    settings: Settings
    folder: Path
    sockets: list[ListenSocket]
    own: OwnAddresses
    program: Program
    registry: Registry
    statistics: Statistics
    table: ProcessTable
    board: LoadBoard
    levels: Levels
    xlog_levels: Levels
    consumers: Consumers
    fingerprints: Fingerprints
    claims: Claims
    handover: Handover
    marks: mmap.mmap
    """One cell for each SIP process; see `runtime.handover.Marks`."""
    readers: Readers
    peers: Fingerprints
    attendant_pid: int
    arguments: Sequence[str]
    secret: tuple[int, int, int] = field(default_factory=lambda: (_random(), _random(), _random()))
    """What the branches of our Via are made with (`runtime.sip.branches`)."""
    started_at: float = field(default_factory=epoch_now)
    figures: CommandFigures = field(init=False)
    """What MI commands cost; made when all of them are known."""

    @property
    def slots(self) -> int:
        return slots_of(self.settings)

    def shared_bytes(self) -> int:
        """Bytes of anonymous shared memory."""
        settings = self.settings
        fingerprints = Fingerprints.size(settings.udp_workers)
        peers = Fingerprints.size(settings.udp_workers, peers_slots(settings.streams))
        return self.statistics.size + self.figures.size + LoadBoard.size(self.slots) + fingerprints + peers

    def names(self) -> list[str]:
        """What the processes are called, by slot."""
        settings = self.settings
        counts = ((SIP, settings.udp_workers), (WORKER, settings.mi_workers_max), (MI, 1))
        return [f"{role}-{number}" for role, count in counts for number in range(1, count + 1)]

    def wanted(self) -> list[int]:
        """The slots in which there must always be a process: all but those of workers that come and go."""
        first_worker = self.settings.udp_workers
        extra = range(first_worker + self.settings.mi_workers, first_worker + self.settings.mi_workers_max)
        return [slot for slot in range(self.slots) if slot not in extra]


def _random() -> int:
    return int.from_bytes(os.urandom(8))


def slots_of(settings: Settings) -> int:
    """How many processes there can be beside the attendant."""
    return settings.udp_workers + settings.mi_workers_max + 1
