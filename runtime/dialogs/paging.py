"""Where clients that read the dialogs page by page have come to.

A page is asked for by its index, and calls come and go between two pages: by their ranks alone, the dialogs behind one
that ends would move up and be skipped, and those behind a new one be repeated. So the next page begins behind the last
dialog of the page before, in an order that never changes. A client does not say who it is; it is known by where its
next page begins.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

MAX_RUNS: Final = 256
"""Beyond them the one is forgotten that was used least recently; its next page is found by its rank."""
LASTS_S: Final = 60.0
"""How long a next page is waited for."""
TOGETHER_S: Final = 5.0
"""Runs that came to the same index within this time may be those of clients that read at the same time."""


class Run(Struct, frozen=True, array_like=True):
    """One reading of the dialogs.

    Args:
        index: where its next page begins, as the client will ask.
        after: the dialog behind which that is.
        more: whether there was one behind it, so that the client is sure to ask.
        used_at: seconds of the monotonic clock.
    """

    index: int
    after: int
    more: bool
    used_at: float


class Places:
    """The runs that are under way.

    Args:
        runs: those that were used least recently first.
    """

    def __init__(self, runs: Iterable[Run] = ()) -> None:
        self._runs = list(runs)

    def after(self, index: int, now: float) -> int | None:
        """The dialog behind which the page at an index begins; None where no run has come there.

        Where several have at the same time, the first one in the order: the others see some dialogs again, and nobody
        misses one.
        """
        self._runs = [run for run in self._runs if now - run.used_at < LASTS_S]
        here = self._here(index)
        return min(run.after for run in here) if here else None

    def turn(self, index: int, next_index: int, last: int, more: bool, now: float) -> None:
        """A page was read. Whoever read it may ask for one more, also where it was the last: calls may come meanwhile.

        Args:
            index: where it began.
            next_index: where the next one will begin.
            last: the last dialog that was seen.
            more: whether there are others behind it.
            now: seconds of the monotonic clock.
        """
        here = self._here(index)
        if here:
            # It goes on from where the answer began, and so do those that may have been meant.
            first = min(run.after for run in here)
            self._runs.remove(here[0])
            self._runs = [replace(run, after=first) if run in here else run for run in self._runs]
        self._runs.append(Run(next_index, last, more, now))
        del self._runs[:-MAX_RUNS]

    def _here(self, index: int) -> list[Run]:
        """The runs whose next page may begin there: the latest of those that are not over.

        Where all are over, it is the last one: whoever is meant has seen all that there was, and misses nothing that
        was there all the time.
        """
        here = [run for run in self._runs if index and run.index == index]
        under_way = [run for run in here if run.more]
        return [run for run in under_way if run.used_at >= under_way[-1].used_at - TOGETHER_S] or here[-1:]

    @property
    def runs(self) -> list[Run]:
        """What to make the same places of again."""
        return self._runs
