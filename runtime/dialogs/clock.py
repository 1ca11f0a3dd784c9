"""The clock of all dialogs, in the MI process: it finds what is due and gives it to the SIP processes by turns.

What it finds is claimed in the store by the same transaction that finds it, so a second clock, or this one after it was
killed and replaced, finds it again only when its lease is over and nobody has dealt with it.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import msgpack

from runtime.clock import epoch_now, monotonic_now
from runtime.dialogs.store import DialogStore
from runtime.dialogs.telling import DUE, raise_moved
from runtime.errands import sip_peers
from runtime.sip.dialog_words import Effect, Moved, Replied
from runtime.store import StoreError
from workers.jobs import Peer

if TYPE_CHECKING:
    from runtime.process import Process
    from runtime.sip.dialog import Dialog

log = logging.getLogger("layby.dialog")

PERIOD_S: Final = 0.5
"""How late a dialog may be found due that was not known to be when the clock looked last."""
_SOONEST_S: Final = 0.01
AT_ONCE: Final = 200


class DialogClock:
    """See the module.

    Args:
        process: where it runs.
        store: the dialogs of all.
        count: counts a statistic of the module.
    """

    def __init__(self, process: Process, store: DialogStore, count: Callable[[str], None]) -> None:
        self._count = count
        self._process = process
        self._store = store
        self._turns = itertools.count()
        process.loop.call_soon(self._tick)

    def owner_died(self, owner: str) -> None:
        """A process died, and with it the INVITE transactions that it had: their dialogs are over.

        Args:
            owner: the process, as ``name.incarnation``.
        """
        now, wall = monotonic_now(), epoch_now()
        lost = Replied(500, "", "", [], 0, now, wall)
        numbers = [dialog.id for dialog in self._store.setting_up() if dialog.owner == owner]
        try:
            for number in numbers:
                found = self._store.update(number, lambda dialog: dialog.handle(lost))
                if found is not None:
                    self._count("failed_dialogs")
                    self._raise(*found)
        except StoreError as error:
            log.error("the dialogs of %s wait for their time to be over: %s", owner, error)

    def _raise(self, dialog: Dialog, effects: list[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, Moved):
                raise_moved(self._process.house, dialog, effect.old, effect.new)

    def _tick(self) -> None:
        delay_s = PERIOD_S
        try:
            delay_s = self._look()
        except StoreError as error:
            log.error("what is due cannot be claimed: %s", error)
        self._process.loop.call_later(delay_s, self._tick)

    def _look(self) -> float:
        """Give out what is due; in how many seconds to look again."""
        now = monotonic_now()
        due = self._store.next_due()
        if due is None:
            return PERIOD_S
        if due <= now:
            peers = sip_peers(self._process)
            if not peers:
                return PERIOD_S  # all of them are being replaced
            self._give_out(self._store.claim(now, AT_ONCE), peers)
            due = self._store.next_due() or now + PERIOD_S
        return min(PERIOD_S, max(_SOONEST_S, due - now))

    def _give_out(self, numbers: list[int], peers: list[Peer]) -> None:
        first = next(self._turns)
        for at in range(min(len(peers), len(numbers))):
            peer = peers[(first + at) % len(peers)]
            self._process.node.post(peer, DUE, msgpack.packb(numbers[at :: len(peers)]))
