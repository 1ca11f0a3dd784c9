"""Faults to be planted into scripts: how each is written, and what is said of it and where. One table.

A mark `§` stands before each place at which something is told. Every name that does not exist stands in one row only.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple


class Told(NamedTuple):
    """What is said at one place."""

    code: str
    message: str
    near: str | None = None
    help: str | None = None


class Fault(NamedTuple):
    """How it is written, and what is said at each of its marks. Without any it is right, and nothing is said."""

    text: str
    told: tuple[Told, ...]


def fault(text, *told):
    """A fault with one thing that is said, or a tuple for each."""
    rows = told if told and isinstance(told[0], tuple) else (told,) if told else ()
    return Fault(text, tuple(Told(*row) for row in rows))


WARNINGS = frozenset(
    (
        "loaded-twice",
        "never-runs",
        "variable-in-text",
        "without-effect",
        "unequal-pair",
        "denied-mi-command",
        "unknown-mi-command",
    )
)
DOUBTED = ("unknown-function", "unknown-variable")
"""What a module that cannot be loaded may have had."""


def unknown(name, near=None):
    return Told("unknown-variable", f"unknown variable {name}", near)


def no_route(name, near=None):
    return Told("unknown-route", f"there is no route[{name}]", near)


def resume(name, near=None):
    return Told("missing-resume-route", f"there is no route to resume in: route[{name}]", near)


def report(name, near=None):
    return Told("missing-report-route", f"there is no route to report to: route[{name}]", near)


bad = partial(Told, "bad-statement")
arity = partial(Told, "wrong-arity")
bad_change = partial(Told, "bad-transformation")
bad_expression = partial(Told, "bad-expression")
bad_form = partial(Told, "wrong-form")
bad_parameter = partial(Told, "bad-parameter")
bad_route = partial(Told, "bad-route")
bad_type = partial(Told, "wrong-type")
bad_variable = partial(Told, "bad-variable")
idle = partial(Told, "without-effect")
kept = partial(Told, "variable-in-text")
no_change = partial(Told, "unknown-transformation")
no_function = partial(Told, "unknown-function")
no_module = partial(Told, "missing-module")
no_parameter = partial(Told, "unknown-parameter")
no_setting = partial(Told, "unknown-setting")
read_only = partial(Told, "read-only-variable")
twice = partial(Told, "duplicate-route")


OPEN = "missing ), unterminated subpattern at position 0"
PATTERN = f"is a regular expression, and this one is wrong: {OPEN}"
SUBSTITUTION = "is a substitution, and this one is wrong"

# Where any statement may stand

STATEMENTS = (
    # Routes, and where a script goes on
    fault("route(§zq01);", no_route("zq01")),
    fault("route(§ther);", no_route("ther", "there")),
    fault('route(§"zq 02");', no_route("zq 02")),
    fault("route(§7);", no_route("7")),
    fault("route(§armed);", no_route("armed")),
    fault("route(§zq03, §$zq04);", no_route("zq03"), unknown("$zq04")),
    fault("route(§$zq05);", unknown("$zq05")),
    fault('route(§"a$zq06");', unknown("$zq06")),
    fault('route(there, "x", §$zq07, §"$zq08", 5, NULL);', unknown("$zq07"), unknown("$zq08")),
    fault('route("there");'),
    fault("route($var(x));"),
    fault('route("$var(x)");'),
    fault('async(both("x"), §zq10);', resume("zq10")),
    fault('async(both("x"), §ther);', resume("ther", "there")),
    fault('async(both("x"), §replied);', resume("replied")),
    fault('async(both("x"), §"$rU", 5);', resume("$rU")),
    fault('async(later("x"), there);'),
    fault('async(later("x"), "there", 5);'),
    fault('launch(both("x"), §zq11);', report("zq11")),
    fault('launch(both("x"), §ther);', report("ther", "there")),
    fault(
        'launch(both("x"), §zq12, §"$zq13");',
        report("zq12"),
        unknown("$zq13"),
    ),
    fault('launch(later("x"), there, "$rU and $$");'),
    fault('launch(later("x"));'),
    fault('every("x",,,,,§"zq14");', "unknown-route", 'there is no route "zq14"'),
    fault('every("x",,,,,§"ther");', "unknown-route", 'there is no route "ther"', "there"),
    fault('every("x",,,,,§8);', "unknown-route", 'there is no route "8"'),
    fault('every("x",,,,,§$var(x));', bad_type('every(): "route" is the name of a route')),
    fault('every("x",,,,,"there");'),
    fault('every("x",,,,,"armed");'),
    fault('t_on_failure(§"zq15");', "unknown-route", "there is no failure_route[zq15]"),
    fault('t_on_failure(§"arme");', "unknown-route", "there is no failure_route[arme]", "armed"),
    fault('t_on_failure(§"replied");', "unknown-route", "there is no failure_route[replied]"),
    fault("t_on_failure(§9);", "unknown-route", "there is no failure_route[9]"),
    fault('t_on_reply(§"branched");', "unknown-route", "there is no onreply_route[branched]"),
    fault('t_on_branch(§"there");', "unknown-route", "there is no branch_route[there]"),
    fault('t_on_failure("armed");'),
    fault('t_on_reply("replied");'),
    fault('t_on_branch("branched");'),
    fault('t_on_failure("");'),
    fault('t_on_failure("$rU");'),
    fault("t_on_failure($rU);"),
    fault("§t_on_failure();", arity('t_on_failure() needs its first argument, "route"')),
    # Assignments and what ends a route
    fault("§$(avp(x)[*]) += 1;", bad_expression("+= works on one value, not on [*]")),
    fault("§$(avp(x)[*]) -= NULL;", bad_expression("-= NULL has no meaning")),
    fault("§$var(y) += NULL;", bad_expression("+= NULL has no meaning")),
    fault("$(avp(x)[*]) = 1; $(avp(x)[*]) := 1; $(avp(x)[*]) = NULL; $(avp(x)[*]) := NULL; $var(y) := NULL;"),
    fault("§$avp = 5;", bad_variable("$avp needs a name in brackets: $avp(name)")),
    fault("§$rs = 5;", read_only("$rs cannot be written")),
    fault('§$(<request>ru) = "x";', read_only("$(<request>ru): what another message has cannot be written")),
    fault(
        "§$(var(x){s.len}) = 5;", bad_variable("$(var(x){s.len}): a variable that is written takes no transformation")
    ),
    fault(
        '§§$(hdr(X)[0]) = "x";',
        bad_variable("$(hdr(X)[0]): $hdr is not written by index"),
        read_only("$hdr cannot be written"),
    ),
    fault("§$(msg.branch.flag(x)[*]) = 1;", bad_variable("$(msg.branch.flag(x)[*]): only an AVP is written by [*]")),
    fault(
        "§$(msg.branch.flag(x)[append]) = 1;",
        bad_variable("$(msg.branch.flag(x)[append]): only an AVP is written by [append]"),
    ),
    fault("$(avp(x)[append]) = 1; $(avp(x)[0]) = 1; $(msg.branch.flag(x)[0]) = 1; $box = 1; $box(a) = 1;"),
    fault("§$zq20 = 5;", unknown("$zq20")),
    fault(
        "§§$(zq21{s.len}) = 5;",
        bad_variable("$(zq21{s.len}): a variable that is written takes no transformation"),
        unknown("$zq21"),
    ),
    fault("return(§$zq22);", unknown("$zq22")),
    fault('return(1, §$zq23, 2, §"$zq24");', unknown("$zq23"), unknown("$zq24")),
    fault("return($rU, $rU, NULL, 5);"),
    fault("exit;"),
    fault("drop;"),
    fault("route(ends); §$var(z) = 1;", "never-runs", "this never runs: route[ends] always ends the script"),
    # Loops and choices
    fault("for (§$ru in $(avp(l)[*])) { }", bad("the loop's variable is a $var or an $avp")),
    fault("for (§$(avp(i)[1]) in $(avp(l)[*])) { }", bad("the loop's variable is a $var or an $avp")),
    fault("for ($var(i) in §$avp(l)) { }", bad("$avp(l) is no list: write $(name(x)[*])")),
    fault("for ($var(i) in §$(avp(l)[0])) { }", bad("$(avp(l)[0]) is no list: write $(name(x)[*])")),
    fault("for ($avp(i) in §$(avp(l)[*]{s.len})) { }", bad("$(avp(l)[*]{s.len}) is no list: write $(name(x)[*])")),
    fault("for ($var(i) in §$(<request>avp(l)[*])) { }", bad("$(<request>avp(l)[*]) is no list: write $(name(x)[*])")),
    fault(
        "for (§§$zq25 in §$(zq26[*])) { }",
        bad("the loop's variable is a $var or an $avp"),
        unknown("$zq25"),
        unknown("$zq26"),
    ),
    fault("for ($var(i) in $(hdr(X)[*])) { break; }"),
    fault("for ($var(i) in $(avp(l)[*])) { route(§zq27); }", no_route("zq27")),
    fault("while ($var(x)) { route(§zq28); }", no_route("zq28")),
    fault("if ($var(x)) { route(§zq29); } else { route(§zq30); }", no_route("zq29"), no_route("zq30")),
    fault(
        "switch (§$zq31) { case 1: route(§zq32); default: route(§zq33); }",
        unknown("$zq31"),
        no_route("zq32"),
        no_route("zq33"),
    ),
    fault('switch ($var(x)) { case 1: §case 1: case "1": }', bad("this case stands here twice")),
    fault('switch ($var(x)) { case "a": case "b": §case "A": }', bad("this case stands here twice")),
    fault("switch ($var(x)) { §default: case 1: }", bad("default is the last case")),
    fault(
        "switch ($var(x)) { §default: §default: }", bad("default is the last case"), bad("this case stands here twice")
    ),
    fault("§switch ($var(x)) { }", bad("a switch has at least one case")),
    fault('switch ($var(x)) { case 1: break; case "x": case 2: default: }'),
    # Log lines
    fault("§xlog();", bad("xlog() is written xlog([level, ]text)")),
    fault('§xlog("L_INFO", "a", "b");', bad("xlog() is written xlog([level, ]text)")),
    fault('§xlog("L_INFO", $var(x));', bad("xlog() is written xlog([level, ]text)")),
    fault("§log(5);", bad("log() is written log([level, ]text)")),
    fault('§xdbg("L_INFO", "a");', bad("xdbg() is written xdbg(text)")),
    fault('xlog(§"$zq34");', unknown("$zq34")),
    fault('xdbg(§"$zq35");', unknown("$zq35")),
    fault('log("$zq36"); xlog("L_INFO", "$rU"); log(1, "x"); xdbg("x $rU");'),
    fault(
        '§xlog(, "x");',
        bad("the level is one of L_ALERT, L_CRIT, L_ERR, L_WARN, L_NOTICE, L_INFO, L_DBG, or a number from -3 to 4"),
    ),
    # Calls
    fault("§zq40();", no_function("unknown function zq40()")),
    fault(
        '§zq41(§$zq42, §"$zq43", 5);',
        no_function("unknown function zq41()"),
        unknown("$zq42"),
        unknown("$zq43"),
    ),
    fault("§everyy();", no_function("unknown function everyy()", "every")),
    fault(
        "§spare_function();",
        no_module('spare_function() comes with the module spare: add loadmodule "spare.so"'),
    ),
    fault("§spare_functio();", no_function("unknown function spare_functio()", "spare_function")),
    fault("§alone(1);", arity("alone() takes no argument, not 1")),
    fault('§give(1, "x");', arity("give() takes 1 argument, not 2")),
    fault("§two(1, 2, 3);", arity("two() takes 2 arguments, not 3")),
    fault('§every("x",,,,,,,, 9);', arity("every() takes 1 to 8 arguments, not 9")),
    fault("§two(1);", arity('two() needs its second argument, "second"')),
    fault("§two(, 2);", arity('two() needs its first argument, "first"')),
    fault(
        "§§two();",
        arity('two() needs its first argument, "first"'),
        arity('two() needs its second argument, "second"'),
    ),
    fault("say(§NULL);", bad_type('say(): "text" is a string, not NULL')),
    fault("say(§$zq44);", unknown("$zq44")),
    fault('say(§"$zq45");', unknown("$zq45")),
    fault('say(§"cost $5");', bad_variable('"$5" is not a variable; a dollar sign alone is written $$')),
    fault('say("x $rU $$"); say(5); say($rU);'),
    fault('give(§"five");', bad_type('give(): "code" is an integer')),
    fault("give(§NULL);", bad_type('give(): "code" is an integer')),
    fault("give(§$zq46);", unknown("$zq46")),
    fault('give(§"1$zq47");', unknown("$zq47")),
    fault('give(5); give("5"); give(" -5"); give($rU); give("$rU");'),
    fault('every("x",, §$zq48);', unknown("$zq48")),
    fault('every("x",, §"$zq49");', unknown("$zq49")),
    fault('every("x",, NULL); every("x",, 5);'),
    fault('every("x",,, §5);', bad_type('every(): "output" is a variable that the function writes')),
    fault('every("x",,, §$rs);', read_only("$rs cannot be written")),
    fault(
        'every("x",,, §$(var(x){s.len}));',
        bad_variable("$(var(x){s.len}): a variable that is written takes no transformation"),
    ),
    fault('every("x",,, $var(x)); every("x",,, $avp(x), $avp(y));'),
    fault('every("x",,,, §"x");', bad_type('every(): "list" is an $avp(name)')),
    fault('every("x",,,, §$var(x));', bad_type('every(): "list" is an $avp(name)')),
    fault(
        'every("x",,,, §$(avp(x)[1]));',
        bad_type('every(): "list" is an $avp(name) without index and transformation'),
    ),
    fault(
        'every("x",,,, §$(avp(x){s.len}));',
        bad_type('every(): "list" is an $avp(name) without index and transformation'),
    ),
    fault(
        'every("x",,,, §$(<request>avp(x)));',
        bad_type('every(): "list" is an $avp(name) without index and transformation'),
    ),
    fault('every("x",,,, §$avp($zq50));', unknown("$zq50")),
    fault(
        'every("x",,,,,, §"(");',
        "bad-pattern",
        f'every(): "pattern" {PATTERN}',
    ),
    fault('every("x",,,,,, §5);', bad_type('every(): "pattern" is a regular expression')),
    fault('every("x",,,,,, §$zq51);', unknown("$zq51")),
    fault('every("x",,,,,, "^a$"); every("x",,,,,, $rU);'),
    fault(
        'every("x",,,,,,, §"/(/x/");',
        bad_type(f'every(): "change" {SUBSTITUTION}: {OPEN}'),
    ),
    fault(
        'every("x",,,,,,, §"/a/\\1/");',
        bad_type(f'every(): "change" {SUBSTITUTION}: invalid group reference 1 at position 1'),
    ),
    fault(
        'every("x",,,,,,, §"abc");',
        bad_type(f'every(): "change" {SUBSTITUTION}: a substitution has the form /pattern/replacement/flags'),
    ),
    fault('every("x",,,,,,, §5);', bad_type('every(): "change" is a substitution: /pattern/replacement/flags')),
    fault('every("x",,,,,,, §$zq52);', unknown("$zq52")),
    fault('every("x",,,,,,, §"/a$/$zq53/");', unknown("$zq53")),
    fault('every("x",,,,,,, "/(a)$/\\1$rU/g"); every("x",,,,,,, $rU); every("x",,,,,,, "/a/b/");'),
    fault('§later("x");', bad_form("later() only works as async(later(…), route)")),
    fault("async(§say(1), there);", bad_form("say() has no asynchronous form for async()")),
    fault("async(§bot(1), there);", bad_form("bot() has no asynchronous form for async()", "both")),
    fault("launch(§bot(1), there);", bad_form("bot() has no asynchronous form for launch()", "both")),
    fault("async(§zq54(), there);", no_function("unknown function zq54()")),
    fault(
        "async(§both(), §zq55);",
        arity('both() needs its first argument, "text"'),
        resume("zq55"),
    ),
    # MI commands
    fault('§mi("zqzqzq zq");', "unknown-mi-command", "there is no MI command zqzqzq"),
    fault('mi("base_one"); mi("quick_one"); mi("which");'),
    fault("§of_base();", no_function("unknown function of_base()")),
    fault(
        '§mi("denied_one");',
        "denied-mi-command",
        "the MI command denied_one will not be run: modparam of mi_script says so, and $rc will be -403",
    ),
    fault(
        '$avp(n) := 1; $avp(n) = 2; $avp(v) := 1; §mi("quick_one", $var(r), $avp(n), $avp(v));',
        "unequal-pair",
        "mi() is given 2 names and 1 value",
        None,
        "an assignment with = adds one more value to an AVP, so each name needs its value; := starts anew",
    ),
)

# Where any value may stand

VALUES = (
    fault("§$zq60", unknown("$zq60")),
    fault("§$avpp(x)", unknown("$avpp", "$avp")),
    fault("§$spare_variable", no_module('$spare_variable comes with the module spare: add loadmodule "spare.so"')),
    fault("§$spare_variabl", unknown("$spare_variabl", "$spare_variable")),
    fault("§$var", bad_variable("$var needs a name in brackets: $var(name)")),
    fault("§$var()", bad_variable("$var needs a name in brackets: $var(name)")),
    fault("§$rU(x)", bad_variable("$rU takes nothing in brackets")),
    fault("§$(var(y)[1])", bad_variable("$var has no index")),
    fault("§$(avp(y)[append])", bad_variable("$(avp(y)[append]): [append] is where a value is added, and has none")),
    fault("§$(avp(y)[$zq61])", unknown("$zq61")),
    fault(
        "§$(avp(y)[$(avp(z)[append])])",
        bad_variable("$(avp(z)[append]): [append] is where a value is added, and has none"),
    ),
    fault("§$avp($zq62)", unknown("$zq62")),
    fault("§$avp(a$zq63)", unknown("$zq63")),
    fault("§$(var(y){s.lenn})", no_change("unknown transformation {s.lenn}", "s.len")),
    fault("§$(var(y){zq.zqzqzqzq})", no_change("unknown transformation {zq.zqzqzqzq}")),
    fault("§$(var(y){s.len,1})", bad_change("{s.len} takes no argument")),
    fault("§$(var(y){uri.param})", bad_change("{uri.param} takes 1 argument")),
    fault("§$(var(y){s.substr,0})", bad_change("{s.substr} takes 2 arguments")),
    fault("§$(var(y){s.index})", bad_change("{s.index} takes 1 to 2 arguments")),
    fault("§$(var(y){s.substr,a,1})", bad_change('{s.substr}: "a" is not a number')),
    fault("§$(var(y){s.substr,1,b})", bad_change('{s.substr}: "b" is not a number')),
    fault(
        "§$(var(y){re.subst,/a/b})", bad_change("{re.subst}: a substitution has the form /pattern/replacement/flags")
    ),
    fault("§$(var(y){s.substr,$zq64,1})", unknown("$zq64")),
    fault(
        "§§$(var(y){s.len,1}{s.lenn})",
        bad_change("{s.len} takes no argument"),
        no_change("unknown transformation {s.lenn}", "s.len"),
    ),
    *(
        fault(text)
        for text in (
            "$(avp(y)[*])",
            "$(avp(y)[-1])",
            "$(avp(y)[$var(i)])",
            "$avp(a$rU)",
            "$box",
            "$box(a)",
            "$mi",
            "$mi(code)",
            "$(var(y){s.len}{s.substr,0,1})",
            "$(var(y){s.index,a})",
            "$(var(y){s.index,a,1})",
            "$(var(y){s.select,0,,})",
            "$(var(y){s.substr,$var(i),1})",
            "$(var(y){re.subst,/a$/b/})",
            "$(<request>rU)",
            "$(<reply>rs)",
        )
    ),
)

# Where any condition may stand

CONDITIONS = (
    fault('$var(x) =~ §"("', "bad-pattern", f"the right side of =~ {PATTERN}"),
    fault('$var(x) !~ §"("', "bad-pattern", f"the right side of !~ {PATTERN}"),
    fault("§$var(x) =~ 5", bad_expression("the right side of =~ is a string or a variable")),
    fault("§$var(x) !~ NULL", bad_expression("the right side of !~ is a string or a variable")),
    fault("$var(x) =~ §$zq70", unknown("$zq70")),
    fault('§$zq71 =~ "x"', unknown("$zq71")),
    fault("§$zq72 == §$zq73", unknown("$zq72"), unknown("$zq73")),
    fault("§$var(x) < NULL", bad_expression("< does not compare with this: only == and != do")),
    fault("§$si >= 10.0.0.0/8", bad_expression(">= does not compare with this: only == and != do")),
    fault("$si == §10.0.0.0/33", bad_expression("10.0.0.0/33 is not an IP address or network")),
    fault("$si != §10.0.0.256", bad_expression("10.0.0.256 is not an IP address or network")),
    fault('$var(x) == §"sip:$rU"', kept("$rU is not replaced in this text: join it with +, or use pv_printf()")),
    fault('§"$(rU{s.len}) $ci"', kept("$(rU{s.len}) is not replaced in this text: join it with +, or use pv_printf()")),
    fault('§"$zq74 $ci"', kept("$ci is not replaced in this text: join it with +, or use pv_printf()")),
    *(
        fault(text)
        for text in (
            "$var(x) =~ $var(y)",
            '$var(x) =~ "^a$"',
            "$var(x) != NULL",
            "$var(x) == NULL",
            "$si == 10.0.0.0/8",
            "$si != 10.0.0.1",
            '"100 $"',
            '"$zq75 and $$"',
            '"plain"',
            "5",
            "NULL",
            "not 5 and 4 or ~3 + 2",
        )
    ),
)

# Calls where a value is wanted

CALLS = (
    fault("route(§zq80)", no_route("zq80")),
    fault('async(both("x"), §zq81)', resume("zq81")),
    fault('launch(both("x"), §zq82)', report("zq82")),
    fault('§later("x")', bad_form("later() only works as async(later(…), route)")),
    fault("§zq83()", no_function("unknown function zq83()")),
    fault('§xlog("x")', bad("xlog() stands alone: it has no value")),
    fault('§log("x")', bad("log() stands alone: it has no value")),
    fault('§xdbg("x")', bad("xdbg() stands alone: it has no value")),
    fault('say("x")'),
    fault("route(there)"),
    fault('launch(both("x"), there)'),
)

# Outside of loops and choices only

LOOSE = (
    fault("§break;", bad("break stands neither in a loop nor in a switch")),
    fault("while ($var(x)) { break; } §break;", bad("break stands neither in a loop nor in a switch")),
    fault("for ($var(i) in $(avp(l)[*])) { } §break;", bad("break stands neither in a loop nor in a switch")),
    fault("switch ($var(x)) { case 1: break; } §break;", bad("break stands neither in a loop nor in a switch")),
    fault("while ($var(x)) { switch ($var(x)) { case 1: break; } break; }"),
    fault("switch ($var(x)) { case 1: while ($var(x)) { break; } break; case 2: }"),
)

# At the top of the file

BAD_NAME = "has a control character or a $ in it"
QUOTED = "in quotes it can"
SECONDS = "a timer_route says its seconds: timer_route[name, seconds]"
MODE = "behind the name of an event_route only sync or async may stand"
TOP = (
    fault("§log_level=loud", "bad-setting", 'log_level is a number, not "loud"'),
    fault("§children=4", no_setting("unknown global parameter children (it is udp_workers now)")),
    fault("§log_levl=3", no_setting("unknown global parameter log_levl", "log_level")),
    fault("§server_heade=3", no_setting("unknown global parameter server_heade", "server_header")),
    fault("§zqzqzq=3", no_setting("unknown global parameter zqzqzq")),
    fault("§tcp_workers=8", idle("tcp_workers has no effect: the SIP processes serve TCP too")),
    fault('§tos="x"', idle("tos has no effect: packets have the kernel's type of service")),
    fault('mpath="/usr/lib/"\nlog_level=4\nserver_header="x"'),
    fault('§loadmodule "tools.so"', "loaded-twice", "module tools is loaded twice"),
    fault('§modparam("tools", "levl", 1)', "unknown-parameter", "module tools has no parameter levl", "level"),
    fault('§modparam("tools", "zqzqzq", 1)', "unknown-parameter", "module tools has no parameter zqzqzq"),
    fault('§modparam("spare", "x", 1)', no_module("modparam for module spare, which no loadmodule before it loads")),
    fault(
        '§modparam("toolz", "x", 1)',
        no_module("modparam for module toolz, which no loadmodule before it loads", "tools"),
    ),
    fault(
        '§§§modparam("zqzq1|tools|mi_script", "level", "high")',
        bad_parameter('parameter level of module tools is an integer, not "high"'),
        no_module("modparam for module zqzq1, which no loadmodule before it loads"),
        ("unknown-parameter", "module mi_script has no parameter level"),
    ),
    fault('§modparam("tools", "level", "")', bad_parameter('parameter level of module tools is an integer, not ""')),
    fault('§modparam("tools", "label", 5)', bad_parameter("parameter label of module tools is a string, not a number")),
    fault('§modparam("tools", "old", 2)', idle("parameter old of module tools has no effect: it is old")),
    fault('modparam("tools", "old", 1)\nmodparam("tools", "level", " 5")\nmodparam("tools", "label", "5")'),
    fault(
        '§§modparam("tools|mi_script", "zqzq2", 1)',
        no_parameter("module tools has no parameter zqzq2"),
        no_parameter("module mi_script has no parameter zqzq2"),
    ),
    fault('modparam("mi_script", "deny", "denied_one")'),
    fault(
        '§modparam("mi_script", "deny", "zqzqzqzq")',
        bad_parameter("parameter deny of module mi_script: there is no MI command zqzqzqzq"),
    ),
    fault("route[Gw90] { }\n§route[Gw90] { }", twice("route[Gw90] is already at f.cfg:{above}")),
    fault(
        'failure_route[Gw91] { }\nroute[Gw91] { }\n§failure_route["Gw91"] { }',
        twice("failure_route[Gw91] is already at f.cfg:{above2}"),
    ),
    fault("§route[0] { }", twice("route[0] is already at f.cfg:{main}")),
    fault("onreply_route { }\n§onreply_route[0] { }", twice("onreply_route[0] is already at f.cfg:{above}")),
    fault("local_route { }\n§local_route { }", twice("local_route is already at f.cfg:{above}")),
    fault("§startup_route[Gw92] { }", bad_route("startup_route takes no name")),
    fault("§error_route[Gw93] { }", bad_route("error_route takes no name")),
    fault("§local_route[Gw94] { }", bad_route("local_route takes no name")),
    fault("§failure_route { }", bad_route("failure_route needs a name: failure_route[name]")),
    fault("§branch_route { }", bad_route("branch_route needs a name: branch_route[name]")),
    fault("§event_route { }", bad_route("event_route needs a name: event_route[name]")),
    fault("§§timer_route { }", bad_route(SECONDS), bad_route("timer_route needs a name: timer_route[name]")),
    fault("§timer_route[Gw95] { }", bad_route(SECONDS)),
    fault("§timer_route[Gw96, often] { }", bad_route(SECONDS)),
    fault("§event_route[Gw97, later] { }", bad_route(MODE)),
    fault("§event_route[Gw98, 5] { }", bad_route(MODE)),
    fault("event_route[Gwa0] { }\nevent_route[Gwa1, sync] { }\nevent_route[Gwa2, async] { }"),
    fault("§route[Gwa3, 5] { }", bad_route("route takes a name only")),
    fault("§failure_route[Gwa4, sync] { }", bad_route("failure_route takes a name only")),
    fault(
        "§route[or] { }", bad_route('"or" is a word of the language and cannot be the name of a route', None, QUOTED)
    ),
    fault(
        "§onreply_route[exit] { }",
        bad_route('"exit" is a word of the language and cannot be the name of a route', None, QUOTED),
    ),
    fault('route["and"] { }'),
    fault('§route["a\\nb"] { }', bad_route(f'the name "a\\nb" {BAD_NAME}')),
    fault("§route['a$b'] { }", bad_route(f'the name "a$b" {BAD_NAME}')),
)
UNKNOWN_MODULES = (
    fault(
        '§loadmodule "tool.so"\nloadmodule "tool.so"\nmodparam("tool", "x", 1)',
        *("unknown-module", "unknown module tool", "tools"),
    ),
    fault(
        '§loadmodule "dir/zqzqzq.so"\nmodparam("zqzqzq", "x", 1)',
        *("unknown-module", "unknown module zqzqzq"),
    ),
)
"""What they are not known for, nobody can say."""
