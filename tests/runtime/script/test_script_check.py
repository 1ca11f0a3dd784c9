"""What the checker finds before any traffic, all of it at once."""

import pytest

from runtime.script.check import Checked
from runtime.script.problems import ScriptProblem


def in_route(statements, problems, **options):
    return problems(f'loadmodule "tools.so"\nroute {{ {statements} }}\nroute[there] {{ exit; }}\n', **options)


@pytest.mark.parametrize(
    ("statements", "said"),
    [
        ("sayy(1);", 'unknown function sayy() (did you mean "say"?)'),
        ("say();", 'say() needs its first argument, "text"'),
        ("say(1, 2);", "say() takes 1 argument, not 2"),
        ("say(NULL);", 'say(): "text" is a string, not NULL'),
        ('give("five");', 'give(): "code" is an integer'),
        ("every(1,,,5);", 'every(): "output" is a variable that the function writes'),
        ("every(1,,,$rs);", "$rs cannot be written"),
        ("every(1,,,,$var(x));", 'every(): "list" is an $avp(name)'),
        ("every(1,,,,$(avp(x)[1]));", "an $avp(name) without index and transformation"),
        ('every(1,,,,,"ther");', 'there is no route "ther" (did you mean "there"?)'),
        ('every(1,,,,,,"(");', 'every(): "pattern" is a regular expression, and this one is wrong'),
        ("$var(x) = $ruu;", "unknown variable $ruu"),
        ('xlog("$ruu");', "unknown variable $ruu"),
        ('xlog("cost $5");', '"$5" is not a variable; a dollar sign alone is written $$'),
        ('xlog("$ and more");', '"$ " is not a variable; a dollar sign alone is written $$'),
        ('xlog("$(rU{s.len)");', 'what "rU{" opens has no closing }'),
        ('xlog("$hdr(X");', 'what "$hdr(" opens has no closing )'),
        ('xlog("a rather long text before $hdr(X");', 'what "…ong text before $hdr(" opens has no closing )'),
        ("$rs = 5;", "$rs cannot be written"),
        ("$var = 5;", "$var needs a name in brackets: $var(name)"),
        ("$rU(x) = 5;", "$rU takes nothing in brackets"),
        ("$var(x) = $(var(y)[1]);", "$var has no index"),
        ("$(var(x){s.len}) = 5;", "a variable that is written takes no transformation"),
        ("$var(x) = $(var(y){s.length});", "unknown transformation {s.length}"),
        ("$var(x) = $(var(y){s.len,1});", "{s.len} takes no argument"),
        ("$var(x) = $(var(y){s.substr,a,1});", '{s.substr}: "a" is not a number'),
        ("$var(x) = $(var(y){re.subst,/a/b});", "{re.subst}: a substitution has the form /pattern/replacement/flags"),
        ("$var(x) += NULL;", "+= NULL has no meaning"),
        ('if ($var(x) =~ "(") exit;', "the right side of =~ is a regular expression, and this one is wrong"),
        ("if ($si == 10.0.0.0/33) exit;", "10.0.0.0/33 is not an IP address or network"),
        ("if ($var(x) < NULL) exit;", "< does not compare with this: only == and != do"),
        ("route(nowhere);", "there is no route[nowhere]"),
        ("route(ther);", 'there is no route[ther] (did you mean "there"?)'),
        ('async(later("x"), nosuch);', "there is no route to resume in: route[nosuch]"),
        ('async(later("x"), ther);', 'there is no route to resume in: route[ther] (did you mean "there"?)'),
        ('launch(later("x"), nosuch);', "there is no route to report to: route[nosuch]"),
        ("async(say(1), there);", "say() has no asynchronous form for async()"),
        ("launch(say(1));", "say() has no asynchronous form for launch()"),
        ('later("x");', "later() only works as async(later(…), route)"),
        ("break;", "break stands neither in a loop nor in a switch"),
        ("for ($var(i) in $avp(x)) exit;", "$avp(x) is no list: write $(name(x)[*])"),
        ("for ($ru in $(avp(x)[*])) exit;", "the loop's variable is a $var or an $avp"),
        ("switch ($var(x)) { default: exit; case 1: exit; }", "default is the last case"),
        ('switch ($var(x)) { case "a": exit; case "A": exit; }', "this case stands here twice"),
        ("xlog();", "xlog() is written xlog([level, ]text)"),
        ('xlog("L_LOUD", "x");', "the level is one of L_ALERT"),
        ('if (xlog("x")) exit;', "xlog() stands alone: it has no value"),
        ("while (1) " * 13 + "exit;", "more than 12 loops stand in one another"),
    ],
)
def test_a_statement_that_makes_no_sense_is_an_error(problems, statements, said):
    found = in_route(statements, problems)
    assert any(said in problem and ": error: " in problem for problem in found), found


def test_every_problem_is_told_at_once_in_the_order_of_the_file(problems):
    found = problems(
        """\
        loadmodule "tool.so"
        log_levl=3
        modparam("other", "x", 1)
        route {
          nothing();
          route(a);
          $foo = 1;
        }
        """
    )
    assert [problem.split(": error: ")[0] for problem in found] == [
        "opensips.cfg:1:1",
        "opensips.cfg:2:1",
        "opensips.cfg:3:1",
        "opensips.cfg:5:3",
        "opensips.cfg:6:9",
        "opensips.cfg:7:3",
    ]
    assert 'unknown module tool (did you mean "tools"?)' in found[0]
    assert 'unknown global parameter log_levl (did you mean "log_level"?)' in found[1]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('modparam("tools", "levl", 1)', 'module tools has no parameter levl (did you mean "level"?)'),
        ('modparam("tools", "level", "high")', 'parameter level of module tools is an integer, not "high"'),
        ('modparam("tools", "label", 5)', "parameter label of module tools is a string, not a number"),
        ("log_level=high", 'log_level is a number, not "high"'),
    ],
)
def test_settings_that_make_no_sense(problems, line, said):
    assert said in problems(f'loadmodule "tools.so"\n{line}\nroute {{}}\n')[0]


def test_settings_that_make_sense(checked):
    found = checked(
        """
        log_level=3
        socket=udp:127.0.0.1:5060
        socket=tcp:127.0.0.1:5060
        mpath="/usr/lib/opensips/modules/"
        loadmodule "/usr/lib/opensips/modules/tools.so"
        modparam("tools", "level", " +5")
        modparam("tools", "label", "main")
        modparam("tools", "line", "a")
        modparam("tools", "line", "b")
        route { exit; }
        """
    )
    assert isinstance(found, Checked)
    assert found.globals == {"log_level": 3, "mpath": "/usr/lib/opensips/modules/"}
    assert found.sockets == ["udp:127.0.0.1:5060", "tcp:127.0.0.1:5060"]
    assert found.modules == ["tools"]
    assert found.settings == {"tools": {"level": 5, "label": "main", "line": ["a", "b"]}}


@pytest.mark.parametrize(
    ("route", "said"),
    [
        ("route[or] {}", '"or" is a word of the language and cannot be the name of a route'),
        ("onreply_route[or] {}", '"or" is a word of the language'),
        ("route[sync] {}", '"sync" is a word of the language'),
        ("failure_route {}", "failure_route needs a name: failure_route[name]"),
        ("local_route[x] {}", "local_route takes no name"),
        ("timer_route[t] {}", "a timer_route says its seconds"),
        ("timer_route[t, 0] {}", "a timer_route says its seconds"),
        ("event_route[E_X, later] {}", "only sync or async may stand"),
        ("route[a] {}\nroute[a] {}", "route[a] is already at opensips.cfg:1:1"),
        ("route {}\nroute[0] {}", "is already at opensips.cfg:1:1"),
        ('route["a\\nb"] {}', "has a control character or a $ in it"),
        ('route["a\\x00"] {}', "has a control character or a $ in it"),
        ("route['$rU'] {}", 'the name "$rU" has a control character or a $ in it'),
    ],
)
def test_route_heads_that_make_no_sense(problems, route, said):
    assert any(said in problem for problem in problems(route))


def test_a_reserved_word_in_quotes_is_a_name(checked):
    assert isinstance(checked('route["or"] {}'), Checked)


def test_a_function_is_refused_where_its_route_type_is_not_allowed(problems):
    assert problems('loadmodule "tools.so"\nfailure_route[f] { only_requests(); }') == [
        "opensips.cfg:2:20: error: only_requests() cannot be called in a failure_route"
    ]


def test_it_is_refused_too_where_it_is_reached_through_other_routes(problems):
    found = problems(
        """\
        loadmodule "tools.so"
        route { route(a); }
        onreply_route { route(a); }
        route[a] { async(both("x"), b); }
        route[b] { only_requests(); }
        """
    )
    assert found == [
        "opensips.cfg:5:12: error: only_requests() cannot be called in an onreply_route, "
        "and route[b] is reached from onreply_route"
    ]


def test_a_report_route_runs_as_a_request_route_wherever_launch_stands(checked):
    found = checked(
        """
        loadmodule "tools.so"
        timer_route[t, 5] { launch(both("x"), report); }
        route[report] { only_requests(); }
        """
    )
    assert isinstance(found, Checked)


@pytest.mark.parametrize(
    "statements",
    [
        'async(both("x"), there); say("never");',
        'if (!async(both("x"), there)) { say("never"); }',
        'if (async(both("x"), there)) exit; say("never");',
        'if ($var(x)) { async(both("x"), there); } else { async(both("y"), there); } say("never");',
    ],
)
def test_code_behind_async_is_a_warning_and_no_error(problems, statements):
    found = in_route(statements, problems)
    assert found, "nothing was said"
    assert all(": warning: this never runs: async() ends the script" in problem for problem in found)


def test_code_behind_an_async_that_may_not_run_is_no_warning(problems):
    assert in_route('if ($var(x)) { async(both("x"), there); } say("maybe");', problems) == []


def test_a_variable_in_a_text_that_is_taken_as_it_stands_is_a_warning(problems):
    assert "$rU is not replaced in this text" in in_route('$var(x) = "sip:$rU";', problems)[0]
    assert in_route('$var(x) = "100 $";', problems) == []


def test_a_problem_prints_as_a_compiler_says_it(checked):
    (problem,) = checked("route { nothing(); }")
    assert isinstance(problem, ScriptProblem)
    assert (problem.place.line, problem.place.column, problem.severity) == (1, 9, "error")


def test_included_files_stand_where_they_are_included(checked):
    found = checked(
        'log_level=3\ninclude_file "parts/routes.cfg"\nimport_file "local.cfg"\nroute { route(part); }\n',
        files={
            "parts/routes.cfg": 'include_file "deeper.cfg"\nroute[part] { exit; }\n',
            "parts/deeper.cfg": "log_level=4\n",
        },
    )
    assert isinstance(found, Checked)
    assert found.globals == {"log_level": 4}
    assert [route.place.file for route in found.routes] == ["parts/routes.cfg", "opensips.cfg"]


def test_a_missing_include_is_told_at_the_line_that_includes_it(problems):
    assert problems('\ninclude_file "nowhere.cfg"\n') == [
        "opensips.cfg:2:1: error: cannot read nowhere.cfg: No such file or directory"
    ]


def test_a_file_that_includes_itself_ends(problems):
    found = problems('include_file "opensips.cfg"\n')
    assert "more than 10 levels or 500 files are included" in found[0]


def test_a_problem_is_one_line_of_a_bearable_length_whatever_it_quotes(problems):
    (found,) = problems('loadmodule "tools.so"\nroute { route("a\nb' + "\x1b[2J" + "c" * 5000 + '"); }')
    assert found.startswith(r"opensips.cfg:2:15: error: there is no route[a\nb\x1b[2Jccc")
    assert len(found) < 1100


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ("tcp_workers=8", "tcp_workers has no effect: "),
        ('mpath="/usr/lib/opensips/modules/"', ""),
        ("log_level=3", ""),
        (
            'loadmodule "tools.so"\nmodparam("tools", "old", 2)',
            "parameter old of module tools has no effect",
        ),
        ('loadmodule "tools.so"\nmodparam("tools", "old", 1)', ""),
    ],
)
def test_what_has_no_effect_is_told_unless_it_changes_nothing(problems, setting, told):
    found = [problem for problem in problems(f"{setting}\nroute {{ exit; }}") if "has no effect" in problem]
    assert len(found) == bool(told)
    assert all(told in problem for problem in found)
