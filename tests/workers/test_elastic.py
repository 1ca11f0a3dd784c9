"""How many workers a pool has: when another one comes, and which one goes."""

from __future__ import annotations

import pytest

from workers.elastic import Decision, Elastic, ElasticPolicy, Grow, LetGo, Seen
from workers.jobs import Peer

POLICY = ElasticPolicy(idle_s=10.0, worth_s=0.1)


def worker(
    number: int, occupied: bool = True, *, settled: bool = True, done: int = 0, spare: bool = True, slow: bool = False
) -> Seen:
    """Worker 1 is never spare."""
    return Seen(Peer(f"worker-{number}", 1), spare and number > 1, settled, occupied, done, slow)


def let_go(*numbers: int) -> list[Decision]:
    return [LetGo(Peer(f"worker-{number}", 1)) for number in numbers]


def test_it_grows_when_the_pressure_lasts():
    elastic = Elastic(POLICY, 1, 4)
    busy = [worker(1)]
    assert elastic.look(0.0, 5, busy) == []
    assert elastic.look(0.02, 5, busy) == [Grow()]
    assert (elastic.pause_s(5), elastic.pause_s(0)) == (POLICY.look_s, POLICY.rest_s)


def test_a_moment_without_pressure_begins_anew():
    elastic = Elastic(POLICY, 1, 4)
    elastic.look(0.0, 5, [worker(1)])
    assert elastic.look(0.02, 0, [worker(1)]) == []
    assert elastic.look(0.04, 5, [worker(1)]) == []
    assert elastic.look(0.06, 5, [worker(1, occupied=False)]) == []
    assert elastic.look(0.08, 5, [worker(1)]) == []
    assert elastic.look(0.10, 5, [worker(1)]) == [Grow()]


def test_one_comes_at_a_time():
    elastic = Elastic(POLICY, 1, 4)
    elastic.look(0.0, 5, [worker(1)])
    assert elastic.look(0.02, 5, [worker(1)]) == [Grow()]
    coming = [worker(1), worker(2, settled=False, occupied=False)]
    assert [elastic.look(0.04 + number / 50, 5, coming) for number in range(20)] == [[]] * 20
    assert elastic.look(1.0, 5, [worker(1), worker(2, occupied=False)]) == []
    assert elastic.look(1.02, 5, [worker(1), worker(2)]) == []
    assert elastic.look(1.04, 5, [worker(1), worker(2)]) == [Grow()]


def test_what_slow_jobs_leave_free_does_not_keep_it_small():
    """One of three is left to quick jobs; slow ones that wait get a fourth, which stays as long as they need it."""
    elastic = Elastic(ElasticPolicy(idle_s=10.0, quick_share=0.0), 3, 4)
    three = [worker(1, occupied=False), worker(2), worker(3)]
    assert elastic.look(0.0, 1, three) == []
    assert elastic.look(0.02, 1, three) == [Grow()]
    four = [*three, worker(4)]
    assert [elastic.look(float(second), 0, four) for second in range(1, 40)] == [[]] * 39
    idle = [worker(number, occupied=number == 2) for number in range(1, 5)]
    assert elastic.look(40.0, 0, idle) == []
    assert elastic.look(51.0, 0, idle) == let_go(4)


def test_it_grows_before_a_slow_job_has_to_wait():
    """Slow jobs have the three that they may have of four, and nobody waits yet: a fifth comes at the first look."""
    elastic = Elastic(ElasticPolicy(idle_s=10.0, quick_share=0.0), 4, 6)
    two = [worker(1, False), worker(2), worker(3, slow=True), worker(4, slow=True)]
    assert elastic.look(0.0, 0, two) == []
    three = [worker(1, False), *[worker(number, slow=True) for number in (2, 3, 4)]]
    assert elastic.look(0.02, 0, three) == [Grow()]
    assert elastic.look(0.04, 0, [*three, worker(5, False, settled=False)]) == []
    assert elastic.look(0.06, 0, [*three, worker(5, False)]) == []
    assert elastic.look(0.08, 0, [*three, worker(5, slow=True)]) == [Grow()]
    five = [worker(1, False), *[worker(number, False) for number in (2, 3, 4, 5)], worker(6, False)]
    assert [elastic.look(moment, 0, five) for moment in (0.1, 10.0)] == [[], []], "it was needed a moment ago"
    assert elastic.look(10.09, 0, five) == let_go(6, 5)


def test_quick_jobs_that_occupy_everybody_are_no_reason_to_grow():
    elastic = Elastic(ElasticPolicy(quick_share=0.0), 2, 4)
    both = [worker(1), worker(2)]
    assert [elastic.look(number / 50, 0, both) for number in range(5)] == [[]] * 5
    one_slow = [worker(1), worker(2, slow=True)]
    assert elastic.look(0.2, 0, one_slow) == [Grow()], "of two, slow jobs may have one"


def test_a_pool_that_may_not_be_larger_is_not_made_so_for_slow_jobs():
    elastic = Elastic(POLICY, 1, 2)
    both = [worker(1, slow=True), worker(2, slow=True)]
    assert [elastic.look(number / 50, 0, both) for number in range(5)] == [[]] * 5


def test_with_more_idle_than_are_left_free_it_does_not_grow():
    elastic = Elastic(ElasticPolicy(quick_share=0.0), 3, 4)
    seen = [worker(1, occupied=False), worker(2, occupied=False), worker(3)]
    assert [elastic.look(number / 50, 5, seen) for number in range(5)] == [[]] * 5
    alone = Elastic(ElasticPolicy(quick_share=0.0), 1, 4)
    assert [alone.look(number / 50, 5, [worker(1, occupied=False)]) for number in range(5)] == [[]] * 5


def test_it_never_exceeds_its_most():
    elastic = Elastic(POLICY, 1, 2)
    both = [worker(1), worker(2)]
    assert [elastic.look(number / 50, 100, both) for number in range(50)] == [[]] * 50


def test_a_pool_of_fixed_size_stays_as_it_is():
    elastic = Elastic(POLICY, 1, 1)
    assert [elastic.look(number / 50, 0, [worker(1, False)]) for number in range(5)] == [[]] * 5
    assert [elastic.look(1 + number / 50, 100, [worker(1)]) for number in range(5)] == [[]] * 5
    assert elastic.look(50.0, 0, [worker(1, False)]) == []
    elastic.check()


def test_a_backlog_that_is_worked_off_at_once_is_left_to_those_who_are_there():
    """1,000 jobs in flight at 100,000 a second wait 10 ms: no reason for a process more."""
    elastic = Elastic(POLICY, 1, 4)
    for number in range(20):
        assert elastic.look(number / 50, 1000, [worker(1, done=2000 * number)]) == []
    elastic = Elastic(POLICY, 1, 4)
    elastic.look(0.0, 1000, [worker(1)])
    assert elastic.look(0.02, 1000, [worker(1, done=2)]) == [Grow()]


def test_the_rate_is_that_of_what_was_done_since_the_last_look():
    """At ten jobs a second, five that wait take half a second and four take less."""
    elastic = Elastic(ElasticPolicy(worth_s=0.5), 1, 4)
    assert elastic.look(0.0, 5, [worker(1, done=1000)]) == []
    assert elastic.look(1.0, 5, [worker(1, done=1010)]) == [Grow()]
    assert elastic.look(2.0, 4, [worker(1, done=1020)]) == []


def test_what_a_new_worker_has_done_counts_from_its_start():
    """Five jobs that wait are worth half a second at ten a second, and less at eleven."""
    for done, decisions in ((10, [Grow()]), (11, [])):
        elastic = Elastic(ElasticPolicy(worth_s=0.5), 1, 4)
        elastic.look(0.0, 5, [worker(1)])
        assert elastic.look(1.0, 5, [worker(1), worker(2, done=done)]) == decisions


def test_two_looks_at_one_instant_tell_of_no_rate():
    elastic = Elastic(ElasticPolicy(worth_s=10.0), 1, 4)
    assert elastic.look(1.0, 5, [worker(1)]) == []
    assert elastic.look(1.0, 5, [worker(1, done=3)]) == [Grow()]


def test_who_was_superfluous_for_long_enough_goes_newest_first():
    elastic = Elastic(POLICY, 1, 4)
    four = [worker(number) for number in (1, 2, 3, 4)]
    assert elastic.look(0.0, 0, four) == []
    two = [worker(1, False), worker(2), worker(3, False), worker(4)]
    assert elastic.look(1.0, 0, two) == []
    assert elastic.look(9.9, 0, two) == []
    assert elastic.look(10.0, 0, two) == let_go(3)  # two are too many, but worker-4 is busy
    assert elastic.look(10.1, 0, [worker(1, False), worker(2, False), worker(4, False)]) == let_go(4)
    assert elastic.look(10.2, 0, [worker(1, False), worker(2, False)]) == []
    assert elastic.look(20.0, 0, [worker(1, False), worker(2, False)]) == let_go(2)
    assert elastic.look(99.0, 0, [worker(1, False)]) == []


def test_a_little_traffic_that_wakes_everybody_in_turn_keeps_one():
    elastic = Elastic(POLICY, 1, 4)
    elastic.look(0.0, 0, [worker(number) for number in (1, 2, 3, 4)])
    gone: list[Decision] = []
    for look in range(1, 300):
        present = [number for number in (1, 2, 3, 4) if let_go(number)[0] not in gone]
        gone += elastic.look(look / 20, 0, [worker(one, one == present[look % len(present)]) for one in present])
    assert sorted(gone, key=repr) == let_go(2, 3, 4)


def test_a_pool_that_never_had_anything_to_do_waits_as_long():
    elastic = Elastic(POLICY, 1, 2)
    both = [worker(1, False), worker(2, False)]
    assert elastic.look(100.0, 0, both) == []
    assert elastic.look(109.9, 0, both) == []
    assert elastic.look(110.1, 0, both) == let_go(2)


def test_while_nobody_is_occupied_nobody_is_left_free_either():
    """What is left free of slow jobs is needed only beside somebody who has something to do."""
    elastic = Elastic(ElasticPolicy(idle_s=10.0, quick_share=0.5), 1, 4)
    idle = [worker(number, False) for number in (1, 2, 3, 4)]
    assert elastic.look(100.0, 0, idle) == []
    assert elastic.look(109.9, 0, idle) == []
    assert elastic.look(110.1, 0, idle) == let_go(4, 3, 2)


def test_nobody_goes_while_somebody_comes_or_goes():
    elastic = Elastic(POLICY, 1, 3)
    elastic.look(0.0, 0, [worker(1, False), worker(2, False), worker(3, False)])
    leaving = [worker(1, False), worker(2, False), worker(3, False, settled=False)]
    assert elastic.look(50.0, 0, leaving) == []
    assert elastic.look(50.1, 0, leaving[:2]) == let_go(2)


def test_the_count_is_kept():
    elastic = Elastic(POLICY, 2, 3)
    idle = [worker(1, False), worker(2, False, spare=False), worker(3, False)]
    elastic.look(0.0, 0, idle)
    assert elastic.look(11.0, 0, idle) == let_go(3)
    assert elastic.look(22.0, 0, idle[:2]) == []
    with pytest.raises(ValueError, match="at most 1 workers"):
        Elastic(POLICY, 2, 1)
