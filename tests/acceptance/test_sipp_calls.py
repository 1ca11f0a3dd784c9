"""sipp's own callers and callees talk through the proxy: plainly, cancelled, by third parties, over a bad network.

Short here; the long run is ``ACCEPTANCE_RATE=100 ACCEPTANCE_SECONDS=30 pytest tests/acceptance/test_sipp_calls.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.acceptance.lossy import LossyLink
from tests.acceptance.proxies import LINGER_S, Proxy
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


def forgets(proxy: Proxy) -> None:
    """Nothing of any call is left once the last wait is over."""
    for name in ("tm:inuse_transactions", "tm:inuse_branches"):
        wait_until(lambda name=name: proxy.statistic(name) == 0, LINGER_S + 10, f"{name} is 0")


def test_calls_go_through_and_the_same_load_again_takes_no_more_memory(proxy: Proxy, load: Load) -> None:
    used = []
    for _ in range(2):
        with Sipp("uas") as callee, caller("uac", callee.port, proxy.port, load) as calling:
            told = calling.finish()
            assert (told.succeeded, told.failed) == (load.calls, 0), calling.words()
        forgets(proxy)
        used.append(proxy.private_kib())
    assert used[1] - used[0] <= GROWTH_KIB, used


def test_calls_are_cancelled(proxy: Proxy, load: Load) -> None:
    with Sipp(CANCELLED_CALLEE) as callee, caller(CANCELLING_CALLER, callee.port, proxy.port, load) as calling:
        told = calling.finish()
        assert (told.succeeded, told.failed) == (load.calls, 0), calling.words()
        wait_until(lambda: callee.told().succeeded == load.calls, what="every callee has seen its CANCEL and its ACK")


def test_a_third_party_connects_two_callees(proxy: Proxy, load: Load) -> None:
    twin = f"{HOST}:{free_port()}"
    with ExitStack() as stack:
        callee_a, callee_b = (stack.enter_context(Sipp(name)) for name in ("3pcc-A", "3pcc-B"))
        side_b = stack.enter_context(caller("3pcc-C-B", callee_b.port, proxy.port, load, "-3pcc", twin))
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


CANCELLING_CALLER = """<?xml version="1.0" encoding="ISO-8859-1" ?>
<scenario name="cancelling caller">
  <send retrans="500"><![CDATA[
    INVITE sip:[service]@[remote_ip]:[remote_port] SIP/2.0
    Via: SIP/2.0/UDP [local_ip]:[local_port];branch=[branch]
    Max-Forwards: 70
    From: <sip:caller@[local_ip]:[local_port]>;tag=[pid]a[call_number]
    To: <sip:[service]@[remote_ip]:[remote_port]>
    Call-ID: [call_id]
    CSeq: 1 INVITE
    Contact: <sip:caller@[local_ip]:[local_port]>
    Content-Length: 0

  ]]></send>
  <recv response="100" optional="true"/>
  <recv response="180"/>
  <send retrans="500"><![CDATA[
    CANCEL sip:[service]@[remote_ip]:[remote_port] SIP/2.0
    Via: SIP/2.0/UDP [local_ip]:[local_port];branch=[branch-3]
    Max-Forwards: 70
    From: <sip:caller@[local_ip]:[local_port]>;tag=[pid]a[call_number]
    To: <sip:[service]@[remote_ip]:[remote_port]>
    Call-ID: [call_id]
    CSeq: 1 CANCEL
    Content-Length: 0

  ]]></send>
  <recv response="200"/>
  <recv response="487"/>
  <send><![CDATA[
    ACK sip:[service]@[remote_ip]:[remote_port] SIP/2.0
    Via: SIP/2.0/UDP [local_ip]:[local_port];branch=[branch-6]
    Max-Forwards: 70
    From: <sip:caller@[local_ip]:[local_port]>;tag=[pid]a[call_number]
    To: <sip:[service]@[remote_ip]:[remote_port]>[peer_tag_param]
    Call-ID: [call_id]
    CSeq: 1 ACK
    Content-Length: 0

  ]]></send>
</scenario>
"""

_ANSWER = """[last_Via:]
    [last_From:]
    [last_To:];tag=[pid]b[call_number]
    [last_Call-ID:]"""

CANCELLED_CALLEE = f"""<?xml version="1.0" encoding="ISO-8859-1" ?>
<scenario name="cancelled callee">
  <recv request="INVITE"/>
  <send><![CDATA[
    SIP/2.0 180 Ringing
    {_ANSWER}
    [last_CSeq:]
    Contact: <sip:callee@[local_ip]:[local_port]>
    Content-Length: 0

  ]]></send>
  <recv request="CANCEL"/>
  <send><![CDATA[
    SIP/2.0 200 OK
    {_ANSWER}
    [last_CSeq:]
    Content-Length: 0

  ]]></send>
  <send retrans="500"><![CDATA[
    SIP/2.0 487 Request Terminated
    {_ANSWER}
    CSeq: 1 INVITE
    Content-Length: 0

  ]]></send>
  <recv request="ACK"/>
</scenario>
"""

# sipp knows a copy of a request only while it has answered with one message; its own callee, which sends 180 and 200,
# gives a call up when both are lost and the INVITE comes again.
PATIENT_CALLEE = f"""<?xml version="1.0" encoding="ISO-8859-1" ?>
<scenario name="patient callee">
  <recv request="INVITE"/>
  <send retrans="100"><![CDATA[
    SIP/2.0 200 OK
    {_ANSWER}
    [last_CSeq:]
    Contact: <sip:callee@[local_ip]:[local_port]>
    Content-Length: 0

  ]]></send>
  <recv request="ACK" optional="true"/>
  <recv request="BYE"/>
  <send><![CDATA[
    SIP/2.0 200 OK
    [last_Via:]
    [last_From:]
    [last_To:]
    [last_Call-ID:]
    [last_CSeq:]
    Content-Length: 0

  ]]></send>
  <timewait milliseconds="4000"/>
</scenario>
"""
