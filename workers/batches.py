"""Several jobs with one wait for all of them, and what calls look like that are written down as data."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeAlias

from workers.jobs import Job, Outcome, Returned
from workers.session import Session

What: TypeAlias = str | Callable[..., Any]
"""The name of a handler, or a function."""

Call: TypeAlias = What | tuple[What, Mapping[str, Any] | Sequence[Any]] | tuple[What, Sequence[Any], Mapping[str, Any]]
"""One of many calls: ``"name"``, ``("name", {"width": 64})``, ``("name", ["a.png"])`` or ``("name", [...], {...})``."""

OnTimeout: TypeAlias = Literal["abandon", "kill"]
"""What happens to a worker that still runs a job a little after its deadline."""


class Batch:
    """Several jobs that end together: one callback each, and one for all.

    Args:
        session: the pool.
        fail_early: whether the first that does not return is the end of all.
    """

    def __init__(self, session: Session, *, fail_early: bool) -> None:
        self._session = session
        self._fail_early = fail_early
        self._places: dict[int, int] = {}
        self._jobs: dict[int, Job] = {}
        self._outcomes: list[Outcome | None] = []
        self._failed: Outcome | None = None
        self.on_done: Callable[[Job, Outcome], object] = _nothing

    def submit(self, calls: Sequence[tuple[Any, bytes]], *, timeout_s: float | None, priority: int, kill: bool) -> None:
        """Hand in the calls: targets with their payloads."""
        self._outcomes = [None] * len(calls)
        for place, (target, payload) in enumerate(calls):
            job = self._session.submit(
                target, payload, self._settled, timeout_s=timeout_s, priority=priority, kill=kill
            )
            self._places[job.serial] = place
            self._jobs[job.serial] = job

    def _settled(self, job: Job, outcome: Outcome) -> None:
        del self._jobs[job.serial]
        self._outcomes[self._places[job.serial]] = outcome
        if self._failed is not None:
            return
        if self._fail_early and not isinstance(self._session.outcome(outcome), Returned):
            self._failed = outcome
        if self.is_done:
            self.on_done(job, outcome)

    @property
    def is_done(self) -> bool:
        """Whether nothing more is waited for."""
        return not self._jobs or self._failed is not None

    def cancel(self) -> None:
        """End what is under way."""
        for job in list(self._jobs.values()):
            self._session.node.cancel(job.id, "its batch has ended")

    def outcomes(self) -> list[Outcome]:
        """All outcomes."""
        return [self._session.outcome(outcome) for outcome in self._outcomes if outcome is not None]

    def values(self) -> list[Any]:
        """All results; raises the first failure."""
        if self._failed is not None:
            self._session.value(self._failed)
        return [self._session.value(outcome) for outcome in self._outcomes if outcome is not None]


def _nothing(job: Job, outcome: Outcome) -> None:
    pass


def parts_of(call: Call) -> tuple[What, Sequence[Any], Mapping[str, Any]]:
    """What is called, its positional arguments, and its named ones.

    Raises:
        TypeError: that is no call.
    """
    if isinstance(call, str) or callable(call):
        return call, (), {}
    match call:
        case (what, Mapping() as kwargs):
            return what, (), kwargs
        case (what, [*args]):
            return what, args, {}
        case (what, [*args], Mapping() as kwargs):
            return what, args, kwargs
    raise TypeError(
        f'not a call: {call!r}; write "name", ("name", {{...}}), ("name", [...]) or ("name", [...], {{...}})'
    )


def is_kill(on_timeout: str) -> bool:
    """Whether a worker is killed for a job past its deadline.

    Raises:
        ValueError: it says neither ``"abandon"`` nor ``"kill"``.
    """
    if on_timeout not in ("abandon", "kill"):
        raise ValueError(f'on_timeout={on_timeout!r}: "abandon" or "kill"')
    return on_timeout == "kill"
