"""Rows on their way to a database: in order, a batch at a time, tried again when it failed. A core."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final

FIRST_RETRY_S: Final = 0.2
LAST_RETRY_S: Final = 10.0


def retry_pause_s(failures: int) -> float:
    """How long to wait after so many failures in a row, not counting the one just seen, in seconds."""
    return min(LAST_RETRY_S, FIRST_RETRY_S * float(1 << min(failures, 10)))


@dataclass(slots=True)
class RowQueue:
    """A bounded queue from which one batch at a time is written.

    The rows of a batch stay at the head until they are known to be written, so their order is kept whatever fails.

    Args:
        batch: how many rows are written together.
        limit: how many rows may wait; what is added beyond is refused, because nobody may wait for a database.

    Attributes:
        written, refused: counts of rows.
        failures: attempts in a row that failed; 0 after one that did not.
    """

    batch: int = 200
    limit: int = 100_000
    written: int = 0
    refused: int = 0
    failures: int = 0
    _rows: deque[Any] = field(default_factory=deque)
    _under_way: int = 0
    """How many rows at the head are being written now. Not more than there are."""
    _again_at: float = 0.0

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, row: Any) -> bool:
        """Queue a row; False when the queue is full and the row is lost."""
        if len(self._rows) >= self.limit:
            self.refused += 1
            return False
        self._rows.append(row)
        return True

    def take(self, now: float) -> list[Any]:
        """The next batch to write; empty while one is under way, until a failed one's pause is over, or without rows.

        Args:
            now: of any clock that only goes forward, in seconds.
        """
        if self._under_way or now < self._again_at:
            return []
        rows = list(islice(self._rows, self.batch))
        self._under_way = len(rows)
        return rows

    def due(self) -> float | None:
        """From when on `take` has something; None when only an ending or a new row can change that."""
        return self._again_at if self._rows and not self._under_way else None

    def succeeded(self) -> int:
        """The batch under way is written; how many rows it had."""
        rows = self._under_way
        for _ in range(rows):
            self._rows.popleft()
        self.written += rows
        self._under_way, self.failures, self._again_at = 0, 0, 0.0
        return rows

    def failed(self, now: float) -> float:
        """The batch under way is not written, as far as is known; seconds until it is tried again."""
        pause_s = retry_pause_s(self.failures)
        self.failures += 1
        self._under_way, self._again_at = 0, now + pause_s
        return pause_s

    def start_over(self) -> None:
        """Nothing is under way any more, whether it was written or not, and no pause is waited for."""
        self._under_way, self._again_at = 0, 0.0

    def check(self) -> None:
        """Assert what always holds."""
        assert 0 <= self._under_way <= len(self._rows) <= self.limit
        assert self._under_way <= self.batch
