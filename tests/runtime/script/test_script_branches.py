"""Branches of the message, the messages of others, and what a session description says."""

import pytest

from runtime.context import RouteType
from runtime.sip.message import parse
from tests.runtime.script.conftest import INVITE, RINGING, make_context

THREE = 'append_msg_branch("sip:b@h", "0.5"); append_msg_branch("sip:c@h"); '


@pytest.mark.parametrize(
    ("statements", "shown"),
    [
        ("", "sip:alice@example.com:5070;transport=udp 0"),
        (THREE, "sip:c@h 2"),
        (THREE + '$msg.branch.uri = "sip:x@h";', "sip:x@h 2"),
        ('$msg.branch = "sip:n@h";', "sip:n@h 1"),
        ('$msg.branch.uri = "sip:own@h";', "sip:own@h 0"),
    ],
)
def test_the_last_branch_is_meant(run, statements, shown):
    assert run(f'{statements} xlog("$msg.branch.uri $msg.branch.last_idx");').texts == [shown]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("$(msg.branch.uri[0])", "sip:alice@example.com:5070;transport=udp"),
        ("$(msg.branch.uri[1]) $(msg.branch.uri[-1]) $(msg.branch.uri[3])", "sip:b@h sip:c@h <null>"),
        ("$(msg.branch.uri[*])", "sip:alice@example.com:5070;transport=udp, sip:b@h, sip:c@h"),
        ("$(msg.branch.q[1]) $msg.branch.q", "0.5 <null>"),
        ("$msg.branch $(msg.branch[1])", "sip:c@h sip:b@h"),
        ("$(branch(uri)[*]) $(branch(q)[0]) $(branch(none)[0])", "sip:b@h, sip:c@h 500 <null>"),
    ],
)
def test_branches_by_index(run, text, shown):
    assert run(f'{THREE} xlog("{text}");').texts == [shown]


def test_the_parts_of_each_branch_are_written_by_index(run):
    made = run(
        THREE
        + """
        $(msg.branch.uri[0]) = "sip:own@h"; $(msg.branch.duri[0]) = "sip:hop"; $(msg.branch.q[0]) = "1";
        $(msg.branch.duri[1]) = "sip:hop1"; $(msg.branch.path[1]) = "<sip:p;lr>"; $msg.branch.q = 250; $ru_q = 0;
        $(msg.branch.flag(F)[0]) = 1; $msg.branch.flag(G) = 1; $(msg.branch.flag(H)[1]) = 1; $msg.branch.flag(H) = 0;
        $msg.branch.attr(name) = "one"; $(msg.branch.attr(num)[0]) = 5;
        xlog("$(msg.branch.flags[*]) $(msg.branch.flag(H)[1]) $msg.branch.flag(G)");
        xlog("$msg.branch.attr(name) $(msg.branch.attr(num)[0]) $(msg.branch.attr(num)[1]) $ru_q");
        """
    )
    own, (one, two) = made.context, made.context.branches
    assert (own.ruri, own.dst_uri, own.q, own.branch_flags) == ("sip:own@h", "sip:hop", 0, {"F"})
    assert (one.dst_uri, one.path, one.flags, two.q, two.flags) == ("sip:hop1", "<sip:p;lr>", {"H"}, 250, {"G"})
    assert made.texts == ["F, H, G 1 1", "one 5 <null> 0"]


def test_the_parts_of_appended_branches_are_written_by_index(bench):
    made = bench(
        f"""socket=udp:192.0.2.9:5060
        socket=udp:192.0.2.9:5062 as two
        route {{ {THREE}
        $(branch(uri)[0]) = "sip:b2@h"; $branch(q) = 700; $(branch(q)[1]) = "0.25"; $(branch(duri)[-1]) = "sip:hop";
        $(branch(path)[1]) = "<sip:p;lr>"; $(branch(socket)[1]) = "udp:192.0.2.9:5062"; $var(first) = 0;
        $(branch(duri)[$var(first)]) = "sip:gone"; $(branch(duri)[0]) = NULL;
        xlog("$(branch(q)[*]) $branch $branch(socket) $(branch(socket)[1])");
        }}"""
    )
    made.run()
    one, two = made.context.branches
    assert (one.uri, one.q, one.dst_uri, one.send_socket) == ("sip:b2@h", 700, None, None)
    assert (two.uri, two.q, two.dst_uri, two.path, two.send_socket) == ("sip:c@h", 250, "sip:hop", "<sip:p;lr>", 1)
    assert made.texts == ["700, 250 sip:b2@h <null> udp:192.0.2.9:5062"]


@pytest.mark.parametrize(
    "statement",
    [
        '$(branch(uri)[2]) = "sip:x";',
        '$(branch(uri)[-3]) = "sip:x";',
        '$(branch(uri)[0]) = "no uri";',
        '$(branch[0]) = "sip:x";',
        "$(branch(flags)[0]) = 3;",
        "$(branch(q)[0]) = 1001;",
        '$branch(none) = "x";',
        '$branch(socket) = "udp:192.0.2.77:5060";',
        '$(branch(socket)[2]) = "udp:192.0.2.9:5060";',
        '$(msg.branch.uri[3]) = "sip:x";',
        '$msg.branch.uri = "no uri";',
        "$msg.branch = 5;",
        '$msg.branch.q = "2";',
        '$msg.branch.path = "a\\r\\nb";',
    ],
)
def test_what_a_branch_does_not_take(run, statement):
    made = run(f'{THREE} {statement} xlog("$rc $(branch(uri)[*])");')
    assert (made.process.logged[0][0], made.texts[-1]) == (-1, "-1 sip:b@h, sip:c@h")


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ('$(msg.branch.uri[*]) = "sip:x";', "only an AVP is written by [*]"),
        ('$(hdr(X)[0]) = "x";', "$hdr is not written by index"),
        ('$(<reply>ru) = "sip:x";', "what another message has cannot be written"),
        ("xlog('$(avp(x)[append])');", "is where a value is added"),
        ("for ($var(i) in $(<request>hdr(X)[*])) exit;", "is no list"),
        ("$msg.branch.last_idx = 1;", "cannot be written"),
    ],
)
def test_what_the_checker_refuses(problems, statement, message):
    assert message in " ".join(problems(f"route {{ {statement} }}"))


def test_a_value_is_appended_as_the_oldest_of_an_avp(run):
    made = run("$avp(x) = 1; $avp(x) = 2; $(avp(x)[append]) = 0; $(avp(y)[append]) = 7;")
    assert made.context.avps == {"x": [0, 1, 2], "y": [7]}


# $(<request>…) and $(<reply>…)

BOTH = 'route { xlog("$(<request>ru)|$(<request>hdr(User-Agent){s.len})|$(<reply>rs)|$(<reply>rr)|$rs"); }'


def test_a_request_route_has_no_reply(bench):
    made = bench(BOTH)
    made.run()
    assert made.texts == ["sip:alice@example.com:5070;transport=udp|9|<null>|<null>|<null>"]


def test_a_reply_route_sees_the_request(bench):
    made = bench(BOTH)
    request = make_context(INVITE)
    request.ruri = "sip:changed@h"
    made.context.message, made.context.request = parse(RINGING), request
    made.run()
    assert made.texts == ["sip:changed@h|9|180|Ringing|180"]


def test_a_reply_whose_request_is_gone_sees_none_of_it(bench):
    made = bench(BOTH, raw=RINGING)
    made.run()
    assert made.texts == ["<null>|<null>|180|Ringing|180"]


def test_a_failure_route_sees_the_reply(bench):
    made = bench(BOTH.replace("|$rs", "|$rs|$(<reply>hdr(Call-ID))"))
    made.context.route, made.context.reply = RouteType.FAILURE, parse(RINGING.replace(b"180 Ringing", b"486 Busy"))
    made.run()
    assert made.texts == ["sip:alice@example.com:5070;transport=udp|9|486|Busy|<null>|call-1"]
