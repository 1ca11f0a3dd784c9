"""Which targets have failed of late, so that the next request need not find out again (RFC 3263 section 4.3)."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from runtime.sip.locate import Target, Targets

FAILED_FOR_S: Final = 60.0
MAX_FAILED: Final = 4_096


class FailedTargets:
    """Targets that have failed within the last `FAILED_FOR_S` seconds. They are tried last, not never."""

    __slots__ = ("_max_failed", "_until")

    def __init__(self, max_failed: int = MAX_FAILED) -> None:
        self._until: OrderedDict[Target, float] = OrderedDict()
        """Until when; the first to end is the first."""
        self._max_failed = max_failed

    def __len__(self) -> int:
        return len(self._until)

    def mark(self, target: Target, now: float) -> None:
        """A request to this target had no answer, or could not be sent.

        Args:
            target: as it was located.
            now: CLOCK_MONOTONIC in seconds; it never goes back.
        """
        self._until[target] = now + FAILED_FOR_S
        self._until.move_to_end(target)
        if len(self._until) > self._max_failed:
            self._until.popitem(last=False)

    def order(self, targets: Targets, now: float) -> Targets:
        """The same targets, those that have failed behind the others."""
        if not self._until or len(targets) < 2:
            return targets
        self._expire(now)
        failed = [target for target in targets if target in self._until]
        return (*[target for target in targets if target not in self._until], *failed) if failed else targets

    def _expire(self, now: float) -> None:
        while self._until and next(iter(self._until.values())) <= now:
            self._until.popitem(last=False)
