"""Answers that are kept for texts which come again, in memory that nobody's messages can fill."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Final, TypeVar

LONGEST: Final = 1024
"""How long a text may be whose answer is kept: who sends ever new texts of a megabyte each must not fill the memory."""

_Answer = TypeVar("_Answer")


def kept(most: int, longest: int = LONGEST) -> Callable[[Callable[[str], _Answer]], Callable[[str], _Answer]]:
    """Keep a function's answers for the texts that it was asked last.

    Args:
        most: for how many texts.
        longest: how many characters these may have; a longer one is answered anew each time.
    """

    def decorate(compute: Callable[[str], _Answer]) -> Callable[[str], _Answer]:
        known = functools.lru_cache(maxsize=most)(compute)

        @functools.wraps(compute)
        def answer(text: str) -> _Answer:
            return known(text) if len(text) <= longest else compute(text)

        return answer

    return decorate
