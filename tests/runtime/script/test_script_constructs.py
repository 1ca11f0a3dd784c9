"""What configurations of OpenSIPS 3 are made of: each construct as it is written there, and what it is read as."""

import pytest

from runtime.modules.catalog import CATALOG
from runtime.script import tree
from runtime.script.check import Checked
from runtime.script.parse import parse


def items(text):
    found = parse(text, "f")
    assert isinstance(found, tuple), [str(problem) for problem in found]
    return found


def statements(text):
    (route,) = items(f"route {{ {text} }}")
    return route.body


def names(body):
    """The statements' kinds; a block's in brackets."""
    return [
        (type(one).__name__, names(one.then), names(one.otherwise)) if isinstance(one, tree.If) else type(one).__name__
        for one in body
    ]


@pytest.mark.parametrize(
    ("construct", "text", "settings"),
    [
        ("a boolean word", "auto_aliases=no", [("auto_aliases", 0)]),
        ("words in another case are none", "poll_method=EPOLL", [("poll_method", "EPOLL")]),
        ("a constant of the C library", "syslog_facility=LOG_LOCAL0", [("syslog_facility", "LOG_LOCAL0")]),
        ("a comment behind the value", "log_level=3 # why", [("log_level", 3)]),
        ("a block comment behind the value", "log_level=3 /* why */", [("log_level", 3)]),
        ("a path that is no comment", "wdir=/var/lib/x", [("wdir", "/var/lib/x")]),
        ("a hexadecimal number", "tos=0x10", [("tos", 16)]),
        ("every interface", "socket=udp:*:5060", [("socket", "udp:*:5060")]),
        ("an interface in quotes", 'socket=udp:"eth0":5060', [("socket", 'udp:"eth0":5060')]),
        (
            "a socket with all that may follow",
            "socket=udp:[::1]:5060 as 192.0.2.9:5060 use_workers 2 anycast tag edge reuse_port",
            [("socket", "udp:[::1]:5060 as 192.0.2.9:5060 use_workers 2 anycast tag edge reuse_port")],
        ),
        ("several aliases", "alias=one udp:two:5060", [("alias", "one udp:two:5060")]),
        (
            "a scaling profile and its use",
            "udp_workers=4 use_auto_scaling_profile P\nauto_scaling_profile=P\n scale up to 6 on 70% for 4 cycles",
            [("udp_workers", 4), ("auto_scaling_profile", "P"), ("scale", "up to 6 on 70% for 4 cycles")],
        ),
        (
            "rules of a blacklist over two lines",
            'dst_blacklist = gw: {(tcp, 192.0.2.4, 5060, ""),\n !(any, 192.0.2.0/24, 0, "*{*")}\nlog_level=2',
            [
                ("dst_blacklist", 'gw: {(tcp, 192.0.2.4, 5060, ""),\n !(any, 192.0.2.0/24, 0, "*{*")}'),
                ("log_level", 2),
            ],
        ),
        ("a dynamic blacklist", "dst_blacklist = late/expire", [("dst_blacklist", "late/expire")]),
        ("a memory group", 'mem-group = "calls": "tm" "dialog"', [("mem-group", "calls: tm dialog")]),
        ("the older name of a socket", "listen=udp:lo:5060", [("socket", "udp:lo:5060")]),
        ("the older name of the facility", "log_facility=LOG_DAEMON", [("syslog_facility", "LOG_DAEMON")]),
        ("the older name of the logging", "log_stderror=yes", [("log_stderror", 1)]),
        ("a line that goes on", "log_level \\\n = \\\n 3", [("log_level", 3)]),
    ],
)
def test_global_parameters(construct, text, settings):
    assert [(item.name, item.value) for item in items(text)] == settings


@pytest.mark.parametrize(
    ("construct", "text", "values"),
    [
        ("an octal mode", 'modparam("mi_fifo", "fifo_mode", 0666)', [0o666]),
        ("a boolean word", 'modparam("auth_db", "calculate_ha1", yes)modparam("a", "b", off)', [1, 0]),
        ("a signed number", 'modparam("a", "b", -1)modparam("a", "b", +1)', [-1, 1]),
        ("the value on a line of its own", 'modparam("acc", "db_url",\n\t"mysql://x") # here', ["mysql://x"]),
        ("a variable's name as a string", 'modparam("a", "received_avp", "$avp(r)")/* none */', ["$avp(r)"]),
        ("two modules at once", 'modparam("xcap|presence", "db_url", "")', [""]),
        ("a text over two lines", 'modparam("a", "b", "one \\\n  two")', ["one   two"]),
    ],
)
def test_module_parameters(construct, text, values):
    assert [item.value for item in items(text)] == values


@pytest.mark.parametrize(
    ("construct", "text", "kinds"),
    [
        ("`else if` with empty blocks", "if (f()) { g(); } else if (h()) { } else { exit; }", None),
        ("`else` and `if` on two lines", "if(f()) { g(); } else\nif( h() ) { g(); }", None),
        ("an if that is one statement", 'if (isbflagset("A")) setflag("A");', [("If", ["Run"], [])]),
        ("`!` over a bracket", "if (!(f() || g() ) ) { exit; }", [("If", ["Exit"], [])]),
        ("NULL without a space", "if ($rU==NULL) drop();", [("If", ["Drop"], [])]),
        ("a variable beside a variable", "if ($au!=$fU) { exit; }", [("If", ["Exit"], [])]),
        ("a pattern", 'if ($rU=~"^\\+[1-9][0-9]+$") { exit; }', [("If", ["Exit"], [])]),
        ("changed variables compared", "if ( $(var(n){s.int}) >= $(avp(m){s.int}) ) exit;", [("If", ["Exit"], [])]),
        ("a network", "if ($si == 192.0.2.0/24 or $si == 2001:db8::1) exit;", [("If", ["Exit"], [])]),
        ("arithmetic in brackets", "if ([ $var(a) + 1 ] && not $var(b)) exit;", [("If", ["Exit"], [])]),
        ("a call's value", "$var(x) = f();", ["Assign"]),
        ("a text in several pieces", 'xlog("L_ERR",\n "one " "two\\n");', ["Log"]),
        ("left out arguments", 'f(,"a",,$var(x),);', ["Run"]),
        ("a boolean word as a number", "f(yes); $var(x) = off;", ["Run", "Assign"]),
        ("a route by a variable", 'route($var(r), 1, "two", NULL); route("r_$var(x)");', ["Run", "Run"]),
        ("commented out twice", "f(); /* g(); /* why */ h(); */ exit;", ["Run", "Exit"]),
        ("a comment about files", "/* see /etc/*.cfg */ exit;", ["Exit"]),
        ("return in all its forms", "return; return 1; return -1; return(2); return $rc; return();", ["Return"] * 6),
    ],
)
def test_statements(construct, text, kinds):
    found = names(statements(text))
    assert found == kinds or kinds is None


def test_an_else_if_is_an_if_in_the_else():
    assert names(statements("if (f()) { g(); } else if (h()) { } else { exit; }")) == [
        ("If", ["Run"], [("If", [], ["Exit"])])
    ]


def test_a_case_runs_on_and_has_breaks_in_its_ifs():
    (switch,) = statements(
        'switch ($rm) { case "INVITE": case "BYE": if (f()) break; g(); break; case -1: exit; default: drop; }'
    )
    assert [(case.value and case.value.value, names(case.body)) for case in switch.cases] == [
        ("INVITE", []),
        ("BYE", [("If", ["Break"], []), "Run", "Break"]),
        (-1, ["Exit"]),
        (None, ["Drop"]),
    ]


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (r'"/^sip:(.*)@.*$/\1@home/"', r"/^sip:(.*)@.*$/\1@home/"),
        (r'"\bword\b"', r"\bword\b"),
        (r'"\101\x42\7"', r"AB\7"),
        ('"one\\\ntwo"', "onetwo"),
        ("'one\\ntwo'", r"one\ntwo"),
    ],
)
def test_what_a_backslash_does_to_what_follows(written, read):
    (assign,) = statements(f"$var(x) = {written};")
    assert assign.value.value == read


def test_a_configuration_of_modules_that_are_not_there_is_told_word_by_word(problems):
    text = """
        log_level=3
        children=4
        loadmodule "nathelper.so"
        loadmodule "tools.so"
        modparam("nathelper", "natping_interval", 10)
        modparam("tools", "flavour", 1)
        route {
            if (nat_uac_test(23) && $avpops_key == "192.0.2.1")
                fix_nated_contact();
            say("$no_such");
        }
    """
    assert [problem.partition(": error: ")[::2] for problem in problems(text)] == [
        ("opensips.cfg:3:1", "unknown global parameter children (it is udp_workers now)"),
        ("opensips.cfg:4:1", "unknown module nathelper"),
        ("opensips.cfg:7:1", "module tools has no parameter flavour"),
        ("opensips.cfg:9:9", "unknown function nat_uac_test()"),
        ("opensips.cfg:9:29", "unknown variable $avpops_key"),
        ("opensips.cfg:10:9", "unknown function fix_nated_contact()"),
        ("opensips.cfg:11:9", "unknown variable $no_such"),
    ]


USUAL_PARAMETERS = """
    tm fr_timeout 5, tm fr_inv_timeout 30, tm restart_fr_on_each_reply 0, tm onreply_avp_mode 1, rr append_fromtag 0,
    mi_fifo fifo_name "/tmp/fifo", mi_fifo fifo_mode 0660, usrloc nat_bflag "NAT",
    usrloc working_mode_preset "single-instance-no-db", registrar tcp_persistent_flag "TCP_PERSISTENT",
    registrar received_avp "$avp(received)", registrar max_contacts 10, acc early_media 0, acc report_cancels 0,
    acc detect_direction 0, dialog dlg_match_mode 1, dialog default_timeout 21600, dialog db_mode 2,
    dialog profiles_with_value "trunk"
"""


def test_the_parameters_that_most_configurations_set_are_known(problems):
    text = ""
    for setting in USUAL_PARAMETERS.split(","):
        module, name, value = setting.split()
        if f'"{module}.so"' not in text:
            text += f'loadmodule "{module}.so"\n'
        text += f'modparam("{module}", "{name}", {value})\n'
    found = problems(text + "route { exit; }", catalog=CATALOG)
    assert [problem for problem in found if ": warning: parameter " not in problem] == []


def test_included_statements_run_where_they_are_included(bench):
    made = bench(
        'loadmodule "tools.so"\nroute {\n say(1);\n include_file "checks.cfg"\n say(4);\n}\n',
        files={"checks.cfg": 'say(2);\nif ($rm == "INVITE") {\n  say(3);\n}'},
    )
    made.run()
    assert made.tools.calls == ["1", "2", "3", "4"]


def test_the_lines_of_several_files_keep_their_places(problems):
    found = problems(
        'include_file "parts/a.cfg" include_file "parts/a.cfg"\nroute { include_file "b.cfg" nobody(); }\n'
        "route[x] { no(); }",
        files={"parts/a.cfg": "# nothing\n", "b.cfg": "\nno_one();"},
    )
    assert [problem.partition(" error")[0] for problem in found] == [
        "b.cfg:2:1:",
        "opensips.cfg:2:30:",
        "opensips.cfg:3:12:",
    ]


@pytest.mark.parametrize(
    "text",
    [
        '# include_file "no.cfg"\n',
        '/* one\ninclude_file "no.cfg"\n*/\n',
        '/* one /* two */\ninclude_file "no.cfg"\n*/\n',
        'log_level=3 /* see /etc/*.cfg */\nimport_file "no.cfg"\n',
        'log_prefix="include_file" # "no.cfg"\n',
        "import_file 'no.cfg'\n",
    ],
)
def test_what_is_no_include_or_may_be_missing_is_passed_over(text, checked):
    assert isinstance(checked(text), Checked)


def test_files_that_multiply_are_no_more_than_a_script_may_be(problems):
    found = problems('include_file "big.cfg"\n' * 400, files={"big.cfg": "# a comment\n" * 100_000})
    assert [problem.partition(" error: ")[2] for problem in found] == ["the script is larger than 4194304 bytes"]

    found = problems('import_file "none.cfg" ' * 20_000)
    assert "more than 10 levels or 500 files are included" in found[0]
    assert len(found) <= 2


def test_a_missing_include_is_told_where_it_stands_in_its_line(problems):
    found = problems('import_file "none.cfg" include_file "none.cfg"\n')
    assert found == ["opensips.cfg:1:24: error: cannot read none.cfg: No such file or directory"]


def test_a_path_is_looked_for_beside_the_file_and_then_in_the_folder_of_the_start(checked):
    found = checked(
        'include_file "parts/a.cfg"',
        files={
            "parts/a.cfg": 'include_file "near.cfg"\ninclude_file "far.cfg"',
            "parts/near.cfg": "log_level=1",
            "far.cfg": "xlog_level=2",
        },
    )
    assert found.globals == {"log_level": 1, "xlog_level": 2}


def test_the_marks_of_a_preprocessed_script_say_where_its_lines_stand(problems):
    found = problems(
        '__OSSPP_FILEBEGIN__ "/etc/main.cfg"\n__OSSPP_LINE__ 1\n# nothing\n__OSSPP_LINE__ 2\nroute { one(); }\n'
        '__OSSPP_LINE__ 3\n__OSSPP_FILEBEGIN__ "/etc/part.cfg"\n__OSSPP_LINE__ 1\nroute[x] { two(); }\n'
        "__OSSPP_FILEEND__\n__OSSPP_LINE__ 4\nroute[y] { three(); }\n__OSSPP_FILEEND__\n"
    )
    assert [problem.partition(" error")[0] for problem in found] == [
        "/etc/main.cfg:2:9:",
        "/etc/main.cfg:4:12:",
        "/etc/part.cfg:1:12:",
    ]


@pytest.mark.parametrize("name", ["x y", "to: [sales], (old)", "caf\u00c3\u00a9", "None", "it's", " "])
def test_a_quoted_name_of_a_route_may_have_any_characters(bench, name):
    made = bench(
        'loadmodule "tools.so"\nroute {\n'
        f' route("{name}", 1);\n $var(name) = "{name}";\n route($var(name), 2);\n async(later("x"), "{name}");\n}}\n'
        f'route["{name}"] {{ say("$route.name $param(1)"); }}\nfailure_route["{name}"] {{ exit; }}\n'
    )
    made.run()
    assert made.tools.calls == [f"{name} 1", f"{name} 2"]
    assert [parked[1] for parked in made.process.parked] == [name]
    assert list(made.script.routes.failure) == [name]
