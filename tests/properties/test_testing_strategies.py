"""What users' properties are drawn from: what is called good is good, and each kind of thing does occur."""

from __future__ import annotations

import json

import pytest
from hypothesis import find, given, settings
from hypothesis import strategies as st

from mi_script.builtin import register_builtin
from mi_script.calls import Ready, prepare
from mi_script.commands import Registry
from mi_script.jsonrpc import Batch, Malformed, decode
from runtime.sip.judge import refuse, refuse_relaying
from runtime.sip.message import Bad, KeepAlive, Reply, Request, parse
from runtime.sip.uri import parse_uri
from runtime.testing.calls import CallPlan
from runtime.testing.strategies import (
    call_plans,
    hostile_messages,
    hostile_rpc,
    mi_calls,
    replies,
    requests,
    rpc_requests,
    uris,
)

REGISTRY = Registry()
register_builtin(REGISTRY)
RECIPES = {command.name: command.recipes for command in REGISTRY}
EVERY = settings(database=None, max_examples=2000)


@given(requests())
@settings(max_examples=300)
def test_a_request_is_one_that_nobody_may_refuse_for_its_form(data: bytes) -> None:
    parsed = parse(data)
    assert isinstance(parsed, Request)
    assert refuse(parsed) is refuse_relaying(parsed) is None
    assert (parsed.cseq_method, parsed.via.branch[:7]) == (parsed.method, "z9hG4bK")
    assert parsed.from_.tag
    assert len(parsed.body) == int(parsed.get("Content-Length"))


@given(replies(st.just(183)))
@settings(max_examples=300)
def test_a_reply_is_read_as_it_was_meant(data: bytes) -> None:
    parsed = parse(data)
    assert isinstance(parsed, Reply)
    assert (parsed.status, bool(parsed.to.tag), bool(parsed.call_id)) == (183, True, True)


@given(uris(), uris(users=["alice", "bob"]))
def test_a_uri_names_a_user_and_a_host(text: str, known: str) -> None:
    uri, other = parse_uri(text), parse_uri(known)
    assert uri is not None
    assert uri.user
    assert uri.host
    assert other is not None
    assert other.user in ("alice", "bob")


@pytest.mark.parametrize("kind", [Bad, KeepAlive, Reply, Request])
def test_hostile_messages_are_of_every_kind(kind: type) -> None:
    find(hostile_messages(), lambda data: isinstance(parse(data), kind), settings=EVERY)


@given(mi_calls(RECIPES))
def test_a_call_of_a_command_fits_what_the_command_takes(call) -> None:
    assert isinstance(prepare(REGISTRY, call), Ready)


@pytest.mark.parametrize("fits", [True, False])
def test_a_call_that_nearly_fits_may_fit_or_not(fits: bool) -> None:
    find(
        mi_calls(RECIPES, nearly=True), lambda call: isinstance(prepare(REGISTRY, call), Ready) == fits, settings=EVERY
    )


@given(rpc_requests(st.sampled_from(sorted(RECIPES))))
def test_a_request_of_json_rpc_is_one(request) -> None:
    decoded = decode(json.dumps(request).encode())
    assert not isinstance(decoded, Batch)
    assert not isinstance(decoded.item, Malformed)


@pytest.mark.parametrize("kind", ["batch", "malformed", "request"])
def test_what_comes_over_a_transport_is_anything(kind: str) -> None:
    def is_it(data: bytes) -> bool:
        decoded = decode(data)
        if isinstance(decoded, Batch):
            return kind == "batch"
        return (kind == "malformed") == isinstance(decoded.item, Malformed)

    find(hostile_rpc(st.just("pwd")), is_it, settings=EVERY)


@pytest.mark.parametrize(
    "wanted",
    [
        lambda plan: plan.cancelled,
        lambda plan: not plan.cancelled and plan.final > 200,
        lambda plan: not plan.cancelled and plan.final == 200 and plan.again == ("callee", "caller"),
        lambda plan: plan.ended_by == "callee",
        lambda plan: len(plan.provisional) == 2,
    ],
)
def test_calls_go_every_way(wanted) -> None:
    assert isinstance(find(call_plans(["a", "b"]), wanted, settings=EVERY), CallPlan)
