"""What is wrong with a script or with tables, logged once: who reads the log wants to know of it, and not per call."""

from __future__ import annotations

import logging
from typing import Final

_MOST: Final = 100


class Complaints:
    """The complaints of one module in one process.

    Args:
        log: where they go.
        level: as what.
    """

    def __init__(self, log: logging.Logger, level: int = logging.ERROR) -> None:
        self._log = log
        self._level = level
        self._made: set[str] = set()

    def make(self, text: str) -> None:
        """Log it, but for what was logged already, and what would be one too many."""
        if text not in self._made and len(self._made) < _MOST:
            self._made.add(text)
            self._log.log(self._level, "%s", text)
