"""What version 3 of OpenSIPS has and its scripts are made of, row by row: it is known here, and does the same."""

import hashlib
import hmac

import pytest

from runtime.modules.catalog import ALWAYS, CATALOG
from runtime.script.check import Checked
from runtime.script.load import load

MODULES = (
    *("proto_udp", "proto_tcp", "sl", "tm", "rr", "maxfwd", "sipmsgops", "signaling", "textops", "usrloc", "registrar"),
    *("dialog", "acc", "path", "json", "statistics", "cachedb_local", "cfgutils", "event_route"),
    *("mi_script", "mi_fifo", "mi_datagram", "httpd", "mi_http"),
)
LOADED = "".join(f'loadmodule "{name}.so"\n' for name in MODULES)


@pytest.fixture
def told(tmp_path):
    """The problems of a script that loads every module, without the kinds that have no effect here."""

    def find(text):
        script = tmp_path / "opensips.cfg"
        script.write_text(LOADED + text)
        found = load(script, catalog=CATALOG, always=ALWAYS)
        problems = found.warnings if isinstance(found, Checked) else found
        return [(problem.code, problem.message) for problem in problems if problem.code != "without-effect"]

    return find


@pytest.mark.parametrize(
    "setting",
    [
        "log_level=3",
        "xlog_level=2",
        "stderror_enabled=yes",
        "syslog_enabled=no",
        'log_prefix="sip"',
        'stderror_log_format="json"',
        "log_event_enabled=yes",
        "udp_workers=4",
        "tcp_workers=2",
        "timer_workers=1",
        "socket=udp:127.0.0.1:5060",
        "socket=udp:127.0.0.1:5060 use_auto_scaling_profile P\nauto_scaling_profile=P\n scale up to 4 on 70% for 4",
        'advertised_address="192.0.2.9"',
        'alias="sip.example.com"',
        'mpath="/usr/lib/modules/"',
        'db_default_url="sqlite:///x"',
        "server_signature=no",
        'server_header="Server: x"',
        'user_agent_header="User-Agent: x"',
        "max_while_loops=100",
        "open_files_limit=4096",
        "enable_asserts=yes",
        "abort_on_assert=no",
        'dst_blacklist = gw: {(udp, 192.0.2.4, 5060, "")}',
    ],
)
def test_global_parameters(told, setting):
    assert told(f"{setting}\nroute {{ exit; }}") == []


@pytest.mark.parametrize(
    "names",
    [
        "$ru $rU $rd $rp $rP $ou $oU $od $op $fu $fU $fd $ft $fn $tu $tU $td $tt $tn",
        "$ci $cs $rm $rs $rr $rc $retcode $rt $ua $ct $ct.fields(uri) $(ct.fields(expires)[1])",
        "$si $sp $sP $socket_in $socket_in(port) $socket_out $socket_out(ip) $Ri $du $dd $dp $dP",
        "$hdr(Via) $(hdr(Via)[1]) $(hdr(Via)[*]) $(hdr(Via)[-1]) $hdrcnt(Via) $rb $ml $mb $mi $mf $bf $path",
        "$msg.is_request $msg.type $msg.flag(A) $msg.branch.uri $(msg.branch.duri[0]) $(branch(uri)[*]) $branch",
        "$au $ar $adu $ad $aU $Tf $Ts $Tsm $TS $time(%F) $ctime $pp $RANDOM $argv(x) $env(HOME)",
        "$route $route.name $route.type $param(1) $return(0) $cfg_line $cfg_file $log_level",
        "$var(x) $avp(x) $(avp(x)[*]) $shv(x) $json(x/y[0]) $stat(x)",
        "$dlg_val(x) $DLG_count $DLG_status $DLG_lifetime $DLG_dir $DLG_did $DLG_flags $DLG_timeout",
        "$T_ruri $T_branch_idx $T_reply_code $T_fr_timeout $T_fr_inv_timeout $T_id",
        "$sdp.line(m) $sdp.stream(0) $sdp.session(name) $(<request>ci) $(<reply>rs)",
    ],
)
def test_variables(told, names):
    assert told(f'route {{ xlog("{names}\\n"); }}') == []


@pytest.mark.parametrize(
    "statement",
    [
        'setflag("A")',
        'resetflag("A")',
        'isflagset("A")',
        'setbflag("A", 0)',
        'append_hf("X: y\\r\\n")',
        'append_hf("X: y\\r\\n", "Via")',
        'remove_hf("X")',
        "append_msg_branch()",
        'append_msg_branch("sip:a@b")',
        'is_method("INVITE|ACK")',
        "has_totag()",
        'xlog("L_INFO", "$rU\\n")',
        'log(1, "x")',
        'raise_event("E_X")',
        'cache_store("local", "k", "v")',
        'cache_store("local", "k", "v", 60)',
        'cache_fetch("local", "k", $avp(v))',
        'cache_remove("local", "k")',
        'cache_counter_fetch("local", "k", $avp(v))',
        "get_timestamp($avp(s), $avp(u))",
        "force_rport()",
        'prefix("00")',
        "strip(2)",
        "strip_tail(1)",
        'is_myself("$rd")',
        'construct_uri("sip", "a", "b", 5060, "x=1", $avp(u))',
        'sl_send_reply(200, "OK")',
        "sl_reply_error()",
        "t_newtran()",
        "t_check_trans()",
        't_reply(200, "OK")',
        'send_reply(200, "OK")',
        't_check_status("4[0-9][0-9]")',
        "record_route()",
        "loose_route()",
        "mf_process_maxfwd_header(10)",
        "create_dialog()",
        'save("location")',
        'lookup("location")',
    ],
)
def test_functions(told, statement):
    assert told(f"route {{ {statement}; exit; }} route[x] {{ exit; }}") == []


def test_what_is_gone_in_version_3_is_told(told):
    assert told("route { append_branch(); exit; }") == [("unknown-function", "unknown function append_branch()")]
    assert told("route { setflag(A); }") == [("syntax", 'unexpected "A": text stands in quotes: "A"')]


@pytest.mark.parametrize("word", ["or", "and", "not", "in", "sync", "async"])
@pytest.mark.parametrize("kind", ["route", "onreply_route", "failure_route"])
def test_words_of_the_language_are_no_names_of_routes(told, kind, word):
    (found,) = told(f"route {{ exit; }} {kind}[{word}] {{ exit; }}")
    assert found == ("bad-route", f'"{word}" is a word of the language and cannot be the name of a route')


@pytest.mark.parametrize("left", ["5", '"a"', "(1 + 1)", "$var(x) + 1"])
def test_a_literal_on_the_left_of_a_comparison_is_no_comparison(told, left):
    assert [code for code, _ in told(f"route {{ if ({left} == $var(x)) exit; }}")] == ["syntax"]


TEXT = b"a=1;b"


@pytest.mark.parametrize(
    ("value", "change", "result"),
    [
        *[
            ("a=1;b", f"s.{name}", hashlib.new(name, TEXT).hexdigest())
            for name in ("sha224", "sha256", "sha384", "sha512")
        ],
        *[
            ("a=1;b", f"s.{name}_hmac,key", hmac.new(b"key", TEXT, name).hexdigest())
            for name in ("sha224", "sha256", "sha384", "sha512")
        ],
        ("abc", "s.xor,key", "\n\x07\x1a"),
        ("ab", "s.rindex,b", 1),
        ("a;b;c", "s.select,-2,;", "b"),
        ("a%3b", "s.unescape.param", "a;"),
        ("10.0.0.1", "ip.isip4", 1),
        ("::1", "ip.family", "INET6"),
        ("sip:a@b;maddr=10.0.0.1;ttl=3;method=BYE;lr;r2=on", "uri.maddr", "10.0.0.1"),
        ("sip:a@b;maddr=10.0.0.1;ttl=3;method=BYE;lr;r2=on", "uri.ttl", "3"),
        ("sip:a@b;maddr=10.0.0.1;ttl=3;method=BYE;lr;r2=on", "uri.method", "BYE"),
        ("sip:a@b;maddr=10.0.0.1;ttl=3;method=BYE;lr;r2=on", "uri.r2", "on"),
        ("sips:a@b", "uri.schema", "sips"),
        ("a=1;b=2", "param.valueat,-1", "2"),
        ('"B" <sip:b@h>', "nameaddr.len", 13),
    ],
)
def test_transformations(run, value, change, result):
    made = run(f"$var(x) = $avp(in); $var(y) = $(var(x){{{change}}});")
    made.context.avps["in"] = [value]
    made.run()
    assert made.var("y") == result
