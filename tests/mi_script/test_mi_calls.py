"""The ladder: one table of calls and what becomes of them."""

from __future__ import annotations

import pytest

from mi_script.calls import Access, Call, Cause, Fault, Ready, prepare

TOO_MANY = "Too few or too many parameters"
NO_MATCH = "Named parameters do not match"
AMBIGUOUS = "Ambiguous call, use named parameters instead"
NAMED_ONLY = "Command only supports named parameters"


@pytest.mark.parametrize(
    ("method", "params", "expected"),
    [
        ("uptime", None, {}),
        ("uptime", {}, {}),
        ("uptime", [], {}),
        ("uptime", ["x"], TOO_MANY),
        ("echo", None, TOO_MANY),
        ("echo", ["x"], {"text": "x"}),
        ("echo", {"text": None}, {"text": None}),
        ("echo", {"txet": 1}, NO_MATCH),
        ("cache_store", ["local", "k", "v"], {"system": "local", "attr": "k", "value": "v"}),
        ("cache_store", ["local", "k", "v", 5], {"system": "local", "attr": "k", "value": "v", "expire": 5}),
        ("cache_store", {"value": 1, "attr": 2, "system": 3}, {"value": 1, "attr": 2, "system": 3}),
        ("cache_store", ["local", "k"], TOO_MANY),
        ("dlg_list", [], {}),
        ("dlg_list", ["id"], NAMED_ONLY),
        ("dlg_list", ["a", "b", "c"], NAMED_ONLY),
        ("dlg_list", {"counter": 1, "index": 0}, {"counter": 1, "index": 0}),
        ("dlg_list", {"callid": 1, "index": 0}, NO_MATCH),
        ("ds_list", ["x"], AMBIGUOUS),
        ("ds_list", {"full": "x"}, {"full": "x"}),
        # The call that the article shows, and that OpenSIPS refuses as ambiguous since it has a second recipe.
        ("dr_reload", ["extensions"], {"partition_name": "extensions"}),
        ("dr_reload", {"inherit_state": "0"}, {"inherit_state": "0"}),
        ("dr_reload", ["extensions", "0"], {"partition_name": "extensions", "inherit_state": "0"}),
        ("drouting:reload", ["extensions"], {"partition_name": "extensions"}),
    ],
)
def test_matching(registry, method, params, expected):
    ready = prepare(registry, Call(method, params))
    if isinstance(expected, str):
        assert ready == Fault(-32602, "Invalid params", expected)
    else:
        assert isinstance(ready, Ready)
        assert ready.command is registry.find(method)
        assert {name: ready.params.raw(name) for name in ready.params.names()} == expected


@pytest.mark.parametrize("method", ["", "nosuch", "UPTIME", " uptime", "__class__"])
def test_unknown_command(registry, method):
    assert prepare(registry, Call(method)) == Fault(-32601, "Method not found", None, Cause.UNKNOWN)


@pytest.mark.parametrize(
    ("access", "allowed"),
    [
        (Access(), {"uptime", "dr_reload", "drouting:reload"}),
        (Access(allow=frozenset()), set()),
        (Access(allow=frozenset({"uptime"})), {"uptime"}),
        (Access(deny=frozenset({"uptime"})), {"dr_reload", "drouting:reload"}),
        (Access(allow=frozenset({"uptime"}), deny=frozenset({"uptime"})), set()),
        # Denied by its alias it is denied by its name, and the other way round.
        (Access(deny=frozenset({"drouting:reload"})), {"uptime"}),
        (Access(allow=frozenset({"drouting:reload"})), {"dr_reload", "drouting:reload"}),
    ],
)
def test_access(registry, access, allowed):
    for method in ("uptime", "dr_reload", "drouting:reload"):
        answer = prepare(registry, Call(method), access)
        if method in allowed:
            assert isinstance(answer, Ready)
        else:
            assert isinstance(answer, Fault)
            assert (answer.code, answer.message, answer.cause) == (-32000, "Server error", Cause.DENIED)
            assert registry.find(method).name in answer.data
    assert prepare(registry, Call("nosuch"), access).cause is Cause.UNKNOWN
