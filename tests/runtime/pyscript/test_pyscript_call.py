"""What a route in Python can do with its call: functions, variables, text, and how it ends."""

from __future__ import annotations

import dataclasses
import inspect

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.context import RouteType
from runtime.modules.catalog import CATALOG
from runtime.modules.registrar import Registrar
from runtime.pyscript import Call
from runtime.pyscript.functions import keyword_of, method_of
from runtime.pyscript.variables import Variables
from runtime.pyscript.words import Rc, to_script, to_text
from runtime.script.declare import Function, Kind, Param
from runtime.script.known import known_of
from runtime.script.problems import Place, ScriptError
from runtime.script.script import DROP, EXIT
from tests.runtime.script.conftest import INVITE, make_context


def test_a_function_gives_its_code_which_is_true_above_zero(run) -> None:
    made = run("call.var['x'] = f'{call.give(3)!r} {bool(call.give(3))} {bool(call.give(-2))} {call.give(-2) == -2}'")
    assert made.context.variables["x"] == "3 True False True"
    assert made.context.rc == -2
    assert [bool(Rc(number)) for number in (-1, 0, 1, 999)] == [False, False, True, True]


def test_a_function_that_gives_zero_ends_the_script(run) -> None:
    made = run("try:\n    call.give(0)\nexcept Exception:\n    call.say('caught')\ncall.say('after')")
    assert (made.ended, made.tools.calls) == (EXIT, [0])


def test_arguments_go_by_kind_position_and_name(run) -> None:
    made = run(
        """
        call.every("costs $5 é", "7", None, "$avp(out)", call.avp["list"], pattern="^A$")
        call.every(5, value=call["$hdr(No)"])
        call.every(call.dst_uri, number=3, value="ü")
        """
    )
    (text, number, value, output, avp, route, pattern), second, third = made.tools.calls
    assert (text, number, value, route) == ("costs $5 é".encode().decode("latin-1"), 7, None, None)
    assert (output.name, avp.name) == ("$avp(out)", "$avp(list)")
    assert pattern.search("a"), "patterns ignore case, as in the cfg language"
    assert second == ("5", *[None] * 6)
    assert third == ("<null>", 3, "ü".encode().decode("latin-1"), *[None] * 4)


def test_values_are_kept_as_plain_text_and_integers(run) -> None:
    made = run(
        """
        import enum
        class Mode(enum.StrEnum):
            LOUD = "loud"
        call.avp["x"] = [call.give(3), True, 2**64 + 5, Mode.LOUD]
        call.every("", value=call.give(-1))
        """
    )
    assert made.context.avps["x"] == [3, 1, 5, "loud"]
    assert [value.__class__ for value in made.context.avps["x"]] == [int, int, int, str]
    assert made.tools.calls[-1][2].__class__ is int


def test_parameters_may_have_any_name() -> None:
    names = ("self", "c", "rc", "run", "Rc", "usual", "refuse", "convert0", "problem", "from", "dst-uri", "2nd")
    params = tuple(Param(name, Kind.STRING) for name in names)
    found = Function("f", params, RouteType.ANY, lambda c, *given: len(given) if given == names else -1, None, "m", "")
    method = method_of(found, Variables(known_of([]), None, Place("app.py", 1, 1)), lambda c, text: None)
    keywords = dict(zip([keyword_of(name) for name in names], names, strict=True))
    assert [keyword_of(name) for name in ("self", "from", "dst-uri", "2nd")] == ["self_", "from_", "dst_uri", "_2nd"]
    assert method(Call(make_context(INVITE)), **keywords) == len(names)


def test_every_function_of_every_module_becomes_a_method() -> None:
    known = known_of(CATALOG.values())
    variables = Variables(known, None, Place("app.py", 1, 1))
    for found in known.functions.values():
        method = method_of(found, variables, lambda c, text: None)
        names = list(inspect.signature(method).parameters)
        assert names == ["self", *(keyword_of(param.name) for param in found.params)]
    assert [name for name in known.functions if hasattr(Call, name)] == ["mi"], "and call.mi() stands for that"


def test_one_in_the_middle_may_be_left_out_and_what_follows_not() -> None:
    found = known_of([Registrar]).functions["is_ip_registered"]
    assert [param.optional for param in found.params] == [False, True, False, True], "or choose another function"
    replaced = dataclasses.replace(found, call=lambda *arguments: arguments[1:] and 1)
    method = method_of(replaced, Variables(known_of([]), None, Place("app.py", 1, 1)), lambda c, text: None)
    call = Call(make_context())

    assert method(call, "location", ip="10.0.0.1") == 1
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'ip'"):
        method(call, "location")


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        ("call.every('x', number=call.header('From'))", 'every() is not called: "number" is not an integer'),
        ("call.every('x', pattern=')' * call.give(1))", 'every() is not called: "pattern" is no regular expression'),
    ],
)
def test_what_is_not_the_right_kind_is_logged_and_gives_minus_one(run, path, statement: str, told: str) -> None:
    made = run(f"call.var['rc'] = {statement}")
    assert made.context.variables["rc"] == -1
    assert made.process.logged == [(-1, told)]
    assert str(made.process.places[0]) == f"{path}:5:1"


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        ("call.say(*())", "missing 1 required positional argument: 'text'"),
        ("call.every('x', *[1] * 7)", "positional arguments but 9 were given"),
        ("call.every('x', output=3 + call.give(1))", 'TypeError: "output" is a variable\'s spelling'),
        ("call.say(b'x' * call.give(1))", "TypeError: a script value is a str, an int or None, not bytes"),
        ("call[f'$no{call.give(1)}']", "KeyError: 'unknown variable $no1"),
        ("call['$ru'] = 'no uri'", "Unwritable: $ru takes a URI"),
        ("call[f'$r{chr(109)}'] = 'x'", "KeyError: '$rm cannot be written'"),
        ("call.burst()", "ZeroDivisionError: by intent"),
        ("raise SystemExit(1)", "SystemExit: 1"),
        ("next(iter(()))", "StopIteration"),
        ("getattr(call, 'mi')('ps')", 'RuntimeError: MI commands need module("mi_script")'),
        ("call.xlog('L_LOUD', 'x')", "ValueError: the level is one of"),
    ],
)
def test_what_raises_is_a_script_error_at_its_statement(run, path, statement: str, told: str) -> None:
    with pytest.raises(ScriptError) as caught:
        run(f"call.say('one')\n{statement}")
    assert told in str(caught.value)
    assert str(caught.value.place).startswith(f"{path}:6:")


def test_every_variable_goes_by_its_spelling(run) -> None:
    made = run(
        """
        call["$avp(x)"] = 1
        call["$avp(x)"] = 22
        call["$var(y)"] = "é"
        call["$box(a)"] = "kept"
        call.say(repr([call[name] for name in ("$rm", "$rU", "$(avp(x)[1])", "$(avp(x)[*])", "$var(y)", "$box(a)")]))
        call.say(repr([call["$(hdr(Via)[1]{via.branch})"], call["$hdr(No)"], call[f"$hdr({'No'})"], call["$Ts"]]))
        call["$rU"] = "carol"
        call.say(call.ruri)
        """
    )
    assert made.tools.calls == [
        repr(["INVITE", "alice", 1, "22, 1", "é", "kept"]).encode().decode("latin-1"),
        repr(["z9hG4bKtwo", None, None, 1_790_000_000]),
        "sip:carol@example.com:5070;transport=udp",
    ]


def test_spellings_that_a_script_makes_up_do_not_fill_the_memory(run) -> None:
    made = run("for number in range(1500): call[f'$var(n{number})'] = call[f'$var(n{number})']")
    assert made.context.variables["n1499"] is None


def test_the_usual_ones_have_names(run) -> None:
    made = run(
        """
        call.say(" ".join(map(str, (call.method, call.ruri_user, call.from_uri, call.from_user, call.to_uri,
            call.to_user, call.call_id, call.source, call.status, call.body, call.is_request, call.header("User-Agent"),
            call.headers("Via")[1], call.header("No"), call.dst_uri, call.params, call.rc))))
        call.ruri, call.dst_uri = "sip:new@example.net", "sip:127.0.0.1"
        call.dst_uri = None
        """
    )
    assert made.tools.calls == [
        "INVITE alice sip:bob@biloxi.org bob sip:alice@example.com alice call-1 ('192.0.2.1', 5060) None b'body' True "
        "Phone/1.0 SIP/2.0/UDP 192.0.2.2;branch=z9hG4bKtwo None None {} 1"
    ]
    assert (made.context.ruri, made.context.dst_uri) == ("sip:new@example.net", None)


def test_avps_are_lists_with_the_oldest_first(run) -> None:
    made = run(
        """
        call.avp["x"].append("one")
        call.avp["x"].append(2)
        call.say(repr((call.avp["x"], len(call.avp["x"]), call.avp["x"][-1], call["$avp(x)"], "x" in call.avp)))
        call.say(repr((call.avp["x"].pop(), list(call.avp), "y" in call.avp, len(call.avp["y"]))))
        call.avp["y"] = [1, 2]
        call.avp["z"] = "é"
        call.avp["y"] = call.avp["y"]
        del call.avp["x"]
        call.avp["w"] = None
        """
    )
    assert made.tools.calls == ["(Avp('x', ['one', 2]), 2, 2, 2, True)", "(2, ['x'], False, 0)"]
    assert made.context.avps == {"y": [1, 2], "z": ["é".encode().decode("latin-1")]}


def test_what_is_no_utf_8_goes_out_as_it_came(run) -> None:
    raw = INVITE.replace(b"Phone/1.0", b"F\xf6n \xc3\xb6")
    made = run("call.say(call.header('User-Agent'))\ncall.var['seen'] = repr(call.header('User-Agent'))", raw=raw)
    assert made.tools.calls == ["F\xf6n \xc3\xb6"]
    assert made.context.variables["seen"] == r"'F\udcf6n " + "ö".encode().decode("latin-1") + "'"


@given(st.binary())
def test_bytes_survive_being_real_text(data: bytes) -> None:
    script = data.decode("latin-1")
    assert to_script(to_text(script)) == script


@pytest.mark.parametrize(
    ("statement", "ended"),
    [("return", None), ("call.exit()", EXIT), ("call.drop()", DROP), ("raise Cancelled", EXIT), ("pass", None)],
)
def test_how_a_route_ends(run, statement: str, ended: object) -> None:
    assert run(statement).ended is ended


def test_xlog_has_levels_as_in_the_cfg_language(run) -> None:
    made = run("call.xlog('L_DBG', 'a')\ncall.xlog('L_INFO', 'b é')\ncall.xlog(3, 'c')\ncall.xlog('d')", level=3)
    assert made.process.logged == [(3, "b é".encode().decode("latin-1")), (3, "c"), (-1, "d")]
    assert made.process.places == [None] * 3, "what the script says stands alone in its line"
