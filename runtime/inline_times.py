"""Which commands stop the process that runs them for so long that others should not wait for it.

Whoever is about to run one lets another process read meanwhile, which costs some 250 us: much for a command of 5.
"""

from __future__ import annotations

from typing import Final

NOTICEABLE_S: Final = 0.001
"""A command that takes longer is one that others should not wait for."""
LOST_CPU_S: Final = 0.01
"""So long a process may stand there because others had the CPU. One run of less says nothing of its command: with more
processes than CPUs one in twenty runs of `uptime` is such a one."""
MOST_COMMANDS: Final = 1000
_FADES: Final = 0.9
"""What is left, after each further run, of the longest."""


class InlineTimes:
    """What each command has taken of late where it was run on the caller's time."""

    def __init__(self) -> None:
        self._times: dict[str, tuple[float, float]] = {}
        """The longest that is believed and has not faded, and the last."""

    def holds_up(self, command: str) -> bool:
        """Whether others should not wait for it; what is not known may take long."""
        known = self._times.get(command)
        return known is None or known[0] > NOTICEABLE_S

    def ran(self, command: str, took_s: float) -> None:
        """It has run for so many seconds."""
        known = self._times.get(command)
        if known is None:
            if len(self._times) < MOST_COMMANDS:
                self._times[command] = took_s, took_s
            return
        believed_s = took_s if took_s > LOST_CPU_S else min(took_s, known[1])
        self._times[command] = max(believed_s, known[0] * _FADES), took_s
