"""Statements that can never run are told, and no others."""

import textwrap

import pytest

ASYNC = "async() ends the script, which goes on in the resume route"
THERE = "route[there] { exit; }"


@pytest.fixture
def never(problems):
    """The lines of the statements that never run, with the reason; the statements start in line 3."""

    def find(statements, routes=THERE):
        text = f'loadmodule "tools.so"\nroute {{\n{textwrap.dedent(statements)}\n}}\n{routes}\n'
        found = []
        for problem in problems(text):
            place, _, reason = problem.partition(": warning: this never runs: ")
            assert reason, problem
            found.append((int(place.split(":")[1]) - 2, reason))
        return found

    return find


@pytest.mark.parametrize(
    ("statements", "reason"),
    [
        ('async(both("x"), there);\nsay("never");', ASYNC),
        ('if (!async(both("x"), there))\n  say("never");', ASYNC),
        ('if ($var(x)) async(both("x"), there); else async(both("y"), there);\nsay("never");', ASYNC),
        ('$var(x) = async(both("x"), there);\nsay("never");', ASYNC),
        ('exit;\nsay("never");', "the script ends before it"),
        ('drop;\nsay("never");', "the script ends before it"),
        ('return(0);\nsay("never");', "the script ends before it"),
        ('return;\nsay("never");', "return leaves the route before it"),
        ('while ($var(x)) { break;\nsay("never"); }', "break leaves before it"),
        ('if ($var(x)) exit; else return;\nsay("never");', "every way through the statement before it ends"),
        ('switch ($var(x)) { case 1: exit; default: exit; }\nsay("never");', "the script ends before it"),
        ('route(there);\nsay("never");', "route[there] always ends the script"),
        ('if (route(there)) say("maybe");\nsay("never");', "the script ends before it"),
    ],
)
def test_the_first_statement_that_never_runs(never, statements, reason):
    found = never(statements)
    assert [line for line, _ in found][-1] == 2
    assert reason in found[-1][1]


@pytest.mark.parametrize(
    "statements",
    [
        'if ($var(x)) async(both("x"), there);\nsay("maybe");',
        'if ($var(x) && async(both("x"), there)) exit;\nsay("maybe");',
        'while ($var(x)) async(both("x"), there);\nsay("maybe");',
        'for ($var(x) in $(avp(y)[*])) exit;\nsay("maybe");',
        'switch ($var(x)) { case 1: exit; }\nsay("maybe");',
        'switch ($var(x)) { case 1: exit; default: break; }\nsay("maybe");',
        'switch ($var(x)) { case 1: say("falls through"); default: say("x"); }\nsay("maybe");',
        'launch(both("x"), there);\nsay("maybe");',
        "route($var(x));\nexit;",
    ],
)
def test_what_may_run_is_not_told(never, statements):
    assert never(statements) == []


@pytest.mark.parametrize("end", ["exit;", "drop;", "return;", "return(1);"])
def test_an_end_behind_an_end_misleads_nobody(never, end):
    assert never(f'async(both("x"), there);\n{end}') == []
    assert [line for line, _ in never(f'async(both("x"), there);\n{end}\nsay("never");')] == [3]


def test_only_the_first_of_a_stretch_is_told(never):
    assert [line for line, _ in never('exit;\nsay("one");\nif ($var(x)) { exit;\nsay("two"); }')] == [2]


def test_a_route_that_ends_in_another_that_ends(never):
    chain = 'route[a] { if ($var(x)) route(b); else exit; }\nroute[b] { say("x"); async(both("x"), there); }\n'
    assert never('route(a);\nsay("never");', chain + THERE) == [(2, "route[a] always ends the script")]


@pytest.mark.parametrize("a", ["if ($var(x)) return; exit;", 'if ($var(x)) exit; say("x");', "return;", ""])
def test_a_route_that_may_return_is_gone_on_from(never, a):
    assert never('route(a);\nsay("maybe");', f"route[a] {{ {a} }}") == []


def test_routes_in_a_circle_are_not_taken_for_ending(never):
    circle = 'route[a] { if ($var(x)) route(b); }\nroute[b] { route(a); say("maybe"); }'
    assert never('route(a);\nsay("maybe");', circle) == []


def test_a_long_chain_of_routes_is_followed(never):
    chain = "\n".join(f"route[r{number}] {{ route(r{number + 1}); }}" for number in range(3000))
    assert never('route(r0);\nsay("never");', f"{chain}\nroute[r3000] {{ exit; }}") == [
        (2, "route[r0] always ends the script")
    ]
