"""What a script writes and the call that it makes: as documented, and as OpenSIPS 3.6 does it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mi_script.calls import Call
from mi_script.execute import pack_call, unpack_call
from mi_script.script import ScriptFault, script_call

NOT_BUILT_36 = ScriptFault(-2, "could not parse script params!")


def spelled(text):
    """Real text as the script spells it: its UTF-8 bytes as latin-1."""
    return text.encode("utf-8").decode("latin-1")


@pytest.mark.parametrize(
    ("text", "call", "call_36"),
    [
        ("uptime", Call("uptime"), None),
        ("", Call(""), None),
        ("   ", Call(""), None),
        ("dr_reload extensions", Call("dr_reload", ["extensions"]), None),
        ("a b  c   d ", Call("a", ["b", "c", "d"]), None),
        ("uptime   ", Call("uptime"), None),
        ("a b\tc", Call("a", ["b\tc"]), None),
        ("a\tb c", Call("a\tb", ["c"]), None),
        ("\tuptime", Call("uptime"), None),
        # No quotes, no names, no arrays.
        ("a 'b c' d=1 __array(x)", Call("a", ["'b", "c'", "d=1", "__array(x)"]), None),
        (" uptime", Call("uptime"), Call("", ["uptime"])),
        ("  a b", Call("a", ["b"]), Call("", ["a", "b"])),
        (spelled("a ä€"), Call("a", ["ä€"]), None),
        ("a \xff", Call("a", ["\ufffd"]), None),
    ],
)
def test_first_parameter(text, call, call_36):
    assert script_call(text) == call
    assert script_call(text, None, None, "3.6") == (call_36 or call)


@pytest.mark.parametrize(
    ("values", "params", "params_36"),
    [
        ([], None, None),
        (["a"], ["a"], ["a"]),
        (["local", "k1", "v1"], ["local", "k1", "v1"], ["v1", "k1", "local"]),
        (["a", 5, "7"], ["a", 5, "7"], ["7", "5", "a"]),
        (["__array(x y)"], [["x", "y"]], ["__array(x y)"]),
        ([spelled("ä")], ["ä"], ["ä"]),
        ([""], [""], [""]),
    ],
)
def test_values_alone_are_positional(values, params, params_36):
    for names_avp, values_avp in ((values, None), (None, values)):
        # The words behind the command do not count then.
        assert script_call("cmd ignored words", names_avp, values_avp) == Call("cmd", params)
        assert script_call("cmd ignored words", names_avp, values_avp, "3.6") == Call("cmd", params_36)


@pytest.mark.parametrize(
    ("names", "values", "params", "params_36"),
    [
        ([], [], None, None),
        (["index", "counter"], ["0", "10"], {"index": "0", "counter": "10"}, {"counter": "10", "index": "0"}),
        (["index", "counter"], [0, 10], {"index": 0, "counter": 10}, {"counter": "10", "index": "0"}),
        ([5], ["7"], {"5": "7"}, {"5": 7}),
        ([5], [7], {"5": 7}, {"5": 7}),
        ([5], [spelled("ä")], {"5": "ä"}, {"5": "ä"}),
        (["a", "a"], ["first", "second"], {"a": "first"}, {"a": "second"}),
        (["s"], ["__array(a b c)"], {"s": ["a", "b", "c"]}, {"s": ["a", "b", "c"]}),
        (["s"], ["__array(a  b)"], {"s": ["a", "", "b"]}, {"s": ["a", "", "b"]}),
        (["s"], ["__array()"], {"s": [""]}, {"s": [""]}),
        (["s"], ["__array(a b"], {"s": "__array(a b"}, {"s": "__array(a b"}),
        ([spelled("ä")], [spelled("__array(ö ü)")], {"ä": ["ö", "ü"]}, {"ä": ["ö", "ü"]}),
    ],
)
def test_names_and_values(names, values, params, params_36):
    plain, old = script_call("cmd x", names, values), script_call("cmd x", names, values, "3.6")
    assert (plain, plain.warning) == (Call("cmd", params), None)
    assert (old, old.warning) == (Call("cmd", params_36), None)
    assert list(old.params or {}) == list(params_36 or {})


def test_too_few_values_say_which_name_has_none():
    fault = script_call("cmd", ["a", spelled("ä"), "c"], ["1"])
    assert fault == ScriptFault(-2, spelled("parameter 'ä' has no value: 3 names, 1 values"))
    assert script_call("cmd", ["a", "b"], ["1"], "3.6") == NOT_BUILT_36
    assert script_call("cmd", ["a"], []).rc == -2


def test_a_name_that_is_null():
    assert script_call("cmd", ["a", None], ["1", "2"]) == ScriptFault(-2, "the name of parameter 2 is NULL")
    assert script_call("cmd", ["a", None], ["1"]).text == "parameter NULL has no value: 2 names, 1 values"
    assert script_call("cmd", [None], ["1"], "3.6") == NOT_BUILT_36


def test_too_many_values():
    call = script_call("cmd", ["a", "b"], ["1", "2", "3", "4"])
    assert call == Call("cmd", {"a": "1", "b": "2"})
    assert call.warning == "cmd: 2 of 4 values have no name and are ignored"
    # 3.6 starts at the newest, so the pairs shift and the oldest value goes.
    old = script_call("cmd", ["a", "b"], ["1", "2", "3"], "3.6")
    assert old == Call("cmd", {"b": "3", "a": "2"})
    assert old.warning == "cmd: too many attribute vals - ignoring..."


text = st.text(st.characters(codec="utf-8"), max_size=20)
value = st.one_of(st.integers(-(2**31), 2**31 - 1), text.filter(lambda t: not t.startswith("__array(")))


def script_value(value):
    return spelled(value) if isinstance(value, str) else value


@given(st.lists(st.tuples(text, value), unique_by=lambda pair: pair[0]))
def test_any_program_of_pairs_arrives_at_the_handler_as_written(pairs):
    """`$avp(p) = name; $avp(v) = value;` any number of times, then the call, through the worker's bytes."""
    names, values = [spelled(name) for name, _ in pairs], [script_value(value) for _, value in pairs]
    call, pretty = unpack_call(pack_call(script_call("cmd", names, values)))
    assert (call.method, pretty) == ("cmd", False)
    assert list((call.params or {}).items()) == pairs


@given(st.lists(value))
def test_any_list_of_values_arrives_in_the_order_of_the_script(values):
    call, _ = unpack_call(pack_call(script_call("cmd", [script_value(value) for value in values])))
    assert (call.params or []) == values


latin = st.text(st.characters(max_codepoint=255), max_size=20)
anything = st.one_of(latin, st.integers(), st.none())


@given(
    latin,
    st.none() | st.lists(anything, max_size=5),
    st.none() | st.lists(anything, max_size=5),
    st.sampled_from(["", "3.6"]),
)
def test_any_script_gives_a_call_or_says_why_not(text, names, values, compat):
    call = script_call(text, names, values, compat)
    if isinstance(call, ScriptFault):
        assert call.rc == -2
        call.text.encode("latin-1")
    else:
        assert unpack_call(pack_call(call))[0] == call
