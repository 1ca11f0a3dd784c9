"""Script text: what a program is printed as is read as that program, however it is laid out."""

import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.script.parse import parse
from tests.properties.script_outlines import of_items, of_program
from tests.script_interpreter.generating import PROGRAMS
from tests.script_interpreter.printing import printed

TOKEN = re.compile(r'\s+|"(?:\\.|[^"\\])*"|[A-Za-z_0-9]+|<<|>>|&&|\|\||=~|!~|[-+*/%&|^:=!<>]=|.', re.DOTALL)
GAPS = [" ", "\n", "\t \r\n", "/**/", "# }\n", '/* " $var( */', "\n#\n", "/* two\nlines */", "## ; exit;\n"]


def tokens(text):
    """A script cut into what white space may stand between; a variable with its brackets is one piece."""
    found, at = [], 0
    while at < len(text):
        end = variable_end(text, at) if text[at] == "$" else TOKEN.match(text, at).end()
        if not text[at:end].isspace():
            found.append(text[at:end])
        at = end
    return found


def variable_end(text, at):
    """Behind the name, and behind the brackets that follow it."""
    at = re.compile(r"\$[A-Za-z_.]*").match(text, at).end()
    depth = 0
    while depth or text[at] == "(":
        depth += {"(": 1, ")": -1}.get(text[at], 0)
        at += 1
    return at


@st.composite
def laid_out(draw):
    """A program, and its text with anything where white space may stand."""
    program = draw(PROGRAMS)
    head, _, routes = printed(program).partition("route {")
    pieces = tokens("route {" + routes)
    gaps = draw(st.lists(st.sampled_from(GAPS), min_size=1, max_size=20))
    text = head
    for at, piece in enumerate(pieces):
        text += piece + gaps[at % len(gaps)]
    return program, text


@settings(max_examples=40, deadline=None)
@given(PROGRAMS)
def test_a_printed_program_is_read_as_that_program(program):
    text = printed(program)
    found = parse(text, "f.cfg")
    assert isinstance(found, tuple), [str(problem) for problem in found]
    assert of_items(found) == of_program(program), text


@settings(max_examples=40, deadline=None)
@given(laid_out())
def test_comments_and_white_space_anywhere_change_nothing(drawn):
    program, text = drawn
    found = parse(text, "f.cfg")
    assert isinstance(found, tuple), [str(problem) for problem in found] + [text]
    assert of_items(found) == of_program(program), text


HOSTILE = {
    "brackets": ("route { if (", "(", "1) exit; }"),
    "square brackets": ("route { $var(x) = ", "[", "1; }"),
    "negations": ("route { if (", "! not ", "1) exit; }"),
    "operators": ("route { $var(x) = 1", " + 1", "; }"),
    "conditions": ("route { if (1", " && $rm == 'a'", ") exit; }"),
    "blocks": ("route { ", "if (1) { ", "}"),
    "elses": ("route { ", "if (1) exit; else ", "exit; }"),
    "loops": ("route { ", "while (1) ", "exit; }"),
    "variables in variables": ('route { xlog("', "$var(", '"); }'),
    "brackets of a variable": ("route { $var", "(", " = 1; }"),
    "changes": ("route { $var(x) = $(var(y)", "{s.len}", "); }"),
    "changes that stay open": ("route { $var(x) = $(var(y)", "{s.len", "); }"),
    "dollars": ('route { xlog("', "$", '"); }'),
    "arguments": ("route { f(", "1,", "1); }"),
    "strings": ("route { xlog(", '"a" ', "); }"),
    "open strings": ("route { ", 'xlog("a); ', "}"),
    "open comments": ("route { ", "/* ", "}"),
    "comments": ("route { ", "/**/", "}"),
    "cases": ("route { switch ($rm) { ", "case 1: ", "} }"),
    "settings": ("", "log_level=3\n", ""),
    "addresses": ("route { if ($si == ", "1:", ") exit; }"),
    "digits": ("route { $var(x) = ", "1", "; }"),
    "backslashes": ('route { xlog("', "\\", "); }"),
    "semicolons": ("route { ", ";", "}"),
}


@pytest.mark.parametrize("shape", HOSTILE)
def test_reading_takes_time_in_proportion_to_the_text(shape):
    """Whether it is a script or not: an answer, never an exception."""
    head, again, tail = HOSTILE[shape]

    def seconds(size):
        text = head + again * (size // len(again)) + tail
        started = time.process_time()
        found = parse(text, "f.cfg")
        assert isinstance(found, tuple) or found[0].message
        return time.process_time() - started

    short, long = min(seconds(2_000) for _ in range(2)), min(seconds(16_000) for _ in range(2))
    assert long < 24 * short + 0.02  # 8 times as long; 64 times where every character looked at all others
