"""Which destinations are probed now, and what an answer means for them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Final

from runtime.dispatching.destinations import Destination, ProbeMode, State, Word
from runtime.dispatching.partition import Partition
from runtime.probing import Probe
from runtime.sip.forward import MAX_FORWARDS

_OK: Final = 200
_TIMED_OUT: Final = 408


class Probes:
    """The destinations of all partitions, as a `Prober` wants them. One that is in several sets is probed once.

    Args:
        partitions: whose.
        always: whether active destinations are probed too, unless their row says otherwise.
        sets: the sets that are probed; empty for all.
        socket: the index of the socket to send from, where a row names none.
        max_forwards: Max-Forwards; below 0 for what is usual.
        alive: the statuses beside 200 that say that a destination is alive.
    """

    def __init__(
        self,
        partitions: Sequence[Partition],
        *,
        always: bool,
        sets: Collection[int],
        socket: int | None,
        max_forwards: int,
        alive: Collection[int],
    ) -> None:
        self._partitions = partitions
        self._always = always
        self._sets = sets
        self._socket = socket
        self._max_forwards = MAX_FORWARDS if max_forwards < 0 else max_forwards
        self._alive = alive
        self._seen: list[tuple[int, int]] = []
        self._targets: dict[str, Probe] = {}
        self._destinations: dict[str, tuple[Partition, list[Destination]]] = {}

    def targets(self) -> Mapping[str, Probe]:
        """What is to be probed now: the same mapping as before where nothing has changed."""
        seen = [one.stamp() for one in self._partitions]
        if seen != self._seen:
            self._seen, self._targets, self._destinations = seen, {}, {}
            for partition in self._partitions:
                self._add(partition)
        return self._targets

    def _add(self, partition: Partition) -> None:
        destinations, settings = partition.generation().destinations, partition.settings
        for one, state in zip(destinations, partition.states(destinations), strict=True):
            if not self._is_probed(one, state):
                continue
            key = f"{partition.name} {one.uri} {one.socket}"
            self._destinations.setdefault(key, (partition, []))[1].append(one)
            socket = self._socket if one.send_socket is None else one.send_socket
            self._targets[key] = Probe(one.uri, settings.ping_method, settings.ping_from, socket, self._max_forwards)

    def _is_probed(self, one: Destination, state: int) -> bool:
        if state == State.INACTIVE or (self._sets and one.set_id not in self._sets):
            return False
        mode = one.probe_mode
        return state == State.PROBING or mode == ProbeMode.ALWAYS or (mode == ProbeMode.AS_MODULE and self._always)

    def answered(self, key: str, status: int) -> None:
        """The probe of a target has ended with a status."""
        found = self._destinations.get(key)
        if found is None:
            return
        partition, destinations = found
        is_alive = status == _OK or (status in self._alive and status != _TIMED_OUT)
        partition.heard(destinations, Word.ANSWERED if is_alive else Word.FAILED, f"probe: {status}")
