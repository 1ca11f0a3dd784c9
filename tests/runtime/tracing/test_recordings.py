"""What a process writes down is there, whatever becomes of it; what found no room is counted."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.tracing import folder as folders
from runtime.tracing.order import Order
from runtime.tracing.recording import Recording
from runtime.tracing.records import (
    RECORDS_AT,
    Asked,
    Began,
    Command,
    Died,
    Ended,
    Given,
    Later,
    Message,
    Over,
    Parked,
    Record,
    Reloaded,
    Resumed,
    Run,
    Sent,
    Stretch,
    Who,
    clean,
    read_recording,
    written,
)

WHO = Who("order", "sip-1", 1, 4711, 0, "SIP receiver", 5, True)
TEXTS = st.text(max_size=300).map(clean)
TIMES = st.integers(0, 2**62)
RECORDS: st.SearchStrategy[Record] = st.one_of(
    st.builds(Reloaded, TIMES, TIMES, st.integers(0, 9)),
    st.builds(Ended, TIMES),
    st.builds(Message, TIMES, TIMES, TEXTS, TEXTS, TIMES, st.integers(0, 3)),
    st.builds(Run, TIMES, TIMES, TEXTS, TEXTS, TEXTS),
    st.builds(Stretch, TIMES, TIMES, TEXTS, st.integers(1, 10**6), st.integers(1, 10**6)),
    st.builds(Command, TIMES, TIMES, TEXTS, st.integers(-32768, 700), st.booleans()),
    st.builds(Sent, TIMES, TIMES, TEXTS),
    st.builds(Asked, TIMES, TEXTS, TEXTS),
    st.builds(Parked, TIMES, TEXTS, TEXTS, TEXTS, st.integers(1, 10**6)),
    st.builds(Resumed, TIMES, TIMES, st.lists(TEXTS, max_size=3), st.lists(TEXTS, max_size=3), st.just([""])),
    st.builds(Began, TIMES, TEXTS, TEXTS),
    st.builds(Later, TIMES, TEXTS),
    st.builds(Over, TIMES, TEXTS),
    st.builds(Died, TIMES, TEXTS, TEXTS),
    st.builds(Given, TIMES, TEXTS, TEXTS, st.integers(1, 3)),
)


@given(records=st.lists(RECORDS, max_size=40), size=st.integers(RECORDS_AT + 64, 8192), closes=st.booleans())
def test_each_record_is_read_back_or_counted_and_the_first_that_finds_no_room_is_followed_by_none(
    tmp_path_factory: pytest.TempPathFactory, records: list[Record], size: int, closes: bool
) -> None:
    folder = tmp_path_factory.mktemp("recording")
    recording = Recording(folder, WHO, size)
    for record in records:
        recording.put(record)
    if closes:
        recording.close(7)
    found = read_recording((folder / "sip-1.1.rec").read_bytes())
    kept = found.records[: len(found.records) - closes]
    assert found.who == WHO
    assert kept == records[: len(kept)]
    assert len(kept) + found.dropped == len(records)
    assert found.records[len(kept) :] == ([Ended(7)] if closes else [])


@given(records=st.lists(RECORDS, max_size=10), data=st.data())
def test_a_recording_that_is_cut_off_or_damaged_is_read_as_far_as_it_goes_or_refused(
    tmp_path_factory: pytest.TempPathFactory, records: list[Record], data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("recording")
    recording = Recording(folder, WHO, 1 << 16)
    for record in records:
        recording.put(record)
    whole = (folder / "sip-1.1.rec").read_bytes()
    end = written(whole[:RECORDS_AT])
    cut = read_recording(whole[: data.draw(st.integers(RECORDS_AT, end))])
    assert cut.records == records[: len(cut.records)]
    assert len(cut.records) + cut.dropped == len(records)
    damaged = bytearray(whole[:end])
    damaged[data.draw(st.integers(0, end - 1))] ^= data.draw(st.integers(1, 255))
    with contextlib.suppress(ValueError):
        read_recording(bytes(damaged))


def test_a_file_of_that_name_is_not_written_over(tmp_path: Path) -> None:
    Recording(tmp_path, WHO, 4096)
    with pytest.raises(FileExistsError):
        Recording(tmp_path, WHO, 4096)


@given(st.text(max_size=400))
def test_texts_from_outside_are_short_and_can_be_shown(text: str) -> None:
    assert len(clean(text)) <= 120
    assert clean(text).isprintable()


def test_only_files_of_ours_are_given_away_up_to_where_they_are_written(tmp_path: Path) -> None:
    order = Order("order", 1, 2, 3)
    assert folders.given(tmp_path) is None
    folders.give(tmp_path, order)
    recording = Recording(tmp_path, WHO, 1 << 16)
    recording.put(Ended(1))
    (tmp_path / "secret").write_text("secret")
    assert folders.given(tmp_path) == order
    assert folders.recordings(tmp_path) == ["sip-1.1.rec"]
    part = folders.part_of(tmp_path, "sip-1.1.rec", 0, 1 << 16)
    assert len(part) == written(part[:RECORDS_AT]) < 1 << 16
    assert folders.part_of(tmp_path, "sip-1.1.rec", 10, 4) == part[10:14]
    assert folders.part_of(tmp_path, "sip-1.1.rec", 1 << 15, 4) == b""
    for name in ("secret", "../secret", "sip-1.1.rec/../secret", ""):
        with pytest.raises(FileNotFoundError):
            folders.part_of(tmp_path, name, 0, 4)
    folders.forget(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["secret"]
