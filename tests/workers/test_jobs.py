"""Names of jobs and peers, as people and frames see them."""

from __future__ import annotations

import pytest

from workers.jobs import Job, JobId, Kind, Peer

ME = Peer("sip-1", 2)


def test_a_jobs_name_is_its_origin_and_serial() -> None:
    assert Job(ME, 42, Kind("pkg:fn", "ps"), b"", 1.0).id == JobId(ME, 42)
    assert str(JobId(ME, 42)) == "sip-1.2.42"


def test_a_name_that_was_written_is_read() -> None:
    assert JobId.parse("sip-1.2.42") == JobId(ME, 42)


@pytest.mark.parametrize(
    "text",
    ["", "sip-1", "sip-1.2", "sip-1..42", ".2.42", "sip-1.2.x", "sip-1.2.-1", "sip-1.2.42.1", "sip-1.2." + "9" * 19],
)
def test_what_is_no_name_is_not_read(text: str) -> None:
    assert JobId.parse(text) is None
