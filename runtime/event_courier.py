"""Events on their way to the MI process, which alone has connections to subscribers.

Whoever raises one sends it as a letter and goes on. Nothing else holds letters back, so what a process has sent and the
MI process has not taken is bounded here: each process counts in shared memory what it sends, the MI process what it
takes. A letter's number shows which ones before it were lost with a process.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import msgpack

from runtime.roles import MI, role_of
from runtime.subscriptions import Notice

if TYPE_CHECKING:
    from runtime.process import Process
    from workers.jobs import Peer

MAX_EVENTS: Final = 10_000
"""Of one process, sent and not taken."""
MAX_BYTES: Final = 8 << 20
_TOPIC: Final = "event.send"
_OVERHEAD: Final = 200
"""Bytes that a letter takes beside what it says."""
_CELLS: Final = 4
_SENT, _SENT_BYTES, _TAKEN, _TAKEN_BYTES = range(_CELLS)

Deliver = Callable[[str, Notice], object]


class Ledger:
    """What each process has sent and the MI process has taken. Made before the forks.

    Args:
        slots: how many processes there can be.
    """

    def __init__(self, slots: int) -> None:
        self._memory = mmap.mmap(-1, slots * _CELLS * 8)
        self._cells = memoryview(self._memory).cast("Q")

    def row(self, slot: int) -> memoryview[int]:
        """The cells of one process."""
        return self._cells[slot * _CELLS : (slot + 1) * _CELLS]


class Courier:
    """One process's part.

    Args:
        process: it.
        ledger: what all share.
        deliver: in the MI process: called with each event and the socket that it is for.
        lost: told how many events of this process's are lost.
    """

    def __init__(self, process: Process, ledger: Ledger, deliver: Deliver, lost: Callable[[int], object]) -> None:
        self._process = process
        self._ledger = ledger
        self._deliver = deliver
        self._lost = lost
        self._row = ledger.row(process.slot)
        self._mi: Peer | None = None
        self.is_mi = role_of(process.peer.name) == MI
        if self.is_mi:
            process.letters[_TOPIC] = self._on_letter

    def send(self, socket: str, notice: Notice) -> None:
        """Have the MI process send an event to a subscriber; count it as lost where that cannot be."""
        if self.is_mi:
            self._deliver(socket, notice)
        elif not self._posted(socket, notice):
            self._lost(1)

    def _posted(self, socket: str, notice: Notice) -> bool:
        row, size = self._row, len(socket) + len(notice.params) + _OVERHEAD
        if self._mi is None or row[_SENT] - row[_TAKEN] >= MAX_EVENTS:
            return False
        if row[_SENT_BYTES] - row[_TAKEN_BYTES] + size > MAX_BYTES:
            return False
        body = msgpack.packb([self._process.slot, row[_SENT] + 1, row[_SENT_BYTES] + size, socket, *notice])
        if not self._process.node.post(self._mi, _TOPIC, body):
            return False
        row[_SENT] += 1
        row[_SENT_BYTES] += size
        return True

    def peer_up(self, peer: Peer) -> None:
        """The MI process may be there."""
        if role_of(peer.name) == MI:
            self._mi = peer

    def peer_down(self, peer: Peer) -> None:
        """The MI process may have ended: what it had not taken is lost. Its replacement begins with nothing."""
        if peer == self._mi:
            self._mi = None
            row = self._row
            if missing := row[_SENT] - row[_TAKEN]:
                self._lost(missing)
            row[_TAKEN], row[_TAKEN_BYTES] = row[_SENT], row[_SENT_BYTES]

    def _on_letter(self, sender: Peer, body: bytes) -> None:
        slot, number, total, socket, event, params = msgpack.unpackb(body)
        row = self._ledger.row(slot)
        # Below 0 where a process was killed between a letter and its note of it: the number is used again.
        if (missing := number - row[_TAKEN] - 1) > 0:
            self._lost(missing)  # they were on their way out of a process that died
        row[_TAKEN], row[_TAKEN_BYTES] = number, total
        self._deliver(socket, Notice(event, params))
