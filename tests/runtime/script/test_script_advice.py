"""What the article advises about MI commands, said where a script does otherwise."""

import textwrap

import pytest

from mi_script.commands import command, commands_of
from runtime.modules.catalog import ALWAYS, CATALOG
from runtime.script.check import Checked
from runtime.script.declare import Module
from runtime.script.known import known_of

MODULES = "".join(
    f'loadmodule "{name}.so"\n'
    for name in ("mi_script", "bench", "cachedb_local", "dialog", "event_route", "sl", "statistics", "usrloc")
)


@pytest.fixture
def told(checked):
    """Every warning of a script as its code and its message."""

    def find(text, modules=MODULES):
        found = checked(modules + textwrap.dedent(text), catalog=CATALOG, always=ALWAYS)
        assert isinstance(found, Checked), [str(problem) for problem in found]
        return [(problem.code, problem.said) for problem in found.warnings]

    return find


@pytest.fixture
def codes(told):
    """The codes of the warnings of statements in a request route."""

    def find(statements, routes="route[r] { exit; }"):
        return [code for code, _ in told(f"route {{ {statements} }}\n{routes}\n")]

    return find


# What stops a process

SLOW = 'mi("bench_sleep 50", $var(r));'
LATER = 'mi("bench_wait 50", $var(r));'


@pytest.mark.parametrize(
    ("statements", "expected"),
    [
        (SLOW, ["blocking-mi"]),
        (LATER, ["blocking-mi"]),
        ('if (mi("ul_dump")) exit;', ["blocking-mi"]),
        ('mi("bench_sleep $var(ms)");', ["blocking-mi"]),
        ('mi("job_list", $var(r));', ["blocking-mi"]),
        ('mi("uptime", $var(r));', []),
        ('mi("$var(command)", $var(r));', []),
        ('mi_gather("uptime; bench_sleep 50; ps", $var(r));', ["blocking-mi"]),
        ('async(mi("bench_sleep 50", $avp(r)), r);', []),
        ('launch(mi("bench_sleep 50"));', []),
    ],
)
def test_a_slow_command_on_the_time_of_the_traffic(codes, statements, expected):
    assert codes(statements) == expected


@pytest.mark.parametrize(
    "head",
    [
        "failure_route[f]",
        "onreply_route",
        "onreply_route[o]",
        "branch_route[b]",
        "local_route",
        "error_route",
    ],
)
def test_every_kind_of_route_that_serves_traffic(codes, head):
    assert codes("exit;", f"{head} {{ {SLOW} }}") == ["blocking-mi"]


@pytest.mark.parametrize("head", ["startup_route", "timer_route[t, 5]"])
def test_startup_and_timer_routes_serve_none(codes, head):
    assert codes("exit;", f'{head} {{ {SLOW} mi("reload_routes"); route(r); }}\nroute[r] {{ {SLOW} }}') == []


def test_a_report_to_a_timer_route_serves_none_either(codes):
    routes = f'timer_route[t, 5] {{ launch(mi("ps"), r); }}\nroute[r] {{ {SLOW} }}'
    assert codes("exit;", routes) == []


@pytest.mark.parametrize(
    "way",
    ["route(r);", 'async(mi("ps"), r);', 'launch(mi("ps"), r);', "route($var(which));"],
)
def test_routes_that_are_reached_from_one_that_serves(codes, way):
    assert codes(way, f"route[r] {{ {SLOW} }}") == ["blocking-mi"]


def test_a_route_that_nothing_reaches_serves_none(codes):
    assert codes("exit;", f"route[r] {{ {SLOW} }}") == []


# Reloads


@pytest.mark.parametrize(
    ("statements", "expected"),
    [
        ('mi("reload_routes");', ["reload-not-launched"]),
        ('async(mi("reload_routes"), r);', ["reload-not-launched"]),
        ('launch(mi("reload_routes"), r);', []),
        ('mi("dr_reload extensions");', ["reload-not-launched", "unknown-mi-command"]),
        ('mi("address_reload");', ["reload-not-launched", "unknown-mi-command"]),
        ('mi("dispatcher:reload");', ["reload-not-launched", "unknown-mi-command"]),
    ],
)
def test_a_reload_that_is_not_launched(codes, statements, expected):
    assert codes(statements) == expected


def test_what_waits_for_a_reload_is_said(told):
    ((_, here),) = told('route { mi("reload_routes"); }')
    ((_, there),) = told('route { async(mi("reload_routes"), r); } route[r] { exit; }')
    assert here == "reload_routes is a reload, and here it stops this process, and all that it serves"
    assert there == "reload_routes is a reload, and here it holds this message until it has ended"


# What the script can do itself


@pytest.mark.parametrize(
    ("command", "instead"),
    [
        ("cache_fetch local key", "cache_fetch()"),
        ("cache_store local key value", "cache_store()"),
        ("profile_get_size calls", "get_profile_size()"),
        ("ul_rm location alice", "remove()"),
    ],
)
def test_a_command_that_the_script_does_better(told, command, instead):
    message = f"mi() for {command.split()[0]}: {instead} does this"
    assert told(f'route {{ mi("{command}", $var(r)); }}') == [("needless-mi", message)]
    assert told(f'route {{ async(mi("{command}"), r); }} route[r] {{ exit; }}') == [("needless-mi", message)]
    assert told(f'route {{ launch(mi("{command}")); }}') == []
    assert told(f'route {{ mi_gather("ps; {command}", $var(r)); }}') == []


def test_every_command_that_names_a_function_or_variable_names_one_that_is_there():
    known = known_of([*ALWAYS.values(), *CATALOG.values()])
    named = {
        command.instead
        for name, module in {**CATALOG, **ALWAYS}.items()
        for command in commands_of(module, name)
        if command.instead
    }
    there = {f"{name}()" for name in known.functions} | {f"${name}(name)" for name in known.variables}
    assert named
    assert named <= there


# Commands that are not there


@pytest.mark.parametrize(
    ("statements", "said"),
    [
        ('mi("dlg_lst");', 'there is no MI command dlg_lst (did you mean "dlg_list"?)'),
        ('mi("  upteme ", $var(r));', 'there is no MI command upteme (did you mean "uptime"?)'),
        ('mi("lb_list $var(x)");', "there is no MI command lb_list"),
        ('mi_gather("uptime; upteme");', 'there is no MI command upteme (did you mean "uptime"?)'),
        ('launch(mi("upteme"));', 'there is no MI command upteme (did you mean "uptime"?)'),
    ],
)
def test_a_command_that_nobody_has(told, statements, said):
    ((code, found),) = told(f"route {{ {statements} }}")
    assert code == "unknown-mi-command"
    assert found.startswith(said)


def test_a_command_of_a_module_that_is_not_loaded(told):
    assert told('route { mi("dlg_list"); }', modules='loadmodule "mi_script.so"\n') == [
        ("unknown-mi-command", 'the MI command dlg_list comes with the module dialog: add loadmodule "dialog.so"')
    ]


def test_where_a_module_is_unknown_its_commands_are_not_called_so(checked):
    found = checked(
        f'{MODULES}loadmodule "load_balancer.so"\nroute {{ mi("lb_status"); }}', catalog=CATALOG, always=ALWAYS
    )
    assert [problem.code for problem in found] == ["unknown-module"]


@pytest.mark.parametrize("name", ["which", "help", "dialog:list", "worker_list"])
def test_what_every_server_has_and_other_names_are_known(codes, name):
    assert codes(f'mi("{name}");') == []


def test_a_module_that_declares_a_name_that_is_taken_does_not_stop_the_check(checked):
    class Own(Module):
        name = "own"

        @command("uptime", ())
        def uptime(self, params):
            return None

    text = f'{MODULES}loadmodule "own.so"\nroute {{ mi("upteme"); }}'
    found = checked(text, catalog={**CATALOG, "own": Own}, always=ALWAYS)
    assert [problem.code for problem in found.warnings] == ["unknown-mi-command"]


# Parameters


@pytest.mark.parametrize(
    ("statements", "said"),
    [
        ('mi("ps 1");', "the MI command ps cannot be called with 1 parameter: too few or too many parameters"),
        ('mi("log_level 1 2 3");', "the MI command log_level cannot be called with 3 parameters"),
        (
            '$avp(n) = "call_id"; $avp(v) = $ci; mi("dlg_list",, $avp(n), $avp(v));',
            "the MI command dlg_list cannot be called with (call_id): named parameters do not match",
        ),
        (
            '$avp(n) = "a"; $avp(n) = "b"; $avp(n) = "c"; $avp(v) = 1; $avp(v) = 2; $avp(v) = 3; '
            'mi("ps",, $avp(n), $avp(v));',
            "the MI command ps cannot be called with (a, b, c): too few or too many parameters",
        ),
        ('$avp(p) = 1; $avp(p) = 2; mi("ps",, $avp(p));', "the MI command ps cannot be called with 2 parameters"),
        ('mi("dlg_send_sequential abc");', "command only supports named parameters"),
    ],
)
def test_parameters_that_no_form_of_the_command_takes(told, statements, said):
    found = [message for code, message in told(f"route {{ {statements} }}") if code == "mi-parameters"]
    assert len(found) == 1
    assert said in found[0]


@pytest.mark.parametrize(
    "statements",
    [
        'mi("log_level 4");',
        'mi("log_level $var(x)");',
        'mi("log_level 1 2 3 $var(x)");',
        '$avp(n) = "callid"; $avp(v) = $ci; mi("dlg_list",, $avp(n), $avp(v));',
        '$avp(n) = $var(x); $avp(v) = $ci; mi("dlg_list",, $avp(n), $avp(v));',
        '$avp(n) = "call_id"; route(r); $avp(v) = $ci; mi("dlg_list",, $avp(other), $avp(v));',
        'mi("ps ignored",, $avp(n), $avp(v));',
        '$avp(n) = "callid"; $avp(v) = $ci; mi(" dlg_list x y",, $avp(n), $avp(v));',
    ],
)
def test_parameters_that_fit_or_are_not_known(told, statements):
    found = told(f"route {{ {statements} }}\nroute[r] {{ exit; }}")
    assert "mi-parameters" not in [code for code, _ in found]


def test_the_forms_of_the_command_are_the_remedy(checked):
    found = checked(f'{MODULES}route {{ mi("log_level 1 2 3"); }}', catalog=CATALOG, always=ALWAYS)
    assert found.warnings[0].help == "it takes () or (level) or (level, pid)"


def test_the_articles_own_calls(codes):
    listing = '$avp(attrs) = "index"; $avp(vals) = "0"; $avp(attrs) = "counter"; $avp(vals) = "10";'
    assert codes(f'{listing} mi("dlg_list",, $avp(attrs), $avp(vals));') == []


# What the script's own settings deny


@pytest.mark.parametrize(
    ("settings", "denied"),
    [
        ('modparam("mi_script", "deny", "kill")', ["kill"]),
        ('modparam("mi_script", "deny", "core:*")', ["kill", "ps"]),
        ('modparam("mi_script", "allow", "ps, dlg_list")', ["kill"]),
        ('modparam("mi_script", "allow", "ps")\nmodparam("mi_script", "allow", "kill")', []),
        ('loadmodule "mi_http.so"\nmodparam("mi_http", "deny", "kill")', []),
    ],
)
def test_a_call_of_what_is_denied(told, settings, denied):
    found = told(settings + '\nroute { mi("ps", $var(r)); mi("kill"); mi_gather("ps; kill", $var(r)); }\n')
    assert {code for code, _ in found} <= {"denied-mi-command"}
    assert sorted({message.split()[3] for _, message in found}) == denied


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("nosuch", "parameter deny of module mi_script: there is no MI command nosuch"),
        ("ps uptme", 'parameter deny of module mi_script: there is no MI command uptme (did you mean "uptime"?)'),
        ("nosuch:*", "parameter deny of module mi_script: there is no MI command nosuch:*"),
        (
            "ul_dump",
            "parameter deny of module mi_script: the MI command ul_dump comes with the module usrloc: "
            'add loadmodule "usrloc.so"',
        ),
    ],
)
def test_settings_that_name_no_command_are_errors(checked, setting, message):
    text = f'loadmodule "mi_script.so"\nmodparam("mi_script", "deny", "{setting}")\nroute {{ exit; }}\n'
    problems = checked(text, catalog=CATALOG, always=ALWAYS)
    assert [(one.code, one.said, one.place.line) for one in problems] == [("bad-parameter", message, 2)]
