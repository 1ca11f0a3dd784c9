"""Branches of our Via carry a fingerprint, and give it back to who knows the secret."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.sip.branches import Branches

NUMBERS = st.integers(0, 2**64 - 1)


@given(NUMBERS, st.tuples(NUMBERS, NUMBERS, NUMBERS), st.integers(0, 999) | st.just("a"))
def test_what_was_put_in_comes_out(fp: int, secret: tuple[int, int, int], suffix: int | str) -> None:
    branches = Branches(secret)

    branch = branches.make(fp, suffix)

    assert branch.startswith("z9hG4bK")
    assert branch.endswith(f".{suffix}")
    assert branches.fingerprint(branch) == fp


@given(st.text(max_size=40))
def test_any_other_text_is_read_without_an_error(text: str) -> None:
    branches = Branches((1, 2, 3))
    for branch in (text, f"z9hG4bKlb{text}", f"z9hG4bKlb{text}.0"):
        found = branches.fingerprint(branch)
        assert found is None or 0 <= found < 2**64


@pytest.mark.parametrize(
    "branch",
    [
        "",
        "z9hG4bK",
        "z9hG4bKlb",
        "z9hG4bKlb0123456789abcde.0",
        "z9hG4bKlb0123456789abcdef0",
        "z9hG4bKlb-123456789abcdef.0",
        "z9hG4bKlb0123_56789abcdef.0"[:10],
    ],
)
def test_what_was_not_made_here_has_no_fingerprint(branch: str) -> None:
    assert Branches((1, 2, 3)).fingerprint(branch) is None


def test_the_same_transaction_has_the_same_branch_in_every_process() -> None:
    assert Branches((5, 6, 7)).make(42, 0) == Branches((5, 6, 7)).make(42, 0)


def test_another_servers_secret_gives_another_branch() -> None:
    assert Branches((5, 6, 7)).make(42, 0) != Branches((8, 6, 7)).make(42, 0)
