"""What is not a script, and how the parser says so."""

import pytest

from runtime.script import tree
from runtime.script.parse import parse


def first(text):
    found = parse(text, "opensips.cfg")
    assert isinstance(found, list), "it parses"
    return str(found[0])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("route {\n  $var(x) = 5\n}", 'opensips.cfg:2:14: error: a ";" is missing before "}"'),
        ('route { xlog("abc); }', "opensips.cfg:1:14: error: this string is never closed"),
        (
            "route { if (5 == $var(x)) exit; }",
            'opensips.cfg:1:15: error: unexpected "==": the left side of a comparison is a variable or a call',
        ),
        ("route { setflag(ACC); }", 'opensips.cfg:1:17: error: unexpected "ACC": text stands in quotes: "ACC"'),
        ("route { setflag([); }", 'opensips.cfg:1:17: error: unexpected "[": expected ")", a value or ","'),
        ("route {", 'opensips.cfg:1:8: error: the file ends too early: a block is not closed, a "}" is missing'),
        ("loadmodule tm", 'opensips.cfg:1:12: error: unexpected "tm": text stands in quotes: "tm"'),
        ("loadmodule", "opensips.cfg:1:11: error: the file ends too early: expected a string"),
        ("route { /* comment }", "opensips.cfg:1:9: error: this comment is never closed"),
        ("route { exit }", 'opensips.cfg:1:13: error: a ";" is missing before "}"'),
        (
            "route { $var(x; }",
            'opensips.cfg:1:13: error: unexpected "(": the bracket of a variable is never closed, '
            "or it is not closed in its own line",
        ),
        ("route { $var(x) = 99999999999999999999; }", "the number 99999999999999999999 is too large"),
        ("route { if ($var(x) = 5) exit; }", 'opensips.cfg:1:21: error: unexpected "=": it assigns; "==" compares'),
        (
            'route { xlog("one);\n}\nroute[b] { xlog("two"); }',
            'opensips.cfg:3:18: error: unexpected "two": the string before it goes over 3 lines; '
            "is it closed where it should be?",
        ),
        (
            "route { if ($var(x)) { exit;\n}\nroute[b] { exit; }",
            'opensips.cfg:3:6: error: unexpected "[": a block above this route is not closed, a "}" is missing',
        ),
        (
            "route { if ($var(x)) { exit;\n}\nlocal_route { exit; }",
            'opensips.cfg:3:1: error: unexpected "local_route": a block above this route is not closed, '
            'a "}" is missing',
        ),
        ("route { $(var(x){len}) = 1; }", '"{len}" is not a transformation such as {s.len}'),
        ("route { $(var(x)[a]) = 1; }", '"[a]" is not an index: a number, a variable or * is'),
    ],
)
def test_a_wrong_form_is_told_with_its_place_and_what_was_expected(text, said):
    assert said in first(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        # What is missing is missing at the end of the line above.
        ('route {\n  f("OK")\n  exit;\n}', '2:10: error: a ";" is missing before "exit"'),
        ("route { if (f()) g() else h(); }", '1:21: error: a ";" is missing before "else"'),
        ('route { if ($rs == "200" { exit; } }', '1:25: error: a ")" is missing before "{"'),
        ("route { f(; }", '1:11: error: a ")" is missing before ";"'),
        ("route { exit; } }", '1:17: error: unexpected "}": no block is open here, there is a "}" too many'),
        # The habits of other languages.
        ("// why\nroute {}", '1:1: error: unexpected "/": a comment begins with "#"'),
        ("route { f(); // why\n}", '1:14: error: unexpected "/": a comment begins with "#"'),
        ("route { $var(x) = 1 // why\n; }", '1:22: error: unexpected "/": a comment begins with "#"'),
        ('route { f("é", “x”); }'.encode().decode("latin-1"), "text stands in straight quotation marks"),
        ('route { $rU == "x"; }', '1:14: error: unexpected "=": "==" compares; "=" assigns'),
        ("route { $var(x)++; }", '1:16: error: unexpected "+": it is written "+= 1"'),
        ("route { $var(x)--; }", '1:16: error: unexpected "-": it is written "-= 1"'),
        ("route { $avp(x)[0] = 5; }", "an index stands within a bracket around all: $(avp(x)[0])"),
        ("route { $var{x} = 5; }", "a variable's name stands in round brackets"),
        ("route { var(x) = 5; }", "1:9: error: a variable begins with a dollar sign: $var(name)"),
        ("route { $var(y) = $avp(x; }", "the bracket of a variable is never closed"),
        ("route { for ($var(i) = 0; $var(i) < 5;) exit; }", "for takes one value after another: for ($var(x) in "),
        ("route { if ($rU) then exit; }", '1:18: error: there is no "then"'),
        ("route { if ($rU) {} elseif ($rU == 1) {} }", '1:21: error: it is written "else if"'),
        ("route { elsif ($rU) {} }", '1:9: error: it is written "else if"'),
        ("request_route { exit; }", '1:1: error: it is written "route"'),
        ("reply_route { exit; }", '1:1: error: it is written "onreply_route"'),
        ("route() { exit; }", '1:6: error: unexpected "(": the name of a route stands in square brackets'),
        ("route relay { exit; }", '1:7: error: unexpected "relay": the name of a route stands in square brackets'),
        # Words in another case, calls without brackets, text without quotes.
        ("Route { exit; }", '1:1: error: it is written "route"'),
        ('route { IF (f("x")) exit; }', '1:9: error: it is written "if"'),
        ("route { Exit; }", '1:9: error: it is written "exit"'),
        ('route { if ($rU == "a" AND f()) exit; }', '1:24: error: unexpected "AND": it is written "and"'),
        ("route { t_relay; }", "1:9: error: a call has brackets: t_relay()"),
        ("route { $rd = example.com; }", '1:15: error: text stands in quotes, "example", and a call has brackets'),
        ("route { if ($rU == alice) exit; }", '1:20: error: unexpected "alice": text stands in quotes: "alice"'),
        ("route { switch ($rm) { case BYE: exit; } }", 'text stands in quotes: "BYE"'),
        ('modparam("tm", fr_timeout, 5)', 'text stands in quotes: "fr_timeout"'),
        ('route { xlog("to " + $rU); }', '1:20: error: unexpected "+": an argument is one value: variables stand in'),
        ("route { f($var(x) - 1); }", '1:19: error: unexpected "-": an argument is one value: variables stand in'),
        ('route { f(g("x")); }', '1:11: error: unexpected "g": a call cannot stand here'),
        ('route { async(f("x")); }', "async() needs the route in which the message goes on: async(f(), route)"),
        ('route { switch ("$rm") {} }', '1:17: error: unexpected "$rm": expected a $variable'),
    ],
)
def test_what_most_people_get_wrong_is_told_as_such(text, said):
    assert f"opensips.cfg:{said}" in first(text) if said[0].isdigit() else said in first(text)


UNCLOSED = """
route {
    # an "if ( {" of old
    if (f() &&
            g("}")) {
        exit;
    }
    if (g())
    {
        exit;
    } else {
        h($(rU{s.len}));
    t_relay();
}
"""


@pytest.mark.parametrize("behind", ["", "\nroute[next] { exit; }", "\nlocal_route { exit; }", "\nfailure_route[f] {}"])
def test_the_block_that_is_not_closed_is_found_by_how_the_lines_are_indented(behind):
    assert first(UNCLOSED + behind) == 'opensips.cfg:11:12: error: this block is not closed, its "}" is missing'
    assert "is missing" not in str(parse(UNCLOSED.replace("len}));", "len})); }") + behind, "f"))


def test_where_lines_are_not_indented_the_route_behind_it_is_told():
    text = "\n".join(line.strip() for line in UNCLOSED.splitlines())
    assert "a block above this route is not closed" in first(f"{text}\nlocal_route {{}}")


def test_a_byte_order_mark_is_no_part_of_the_script(bench):
    assert bench("\xef\xbb\xbflog_level=3\nroute { exit; }")


def test_after_an_error_the_parser_goes_on_at_the_next_item():
    found = parse(
        'route {\n  exit }\nloadmodule "tm"\n\nroute[b] { exit; }\nroute[c] {\n  $var(x) = ;\n  also wrong\n}\n'
        "modparam(1)\nroute[d] { f()); }",
        "f",
    )
    assert [str(problem) for problem in found] == [
        'f:2:7: error: a ";" is missing before "}"',
        'f:7:13: error: unexpected ";": expected a value',
        'f:10:10: error: unexpected "1": expected a string',
        'f:11:15: error: unexpected ")": expected ";"',
    ]


def test_a_text_full_of_errors_is_told_of_ten():
    assert len(parse("route[x] { exit }\n" * 200, "f")) == 10


def test_what_stands_too_deep_is_refused_before_anything_recursive_sees_it():
    assert "more than 120 levels" in first("route { if (" + "!" * 5000 + "$var(x)) exit; }")
    assert "more than 120 levels" in first("route { $var(x) = 1" + " + 1" * 5000 + "; }")
    assert "more than 120 levels" in first("route { " + "if (1) { " * 500 + "}" * 500 + " }")


def test_brackets_alone_are_no_level():
    found = parse("route { if (" + "(" * 500 + "$var(x)" + ")" * 500 + ") exit; }", "f")
    assert isinstance(found, tuple)


def test_comments_are_no_part_of_strings_and_strings_no_part_of_comments():
    items = parse('#### first "\nlog_prefix="a#b" # "\n/* route { " */\nlog_level=3\n', "f")
    assert [(item.name, item.value) for item in items] == [("log_prefix", "a#b"), ("log_level", 3)]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("log_level=3", 3),
        ("log_level = -1", -1),
        ("stderror_enabled=yes", 1),
        ("stderror_enabled=no", 0),
        ('mpath="/usr/lib/"', "/usr/lib/"),
        ("socket=udp:127.0.0.1:5060", "udp:127.0.0.1:5060"),
        ("socket=udp:127.0.0.1:5060 as 192.0.2.9:5060  # why", "udp:127.0.0.1:5060 as 192.0.2.9:5060"),
    ],
)
def test_globals(text, value):
    (item,) = parse(text, "f")
    assert item.value == value


def test_a_scaling_profile_takes_several_lines():
    items = parse(
        "auto_scaling_profile = P\n  scale up to 6 on 70% for 4 cycles\n  scale down to 2 on 18%\nlog_level=2\n",
        "f",
    )
    assert [item.name for item in items] == ["auto_scaling_profile", "scale", "scale", "log_level"]


def test_route_heads():
    items = parse(
        """
        route {} route[a] {} route[1] {} route["b c"] {} failure_route[f] {} onreply_route {} onreply_route[o] {}
        branch_route[b] {} local_route {} startup_route {} timer_route[t, 5] {} event_route[E_X] {}
        event_route[E_Y, sync] {} error_route {}
        """,
        "f",
    )
    assert [(item.kind, item.name, item.parameter) for item in items] == [
        ("route", "", None),
        ("route", "a", None),
        ("route", "1", None),
        ("route", "b c", None),
        ("failure_route", "f", None),
        ("onreply_route", "", None),
        ("onreply_route", "o", None),
        ("branch_route", "b", None),
        ("local_route", "", None),
        ("startup_route", "", None),
        ("timer_route", "t", 5),
        ("event_route", "E_X", None),
        ("event_route", "E_Y", "sync"),
        ("error_route", "", None),
    ]


def test_places_count_lines_and_columns_from_one():
    (route,) = parse("route {\n  $var(a) = 1;\n    exit;\n}", "f.cfg")
    assert [str(statement.place) for statement in route.body] == ["f.cfg:2:3", "f.cfg:3:5"]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (r'"a\nb\t\"\\"', 'a\nb\t"\\'),
        (r'"^\d+\.$"', r"^\d+\.$"),
        (r'"\x41\101"', "AA"),
        (r"'a\n$x'", r"a\n$x"),
        ('"one" "two"', "onetwo"),
        ('"two\nlines"', "two\nlines"),
    ],
)
def test_strings(text, value):
    (route,) = parse(f"route {{ $var(x) = {text}; }}", "f")
    assert route.body[0].value == tree.Text(value, route.body[0].value.place)


def test_semicolons_that_stand_alone_are_nothing():
    items = parse(";route[a] { ; exit;; if ($var(x)) ; else { ; } ; } ; route[b] { drop;; }", "f")
    assert [(item.name, [type(statement) for statement in item.body]) for item in items] == [
        ("a", [tree.Exit, tree.If]),
        ("b", [tree.Drop]),
    ]
