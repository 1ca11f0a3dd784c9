"""Names of jobs: what is written is read, and nothing else is."""

from __future__ import annotations

import re

from hypothesis import event, given
from hypothesis import strategies as st

from workers.jobs import Job, JobId, Kind, Peer

NUMBERS = st.integers(0, 10**18 - 1) | st.sampled_from([0, 1, 10**18 - 1])
NAMES = st.text("abc-_09", min_size=1, max_size=12)
TEXTS = st.one_of(
    st.text(max_size=12),
    st.from_regex(r"[a.-]{0,3}\.[0-9x]{0,19}\.[0-9x٣]{0,19}", fullmatch=True),
    st.builds("{}.{}.{}".format, NAMES, NUMBERS, NUMBERS | st.just("9" * 19) | st.just("-1")),
    st.builds("{}.{}.{}".format, NAMES, st.just("9" * 18) | st.just("9" * 19), NUMBERS),
)


@given(NAMES, NUMBERS, NUMBERS)
def test_a_name_that_was_written_is_read(name: str, incarnation: int, serial: int) -> None:
    origin = Peer(name, incarnation)
    job = Job(origin, serial, Kind("pkg:fn", "ps"), b"", 1.0)
    assert job.id == JobId(origin, serial)
    assert str(job.id) == f"{name}.{incarnation}.{serial}"
    assert str(origin) == f"{name}.{incarnation}"
    assert JobId.parse(str(job.id)) == job.id


@given(TEXTS)
def test_what_is_no_name_is_not_read(text: str) -> None:
    """A process's name has no dot in it, and a number has at most 18 digits."""
    form = re.fullmatch(r"([^.]+)\.(\d{1,18})\.(\d{1,18})", text)
    expected = JobId(Peer(form[1], int(form[2])), int(form[3])) if form else None
    assert JobId.parse(text) == expected
    event("a name" if form else "none")


@given(NAMES, NAMES, NUMBERS, NUMBERS, NUMBERS, NUMBERS)
def test_two_jobs_have_one_name_only_if_all_of_it_is_the_same(
    name: str, other: str, life: int, other_life: int, serial: int, other_serial: int
) -> None:
    one, two = JobId(Peer(name, life), serial), JobId(Peer(other, other_life), other_serial)
    assert (one == two) == (str(one) == str(two)) == ((name, life, serial) == (other, other_life, other_serial))
