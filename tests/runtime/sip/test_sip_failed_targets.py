"""Targets that failed are tried last for a minute."""

from __future__ import annotations

from runtime.sip.failed_targets import FAILED_FOR_S, MAX_FAILED, FailedTargets
from runtime.sip.locate import Target

A, B, C = (Target("udp", f"192.0.2.{number}", 5060) for number in (1, 2, 3))


def test_failed_ones_go_behind_the_others_in_their_own_order() -> None:
    failed = FailedTargets()
    assert failed.order((A, B, C), 0) == (A, B, C)
    failed.mark(B, 0)
    assert failed.order((A, B, C), 1) == (A, C, B)
    failed.mark(A, 1)
    assert failed.order((A, B, C), 2) == (C, A, B)
    failed.mark(C, 2)
    assert failed.order((A, B, C), 3) == (A, B, C)


def test_it_is_the_target_that_fails_not_the_host() -> None:
    failed = FailedTargets()
    failed.mark(A, 0)
    other_port, other_protocol = A._replace(port=5070), A._replace(protocol="tcp")
    assert failed.order((A, other_port, other_protocol), 1) == (other_port, other_protocol, A)


def test_it_is_forgotten_after_a_minute_from_the_last_failure() -> None:
    failed = FailedTargets()
    failed.mark(A, 0)
    failed.mark(B, 10)
    failed.mark(A, 30)
    assert failed.order((A, B, C), 10 + FAILED_FOR_S - 0.01) == (C, A, B)
    assert failed.order((A, B, C), 10 + FAILED_FOR_S) == (B, C, A)
    assert failed.order((A, B, C), 30 + FAILED_FOR_S) == (A, B, C)
    assert len(failed) == 0


def test_it_is_bounded_and_forgets_the_oldest() -> None:
    failed = FailedTargets()
    failed.mark(A, 0)
    for port in range(MAX_FAILED):
        failed.mark(B._replace(port=port), 1)
    assert len(failed) == MAX_FAILED
    assert failed.order((A, B._replace(port=7)), 2) == (A, B._replace(port=7))
    assert failed.order((B._replace(port=7), A), 2) == (A, B._replace(port=7))
