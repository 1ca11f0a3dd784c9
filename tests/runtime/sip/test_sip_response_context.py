"""The response context of one relayed request, rule by rule (RFC 3261 16.7, 16.10)."""

from __future__ import annotations

import pytest

from runtime.sip.response_context import (
    Answer,
    Answered,
    AskScript,
    CancelBranch,
    Cancelled,
    Decided,
    Effect,
    Failed,
    Over,
    Relay,
    Replied,
    ResponseContext,
    Sent,
    Stimulus,
)


def made(branches: int = 1, invite: bool = True, *, sent: int | None = None, block_6xx: bool = True) -> ResponseContext:
    """A context with so many branches, of which the first `sent` are on their way: all, where it says nothing."""
    context = ResponseContext(invite, block_6xx)
    for _ in range(branches):
        add(context, sent=False)
    for index in range(branches if sent is None else sent):
        assert told(context, Sent(index)) == []
    return context


def add(context: ResponseContext, sent: bool = True) -> int:
    index = context.add()
    if sent:
        assert told(context, Sent(index)) == []
    context.check()
    return index


def told(context: ResponseContext, *stimuli: Stimulus) -> list[Effect]:
    effects: list[Effect] = []
    for stimulus in stimuli:
        effects += context.handle(stimulus)
        context.check()
    return effects


def seen(context: ResponseContext) -> tuple[int, int, bool, bool]:
    """How many branches are open, the final status, whether the script is asked, whether the CANCEL came."""
    return context.open, context.final, context.deciding, context.cancelled


# --- a new context


def test_a_new_context_waits_for_all_its_branches() -> None:
    context = made(3, sent=1)

    assert len(context) == 3
    assert seen(context) == (3, 0, False, False)
    assert [context.status_of(index) for index in range(3)] == [0, 0, 0]
    assert context.round_replies() == []


def test_branches_are_numbered_as_they_are_added() -> None:
    context = ResponseContext(invite=True)
    assert len(context) == 0
    assert [context.add() for _ in range(3)] == [0, 1, 2]


def test_what_was_sent_says_nothing_by_itself_and_may_be_said_again() -> None:
    context = made(1, sent=0)
    assert told(context, Sent(0), Sent(0)) == []
    assert seen(context) == (1, 0, False, False)


# --- provisional replies (16.7 step 5)


def test_every_provisional_reply_but_100_goes_up_at_once() -> None:
    context = made(2)
    before = seen(context)

    assert told(context, Replied(0, 100), Replied(0, 101), Replied(1, 180), Replied(0, 199), Replied(1, 180)) == [
        Relay(0),
        Relay(1),
        Relay(0),
        Relay(1),
    ]
    assert seen(context) == before


def test_a_provisional_reply_of_another_request_goes_up_too() -> None:
    assert told(made(1, invite=False), Replied(0, 100), Replied(0, 182)) == [Relay(0)]


@pytest.mark.parametrize(
    "before",
    [
        [Replied(0, 200)],
        [Replied(1, 200)],
        [Replied(0, 486)],
        [Failed(0, 408)],
        [Answered(480)],
        [Replied(0, 486), Replied(1, 486), Decided()],
    ],
)
def test_no_provisional_reply_goes_up_behind_a_final_one(before: list[Stimulus]) -> None:
    context = made(2)
    told(context, *before)
    unchanged = seen(context)

    assert told(context, Replied(0, 183)) == []
    assert seen(context) == unchanged


def test_a_provisional_reply_still_goes_up_while_a_cancel_is_on_its_way() -> None:
    context = made(1)
    told(context, Cancelled())
    assert told(context, Replied(0, 180)) == [Relay(0)]


# --- 2xx (16.7 steps 5 and 10)


def test_a_2xx_goes_up_at_once_and_ends_the_other_branches() -> None:
    context = made(4, sent=3)
    assert seen(context) == (4, 0, False, False)

    assert told(context, Replied(1, 200)) == [Relay(1), CancelBranch(0), CancelBranch(2)]
    assert seen(context) == (2, 200, False, False)
    assert [context.status_of(index) for index in range(4)] == [0, 200, 0, 487]


def test_the_only_branch_takes_the_request() -> None:
    context = made(1)
    assert told(context, Replied(0, 202)) == [Relay(0), Over()]
    assert seen(context) == (0, 202, False, False)


def test_a_2xx_is_the_end_where_nothing_else_was_sent() -> None:
    context = made(3, sent=1)
    assert told(context, Replied(0, 200)) == [Relay(0), Over()]
    assert [context.status_of(index) for index in range(3)] == [200, 487, 487]


def test_each_2xx_of_an_invite_goes_up() -> None:
    context = made(3)
    told(context, Replied(0, 200))

    assert told(context, Replied(0, 200)) == [Relay(0)]
    assert told(context, Replied(1, 202)) == [Relay(1)]
    assert told(context, Replied(2, 487)) == [Over()]
    assert told(context, Replied(1, 202), Replied(0, 200)) == [Relay(1), Relay(0)]
    assert seen(context) == (0, 200, False, False)


def test_only_the_first_2xx_of_another_request_goes_up() -> None:
    context = made(3, invite=False, sent=2)

    assert told(context, Replied(0, 200)) == [Relay(0)], "what was sent cannot be cancelled (9.1)"
    assert seen(context) == (1, 200, False, False)
    assert told(context, Replied(0, 200)) == []
    assert told(context, Replied(1, 202)) == [Over()]
    assert seen(context) == (0, 200, False, False)


def test_a_2xx_from_a_branch_that_was_given_up_goes_up_while_nothing_is_decided() -> None:
    context = made(2)
    told(context, Failed(0, 408))

    assert told(context, Replied(0, 200)) == [Relay(0), CancelBranch(1)]
    assert seen(context) == (1, 200, False, False)
    assert context.status_of(0) == 408
    assert told(context, Replied(1, 487)) == [Over()]


def test_a_2xx_settles_what_the_script_is_being_asked() -> None:
    context = made(1)
    assert told(context, Failed(0, 408)) == [AskScript(None, 408)]
    added = add(context)

    assert told(context, Replied(0, 200)) == [Relay(0), CancelBranch(added)]
    assert seen(context) == (1, 200, False, False)
    assert told(context, Decided()) == []
    assert told(context, Replied(added, 487)) == [Over()]


@pytest.mark.parametrize("invite", [True, False])
def test_a_2xx_behind_a_refusal_that_went_up_goes_no_further(invite: bool) -> None:
    # The caller's transaction has ended with the refusal (RFC 6026 7.1, COMPLETED): who sent the 2xx gets no ACK.
    context = made(2, invite)
    told(context, Answered(480))

    assert told(context, Replied(0, 200)) == []
    assert told(context, Replied(1, 200)) == [Over()]
    assert told(context, Replied(1, 200)) == []
    assert seen(context) == (0, 480, False, False)


# --- refusals (16.7 steps 5 and 6)


def test_a_refusal_waits_for_the_other_branches() -> None:
    context = made(3)
    assert told(context, Replied(1, 404)) == []
    assert seen(context) == (2, 0, False, False)
    assert told(context, Replied(0, 486)) == []
    assert context.round_replies() == [0, 1]

    assert told(context, Replied(2, 480)) == [AskScript(1, 404)]
    assert seen(context) == (0, 0, True, False)
    assert told(context, Decided()) == [Relay(1), Over()]
    assert seen(context) == (0, 404, False, False)


def test_a_branch_ends_once() -> None:
    context = made(2)
    told(context, Replied(0, 404))
    unchanged = seen(context)

    assert told(context, Replied(0, 603), Failed(0, 408), Replied(0, 404), Sent(0)) == []
    assert seen(context) == unchanged
    assert context.status_of(0) == 404


def test_what_nobody_said_is_answered_by_us() -> None:
    context = made(2, sent=1)
    assert told(context, Failed(1, 503)) == []
    assert told(context, Failed(0, 408)) == [AskScript(None, 408)]
    assert context.round_replies() == []
    assert told(context, Decided()) == [Answer(408), Over()]
    assert seen(context) == (0, 408, False, False)


@pytest.mark.parametrize(
    ("replies", "best"),
    [
        # the lowest class, and in it the lowest status
        ([500, 404], 404),
        ([404, 302], 302),
        ([500, 404, 302], 302),
        ([305, 301], 301),
        ([486, 404, 480], 404),
        ([505, 501], 501),
        # a 6xx above all
        ([302, 600], 600),
        ([604, 603], 603),
        ([401, 606, 300], 606),
        # what tells the caller how to do it better
        ([404, 401], 401),
        ([404, 407], 407),
        ([400, 415], 415),
        ([404, 420], 420),
        ([404, 484], 484),
        ([407, 401], 401),
        ([500, 484, 403], 484),
        ([302, 401], 302),
        # what says least
        ([408, 486], 486),
        ([408, 499], 499),
        ([408, 500], 408),
        ([503, 504], 504),
        ([503, 580], 580),
        ([503, 480], 480),
        ([503], 503),
        ([408], 408),
    ],
)
@pytest.mark.parametrize("turned", [False, True])
def test_the_best_reply_goes_up(replies: list[int], best: int, turned: bool) -> None:
    replies = replies[::-1] if turned else replies
    context = made(len(replies), block_6xx=False)
    branch = replies.index(best)

    said = [Replied(index, status) for index, status in enumerate(replies)]
    assert told(context, *said, Decided()) == [AskScript(branch, best), Relay(branch), Over()]


@pytest.mark.parametrize(("failed", "replied"), [(408, 486), (408, 499), (487, 499), (503, 599), (500, 599)])
@pytest.mark.parametrize("first", [0, 1])
def test_a_word_from_somebody_is_better_than_our_own_in_its_class(failed: int, replied: int, first: int) -> None:
    context = made(2)
    told(context, Failed(first, failed))
    other = 1 - first
    assert told(context, Replied(other, replied)) == [AskScript(other, replied)]


def test_a_lower_class_of_our_own_is_better_than_a_higher_one() -> None:
    context = made(2)
    told(context, Failed(0, 408))
    assert told(context, Replied(1, 500), Decided()) == [AskScript(None, 408), Answer(408), Over()]


def test_of_two_equal_replies_the_first_branch_wins() -> None:
    context = made(3)
    assert told(context, Replied(2, 486), Replied(1, 486), Replied(0, 486)) == [AskScript(0, 486)]


# --- 6xx (16.7 step 5)


def test_a_6xx_ends_the_other_branches_and_waits_for_them() -> None:
    context = made(4, sent=3)

    assert told(context, Replied(1, 603)) == [CancelBranch(0), CancelBranch(2)]
    assert seen(context) == (2, 0, False, False)
    assert told(context, Replied(0, 487)) == []
    assert told(context, Replied(2, 401)) == [AskScript(1, 603)]
    assert told(context, Decided()) == [Relay(1), Over()]


def test_a_2xx_that_crosses_the_cancel_wins_over_the_6xx() -> None:
    context = made(2)
    told(context, Replied(1, 603))

    assert told(context, Replied(0, 200)) == [Relay(0), Over()]
    assert seen(context) == (0, 200, False, False)


def test_a_6xx_ends_nothing_where_that_is_switched_off() -> None:
    context = made(2, block_6xx=False)
    assert told(context, Replied(1, 603)) == []
    assert told(context, Replied(0, 200)) == [Relay(0), Over()]


def test_a_6xx_ends_only_what_was_not_sent_of_another_request() -> None:
    context = made(3, invite=False, sent=2)
    assert told(context, Replied(0, 600)) == []
    assert seen(context) == (1, 0, False, False)
    assert told(context, Replied(1, 404)) == [AskScript(0, 600)]


# --- CANCEL (16.10)


def test_a_cancel_goes_to_every_branch_that_was_sent_and_ends_the_others() -> None:
    context = made(4, sent=3)
    told(context, Replied(0, 404))

    assert told(context, Cancelled()) == [CancelBranch(1), CancelBranch(2)]
    assert seen(context) == (2, 0, False, True)
    assert context.status_of(3) == 487
    assert told(context, Replied(1, 487)) == []
    assert told(context, Replied(2, 487)) == [AskScript(0, 404)]


def test_a_cancel_before_anything_was_sent_is_answered_without_waiting() -> None:
    context = made(2, sent=0)
    assert told(context, Cancelled()) == [AskScript(None, 487)]
    assert told(context, Decided()) == [Answer(487), Over()]


def test_a_cancel_comes_once() -> None:
    context = made(2)
    told(context, Cancelled())
    assert told(context, Cancelled()) == []
    assert seen(context) == (2, 0, False, True)


def test_a_branch_is_cancelled_once() -> None:
    context = made(3)
    assert told(context, Replied(0, 603)) == [CancelBranch(1), CancelBranch(2)]
    assert told(context, Cancelled()) == []
    assert told(context, Replied(1, 200)) == [Relay(1)]


def test_a_2xx_that_crosses_a_cancel_goes_up() -> None:
    context = made(1)
    told(context, Cancelled())
    assert told(context, Replied(0, 200)) == [Relay(0), Over()]


def test_a_cancel_before_the_first_branch_is_remembered() -> None:
    context = made(0)
    assert told(context, Cancelled()) == []
    assert seen(context) == (0, 0, False, True)


def test_a_cancel_behind_the_final_reply_changes_nothing_that_is_visible() -> None:
    context = made(1)
    told(context, Replied(0, 200))
    assert told(context, Cancelled()) == []
    assert context.final == 200


def test_a_cancel_does_not_answer_for_the_script_that_is_asked() -> None:
    context = made(1)
    told(context, Replied(0, 486))

    assert told(context, Cancelled()) == []
    assert seen(context) == (0, 0, True, True)
    assert told(context, Decided()) == [Relay(0), Over()]


# --- the script's word


def test_nothing_goes_up_until_the_script_has_decided() -> None:
    context = made(1)
    assert told(context, Replied(0, 486)) == [AskScript(0, 486)]
    assert told(context, Replied(0, 486), Replied(0, 180)) == []
    assert seen(context) == (0, 0, True, False)


def test_who_is_not_asked_decides_nothing() -> None:
    context = made(1)
    assert told(context, Decided()) == []
    told(context, Replied(0, 486), Decided())
    assert told(context, Decided()) == []
    assert seen(context) == (0, 486, False, False)


def test_the_next_round_chooses_among_its_own_branches() -> None:
    context = made(2)
    told(context, Replied(0, 404), Replied(1, 486))
    first, second = add(context), add(context)
    assert (first, second) == (2, 3)
    assert context.round_replies() == []
    assert told(context, Decided()) == []
    assert seen(context) == (2, 0, False, False)

    assert told(context, Replied(second, 503)) == []
    assert context.round_replies() == [second]
    assert told(context, Replied(first, 500)) == [AskScript(first, 500)]
    assert told(context, Decided()) == [Relay(first), Over()]


def test_a_round_may_be_followed_by_another() -> None:
    context = made(1)
    for status in (486, 480, 404):
        index = len(context) - 1
        assert told(context, Replied(index, status)) == [AskScript(index, status)]
        add(context)
        assert told(context, Decided()) == []
    assert told(context, Replied(3, 200)) == [Relay(3), Over()]


def test_a_branch_that_is_added_while_others_are_open_belongs_to_their_round() -> None:
    context = made(1)
    added = add(context)
    assert told(context, Replied(added, 500), Replied(0, 404)) == [AskScript(0, 404)]


def test_a_round_that_ends_while_the_script_is_at_it_is_asked_about_behind_it() -> None:
    context = made(1)
    told(context, Replied(0, 486))
    added = add(context)
    assert told(context, Replied(added, 480)) == [], "the script is asked one thing at a time"
    assert seen(context) == (0, 0, True, False)

    assert told(context, Decided()) == [AskScript(added, 480)]
    assert seen(context) == (0, 0, True, False)
    assert told(context, Decided()) == [Relay(added), Over()]


def test_a_success_ends_a_round_that_the_script_has_begun() -> None:
    context = made(1)
    told(context, Replied(0, 486))
    added = add(context)
    assert told(context, Replied(added, 200)) == [Relay(added), Over()]
    assert told(context, Decided()) == []


# --- the script answers itself


def test_an_answer_of_the_script_ends_all_branches() -> None:
    context = made(3, sent=2)
    told(context, Replied(0, 404))

    assert told(context, Answered(480)) == [CancelBranch(1)]
    assert seen(context) == (1, 480, False, False)
    assert context.status_of(2) == 487
    assert told(context, Replied(1, 487)) == [Over()]


def test_an_answer_to_what_is_asked_is_the_decision() -> None:
    context = made(1)
    told(context, Replied(0, 486))
    assert told(context, Answered(404)) == [Over()]
    assert seen(context) == (0, 404, False, False)
    assert told(context, Decided()) == []


def test_a_2xx_of_the_script_does_not_keep_others_from_going_up() -> None:
    context = made(1)
    assert told(context, Answered(200)) == [CancelBranch(0)]
    assert told(context, Replied(0, 200)) == [Relay(0), Over()]


@pytest.mark.parametrize("before", [[Replied(0, 200)], [Replied(0, 486), Decided()], [Answered(480)]])
def test_a_second_answer_is_none(before: list[Stimulus]) -> None:
    context = made(1)
    told(context, *before)
    final = context.final
    assert told(context, Answered(500)) == []
    assert context.final == final


def test_late_refusals_only_end_their_branches() -> None:
    context = made(3)
    told(context, Replied(0, 200))

    assert told(context, Replied(1, 603)) == []
    assert told(context, Failed(2, 408)) == [Over()]
    assert told(context, Replied(2, 486)) == []
    assert seen(context) == (0, 200, False, False)
