"""What transports count, whoever keeps the numbers."""

from __future__ import annotations

from typing import Final, Protocol

COUNTED: Final = ("requests", "replies", "dropped", "errors")


class Counters(Protocol):
    """Numbers by name; a `dict` will do."""

    def __getitem__(self, name: str, /) -> int: ...

    def __setitem__(self, name: str, number: int, /) -> None: ...


def fresh_counters() -> dict[str, int]:
    """Numbers of a transport's own, all 0."""
    return dict.fromkeys(COUNTED, 0)
