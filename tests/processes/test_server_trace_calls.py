"""Calls through several processes while they are recorded: of a chosen call everything is there, of others nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from runtime.tracing.collecting import of_folder
from runtime.tracing.events import pack_trace
from tests.call_load import Load
from tests.harness import Server, wait_until
from tests.processes.test_server_call_faults import HEAD, OPTIONS, ROUTES, USERS
from tests.trace_checker import problems

pytestmark = pytest.mark.processes

WHOLE = {"INVITE", "180 INVITE", "200 INVITE", "ACK", "BYE", "200 BYE"}


async def place_calls(server: Server) -> Load:
    """Calls for a while, with a reload amid them."""
    async with Load(server.sip_port, 25.0, USERS) as load:
        await load.until(lambda: False, 0.7)
        await asyncio.to_thread(server.mi, "reload_routes", None, 60.0)
        await load.until(lambda: False, 0.7)
        await load.end(20.0)
    return load


def test_of_each_call_all_is_there_or_nothing_whichever_processes_serve_it(start_server: Callable[..., Server]) -> None:
    server = start_server(ROUTES, head=HEAD, options=OPTIONS)
    server.mi("timeline_start", {"seconds": 60, "share": 0.5, "least_us": 0, "call_ids": 1})
    folder = server.folder / "timeline"
    wait_until(lambda: len(list(folder.glob("*.rec"))) == 6, what="the recording")
    load = asyncio.run(place_calls(server))
    server.mi("timeline_stop")

    trace = of_folder(folder)
    assert problems(pack_trace(trace)) == []
    seen: dict[str, set[str]] = {}
    for event in trace.events:
        if event.cat == "message" and event.ph == "X":
            seen.setdefault(event.args["call"], set()).add(event.name)
    assert seen.keys() <= load.calls.keys()
    assert 0 < len(seen) < len(load.calls)
    completed = {call for call, names in seen.items() if load.calls[call].completed}  # on a busy machine not all are
    assert completed
    assert {call: WHOLE - seen[call] for call in completed if not seen[call] >= WHOLE} == {}
    routes = {event.name for event in trace.events if event.cat == "route"}
    assert {"route", "route[go]", "failure_route[next]", "onreply_route[seen]"} <= routes
    asked = {event.id for event in trace.events if event.ph == "s" and event.name == "job"}
    parked = {event.id for event in trace.events if event.cat == "parking" and "outcome" in event.args}
    assert parked
    assert parked <= asked
    given = [event for event in trace.events if event.ph == "s" and event.name == "handed over"]
    taken = [event for event in trace.events if event.cat == "message" and "handed over" in event.args]
    assert len(given) == len(taken)
    assert len([event for event in trace.events if event.name == "reload the script"]) == 4
