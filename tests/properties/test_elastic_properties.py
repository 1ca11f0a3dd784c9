"""How many workers a pool has, against a model that remembers everything it ever saw.

Moments, counts and rates are drawn from few values, so that limits are often met exactly.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from workers.elastic import Decision, Elastic, ElasticPolicy, Grow, LetGo, Seen
from workers.jobs import Peer

STEP_S = 0.25
SHARES = st.sampled_from([None, None, 0.0, 0.5])


@dataclass
class Model:
    """What ought to be decided, of all that was seen."""

    policy: ElasticPolicy
    count: int
    most: int
    needs: list[tuple[float, int]] = field(default_factory=list)
    """When so many workers were needed at once."""
    looks: list[tuple[float, dict[Peer, int], bool]] = field(default_factory=list)
    """When, what each had done by then, and whether there was pressure."""

    def decide(self, now: float, waiting: int, seen: Sequence[Seen]) -> list[Decision]:
        up = [one for one in seen if one.settled]
        occupied = [one for one in up if one.occupied]
        free = self.left_free(len(up))
        before = self.looks[-1] if self.looks else (now, {}, False)
        worked_off_soon = waiting < self.rate(now, before[0], before[1], seen) * self.policy.worth_s
        pressed = bool(waiting) and len(up) - len(occupied) <= free and not worked_off_soon
        slow = [one for one in up if one.slow]
        taken = bool(slow) and len(up) - len(slow) <= free
        self.looks.append((now, {one.peer: one.done for one in seen}, pressed))
        self.needs.append((now, len(occupied) + (free if occupied else 0) + (pressed or taken)))
        if not all(one.settled for one in seen):
            return []
        if taken or (pressed and before[2]):
            return [Grow()] if len(up) < self.most else []
        if pressed:
            return []
        return self.let_go(now, up)

    def rate(self, now: float, before: float, done: dict[Peer, int], seen: Sequence[Seen]) -> float:
        ended = [one.done - done.get(one.peer, 0) for one in seen]
        return sum(jobs for jobs in ended if jobs > 0) / (now - before) if now > before else 0.0

    def left_free(self, up: int) -> int:
        share = self.policy.quick_share
        return 0 if share is None or up < 2 else min(up - 1, max(1, int(share * up)))

    def let_go(self, now: float, up: Sequence[Seen]) -> list[Decision]:
        """The newest of those that are idle, down to what was needed at once within the time that counts."""
        if not any(need for _, need in self.needs):
            self.needs.append((now, self.most))  # it never had anything to do: the time counts from here
        lately = [min(need, self.most) for at, need in self.needs if now - at < self.policy.idle_s]
        superfluous = len(up) - max([self.count, *lately])
        idle = [one.peer for one in up if one.spare and not one.occupied]
        return [LetGo(peer) for peer in reversed(idle)][: max(superfluous, 0)]


WORKERS = st.tuples(
    st.sampled_from([*[True] * 11, False]),
    st.booleans(),
    st.sampled_from([*[0] * 9, 1, 1, 2, 4, -3]),
    st.booleans(),
)
"""Whether it is settled and occupied, how much it has done since it was seen last, and whether slow jobs occupy it."""
BUSY = st.sampled_from(["nobody", "some", "some", "everybody", "everybody"])
LOOKS = st.lists(
    st.tuples(
        st.sampled_from([0, 1, 1, 2, 3, 4, 5]),
        st.sampled_from([0, 0, 1, 2, 4]),
        BUSY,
        st.lists(WORKERS, min_size=6, max_size=6),
        st.sampled_from(["quick", "both"]),
    ),
    max_size=16,
)


@settings(max_examples=800)
@given(
    st.integers(1, 3),
    st.integers(0, 3),
    SHARES,
    st.sampled_from([0.25, 0.5, 1.0, 4.0]),
    st.sampled_from([0.0, 100.0]),
    LOOKS,
    st.integers(0, 3),
)
def test_a_pool_grows_and_shrinks_as_the_model_of_it_does(
    count: int, more: int, share: float | None, worth_s: float, now: float, looks: list, grown: int
) -> None:
    policy = ElasticPolicy(idle_s=4 * STEP_S, worth_s=worth_s, quick_share=share)
    elastic, model = Elastic(policy, count, count + more), Model(policy, count, count + more)
    present = [Peer(f"worker-{number}", 1) for number in range(1, count + min(grown, more) + 1)]
    done: dict[Peer, int] = {}
    for steps, waiting, busy, states, sorts in looks:
        now += steps * STEP_S
        seen = []
        for place, (peer, (settled, occupied, ended, slow)) in enumerate(zip(present, states, strict=False)):
            done[peer] = max(0, done.get(peer, 1) + ended)  # a new one has done something before it is seen
            occupied = busy == "everybody" or (busy == "some" and occupied)
            seen.append(
                Seen(peer, place >= count, settled, occupied, done[peer], occupied and slow and sorts != "quick")
            )
        decisions = elastic.look(now, waiting, seen)
        assert decisions == model.decide(now, waiting, seen)
        elastic.check()
        for decision in decisions:
            match decision:
                case Grow():
                    present.append(Peer(f"worker-{len(present) + 1}", len(model.looks)))
                case LetGo(peer):
                    present.remove(peer)
        assert count <= len(present) <= count + more
        event(" and ".join(sorted({type(decision).__name__ for decision in decisions})) or "stays")


@given(st.integers(0, 3), st.floats(0.001, 9.0), st.floats(0.001, 9.0))
def test_it_looks_more_often_while_jobs_wait(waiting: int, look_s: float, rest_s: float) -> None:
    elastic = Elastic(ElasticPolicy(look_s=look_s, rest_s=rest_s), 1, 2)
    assert elastic.pause_s(waiting) == (look_s if waiting else rest_s)


@given(st.integers(0, 9), st.integers(0, 9))
def test_a_pool_may_not_be_smaller_than_it_always_is(count: int, most: int) -> None:
    if most >= count:
        Elastic(ElasticPolicy(), count, most).check()
        return
    with pytest.raises(ValueError, match=re.escape(f"at most {most} workers, and never fewer than {count}")):
        Elastic(ElasticPolicy(), count, most)
