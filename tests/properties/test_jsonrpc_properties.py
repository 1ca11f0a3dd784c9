"""Whatever arrives is answered or passed over; nothing that arrives can raise."""

from __future__ import annotations

import asyncio
import json

from hypothesis import event, example, given
from hypothesis import strategies as st

from mi_script.builtin import register_builtin
from mi_script.calls import Fault
from mi_script.commands import Params, Registry, command, commands_of
from mi_script.execute import Executor
from mi_script.jsonrpc import Batch, Request, Single, decode, dump, fault_text, result_text
from mi_script.service import Service
from runtime.testing.strategies import hostile_rpc, json_values, rpc_requests


class Echo:
    @command("echo", ("a",), ("a", "b"), positional=())
    def echo(self, params: Params):
        return {name: params.raw(name) for name in params.names()}

    @command("types", ("a",), named_only=True)
    async def types(self, params: Params):
        await asyncio.sleep(0)
        return [params.integer("a"), params.text("a"), params.texts("a")]


def make_service():
    registry = Registry(commands_of(Echo(), "echo"))
    register_builtin(registry)
    executor = Executor(registry)

    async def perform(call, transport):
        return await executor.answer(call)

    return Service(perform, max_bytes=4096)


SERVICE = make_service()

methods = st.sampled_from(["echo", "types", "which", "help", "nosuch"]) | st.text(max_size=10)
requests = rpc_requests(methods)
anything = hostile_rpc(methods)
ids = st.none() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=10)


def answer(data, **kwargs):
    return asyncio.run(SERVICE.answer(data, "test", **kwargs))


def is_well_formed(reply):
    return (
        list(reply) in (["jsonrpc", "result", "id"], ["jsonrpc", "error", "id"])
        and reply["jsonrpc"] == "2.0"
        and not isinstance(reply["id"], bool | list | dict)
        and ("result" in reply or set(reply["error"]) - {"data"} == {"code", "message"})
    )


@given(anything)
@example(b"[" * 4000)
@example(b'{"a":' * 800)
@example(b'{"jsonrpc":"2.0","method":"echo","params":["\\ud800"],"id":1}')
@example(b"-" + b"9" * 4090)
def test_any_bytes_are_answered_or_passed_over(data):
    decoded = decode(data)
    items = decoded.items if isinstance(decoded, Batch) else (decoded.item,)
    reply = answer(data)
    if reply is None:
        event("silence")
        assert all(isinstance(item, Request) and item.notification for item in items)
        return
    replies = json.loads(reply.decode("utf-8"))
    event("batch" if isinstance(replies, list) else "single")
    assert isinstance(replies, list) == isinstance(decoded, Batch)
    assert all(is_well_formed(one) for one in (replies if isinstance(replies, list) else [replies]))


@given(anything, st.integers(200, 400))
def test_no_answer_is_longer_than_its_transport_carries(data, limit):
    reply = answer(data, max_reply=limit, strays=False)
    assert reply is None or len(reply) <= limit
    # Whatever we say is taken by another server for what it is, and answered by nobody.
    assert reply is None or answer(reply, strays=False) is None


@given(requests)
def test_requests_are_read_as_they_were_written(request):
    decoded = decode(json.dumps(request).encode())
    assert isinstance(decoded, Single)
    item = decoded.item
    assert isinstance(item, Request)
    assert (item.call.method, item.call.params) == (request["method"], request.get("params", {}))
    assert (item.id, item.notification) == (request.get("id"), "id" not in request)
    assert type(item.id) is type(request.get("id"))


@given(st.lists(requests, min_size=1, max_size=5))
def test_a_batch_answers_as_its_members_do_alone(batch):
    alone = [reply for member in batch if (reply := answer(json.dumps(member).encode())) is not None]
    together = answer(json.dumps(batch).encode())
    assert together == (b"[" + b",".join(alone) + b"]" if alone else None)


@given(json_values(), ids)
def test_results_and_ids_are_written_as_they_are(value, id):
    for pretty in (False, True):
        reply = json.loads(result_text(dump(value, pretty), id).encode("utf-8"))
        assert reply == {"jsonrpc": "2.0", "result": value, "id": id}


@given(st.integers(), st.text(), st.none() | st.text(), ids)
def test_faults_are_written_as_they_are(code, message, data, id):
    reply = json.loads(fault_text(Fault(code, message, data), id).encode("utf-8"))
    assert reply["error"] == {"code": code, "message": message} | ({} if data is None else {"data": data})
    assert reply["id"] == id
