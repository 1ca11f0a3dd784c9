"""What a core's `check` says of something broken."""

from __future__ import annotations

from typing import Protocol

import pytest


class Checked(Protocol):
    def check(self) -> None: ...


def complaint(broken: Checked) -> str:
    """Its words, and none where the invariant has none: pytest may have written the expression behind or in place."""
    with pytest.raises(AssertionError) as caught:
        broken.check()
    words = str(caught.value).partition("\n")[0]
    return "" if words.startswith("assert ") else words
