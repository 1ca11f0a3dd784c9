"""A text in, its answer out, the same for every transport; and the two built-in commands."""

from __future__ import annotations

import asyncio
import json

import pytest

from mi_script.execute import Answered
from mi_script.service import Service


def answer(service, text, **kwargs):
    reply = asyncio.run(
        service.answer(text if isinstance(text, bytes) else json.dumps(text).encode(), "test", **kwargs)
    )
    return None if reply is None else reply.decode()


def request(method, params=None, **id):
    return {"jsonrpc": "2.0", "method": method, **({} if params is None else {"params": params}), **id}


@pytest.mark.parametrize(
    ("asked", "reply"),
    [
        (request("echo", ["ä"], id="7"), '{"jsonrpc":"2.0","result":"ä","id":"7"}'),
        (request("nosuch", id=1), '{"jsonrpc":"2.0","error":{"code":-32601,"message":"Method not found"},"id":1}'),
        (
            request("uptime", ["x"], id=1),
            '{"jsonrpc":"2.0","error":{"code":-32602,"message":"Invalid params",'
            '"data":"Too few or too many parameters"},"id":1}',
        ),
        (request("uptime", 1), '{"jsonrpc":"2.0","error":{"code":-32600,"message":"Invalid Request"},"id":null}'),
        (b"{", '{"jsonrpc":"2.0","error":{"code":-32700,"message":"Parse error"},"id":null}'),
        (request("dlg_list", id=None), '{"jsonrpc":"2.0","result":{"Dialogs":[]},"id":null}'),
        (
            request("t_uac_dlg", {"method": "M", "ruri": "sip:x"}, id=1),
            '{"jsonrpc":"2.0","result":{"Status":"200 OK"},"id":1}',
        ),
        (request("which", ["dlg_list"], id=1), None),
    ],
)
def test_single(service, asked, reply):
    if reply is None:
        reply = '{"jsonrpc":"2.0","result":[[],["callid"],["callid","from_tag"],["index","counter"]],"id":1}'
    assert answer(service, asked) == reply


def test_a_notification_runs_and_is_not_answered(service, demo):
    assert answer(service, request("uptime")) is None
    assert answer(service, request("nosuch")) is None
    assert answer(service, request("broken")) is None
    assert demo.ran == ["uptime"]


def test_batch_in_order_without_its_notifications(service, demo):
    asked = [
        request("cache_store", ["local", "k", "v"], id=1),
        request("echo", ["silent"]),
        request("cache_fetch", ["local", "k"], id="b"),
        17,
    ]
    assert json.loads(answer(service, asked)) == [
        {"jsonrpc": "2.0", "result": "OK", "id": 1},
        {"jsonrpc": "2.0", "result": {"key": "k", "value": "v"}, "id": "b"},
        {"jsonrpc": "2.0", "error": {"code": -32600, "message": "Invalid Request"}, "id": None},
    ]
    assert demo.ran == ["echo"]
    assert answer(service, [request("uptime"), request("uptime")]) is None


def test_strays_are_passed_over_where_the_transport_says_so(service):
    stray = {"jsonrpc": "2.0", "error": {"code": -32600, "message": "Invalid Request"}, "id": None}
    assert answer(service, stray, strays=False) is None
    assert answer(service, [stray, stray], strays=False) is None
    assert "Invalid Request" in answer(service, stray)


def test_answers_that_the_transport_cannot_carry(service):
    limit = 300
    fitting = answer(service, request("big", [260], id=1), max_reply=limit)
    assert json.loads(fitting)["result"] == "x" * 260
    assert answer(service, request("big", [260], id=1), max_reply=len(fitting)) == fitting
    assert "error" in json.loads(answer(service, request("big", [260], id=1), max_reply=len(fitting) - 1))
    too_long = json.loads(answer(service, request("big", [300], id="me"), max_reply=limit))
    assert too_long["error"]["data"] == "The answer is longer than the 300 bytes that this transport carries"
    assert too_long["id"] == "me"
    # The error is too long for it as well when the id is.
    nameless = answer(service, request("uptime", id="x" * 300), max_reply=limit)
    assert json.loads(nameless)["id"] is None
    assert len(nameless) <= limit


@pytest.mark.parametrize("limit", range(400, 1600, 97))
def test_batches_that_the_transport_cannot_carry(service, limit):
    asked = [request("big", [size], id=size) for size in (10, 500, 20, 100, 30)]
    reply = answer(service, asked, max_reply=limit)
    assert len(reply) <= limit
    if isinstance(json.loads(reply), dict):
        assert json.loads(reply)["error"]["code"] == -32000
    else:
        assert [member["id"] for member in json.loads(reply)] == [10, 500, 20, 100, 30]


def test_what_performs_may_fail(caplog):
    async def perform(call, transport):
        raise RuntimeError("no pool")

    reply = json.loads(answer(Service(perform), request("uptime", id=1)))
    assert reply["error"] == {"code": -32000, "message": "Server error", "data": "The command could not be run"}
    assert "uptime" in caplog.text
    assert "test" in caplog.text


def test_the_transport_is_told_to_what_performs():
    async def perform(call, transport):
        return Answered(json.dumps([call.method, transport]))

    assert json.loads(answer(Service(perform), request("x", id=1)))["result"] == ["x", "test"]


def test_which(service, registry):
    names = json.loads(answer(service, request("which", id=1)))["result"]
    assert names == registry.all_names()
    assert {"which", "help", "uptime", "drouting:reload"} <= set(names)
    assert json.loads(answer(service, request("which", {"command": "nosuch"}, id=1)))["error"] == {
        "code": 404,
        "message": "unknown MI command",
    }


def test_help(service):
    def help(*command):
        return json.loads(answer(service, request("help", list(command), id=1)))

    assert "which" in help()["result"]
    assert help("cache_store")["result"] == {"Help": "Stores a value.", "Exported by": "demo"}
    assert help("cache_fetch")["result"] == {"Help": "not available for this command", "Exported by": "demo"}
    assert help("zz")["error"] == {"code": 404, "message": "unknown MI command"}
