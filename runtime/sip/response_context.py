"""What becomes of the replies to one request that a proxy has relayed (RFC 3261 16.7, 16.10): the response context.

One request may go to several targets, side by side or one after the other. Upstream sees one transaction: every
provisional reply but 100, each 2xx of an INVITE, and otherwise one final reply, which is the best of those that came.

The script has a word before a final reply other than 2xx goes upstream: `AskScript` runs its failure route, and nothing
more goes up until `Decided`. It may add branches meanwhile, answer itself, or park. A new *round* begins with the
branches that it adds: the best reply is then chosen among the new ones, as OpenSIPS does, since a gateway's refusal
has been dealt with once the script has tried the next one.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final, TypeAlias, assert_never

from msgspec import Struct


class Progress(IntEnum):
    """How far a branch is. WAITING: nothing has been sent (its route runs, or its target is being looked up)."""

    WAITING = 0
    CALLING = 1
    DONE = 2


# --- stimuli


class Sent(Struct, frozen=True):
    """The branch's request is on its way."""

    branch: int


class Replied(Struct, frozen=True):
    """A reply came in on a branch and is through its reply route.

    Args:
        branch: its index.
        status: 100 to 699.
    """

    branch: int
    status: int


class Failed(Struct, frozen=True):
    """A branch ended without a reply: `status` stands for why (408, 503, or 500 where the script dropped it)."""

    branch: int
    status: int


class Cancelled(Struct, frozen=True):
    """The CANCEL of the request came."""


class Answered(Struct, frozen=True):
    """The script gave a final reply itself."""

    status: int


class Decided(Struct, frozen=True):
    """What `AskScript` asked for is through."""


Stimulus: TypeAlias = Sent | Replied | Failed | Cancelled | Answered | Decided


# --- effects


class Relay(Struct, frozen=True):
    """Send this branch's last reply upstream."""

    branch: int


class Answer(Struct, frozen=True):
    """Send a final reply of our own upstream: no branch had one."""

    status: int


class CancelBranch(Struct, frozen=True):
    """Cancel what this branch has sent."""

    branch: int


class AskScript(Struct, frozen=True):
    """No branch is left and none took the request: run the failure route, if there is one, and say `Decided`.

    Args:
        branch: whose reply is the best; None where the best is of our own making.
        status: its status.
    """

    branch: int | None
    status: int


class Over(Struct, frozen=True):
    """A final reply has gone upstream and no branch is left: the context can be forgotten."""


Effect: TypeAlias = Relay | Answer | CancelBranch | AskScript | Over

_OVER: Final = Over()


class _Branch:
    __slots__ = ("cancelled", "progress", "status", "was_replied")

    def __init__(self) -> None:
        self.progress = Progress.WAITING
        self.status = 0
        """The final status, once DONE."""
        self.was_replied = False
        """Whether that status came from the network."""
        self.cancelled = False


class ResponseContext:
    """The replies to one relayed request.

    Args:
        invite: whether the request is an INVITE.
        block_6xx: whether a 6xx ends all other branches (RFC 3261 16.7 step 5; OpenSIPS's `disable_6xx_block`).

    Attributes:
        final: the status of the final reply that went upstream; 0 before.
        deciding: whether `AskScript` is waiting for `Decided`.
        cancelled: whether the request's CANCEL came.
    """

    __slots__ = ("_asked", "_block_6xx", "_branches", "_round", "cancelled", "deciding", "final", "invite")

    def __init__(self, invite: bool, block_6xx: bool = True) -> None:
        self.invite = invite
        self.final = 0
        self.deciding = False
        self.cancelled = False
        self._block_6xx = block_6xx
        self._branches: list[_Branch] = []
        self._round = 0
        """The index of the first branch of this round."""
        self._asked = 0
        """How many branches there were when the script was asked last."""

    def __len__(self) -> int:
        return len(self._branches)

    @property
    def open(self) -> int:
        """How many branches have no final status yet."""
        return len([branch for branch in self._branches if branch.progress is not Progress.DONE])

    def add(self) -> int:
        """Add a branch; its index."""
        if self.deciding and not self.open:
            self._round = len(self._branches)
        self._branches.append(_Branch())
        return len(self._branches) - 1

    def status_of(self, branch: int) -> int:
        """The final status of a branch, 0 while it has none."""
        return self._branches[branch].status

    def round_replies(self) -> list[int]:
        """The branches of this round that ended with a reply from the network."""
        return [index for index, branch in enumerate(self._branches) if index >= self._round and branch.was_replied]

    @property
    def has_replies(self) -> bool:
        """Whether a branch, of this round or an earlier one, ended with a reply from the network."""
        return any(branch.was_replied for branch in self._branches)

    def handle(self, stimulus: Stimulus) -> list[Effect]:
        """What happens next, in order. What comes for a branch that is done is ignored, but for a 2xx to an INVITE."""
        match stimulus:
            case Sent():  # not Sent(index): a pattern that takes fields costs 0.2 µs more
                return self._sent(self._branches[stimulus.branch])
            case Replied():
                return self._replied(stimulus.branch, stimulus.status)
            case Failed(index, status):
                return self._ended(index, status, replied=False)
            case Cancelled():
                return self._cancel()
            case Answered(status):
                return self._answered(status)
            case Decided():
                return self._decided()
            case _:
                assert_never(stimulus)

    def check(self) -> None:
        """Assert the invariants."""
        for branch in self._branches:
            assert (branch.progress is Progress.DONE) == (branch.status >= 200), "done is having a final status"
        assert not (self.deciding and self.final), "what is decided is not asked for"
        assert 0 <= self._round <= len(self._branches)
        assert self._asked <= len(self._branches)
        settled = bool(self.final) or self.deciding
        assert settled or self.open or not self._branches, "while nothing is decided, some branch is open"

    def _sent(self, branch: _Branch) -> list[Effect]:
        if branch.progress is Progress.WAITING:
            branch.progress = Progress.CALLING
        return []

    def _replied(self, index: int, status: int) -> list[Effect]:
        if status < 200:
            return self._provisional(index, status)
        return self._success(index, status) if status < 300 else self._ended(index, status, replied=True)

    def _provisional(self, index: int, status: int) -> list[Effect]:
        done = self._branches[index].progress is Progress.DONE
        return [] if status == 100 or done or self.final else [Relay(index)]

    def _success(self, index: int, status: int) -> list[Effect]:
        branch = self._branches[index]
        first = branch.progress is not Progress.DONE
        if first:
            self._close(branch, status, replied=True)
        if self.final and not (self.invite and self.final < 300):
            return self._over() if first else []
        # Each 2xx of an INVITE goes up (16.7 step 5), a repeated one too: its sender waits for the ACK.
        repeated = bool(self.final)
        if not repeated:
            self.final = status
            self.deciding = False
        if repeated:
            return [Relay(index), *(self._over() if first else [])]
        return [Relay(index), *self._cancel_all(), *self._over()]

    def _ended(self, index: int, status: int, *, replied: bool) -> list[Effect]:
        branch = self._branches[index]
        if branch.progress is Progress.DONE:
            return []
        self._close(branch, status, replied=replied)
        if self.final:
            return self._over()
        cancelled = self._cancel_all() if status >= 600 and self._block_6xx else []
        return cancelled + self._ask()

    def _close(self, branch: _Branch, status: int, *, replied: bool) -> None:
        branch.progress, branch.status, branch.was_replied = Progress.DONE, status, replied

    def _ask(self) -> list[Effect]:
        """Ask the script, when there is nothing left to wait for."""
        if self.open or self.deciding or self.final:
            return []
        self.deciding = True
        self._asked = len(self._branches)
        index, status = self._best()
        return [AskScript(index if self._branches[index].was_replied else None, status)]

    def _decided(self) -> list[Effect]:
        if not self.deciding:
            return []
        self.deciding = False
        if len(self._branches) > self._asked:
            return self._ask()  # there is another round, and it may have ended while the script was at it
        index, self.final = self._best()
        reply: Effect = Relay(index) if self._branches[index].was_replied else Answer(self.final)
        return [reply, _OVER]

    def _answered(self, status: int) -> list[Effect]:
        if self.final:
            return []
        self.final = status
        self.deciding = False
        return [*self._cancel_all(), *self._over()]

    def _cancel(self) -> list[Effect]:
        if self.cancelled:
            return []
        self.cancelled = True
        return self._cancel_all() + self._ask() if self._branches else []

    def _cancel_all(self) -> list[Effect]:
        """End what has not been sent, and cancel what has; a request other than INVITE cannot be (9.1)."""
        effects: list[Effect] = []
        for index, branch in enumerate(self._branches):
            if branch.progress is Progress.WAITING:
                self._close(branch, 487, replied=False)
            elif branch.progress is Progress.CALLING and self.invite and not branch.cancelled:
                branch.cancelled = True
                effects.append(CancelBranch(index))
        return effects

    def _over(self) -> list[Effect]:
        return [] if self.open else [_OVER]

    def _best(self) -> tuple[int, int]:
        """The best final status of this round and its branch (16.7 step 6)."""
        found = [(_rank(branch), index) for index, branch in enumerate(self._branches) if index >= self._round]
        _, index = min(found)
        return index, self._branches[index].status


_HELPFUL: Final = frozenset((401, 407, 415, 420, 484))
"""What tells the caller how to do it better; preferred within 4xx (16.7 step 6)."""


def _rank(branch: _Branch) -> tuple[int, int, int]:
    status = branch.status
    if status >= 600:
        return 0, 0, status
    # A timeout says less than any word that came from somebody, and a 503 is about one server, not about the request.
    vague = 2 if status == 503 else 1 if status == 408 or not branch.was_replied else 0
    return status // 100, 0 if status in _HELPFUL else 1 + vague, status
