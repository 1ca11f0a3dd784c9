"""The load generator: its rules as a table of times and words, then the process itself against real UDP responders."""

import heapq
import io
import json
import math
import os
import re
import select
import socket
import subprocess
import sys
import textwrap
import threading
import time
from array import array
from collections import Counter

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st
from rich.console import Console

from runtime.demo import demo
from runtime.traffic import server
from runtime.traffic.generator import LoadError, offer
from runtime.traffic.merging import Merging, divided
from runtime.traffic.offer import (
    Acknowledge,
    Counts,
    Ended,
    Exchanges,
    Plan,
    Progress,
    accepted,
    from_wire,
    template,
    to_wire,
    which_are_slow,
)
from runtime.traffic.request import request_of
from runtime.traffic.spread import percentile

START_S = 100.0


def plan_of(**changes):
    plain = {
        "host": "127.0.0.1",
        "port": 5060,
        "rate_per_s": 100,
        "seconds": 0.1,
        "fast_user": "fast",
        "slow_user": "async-slow-50",
        "slow_share": 0.2,
        "seed": 1,
        "run": "r1",
        "grace_s": 60,
    }
    return Plan(**{**plain, **changes})


def exchanges_of(**changes):
    plan = plan_of(**changes)
    return Exchanges(plan, which_are_slow(plan), START_S)


def reply(number, status=200, run="r1"):
    return f"SIP/2.0 {status} X\r\nVia: SIP/2.0/UDP 127.0.0.1:9;branch=z9hG4bK{run}-{number};rport=9\r\n\r\n".encode()


# The rules


def test_a_plan_travels_as_json_and_refuses_what_makes_no_sense():
    plan = plan_of()
    assert Plan.from_json(plan.to_json()) == plan
    assert plan.count == 10
    wrong = [{"rate_per_s": 0}, {"seconds": -1}, {"slow_share": 1.1}, {"sources": 0}, {"run": "a b"}, {"fast_user": ""}]
    for changes in wrong:
        with pytest.raises(ValueError, match=r": "):
            plan_of(**changes)


def test_slow_requests_are_the_planned_share_at_repeatable_places():
    plan = plan_of(rate_per_s=1000, seconds=2, slow_share=0.05)
    flags = which_are_slow(plan)
    assert len(flags) == 2000
    assert flags.count(1) == 100
    assert flags == which_are_slow(plan)
    assert flags != which_are_slow(plan_of(rate_per_s=1000, seconds=2, slow_share=0.05, seed=2))
    assert 20 < flags[:1000].count(1) < 80


def test_a_request_is_rendered_with_its_number_in_branch_tag_and_call_id():
    request = template(plan_of(), "fast", "127.0.0.1", 4000).numbered(7)
    lines = request.decode().split("\r\n")
    assert lines[0] == "OPTIONS sip:fast@127.0.0.1:5060 SIP/2.0"
    assert lines[1] == "Via: SIP/2.0/UDP 127.0.0.1:4000;branch=z9hG4bKr1-7;rport"
    assert "From: <sip:caller@127.0.0.1:4000>;tag=f7" in lines
    assert "Call-ID: r1-7@127.0.0.1" in lines
    assert lines[-2:] == ["", ""]


def test_a_request_may_be_the_users_own_and_its_length_is_counted():
    text = (
        "MESSAGE sip:[service]@example.org SIP/2.0\nVia: SIP/2.0/UDP [local_ip]:[local_port];branch=[branch]\n"
        "Subject: 100% [call_number]\nContent-Length: [len]\n\n[service]: grüße"
    )
    request = template(plan_of(request=text), "+49", "127.0.0.1", 4000).numbered(7)
    assert request.decode() == (
        "MESSAGE sip:+49@example.org SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:4000;branch=z9hG4bKr1-7\r\n"
        "Subject: 100% 7\r\nContent-Length: 12\r\n\r\n+49: grüße"
    )


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("OPTIONS sip:a SIP/2.0\nVia: SIP/2.0/UDP [local_ip]\n\n", "no Via with branch="),
        (
            "OPTIONS sip:[user] SIP/2.0\nVia: SIP/2.0/UDP h;branch=[branch]\n\n",
            r"unknown: \[user\]; there are \[service",
        ),
        ("OPTIONS sip:a SIP/2.0\nVia: SIP/2.0/UDP h;branch=[branch]\n\n[len]", "into the headers"),
        ("BYE sip:a SIP/2.0\nVia: SIP/2.0/UDP h;branch=[branch]\n\n", "BYE belongs to a call"),
        ("\nhello", "'hello' is no method"),
    ],
)
def test_a_request_that_cannot_be_offered_is_refused(text, told):
    with pytest.raises(ValueError, match=told):
        plan_of(request=text)


def test_what_is_lost_has_waited_until_the_end():
    exchanges = exchanges_of(slow_share=0.5)
    for number in range(10):
        exchanges.sent(number, START_S + 0.1)
    exchanges.received(reply(0), START_S + 0.2)
    slow = sum(exchanges.is_slow(number) for number in range(1, 10))
    assert exchanges.waiting_slow == 5  # when the last one was sent
    fast_s, slow_s = exchanges.waiting(START_S + 5)
    assert (len(fast_s), len(slow_s)) == (9 - slow, slow)
    assert sorted([*fast_s, *slow_s]) == pytest.approx([4.91 + each / 100 for each in range(9)])


def test_which_statuses_are_as_wanted_is_told_by_codes_and_classes():
    assert accepted("200") == {200}
    assert accepted("404,2xx") == {404, *range(200, 300)}
    exchanges = exchanges_of(accept="404")
    exchanges.sent(0, START_S)
    exchanges.received(reply(0, 404), START_S + 0.5)
    assert sum(len(each) for each in exchanges.take_latencies()) == 1
    for wrong in ("", "2xx,", "100", "20", "abc"):
        with pytest.raises(ValueError, match="accept: final statuses"):
            plan_of(accept=wrong)


def test_an_unanswered_request_is_sent_again_as_timer_e_says_until_timer_f():
    exchanges = exchanges_of()
    exchanges.sent(0, START_S)
    times = []
    for hundredths in range(4000):
        now = START_S + hundredths / 100
        times += [now - START_S for _ in exchanges.due(now)]
    assert times == pytest.approx([0.5, 1.5, 3.5, 7.5, 11.5, 15.5, 19.5, 23.5, 27.5, 31.5], abs=0.02)
    assert exchanges.counts.retransmitted == 10
    assert exchanges.next_due() == math.inf
    assert exchanges.lost == 1


def test_after_a_provisional_answer_it_is_sent_again_every_four_seconds():
    exchanges = exchanges_of()
    exchanges.sent(0, START_S)
    exchanges.received(reply(0, 100), START_S + 0.1)
    assert exchanges.due(START_S + 0.4) == []
    assert exchanges.due(START_S + 0.5) == [0]
    assert exchanges.next_due() == START_S + 4.5
    assert exchanges.counts.provisional == 1
    assert exchanges.lost == 1


def test_an_invite_is_sent_again_as_timer_a_says_until_there_is_any_answer():
    exchanges = exchanges_of(request=request_of("INVITE"))
    exchanges.sent(0, START_S)
    exchanges.sent(1, START_S)
    assert exchanges.received(reply(1, 100), START_S + 0.1) is None
    times = []
    for hundredths in range(4000):
        now = START_S + hundredths / 100
        times += [(number, now - START_S) for number in exchanges.due(now)]
    assert [number for number, _ in times] == [0] * 6
    assert [at for _, at in times] == pytest.approx([0.5, 1.5, 3.5, 7.5, 15.5, 31.5], abs=0.02)


def test_the_final_answer_to_an_invite_is_acknowledged_each_time_it_comes():
    exchanges = exchanges_of(request=request_of("INVITE"))
    exchanges.sent(0, START_S)
    assert exchanges.received(reply(0, 180), START_S) is None
    assert exchanges.received(reply(0), START_S) == Acknowledge(0, again=False)
    assert exchanges.received(reply(0), START_S) == Acknowledge(0, again=True)
    assert exchanges.received(reply(1), START_S) is None
    assert exchanges_of().received(reply(0), START_S) is None


def test_an_answer_ends_the_exchange_and_its_latency_counts_from_the_intended_moment():
    exchanges = exchanges_of(slow_share=0)
    exchanges.sent(0, START_S)
    exchanges.sent(1, START_S + 0.3)  # due at 0.01: the generator was late, and that is part of the wait
    exchanges.received(reply(1), START_S + 0.31)
    fast_s, slow_s = exchanges.take_latencies()
    assert list(fast_s) == pytest.approx([0.3])
    assert list(slow_s) == []
    assert exchanges.due(START_S + 1) == [0]
    exchanges.received(reply(0), START_S + 1.2)
    assert exchanges.next_due() == math.inf
    assert list(exchanges.take_latencies()[0]) == pytest.approx([1.2])
    assert exchanges.last_answer_s == START_S + 1.2


def test_slow_requests_are_counted_apart():
    exchanges = exchanges_of(slow_share=1)
    exchanges.sent(0, START_S)
    exchanges.received(reply(0), START_S + 0.05)
    assert [list(each) for each in exchanges.take_latencies()] == [[], pytest.approx([0.05])]


def test_refusals_duplicates_and_strays_are_told_apart_and_give_no_latency():
    exchanges = exchanges_of()
    for number in range(3):
        exchanges.sent(number, START_S)
    for data in (
        reply(0, 503),
        reply(0, 200),
        reply(1, 200),
        reply(1, 100),
        reply(9),
        reply(2, run="r0"),
        b"",
        b"SIP/2.0 200 OK\r\n\r\n",
        reply(2)[1:],
        reply(2).replace(b"200", b"2x0"),
        reply(99999999999999999999),
    ):
        exchanges.received(data, START_S + 0.2)
    expected = Counts(sent=3, answered=2, duplicates=2, strays=7, statuses={503: 1, 200: 1})
    assert exchanges.counts == expected
    assert sum(len(each) for each in exchanges.take_latencies()) == 1
    exchanges.check()


def test_a_run_is_finished_when_all_is_answered_or_the_grace_is_over():
    exchanges = exchanges_of(grace_s=2)
    for number in range(10):
        assert not exchanges.finished(START_S + 50)
        exchanges.sent(number, START_S)
        exchanges.received(reply(number), START_S) if number else None
    assert not exchanges.finished(START_S + 2.05)
    assert exchanges.finished(START_S + 2.15)
    exchanges.received(reply(0), START_S + 2.05)
    assert exchanges.finished(START_S + 2.05)


def test_several_generators_share_a_load_and_tell_one_story():
    plan = plan_of(rate_per_s=100, seconds=1)
    assert divided(plan, 1) == [plan]
    parts = divided(plan, 2)
    assert [part.count for part in parts] == [50, 50]
    assert len({part.run for part in parts} | {part.seed for part in parts}) == 4
    merging = Merging(2)
    fast_s, slow_s = array("d", [0.1]), array("d", [0.2])
    assert merging.take(0, Progress(0.25, 10, 9, 1, fast_s, slow_s)) == Progress(0.25, 10, 9, 1, fast_s, slow_s)
    assert merging.take(1, Progress(0.5, 20, 18, 0, slow_s, fast_s)) == Progress(0.5, 30, 27, 1, slow_s, fast_s)
    ends = [
        Ended(Counts(50, 49, statuses={200: 49}), 1, 1.0, 0.1, 0.2, True, 0, 3, array("d", [5.0])),
        Ended(Counts(50, 50, 3, statuses={200: 48, 500: 2}), 0, 1.5, 0.3, 0.4, False, 2, 4),
    ]
    assert merging.take(1, ends[1]) is None
    assert merging.take(0, ends[0]) == Ended(
        Counts(100, 99, 3, statuses={200: 97, 500: 2}), 1, 1.5, 0.3, 0.4, False, 2, 7, array("d", [5.0])
    )


def test_frames_travel_as_plain_data():
    frames = [
        Progress(0.5, 10, 9, 1, array("d", [0.1]), array("d")),
        Ended(Counts(3, 2, 1, statuses={200: 2}), 1, 2.0, 0.001, 0.002, True, 0),
    ]
    assert [from_wire(to_wire(frame)) for frame in frames] == frames


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["send", "answer", "provisional", "tick"]), st.integers(0, 12)), max_size=80))
def test_each_request_is_answered_once_or_outstanding_whatever_comes_in(steps):
    exchanges = exchanges_of()
    now, latencies = START_S, 0
    for step, number in steps:
        now += number / 10
        if step == "send" and exchanges.counts.sent < 10:
            exchanges.sent(exchanges.counts.sent, now)
        elif step == "tick":
            again = exchanges.due(now)
            assert len(set(again)) == len(again) <= exchanges.lost
            event(f"sent again: {bool(again)}")
        elif step in ("answer", "provisional"):
            before = exchanges.counts.answered
            exchanges.received(reply(number, 200 if step == "answer" else 100), now)
            event(f"{step} taken: {exchanges.counts.answered > before}")
        latencies += sum(len(each) for each in exchanges.take_latencies())
        assert latencies == exchanges.counts.answered
        exchanges.check()


# The process


class Responder:
    """A real UDP responder in a thread of its own. `delay` gives the seconds until a request is answered, or None.

    Args:
        delay: called with the request's bytes and how often its branch has been seen, this time included.
        stall: called before each read, so that a test can hold everything up.
    """

    def __init__(self, delay=lambda request, times: 0.0, stall=lambda: None, status=200):
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        self.socket.bind(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.seen, self.sources = Counter(), set()
        self._delay, self._stall, self._status = delay, stall, status
        self._later = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._over.set()
        self._thread.join(5)
        self.socket.close()
        assert not self._thread.is_alive()

    def _run(self):
        while not self._over.is_set():
            self._stall()
            wait_s = max(0, self._later[0][0] - time.monotonic()) if self._later else 0.05
            if select.select([self.socket], [], [], min(wait_s, 0.05))[0]:
                self._take(*self.socket.recvfrom(65_535))
            while self._later and self._later[0][0] <= time.monotonic():
                _, answer, source = heapq.heappop(self._later)
                self.socket.sendto(answer, source)

    def _take(self, request, source):
        via = re.search(rb"Via: ([^\r]*)", request)[1]
        branch = re.search(rb"branch=([^;]*)", via)[1]
        self.seen[branch] += 1
        self.sources.add(source)
        delay_s = self._delay(request, self.seen[branch])
        if delay_s is not None:
            answer = b"SIP/2.0 %d X\r\nVia: %s\r\nContent-Length: 0\r\n\r\n" % (self._status, via)
            heapq.heappush(self._later, (time.monotonic() + delay_s, answer, source))


def offered(plan):
    """Run the plan; the latencies in seconds, fast and slow, and the end."""
    fast_s, slow_s, frames = array("d"), array("d"), list(offer(plan))
    for frame in frames[:-1]:
        assert isinstance(frame, Progress)
        fast_s.extend(frame.fast_s)
        slow_s.extend(frame.slow_s)
    assert isinstance(frames[-1], Ended)
    return sorted(fast_s), sorted(slow_s), frames[-1]


@pytest.mark.processes
def test_a_load_is_offered_at_its_rate_and_its_latencies_are_those_of_the_responder():
    with Responder(lambda request, _: 0.08 if b"sip:async-slow-50@" in request else 0) as responder:
        plan = plan_of(port=responder.port, rate_per_s=400, seconds=1, slow_share=0.1, sources=8)
        fast_s, slow_s, ended = offered(plan)
    assert ended.counts == Counts(sent=400, answered=400, statuses={200: 400})
    assert (ended.lost, ended.send_errors) == (0, 0)
    assert (len(fast_s), len(slow_s)) == (360, 40)
    assert 0 < percentile(fast_s, 0.5) < 0.02
    assert slow_s[0] >= 0.08
    assert percentile(slow_s, 0.5) < 0.12
    assert 0.99 <= ended.window_s < 1.6
    assert 0 <= ended.lag_p99_s <= ended.lag_max_s
    assert len(responder.seen) == 400
    assert len(responder.sources) == 8


@pytest.mark.processes
def test_two_generators_offer_what_one_would():
    with Responder() as responder:
        frames = list(offer(plan_of(port=responder.port, rate_per_s=400, seconds=0.5, slow_share=0.1), 2))
    assert isinstance(frames[-1], Ended)
    assert frames[-1].counts == Counts(sent=200, answered=200, statuses={200: 200})
    assert sum(len(each.fast_s) + len(each.slow_s) for each in frames[:-1]) == 200
    assert len(responder.sources) == 32


@pytest.mark.processes
def test_calls_are_acknowledged_and_those_that_were_taken_are_hung_up():
    with Responder() as responder:
        plan = plan_of(port=responder.port, rate_per_s=100, seconds=0.2, request=request_of("INVITE"))
        _, _, ended = offered(plan)
        # The last ones are not waited for: nothing of them is measured.
        deadline = time.monotonic() + 5
        while len(responder.seen) < 60 and time.monotonic() < deadline:
            time.sleep(0.01)
    assert ended.counts.statuses == {200: 20}
    kinds = Counter(branch[len(b"z9hG4bK") :].split(b"r1-")[0] for branch in responder.seen)
    assert kinds == {b"": 20, b"ACK": 20, b"BYE": 20}


@pytest.mark.processes
def test_lost_first_transmissions_are_sent_again_and_nothing_is_lost():
    def delay(request, times):
        number = int(re.search(rb"z9hG4bKr1-([0-9]+)", request)[1])
        return None if number % 10 == 0 and times == 1 else 0.0

    with Responder(delay) as responder:
        fast_s, _, ended = offered(plan_of(port=responder.port, rate_per_s=200, seconds=1, slow_share=0))
    assert ended.lost == 0
    assert ended.counts.retransmitted >= 20
    assert sum(responder.seen.values()) == 200 + ended.counts.retransmitted
    assert fast_s[-20] >= 0.5
    assert fast_s[-21] < 0.5


@pytest.mark.processes
def test_a_responder_that_stalls_does_not_stop_the_load_and_all_who_waited_are_counted():
    stalled_at = []

    def stall():
        if not stalled_at and len(responder.seen) >= 100:
            stalled_at.append(time.monotonic())
            threading.Event().wait(0.3)  # the fault itself, not a wait for something

    responder = Responder(stall=stall)
    with responder:
        fast_s, _, ended = offered(plan_of(port=responder.port, rate_per_s=400, seconds=1, slow_share=0))
    assert ended.lost == 0
    # Those due in the 300 ms, 120 of them, wait from 300 down to 0 ms. A generator that waits with the responder
    # would have one bad latency, not some eighty of 100 ms and more.
    assert 60 <= sum(each >= 0.1 for each in fast_s) <= 200
    assert fast_s[-1] >= 0.28


@pytest.mark.processes
def test_what_is_never_answered_is_lost_after_the_grace_and_refusals_are_told():
    def delay(request, _):
        return None if b"z9hG4bKr1-3;" in request else 0.0

    with Responder(delay, status=503) as responder:
        plan = plan_of(port=responder.port, rate_per_s=50, seconds=0.2, slow_share=0, grace_s=0.8)
        fast_s, _, ended = offered(plan)
    assert ended.lost == 1
    assert ended.counts.retransmitted == 1
    assert ended.counts.statuses == {503: 9}
    assert fast_s == []


@pytest.mark.processes
def test_nobody_there_is_all_lost_and_no_crash():
    fast_s, _, ended = offered(plan_of(port=server.free_port(), rate_per_s=50, seconds=0.2, grace_s=0.3))
    assert fast_s == []
    assert ended.lost == 10
    assert ended.counts.statuses == {}


@pytest.mark.processes
def test_a_generator_that_fails_is_an_error(capfd):
    plan = plan_of()
    object.__setattr__(plan, "sources", -1)  # what no plan can be by itself
    with pytest.raises(LoadError, match="the load generator failed"):
        list(offer(plan))
    assert "sources: 1 to 256" in capfd.readouterr().err


# The server under test

ANSWERING = """
    import os, re, socket, sys, time
    while time.process_time() < 0.05:  # some ticks of the clock that the kernel weighs processes with
        pass
    listening = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    listening.bind(("127.0.0.1", int(sys.argv[1])))
    while True:
        request, source = listening.recvfrom(65535)
        via = re.search(rb"Via: [^\\r]*\\r\\n", request)[0]
        listening.sendto(b"SIP/2.0 200 OK\\r\\n" + via + b"\\r\\n", source)
"""


def program(text, *arguments):
    return [sys.executable, "-c", textwrap.dedent(text), *map(str, arguments)]


@pytest.mark.processes
def test_a_server_is_waited_for_weighed_and_stopped():
    port = server.free_port()
    with server.Server(program(ANSWERING, port), port) as under_test:
        under_test.wait_ready(5)
        under_test.check_alive()
        assert under_test.cpu_s() > 0
        assert os.path.exists(f"/proc/{under_test.pid}")
    assert not os.path.exists(f"/proc/{under_test.pid}")


@pytest.mark.processes
def test_a_server_that_ends_is_told_with_its_last_words():
    port = server.free_port()
    dying = program("import sys; sys.exit('opensips.cfg:3:1: no such module')")
    with (
        server.Server(dying, port) as under_test,
        pytest.raises(server.ServerError, match=r"(?s)ended with exit code 1; it wrote:\nopensips\.cfg:3:1: no such"),
    ):
        under_test.wait_ready(10)


@pytest.mark.processes
def test_a_server_that_stays_silent_is_told():
    port = server.free_port()
    with (
        server.Server(program("import signal; signal.pause()"), port) as under_test,
        pytest.raises(server.ServerError, match=f"does not answer on udp:127.0.0.1:{port}; it wrote nothing"),
    ):
        under_test.wait_ready(0.5)


TWO_CHILDREN = """
    import os, signal, time

    def burn():
        while time.process_time() < 0.25:
            pass

    if os.fork() == 0:
        burn()
        os._exit(0)
    os.wait()
    if os.fork() == 0:
        burn()
        print(1, flush=True)
    signal.pause()
"""


@pytest.mark.processes
def test_the_cpu_of_a_tree_has_its_children_and_those_that_ended():
    process = subprocess.Popen(program(TWO_CHILDREN), stdout=subprocess.PIPE, start_new_session=True)
    try:
        assert process.stdout.readline() == b"1\n"
        assert 0.45 < server.tree_cpu_s(process.pid) < 2
        assert server.tree_cpu_s(process.pid) < server.tree_cpu_s(os.getpid()) + 2
    finally:
        os.killpg(process.pid, 9)
        process.wait()
        process.stdout.close()
    assert server.tree_cpu_s(process.pid) == 0


def test_the_examples_are_beside_the_packages_and_the_command_names_what_was_asked_for():
    script = server.example("opensips.cfg")
    assert script.is_file()
    assert server.example("article.cfg").is_file()
    command = server.command(script, 5070, 3, 2)
    assert command[1:] == [
        *("-m", "runtime", "run", str(script), "-l", "udp:127.0.0.1:5070"),
        *("--udp-workers", "3", "--mi-workers", "2", "--mi-workers-max", "2"),
    ]
    with pytest.raises(server.ServerError, match="runs from a checkout"):
        server.example("nosuch.cfg")


def test_settings_that_make_no_sense_are_told_before_anything_starts(tmp_path):
    for changes, told in [
        ({"flavours": ["mi", "nosuch"]}, "not nosuch"),
        ({"flavours": []}, "none at all"),
        ({"rate": 0}, "rate: up to"),
        ({"slow_share": 2}, "slow share: 0 to 1"),
        ({"slow_ms": 0}, "slow_ms: 1 to"),
    ]:
        written = io.StringIO()
        assert demo.run(**changes, out=tmp_path, console=Console(file=written, width=200)) == 2
        assert told in written.getvalue()
    assert os.listdir(tmp_path) == []


def test_each_flavour_has_its_own_user_and_none_calls_nothing():
    asked = demo.Settings(1000, 1, 0.05, 50, demo.FLAVOURS, 4, 4)
    plans = [demo.plan(asked, flavour, 5060) for flavour in demo.FLAVOURS]
    assert [each.slow_user for each in plans] == ["fast", "mi-slow-50", "async-slow-50", "launch-slow-50"]
    assert [each.slow_share for each in plans] == [0, 0.05, 0.05, 0.05]
    assert len({each.run for each in plans}) == 4


@pytest.mark.processes
@pytest.mark.parametrize("terminal", [False, True])
def test_the_whole_is_measured_shown_and_written(tmp_path, terminal):
    asked = demo.Settings(200, 0.6, 0.1, 50, ("mi", "async"), 4, 4)
    port, written = server.free_port(), io.StringIO()
    console = Console(file=written, width=100, force_terminal=terminal)
    with server.Server(program(ANSWERING, port), port) as under_test:
        under_test.wait_ready(5)
        runs = demo.measure(asked, under_test, console)
    assert [(run.flavour, run.offered, run.lost) for run in runs] == [("mi", 120, 0), ("async", 120, 0)]
    assert [len(run.slow_s) for run in runs] == [12, 12]
    code = demo.show(asked, runs, tmp_path / "out", console)
    text = written.getvalue()
    # A responder that knows no command serves both alike: nothing was shown, and that is said, unless a machine that
    # has other things to do delayed the one and not the other.
    assert ("Not as it should be" in text, code) in ((True, 1), (False, 0))
    assert ("the ratio of the fast requests' p99, mi : async, is" in text) == (code == 1)
    assert "fast p99" in text
    assert str(tmp_path / "out" / "layby-demo.png") in text
    assert sorted(os.listdir(tmp_path / "out")) == ["layby-demo.json", "layby-demo.png"]
    figures = json.loads((tmp_path / "out" / "layby-demo.json").read_text())
    assert figures["settings"]["flavours"] == ["mi", "async"]
    assert figures["figures"][1]["fast"]["count"] == 108
