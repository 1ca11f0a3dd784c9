"""The shared store: content, expiry, limits, and writers that are killed."""

from __future__ import annotations

import os
import signal
import time

import pytest

from runtime.store import MAX_KEY, MAX_VALUE, Store, StoreError, open_environment


@pytest.fixture
def store(tmp_path):
    one = Store(tmp_path / "store")
    yield one
    one.close()


def test_what_is_stored_is_there_until_it_is_removed(store) -> None:
    assert store.get("c", "k", now=0) is None
    store.put("c", "k", "v")
    assert (store.get("c", "k", now=1e12), store.get("other", "k", now=0)) == ("v", None)
    assert store.remove("c", "k")
    assert not store.remove("c", "k")
    assert store.get("c", "k", now=0) is None


def test_a_value_ends_at_its_time_and_is_swept(store) -> None:
    store.put("c", "short", "v", expires_at=10.0)
    store.put("c", "long", "v", expires_at=20.0)
    store.put("c", "ever", "v")
    assert (store.get("c", "short", now=9.9), store.get("c", "short", now=10.0)) == ("v", None)
    assert store.sweep(now=15.0) == 1
    assert store.sweep(now=15.0) == 0
    assert store.get("c", "long", now=15.0) == "v"
    assert store.sweep(now=25.0) == 1
    assert store.get("c", "ever", now=25.0) == "v"


@pytest.mark.parametrize(("key", "value"), [("", "v"), ("k" * (MAX_KEY + 1), "v"), ("k", "v" * (MAX_VALUE + 1))])
def test_what_does_not_fit_is_refused(store, key: str, value: str) -> None:
    with pytest.raises(StoreError):
        store.put("c", key, value)


def test_a_full_store_says_so(tmp_path) -> None:
    small = Store(tmp_path / "small", size=1 << 16)

    def fill() -> None:
        for number in range(100):
            small.put("c", str(number), "v" * 4000)

    with pytest.raises(StoreError, match="full"):
        fill()
    assert small.get("c", "0", now=0) == "v" * 4000
    small.close()


def test_a_writer_killed_in_mid_write_leaves_whole_records(tmp_path) -> None:
    folder = tmp_path / "store"
    folder.mkdir()
    pids = []
    for writer in range(4):
        if (pid := os.fork()) == 0:
            mine = Store(folder)
            number = 0
            while True:
                mine.put("c", f"{writer}-{number % 50}", str(number) * 50)
                number += 1
        pids.append(pid)
    time.sleep(0.3)  # let them write; what is asserted holds whenever they are killed
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    survivor = Store(folder)
    survivor.free_readers()
    values = [survivor.get("c", f"{writer}-{number}", now=0) for writer in range(4) for number in range(50)]
    written = [value for value in values if value is not None]
    assert written
    assert all(value == value[: len(value) // 50] * 50 for value in written)
    survivor.put("c", "after", "v")
    survivor.close()


def test_who_was_killed_while_it_read_holds_nothing_when_the_next_one_has_begun(tmp_path) -> None:
    folder = tmp_path / "store"
    told, tell = os.pipe()
    pids = []
    for is_killed in (False, True):
        if (pid := os.fork()) == 0:
            reading = open_environment(folder, 1 << 20, 1).begin()
            os.write(tell, b"x")
            while not is_killed or reading is None:
                signal.pause()
            os.kill(os.getpid(), signal.SIGKILL)
        pids.append(pid)
        os.read(told, 1)
    os.waitpid(pids[1], 0)
    environment = open_environment(folder, 1 << 20, 1)
    found = len(environment.readers().splitlines()), environment.reader_check()
    environment.close()
    os.kill(pids[0], signal.SIGKILL)
    os.waitpid(pids[0], 0)
    os.close(told)
    os.close(tell)
    assert found == (2, 0)  # a head and who lives; and nobody was left to be freed


def test_names_that_match_a_pattern(store) -> None:
    for collection, name in (("c", "user_1"), ("c", "user_2"), ("c", "use"), ("c", "*"), ("d", "user_1"), ("c", "é")):
        store.put(collection, name, f"{collection} {name}")
    store.put("c", "user_3", "over", expires_at=10.0)

    def names(glob: str) -> list[str]:
        return [name for name, _ in store.matching("c", glob, now=10.0)]

    assert names("*") == ["*", "use", "user_1", "user_2", "é"]
    assert (names("user_*"), names("user_?"), names("user_[2-9]")) == (
        ["user_1", "user_2"],
        ["user_1", "user_2"],
        ["user_2"],
    )
    assert (names("use"), names("us"), names("[*]"), names("é*")) == (["use"], [], ["*"], ["é"])
    assert names("x" * 600) == names("") == []
    assert list(store.matching("c", "user_2", now=0)) == [("user_2", "c user_2")]


def test_what_matches_is_removed_and_nothing_else(store) -> None:
    for number in range(2500):
        store.put("c", f"n{number}", "v")
    store.put("c", "other", "v")
    store.put("d", "n1", "v")
    store.remove_matching("c", "n*")
    assert [name for name, _ in store.matching("c", "*", now=0)] == ["other"]
    assert store.get("d", "n1", now=0) == "v"


def test_a_pattern_that_is_hard_to_match_takes_no_time(store) -> None:
    store.put("c", "a" * 400, "v")
    started = time.monotonic()
    assert list(store.matching("c", "*a" * 50 + "b", now=0)) == []
    assert time.monotonic() - started < 1.0
