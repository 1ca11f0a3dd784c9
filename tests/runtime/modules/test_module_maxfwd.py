"""Module maxfwd, as a script uses it."""

import pytest

HEAD = 'loadmodule "maxfwd.so"\n'


def request(max_forwards):
    line = "" if max_forwards is None else f"Max-Forwards: {max_forwards}\r\n"
    return (
        f"OPTIONS sip:b@h SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1\r\n{line}"
        f"From: <sip:a@h>;tag=1\r\nTo: <sip:b@h>\r\nCall-ID: c1\r\nCSeq: 2 OPTIONS\r\nContent-Length: 0\r\n\r\n"
    ).encode()


@pytest.mark.parametrize(
    ("received", "rc", "sent"),
    [
        ("70", "1", 69),
        ("1", "1", 0),
        ("300", "1", 256),
        ("4294967295", "1", 256),
        ("0", "-1", None),
        (None, "2", 10),
        ("many", "-2", None),
        ("-1", "-2", None),
    ],
)
def test_one_hop_less(scripted, received, rc, sent):
    made = scripted(HEAD + 'route { mf_process_maxfwd_header(10); xlog("$rc"); }', request(received))
    assert (made.texts, made.context.max_forwards) == ([rc], sent)


def test_never_more_than_the_limit(scripted):
    limit = 'modparam("maxfwd", "max_limit", 32)\n'
    made = scripted(HEAD + limit + "route { mf_process_maxfwd_header(10); }", request("70"))
    assert made.context.max_forwards == 32


@pytest.mark.parametrize("value", ["0", "257", "-1"])
def test_a_value_out_of_range_does_nothing(scripted, value):
    made = scripted(HEAD + f'route {{ mf_process_maxfwd_header({value}); xlog("$rc"); }}', request(None))
    assert (made.texts, made.context.max_forwards) == (["-2"], None)


@pytest.mark.parametrize(
    ("received", "before", "rc"),
    [
        ("9", "", "1"),
        ("10", "", "-1"),
        ("10", "mf_process_maxfwd_header(10);", "1"),
        (None, "", "-2"),
        (None, "mf_process_maxfwd_header(9);", "1"),
        ("many", "", "-3"),
    ],
)
def test_whether_less_is_left(scripted, received, before, rc):
    made = scripted(HEAD + f'route {{ {before} is_maxfwd_lt(10); xlog("$rc"); }}', request(received))
    assert made.texts == [rc]
