"""Branches, a caller and a script around one response context.

Branches are sent, ring, answer, refuse, fail, and say it again; the caller gives up; the script adds branches, answers
itself, and takes its time with what it is asked. What must hold: each branch ends; the caller gets one final reply as
soon as nothing is open and nobody is asked, it is the best that was said, and behind it nothing but 2xx of an INVITE;
what was sent and is not wanted any more is cancelled, once; the end is told once, behind all else.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass

from hypothesis import event, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from runtime.sip import response_context
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
    Progress,
    Relay,
    Replied,
    ResponseContext,
    Sent,
    Stimulus,
)
from tests.properties.complaints import complaint

IS_COMPILED = not response_context.__file__.endswith(".py")
"""What is compiled can neither be copied nor broken from outside."""
RINGING = [100, 180, 183]
TAKEN = [200, 202]
REFUSED = [
    [300, 302, 305, 404],
    [404, 407],
    [404, 408, 484],
    [408, 486, 499],
    [500, 503, 504],
    [503, 580],
    [600, 603, 486],
]
FAILED = [408, 500, 503, 504]
CLASSES = [range(600, 700), range(300, 400), range(400, 500), range(500, 600)]
BETTER = [401, 407, 415, 420, 484]


@dataclass
class Branch:
    """What the model knows of one branch."""

    round: int
    is_sent: bool = False
    end: int = 0
    from_network: bool = False
    last: int = 0
    cancels: int = 0

    @property
    def is_open(self) -> bool:
        return not self.end


def best(branches: list[Branch]) -> Branch:
    """Of what ended: the best class, in it what helps, else what somebody said of the request, else the rest."""
    ended = next(found for one in CLASSES if (found := [b for b in branches if b.end in one]))
    if ended[0].end >= 600:
        return min(ended, key=lambda b: b.end)
    helpful = [b for b in ended if b.end in BETTER]
    telling = [b for b in ended if b.from_network and b.end not in (408, 503)]
    vague = [b for b in ended if b.end != 503]
    return min(helpful or telling or vague or ended, key=lambda b: b.end)


class Responses(RuleBasedStateMachine):
    @initialize(data=st.data(), invite=st.booleans(), patient=st.booleans())
    def begin(self, data: st.DataObject, invite: bool, patient: bool) -> None:
        block, refused = data.draw(st.booleans()), data.draw(st.sampled_from(REFUSED))
        branches = data.draw(st.integers(1, 3))
        self.relay(invite, block, branches, data.draw(st.sampled_from([branches, 0])), refused, patient)

    def relay(
        self, invite: bool, block: bool, branches: int, sent: int, refused: list[int], patient: bool = False
    ) -> None:
        self.invite, self.block, self.patient = invite, block, patient
        """`patient`: neither the caller nor the script puts an end to it."""
        self.refused = refused
        """What this request's branches are refused with: few and alike, so that they meet."""
        self.context = ResponseContext(invite) if block else ResponseContext(invite, False)
        self.context.check()
        self.branches: list[Branch] = []
        self.round = 0
        self.asked: Branch | None = None
        self.asked_of = 0
        self.wanted = True
        """Whether branches may still be started: no final reply has gone up, and nobody cancelled."""
        self.is_cancelled = False
        self.finals: list[int] = []
        self.overs = 0
        self.add(branches, sent)

    @precondition(lambda self: self.overs)
    @rule(data=st.data(), invite=st.booleans(), patient=st.booleans())
    def begin_another(self, data: st.DataObject, invite: bool, patient: bool) -> None:
        self.finish()
        self.begin(data, invite, patient)

    # --- what happens to a request

    @precondition(lambda self: self.wanted and len(self.branches) < 12)
    @rule(count=st.integers(1, 3), sent=st.integers(0, 3))
    def add(self, count: int, sent: int) -> None:
        if self.asked is not None and not self.open() and any(b.round == self.round for b in self.branches):
            self.round += 1
            event("another round")
        for _ in range(count):
            assert self.context.add() == len(self.branches)
            self.branches.append(Branch(self.round))
        for branch in self.branches[-count:][:sent]:
            self.send(branch)

    @precondition(lambda self: any(not b.is_sent for b in self.branches))
    @rule(data=st.data())
    def send_one(self, data: st.DataObject) -> None:
        self.send(data.draw(st.sampled_from([b for b in self.branches if not b.is_sent])))

    def send(self, branch: Branch) -> None:
        branch.is_sent |= branch.is_open
        assert self.say(Sent(self.at(branch))) == []

    @rule(data=st.data(), status=st.sampled_from(RINGING))
    def ring(self, data: st.DataObject, status: int) -> None:
        index = self.pick(data, [b for b in self.branches if b.is_sent])
        if index is not None:
            self.ring_at(index, status)

    def ring_at(self, index: int, status: int) -> None:
        branch = self.branches[index]
        goes_up = status != 100 and branch.is_open and not self.finals
        branch.last = status if goes_up else branch.last
        assert self.say(Replied(index, status)) == ([Relay(index)] if goes_up else [])

    @rule(data=st.data(), status=st.sampled_from(TAKEN))
    def take(self, data: st.DataObject, status: int) -> None:
        index = self.pick(data, [b for b in self.branches if b.is_sent])
        if index is not None:
            self.take_at(index, status)

    def take_at(self, index: int, status: int) -> None:
        branch = self.branches[index]
        event(f"2xx of a branch {'open' if branch.is_open else 'done'}, {self.phase()}")
        first = not self.finals
        goes_up = first or (self.invite and self.finals[0] < 300)
        branch.last = status
        if branch.is_open:
            branch.end, branch.from_network = status, True
        if first:
            self.asked = None
        effects = self.say(Replied(index, status))
        assert (effects[:1] == [Relay(index)]) == goes_up
        assert all(isinstance(effect, CancelBranch | Over) for effect in effects[goes_up:])
        if first:
            self.is_unwanted()

    @rule(data=st.data())
    def refuse(self, data: st.DataObject) -> None:
        index = self.pick(data, [b for b in self.branches if b.is_sent])
        if index is not None:
            self.end(index, Replied(index, data.draw(st.sampled_from(self.refused))))

    @rule(data=st.data(), status=st.sampled_from(FAILED))
    def fail(self, data: st.DataObject, status: int) -> None:
        index = self.pick(data, self.branches)
        if index is not None:
            self.end(index, Failed(index, status))

    @precondition(lambda self: self.open() > 0)
    @rule(data=st.data())
    def refuse_or_fail_rest(self, data: st.DataObject) -> None:
        for index in data.draw(st.permutations([self.at(branch) for branch in self.branches if branch.is_open])):
            words: list[Replied | Failed] = [Failed(index, status) for status in FAILED]
            if self.branches[index].is_sent:
                words += [Replied(index, status) for status in self.refused]
            self.end(index, data.draw(st.sampled_from(words)))

    def end(self, index: int, stimulus: Replied | Failed) -> None:
        branch = self.branches[index]
        before = branch.end
        if not before:
            branch.end, branch.from_network = stimulus.status, isinstance(stimulus, Replied)
            branch.last = stimulus.status
        effects = self.say(stimulus)
        if before:
            assert effects == [], "a branch ends once"
        elif stimulus.status >= 600 and self.block and not self.finals:
            self.is_unwanted()
        else:
            assert not any(isinstance(effect, CancelBranch) for effect in effects), "the others go on"

    @precondition(lambda self: not self.patient)
    @rule()
    def cancel(self) -> None:
        event(f"CANCEL, {self.phase()}")
        self.wanted, self.is_cancelled = False, True
        self.say(Cancelled())
        self.is_unwanted()

    @precondition(lambda self: not self.patient or self.finals)
    @rule(status=st.sampled_from([200, 300, 480, 603]))
    def answer(self, status: int) -> None:
        if not self.finals:
            event(f"answered, {self.phase()}")
            self.finals.append(status)
            self.wanted, self.asked = False, None
            self.say(Answered(status))
            self.is_unwanted()
        else:
            assert self.say(Answered(status)) == []

    @precondition(lambda self: self.asked is not None)
    @rule()
    def decide(self) -> None:
        self.asked = None
        self.say(Decided())

    @precondition(lambda self: self.asked is not None and self.wanted and len(self.branches) < 12)
    @rule(data=st.data(), count=st.integers(1, 2), overtaken=st.booleans())
    def try_others(self, data: st.DataObject, count: int, overtaken: bool) -> None:
        self.add(count, sent=count)
        if overtaken:
            self.refuse_or_fail_rest(data)
        self.decide()

    @precondition(lambda self: self.asked is None)
    @rule()
    def decide_unasked(self) -> None:
        assert self.say(Decided()) == []

    # --- what the context says

    def say(self, stimulus: Stimulus) -> list[Effect]:
        effects = self.context.handle(stimulus)
        self.context.check()
        over = self.overs
        for effect in effects:
            assert self.overs == over, "nothing comes behind the end"
            self.hear(effect)
        return effects

    def hear(self, effect: Effect) -> None:
        match effect:
            case Relay(index):
                self.gone_up(self.branches[index].last)
            case Answer(status):
                chosen = best(self.this_round())
                assert not chosen.from_network
                assert status == chosen.end
                self.gone_up(status)
            case CancelBranch(index):
                branch = self.branches[index]
                assert self.invite
                assert branch.is_sent
                assert branch.is_open
                branch.cancels += 1
                assert branch.cancels == 1
            case AskScript(index, status):
                self.is_asked(index, status)
            case Over():
                self.overs += 1
                self.note_ends()
                assert self.finals
                assert not self.open()

    def gone_up(self, status: int) -> None:
        assert status != 100
        if status < 200:
            assert not self.finals
            return
        if self.finals:
            assert self.invite
            assert self.finals[0] < 300
            assert status < 300
        elif status >= 300:
            assert not self.open()
            assert self.asked is None
            assert status == best(self.this_round()).end
            assert self.asked_of == len(self.branches), "the script was asked about all of them"
        self.finals.append(status)
        self.wanted = False

    def is_asked(self, index: int | None, status: int) -> None:
        self.note_ends()
        assert not self.open()
        assert not self.finals
        assert self.asked is None, "it is asked one thing at a time"
        self.asked = best(self.this_round())
        assert status == self.asked.end
        assert (index is not None) == self.asked.from_network
        if index is not None:
            assert self.branches[index] in self.this_round()
            assert self.branches[index].end == status
        assert len(self.branches) > self.asked_of or not self.asked_of, "it is not asked the same twice"
        self.asked_of = len(self.branches)
        event(f"asked in round {min(self.round, 3)}")

    def is_unwanted(self) -> None:
        """What was not sent has ended; what was sent is being cancelled, where it can be."""
        self.note_ends()
        for branch in self.branches:
            assert branch.is_sent or not branch.is_open
            assert not (self.invite and branch.is_open) or branch.cancels == 1

    def note_ends(self) -> None:
        """What was not sent may be ended by the context itself, as 487."""
        for index, branch in enumerate(self.branches):
            if branch.is_open and not branch.is_sent and self.context.status_of(index):
                assert self.context.status_of(index) == 487
                branch.end = 487

    # --- what always holds

    @precondition(lambda self: hasattr(self, "context") and not IS_COMPILED)
    @rule(data=st.data())
    def check_would_find(self, data: st.DataObject) -> None:
        """Another context like this one, with something broken in it."""
        context = deepcopy(self.context)
        found = data.draw(st.sampled_from(BREAKS))(context)
        assert found is None or complaint(context) == found

    @invariant()
    def agrees(self) -> None:
        if not hasattr(self, "context"):
            return
        assert [self.context.status_of(index) for index in range(len(self.branches))] == [b.end for b in self.branches]
        assert self.context.open == self.open() == sum(b.is_open for b in self.branches)
        assert self.context.final == (self.finals[0] if self.finals else 0)
        assert self.context.deciding is (self.asked is not None)
        assert self.context.cancelled is self.is_cancelled
        replied = [index for index, b in enumerate(self.branches) if b.round == self.round and b.from_network]
        assert self.context.round_replies() == replied
        assert self.context.has_replies == any(b.from_network for b in self.branches)
        assert len(self.context) == len(self.branches)

    @invariant()
    def is_prompt(self) -> None:
        if not hasattr(self, "context") or self.open():
            return
        if self.asked is None:
            assert self.finals, "nothing is open and nobody is asked: the caller has its reply"
        assert self.overs == bool(self.finals)

    def teardown(self) -> None:
        """Each branch that is open times out, and the script decides nothing: it ends."""
        if hasattr(self, "context"):
            self.finish()

    def finish(self) -> None:
        for index, branch in enumerate(self.branches):
            if branch.is_open:
                self.end(index, Failed(index, 408))
        while self.asked is not None:
            self.decide()
        assert self.open() == 0
        assert self.finals
        assert self.overs == 1
        assert len(self.finals) == 1 or (self.invite and all(status < 300 for status in self.finals))

    # --- helpers

    def pick(self, data: st.DataObject, among: list[Branch]) -> int | None:
        """One that is open, mostly; what comes late is rarer."""
        lively = [branch for branch in among if branch.is_open]
        if lively and len(lively) < len(among) and data.draw(st.integers(0, 3)):
            among = lively
        return data.draw(st.sampled_from([self.at(branch) for branch in among])) if among else None

    def at(self, branch: Branch) -> int:
        return next(index for index, one in enumerate(self.branches) if one is branch)

    def open(self) -> int:
        return sum(branch.is_open for branch in self.branches)

    def this_round(self) -> list[Branch]:
        return [branch for branch in self.branches if branch.round == self.round]

    def phase(self) -> str:
        if self.finals:
            return "answered before"
        return "while the script is asked" if self.asked is not None else f"{min(self.open(), 3)} open"


def end_one_unnoticed(context: ResponseContext) -> str | None:
    branch = next((branch for branch in context._branches if not branch.status), None)
    if branch is None:
        return None
    branch.status = 200
    return "done is having a final status"


def reopen_one(context: ResponseContext) -> str | None:
    branch = next((branch for branch in context._branches if branch.status), None)
    if branch is None:
        return None
    branch.progress = Progress.CALLING
    return "done is having a final status"


def ask_what_is_decided(context: ResponseContext) -> str | None:
    if not context.final:
        return None
    context.deciding = True
    return "what is decided is not asked for"


def decide_nothing(context: ResponseContext) -> str | None:
    if context.open:
        return None
    context.final, context.deciding = 0, False
    return "while nothing is decided, some branch is open"


def begin_a_round_too_far(context: ResponseContext) -> str | None:
    context._round = len(context) + 1
    return ""


def begin_a_round_too_early(context: ResponseContext) -> str | None:
    context._round = -1
    return ""


def ask_of_too_many(context: ResponseContext) -> str | None:
    context._asked = len(context) + 1
    return ""


BREAKS = [
    end_one_unnoticed,
    reopen_one,
    ask_what_is_decided,
    decide_nothing,
    begin_a_round_too_far,
    begin_a_round_too_early,
    ask_of_too_many,
]
"""Each breaks an invariant and returns what is found; None where it breaks nothing."""


TestResponses = Responses.TestCase
TestResponses.settings = settings(max_examples=200, stateful_step_count=60, deadline=None)
