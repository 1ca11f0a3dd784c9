"""What statements, expressions and variables do."""

import pytest

from runtime.context import RouteType
from runtime.script.problems import ScriptError
from runtime.script.script import DROP, EXIT


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        # Seen on a running OpenSIPS: three levels, each from the left.
        ("2+3*4", 20),
        ("2*3+4*5", 50),
        ("10-4/2", 3),
        ("1<<2+1", 8),
        ("1|6&2", 2),
        ("7/2", 3),
        ("-7/2", -3),
        ("-7%3", -1),
        ("(1+2)*3", 9),
        ("1 - -2", 3),
        ("~5", -6),
        ("6 ^ 3", 5),
        ("1 >> 1", 0),
        ('"a"+"b"', "ab"),
        ("9223372036854775807 + 1", -(2**63)),
        ("0x10 + 010", 24),
        ('"x" + $rU + "y"', "xalicey"),
        ('"n" + $var(five)', "n5"),
        ("$var(five) + 1", 6),
        ("$var(five) + $var(none)", 5),
        ("$var(five) * $var(none)", 0),
        ('"a" + $var(none) + "b"', "ab"),
        ("$var(five) == 5", 1),
        ("$var(five) == 6", 0),
        ("$var(five) == 5 + 2", 3),
        ("!$var(five)", 0),
        ("$var(five) && $var(none)", 0),
        ('give("7")', 7),
    ],
)
def test_expressions(run, expression, value):
    made = run(f"$var(five) = 5; $var(x) = {expression};")
    assert made.var("x") == value
    assert made.process.logged == []


@pytest.mark.parametrize("expression", ['"5" + 3', "5 + $rU", "1/0", "1 % $var(none)", '"ab" - "b"', '~"a"', "$rU * 2"])
def test_what_cannot_be_computed_is_logged_and_assigned_to_nothing(run, expression):
    made = run(f'$var(x) = {expression};\n $avp(y) = 1; $avp(y) = {expression}; xlog("$rc");')
    assert made.var("x") is None
    assert made.context.avps == {"y": [1]}
    assert made.process.logged[0][0] == -1
    assert made.texts[-1] == "-1"


def test_what_is_not_set_is_told_as_what_it_is(run):
    assert run("$var(n) = $var(n) + 1;").texts == ["NULL + an integer cannot be computed"]
    assert run('$var(n) = "a" + 1;').texts == ["a string + an integer cannot be computed"]


def test_text_grows_to_a_bound_only(run):
    made = run('$var(s) = "0123456789abcdef"; while (1) { $var(s) = $var(s) + $var(s); }')
    assert len(made.var("s")) == 1024 * 1024


@pytest.mark.parametrize(
    ("condition", "true"),
    [
        ("$var(t) || $var(t) && $var(f)", False),  # as seen: one level, from the left
        ("$var(f) && $var(f) || $var(t)", True),
        ("!$var(five) == 1", True),  # !(… == 1)
        ("not $var(f) and $var(t)", True),
        ('$rm == "invite"', True),
        ('$rm == "INVITE"', True),
        ('$rm != "BYE"', True),
        ('$rm =~ "^inv"', True),
        ('$rm !~ "^inv"', False),
        ('$var(empty) =~ ".*"', False),
        ('$var(empty) !~ "x"', False),
        ('$var(none) !~ "x"', True),
        ('$rU =~ "^[[:alpha:]]+$"', True),
        ("$var(none) == NULL", True),
        ("$var(none) != NULL", False),
        ("$rU == NULL", False),
        ('$var(none) == ""', False),
        ('$var(none) != "x"', True),
        ("$var(none) != 5", True),
        ("$var(none) < 5", False),
        ("$var(five) < 6", True),
        ("$var(five) >= 5", True),
        ('$var(five) == "5"', True),
        ('$var(five) == "05"', False),
        ('$rU < "bob"', True),
        ('$rU > "Aaron"', True),
        ("$rU == $rU", True),
        ("$var(five) == $var(text)", True),
        ("$rU != $var(none)", True),
        ("$var(none) == $var(none)", True),
        ("$var(five) < $var(six)", True),
        ("$rU =~ $var(pattern)", True),
        ("$rU !~ $var(pattern)", False),
        ("$si == 192.0.2.0/24", True),
        ("$si == 192.0.2.1", True),
        ("$si != 10.0.0.0/255.0.0.0", True),
        ("$si == 2001:db8::/32", False),
        ("give(1)", True),
        ("give(-1)", False),
        ("give(2) == 2", True),
        ("$var(f) && give(1)", False),
        ("[ $var(five) - 5 ]", False),
        ("$var(five) & 4", True),
        ("$var(empty)", False),
        ("5", True),
        ("route(minus)", False),
        ("!route(minus) && route(plus)", True),
    ],
)
def test_conditions(bench, condition, true):
    made = bench(
        f"""
        loadmodule "tools.so"
        route {{
          $var(t) = 1; $var(f) = 0; $var(five) = 5; $var(six) = 6; $var(text) = "5"; $var(empty) = "";
          $var(pattern) = "^AL";
          if ({condition}) say("yes"); else say("no");
        }}
        route[minus] {{ return(-1); }}
        route[plus] {{ return(1); }}
        """
    )
    made.run()
    assert made.tools.calls[-1] == ("yes" if true else "no")
    assert made.process.logged == []


@pytest.mark.parametrize("condition", ["$rU == 5", "$rU != 5", "$rU < 5"])
def test_text_and_a_number_do_not_compare(run, condition):
    made = run(f'if ({condition}) say("yes"); else say("no");')
    assert made.tools.calls == ["no"]


def test_operands_are_taken_from_the_left_and_only_when_needed(run):
    made = run('if (give(1) && give(-1) && give(3) || give(4)) say("yes"); if (give(5) || give(6)) say("too");')
    assert made.tools.calls == [1, -1, 4, "yes", 5, "too"]


def test_a_variable_is_read_before_the_call_behind_it_changes_it(bench):
    made = bench("route { $var(x) = 1; $var(y) = $var(x) + route(change); } route[change] { $var(x) = 50; return(2); }")
    made.run()
    assert made.var("y") == 3


# Ends


def test_exit_drop_and_the_end_of_a_route(run):
    assert run("exit; say(1);").ended is EXIT
    assert run("drop;").ended is DROP
    assert run("say(1);").ended is None
    assert run("return; say(1);").tools.calls == []


@pytest.mark.parametrize(
    ("body", "rc"),
    [
        ("return;", 1),
        ("return(-3);", -3),
        ("return 4;", 4),
        ("say(1);", 1),
        ("give(7);", 7),
        ("$var(x) = 1;", 1),
        ("", 1),
    ]
    + [("return($var(none));", -1), ("return($rU);", 1), ("return($rs);", -1), ("if ($var(none)) give(5);", 1)]
    + [("if (!$var(none)) { give(5); }", 5), ("while ($var(none)) give(5);", 1)],
)
def test_what_a_route_returns(bench, body, rc):
    made = bench('loadmodule "tools.so"\nroute { give(9); route(a); xlog("$rc"); }\nroute[a] {' + body + "}")
    made.run()
    assert made.texts == [str(rc)]


@pytest.mark.parametrize(
    "body", ["return(0);", "exit;", "give(0);", "if (give(0)) say(1);", "$var(z) = 0; return($var(z));"]
)
def test_zero_ends_the_whole_script_through_nested_routes(bench, body):
    made = bench(
        'loadmodule "tools.so"\nroute { route(a); say("never"); }\n'
        'route[a] { if (route(b)) say("never"); say("never"); }\nroute[b] {' + body + "}"
    )
    assert made.run() is EXIT
    assert "never" not in made.tools.calls


def test_drop_ends_through_nested_routes_as_a_drop(bench):
    made = bench("onreply_route[x] { route(a); } route[a] { drop; }")
    assert made.script.routes.onreply["x"](made.context) is DROP


def test_return_values(bench):
    made = bench(
        'route { route(a); xlog("$rc $return(0) $return(1) $return(2)"); route(b); xlog("$return(0)"); }'
        'route[a] { $var(x) = "v"; return(1, $var(x), 5, NULL); } route[b] { return; }'
    )
    made.run()
    assert made.texts == ["1 v 5 <null>", "<null>"]


def test_route_parameters_are_the_route_s_own(bench):
    made = bench(
        """
        route { route(a, 1, "two $rU", $var(none)); xlog("outside $param(1)"); }
        route[a] {
          xlog("$param(1) $param(2) $param(3) $param(4) $route.name");
          route(b); route(c, "x"); xlog("again $param(1)");
        }
        route[b] { xlog("b $param(1)"); }
        route[c] { xlog("c $param(1) $route.name $route"); }
        """
    )
    made.run()
    assert made.texts == [
        "1 two alice <null> <null> a",
        "b <null>",
        "c x c request_route[c]",
        "again 1",
        "outside <null>",
    ]


def test_a_route_named_by_a_variable(bench):
    made = bench(
        'route { $var(r) = "b"; route($var(r), 5); route("$var(r)"); $var(r) = "no"; route($var(r)); xlog("$rc"); '
        "route($var(never)); } "
        'route[b] { xlog("b $param(1)"); } route[None] { xlog("never"); }'
    )
    made.run()
    assert made.texts == ["b 5", "b <null>", "there is no route[no]", "-1", "there is no route[<null>]"]


def test_a_route_that_calls_itself_ends(bench):
    made = bench("route { $var(n) = 0; route(a); } route[a] { $var(n) += 1; route(a); }")
    with pytest.raises(ScriptError, match="routes stand more than 100 deep in one another"):
        made.run()
    assert made.var("n") == 100


def test_a_route_that_calls_itself_twice_ends_as_soon(bench):
    made = bench("route { $var(n) = 0; route(a); } route[a] { $var(n) += 1; route(a); route(a); }")
    with pytest.raises(ScriptError, match="routes stand more than 100 deep in one another"):
        made.run()
    assert made.var("n") == 100


# Loops and cases


def test_while_is_bounded(bench):
    made = bench("max_while_loops=20\nroute { $var(n) = 0; while (1) $var(n) += 1; }")
    made.run()
    assert made.var("n") == 20
    assert made.texts == ["while() ended after 20 turns: see max_while_loops"]


def test_while_evaluates_calls_each_turn(run):
    made = run(
        '$var(n) = 3; while ($var(n) > 0 && give($var(n))) { $var(n) -= 1; if ($var(n) == 1) break; } say("end");'
    )
    assert made.tools.calls == [3, 2, "end"]


def test_for_walks_the_newest_value_first(run):
    made = run(
        """
        $avp(x) = "old"; $avp(x) = 2; $avp(x) = "new";
        for ($var(i) in $(avp(x)[*])) { say("$var(i)"); $avp(x) = "more"; }
        for ($var(i) in $(hdr(Via)[*])) say($var(i));
        for ($var(i) in $(avp(none)[*])) say("never");
        """
    )
    assert made.tools.calls[:3] == ["new", "2", "old"]
    assert [text[:21] for text in made.tools.calls[3:]] == ["SIP/2.0/UDP 192.0.2.1", "SIP/2.0/UDP 192.0.2.2"]


@pytest.mark.parametrize(
    ("value", "calls"),
    [
        ('"b"', ["b"]),
        ('"B"', ["b"]),
        ("1", ["1", "one more"]),
        ('"1"', ["default"]),
        ("2", ["one more"]),
        ("7", ["text seven", "default"]),
        ('"z"', ["default"]),
        ("NULL", ["default"]),
    ],
)
def test_switch(run, value, calls):
    made = run(
        f"""
        $var(x) = {value};
        switch ($var(x)) {{
          case "b": say("b"); break;
          case 1: say("1");
          case 2: if ($var(x)) {{ say("one more"); break; }} say("never");
          case "7": say("text seven");
          default: say("default");
        }}
        """
    )
    assert made.tools.calls == calls


def test_switch_whose_cases_all_leave(run):
    made = run('switch ($rm) { case "BYE": exit; case "INVITE": say("i"); break; default: say("d"); } say("behind");')
    assert made.tools.calls == ["i", "behind"]
    assert run('switch ($rm) { case "BYE": say("b"); break; case "ACK": exit; } say("behind");').tools.calls == [
        "behind"
    ]


def test_letters_beyond_ascii_are_cases_of_their_own(run):
    made = run('$var(x) = "\xe9"; switch ($var(x)) { case "\xc9": say("capital"); break; case "\xe9": say("small"); }')
    assert made.tools.calls == ["small"]


def test_break_in_a_switch_leaves_the_switch_and_not_the_loop_around_it(run):
    made = run(
        """
        $var(n) = 0;
        while ($var(n) < 3) { switch ($var(n)) { case 1: say(1); break; default: say("d"); } $var(n) += 1; }
        """
    )
    assert made.tools.calls == ["d", "1", "d"]


# Variables


def test_avps_are_stacks(run):
    made = run(
        """
        $avp(x) = 1; $avp(x) = 2; $avp(x) = 3;
        xlog("$avp(x) $(avp(x)[0]) $(avp(x)[1]) $(avp(x)[-1]) $(avp(x)[9]) $(avp(x)[*])");
        $(avp(x)[1]) = "two"; xlog("$(avp(x)[*])");
        $(avp(x)[1]) = NULL; xlog("$(avp(x)[*])");
        $avp(x) = NULL; xlog("$(avp(x)[*])");
        $avp(x) := "only"; xlog("$(avp(x)[*])");
        $avp(x) += " more"; xlog("$(avp(x)[*])");
        $(avp(x)[*]) = NULL; xlog("$avp(x) $(avp(x)[*])");
        $var(i) = 0; $avp(y) = "a"; $(avp(y)[$var(i)]) = "b"; xlog("$(avp(y)[$var(i)])");
        $(avp(y)[5]) = "c"; xlog("$rc");
        $var(name) = "dyn"; $avp($var(name)) = 1; xlog("$avp(dyn) $avp($var(name))");
        """
    )
    assert made.texts == [
        "3 3 2 1 <null> 3, 2, 1",
        "3, two, 1",
        "3, 1",
        "1",
        "only",
        "only more, only",
        "<null> <null>",
        "b",
        "$avp(y) has no value [5]",
        "-1",
        "1 1",
    ]


def test_compound_assignments(run):
    made = run(
        """
        $var(a) = 7; $var(a) += 3; $var(a) -= 1; $var(a) *= 4; $var(a) /= 5; $var(a) %= 4; $var(a) |= 8; $var(a) &= 10;
        $var(a) ^= 1; $var(s) = "x"; $var(s) += "y";
        """
    )
    assert (made.var("a"), made.var("s")) == (11, "xy")
    made = run('$var(s) = "x"; $var(s) += 1; $var(none) += 1;')
    assert (made.var("s"), made.var("none"), len(made.texts)) == ("x", None, 2)


def test_the_request_uri_and_the_destination(run):
    made = run(
        """
        xlog("$ru $rU $rd $rp $rP");
        $rU = "carol"; $rd = "example.net"; $rp = 5080; xlog("$ru $ou");
        $rp = NULL; $rU = NULL; xlog("$ru");
        $ru = "sip:dave@10.0.0.1"; xlog("$ru");
        $ru = NULL; xlog("$ru");
        $du = "sip:10.9.9.9:5070"; xlog("$du $dd $dp");
        $du = NULL; xlog("$du");
        $ru = "no uri"; xlog("$rc $ru");
        $rU = "a@b"; xlog("$rc $rU");
        """
    )
    original = "sip:alice@example.com:5070;transport=udp"
    assert made.texts == [
        f"{original} alice example.com 5070 udp",
        f"sip:carol@example.net:5080;transport=udp {original}",
        "sip:example.net;transport=udp",
        "sip:dave@10.0.0.1",
        original,
        "sip:10.9.9.9:5070 10.9.9.9 5070",
        "<null>",
        "$ru takes a URI",
        f"-1 {original}",
        "$rU does not take this character",
        "-1 alice",
    ]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("$rm $ci $cs $ua $ml", "INVITE call-1 7 Phone/1.0 {length}"),
        ("$fu $fU $fd $ft $fn", 'sip:bob@biloxi.org bob biloxi.org ft "Bob"'),
        ("$tu $tU $td $tt $tn", "sip:alice@example.com alice example.com <null> <null>"),
        ("$si $sp $socket_in $socket_in(port) $Ri", "192.0.2.1 5060 udp:127.0.0.1:5060 5060 127.0.0.1"),
        ("$hdr(call-id) $hdr(Nope) $hdrcnt(via) $(hdr(Via)[1]{s.len})", "call-1 <null> 2 39"),
        ("$ct $ct.fields(uri) $rb $rs $rr", "<sip:bob@192.0.2.1:5060> sip:bob@192.0.2.1:5060 body <null> <null>"),
        ("$Ts $Tsm $TS $RANDOM $pp $log_level $xlog_level", "1790000000 250000 7 1073741824 42 3 4"),
        ("$cfg_line $cfg_file $route.type", "4 opensips.cfg request_route"),
        ("$$5 $mi(code) 100%", "$5 <null> 100%"),
        ("$rU. $rU, ($rU)", "alice. alice, (alice)"),
    ],
)
def test_variables_of_the_message_and_the_world(bench, text, shown):
    made = bench(f'socket=udp:127.0.0.1:5060\n\nroute {{\nxlog("{text}");\n}}')
    made.run()
    assert made.texts == [shown.replace("{length}", str(len(made.context.message.raw)))]


def test_variables_of_a_reply(bench, ringing):
    made = bench('onreply_route { xlog("$rs $rr $rm $ru $route.type"); }', raw=ringing)
    made.script.routes.onreply[""](made.context)
    assert made.texts == ["180 Ringing INVITE <null> onreply_route"]
    assert made.context.route is RouteType.ONREPLY


def test_var_is_shared_by_all_contexts_that_share_its_dict(bench):
    made = bench('route { xlog("$var(x)"); $var(x) = "kept"; }')
    made.run()
    made.run()
    assert made.texts == ["<null>", "kept"]


def test_a_module_s_variable(run):
    made = run('$box(a) = "v"; xlog("$box(a) $box $(box(a){s.len})"); $box(a) = "forbidden"; xlog("$rc $box(a)");')
    assert made.texts == ["v <null> 1", "the box refuses this", "-1 v"]


# Logs


def test_a_log_line_below_the_level_is_not_even_made(run):
    statements = (
        'xlog("L_DBG", "a"); xlog("L_NOTICE", "$rU"); xlog("plain"); log(1, "$rU"); xdbg("x"); xlog("-3", "b");'
    )
    made = run(statements, level=2)
    assert made.process.logged == [(2, "alice"), (-1, "plain"), (1, "$rU"), (-3, "b")]


def test_assert_works_only_where_it_is_enabled(bench):
    statements = 'route { assert($var(x) == 1, "x is one"); xlog("behind"); }'
    off = bench(statements)
    assert off.run() is None
    on = bench(f"enable_asserts=yes\n{statements}")
    with pytest.raises(ScriptError, match=r"^opensips.cfg:2:9: assertion failed: x is one$"):
        on.run()
    assert (off.texts, on.texts) == (["behind"], [])


# Calls


def test_arguments_arrive_as_declared(run):
    made = run(
        """
        $avp(list) = 1; $avp(list) = "2"; $var(n) = "17"; $var(p) = "B";
        every("u=$rU $$ $var(none)", "5", $rs, $var(out), $avp(list), "there", "^a");
        every($rU, $var(n), "text $rU",,,, $var(p));
        every(5,,7);
        every("x", $rU);
        $var(n) = "-9223372036854775808"; every("x", $var(n));
        $var(n) = "9223372036854775808"; every("x", $var(n));
        """
        + "}\nroute[there] { exit; "
    )
    first, second, third, smallest = made.tools.calls
    assert first[:3] == ("u=alice $ <null>", 5, None)
    assert first[3].name == "$var(out)"
    first[3].set(made.context, "written")
    assert made.var("out") == "written"
    assert first[3].get(made.context) == "written"
    assert first[3].all(made.context) == ["written"]
    assert first[4].all(made.context) == [1, "2"]
    assert first[4].get(made.context) == "2"
    first[4].set(made.context, "3")
    assert made.context.avps["list"] == [1, "2", "3"]
    assert first[5] == "there"
    assert first[6].search("xA") is None
    assert second[:6] == ("alice", 17, "text alice", None, None, None)
    assert second[6].search("b")
    assert third == ("5", None, 7, None, None, None, None)
    assert smallest[1] == -(2**63)
    assert made.texts == ['every() is not called: "number" is not what it takes'] * 2
    assert made.context.rc == -1


def test_the_argument_that_is_not_taken_is_named(run):
    made = run('$var(p) = "("; every("x", 5,,,,, $var(p)); every("x", $var(p),,,,, "a");')
    assert made.texts == [
        'every() is not called: "pattern" is not what it takes',
        'every() is not called: "number" is not what it takes',
    ]
    assert made.tools.calls == []


def test_a_ref_with_a_computed_name(run):
    made = run('$var(n) = "one"; every("x",,,$avp($var(n)));')
    ref = made.tools.calls[0][3]
    made.context.variables["n"] = "two"
    ref.set(made.context, 5)
    assert made.context.avps == {"two": [5]}


def test_async_parks_and_ends_the_script(bench):
    made = bench(
        """\
        loadmodule "tools.so"
        route { route(deep); say("never"); }
        route[deep] { async(later("job $rU", 5), resume, 3); say("never"); }
        route[resume] { xlog("resumed $rc $route.name"); }
        """
    )
    assert made.run() is EXIT
    ((begin, resume, timeout_s, line),) = made.process.parked
    assert (begin.payload, resume, timeout_s, line) == (b"job alice", "resume", 3, 3)
    made.context.rc = -408
    made.script.routes.named[resume](made.context)
    assert made.texts == ["resumed -408 resume"]
    assert made.tools.calls == []


def test_async_in_a_condition_runs_only_when_it_is_reached(run):
    tail = "}\nroute[r] { exit; "
    assert run('if ($var(none) && async(both("x"), r)) exit; say("on");' + tail).tools.calls == ["on"]
    made = run('if (!async(both("x"), r)) { say("never"); } say("never");' + tail)
    assert (made.ended, made.tools.calls, len(made.process.parked)) == (EXIT, [], 1)


def test_async_with_an_argument_of_the_wrong_kind_still_resumes(run):
    made = run('async(later("x", $rU), r); }\nroute[r] { exit; ')
    ((begin, resume, _, _),) = made.process.parked
    assert (begin.finish(made.context), resume) == (-1, "r")


def test_launch_goes_on(run):
    made = run(
        'launch(both("a")); launch(both("b"), r); if (launch(both("c"), r, "p $rU") == 1) say("on");'
        "}\nroute[r] { exit; "
    )
    assert [(begin.payload, report, param) for begin, report, param, _ in made.process.launched] == [
        (b"a", None, None),
        (b"b", "r", None),
        (b"c", "r", "p alice"),
    ]
    assert (made.ended, made.tools.calls) == (None, ["on"])


def test_the_routes_of_a_script(bench):
    made = bench(
        """
        route[a] {} failure_route[f] {} onreply_route {} onreply_route[o] {} branch_route[b] {} local_route {}
        startup_route {} timer_route[t, 5] {} event_route[E_X] {} event_route[E_Y, sync] {} error_route {}
        """
    )
    routes = made.script.routes
    assert routes.request is None
    assert [list(found) for found in (routes.named, routes.failure, routes.onreply, routes.branch, routes.events)] == [
        ["a"],
        ["f"],
        ["", "o"],
        ["b"],
        ["E_X", "E_Y"],
    ]
    assert routes.event_modes == {"E_X": "async", "E_Y": "sync"}
    assert [(timer.name, timer.interval_s) for timer in routes.timers] == [("t", 5)]
    for code, kind in (
        (routes.local, RouteType.LOCAL),
        (routes.startup, RouteType.STARTUP),
        (routes.error, RouteType.ERROR),
        (routes.timers[0].code, RouteType.TIMER),
        (routes.branch["b"], RouteType.BRANCH),
        (routes.failure["f"], RouteType.FAILURE),
        (routes.events["E_X"], RouteType.EVENT),
    ):
        assert code(made.context) is None
        assert made.context.route is kind


# Texts do not grow for ever


@pytest.mark.parametrize(
    "statement",
    [
        '$var(a) = "" + $var(a) + $var(a);',
        "$var(a) = $var(a) + $var(a);",
        '$var(a) = $var(a) + "," + $var(a);',
        "$var(a) += $var(a);",
        "$var(a) = $(var(a){s.encode.hexa});",
        "$var(a) = $(var(a){s.escape.common});",
        "$var(a) = $(var(a){re.subst,/x/xxxx/g});",
        r"$var(a) = $(var(a){re.subst,/^(.*)$/\1\1\1/});",
        "$avp(a) = $var(a); $var(a) = $(avp(a)[*]);",
        'route(keeps, "$var(a)$var(a)"); $var(a) = $avp(kept);',
        "route(returns); $var(a) = $return(0);",
    ],
)
def test_a_loop_that_doubles_a_text_ends_at_a_megabyte(bench, statement):
    made = bench(
        f'max_while_loops=40\nroute {{ $var(a) = "xxxx\\""; while ($var(a) != NULL) {{ {statement} }} }}'
        'route[keeps] { $avp(kept) := $param(1); } route[returns] { return(1, "$var(a)$var(a)"); }'
    )
    made.run()
    longest = max((len(str(value)) for value in made.context.variables.values()), default=0)
    assert longest <= 3 * 1024 * 1024


@pytest.mark.parametrize(
    ("statements", "value"),
    [
        ('$var(t) = "a"; $var(x) = $var(t) + "b" + 5 + "c";', None),
        ('$var(t) = "a"; $var(x) = $var(t) + "b" + $var(n) + "c" + $var(none) + "d";', "ab5cd"),
        ('$var(x) = $var(none) + "b" + $var(n);', "b5"),
        ("$var(x) = $var(none) + $var(n);", "5"),
        ('$var(x) = $var(n) + "b" + "c";', None),
        ('$var(x) = $rU + "@" + $rd + ":" + $rp;', "alice@example.com:5070"),
    ],
)
def test_a_chain_of_texts(run, statements, value):
    made = run(f"$var(n) = 5; {statements}")
    assert made.var("x") == value


@pytest.mark.parametrize(
    ("statements", "value"),
    [
        ("$var(x) = 4; $var(x) += 3; $var(x) -= 9;", -2),
        ("$var(x) = 9223372036854775807; $var(x) += 1;", -(2**63)),
        ('$var(x) = "4"; $var(x) += 3;', "4"),
        ("$var(x) += 3;", None),
    ],
)
def test_counting_in_place(run, statements, value):
    assert run(statements).var("x") == value


def test_a_case_is_found_whatever_the_letters_and_only_ascii_has_two_cases(run):
    made = run(
        """
        $avp(l) = "BYE"; $avp(l) = "\xc9"; $avp(l) = 5; $avp(l) = "5"; $avp(l) = "none";
        for ($var(i) in $(avp(l)[*])) {
            switch ($var(i)) {
            case "bye": say("bye"); break;
            case 5: say("five"); break;
            case "\xe9": say("never"); break;
            default: say("other $var(i)");
            }
        }
        """
    )
    assert made.tools.calls == ["other none", "other 5", "five", "other \xc9", "bye"]


@pytest.mark.parametrize("count", [3, 8, 9, 100, 2000])
def test_of_any_number_of_cases_the_right_one_is_found(run, count):
    cases = "".join(f"case {n}: $avp(found) = {n}; break;\n" for n in range(count))
    wanted = (0, count // 2, count - 1, count)
    made = run(
        "".join(f"$avp(wanted) = {n};" for n in reversed(wanted))
        + f"for ($var(i) in $(avp(wanted)[*])) switch ($var(i)) {{ {cases} default: $avp(found) = -1; }}"
    )
    assert made.context.avps["found"] == [0, count // 2, count - 1, -1]


@pytest.mark.parametrize(
    ("routes", "recursive"),
    [
        ("route[a] { route(b); } route[b] { route(c); } route[c] { }", False),
        ("route[a] { route(b); } route[b] { route(c); } route[c] { route(b); }", True),
        ("route[a] { if ($var(n) == NULL) exit; route(a); }", True),
        ("route[a] { route(b); route(c); } route[b] { route(d); } route[c] { route(d); } route[d] { }", False),
    ],
)
def test_only_routes_that_may_stand_in_themselves_are_counted(bench, routes, recursive):
    made = bench(f"route {{ route(a); }} {routes}")
    made.context.variables["n"] = 1
    if recursive:
        with pytest.raises(ScriptError, match="more than 100 deep"):
            made.run()
    else:
        assert made.run() is None
