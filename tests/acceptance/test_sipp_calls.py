"""sipp's own callers and callees talk through the proxy: plainly, cancelled, by third parties, over a bad network.

Short here; the long run is ``ACCEPTANCE_RATE=100 ACCEPTANCE_SECONDS=30 pytest tests/acceptance/test_sipp_calls.py``.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from benchmarks.peers.sipp import CALLEE, CALLER
from tests.acceptance.lossy import LossyLink
from tests.acceptance.proxies import WITH_KAMAILIO, Proxy, forgets
from tests.acceptance.scenarios import (
    CANCELLED_CALLEE,
    CANCELLING_CALLER,
    PATIENT_CALLEE,
)
from tests.acceptance.sipp import HOST, Load, Sipp, caller, needs_sipp, own_scenario
from tests.harness import free_port, wait_until

pytestmark = [pytest.mark.processes, pytest.mark.sipp, needs_sipp]

TO_THE_URI = """
route {
    if (is_method("OPTIONS")) {
        t_newtran();
        t_reply("200", "OK");
        exit;
    }
    if (is_method("CANCEL")) {
        if (t_check_trans()) t_relay();
        exit;
    }
    force_rport();
    t_relay();
}
"""
"""sipp's own scenarios know no Route: all their requests have the callee's address in the Request-URI."""
ALONG_THE_ROUTE = """
route {
    if (!mf_process_maxfwd_header(70)) {
        sl_send_reply(483, "Too Many Hops");
        exit;
    }
    if (is_method("CANCEL")) {
        if (t_check_trans()) t_relay();
        exit;
    }
    if (has_totag()) {
        if (loose_route()) t_relay();
        else if (!is_method("ACK")) sl_send_reply(404, "Not Here");
        else if (t_check_trans()) t_relay();
        exit;
    }
    if (is_method("INVITE")) {
        record_route();
        DIALOG
    }
    t_relay();
}
"""
"""`DIALOG` stands for what makes the call a dialog of the server."""
GROWTH_KIB = 2_048
"""By how much the memory of the SIP processes may differ after a load and after the same load again."""


@pytest.fixture
def load() -> Load:
    return Load.asked()


@pytest.fixture
def proxy(start_proxy: Callable[..., Proxy]) -> Iterator[Proxy]:
    """A proxy that must have forgotten every transaction at the end."""
    proxy = start_proxy(TO_THE_URI)
    yield proxy
    forgets(proxy)


def test_calls_go_through_and_the_same_load_again_takes_no_more_memory(proxy: Proxy, load: Load) -> None:
    used = []
    for _ in range(2):
        with Sipp("uas") as callee, caller("uac", callee.port, proxy.port, load) as calling:
            told = calling.finish()
            assert (told.succeeded, told.failed) == (load.calls, 0), calling.words()
        forgets(proxy)
        used.append(proxy.private_kib())
    assert used[1] - used[0] <= GROWTH_KIB, used


@pytest.fixture
def dialog_proxy(start_proxy: Callable[..., Proxy]) -> Iterator[Proxy]:
    """A proxy that stays in the path and keeps dialogs, and must have forgotten every one at the end."""
    modules = ("rr", "maxfwd") if WITH_KAMAILIO else ("rr", "maxfwd", "dialog")
    proxy = start_proxy(ALONG_THE_ROUTE.replace("DIALOG", "" if WITH_KAMAILIO else "create_dialog();"), modules)
    yield proxy
    forgets(proxy, "dialog:active_dialogs", "dialog:early_dialogs")


def test_calls_follow_their_record_route(dialog_proxy: Proxy, load: Load) -> None:
    with Sipp(CALLEE) as callee, caller(CALLER, callee.port, dialog_proxy.port, load) as calling:
        told = calling.finish()
        assert (told.succeeded, told.failed, told.retransmitted) == (load.calls, 0, 0), calling.words()
        wait_until(lambda: callee.told().succeeded == load.calls, what="every callee has seen its ACK and its BYE")
    assert dialog_proxy.statistic("dialog:processed_dialogs") == (0 if WITH_KAMAILIO else load.calls)


def test_calls_are_cancelled(dialog_proxy: Proxy, load: Load) -> None:
    with Sipp(CANCELLED_CALLEE) as callee, caller(CANCELLING_CALLER, callee.port, dialog_proxy.port, load) as calling:
        told = calling.finish()
        assert (told.succeeded, told.failed) == (load.calls, 0), calling.words()
        wait_until(lambda: callee.told().succeeded == load.calls, what="every callee has seen its CANCEL and its ACK")


def tcp_listens(port: int) -> bool:
    """Whether somebody listens on that TCP port, as the kernel tells (state 0A)."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return any(row[1].endswith(f":{port:04X}") and row[3] == "0A" for row in rows)


def test_a_third_party_connects_two_callees(proxy: Proxy, load: Load) -> None:
    twin_port = free_port(socket.SOCK_STREAM)
    twin = f"{HOST}:{twin_port}"
    with ExitStack() as stack:
        callee_a, callee_b = (stack.enter_context(Sipp(name)) for name in ("3pcc-A", "3pcc-B"))
        side_b = stack.enter_context(caller("3pcc-C-B", callee_b.port, proxy.port, load, "-3pcc", twin))
        # Looked up and not tried: who connects is taken for the other side.
        wait_until(lambda: tcp_listens(twin_port), what="side B waits for side A")
        side_a = stack.enter_context(caller("3pcc-C-A", callee_a.port, proxy.port, load, "-3pcc", twin))
        for side in (side_a, side_b):
            told = side.finish()
            assert (told.succeeded, told.failed) == (load.calls, 0), side.words()


def test_one_datagram_in_ten_is_lost(proxy: Proxy, load: Load) -> None:
    patient = ["-max_retrans", "12", "-max_invite_retrans", "12"]
    with ExitStack() as stack:
        callee = stack.enter_context(Sipp(PATIENT_CALLEE, *patient))
        behind = stack.enter_context(LossyLink(callee.port, 0.1, seed=1))
        before = stack.enter_context(LossyLink(proxy.port, 0.1, seed=2))
        scenario = own_scenario("uac", 100)
        calling = stack.enter_context(caller(scenario, behind.port, before.port, load, *patient))
        told = calling.finish()
        assert (told.succeeded, told.failed) == (load.calls, 0), calling.words()
        assert told.retransmitted > 0
        assert 0 < before.lost < before.passed
        assert 0 < behind.lost < behind.passed
