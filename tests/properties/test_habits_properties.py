"""What jobs usually take, against the rule in exact fractions; and whose turn it is, against a plain sort."""

from __future__ import annotations

from collections import OrderedDict
from fractions import Fraction

from hypothesis import event, given
from hypothesis import strategies as st

from workers.habits import Habits, Usual
from workers.jobs import Job, Kind, Peer
from workers.lanes import Entry, Hands, Lane, runs
from workers.policy import Limits
from workers.stimuli import Occupy

GRAIN_S = 2.0**-20
LEAST = Fraction(1, 100_000)
"""Ten microseconds: less is a handler that answers later."""
ME = Peer("sip-1", 1)

TIMES_S = st.one_of(
    st.sampled_from([0.0, 0.0, 0.0, -1.0, 1e-9, 9e-6, 1e-5, 11e-6, 12e-6, 0.004, 0.005]), st.floats(0.0, 2.0)
)
LESSONS = st.lists(st.lists(TIMES_S, min_size=1, max_size=4), max_size=12)


def after(usual: Fraction | None, time_s: float) -> Fraction:
    """A fifth of the newest, and four of what was before; nothing is little for ever."""
    sample = max(LEAST, Fraction(time_s)) if time_s > 0.0 else Fraction(0)
    if usual is None:
        return sample
    mean = (4 * usual + sample) / 5
    return Fraction(0) if sample == 0 and mean < LEAST else mean


def is_rounded_up(expected_s: float, exact: Fraction) -> bool:
    grains = expected_s / GRAIN_S
    return grains == int(grains) and -1e-6 <= grains - float(exact / Fraction(GRAIN_S)) < 1.0 + 1e-6


@given(LESSONS, st.sampled_from([2.0**-9, 2.0**-12]), st.sampled_from([0.0001, 0.0101]))
def test_a_label_is_expected_to_take_the_moving_mean_of_what_it_took(
    lessons: list[list[float]], budget_s: float, unknown_s: float
) -> None:
    limits = Limits(budget_s=budget_s, unknown_s=unknown_s)
    habits = Habits(limits)
    assert is_rounded_up(habits.expected_s("ps"), Fraction(unknown_s))
    usual, exact = habits.of("ps"), None
    assert (usual.usual_s, usual.slow) == (None, unknown_s > 2 * budget_s)
    for batch in lessons:
        before = usual.expected_s
        for time_s in batch:
            usual.learn(time_s)
            exact = after(exact, time_s)
        assert usual.expected_s == before, "what is reckoned with changes only when a batch is settled"
        usual.settle()
        assert is_rounded_up(usual.expected_s, exact)
        assert usual.slow == (usual.expected_s > 2 * budget_s)
        assert habits.of("ps") is usual
        assert habits.expected_s("ps") == usual.expected_s
        event("nothing" if not exact else "slow" if usual.slow else "quick")


@given(st.integers(-1, 1))
def test_what_is_at_twice_the_budget_is_not_slow_yet(grains_more: int) -> None:
    usual = Habits(Limits(budget_s=2.0**-9)).of("ps")
    usual.learn(2.0**-8 + grains_more * GRAIN_S)
    usual.settle()
    assert usual.expected_s == 2.0**-8 + grains_more * GRAIN_S
    assert usual.slow is (grains_more > 0)


@given(st.integers(1, 4), st.lists(st.sampled_from("abcdef"), max_size=25))
def test_the_labels_that_were_seen_first_are_forgotten_first(most: int, labels: list[str]) -> None:
    limits = Limits(max_labels=most, unknown_s=2.0**-6)
    habits, known = Habits(limits), OrderedDict[str, float]()
    for number, label in enumerate(labels, start=1):
        usual = habits.of(label)
        if label not in known:
            assert usual.usual_s is None, "a label that was forgotten is unknown"
            usual.learn(number * 2.0**-8)
            usual.settle()
            known[label] = usual.expected_s
            if len(known) > most:
                known.popitem(last=False)
        for one in "abcdef":
            assert habits.expected_s(one) == known.get(one, limits.unknown_s)


# -- lanes ------------------------------------------------------------------------------------------------------------


@st.composite
def some_lanes(draw: st.DrawFn) -> list[Lane]:
    serials = draw(st.permutations(range(1, 1 + draw(st.integers(1, 20)))))
    lanes: list[Lane] = []
    while serials:
        own = sorted(serials[: draw(st.integers(1, 6))])
        serials = [serial for serial in serials if serial not in own]
        kind = Kind("h", f"label-{len(lanes)}", priority=draw(st.integers(-1, 1)))
        slow = draw(st.booleans())
        lane = Lane(kind, Usual(0.004, 1.0 if slow else 0.001, 1.0, slow))
        lane.put_back(entry(serial, kind) for serial in own)
        lanes.append(lane)
    return lanes


def entry(serial: int, kind: Kind) -> Entry:
    return Entry(Job(ME, serial, kind, b"", 9.0), 1.0)


def turn(lane: Lane, serial: int) -> tuple[int, int]:
    """When a job comes: by priority, and then as it was handed in."""
    return -lane.kind.priority, serial


@given(some_lanes())
def test_a_lane_goes_as_far_as_its_jobs_come_before_all_others(lanes: list[Lane]) -> None:
    firsts = sorted((turn(lane, min(lane.entries)), index) for index, lane in enumerate(lanes))
    slow = [index for _, index in firsts if lanes[index].usual.slow][:1]
    quick = [index for _, index in firsts if not lanes[index].usual.slow]
    heads = {index: first for first, index in firsts if index in slow + quick}
    expected = [(index, 1) for index in slow]
    if quick:
        [first, *_], lane = quick, lanes[quick[0]]
        others = [head for index, head in heads.items() if index != first and head > heads[first]]
        own = [turn(lane, serial) for serial in sorted(lane.entries)]
        expected.append((first, sum(all(job < other for other in others) for job in own)))
    expected.sort(key=lambda found: heads[found[0]])
    assert [(lanes.index(lane), run) for lane, run in runs(lanes)] == expected
    event(f"{len(quick)} quick lanes, {'a' if slow else 'no'} slow one")


@given(st.lists(st.integers(1, 50), unique=True, min_size=1), st.data())
def test_what_comes_back_takes_its_place_again(serials: list[int], data: st.DataObject) -> None:
    kind = Kind("h", "ps", priority=2)
    lane = Lane(kind, Usual(0.004, 0.001))
    waits = data.draw(st.sets(st.sampled_from(serials)))
    lane.put_back(entry(serial, kind) for serial in sorted(waits))
    back = [serial for serial in serials if serial not in waits]
    lane.put_back(entry(serial, kind) for serial in back)
    assert list(lane.entries) == sorted(serials)
    assert all(found.job.serial == serial for serial, found in lane.entries.items())
    assert lane.claim() == (-2, min(serials))
    bound = data.draw(st.integers(0, 51).filter(lambda number: number not in serials))
    assert lane.run_before((-2, bound)) == sum(serial < bound for serial in serials)
    assert lane.run_before((-1, bound)) == lane.run_before((-3, bound)) == len(serials)


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(0, 4096)), max_size=9, unique_by=lambda found: found[0]))
def test_what_a_worker_takes_is_what_it_holds(jobs: list[tuple[int, int]]) -> None:
    kind, hands = Kind("h", "ps"), Hands(Peer("worker-1", 1), 4, False)
    assert hands.occupy() == Occupy(4, 0, 0.0)
    for taken, (serial, grains) in enumerate(jobs, start=1):
        job = Job(ME, serial, kind, b"", 9.0)
        hands.take(job, 1.5, grains * GRAIN_S)
        held = hands.jobs[serial]
        assert (held.job, held.submitted_at, held.hands, held.runs, held.settled) == (job, 1.5, hands, 1, False)
        assert held.expected_s == grains * GRAIN_S
        assert hands.occupy() == Occupy(4, taken, sum(one for _, one in jobs[:taken]) * GRAIN_S)
