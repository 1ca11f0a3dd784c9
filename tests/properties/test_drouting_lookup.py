"""The longest prefix out of keys in order, against looking at every rule."""

from __future__ import annotations

import bisect

from hypothesis import event, given
from hypothesis import strategies as st

from runtime.drouting.lookup import Above, entry, find, key_of, pack_rule
from runtime.drouting.rules import Rule, Sort

PREFIXES = st.text(alphabet="12+*", max_size=4) | st.sampled_from(["1" * 63, "1" * 64, "1" * 62 + "2"])
GROUPS = st.sampled_from([0, 1, -1, 2**31 - 1, -(2**31)])
NUMBERS = (
    PREFIXES | st.text(alphabet="12+*3", max_size=70) | st.text(max_size=5) | st.text(alphabet="1é\udc80", max_size=4)
)
TIMERECS = st.sampled_from(["", "", "UTC|20200101T000000", "UTC|20990101T000000", "no longer known|"])
NOW = 1_700_000_000.0


class SortedKeys:
    """A cursor over a list."""

    def __init__(self, records: list[tuple[bytes, bytes]]) -> None:
        self._records = records
        self._keys = [key for key, _ in records]
        self._at = -1

    def set_range(self, key: bytes) -> bool:
        self._at = bisect.bisect_left(self._keys, key)
        return self._at < len(self._keys)

    def set_key(self, key: bytes) -> bool:
        return self.set_range(key) and self._keys[self._at] == key

    def prev(self) -> bool:
        self._at -= 1
        return self._at >= 0

    def last(self) -> bool:
        self._at = len(self._keys) - 1
        return self._at >= 0

    def key(self) -> bytes:
        return self._keys[self._at]

    def value(self) -> bytes:
        return self._records[self._at][1]


def records_of(rules: dict[tuple[int, str], list[Rule]]) -> list[tuple[bytes, bytes]]:
    above = Above()
    return [
        (key, entry(above.mask(key), [pack_rule(rule) for rule in listed]))
        for key, listed in sorted((key_of(*place), listed) for place, listed in rules.items())
    ]


@given(
    st.dictionaries(st.tuples(GROUPS, PREFIXES), st.lists(TIMERECS, min_size=1, max_size=3), max_size=12),
    GROUPS | st.sampled_from([2**31, -(2**40)]),
    NUMBERS,
)
def test_what_is_found_is_what_looking_at_every_rule_finds(
    drawn: dict[tuple[int, str], list[str]], group: int, number: str
) -> None:
    serial = iter(range(1000))
    rules = {
        place: [Rule(next(serial), 0, timerec, "", (), Sort.NONE, 0, "") for timerec in timerecs]
        for place, timerecs in drawn.items()
    }
    fitting = [
        (rule.id, prefix)
        for (of, prefix), listed in sorted(rules.items(), key=lambda place: -len(place[0][1]))
        for rule in listed
        if of == group and number.startswith(prefix) and rule.timerec in ("", "UTC|20200101T000000")
    ]
    found = find(SortedKeys(records_of(rules)), group, number, NOW)
    event(f"{min(len(fitting), 3)} rules fit")
    assert [(match.rule.id, match.prefix) for match in found] == fitting


@given(st.sets(PREFIXES, max_size=12))
def test_each_entry_knows_which_of_its_beginnings_have_one(prefixes: set[str]) -> None:
    above = Above()
    for key in sorted(key_of(5, prefix) for prefix in prefixes):
        prefix = key[4:].decode()
        shorter = [other for other in prefixes if other != prefix and prefix.startswith(other)]
        assert int.from_bytes(above.mask(key)) == sum([1 << len(other) for other in shorter])


@given(st.data())
def test_what_is_found_does_not_depend_on_who_else_looks(data: st.DataObject) -> None:
    rules = {(0, "1" * length): [Rule(length, 0, "", "", (), Sort.NONE, 0, "")] for length in range(6)}
    cursor = SortedKeys(records_of(rules))
    one, other = find(cursor, 0, "11111", NOW), find(cursor, 0, "1110", NOW)
    found: list[list[int]] = [[], []]
    for which in data.draw(st.lists(st.booleans(), max_size=10)):
        found[which].extend(match.rule.id for match in [next((one, other)[which], None)] if match)
    assert found[0] == [5, 4, 3, 2, 1, 0][: len(found[0])]
    assert found[1] == [3, 2, 1, 0][: len(found[1])]
