"""An account through any story of its transaction: each end is recorded once, where it was asked for."""

from __future__ import annotations

from hypothesis import event
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from runtime.acc.accounts import NOTHING, Account, Backend, Parties, Wants

BACKENDS = st.lists(st.sampled_from(list(Backend)), min_size=1, max_size=3, unique=True).map(tuple)
FLAGS = st.lists(st.sampled_from([Wants.CDR, Wants.MISSED, Wants.FAILED]), max_size=3, unique=True)


def joined(flags: list[Wants]) -> Wants:
    found = NOTHING
    for one in flags:
        found |= one
    return found


class AccountMachine(RuleBasedStateMachine):
    """The transaction's messages come in any order; the model is what was asked for and what has been recorded."""

    def __init__(self) -> None:
        super().__init__()
        self.account = Account(1.0, Parties("INVITE", "a", "", "c"))
        self.wants: dict[Backend, Wants] = {}
        self.tags: set[str] = set()
        self.refusals = 0
        self.missed = dict.fromkeys(Backend, 0)
        self.asked = dict.fromkeys(Backend, 0)

    @rule(backends=BACKENDS, flags=FLAGS)
    def ask(self, backends: tuple[Backend, ...], flags: list[Wants]) -> None:
        self.account.ask(backends, joined(flags))
        for one in backends:
            self.wants[one] = self.wants.get(one, NOTHING) | Wants.ANSWERED | joined(flags)
            self.asked[one] += Wants.MISSED in flags

    @rule(backends=BACKENDS | st.none(), flags=FLAGS)
    def drop(self, backends: tuple[Backend, ...] | None, flags: list[Wants]) -> None:
        self.account.drop(backends, joined(flags))
        for one in backends or tuple(Backend):
            if not flags:
                self.wants.pop(one, None)
            elif one in self.wants:
                self.wants[one] &= ~joined(flags)

    @rule(tag=st.sampled_from("abc"))
    def answer(self, tag: str) -> None:
        found = self.account.answered(tag)
        wanted = [one for one, wants in self.wants.items() if Wants.ANSWERED in wants and Wants.CDR not in wants]
        assert found == ([] if tag in self.tags else wanted)
        self.tags.add(tag)
        event(f"recorded {bool(found)}")

    @rule()
    def refuse(self) -> None:
        found = self.account.refused()
        wanted = [one for one, wants in self.wants.items() if Wants.FAILED in wants]
        assert found == ([] if self.tags or self.refusals else wanted)
        self.refusals += not self.tags

    @rule()
    def miss(self) -> None:
        for one in self.account.missed():
            self.missed[one] += 1
            self.wants[one] &= ~Wants.MISSED

    @invariant()
    def is_missed_only_as_often_as_it_was_asked_for(self) -> None:
        assert all(self.missed[one] <= self.asked[one] for one in Backend)
        assert self.account.wants == self.wants


TestAccounts = AccountMachine.TestCase
