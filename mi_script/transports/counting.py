"""What transports count, whoever keeps the numbers."""

from __future__ import annotations

from typing import Final, Protocol

COUNTED: Final = ("requests", "replies", "dropped", "errors")


class Counters(Protocol):
    """Who counts."""

    def count(self, name: str) -> None:
        """One more of that name."""


class Tally(dict[str, int]):
    """Numbers of a transport's own, all 0 at first."""

    def __init__(self) -> None:
        super().__init__(dict.fromkeys(COUNTED, 0))

    def count(self, name: str) -> None:
        """One more of that name."""
        self[name] += 1
