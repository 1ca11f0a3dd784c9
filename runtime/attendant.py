"""The attendant: opens the sockets, forks everybody and looks after them. It runs no traffic."""

from __future__ import annotations

import gc
import logging
import mmap
import os
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import FrameType
from typing import Final

from mi_script.builtin import register_builtin
from mi_script.commands import Registry, commands_of
from runtime import roles
from runtime.clock import epoch_now
from runtime.command_figures import CommandFigures
from runtime.counters import COUNTERS, GAUGES
from runtime.folder import RuntimeFolder
from runtime.handover import Handover, Marks
from runtime.house import House, slots_of
from runtime.log_levels import Consumers, Levels
from runtime.logs import configure
from runtime.mi_process import MiProcess
from runtime.modules.base import RuntimeModule
from runtime.modules.catalog import ALWAYS
from runtime.process import Process
from runtime.process_table import ProcessTable, Row
from runtime.program import Program
from runtime.readers import Readers
from runtime.settings import Settings, SettingsError
from runtime.sip.own import OwnAddresses, aliases_of
from runtime.sip.ownership import ORDERED, Claims, Fingerprints
from runtime.sip.reading import State
from runtime.sip_process import SipProcess
from runtime.statistics import Statistics
from runtime.transports.base import ListenSocket, allow_files, open_sockets
from runtime.transports.streams import peers_slots
from runtime.worker_process import WorkerProcess
from workers.birth import Child
from workers.channel import channel_of, inbox_path
from workers.jobs import Peer
from workers.loads import LoadBoard
from workers.policy import DEFAULT_LIMITS
from workers.supervision import RETIRED
from workers.tree import ProcessTree, Role
from workers.tree_events import Died, Draining, Event, GaveUp, Ready, Restarting, Retiring, Started, Stopped

log = logging.getLogger("layby.attendant")


def serve(program: Program, settings: Settings, arguments: Sequence[str]) -> int:
    """Run a server until it is told to stop.

    Args:
        program: the script, loaded.
        settings: what script and command line have settled.
        arguments: the command line, for the MI command `arg`.

    Returns:
        The exit code: 0 after a shutdown that was asked for.

    Raises:
        SettingsError: an address or the runtime folder cannot be had, or a module's settings are wrong.
    """
    # Until the tree takes the signals over: an end during the start shall clean up too.
    signal.signal(signal.SIGTERM, _leave)
    folder = RuntimeFolder.make(settings.folder)
    try:
        if settings.open_files is not None:
            allow_files(settings.open_files)
        sockets = open_sockets(settings.listen, settings.streams)
        try:
            return _serve(furnish(program, settings, folder, sockets, arguments))
        finally:
            for one in sockets:
                one.close()
    finally:
        folder.close()


def _leave(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


def furnish(
    program: Program, settings: Settings, folder: RuntimeFolder, sockets: list[ListenSocket], arguments: Sequence[str]
) -> House:
    """Make all that the processes will share, and give it to the modules."""
    slots = slots_of(settings)
    fingerprints = Fingerprints(mmap.mmap(-1, Fingerprints.size(settings.udp_workers)), settings.udp_workers)
    house = House(
        settings=settings,
        folder=folder.path,
        sockets=sockets,
        own=OwnAddresses(settings.listen, aliases_of(program.checked.globals)),
        program=program,
        registry=Registry(),
        statistics=Statistics(slots),
        table=ProcessTable(slots),
        board=LoadBoard(mmap.mmap(-1, LoadBoard.size(slots)), slots),
        levels=Levels.shared(slots, settings.log_level),
        xlog_levels=Levels.shared(slots, settings.xlog_level),
        consumers=Consumers(not settings.log_stderr, not settings.log_syslog),
        fingerprints=fingerprints,
        claims=Claims(fingerprints, None if ORDERED else os.memfd_create("layby-claims")),
        handover=Handover(settings.udp_workers),
        marks=mmap.mmap(-1, settings.udp_workers * 8),
        readers=Readers(mmap.mmap(-1, Readers.size(settings.udp_workers)), settings.udp_workers),
        peers=_peers(settings),
        attendant_pid=os.getpid(),
        arguments=arguments,
    )
    for group, names in COUNTERS.items():
        house.statistics.declare(group, names)
    for group, names in GAUGES.items():
        house.statistics.declare_gauges(group, names)
    register_builtin(house.registry)
    for name, module in program.modules.items():
        if isinstance(module, RuntimeModule):
            try:
                module.furnish(house)
                house.registry.extend(commands_of(module, "core" if name in ALWAYS else name))
            except ValueError as error:
                raise SettingsError(f"module {name}: {error}") from error
    house.figures = CommandFigures(slots, house.registry.names())
    for module in program.modules.values():
        if isinstance(module, RuntimeModule):
            module.furnished()
    return house


def _peers(settings: Settings) -> Fingerprints:
    processes, slots = settings.udp_workers, peers_slots(settings.streams)
    return Fingerprints(mmap.mmap(-1, Fingerprints.size(processes, slots)), processes, slots)


_PLANNED: Final = frozenset({"exit code 0", RETIRED})
"""Ends of processes that are no fault."""


@dataclass(slots=True)
class Caretaker:
    """Keeps the shared tables true to the tree's events. `Died` comes before the replacement is forked.

    Args:
        house: what the processes share.
        child_died: told of the PID of each that is dead.
    """

    house: House
    child_died: Callable[[int], object]

    def __call__(self, event: Event) -> None:
        match event:
            case Started(peer, slot, pid):
                self.house.table.write(self._row(peer, slot, pid))
            case Ready(peer):
                log.debug("%s is up", peer)
            case Died(peer, slot, pid, status):
                log.log(
                    logging.INFO if status in _PLANNED else logging.ERROR,
                    "%s (PID %d) ended: %s",
                    peer,
                    pid,
                    status,
                )
                if pid:
                    self.child_died(pid)
                inbox_path(self.house.folder, peer).unlink(missing_ok=True)  # who is killed cannot remove it
                self.house.table.write(self._row(peer, slot, 0))
                self.house.board.clear_slot(slot)
                if slot < self.house.settings.udp_workers:
                    self.house.fingerprints.clear(slot)
                    Marks.clear(self.house.marks, slot)
                    self.house.readers.set(slot, State.ABSENT)
                    self.house.peers.clear(slot)
            case Restarting(peer, _, after_s):
                log.warning("%s starts in %.1f s", peer, after_s)
            case Retiring(peer):
                log.info("%s is not needed any more", peer)
            case GaveUp(_, reason):
                log.critical("giving up: %s", reason)
            case Draining(within_s):
                log.info("shutting down; up to %.1f s for what is under way", within_s)
            case Stopped():
                pass

    def _row(self, peer: Peer, slot: int, pid: int) -> Row:
        return Row(slot, pid, peer.incarnation, peer.incarnation - 1, epoch_now(), roles.role_of(peer.name))


def _serve(house: House) -> int:
    settings = house.settings
    logs = configure(
        settings.log_level,
        settings.log_stderr,
        settings.log_syslog,
        settings.log_prefix,
        settings.log_json,
        levels=house.levels,
        consumers=house.consumers,
    )
    try:
        tree = ProcessTree(
            _roles(house),
            title="layby",
            drain_s=settings.drain_s,
            on_event=Caretaker(house, logs.child_died),
            on_tell=lambda peer, topic, body: None,
            prepare=lambda child: logs.in_child(child.peer.name, child.slot),
        )
        if settings.mi_workers:
            tree.oversee(roles.WORKER, house.board, limits=DEFAULT_LIMITS)
        addresses = " ".join(str(listen) for listen in settings.listen)
        log.info("serving %s on %s (runtime folder %s)", house.program.path, addresses, house.folder)
        # Only loaded, once for all: what it opens, and its threads, come after the forks. Loaded by each process it was
        # 3.3 MB of that process's own memory, and 7 ms of its start.
        channel_of(settings.transport)
        # What is loaded by now lives as long as the server; out of the collector's sight it stays shared.
        gc.collect()
        gc.freeze()
        try:
            return tree.run()
        finally:
            _finish(house)
    finally:
        logs.close()


def _finish(house: House) -> None:
    for name, module in house.program.modules.items():
        if isinstance(module, RuntimeModule):
            try:
                module.finish(house)
            except Exception:
                log.exception("module %s could not put away what it has", name)


def _roles(house: House) -> list[Role]:
    def main_of(kind: type[Process]) -> Callable[[Child], int]:
        return lambda child: kind(child, house).run()

    sip, workers = house.settings.udp_workers, house.settings.mi_workers
    found = [Role(roles.SIP, sip, main_of(SipProcess), first_slot=0, executes=workers == 0)]
    if workers:
        most = house.settings.mi_workers_max
        found.append(Role(roles.WORKER, workers, main_of(WorkerProcess), first_slot=sip, executes=True, max_count=most))
    first_mi = sip + house.settings.mi_workers_max
    found.append(Role(roles.MI, 1, main_of(MiProcess), first_slot=first_mi, executes=False))
    return found
