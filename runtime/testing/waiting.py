"""Waiting in a test: for something to become so, never for a time to pass."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, TypeVar

import pytest

LIMIT_S: Final = 10.0
"""How long a test waits for something that should happen soon. Never slept away: it is polled for."""

_POLL_S: Final = 0.005
_T = TypeVar("_T")


def wait_until(condition: Callable[[], _T], limit_s: float = LIMIT_S, what: str = "") -> _T:
    """Poll until `condition()` is true and give its value; the test fails when it is not in time.

    Args:
        condition: what is waited for.
        limit_s: for how many seconds at most.
        what: says in the failure what did not come.
    """
    ends = time.monotonic() + limit_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > ends:
            pytest.fail(f"not within {limit_s} s: {what or getattr(condition, '__name__', condition)}")
        time.sleep(_POLL_S)
