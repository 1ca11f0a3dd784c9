"""Modules that are unknown or not loaded: what is said of them, and that they hide nothing else."""

import pytest

from runtime.modules.catalog import ALWAYS, CATALOG
from runtime.script.declare import Module
from runtime.script.load import ModuleFault, load


@pytest.fixture
def problems(checked):
    """The problems of a script over the real modules: the line, the code, and what is said."""

    def find(text):
        found = checked(text, catalog=CATALOG, always=ALWAYS)
        assert isinstance(found, list), "it has no errors"
        return [(one.place.line, one.code, one.said) for one in found]

    return find


def test_a_function_of_a_module_that_is_not_loaded_names_the_module(problems):
    assert problems("route {\n  t_relay();\n  $DLG_timeout = 5;\n}") == [
        (2, "missing-module", 't_relay() comes with the module tm: add loadmodule "tm.so"'),
        (3, "missing-module", '$DLG_timeout comes with the module dialog: add loadmodule "dialog.so"'),
    ]


def test_a_near_name_may_be_one_of_a_module_that_is_not_loaded(problems):
    assert problems("route { create_dialogue(); }") == [
        (1, "unknown-function", 'unknown function create_dialogue() (did you mean "create_dialog"?)')
    ]


def test_an_unknown_module_hides_nothing_and_is_told_once(problems):
    assert problems(
        'loadmodule "load_balancer.so"\n'
        'modparam("load_balancer", "db_url", "x")\n'
        'modparam("tm|load_balancer", "x", 1)\n'
        'loadmodule "load_balancer.so"\n'
        "route {\n"
        '  lb_start("1");\n'
        "  route(nowhere);\n"
        '  if ($var(x)) lb_start("2");\n'
        "}\n"
    ) == [
        (1, "unknown-module", "unknown module load_balancer"),
        (3, "missing-module", "modparam for module tm, which no loadmodule before it loads"),
        (6, "unknown-function", "unknown function lb_start()"),
        (7, "unknown-route", "there is no route[nowhere]"),
    ]


def test_the_other_places_and_the_doubt_are_told_beside_the_first(checked):
    found = checked(
        'loadmodule "load_balancer.so"\nroute {\n  lb_start("1");\n  lb_start("2");\n}\n'
        'include_file "other.cfg"\nroute[a] { lb_start("3"); }',
        files={"other.cfg": 'route[b] { lb_start("4"); }'},
    )
    (problem,) = [one for one in found if one.code == "unknown-function"]
    assert problem.help == (
        "it may come with the module load_balancer, which cannot be loaded; also at line 4, line 7, other.cfg:1:12"
    )


def test_of_many_places_some_are_named(checked):
    found = checked("route {\n" + "nothing();\n" * 30 + "}")
    assert found[0].help == f"also at {', '.join(f'line {line}' for line in range(3, 11))} and 21 more"


def test_a_module_of_the_scripts_own_that_cannot_be_loaded_hides_nothing(tmp_path):
    def import_module(path):
        raise ModuleFault(f"{path.name} cannot be loaded")

    script = tmp_path / "a.cfg"
    script.write_text(
        'loadmodule "own.py"\nloadmodule "own.py"\nmodparam("own", "x", 1)\n'
        "route {\n  of_its_own();\n  route(nowhere);\n}"
    )
    found = load(script, catalog={}, import_module=import_module)
    assert [(one.place.line, one.code, one.message) for one in found] == [
        (1, "bad-module", "own.py cannot be loaded"),
        (5, "unknown-function", "unknown function of_its_own()"),
        (6, "unknown-route", "there is no route[nowhere]"),
    ]


def test_a_module_of_the_scripts_own_cannot_take_the_name_of_another(tmp_path):
    script = tmp_path / "a.cfg"
    script.write_text('loadmodule "tools.py"\nroute { exit; }')
    found = load(script, catalog={"tools": Module}, import_module=lambda path: Module)
    assert [(one.place.line, one.code) for one in found] == [(1, "bad-module")]


def test_a_name_is_suggested_for_a_bounded_number_of_unknown_ones(checked):
    found = checked("route {" + "".join(f"setflg{number}();" for number in range(400)) + "}")
    assert len(found) == 400
    assert 0 < sum(one.suggestion is not None for one in found) <= 200


def test_what_the_script_says_is_quoted_as_text(checked):
    text = 'route { route("Größe"); }'.encode().decode("latin-1")
    (problem,) = checked(text)
    assert problem.message == "there is no route[Größe]"


@pytest.mark.parametrize(
    ("statement", "code"),
    [
        ('async(mi("ps"), there);', "missing-resume-route"),
        ('launch(mi("ps"), there);', "missing-report-route"),
        ('launch(mi("ps"), there, "x");', "missing-report-route"),
        ("route(there);", "unknown-route"),
    ],
)
@pytest.mark.parametrize("kind", ["route[a]", "failure_route[a]", "onreply_route[a]", "timer_route[a, 5]"])
def test_fact_03_whatever_names_a_route_that_is_not_there_is_refused_where_it_stands(checked, kind, statement, code):
    text = f'loadmodule "mi_script.so"\nroute {{ exit; }}\nroute[their] {{ exit; }}\n{kind} {{\n  {statement}\n}}\n'
    (problem,) = checked(text, catalog=CATALOG)
    assert (problem.place.line, problem.code, problem.suggestion is not None) == (5, code, True)


@pytest.mark.parametrize("function", ["t_on_failure", "t_on_reply", "t_on_branch"])
def test_an_arm_names_a_route_of_its_own_kind(problems, function):
    kind = {"t_on_failure": "failure", "t_on_reply": "onreply", "t_on_branch": "branch"}[function] + "_route"
    other = "branch_route" if kind != "branch_route" else "failure_route"
    text = (
        f'loadmodule "tm.so"\nroute {{ {function}("there"); }}\n{other}[there] {{ exit; }}\n{kind}[their] {{ exit; }}\n'
    )
    assert problems(text) == [(2, "unknown-route", f'there is no {kind}[there] (did you mean "their"?)')]


@pytest.mark.parametrize("argument", ['""', "$var(arm)", '"$var(arm)"', '"there"'])
def test_an_arm_that_is_there_or_not_known_is_right(checked, argument):
    text = f'loadmodule "tm.so"\nroute {{ t_on_failure({argument}); }}\nfailure_route[there] {{ exit; }}\n'
    assert checked(text, catalog=CATALOG).warnings == []


def test_an_arm_may_be_a_number_as_route_names_may(problems, checked):
    text = 'loadmodule "tm.so"\nroute { t_on_failure(1); }\n'
    assert problems(text) == [(2, "unknown-route", "there is no failure_route[1]")]
    assert checked(text + "failure_route[1] { exit; }\n", catalog=CATALOG).warnings == []
