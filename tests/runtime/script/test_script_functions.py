"""The functions that every script has."""

import pytest

from runtime.context import Branch


def test_flags(run):
    made = run(
        """
        setflag("A"); setflag("B"); resetflag("B");
        if (isflagset("A") && !isflagset("B")) xlog("A alone: $mf");
        setbflag("C"); if (isbflagset("C", 0) && !isbflagset("C", 1)) xlog("branch $bf $msg.branch.flag(C)");
        $msg.flag(D) = 1; $msg.flag(A) = 0; xlog("$mf");
        """
    )
    assert made.texts == ["A alone: A", "branch C 1", "D"]
    assert (made.context.flags, made.context.branch_flags) == ({"D"}, {"C"})


@pytest.mark.parametrize(
    ("statement", "uri"),
    [
        ('prefix("00");', "sip:00alice@example.com:5070;transport=udp"),
        ("strip(2);", "sip:ice@example.com:5070;transport=udp"),
        ("strip_tail(3);", "sip:al@example.com:5070;transport=udp"),
        ('setuser("x"); sethost("h.net"); setport("1");', "sip:x@h.net:1;transport=udp"),
        ('seturi("sip:new@h"); prefix("a");', "sip:anew@h"),
        ('seturi("sip:new@h"); revert_uri();', "sip:alice@example.com:5070;transport=udp"),
        ('sethost("a b");', "sip:alice@example.com:5070;transport=udp"),
    ],
)
def test_the_request_uri(run, statement, uri):
    assert run(statement).context.ruri == uri


def test_headers_are_edits_in_order(run):
    made = run('append_hf("X-A: $rU\\r\\n"); remove_hf("User-Agent"); if (!remove_hf("None")) append_hf("X-B: 1");')
    assert made.context.edits == [
        ("append", "X-A: alice\r\n"),
        ("remove", "User-Agent"),
        ("append", "X-B: 1\r\n"),
    ]


def test_a_value_cannot_smuggle_headers_in(run):
    made = run('$var(x) = "a\\r\\nEvil: yes"; if (!append_hf("X: $var(x)")) xlog("refused");')
    assert (made.context.edits, made.texts) == ([], ["refused"])


def test_branches(run):
    made = run(
        """
        append_msg_branch("sip:b@h", "0.5"); $branch = "sip:c@h"; append_msg_branch();
        if (!append_msg_branch("sip:d@h", "7")) xlog("$branch(uri) $(branch(uri)[1]) $(branch[*])");
        setbflag("F", 2); remove_msg_branch(0);
        """
    )
    assert made.texts == ["sip:b@h sip:c@h sip:b@h, sip:c@h, sip:alice@example.com:5070;transport=udp"]
    assert made.context.branches == [
        Branch("sip:c@h", flags={"F"}),
        Branch("sip:alice@example.com:5070;transport=udp"),
    ]


def test_destination_rport_time_and_printf(run):
    made = run(
        """
        if (!isdsturiset() && setdsturi("sip:10.0.0.9") && isdsturiset()) xlog("$du");
        resetdsturi(); force_rport();
        get_timestamp($avp(s), $avp(us)); xlog("$avp(s) $avp(us)");
        pv_printf($var(p), "u=$rU"); xlog("$var(p)");
        if (!pv_printf($ru, "no uri")) xlog("refused");
        """
    )
    assert made.texts == ["sip:10.0.0.9", "1790000000 250000", "u=alice", "refused"]
    assert (made.context.dst_uri, made.context.force_rport) == (None, True)


def test_is_myself(bench):
    made = bench(
        "socket=udp:127.0.0.1:5060\nsocket=udp:[::1]:5070\n"
        'route { if (is_myself("127.0.0.1") && is_myself("[::1]", 5070) && !is_myself("127.0.0.1", 5070)) xlog("y"); }'
    )
    made.run()
    assert made.texts == ["y"]


def test_what_is_advertised_is_ours_too(bench):
    made = bench(
        "socket=tcp:127.0.0.1:5060 as sip.example.org:5090\n"
        'route { if (is_myself("SIP.example.org", 5090) && !is_myself("sip.example.org", 5060)) xlog("y"); }'
    )
    made.run()
    assert made.texts == ["y"]


def test_a_script_knows_what_its_message_came_over(bench):
    made = bench(
        "socket=udp:127.0.0.1:5060\nsocket=tcp:[::1]:5070 as sip.example.org:5090 tag inside\n"
        'route { xlog("$sP $socket_in $Ri $Rp $socket_in(proto) $socket_in(af)");'
        ' xlog("$socket_in(advertised_ip) $socket_in(advertised_port) $socket_in(tag)"); }'
    )
    made.run()
    made.context.socket = 1
    made.run()
    assert made.texts == [
        "UDP udp:127.0.0.1:5060 127.0.0.1 5060 udp INET",
        "<null> <null> <null>",
        "TCP tcp:[::1]:5070 ::1 5070 tcp INET6",
        "sip.example.org 5090 inside",
    ]


def test_sockets_to_send_from(bench):
    made = bench(
        "socket=udp:127.0.0.1:5060\nsocket=tcp:127.0.0.1:5070 tag inside\n"
        """route {
          append_msg_branch("sip:b@h");
          xlog("$socket_out $socket_out(forced)");
          $socket_out = "tcp:127.0.0.1:5070"; xlog("$socket_out $socket_out(port) $socket_out(forced)");
          $socket_out = NULL; xlog("$socket_out(forced)");
          if (force_send_socket("inside") && !force_send_socket("udp:10.0.0.1:1")) xlog("$socket_out(tag)");
          $msg.branch.socket = "udp:127.0.0.1"; $(msg.branch.socket[0]) = NULL; xlog("$(msg.branch.socket[*])");
          $socket_out = "udp:10.0.0.1:5060"; xlog("$rc");
        }"""
    )
    made.run()
    assert made.texts == [
        "udp:127.0.0.1:5060 <null>",
        "tcp:127.0.0.1:5070 5070 tcp:127.0.0.1:5070",
        "<null>",
        "inside",
        "None, udp:127.0.0.1:5060",
        "this server does not listen on udp:10.0.0.1:5060",
        "-1",
    ]


def test_log_levels_of_the_process(run):
    made = run("$log_level = 4; $xlog_level = -1; $log_level = NULL; $log_level = 5; $xlog_level = 'x';")
    assert made.process.levels_set == [("log", 4), ("xlog", -1), ("log", None)]
    assert len(made.texts) == 2


@pytest.mark.parametrize(
    ("part", "value"), [("year", 2026), ("mon", 9), ("yday", 264), ("wday", 2), ("min", 13), ("none", None)]
)
def test_parts_of_the_time(run, part, value, monkeypatch):
    assert run(f"$var(x) = $ctime({part});").var("x") == value


@pytest.mark.parametrize(
    ("statement", "edits"),
    [
        ('append_hf("X: 1", "Call-ID");', [("after Call-ID", "X: 1\r\n")]),
        ('insert_hf("X: 1\\r\\n");', [("insert", "X: 1\r\n")]),
        ('insert_hf("X: 1", "i");', [("before i", "X: 1\r\n")]),
        ('insert_hf("X: 1", "None");', []),
        ('insert_hf("X");', []),
        ('remove_hf("User*", "g");', [("remove", "user-agent")]),
        ('remove_hf("^CON", "r");', [("remove", "contact"), ("remove", "content-length")]),
        ('remove_hf_re("^con.act$");', [("remove", "contact")]),
        ('remove_hf_glob("con*");', [("remove", "contact"), ("remove", "content-length")]),
        ('remove_hf("(", "r");', []),
        ('remove_hf("a", "g");', []),
    ],
)
def test_where_header_lines_go_and_which_are_taken_out(run, statement, edits):
    made = run(statement + ' xlog("$rc");')
    assert (made.context.edits, made.texts) == (edits, ["1" if edits else "-1"])


@pytest.mark.parametrize(
    ("statement", "uri"),
    [
        ('setuserpass("pw");', "sip:alice:pw@example.com:5070;transport=udp"),
        ('setuserpass("p@w");', "sip:alice@example.com:5070;transport=udp"),
        ('sethostport("h.net:1");', "sip:alice@h.net:1;transport=udp"),
        ('sethostport("h.net");', "sip:alice@h.net;transport=udp"),
        ('sethostport("[::1]:7");', "sip:alice@[::1]:7;transport=udp"),
        ('sethostport("h;x=1");', "sip:alice@example.com:5070;transport=udp"),
        ('sethostport("u@h");', "sip:alice@example.com:5070;transport=udp"),
    ],
)
def test_further_parts_of_the_request_uri(run, statement, uri):
    assert run(statement).context.ruri == uri


@pytest.mark.parametrize(
    ("call", "uri"),
    [
        ('construct_uri("sip", "vlad", "h.net", "5061", "a=b", $var(x));', "sip:vlad@h.net:5061;a=b"),
        ('construct_uri("sips",, "h.net",,, $var(x));', "sips:h.net"),
        ('construct_uri("sip", "vlad", "h.net", "", "", $var(x));', "sip:vlad@h.net"),
        ('construct_uri("sip", "vlad", "h;x", "", "", $var(x));', None),
        ('construct_uri("sip", "vlad", "h.net", "port", "", $var(x));', None),
    ],
)
def test_a_uri_is_put_together(run, call, uri):
    made = run(call + ' xlog("$rc");')
    assert (made.var("x"), made.texts) == (uri, ["1" if uri else "-1"])


def test_branches_change_places(run):
    made = run(
        """
        append_msg_branch("sip:b@h", "0.5", "inherite"); append_msg_branch("sip:c@h");
        swap_branches(0, 2); xlog("$(msg.branch.uri[*])");
        move_branch(1, 2); xlog("$(msg.branch.uri[*])");
        move_branch(1, 0, "keep"); xlog("$(msg.branch.uri[*])");
        if (!move_branch(5) && !swap_branches(1, 1) && !swap_branches(0, -1)) xlog("refused");
        """
    )
    alice = "sip:alice@example.com:5070;transport=udp"
    assert made.texts == [f"sip:c@h, sip:b@h, {alice}", "sip:c@h, sip:b@h", "sip:b@h, sip:b@h", "refused"]


def test_a_branch_that_is_kept_shares_nothing_with_the_one_in_its_image(run):
    made = run(
        """
        append_msg_branch("sip:b@h"); append_msg_branch("sip:c@h"); setbflag("F", 1);
        move_branch(1, 2, "keep"); setbflag("G", 1); $(msg.branch.attr(a)[2]) = 1;
        """
    )
    one, other = made.context.branches
    assert (one.uri, one.flags, one.attributes) == ("sip:b@h", {"F", "G"}, {})
    assert (other.uri, other.flags, other.attributes) == ("sip:b@h", {"F"}, {"a": 1})


def test_an_inheriting_branch_has_what_the_main_one_has(run):
    made = run(
        '$du = "sip:hop"; setbflag("F"); append_msg_branch("sip:b@h",, "inherite"); append_msg_branch("sip:c@h");'
    )
    one, other = made.context.branches
    assert (one.dst_uri, one.flags, other.dst_uri, other.flags) == ("sip:hop", {"F"}, None, set())


def test_branches_are_tried_one_after_another(run):
    made = run(
        """
        $ru_q = "0.7"; append_msg_branch("sip:b@h", "0.7"); append_msg_branch("sip:c@h", "1");
        append_msg_branch("sip:d@h");
        serialize_branches(1); xlog("$msg.branch.last_idx");
        while (next_branches()) { $var(rc) = $rc; xlog("$var(rc) $(msg.branch.uri[*])"); }
        append_msg_branch("sip:e@h", "1"); serialize_branches(1, 1); next_branches(); xlog("$ru");
        """
    )
    assert made.texts == [
        "0",
        "1 sip:c@h",
        "1 sip:alice@example.com:5070;transport=udp, sip:b@h",
        "2 sip:d@h",
        "sip:d@h",
    ]
