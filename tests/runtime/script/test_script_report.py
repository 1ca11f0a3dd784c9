"""Problems as a compiler prints them, and as editors read them."""

import pytest

from runtime.script.problems import Place, ScriptProblem
from runtime.script.report import as_json, as_text, shown, summary


def line_of(line):
    return lambda file, number: line


def printed(line, column, message="this is wrong", **options):
    problem = ScriptProblem(Place("a.cfg", 7, column), message, code="unknown-function", **options)
    return as_text(problem, line_of(line)).plain


def test_place_message_line_mark_and_help():
    assert printed("    reply(200);", 5, suggestion="sl_reply", help="load sl") == (
        'a.cfg:7:5: error: this is wrong (did you mean "sl_reply"?) [unknown-function]\n'
        " 7 |     reply(200);\n"
        "   |     ^^^^^\n"
        "   = help: load sl"
    )


@pytest.mark.parametrize(
    ("line", "column", "mark"),
    [
        ("a = $ru + 1;", 5, "    ^^^"),
        ("a = $(hdr(To)[0]);", 5, "    ^^^^^^^^^"),
        ("\tif (x) y();", 9, "\t       ^"),
        ('x("text", 1);', 3, "  ^^^^^^"),
        ("a == 5;", 3, "  ^^"),
        ("};", 1, "^"),
        ("end", 4, "   ^"),
        ("end", 40, "   ^"),
    ],
)
def test_the_mark_stands_below_what_is_meant(line, column, mark):
    shown_line, under = printed(line, column).split("\n")[1:3]
    assert shown_line == f" 7 | {line}"
    assert under.rstrip() == f"   | {mark}".rstrip()


def test_bytes_of_utf_8_are_one_sign_and_wide_signs_are_two_columns():
    line = 'xlog("Größe 电话"); nothing();'.encode().decode("latin-1")
    shown_line, under = printed(line, line.index("nothing") + 1).split("\n")[1:3]
    assert shown_line == ' 7 | xlog("Größe 电话"); nothing();'
    assert under == "   | " + " " * 20 + "^" * 7


def test_latin_1_is_shown_as_it_is():
    assert printed('xlog("Gr\xf6\xdfe");', 1).split("\n")[1] == ' 7 | xlog("Größe");'


def test_a_variable_in_a_string_is_marked_itself():
    assert printed('xlog("to $ruu");', 6, "unknown variable $ruu").split("\n")[2] == "   |          ^^^^"


def test_nothing_in_a_script_moves_the_cursor_of_a_terminal():
    text = printed("\x1b[2Jx();\x9b", 5, "unknown function \x1b]0;x\x07() \u202e")
    assert "\x1b" not in text
    assert "\x9b" not in text
    assert "\u202e" not in text


def test_of_a_long_line_the_part_around_the_mark_is_shown():
    line = "x" * 5000 + "; here();" + "y" * 5000
    shown_line, under = printed(line, 5003).split("\n")[1:3]
    assert len(shown_line) < 200
    assert shown_line[under.index("^") : under.rindex("^") + 1] == "here"


def test_a_line_that_is_not_there_is_not_shown():
    assert printed("", 1) == "a.cfg:7:1: error: this is wrong [unknown-function]"


def test_what_an_editor_gets():
    problem = ScriptProblem(Place("a.cfg", 7, 3), "no", "warning", "never-runs", None, "why")
    assert as_json(problem, line_of("  route(x);")) == {
        "file": "a.cfg",
        "line": 7,
        "column": 3,
        "end_column": 8,
        "severity": "warning",
        "code": "never-runs",
        "message": "no",
        "suggestion": None,
        "help": "why",
    }


@pytest.mark.parametrize(
    ("severities", "said"),
    [
        ((), "no problems"),
        (("error",), "1 error"),
        (("warning", "warning"), "2 warnings"),
        (("error", "warning", "error"), "2 errors, 1 warning"),
    ],
)
def test_the_summary_counts(severities, said):
    assert summary(ScriptProblem(Place("a", 1, 1), "x", severity) for severity in severities) == said


def test_half_a_sign_stays_what_it_is():
    assert shown("Gr\xc3") == "Gr\xc3"
