"""Locating SIP servers without keeping anybody waiting (RFC 3263): questions in flight, their waiters, and the cache.

What to ask and what follows from the answers is decided by `runtime.sip.locate`. Here questions are asked, each once
however many wait for it, and whoever waits is told in a turn of the loop of its own.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final, TypeAlias

from runtime.clock import monotonic_now
from runtime.dns_client import RESOLV_CONF, Answer, DnsClient
from runtime.dns_settings import DnsSettings
from runtime.sip.dns_cache import DnsCache, Known
from runtime.sip.dns_records import Query, Unanswered
from runtime.sip.failed_targets import FailedTargets
from runtime.sip.hosts_file import Hosts
from runtime.sip.locate import Locator, NotFound, Place, Target, Targets, place_of

log = logging.getLogger("layby.dns")

SUPPORTED: Final = ("udp", "tcp")
HOSTS_FILE: Final = Path("/etc/hosts")
MAX_LOOKUPS: Final = 256
"""Questions in flight. Each has a socket, and names that nobody answers for are easily made up."""
STALE_AFTER_S: Final = 1.8
"""How long fresh answers are waited for where stale ones are there (RFC 8767 section 5)."""
_LOOK_AGAIN_S: Final = 5.0
_MAX_HOSTS_BYTES: Final = 8 << 20

Found: TypeAlias = Targets | NotFound
Done: TypeAlias = Callable[[Found], None]


@dataclass(slots=True, eq=False)
class _Search:
    """Somebody waits for targets.

    Args:
        done: whom to tell; None once that is settled.
        timers: what ends the patience, for stale answers and altogether.
        open: what it waits for.
        stale_will_do: whether stale answers are taken now.
    """

    locator: Locator
    done: Done | None
    timers: list[asyncio.TimerHandle] = field(default_factory=list)
    open: set[Query] = field(default_factory=set)
    stale_will_do: bool = False


@dataclass(slots=True)
class _Lookup:
    """A question in flight, and who waits for it."""

    task: asyncio.Task[Answer | Unanswered]
    searches: dict[_Search, None] = field(default_factory=dict)


class Resolver:
    """Finds where to send. To be made in the process that uses it, after its fork.

    Args:
        loop: this process's.
        settings: how DNS is asked.
        clock: CLOCK_MONOTONIC in seconds.
        chance: a number from 0 up to but without 1, for the weights of SRV records.
        hosts_file, resolv_conf: the system's files; both are read again when they have changed.
        asked: told of each question that was asked, and how many seconds the answer took.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        settings: DnsSettings | None = None,
        *,
        clock: Callable[[], float] = monotonic_now,
        chance: Callable[[], float] = random.random,
        hosts_file: Path = HOSTS_FILE,
        resolv_conf: Path = RESOLV_CONF,
        asked: Callable[[Query, float], object] | None = None,
    ) -> None:
        self._loop = loop
        self._asked = asked
        self._settings = settings or DnsSettings()
        self._clock = clock
        self._chance = chance
        self._client = DnsClient(loop, self._settings, resolv_conf)
        self._cache = DnsCache()
        self._failed = FailedTargets()
        self._hosts = _HostsFile(hosts_file)
        self._lookups: dict[Query, _Lookup] = {}
        self._searches: set[_Search] = set()
        """Those that are not settled."""
        self._closed = False

    def locate_nowait(self, uri: str, supported: tuple[str, ...] = SUPPORTED) -> Found | None:
        """Where to send, if that is known at once.

        Args:
            uri: the next hop.
            supported: the transports that are served, most wanted first, in lower case.

        Returns:
            targets in the order to try them, or why there are none; None when `locate` has to ask.
        """
        place = place_of(uri, supported)
        if isinstance(place, NotFound):
            return place
        if place.targets:
            return place.targets
        locator = self._locator(place)
        now = self._clock()
        while queries := locator.next_queries():
            for query in queries:
                known = self._known(query, now)
                if known is None:
                    return None
                locator.answer(query, known.records)
        return self._in_order(locator, now)

    def locate(self, uri: str, supported: tuple[str, ...], done: Done) -> None:
        """Find out where to send.

        Args:
            uri, supported: as for `locate_nowait`.
            done: is told once, always in a later turn of the loop, within `DnsSettings.deadline_s`. What was not
                found before this resolver is closed is told to nobody.
        """
        place = place_of(uri, supported)
        if isinstance(place, NotFound):
            self._loop.call_soon(done, place)
            return
        if self._closed:
            return
        search = _Search(self._locator(place), done)
        self._searches.add(search)
        search.timers.append(self._loop.call_later(self._settings.deadline_s, self._end, search))
        self._advance(search)

    def mark_failed(self, target: Target, now: float) -> None:
        """A target has not answered, or nothing could be sent there: for a minute it is tried after its rivals.

        Args:
            target: one that was located.
            now: CLOCK_MONOTONIC in seconds.
        """
        self._failed.mark(target, now)

    def close(self) -> None:
        """Ask nothing more and tell nobody anything. The sockets close in the loop's next turn."""
        self._closed = True
        for search in list(self._searches):
            self._settle(search)
        for lookup in self._lookups.values():
            lookup.task.cancel()
        self._lookups.clear()

    # Searches.

    def _locator(self, place: Place) -> Locator:
        return Locator(place, self._chance, naptr=self._settings.try_naptr, ipv6=self._settings.try_ipv6)

    def _advance(self, search: _Search) -> None:
        """Give a search all that is known, and ask for what is not."""
        now = self._clock()
        while queries := search.locator.next_queries():
            for query in queries:
                known = self._known(query, now) or (self._cache.stale(query, now) if search.stale_will_do else None)
                if known is not None:
                    search.locator.answer(query, known.records)
                else:
                    self._look_up(query, search, now)
        found = self._in_order(search.locator, now)
        if found is not None and (done := self._settle(search)) is not None:
            self._loop.call_soon(done, found)

    def _in_order(self, locator: Locator, now: float) -> Found | None:
        found = locator.result()
        if isinstance(found, tuple) and self._settings.blacklist:
            return self._failed.order(found, now)
        return found

    def _settle(self, search: _Search) -> Done | None:
        done, search.done = search.done, None
        self._searches.discard(search)
        for timer in search.timers:
            timer.cancel()
        for query in search.open:
            lookup = self._lookups.get(query)
            if lookup is not None:
                lookup.searches.pop(search, None)
        return done

    def _end(self, search: _Search) -> None:
        done = self._settle(search)
        if done is not None:
            done(NotFound("DNS does not answer in time", temporary=True))

    def _take_stale(self, search: _Search) -> None:
        """Fresh answers have been waited for long enough: from now on stale ones will do."""
        search.stale_will_do = True
        now = self._clock()
        for query in list(search.open):
            stale = self._cache.stale(query, now)
            if stale is not None:
                self._answer(search, query, stale)

    def _answer(self, search: _Search, query: Query, known: Known) -> None:
        if search.done is not None:
            search.open.discard(query)
            search.locator.answer(query, known.records)
            self._advance(search)

    # Lookups.

    def _known(self, query: Query, now: float) -> Known | None:
        records = self._hosts.read(now).answer(query)
        return self._cache.fresh(query, now) if records is None else Known(records, now, now)

    def _look_up(self, query: Query, search: _Search, now: float) -> None:
        lookup = self._lookups.get(query)
        if lookup is None:
            if len(self._lookups) >= MAX_LOOKUPS:
                search.locator.answer(query, Unanswered.SILENCE)
                return
            lookup = _Lookup(self._loop.create_task(self._client.ask(query)))
            lookup.task.add_done_callback(partial(self._looked_up, query))
            if self._asked is not None:
                lookup.task.add_done_callback(partial(self._tell_asked, self._asked, query, now))
            self._lookups[query] = lookup
            if len(self._lookups) == MAX_LOOKUPS:
                log.warning("%d questions to DNS are open; until one is answered no more are asked", MAX_LOOKUPS)
        lookup.searches[search] = None
        search.open.add(query)
        if len(search.timers) < 2 and self._cache.stale(query, now) is not None:
            patience_s = min(STALE_AFTER_S, self._settings.deadline_s / 2)
            search.timers.append(self._loop.call_later(patience_s, self._take_stale, search))

    def _tell_asked(
        self, asked: Callable[[Query, float], object], query: Query, since: float, task: asyncio.Task[object]
    ) -> None:
        asked(query, self._clock() - since)

    def _looked_up(self, query: Query, task: asyncio.Task[Answer | Unanswered]) -> None:
        lookup = self._lookups.pop(query, None)
        if lookup is None or task.cancelled():
            return
        now = self._clock()
        answer = task.result()
        if isinstance(answer, Unanswered):
            self._cache.put_failure(query, answer, now)
        else:
            self._cache.put(query, answer.records, answer.ttl_s, now)
        known = self._cache.fresh(query, now) or Known(Unanswered.SILENCE, now, now)
        for search in lookup.searches:
            self._answer(search, query, known)


class _HostsFile:
    """The hosts file as it stands; whether it has changed is looked at every few seconds."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._look_at = float("-inf")
        self._stamp: tuple[int, int, int] | None = None
        self._hosts = Hosts()

    def read(self, now: float) -> Hosts:
        """What it says. Nothing while it cannot be read."""
        if now >= self._look_at:
            self._look_at = now + _LOOK_AGAIN_S
            self._look()
        return self._hosts

    def _look(self) -> None:
        try:
            found = self._path.stat()
            stamp = (found.st_mtime_ns, found.st_size, found.st_ino)
            if stamp != self._stamp:
                with self._path.open("rb") as file:
                    self._hosts = Hosts(file.read(_MAX_HOSTS_BYTES).decode("utf-8", "replace"))
                self._stamp = stamp
        except OSError as error:
            log.info("%s: %s", self._path, error)
            self._hosts, self._stamp = Hosts(), None
