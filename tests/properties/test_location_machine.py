"""The bindings of one address-of-record under any order of REGISTERs, late copies and passing time.

The model is a dict of contacts, written from RFC 3261 10.3 without looking at how the core does it.
"""

from __future__ import annotations

from hypothesis import event, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from runtime.location.bindings import (
    Accepted,
    Expired,
    Inserted,
    Limits,
    Refused,
    Registration,
    Removed,
    Updated,
    Wanted,
    expire,
    register,
)

URIS = [f"sip:{user}@192.0.2.{n}" for user in "ab" for n in range(3)]
CALLS = ["call-1", "call-2", "call-3"]
MOST = 4
DELAY = 20
WANTED = st.lists(
    st.builds(Wanted, st.sampled_from(URIS), st.sampled_from([None, 0, 1, 30, 90, 9999])),
    min_size=1,
    max_size=3,
    unique_by=lambda wanted: wanted.uri,
)


class Bindings(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0
        self.stored: tuple = ()
        self.next_id = 1
        self.model: dict[str, tuple[int, str, int, float]] = {}
        """By URI: the end of its time, the Call-ID and CSeq that wrote it, and when."""
        self.sent: list[Registration] = []
        self.cseq = dict.fromkeys(CALLS, 0)
        self.ids: dict[int, str] = {}

    @rule(wanted=WANTED, call=st.sampled_from(CALLS), replace=st.booleans())
    def new(self, wanted: list[Wanted], call: str, replace: bool) -> None:
        self.cseq[call] += 1
        self.sent.append(Registration(call, self.cseq[call], tuple(wanted)))
        self.deliver(self.sent[-1], replace)

    @rule(call=st.sampled_from(CALLS))
    def star(self, call: str) -> None:
        self.cseq[call] += 1
        self.sent.append(Registration(call, self.cseq[call], (), wildcard=True))
        self.deliver(self.sent[-1], False)

    @precondition(lambda self: self.sent)
    @rule(data=st.data())
    def late_copy(self, data) -> None:
        self.deliver(data.draw(st.sampled_from(self.sent)), False)

    @rule(seconds=st.sampled_from([0.5, 1.0, 19.0, 40.0, 700.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def sweep(self) -> None:
        found = expire(self.stored, self.now)
        assert all(isinstance(change, Expired) for change in found.changes)
        self.take(found)

    def deliver(self, request: Registration, replace: bool) -> None:
        limits = Limits(min_expires=10, max_expires=600, max_contacts=MOST, replace_oldest=replace, cseq_delay=DELAY)
        before = self.stored
        found = register(before, request, limits, self.now, first_id=self.next_id)
        expected = self.expected(request, limits)
        if isinstance(found, Refused):
            event(f"refused {found.status}")
            assert found.status == expected
            assert self.stored == before
            return
        assert isinstance(expected, dict), (expected, found)
        self.model = expected
        self.take(found)

    def expected(self, request: Registration, limits: Limits) -> int | dict[str, tuple[int, str, int, float]]:
        """The model's answer: a status, or what is bound afterwards."""
        alive = {uri: facts for uri, facts in self.model.items() if facts[0] > self.now}
        if request.wildcard:
            late = [f for f in alive.values() if f[1] == request.call_id and f[2] >= request.cseq]
            return 500 if late else {}
        after, new = dict(alive), False
        for wanted in request.contacts:
            known = alive.get(wanted.uri)
            if known is not None and known[1] == request.call_id and known[2] >= request.cseq:
                if known[2] > request.cseq or self.now - known[3] >= DELAY:
                    return 500
                event("retransmission")
                continue
            if wanted.expires == 0:
                after.pop(wanted.uri, None)
                continue
            new = new or known is None
            seconds = min(max(3600 if wanted.expires is None else wanted.expires, 10), 600)
            after[wanted.uri] = (int(self.now) + seconds, request.call_id, request.cseq, self.now)
        asked = {wanted.uri for wanted in request.contacts}
        if new and len(after) > MOST:
            if not limits.replace_oldest or len(asked & after.keys()) > MOST:
                return 503
            old = sorted((uri for uri in after if uri not in asked), key=lambda uri: (after[uri][3], self.id_of(uri)))
            for uri in old[: len(after) - MOST]:
                event("made room")
                del after[uri]
        return after

    def id_of(self, uri: str) -> int:
        return max([one.id for one in self.stored if one.uri == uri], default=0)

    def take(self, found: Accepted) -> None:
        """The changes lead from the old set to the new one, and no id means two contacts."""
        bound = {one.id: one for one in self.stored}
        for change in found.changes:
            match change:
                case Inserted(contact):
                    assert contact.id not in bound
                    assert contact.id >= self.next_id
                    bound[contact.id] = contact
                    self.next_id = contact.id + 1
                case Updated(contact):
                    assert bound[contact.id].uri == contact.uri
                    bound[contact.id] = contact
                case Removed(contact) | Expired(contact):
                    assert bound.pop(contact.id) == contact
                    assert isinstance(change, Removed) or not contact.is_alive(self.now)
        assert sorted(bound.values()) == list(found.contacts)
        for one in found.contacts:
            assert self.ids.setdefault(one.id, one.uri) == one.uri
        self.stored = found.contacts

    @invariant()
    def content_is_the_models(self) -> None:
        alive = {one.uri: one for one in self.stored if one.is_alive(self.now)}
        assert {uri: (one.expires_at, one.call_id, one.cseq, one.modified_at) for uri, one in alive.items()} == {
            uri: facts for uri, facts in self.model.items() if facts[0] > self.now
        }
        assert len(alive) <= MOST
        assert len({one.id for one in self.stored}) == len(self.stored)


TestBindings = Bindings.TestCase
TestBindings.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
