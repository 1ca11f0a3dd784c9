"""What a text that comes out of a message cannot do, wherever a script puts it."""

import pytest

LINE_END = '$var(u) = "a%0d%0aX-Added%3a 1"; $var(t) = $(var(u){s.unescape.user}); '


@pytest.mark.parametrize(
    "statement",
    [
        '$ru = "sip:a@h;x=" + $var(t);',
        '$ru = "sip:" + $var(t) + "@h";',
        '$du = "sip:h?x=" + $var(t);',
        '$msg.branch = "sip:" + $var(t) + "@h";',
        '$msg.branch.uri = "sip:" + $var(t) + "@h";',
        'seturi("sip:$var(t)@h");',
        'setdsturi("sip:$var(t)@h");',
        'append_msg_branch("sip:$var(t)@h");',
        'prefix("$var(t)");',
        'sethostport("$var(t)");',
        '$ru = "sip:a b@h";',
    ],
)
def test_no_line_end_and_no_blank_goes_into_a_uri_that_is_sent(run, statement):
    made = run(f'{LINE_END} {statement} xlog("$rc");')
    assert (made.context.ruri, made.context.dst_uri, made.context.branches) == (
        "sip:alice@example.com:5070;transport=udp",
        None,
        [],
    )
    assert made.texts[-1] == "-1"
