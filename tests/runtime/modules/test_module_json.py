"""Module json, as a script uses it."""

import pytest

from runtime.script import documents
from runtime.script.access import Unwritable
from tests.runtime.script.conftest import INVITE


@pytest.fixture
def run(scripted):
    """Run statements with the module loaded; what they logged, level and text."""

    def go(statements, raw=INVITE):
        made = scripted(f'loadmodule "json.so"\nroute {{ {statements} }}', raw)
        return made

    return go


DOCUMENT = r'$json(d) := "{\"a\": {\"b\": [1, \"two\", {\"c\": 3}]}, \"yes\": true, \"no\": null, \"pi\": 3.5}"; '


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("d/a/b[0]", "1"),
        ("d/a/b[1]", "two"),
        ("d/a/b[2]/c", "3"),
        ("d/a/b[-1]/c", "3"),
        ("d/a/b[3]", "<null>"),
        ("d/a/b[-4]", "<null>"),
        ("d/a/c", "<null>"),
        ("d/a/b/c", "<null>"),
        ("none", "<null>"),
        ("d[0]", "<null>"),
        ("d/a/b", '[ 1, "two", { "c": 3 } ]'),
        ("d/yes", "true"),
        ("d/no", "null"),
        ("d/pi", "3.5"),
        ("d/a/b[$var(one)]", "two"),
        ("d/$var(key)/b[0]", "1"),
        ("d/a[x]", "<null>"),
        ("", "<null>"),
    ],
)
def test_what_a_path_reads(run, path, shown):
    made = run(DOCUMENT + f'$var(one) = 1; $var(key) = "a"; xlog("$json({path})");')
    assert made.texts == [shown]


def test_integers_and_strings_come_as_such(run):
    made = run(DOCUMENT + "$var(x) = $json(d/a/b[0]) + 1; $var(y) = $json(d/a/b[1]) + 'x';")
    assert (made.var("x"), made.var("y")) == (2, "twox")


@pytest.mark.parametrize(
    ("statement", "result"),
    [
        ("$json(d/k) = 5;", '{ "l": [ 1, 2 ], "k": 5 }'),
        ('$json(d/k) = "{}";', '{ "l": [ 1, 2 ], "k": "{}" }'),
        ('$json(d/k) := "{}";', '{ "l": [ 1, 2 ], "k": { } }'),
        ('$json(d/k) := "[null, false]";', '{ "l": [ 1, 2 ], "k": [ null, false ] }'),
        ("$json(d/l[]) = 3;", '{ "l": [ 1, 2, 3 ] }'),
        ("$json(d/l[0]) = 3;", '{ "l": [ 3, 2 ] }'),
        ("$json(d/l[-1]) = NULL;", '{ "l": [ 1 ] }'),
        ("$json(d/l) = NULL;", "{ }"),
        ("$json(d/l) := NULL;", "{ }"),
        ("$json(d/none) = NULL;", '{ "l": [ 1, 2 ] }'),
        ("$json(d/l[]) := $json(d/l);", '{ "l": [ 1, 2, [ 1, 2 ] ] }'),
        ("$json(d/l[0]) += 4;", '{ "l": [ 5, 2 ] }'),
        ("$json(d) = NULL;", "<null>"),
        ('$json(d/s) = "a/b";', r'{ "l": [ 1, 2 ], "s": "a\/b" }'),
    ],
)
def test_what_is_assigned(run, statement, result):
    made = run(r'$json(d) := "{\"l\": [1, 2]}";' + f' {statement} xlog("$json(d)");')
    assert made.texts == [result]


@pytest.mark.parametrize(
    "statement",
    [
        "$json(d/a/b) = 1;",
        "$json(d/l[5]) = 1;",
        "$json(d[]) = 1;",
        "$json(none/a) = 1;",
        '$json(d) := "{";',
        '$json(d) := "NaN";',
        '$json(d) := "[1e999]";',
        "$json(d[x]) = 1;",
        "$json(d.keys) = 1;",
    ],
)
def test_what_cannot_be_assigned_is_logged_and_changes_nothing(run, statement):
    made = run(r'$json(d) := "{\"l\": [1, 2]}";' + f' {statement} xlog("$rc $json(d)");')
    assert made.process.logged[0][0] == -1
    assert made.texts[1:] == ['-1 { "l": [ 1, 2 ] }']


@pytest.mark.parametrize("key", ["a/b", "x[0]", "]", "/", "", "\ue000a\ue001", "d.keys"])
def test_a_key_from_a_variable_is_one_key(key):
    held = documents.parse_path(f"d/{documents.mark(key)}")
    assert held == documents.Path("d", (key.strip("\ue000\ue001"),))


def test_a_key_from_the_message_is_one_key(run):
    made = run('$json(d) := "{}"; $json(d/$hdr(X)) = 1; xlog("$json(d)");', INVITE.replace(b"User-Agent: ", b"X: a/b"))
    assert made.texts == [r'{ "a\/bPhone\/1.0": 1 }']


def test_loops_over_values_and_keys(run):
    made = run(
        r"""
        $json(d) := "{\"a\": 1, \"b\": [true]}";
        for ($var(k) in $(json(d.keys)[*])) xlog("$var(k)");
        for ($var(v) in $(json(d)[*])) xlog("$var(v)");
        for ($var(v) in $(json(d.values)[*])) xlog("$var(v)");
        for ($var(v) in $(json(d/b)[*])) xlog("$var(v)");
        for ($var(v) in $(json(d/a)[*])) xlog("never");
        """
    )
    assert made.texts == ["a", "b", "1", "[ true ]", "1", "[ true ]", "true"]


def test_the_layouts_of_text(run):
    made = run(
        r'$json(d) := "{\"a\": [\"x/y\"]}"; xlog("$json_compact(d)"); xlog("$json_compact_noescape(d)");'
        r'xlog("$json_pretty(d)"); xlog("$json_compact(d/a[0])");'
    )
    assert made.texts == [r'{"a":["x\/y"]}', '{"a":["x/y"]}', '{\n  "a": [\n    "x\\/y"\n  ]\n}', "x/y"]


def test_merge(run):
    made = run(
        r"""
        $json(one) := "{\"a\": 1, \"b\": {\"c\": 2}}"; $json(two) := "{\"a\": null, \"b\": {\"d\": 3}}";
        json_merge($json(one), $json(two), $var(m)); xlog("$var(m)");
        if (!json_merge("no", $json(two), $var(m))) xlog("refused");
        """
    )
    assert made.texts == ['{"b":{"c":2,"d":3}}', "refused"]


def test_strings_are_bytes_in_utf8():
    assert documents.read(r'"\u00e9"') == documents.read('"\xc3\xa9"') == "\xc3\xa9"
    assert documents.spaced(["\xc3\xa9"]) == '[ "\xc3\xa9" ]'
    assert documents.read(r'"\ud800"') == "\xed\xa0\x80"


@pytest.mark.parametrize("text", ["[" * 33 + "]" * 33, '{"a":' * 33 + "1" + "}" * 33, "[" * 100_000, "1" * 5000])
def test_what_is_too_deep_or_too_long_is_refused(text):
    with pytest.raises(Unwritable):
        documents.read(text)


def test_brackets_in_strings_are_no_depth():
    assert documents.read('"' + "[" * 100 + '"') == "[" * 100


def test_a_path_has_an_end():
    assert documents.parse_path("d" + "/a" * 32) is not None
    assert documents.parse_path("d" + "/a" * 33) is None


def test_a_copy_is_reached_by_no_change():
    held = {"d": {"a": [1]}}
    copy = documents.copy_of(held)
    documents.put(held, documents.parse_path("d/a[]"), 2)
    assert (held, copy) == ({"d": {"a": [1, 2]}}, {"d": {"a": [1]}})
