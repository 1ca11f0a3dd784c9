"""What DNS has answered, for as long as that may be believed.

An answer is fresh for its time to live, and after that *stale*: not to be used while servers answer, but better than
nothing while they do not (RFC 8767). That there is no such record is an answer too (RFC 2308), and so, for a few
seconds, is that no server answered (RFC 9520): a dead server is not asked for every message.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final, NamedTuple

from runtime.sip.dns_records import Query, Record, Unanswered

MAX_ENTRIES: Final = 4_096
MIN_TTL_S: Final = 1.0
MAX_TTL_S: Final = 3_600.0
MAX_NEGATIVE_TTL_S: Final = 30.0
FAILURE_TTL_S: Final = 5.0
STALE_FOR_S: Final = 86_400.0
"""For how long after its end an answer may stand in (RFC 8767 section 5 says one to three days)."""
STALE_TTL_S: Final = 30.0
"""For how long an answer that stands in is not asked for again (RFC 8767 section 5)."""


class Known(NamedTuple):
    """An answer.

    Args:
        records: empty when there are none; or why there was no answer.
        fresh_until, usable_until: in seconds of CLOCK_MONOTONIC.
    """

    records: tuple[Record, ...] | Unanswered
    fresh_until: float
    usable_until: float


class DnsCache:
    """Answers by their questions; the least recently used give way where there are too many."""

    __slots__ = ("_entries", "_max_entries")

    def __init__(self, max_entries: int = MAX_ENTRIES) -> None:
        self._entries: OrderedDict[Query, Known] = OrderedDict()
        """The least recently used first."""
        self._max_entries = max_entries

    def __len__(self) -> int:
        return len(self._entries)

    def fresh(self, query: Query, now: float) -> Known | None:
        """What is known and may be believed.

        Args:
            query: the question.
            now: CLOCK_MONOTONIC in seconds.
        """
        known = self._entries.get(query)
        if known is None or now >= known.fresh_until:
            return None
        self._entries.move_to_end(query)
        return known

    def stale(self, query: Query, now: float) -> Known | None:
        """What was known and may stand in while no server answers: records, never that there are none."""
        known = self._entries.get(query)
        if known is None or not isinstance(known.records, tuple) or now >= known.usable_until:
            return None
        return known if known.records else None

    def put(self, query: Query, records: tuple[Record, ...], ttl_s: float, now: float) -> None:
        """A server has answered.

        Args:
            query: the question.
            records: the answer; empty when there are none.
            ttl_s: as the server says; it is kept within bounds.
            now: CLOCK_MONOTONIC in seconds.
        """
        ttl_s = min(max(ttl_s, MIN_TTL_S), MAX_TTL_S if records else MAX_NEGATIVE_TTL_S)
        self._store(query, Known(records, now + ttl_s, now + ttl_s + STALE_FOR_S))

    def put_failure(self, query: Query, why: Unanswered, now: float) -> None:
        """No server has answered: what is stale stands in for a while, and where there is nothing, this is known."""
        stale = self.stale(query, now)
        if stale is not None:
            fresh_until = min(max(stale.fresh_until, now + STALE_TTL_S), stale.usable_until)
            self._store(query, stale._replace(fresh_until=fresh_until))
        else:
            self._store(query, Known(why, now + FAILURE_TTL_S, now + FAILURE_TTL_S))

    def _store(self, query: Query, known: Known) -> None:
        self._entries[query] = known
        self._entries.move_to_end(query)
        if len(self._entries) > self._max_entries:
            self._entries.popitem(last=False)
