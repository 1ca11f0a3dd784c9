"""Module event_virtual: several subscribers as one.

A subscriber is `virtual:POLICY subscriber subscriber …`, each of them as by itself. With PARALLEL all are told; with
ROUND-ROBIN one after the other, an event each; with FAILOVER the first one that an event gets through to. One that it
did not get through to comes last for ``failover_timeout`` seconds.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from runtime.clock import monotonic_now
from runtime.modules.events import Done, EventTransport, events_of
from runtime.script.declare import Parameter
from runtime.settings import SettingsError

if TYPE_CHECKING:
    from runtime.process import Process
    from runtime.subscriptions import Notice

MAX_MEMBERS: Final = 16
PARALLEL: Final = "PARALLEL"
FAILOVER: Final = "FAILOVER"
ROUND_ROBIN: Final = "ROUND-ROBIN"
_SCHEME: Final = "virtual"
_MAX_STATES: Final = 1024
"""Of how many subscribers it is known whose turn it is and who failed."""


class Virtual(NamedTuple):
    """What such a socket says."""

    policy: str
    members: tuple[str, ...]


class EventVirtual(EventTransport):
    """The module as a script loads it."""

    name = "event_virtual"
    schemes = (_SCHEME,)
    is_central = True
    parameters = (
        Parameter("failover_timeout", int, 30, doc="Seconds for which FAILOVER takes one that failed last of all."),
    )

    def __init__(self, settings: dict[str, Any] | None = None) -> None:
        super().__init__(settings)
        if self.settings["failover_timeout"] < 0:
            raise SettingsError('modparam("event_virtual", "failover_timeout", …) must not be negative')

    def enter(self, process: Process) -> None:
        super().enter(process)
        self._turns: dict[str, Iterator[int]] = {}
        self._failed: dict[str, float] = {}
        """Members that an event did not get through to, each with when it is taken for sound again."""

    def is_address(self, socket: str) -> bool:
        found, events = virtual_of(socket), events_of(self.house)
        return found is not None and all(events.is_address(member) for member in found.members)

    def deliver(self, socket: str, notice: Notice, done: Done, *, patient: bool = True) -> None:
        found = virtual_of(socket)
        if found is None:
            done(False)
        elif found.policy == PARALLEL:
            self._tell_all(found.members, notice, done)
        elif found.policy == ROUND_ROBIN:
            turn = next(self._turns.setdefault(socket, itertools.count()))
            self._drop_old(self._turns)
            events_of(self.house).deliver(found.members[turn % len(found.members)], notice, done)
        else:
            now = monotonic_now()
            in_order = sorted(found.members, key=lambda member: self._failed.get(member, 0.0) > now)
            self._tell_first(iter(in_order), notice, done)

    def _tell_all(self, members: tuple[str, ...], notice: Notice, done: Done) -> None:
        """It has arrived when it has arrived everywhere."""
        left, arrived = len(members), True

        def one_done(good: bool) -> None:
            nonlocal left, arrived
            left, arrived = left - 1, arrived and good
            if not left:
                done(arrived)

        for member in members:
            events_of(self.house).deliver(member, notice, one_done)

    def _tell_first(self, members: Iterator[str], notice: Notice, done: Done) -> None:
        member = next(members, None)
        if member is None:
            done(False)
            return

        def one_done(good: bool) -> None:
            if good:
                self._failed.pop(member, None)
                done(True)
            else:
                self._failed[member] = monotonic_now() + self.settings["failover_timeout"]
                self._drop_old(self._failed)
                self._tell_first(members, notice, done)

        events_of(self.house).deliver(member, notice, one_done, patient=False)

    def _drop_old(self, states: dict[str, Any]) -> None:
        if len(states) > _MAX_STATES:
            del states[next(iter(states))]


@functools.lru_cache(maxsize=1024)
def virtual_of(text: str) -> Virtual | None:
    """``virtual:POLICY subscriber …``, as a script spells it; None for what is none. None of them is virtual itself."""
    scheme, _, rest = text.partition(":")
    policy, *members = rest.split(" ")
    members = [member for member in members if member]
    if scheme != _SCHEME or policy not in (PARALLEL, FAILOVER, ROUND_ROBIN):
        return None
    if not 0 < len(members) <= MAX_MEMBERS or any(member.startswith(f"{_SCHEME}:") for member in members):
        return None
    return Virtual(policy, tuple(members))
