"""Records that do not fit into memory, where there is no room for them either."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.drouting.sorting import AT_ONCE, Sorter
from runtime.store import StoreError


@pytest.fixture
def little_room() -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64 * 1024, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.usefixtures("little_room")
def test_where_there_is_no_room_it_says_so_and_is_closed_all_the_same(tmp_path: Path) -> None:
    sorter = Sorter(tmp_path)
    for number in range(AT_ONCE - 1):
        sorter.add(number.to_bytes(4), b"rule")
    with pytest.raises(StoreError, match="too large"):
        sorter.add(b"last", b"rule")
    sorter.close()
    assert list(tmp_path.iterdir()) == []
