"""Names and values in two AVPs: a different number is told where it is certain, and nowhere else."""

import pytest

from runtime.modules.catalog import ALWAYS, CATALOG

LOADS = "".join(f'loadmodule "{name}.so"\n' for name in ("mi_script", "event_route", "dialog", "cfgutils", "registrar"))


@pytest.fixture
def counts(checked):
    """What is said of pairs in statements of a request route."""

    def find(statements, routes=""):
        text = f"{LOADS}route {{ {statements} }}\nroute[r] {{ exit; }}\n{routes}"
        found = checked(text, catalog=CATALOG, always=ALWAYS)
        return [problem.message for problem in found.warnings if problem.code == "unequal-pair"]

    return find


CALL = 'mi("dlg_list",, $avp(n), $avp(v));'
NAMES = '$avp(n) = "index"; $avp(n) = "counter";'
VALUE = "$avp(v) = 0;"


@pytest.mark.parametrize(
    ("statements", "said"),
    [
        (f"{NAMES} {VALUE} {CALL}", "mi() is given 2 names and 1 value"),
        (f"{VALUE} {VALUE} $avp(n) = 1; {CALL}", "mi() is given 1 name and 2 values"),
        (f"{NAMES} $avp(v) = NULL; {CALL}", "mi() is given 2 names and 0 values"),
        (f"{NAMES} {VALUE} {VALUE} $avp(v) = NULL; {CALL}", "mi() is given 2 names and 1 value"),
        (f'{NAMES} {VALUE} async(mi("dlg_list", $avp(r), $avp(n), $avp(v)), r);', "mi() is given 2 names and 1 value"),
        (f'{NAMES} {VALUE} launch(mi("dlg_list",, $avp(n), $avp(v)));', "mi() is given 2 names and 1 value"),
        (f'{NAMES} {VALUE} raise_event("E_X", $avp(n), $avp(v));', "raise_event() is given 2 names and 1 value"),
        (f'{NAMES} {VALUE} if (mi("dlg_list",, $avp(n), $avp(v))) exit;', "mi() is given 2 names and 1 value"),
        (f"if ($var(x)) {{ {NAMES} {VALUE} {CALL} }}", "mi() is given 2 names and 1 value"),
        (f"{NAMES} {VALUE} if ($var(x)) exit; route(r); {CALL}", "mi() is given 2 names and 1 value"),
    ],
)
def test_what_only_this_stretch_of_statements_writes(counts, statements, said):
    assert counts(statements) == [said]


ELSEWHERE = "route[other] { $avp(n) = 1; $avp(v) = 1; }"
ANEW = '$avp(n) := "index"; $avp(n) = "counter"; $avp(v) := 0;'


def test_what_is_written_elsewhere_too_is_certain_behind_a_fresh_start(counts):
    assert counts(f"{NAMES} {VALUE} {CALL}", ELSEWHERE) == []
    assert counts(f"{ANEW} {CALL}", ELSEWHERE) == ["mi() is given 2 names and 1 value"]
    assert counts(f"$avp(n) := NULL; {NAMES} $avp(v) := NULL; {VALUE} {CALL}", ELSEWHERE) == [
        "mi() is given 2 names and 1 value"
    ]


@pytest.mark.parametrize(
    "between",
    ["if ($var(x)) exit;", "route(r);", "while ($var(x)) $var(x) = 0;", "switch ($var(x)) { case 1: exit; }"],
)
def test_and_not_behind_what_may_have_written_it(counts, between):
    assert counts(f"{ANEW} {between} {CALL}", ELSEWHERE) == []


@pytest.mark.parametrize(
    "statements",
    [
        f"{NAMES} {VALUE} {VALUE} {CALL}",
        f"{NAMES} {VALUE} if ($var(x)) {VALUE} {CALL}",
        f'{NAMES} {VALUE} fetch_dlg_value("x", $avp(v)); {CALL}',
        f'{NAMES} {VALUE} get_dialog_vals($avp(n), $avp(v), "x"); {CALL}',
        f"{NAMES} {VALUE} $avp($var(x)) = 1; {CALL}",
        f"{NAMES} for ($avp(v) in $(avp(z)[*])) exit; {CALL}",
        f"{NAMES} {VALUE} $(avp(v)[0]) = NULL; {CALL}",
        f"{NAMES} $avp($var(x)) = 0; {CALL}",
        f'mi("ps", $avp(v)); {NAMES} {CALL}',
        CALL,
        f'{NAMES} mi("log_level",, $avp(n));',
        f'{NAMES} {VALUE} mi("dlg_list",, $avp(n), $avp(z));',
    ],
)
def test_what_is_equal_or_not_certain_is_not_told(counts, statements):
    assert counts(statements) == []


def test_a_module_that_writes_the_avp_makes_it_uncertain(checked):
    text = f'{LOADS}modparam("registrar", "attr_avp", "$avp(v)")\nroute {{ {NAMES} {VALUE} {CALL} }}'
    assert checked(text, catalog=CATALOG, always=ALWAYS).warnings == []
