"""The ladder: one table of calls and what becomes of them."""

from __future__ import annotations

import pytest

from mi_script.access import Access
from mi_script.calls import Call, Cause, Fault, Ready, prepare, refusal
from mi_script.commands import Command

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


@pytest.fixture
def crowded(registry):
    """A register in which `list` is behind the colon of two commands' names."""
    registry.extend(
        [
            Command("ul_list", ((),), dict, aliases=("usrloc:list",)),
            Command("tcp_list", ((),), dict, aliases=("tcp:list", "transport:list")),
        ]
    )
    return registry


def test_what_stands_behind_the_colon_will_do_where_only_one_command_has_it(crowded):
    assert prepare(crowded, Call("reload")).command is crowded.find("dr_reload")
    ambiguous = Fault(-32001, "Method ambiguous", "supported names: usrloc:list, tcp:list", Cause.UNKNOWN)
    assert prepare(crowded, Call("list")) == ambiguous
    crowded.add(Command("list", ((),), dict))  # a name of its own goes before
    assert prepare(crowded, Call("list")).command.name == "list"


@pytest.mark.parametrize(
    ("access", "allowed"),
    [
        (None, {"uptime", "dr_reload", "drouting:reload", "reload"}),
        (Access(allow=frozenset()), set()),
        (Access(allow=frozenset({"uptime"})), {"uptime"}),
        (Access(deny=frozenset({"uptime"})), {"dr_reload", "drouting:reload", "reload"}),
        (Access(allow=frozenset({"uptime"}), deny=frozenset({"uptime"})), set()),
        # Denied by its alias it is denied by its name, and the other way round.
        (Access(deny=frozenset({"drouting:reload"})), {"uptime"}),
        (Access(allow=frozenset({"drouting:reload"})), {"dr_reload", "drouting:reload", "reload"}),
    ],
)
def test_access(registry, access, allowed):
    for method in ("uptime", "dr_reload", "drouting:reload", "reload"):
        fault = refusal(registry, Call(method), access)
        if method in allowed:
            assert fault is None
        else:
            assert (fault.code, fault.message, fault.cause) == (-32000, "Server error", Cause.DENIED)
            assert registry.find(method).name in fault.data
    # What there is not is no secret, and what cannot be called so is not told to who may not call it.
    assert refusal(registry, Call("nosuch"), access) is None
    assert (refusal(registry, Call("uptime", ["too", "many"]), access) is None) == ("uptime" in allowed)
