"""Faults are planted anywhere in a script, and the checker tells exactly them: each at its place, and nothing else.

What is said of each is in the table `script_faults`, which also has what is right and looks much like it.
"""

from __future__ import annotations

import itertools
import random
from pathlib import Path

from hypothesis import event, given, settings
from hypothesis import strategies as st

from runtime.script.check import Checked
from runtime.script.declare import Kind, Module, Param, function
from runtime.script.load import load
from tests.properties import script_faults as table
from tests.properties.script_tools import ALWAYS, CATALOG, HEAD, TARGETS, Spare

BLOCKS = (
    "if ($var(x)) {{ {} }}",
    "if ($var(x)) {{ $var(y) = 1; }} else {{\n  {} }}",
    "if ($var(x)) if ($var(y)) {{ {} }}",
)
LOOPS = (
    "while ($var(x)) {{\n {} }}",
    "for ($var(i) in $(avp(l)[*])) {{ {} }}",
    "switch ($var(x)) {{ case 1:\n {} }}",
    'switch ($var(x)) {{ case "a": case 2: {} default: }}',
    "switch ($var(x)) {{ case 1: default: {} }}",
)
OF_CONDITIONS = (
    "if ({}) {{ }}",
    "while ({}) {{ }}",
    "assert({});",
    'assert({}, "text");',
    "$var(y) = ({});",
    "if (!({})) {{ }}",
    "if ($var(x) and ({})) {{ }}",
    "if (({}) or $var(x)) {{ }}",
)
OF_CALLS = (
    "if ({}) {{ }}",
    "while ({} > 5) {{ }}",
    "assert(!{});",
    "$var(y) = {};",
    "$var(y) += {};",
    "$var(y) = 1 + {};",
    "$var(y) = {} & 5;",
    "$var(y) = ~{};",
    "if ({} == $var(x)) {{ }}",
    "if ({} and $var(x)) {{ }}",
    "if ($var(x) or {}) {{ }}",
)
OF_VALUES = (
    *OF_CALLS,
    "if ($var(x) != {}) {{ }}",
    "if ($var(x) =~ {}) {{ }}",
    "say({});",
    "route(there, {});",
    "return(1, {});",
)
ROUTES = (
    "route",
    "route[of_its_own]",
    "failure_route[f]",
    "onreply_route[r]",
    "timer_route[t, 5]",
    "event_route[E_X, sync]",
)
"""Whatever stands in a route is checked, whether anything reaches it or not."""


def statements(chance):
    """Every fault of a statement, in a context by chance."""

    def in_one_of(rows, contexts):
        return [(chance.choice(contexts).format("@").replace("@", row.text), row.told) for row in rows]

    anywhere = [(row.text, row.told) for row in table.STATEMENTS]
    anywhere += in_one_of(table.VALUES, OF_VALUES)
    anywhere += in_one_of(table.CONDITIONS, OF_CONDITIONS)
    anywhere += in_one_of(table.CALLS, OF_CALLS)
    found = [(inside(text, chance, BLOCKS + LOOPS), told) for text, told in anywhere]
    return found + [(inside(row.text, chance, BLOCKS), row.told) for row in table.LOOSE]


def inside(text, chance, contexts):
    """In an `if` at last, so that what ends there keeps nothing else from running."""
    for _ in range(chance.randint(0, 2)):
        text = chance.choice(contexts).format("@").replace("@", text)
    return chance.choice(BLOCKS).format("@").replace("@", text)


class Planted:
    """A script with faults, and what is to be told of it."""

    def __init__(self, chance, many):
        self.always = ALWAYS if chance.random() < 0.8 else {}
        top = [row for row in (*table.TOP, *table.UNKNOWN_MODULES) if row in table.TOP or chance.random() < 0.3]
        tops = [(row.text, row.told) for row in chance.sample(top, min(many, len(top)))]
        body = statements(chance)
        chosen = chance.sample(body, min(many, len(body)))
        rows, lines = [], [HEAD]
        for head in ROUTES:
            mine, chosen = (chosen, []) if head == ROUTES[-1] else cut(chosen, chance)
            lines += [f"{head} {{\n", *(f"{' ' * chance.randint(0, 3)}{text}\n" for text, _ in mine), "}\n"]
            rows += mine
        marked = "".join([*lines, TARGETS, *(f"{text}\n" for text, _ in tops)])
        self.text = marked.replace("§", "")
        self.unknown = [told[0].message.split()[-1] for _, told in tops if told and told[0].code == "unknown-module"]
        texts = "".join(text for text, _ in tops)
        self.denied = "denied_one" in texts and "zqzqzqzq" not in texts
        """What is denied is not known where one of the names means nothing."""
        told = [one for _, row in (*rows, *tops) for one in row]
        places = places_of(marked)
        assert len(told) == len(places)
        found = [self._told(*place, one) for place, one in zip(places, told, strict=True) if self._is_told(one)]
        self.told = sorted(found, key=lambda one: one[:5])

    def _is_told(self, one):
        if "there is no MI command" in one.message:
            return self.always and not self.unknown
        if one.code == "denied-mi-command":
            return self.denied
        return "of_base" not in one.message or not self.always

    def _told(self, line, column, one):
        severity = "warning" if one.code in table.WARNINGS else "error"
        message = one.message
        for mark, place in (("{above}", f"{line - 1}:1"), ("{above2}", f"{line - 2}:1"), ("{main}", "3:1")):
            message = message.replace(mark, place)
        help = doubted(self.unknown) if one.code in table.DOUBTED else one.help
        return line, column, severity, one.code, message, one.near, help


def doubted(modules):
    """What is added to every complaint of a name that may come with a module that cannot be loaded."""
    if not modules:
        return None
    which = f"the module {modules[0]}" if len(modules) == 1 else f"one of the modules {', '.join(modules)}"
    return f"it may come with {which}, which cannot be loaded"


def cut(rows, chance):
    at = chance.randint(0, len(rows))
    return rows[:at], rows[at:]


def places_of(marked):
    """The lines and columns of the marks."""
    found = []
    for number, line in enumerate(marked.split("\n"), 1):
        pieces = line.split("§")
        found += [(number, 1 + sum(map(len, pieces[:at]))) for at in range(1, len(pieces))]
    return found


def checked(text, always=ALWAYS, **modules):
    return load(
        Path("f.cfg"),
        catalog={**CATALOG, **modules},
        always=always,
        read=lambda path: text.encode("latin-1"),
        import_module=lambda path: Spare,
    )


def told_of(found):
    """What a check has found, as it is written in `Planted.told`."""
    problems = found.warnings if isinstance(found, Checked) else found
    return [
        (one.place.line, one.place.column, one.severity, one.code, one.message, one.suggestion, one.help)
        for one in problems
    ]


@settings(max_examples=12)
@given(st.integers(0, 2**32), st.sampled_from([1, 3, 20, 500, 500, 500]))
def test_exactly_what_is_planted_is_told_and_where_it_is(seed, many):
    planted = Planted(random.Random(seed), many)
    found = checked(planted.text, planted.always)
    assert told_of(found) == planted.told, planted.text
    is_wrong = any(severity == "error" for _, _, severity, *_ in planted.told)
    event(f"{'it does not load' if is_wrong else 'it loads'}")
    assert isinstance(found, Checked) != is_wrong


# What has a bound

NESTS = ("while ($var(x)) {", "for ($var(i) in $(avp(l)[*])) {", "switch ($var(x)) { case 1:", "if ($var(x)) {")


def nests(least, most):
    return st.integers(least, most).flatmap(
        lambda depth: st.lists(st.sampled_from(NESTS), min_size=depth, max_size=depth)
    )


@given(nests(10, 20), nests(0, 20))
def test_loops_and_choices_stand_twelve_deep_in_one_another(first, second):
    lines = ["route {", *first, *["}"] * len(first), *second, *["}"] * len(second), "}"]
    expected = []
    for start, nest in ((2, first), (2 + 2 * len(first), second)):
        depths = [sum(head != NESTS[-1] for head in nest[: at + 1]) for at in range(len(nest))]
        wrong = [start + at for at, head in enumerate(nest) if head != NESTS[-1] and depths[at] > 12]
        expected += [(line, 1, "bad-statement", "more than 12 loops stand in one another") for line in wrong]
    found = checked("\n".join(lines))
    assert [(line, column, code, message) for line, column, _, code, message, *_ in told_of(found)] == expected


LEVELS = ("L_ALERT", "L_CRIT", "L_ERR", "L_WARN", "L_NOTICE", "L_INFO", "L_DBG")


def test_a_level_is_one_of_those_that_there_are():
    """All of them, however they are written."""
    named = {level: level in LEVELS for level in (*LEVELS, "L_LOUD", "", "l_info")}
    numbers = {level: -3 <= level <= 4 for level in range(-6, 8)}
    written = {f'"{level}"': right for level, right in (named | numbers).items()} | numbers
    for (level, right), name in itertools.product(written.items(), ("xlog", "log")):
        found = checked(f'route {{ {name}({level}, "text"); }}')
        assert [one[3] for one in told_of(found)] == ["bad-statement"] * (not right), level


A_YEAR_S = 86_400 * 366


@given(st.integers(-2, 3) | st.integers(A_YEAR_S - 2, A_YEAR_S + 2) | st.integers(1, A_YEAR_S))
def test_a_timer_has_a_second_to_a_year(seconds):
    found = checked(f"timer_route[t, {max(seconds, 0)}] {{ }}")
    if 1 <= seconds <= A_YEAR_S:
        assert isinstance(found, Checked)
    else:
        assert [one.code for one in found] == ["bad-route"]


ORDINALS = (
    "first",
    "second",
    "third",
    "fourth",
    "fifth",
    "sixth",
    "seventh",
    "eighth",
    "ninth",
    "tenth",
    "11th",
    "12th",
)


@given(st.lists(st.booleans(), max_size=12) | st.just([False] * 12), st.lists(st.booleans(), max_size=14))
def test_a_call_gives_all_that_is_needed_and_no_more(optional, given_):
    params = [Param(f"p{at}", Kind.VALUE, one) for at, one in enumerate(optional)]

    class Made(Module):
        name = "made"
        made = function("made", *params)(lambda self, c, *arguments: 1)

    if given_ == [False]:
        given_ = []  # `made()` gives nothing, and not one thing that is left out
    written = ", ".join("5" if one else "" for one in given_)
    found = checked(f'loadmodule "made.so"\nroute {{ made({written}); }}', made=Made)
    missing = [at for at, one in enumerate(optional) if not one and not (at < len(given_) and given_[at])]
    if len(given_) > len(optional):
        event("too many")
        expected = [f"made() takes {counted(len(optional) - sum(optional), len(optional))}, not {len(given_)}"]
    else:
        event(f"{min(len(missing), 2)} missing")
        expected = [f'made() needs its {ORDINALS[at]} argument, "p{at}"' for at in missing]
    assert sorted(message for *_, message, _, _ in told_of(found)) == sorted(expected)


def counted(least, most):
    if least != most:
        return f"{least} to {most} arguments"
    return {0: "no argument", 1: "1 argument"}.get(most, f"{most} arguments")


# What the head of a script sets

SETTINGS = st.one_of(
    st.tuples(st.sampled_from(["log_level", "udp_workers"]), st.integers(0, 9)),
    st.tuples(
        st.sampled_from(["server_header", "alias", "alias", "socket"]),
        st.integers(1, 9) | st.sampled_from(["udp:a", "x y"]),
    ),
)
PARAMETERS = st.one_of(
    st.tuples(st.just("level"), st.integers(-9, 9) | st.sampled_from([" 5", "-7", "0"])),
    st.tuples(st.sampled_from(["label", "line"]), st.sampled_from(["a", "b", "5"])),
)


@given(
    st.lists(
        st.sampled_from(["log_level", "tools"]).flatmap(lambda which: PARAMETERS if which == "tools" else SETTINGS),
        max_size=8,
    )
)
def test_what_is_set_last_stands_and_what_repeats_is_all_kept(items):
    names, params = [], []
    lines = ['loadmodule "/usr/lib/tools.so"', 'loadmodule "mi_script"', 'loadmodule "folder/own.py"']
    for name, value in items:
        if name in ("level", "label", "line"):
            params.append((name, value))
            lines.append(
                f'modparam("tools", "{name}", {value if isinstance(value, int) else f"{chr(34)}{value}{chr(34)}"})'
            )
        else:
            names.append((name, value))
            lines.append(f"{name}={value if isinstance(value, int) else f'{chr(34)}{value}{chr(34)}'}")
    found = checked("\n".join([*lines, "route { }"]))
    assert isinstance(found, Checked), found
    assert found.modules == ["tools", "mi_script", "own"]
    assert found.sockets == [str(value) for name, value in names if name == "socket"]
    expected = {name: value if name in ("log_level", "udp_workers") else str(value) for name, value in names}
    expected.pop("socket", None)
    if "alias" in expected:
        expected["alias"] = "\n".join(str(value) for name, value in names if name == "alias")
    assert found.globals == expected
    settled = {name: int(value) if name == "level" else value for name, value in params}
    if "line" in settled:
        settled["line"] = [value for name, value in params if name == "line"]
    assert found.settings == {"tools": settled, "mi_script": {}, "own": {}}
    assert found.path == Path("f.cfg")
    assert [route.kind for route in found.routes] == ["route"]


# Who may have written an AVP

TEXTS = ("$avp(n)", "$avp(v)", "x $avp(n) y", "$avp(other)", "avp(n)", "$avp(nn)")
ELSEWHERE = {
    "$avp(n) = 5;": True,
    "$avp($var(which)) = 1;": True,
    'every("x",,, $avp(v));': True,
    'every("x",,,, $avp(n));': True,
    'mi("quick_one", $avp(n));': True,
    "nobody($avp(v));": True,
    "nobody(5, $avp($var(which)));": True,
    "for ($avp(n) in $(avp(l)[*])) { }": True,
    "$avp(other) = 1;": False,
    "$var(n) = 5;": False,
    "$var(which) = $avp(v);": False,
    'every("x", $avp(n), $avp(v));': False,
    'every("x",,, $var(v));': False,
    "nobody($var(n));": False,
    'mi("quick_one", $var(r), $avp(n));': False,
    'mi("quick_one", $var(r),, $avp(v));': False,
}
"""Statements of another route, and whether what they write may be one of the two AVPs."""


@settings(max_examples=300)
@given(
    st.lists(st.tuples(st.sampled_from(["label", "line"]), st.sampled_from(TEXTS)), max_size=2),
    st.lists(st.sampled_from([*ELSEWHERE]), max_size=2),
    st.booleans(),
)
def test_names_and_values_are_only_counted_where_nothing_else_writes_them(params, others, restarted):
    """Or where they have just been given anew."""
    sign = ":=" if restarted else "="
    lines = [f'modparam("tools", "{name}", "{text}")' for name, text in params]
    body = f'$avp(n) {sign} 1; $avp(n) = 2; $avp(v) {sign} 1;\nmi("quick_one", $var(r), $avp(n), $avp(v));'
    routes = [f"route {{ {body} }}", f"onreply_route {{ {' '.join(others)} }}"]
    found = checked("\n".join([HEAD, *lines, *routes]))
    last = {name: text for name, text in params if name == "label"}.values()
    named = [*last, *(text for name, text in params if name == "line")]
    written = any("$avp(n)" in text or "$avp(v)" in text for text in named) or any(ELSEWHERE[one] for one in others)
    event(f"told {restarted or not written}")
    assert [code for *_, code, _, _, _ in told_of(found) if code == "unequal-pair"] == ["unequal-pair"] * (
        restarted or not written
    )
