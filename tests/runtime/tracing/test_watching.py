"""A process takes on another class while it is recorded, and is the plain one again afterwards, whatever goes on."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from mi_script.calls import Call, Fault
from mi_script.execute import Answered, Executor
from runtime.modules.timelines import Timelines
from runtime.reception import Reception
from runtime.sip_process import SipProcess
from runtime.tracing.collecting import NoTrace, of_folder
from runtime.tracing.events import Event, pack_trace
from runtime.transports.transports import Transports
from tests.harness import SipClient, wait_until
from tests.one_process import OneProcess, one_process
from tests.trace_checker import problems

ROUTES = """
route {
    if ($rU == "parks") async(mi("bench_wait 300", $var(r)), resumed);
    if ($rU == "starts") mi("timeline_start", $var(r)); # layby: ignore[blocking-mi]
    if ($rU == "stops") mi("timeline_stop", $var(r)); # layby: ignore[blocking-mi]
    sl_send_reply(200, "one");
}
route[resumed] { t_reply(202, "resumed"); }
"""


@pytest.fixture
def server(tmp: Path) -> Iterator[OneProcess]:
    with one_process(tmp, ROUTES) as one:
        yield one


@pytest.fixture
def client(server: OneProcess) -> Iterator[SipClient]:
    made = SipClient(server.sip_port)
    yield made
    made.close()


def asks(server: OneProcess, method: str) -> None:
    """An MI command in the process, and a turn of its loop."""

    def perform() -> object:
        return server.process.executor.perform(Call(method, {}))

    assert isinstance(server.do(perform), Answered)
    server.do(lambda: None)


def is_plain(server: OneProcess) -> bool:
    process = server.process
    kinds = type(process), type(process._reception), type(process.transports), type(process.executor)
    return kinds == (SipProcess, Reception, Transports, Executor)


def events(server: OneProcess) -> list[Event]:
    trace = of_folder(server.process.house.folder / "timeline")
    assert problems(pack_trace(trace)) == []
    return trace.events


def messages(server: OneProcess) -> list[str]:
    return [event.name for event in events(server) if event.cat == "message" and event.ph == "X"]


def test_a_process_is_plain_before_and_after_and_only_what_comes_in_between_is_recorded(
    server: OneProcess, client: SipClient
) -> None:
    assert is_plain(server)
    client.ask("before")
    for _ in range(2):  # once more is as the first time
        asks(server, "timeline_start")
        assert not is_plain(server)
        client.ask("between", "INFO")
        asks(server, "timeline_stop")
        assert is_plain(server)
        client.ask("after")
        assert messages(server) == ["INFO"]
    asks(server, "timeline_forget")


def test_what_was_parked_while_it_was_recorded_is_resumed_when_it_is_not_any_more(
    server: OneProcess, client: SipClient
) -> None:
    asks(server, "timeline_start")
    call_id, request = client.request("parks")
    client.send(request)
    wait_until(lambda: server.do(lambda: len(server.process.parked)) == 1, what="it is parked")
    asks(server, "timeline_stop")
    assert is_plain(server)
    assert client.final(call_id).status == 202
    parked = [event for event in events(server) if event.cat == "parking"]
    assert [event.ph for event in parked] == ["b", "e"]
    assert parked[0].args["unfinished"] is True


def test_what_was_parked_before_is_resumed_while_it_is_recorded(server: OneProcess, client: SipClient) -> None:
    call_id, request = client.request("parks")
    client.send(request)
    wait_until(lambda: server.do(lambda: len(server.process.parked)) == 1, what="it is parked")
    asks(server, "timeline_start")
    assert client.final(call_id).status == 202
    asks(server, "timeline_stop")
    found = events(server)
    assert [event.name for event in found if event.cat == "route"] == ["route[resumed]"]
    assert not [event for event in found if event.cat in ("parking", "message")]


def test_a_script_that_begins_or_ends_the_recording_by_itself_goes_on_as_it_began(
    server: OneProcess, client: SipClient
) -> None:
    assert client.ask("starts").status == 200
    wait_until(lambda: not is_plain(server), what="it is recorded")
    assert client.ask("stops", "INFO").status == 200
    wait_until(lambda: is_plain(server), what="it is plain")
    assert messages(server) == ["INFO"]
    assert [event.name for event in events(server) if event.cat == "command"] == ["mi timeline_stop"]


def test_a_recording_ends_by_itself_at_its_time(server: OneProcess, client: SipClient) -> None:
    module = server.process.house.program.modules["timelines"]
    assert isinstance(module, Timelines)
    answer = server.do(lambda: server.process.executor.perform(Call("timeline_start", {"seconds": 0.2})))
    assert isinstance(answer, Answered)
    wait_until(lambda: not is_plain(server), what="it is recorded")
    wait_until(lambda: is_plain(server), what="it is plain")
    assert client.ask("after").status == 200
    assert messages(server) == []


def test_where_there_is_no_room_nothing_is_recorded_and_the_log_says_so(
    server: OneProcess, client: SipClient, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int, offset: int, length: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    asks(server, "timeline_start")
    assert is_plain(server)
    assert "sip-1.1 is not recorded: [Errno 28] No space left on device" in caplog.text
    assert client.ask("x").status == 200
    asks(server, "timeline_stop")
    with pytest.raises(NoTrace, match="no process has recorded anything"):
        events(server)


def test_what_a_recording_is_asked_for_must_make_sense(server: OneProcess) -> None:
    for params in ({"seconds": 0}, {"seconds": "x"}, {"seconds": "nan"}, {"seconds": 1, "share": 2}, {"seconds": True}):
        call = Call("timeline_start", dict(params))
        answer = server.do(lambda call=call: server.process.executor.perform(call))
        assert isinstance(answer, Fault)
        assert answer.code == 400
    assert is_plain(server)
