"""What waits among many is kept in little room, and is as it was when its time has come."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.context import Address, Branch, Context, RouteType
from runtime.packed import pack, unpack
from runtime.sip.message import Request, parse
from runtime.sip_process import SipProcess
from tests.harness import SipClient, wait_until
from tests.one_process import OneProcess, one_process
from tests.runtime.script.conftest import INVITE, make_context
from workers.jobs import JobId

WRITTEN_ANEW = {"message", "variables", "documents"}
PLAIN = st.one_of(st.text(max_size=5), st.integers(), st.none())
CHANGES = st.fixed_dictionaries(
    {},
    optional={
        "ruri": st.text(max_size=5),
        "dst_uri": st.text(max_size=5),
        "branches": st.builds(lambda uri: [Branch(uri)], st.text(max_size=5)),
        "avps": st.dictionaries(st.text(max_size=3), st.lists(PLAIN, min_size=1, max_size=2), min_size=1),
        "flags": st.sets(st.text(max_size=3), min_size=1),
        "q": st.integers(-1, 1000),
        "rc": st.integers(),
        "params": st.tuples(PLAIN),
        "story": st.dictionaries(st.text(max_size=3), PLAIN, min_size=1),
        "reply_headers": st.lists(st.text(max_size=5), min_size=1),
        "replied": st.booleans(),
        "transaction": st.text(max_size=5),
        "body": st.binary(max_size=3),
        "routes": st.lists(st.text(max_size=5)),
        "fr_timeout_s": st.floats(0.0, 10.0),
        "source": st.builds(Address, st.just("192.0.2.1"), st.integers(0, 2)),
    },
)


@given(CHANGES)
def test_what_is_taken_out_again_is_as_it_was(changes: dict[str, object]) -> None:
    context = make_context(INVITE)
    for name, value in changes.items():
        setattr(context, name, value)
    packed = pack(context)
    assert packed is not None
    found = unpack(packed)
    assert found.message.raw == context.message.raw
    for name in set(Context.__struct_fields__) - WRITTEN_ANEW:
        assert getattr(found, name) == getattr(context, name), name


def test_containers_are_the_same_ones_and_a_shared_one_is_not_left_out() -> None:
    context, other = make_context(INVITE), make_context(INVITE)
    other.avps = context.avps
    assert pack(context) is None
    context.avps["x"] = [1]
    packed = pack(context)
    assert packed is not None
    assert unpack(packed).avps is other.avps


def test_what_is_no_request_as_it_came_is_not_packed() -> None:
    failed = make_context(INVITE)
    failed.route = RouteType.FAILURE
    assert pack(failed) is None


def test_a_compact_request_is_read_again_as_it_was() -> None:
    first, second = parse(INVITE), parse(INVITE)
    assert isinstance(first, Request)
    assert isinstance(second, Request)
    first.compact()
    assert (first.method, first.ruri, first.cseq_method) == (second.method, second.ruri, second.cseq_method)
    assert first.lines == second.lines


ROUTES = """
route {
    $avp(own) = $ci;
    $du = "sip:" + $rU + "@192.0.2.9";
    async(mi("bench_wait 600000", $avp(answer)), resumed, 600);
}
route[resumed] { t_reply(202, "$avp(own) $ru $du $rc"); }
"""
MANY = 300


@pytest.fixture
def server(tmp: Path) -> Iterator[OneProcess]:
    with one_process(tmp, ROUTES) as one:
        yield one


def is_parked(server: OneProcess, count: int) -> bool:
    return server.do(lambda: len(server.process.parked)) == count


def park(server: OneProcess, client: SipClient, requests: list[bytes]) -> None:
    for at in range(0, len(requests), 50):
        wanted = server.do(lambda: len(server.process.parked)) + len(requests[at : at + 50])
        for request in requests[at : at + 50]:
            client.send(request)
        wait_until(partial(is_parked, server, wanted), what="they are parked")


def end_waits(process: SipProcess, serials: list[int]) -> None:
    for serial in serials:
        process.cancel_wait(serial)


def reasons(client: SipClient, call_id: str) -> list[str]:
    client.collect()
    return [answer.reason for answer in client.answers.get(call_id, [])]


def test_many_are_packed_and_each_ends_in_its_own_way(server: OneProcess) -> None:
    client = SipClient(server.sip_port)
    process = server.process
    filling = [client.request("fills") for _ in range(MANY)]
    park(server, client, [request for _, request in filling])
    called, invite = client.request("called", "INVITE", branch="z9hG4bKcalled")
    asked, options = client.request("asked")
    park(server, client, [invite, options, client.request("last")[1]])
    assert server.do(lambda: sum(isinstance(parked.kept, tuple) for parked in process.parked.values())) > 50

    client.send(options)  # a copy of what waits is absorbed
    _, cancel = client.request("called", "CANCEL", call_id=called, branch="z9hG4bKcalled")
    client.send(cancel)
    reason = f"{called} sip:called@127.0.0.1:{server.sip_port} sip:called@192.0.2.9 -487"
    wait_until(lambda: reason in reasons(client, called), what="the INVITE resumes")
    serial = server.do(lambda: list(process.parked)[-2])
    server.do(lambda: process.cancel_wait(serial))
    assert client.final(asked).reason.endswith("sip:asked@192.0.2.9 -487")
    assert len(client.answers[asked]) == 1

    left = server.do(lambda: list(process.parked))
    for at in range(0, MANY - 20, 40):  # so few that what they are answered fits the kernel's buffer
        server.do(partial(end_waits, process, left[at : at + 40]))
        assert all(client.final(call_id).reason.startswith(call_id) for call_id, _ in filling[at : at + 40])
    server.do(process.give_up)  # at the end of a drain: answered from what was packed
    assert {client.final(call_id).status for call_id, _ in filling[-20:]} == {503}
    server.do(lambda: [process.node.cancel(JobId(process.peer, serial), "over") for serial in left])
    wait_until(lambda: server.do(process.node.pending) == 0, what="the jobs are over")
    client.close()
