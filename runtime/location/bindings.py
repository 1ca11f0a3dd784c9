"""What a REGISTER does to the bindings of one address-of-record (RFC 3261 section 10.3, steps 6 to 8). A core.

All of it or nothing: the new set is built beside the old one, and a refusal leaves the old one as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple, TypeAlias

from runtime.location.contact import ALL_METHODS, Contact, Matching, contact_key

MOST_CONTACTS: Final = 256
"""Bindings of one address-of-record, whatever the script allows: each REGISTER reads and writes all of them."""
_ONE_HOUR: Final = 3600


class Wanted(NamedTuple):
    """One Contact value of a REGISTER.

    Args:
        uri: without angle brackets.
        expires: the seconds that it asks for, by its own parameter or by the Expires header; None when neither says.
        q: 0 to 1000; -1 when it says none.
        instance: ``+sip.instance``, see `Contact`.
    """

    uri: str
    expires: int | None = None
    q: int = -1
    instance: str = ""


class Registration(NamedTuple):
    """What a REGISTER asks for.

    Args:
        call_id, cseq: of the request.
        contacts: what it wants; empty for a query.
        wildcard: ``Contact: *``: remove everything.
        received, path, user_agent, socket, methods, attr, flags, cflags: as in `Contact`, for each that it writes.
    """

    call_id: str
    cseq: int
    contacts: tuple[Wanted, ...] = ()
    wildcard: bool = False
    received: str = ""
    path: str = ""
    user_agent: str = ""
    socket: str = ""
    methods: int = ALL_METHODS
    attr: str = ""
    flags: int = 0
    cflags: str = ""


class Limits(NamedTuple):
    """What a registrar grants. Seconds; 0 is no limit.

    Args:
        default_expires: where the request says no time.
        min_expires: a shorter time is raised to it.
        max_expires: a longer time is cut to it.
        reject_brief: refuse a time that is too short with 423 (RFC 3261 10.3, step 7) instead of raising it. One of an
            hour or more is never refused so.
        expires_max_deviation: up to so many seconds are added or taken away by chance, so that phones which registered
            together do not come back together.
        default_q: for contacts that say none.
        max_contacts: how many contacts there may be.
        replace_oldest: where they would be more, let the oldest go instead of refusing.
        cseq_delay: for so long the same Call-ID and CSeq again is a retransmission, answered like the first.
        allow_dup_cseq: take the same Call-ID and CSeq for a new REGISTER.
        matching: which contacts are the same.
    """

    default_expires: int = 3600
    min_expires: int = 60
    max_expires: int = 0
    reject_brief: bool = False
    expires_max_deviation: int = 0
    default_q: int = 0
    max_contacts: int = 0
    replace_oldest: bool = False
    cseq_delay: int = 20
    allow_dup_cseq: bool = False
    matching: Matching = Matching()


class Inserted(NamedTuple):
    """A binding is new."""

    contact: Contact


class Updated(NamedTuple):
    """A binding was refreshed."""

    contact: Contact


class Removed(NamedTuple):
    """A binding is gone because somebody said so, or had to make room."""

    contact: Contact


class Expired(NamedTuple):
    """A binding is gone because its time was over."""

    contact: Contact


Change: TypeAlias = Inserted | Updated | Removed | Expired


class Accepted(NamedTuple):
    """The new set of bindings.

    Args:
        contacts: all that there are now, in the order of their ids.
        changes: what happened, in order; empty where the bindings stay as they were.
        asked: the ids of those that the request names.
    """

    contacts: tuple[Contact, ...]
    changes: tuple[Change, ...] = ()
    asked: frozenset[int] = frozenset()


class Refused(NamedTuple):
    """Nothing changes. `headers` are header lines for the reply, without CRLF."""

    status: int
    reason: str
    headers: tuple[str, ...] = ()


def register(
    existing: Sequence[Contact],
    request: Registration,
    limits: Limits,
    now: float,
    *,
    first_id: int,
    chance: float = 0.5,
) -> Accepted | Refused:
    """Decide on a REGISTER.

    Args:
        existing: the bindings as they are stored, those whose time is over included.
        request: what it asks for.
        limits: what is granted.
        now: seconds of the epoch.
        first_id: the id for the first new binding; further ones count up from it.
        chance: from 0 to 1, for `Limits.expires_max_deviation`; 0.5 deviates by nothing.
    """
    change = _Change(existing, request, limits, now, first_id)
    if request.wildcard:
        return change.remove_all()
    for wanted in request.contacts:
        refused = change.apply(wanted, chance)
        if refused is not None:
            return refused
    return change.result()


def expire(existing: Sequence[Contact], now: float) -> Accepted:
    """Let go of the bindings whose time is over."""
    alive = tuple([contact for contact in existing if contact.is_alive(now)])
    return Accepted(alive, tuple([Expired(contact) for contact in existing if not contact.is_alive(now)]))


def remove(existing: Sequence[Contact], ids: frozenset[int] | None, now: float) -> Accepted:
    """Let go of bindings, whatever a REGISTER said.

    Args:
        ids: of those to remove; None for all.
    """
    alive, changes = expire(existing, now)[:2]
    kept = tuple([contact for contact in alive if ids is not None and contact.id not in ids])
    gone = [Removed(contact) for contact in alive if ids is None or contact.id in ids]
    return Accepted(kept, (*changes, *gone))


def granted(expires: int | None, limits: Limits, chance: float = 0.5) -> int:
    """How long a contact that asks for `expires` seconds may stay; 0 when it asks to go."""
    if expires is None:
        expires = limits.default_expires
    if expires <= 0:
        return 0
    spread = limits.expires_max_deviation
    if spread:
        expires = max(1, expires + round((2 * chance - 1) * spread))
    if expires < limits.min_expires:
        expires = limits.min_expires
    return min(expires, limits.max_expires) if limits.max_expires else expires


class _Change:
    """The new set in the making."""

    def __init__(
        self, existing: Sequence[Contact], request: Registration, limits: Limits, now: float, first_id: int
    ) -> None:
        self._request = request
        self._limits = limits
        self._now = now
        self._next_id = first_id
        alive, changes, _ = expire(existing, now)
        self._by_key = _by_key(alive, limits.matching)
        self._changes: list[Change] = list(changes)
        self._asked: set[int] = set()
        self._inserted = 0

    def remove_all(self) -> Accepted | Refused:
        """``Contact: *`` (RFC 3261 10.3, step 6)."""
        for contact in self._by_key.values():
            # A late copy must not remove what was registered since: the same order as for each contact by itself.
            if contact.call_id == self._request.call_id and contact.cseq >= self._request.cseq:
                return _OUT_OF_ORDER
        gone = [Removed(contact) for contact in self._by_key.values()]
        return Accepted((), (*self._changes, *gone))

    def apply(self, wanted: Wanted, chance: float) -> Refused | None:
        """Insert, refresh or remove one contact (step 7)."""
        limits = self._limits
        if limits.reject_brief and _is_too_brief(wanted.expires, limits):
            return Refused(423, "Interval Too Brief", (f"Min-Expires: {limits.min_expires}",))
        seconds = granted(wanted.expires, limits, chance)
        key = contact_key(wanted.uri, self._request.call_id, limits.matching)
        known = self._by_key.get(key)
        if known is None:
            if seconds:
                self._insert(key, wanted, seconds)
            return None
        # A contact that the same request names twice is what it says of it last.
        if known.id not in self._asked and known.call_id == self._request.call_id:
            if known.cseq > self._request.cseq or (known.cseq == self._request.cseq and not self._is_again(known)):
                return _OUT_OF_ORDER
            if known.cseq == self._request.cseq and not limits.allow_dup_cseq:
                self._asked.add(known.id)
                return None  # a retransmission: answered like the first, and nothing changes
        if seconds:
            self._update(key, known, wanted, seconds)
        else:
            del self._by_key[key]
            self._changes.append(Removed(known))
        return None

    def result(self) -> Accepted | Refused:
        """The new set, unless it became too large."""
        limits = self._limits
        most = min(limits.max_contacts or MOST_CONTACTS, MOST_CONTACTS)
        excess = len(self._by_key) - most
        if self._inserted and excess > 0:
            refused = self._make_room(excess)
            if refused is not None:
                return refused
        contacts = sorted(self._by_key.values())
        return Accepted(tuple(contacts), tuple(self._changes), frozenset(self._asked))

    def _is_again(self, known: Contact) -> bool:
        return self._limits.allow_dup_cseq or self._now - known.modified_at < self._limits.cseq_delay

    def _insert(self, key: tuple[str, str], wanted: Wanted, seconds: int) -> None:
        contact = self._contact(self._next_id, wanted, seconds)
        self._next_id += 1
        self._inserted += 1
        self._by_key[key] = contact
        self._asked.add(contact.id)
        self._changes.append(Inserted(contact))

    def _update(self, key: tuple[str, str], known: Contact, wanted: Wanted, seconds: int) -> None:
        contact = self._contact(known.id, wanted, seconds)
        self._by_key[key] = contact
        self._asked.add(contact.id)
        self._changes.append(Updated(contact))

    def _contact(self, id_: int, wanted: Wanted, seconds: int) -> Contact:
        request = self._request
        return Contact(
            id=id_,
            uri=wanted.uri,
            expires_at=int(self._now) + seconds,
            q=self._limits.default_q if wanted.q < 0 else wanted.q,
            call_id=request.call_id,
            cseq=request.cseq,
            modified_at=self._now,
            received=request.received,
            path=request.path,
            user_agent=request.user_agent,
            socket=request.socket,
            methods=request.methods,
            instance=wanted.instance,
            attr=request.attr,
            flags=request.flags,
            cflags=request.cflags,
        )

    def _make_room(self, excess: int) -> Refused | None:
        if not self._limits.replace_oldest:
            return _TOO_MANY
        old = [one for one in self._by_key.items() if one[1].id not in self._asked]
        if len(old) < excess:
            return _TOO_MANY  # the request alone asks for more than there may be
        old.sort(key=lambda one: (one[1].modified_at, one[1].id))
        for key, contact in old[:excess]:
            del self._by_key[key]
            self._changes.append(Removed(contact))
        return None


def _by_key(contacts: Sequence[Contact], matching: Matching) -> dict[tuple[str, str], Contact]:
    found: dict[tuple[str, str], Contact] = {}
    for contact in sorted(contacts, key=lambda one: -one.modified_at):
        key = contact_key(contact.uri, contact.call_id, matching)
        # Told apart when they were written, and not by this matching: the newest is meant, and none gets lost.
        found[key if key not in found else (key[0], f"{key[1]}\0{contact.id}")] = contact
    return found


_OUT_OF_ORDER: Final = Refused(500, "CSeq Out Of Order")
_TOO_MANY: Final = Refused(503, "Too Many Registered Contacts")


def _is_too_brief(expires: int | None, limits: Limits) -> bool:
    return expires is not None and 0 < expires < min(limits.min_expires, _ONE_HOUR)
