"""A partition as one process sees it: the last generation, the states of its destinations, and how both change."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from runtime.dispatching.board import Board, Locks
from runtime.dispatching.choosing import Chooser
from runtime.dispatching.destinations import (
    MAX_DESTINATIONS,
    Destination,
    Health,
    State,
    Word,
    after,
    allot,
    read_rows,
)
from runtime.dispatching.generation import EMPTY, Figures, Generation, unpacked
from runtime.dispatching.partitions import PartitionSettings
from runtime.modules.texts import script_text

if TYPE_CHECKING:
    from runtime.dispatching.tables import DispatcherTable
    from runtime.status_reports import StatusReports
    from runtime.store import Store, Table

log = logging.getLogger("layby.dispatcher")

TABLE: Final = "dispatcher"
"""Where the packed generations are in the store, by the names of their partitions."""
SCRIPT_ATTRS: Final = "dispatcher_attrs"
"""Where attributes from scripts are, by slots."""
RELOADING: Final = "dispatcher.reload"
CHANGING: Final = "dispatcher.states"
MAX_SCRIPT_ATTRS: Final = 64 * 1024
GROUP: Final = "dispatcher"
"""What the partitions' status and reports are found under."""
_TOLD: Final = 20
"""Rows that were skipped of which each is told in the log; of more there is a sum."""

OnChange = Callable[["Partition", Destination, int, str], None]


class Shared(NamedTuple):
    """What the partitions of one process have in common.

    Args:
        board: states and counters.
        store: where generations lie.
        locks: `RELOADING` and `CHANGING`.
        process: which process it is, for what each counts for itself.
        status: where it is told how the partitions are.
        on_change: told of each change of a state that this process makes: the partition, the destination, its new
            state, and why.
    """

    board: Board
    store: Store
    locks: Locks
    process: int
    status: StatusReports
    on_change: OnChange


class Partition:
    """See the module.

    Args:
        index: its place among the partitions.
        settings: what the script says of it.
        table: its rows.
        threshold: how often a destination may fail.
        socket_of: finds the index of a listening socket.
    """

    def __init__(
        self,
        index: int,
        settings: PartitionSettings,
        table: DispatcherTable,
        threshold: int,
        socket_of: Callable[[str], int | None],
    ) -> None:
        self.index = index
        self.settings = settings
        self.table = table
        self._threshold = threshold
        self._socket_of = socket_of
        self._generation = EMPTY
        self._choosers: dict[tuple[int, bool], Chooser] = {}
        self._version = -1

    @property
    def name(self) -> str:
        """As functions and commands name it."""
        return self.settings.name

    def enter(self, shared: Shared) -> None:
        """From now on it is seen from this process."""
        self._shared = shared
        self._board = shared.board
        self._records: Table = shared.store.table(TABLE)
        self._attrs: Table = shared.store.table(SCRIPT_ATTRS)

    # Reading.

    def stamp(self) -> tuple[int, int]:
        """Another one whenever a destination or a state has changed."""
        return self._board.generation(self.index), self._board.version(self.index)

    def generation(self) -> Generation:
        """The destinations as they were loaded last, by whichever process."""
        # Greater, not another one: a process that was killed before its flip may have left a later one in the store.
        if self._board.generation(self.index) > self._generation.number:
            self._generation = self._stored(self.name)
            self._choosers.clear()
        return self._generation

    def chooser(self, set_id: int, *, keep_last: bool) -> tuple[Chooser, Sequence[Destination]] | None:
        """A set as it is now, with its destinations; None where there is no such set."""
        generation, version = self.generation(), self._board.version(self.index)
        if version != self._version:
            self._choosers.clear()
            self._version = version
        members = generation.sets.get(set_id)
        if members is None:
            return None
        found = self._choosers.get((set_id, keep_last))
        if found is None:
            weights = [one.weight for one in members]
            found = self._choosers[set_id, keep_last] = Chooser(weights, self.states(members), keep_last=keep_last)
        return found, members

    def states(self, destinations: Sequence[Destination]) -> list[int]:
        """Their states now."""
        return [self._board.state(one.slot) for one in destinations]

    def turn(self, members: Sequence[Destination]) -> int:
        """Count one turn of a set; how many there were before."""
        return self._board.turn(members[0].slot)

    def hit(self, one: Destination) -> None:
        """Count that a destination was chosen first."""
        self._board.hit(self._shared.process, one.slot)

    def hits(self, one: Destination) -> int:
        """How often it was chosen first."""
        return self._board.hits(one.slot)

    # States.

    def set_state(self, destinations: Sequence[Destination], state: State, reason: str) -> None:
        """Somebody says what state they have."""
        self._change(destinations, lambda _: Health(state), reason)

    def heard(self, destinations: Sequence[Destination], word: Word, reason: str) -> None:
        """Something was seen of them."""
        self._change(destinations, lambda health: after(health, word, self._threshold), reason)

    def _change(
        self, destinations: Sequence[Destination], become: Callable[[Health], Health], reason: str, *, save: bool = True
    ) -> None:
        board, changed = self._board, []
        save = save and self.settings.persistent_state
        with self._shared.locks.held(CHANGING):
            slots = self.generation().slots
            for one in destinations:
                if slots.get(one.key) != one.slot:
                    continue  # it has gone since the caller looked, and its slot is nobody's, or will be another's
                before = board.health(one.slot)
                now = become(before)
                if now != before:
                    board.set(self.index, one.slot, now, save=save)
                if now.state != before.state:
                    changed.append((one, now.state))
        for one, state in changed:
            text = f"{script_text(one.uri)} of set {one.set_id} is {State(state).title}: {reason}"
            self._shared.status.report(GROUP, f"{self.name};events", text)
            self._shared.on_change(self, one, state, reason)

    # Attributes from scripts.

    def push_attrs(self, destinations: Sequence[Destination], attrs: str) -> None:
        """Set what scripts have to say of destinations.

        Raises:
            StoreError: there is no room.
        """
        data = attrs.encode("latin-1", "replace")
        with self._shared.store.writing() as transaction:
            for one in destinations:
                transaction.put(_slot_key(one.slot), data, db=self._attrs)

    def attrs_of(self, one: Destination) -> str:
        """What scripts have said of a destination; empty for nothing."""
        with self._shared.store.reading() as transaction:
            data = transaction.get(_slot_key(one.slot), db=self._attrs)
        return "" if data is None else bytes(data).decode("latin-1")

    # Loading.

    def reload(self, others: Sequence[str], *, inherit: bool) -> Figures:
        """Read the table and let all processes have it. What cannot be read leaves everything as it is.

        Args:
            others: the names of the other partitions.
            inherit: whether destinations that were there keep their states; otherwise they have those of the table.

        Raises:
            DatabaseError: the database cannot be had.
            Refused: there are too many destinations.
            StoreError: there is no room.
        """
        with (
            self._shared.status.loading(GROUP, self.name, anew=self.generation() is not EMPTY) as report,
            # One reload after the other: what is read later is what holds.
            self._shared.locks.held(RELOADING),
        ):
            found = self._reload(others, inherit=inherit)
            report(f"{found.loaded} destinations, {len(found.refused)} rows skipped")
        self._tell(found.refused)
        return found

    def _reload(self, others: Sequence[str], *, inherit: bool) -> Figures:
        if not inherit:
            self.save(MAX_DESTINATIONS)  # else a state that is not in the table yet would be lost
        with self.table.rows() as rows:
            read = read_rows(rows, self._socket_of)
        old = self._stored(self.name)
        taken = {slot for name in others for slot in self._stored(name).slots.values()}
        had = old.slots
        slots = allot((one.key for one in read.destinations), had, taken)
        made = [one._replace(slot=slot) for one, slot in zip(read.destinations, slots, strict=True)]
        self._flip(Generation(old.number + 1, made), had, inherit=inherit)
        return Figures(len(made), read.refused)

    def _flip(self, new: Generation, had: Mapping[tuple[int, str, str], int], *, inherit: bool) -> None:
        fresh = [one for one in new.destinations if one.key not in had]
        for one in fresh:
            # Nobody looks there: the slot is no one's in any generation that is current.
            self._board.clear(one.slot, self._first_state(one))
        with self._shared.store.writing() as transaction:
            transaction.put(self.name.encode(), new.packed(), db=self._records)
            for one in fresh:
                transaction.delete(_slot_key(one.slot), db=self._attrs)
        kept = new.slots
        with self._shared.locks.held(CHANGING):
            for key, slot in had.items():
                if key not in kept:
                    self._board.forget(slot)
            # Only now: a number that is not in the store yet would be looked for again and again.
            self._board.flip(self.index, new.number)
        if not inherit:
            for one in new.destinations:
                if one.key in had:
                    self._begin_anew(one)

    def _begin_anew(self, one: Destination) -> None:
        first = Health(self._first_state(one))
        self._change([one], lambda _: first, "reload", save=False)

    def _first_state(self, one: Destination) -> int:
        return one.state if self.settings.persistent_state else State.ACTIVE

    def _stored(self, name: str) -> Generation:
        with self._shared.store.reading() as transaction:
            data = transaction.get(name.encode(), db=self._records)
        return EMPTY if data is None else unpacked(bytes(data))

    def _tell(self, refused: Sequence[str]) -> None:
        for why in refused[:_TOLD]:
            log.error("partition %s: skipped %s", self.name, why)
        if len(refused) > _TOLD:
            log.error("partition %s: skipped %d rows more", self.name, len(refused) - _TOLD)

    # The database.

    def save(self, most: int) -> int:
        """Write states that the database has not got, up to `most`; how many they were.

        Raises:
            DatabaseError: the database cannot be had, and they still wait.
        """
        waiting = [one for one in self.generation().destinations if self._board.is_unsaved(one.slot)][:most]
        if not waiting:
            return 0
        states = self.states(waiting)
        self.table.save(zip(waiting, states, strict=True))
        for one, state in zip(waiting, states, strict=True):
            self._board.saved(one.slot, state)
        return len(waiting)


def _slot_key(slot: int) -> bytes:
    return slot.to_bytes(4, "big")
