"""A real server in which as few processes read as keep up: the others are there when it matters."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator

import pytest

from tests.harness import Server, stop_process, wait_until
from tests.sip_peer import Peer, Received

pytestmark = pytest.mark.processes

ROUTES = """
route {
    if ($rU == "block") mi("bench_sleep 1500", $var(r));
    sl_send_reply(200, "$pp");
}
"""


@pytest.fixture
def server(start_server: Callable[..., Server]) -> Server:
    return start_server(ROUTES, head="udp_readers = 1\n", options=("--udp-workers", "4", "--mi-workers", "1"))


@pytest.fixture
def phone(server: Server) -> Iterator[Peer]:
    one = Peer(server.sip_port)
    yield one
    one.close()


def send(phone: Peer, user: str = "any") -> str:
    text = phone.request("OPTIONS", f"sip:{user}@127.0.0.1")
    phone.send(text)
    return Received(text, ("", 0)).call_id


def answered_by(phone: Peer, user: str = "any", limit_s: float = 10.0) -> int:
    """The PID of the process that answers, to a request that is sent again as a UAC does."""
    text = phone.request("OPTIONS", f"sip:{user}@127.0.0.1")
    call_id = Received(text, ("", 0)).call_id
    ends = time.monotonic() + limit_s
    while time.monotonic() < ends:
        phone.send(text)
        phone.collect(0.1)
        for message in phone.received:
            if message.call_id == call_id:
                return int(message.start.split(" ")[2])
    pytest.fail(f"no answer within {limit_s} s")


def test_one_reads_while_it_keeps_up(phone: Peer) -> None:
    assert len({answered_by(phone) for _ in range(100)}) == 1


def test_who_stands_still_holds_up_nobody(phone: Peer) -> None:
    reader = answered_by(phone)
    blocked = [send(phone, "block") for _ in range(3)]
    others = [answered_by(phone) for _ in range(20)]

    # Three of four processes stand still for 1.5 s, and nobody waited for them.
    assert not {message.call_id for message in phone.received} & set(blocked)
    assert reader not in others
    for call_id in blocked:
        phone.wait_reply(call_id, 200)


def test_after_a_while_one_reads_again(phone: Peer) -> None:
    for call_id in [send(phone, "block") for _ in range(3)]:
        phone.wait_reply(call_id, 200)

    def alone() -> bool:
        return len({answered_by(phone) for _ in range(20)}) == 1

    wait_until(alone, 15.0, "one process reads")


def test_when_the_reader_is_killed_another_one_reads(server: Server, phone: Peer) -> None:
    reader = answered_by(phone)
    os.kill(reader, signal.SIGKILL)

    assert answered_by(phone, limit_s=1.0) != reader


def test_when_the_reader_is_stopped_it_is_missed(server: Server, phone: Peer) -> None:
    reader = answered_by(phone)
    stop_process(reader)
    try:
        call_id = send(phone)
        assert phone.wait_reply(call_id, 200, limit_s=1.0).start != f"SIP/2.0 200 {reader}", "and nothing was lost"
    finally:
        os.kill(reader, signal.SIGCONT)
    wait_until(lambda: server.statistic("core:rcv_requests") >= 2, what="the server is well")
