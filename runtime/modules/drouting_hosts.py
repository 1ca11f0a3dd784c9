"""The addresses of gateways that are given by a name, for telling whether a message comes from one.

A SIP process must not wait for DNS, so the MI process looks the names up, again and again, and puts down what it finds
where all processes see it. Calls to a gateway do not need this: its name is looked up when they are sent.
"""

from __future__ import annotations

import logging
import mmap
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import msgpack

from runtime.modules.complaints import Complaints
from runtime.modules.drouting_places import Located, Place, host_key
from runtime.sip.locate import NotFound
from runtime.store import MAX_KEY, Store, StoreError

if TYPE_CHECKING:
    from runtime.process import Process
    from runtime.resolver import Found

log = logging.getLogger("layby.drouting")

LOOK_EVERY_S: Final = 30.0
"""How late a change in DNS may be noticed, beside the time that the old answer was good for."""
_NEW_EVERY_S: Final = 1.0
"""How late a gateway that is new may be noticed."""
_AT_ONCE: Final = 20
"""Names that are looked up at the same time."""


class Hosts:
    """What was found, as each process sees it.

    Args:
        store: what all processes share.
        changes: shared memory, eight bytes: grows with each change.
    """

    def __init__(self, store: Store, changes: mmap.mmap) -> None:
        self._store = store
        self._table = store.table("drouting_hosts")
        self._changes = changes

    @property
    def number(self) -> int:
        """Another one after each change."""
        return int.from_bytes(self._changes[:8], "little")

    def all(self) -> Located:
        """By the URI of a gateway: where it is."""
        with self._store.reading() as transaction:
            rows = [(bytes(key), bytes(value)) for key, value in transaction.cursor(self._table)]
        return {key.decode("latin-1"): [Place(*one) for one in msgpack.unpackb(value)] for key, value in rows}

    def keep(self, uris: frozenset[str]) -> None:
        """Forget where all others are.

        Raises:
            StoreError: there is no room to note that.
        """
        gone = [uri for uri in self.all() if uri not in uris]
        if gone:
            with self._store.writing() as transaction:
                for uri in gone:
                    transaction.delete(uri.encode("latin-1"), db=self._table)

    def put(self, found: Located) -> None:
        """Put down where gateways are.

        Raises:
            StoreError: there is no room.
        """
        rows = {uri.encode("latin-1", "replace"): bytes(msgpack.packb(places)) for uri, places in found.items()}
        with self._store.writing() as transaction:
            new = {key: value for key, value in rows.items() if transaction.get(key, db=self._table) != value}
            for key, value in new.items():
                transaction.put(key, value, db=self._table)
        if new:
            self._changes[:8] = (self.number + 1).to_bytes(8, "little")


class HostWatch:
    """Looks names up. In the MI process.

    Args:
        process: where it runs.
        hosts: where to put down what is found.
        wanted: gives the URIs of the gateways that have a name; the same object for as long as they are the same.
    """

    def __init__(self, process: Process, hosts: Hosts, wanted: Callable[[], frozenset[str]]) -> None:
        self._process = process
        self._hosts = hosts
        self._wanted = wanted
        self._known: frozenset[str] = frozenset()
        self._waiting: list[str] = []
        self._under_way = 0
        self._complaints = Complaints(log, logging.WARNING)
        self._answers: dict[str, list[Place]] = {}
        """What is not put down yet: each change costs all processes a look at all gateways, so it waits for others."""
        self._next_at = 0.0
        self._supported = tuple(dict.fromkeys(one.listen.protocol for one in process.house.sockets))
        from runtime.resolver import Resolver  # dnspython takes long to import, for whoever only checks a script

        self._resolver = Resolver(process.loop, process.house.settings.dns)
        process.loop.call_soon(self._look)

    def close(self) -> None:
        """Look nothing up any more."""
        self._resolver.close()

    def _look(self) -> None:
        loop = self._process.loop
        if self._process.draining:
            return
        loop.call_later(_NEW_EVERY_S, self._look)
        self._put_down()
        wanted, now = self._wanted(), loop.time()
        if self._waiting or self._under_way or (wanted is self._known and now < self._next_at):
            return
        if wanted is not self._known:
            self._forget_all_but(wanted)
        self._known, self._next_at = wanted, now + LOOK_EVERY_S
        self._waiting = [uri for uri in wanted if len(uri) <= MAX_KEY]
        for _ in range(_AT_ONCE):
            self._begin()

    def _forget_all_but(self, wanted: frozenset[str]) -> None:
        try:
            self._hosts.keep(wanted)
        except StoreError as error:
            log.error("where gateways were that are gone is not forgotten: %s", error)

    def _begin(self) -> None:
        if not self._waiting:
            return
        uri = self._waiting.pop()
        self._under_way += 1

        def found(answer: Found) -> None:
            self._found(uri, answer)

        self._resolver.locate(uri, self._supported, found)

    def _found(self, uri: str, answer: Found) -> None:
        self._under_way -= 1
        self._begin()
        if isinstance(answer, NotFound):
            # What was known before stands: a server that does not answer for a while makes no stranger of a gateway.
            self._complaints.make(f"gateway {uri}: {answer.reason}")
        else:
            self._answers[uri] = [Place(host_key(target.host), target.port) for target in answer]
        if not self._under_way:
            self._put_down()

    def _put_down(self) -> None:
        found, self._answers = self._answers, {}
        try:
            if found:
                self._hosts.put(found)
        except StoreError as error:
            log.error("where gateways are cannot be kept: %s", error)
