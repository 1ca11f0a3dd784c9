"""What a text that comes out of a message cannot do, wherever a script puts it."""

import time

import pytest

from runtime.script.kept import kept
from runtime.script.networks import InNetwork, network_of
from runtime.script.patterns import MAX_TEXT_CHARS, compile_pattern, substitution
from runtime.script.sdp_access import pieces_of
from runtime.script.sdp_changes import Move, change_codecs

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


@pytest.mark.parametrize(
    ("uri", "statement"),
    [
        ("sip:a@h", '$rd = "";'),
        ("sip:a@h", '$rd = "[::1";'),
        ("sip:a@h:5", '$rd = "[::1]:5";'),
        ("tel:+1", '$rd = "h";'),
        ("tel:+1", "$rp = 5;"),
        ("tel:+1", '$rU = "";'),
        ("tel:+1", 'sethostport("h:5");'),
        ("tel:+1", "strip(2);"),
        ("tel:+1", 'setuserpass("pw");'),
    ],
)
def test_what_would_leave_no_uri_is_not_assigned(run, uri, statement):
    made = run(f'$ru = "{uri}"; {statement} xlog("$rc $ru");')
    assert made.texts[-1] == f"-1 {uri}"


@pytest.mark.parametrize(
    ("uri", "statement", "changed"),
    [
        ("tel:+1;x=y", 'prefix("9");', "tel:9+1;x=y"),
        ("tel:+12", "strip(1);", "tel:12"),
        ("tel:+1", '$rU = "2";', "tel:2"),
        ("sip:a:pw@h", "strip(1);", "sip:h"),
        ("sip:a@h", '$rU = "";', "sip:h"),
        ("sip:a@h", '$rd = "[::1]";', "sip:a@[::1]"),
    ],
)
def test_what_is_assigned_leaves_a_uri(run, uri, statement, changed):
    assert run(f'$ru = "{uri}"; {statement}').context.ruri == changed


@pytest.mark.parametrize("header", [" X: 1", "\\tX: 1", ": 1", "X Y: 1", "$hdr(Missing) X: 1", "X"])
def test_what_is_no_header_line_is_not_appended(run, header):
    made = run(f'append_hf("{header}"); xlog("$rc"); insert_hf("{header}"); xlog("$rc");')
    assert (made.context.edits, made.texts) == ([], ["-1", "-1"])


def test_a_header_name_may_have_a_blank_before_its_colon(run):
    assert run('append_hf("X : 1");').context.edits == [("append", "X : 1\r\n")]


def test_a_text_that_doubles_ends_in_an_error(bench):
    made = bench(
        """loadmodule "tools.so"
        route {
          $var(x) = "0123456789";
          while ($(var(x){s.len}) < 100000000 && pv_printf($var(x), "$var(x)$var(x)")) $var(turned) = 1;
          launch(later("x"), report, "$var(x)$var(x)");
        }
        route[report] { exit; }
        """
    )
    made.run()
    assert len(made.var("x")) == 655_360
    assert made.process.launched[0][2] is None


def test_a_replacement_that_is_too_long_replaces_nothing():
    every_letter = substitution(compile_pattern("."), "x" * MAX_TEXT_CHARS, every=True)
    assert every_letter.apply("a" * 1000) is None


def test_a_text_that_is_evaluated_stops_where_it_is_too_long(bench):
    made = bench('route { if ($(var(text){s.eval}) == NULL) xlog("null"); }')
    made.context.variables.update(long="x" * MAX_TEXT_CHARS, text="$var(long)" * 1000)
    made.run()
    assert made.texts == ["null"]


@pytest.mark.parametrize("path", ["/" * 60_000, "a=" + "x" * 60_000, "a/b/c/d", "[9999]" * 10_000])
def test_a_path_into_a_description_has_three_steps_at_most(path):
    assert len(pieces_of(path) or ()) <= 3


def test_answers_are_kept_for_short_texts_only():
    asked = []
    answer = kept(2, longest=3)(lambda text: asked.append(text) or len(text))
    assert [answer(text) for text in ("one", "one", "four", "four")] == [3, 3, 4, 4]
    assert asked == ["one", "four", "four"]


def test_what_is_longer_than_an_address_is_in_no_network():
    everything = InNetwork(network_of("::/0"))
    assert everything("[fe80::1%eth0]")
    assert not everything("fe80::1%" + "e" * 100_000)


def test_codecs_without_number_are_taken_away_at_once():
    numbers = [str(number) for number in range(20_000)]
    text = f"v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nt=0 0\r\nm=audio 4000 RTP/AVP {' '.join(numbers)}\r\n"
    began = time.thread_time()
    changed = change_codecs(text, lambda codec: codec.payload[-1] in "02468", Move.AWAY)
    assert time.thread_time() - began < 1  # seconds of this thread alone; comparing each with each takes more
    assert changed is not None
    assert changed.split()[-3:] == ["19995", "19997", "19999"]
