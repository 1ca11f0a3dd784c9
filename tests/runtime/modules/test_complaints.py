"""What is complained about, and how often."""

from __future__ import annotations

import logging

from runtime.modules.complaints import Complaints


def test_each_complaint_is_made_once_and_a_hundred_at_most(caplog) -> None:
    complaints = Complaints(logging.getLogger("layby.drouting"), logging.WARNING)
    for number in (1, 1, *range(500)):
        complaints.make(f"number {number} is wrong")
    told = [record.getMessage() for record in caplog.records]
    assert told[:3] == ["number 1 is wrong", "number 0 is wrong", "number 2 is wrong"]
    assert len(told) == len(set(told)) == 100
