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
