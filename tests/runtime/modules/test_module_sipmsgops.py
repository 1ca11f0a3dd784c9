"""Modules sipmsgops and textops, as a script uses them."""

import pytest

from tests.runtime.script.conftest import RINGING

AUDIO = (
    "m=audio 4000 RTP/AVP 0 8 97 101\r\n"
    "a=rtpmap:97 SPEEX/8000\r\na=fmtp:97 mode=1\r\na=rtpmap:101 telephone-event/8000\r\na=sendonly\r\n"
)
VIDEO = "m=video 4002 RTP/AVP 31\r\n"
SDP = f"v=0\r\no=- 1 1 IN IP4 10.0.0.1\r\ns=-\r\nc=IN IP4 10.0.0.1\r\nt=0 0\r\n{AUDIO}{VIDEO}"
PARTS = "--cut\r\nContent-Type: text/plain\r\n\r\nhello\r\n--cut\r\nContent-Type: application/isup\r\n\r\nx\r\n--cut--"


def request(body=SDP, media_type="application/sdp", ruri="sip:alice@h;a=1;ob", extra=""):
    return (
        f"INVITE {ruri} SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1\r\nFrom: <sip:b@home.net>;tag=1\r\n"
        f"To: <sip:alice@h>\r\nCall-ID: c1\r\nCSeq: 1 INVITE\r\n{extra}"
        + (f"Content-Type: {media_type}\r\n" if media_type else "")
        + f"Content-Length: {len(body)}\r\n\r\n{body}"
    ).encode()


MIXED = request(PARTS, "multipart/mixed;boundary=cut")


@pytest.fixture
def run(scripted):
    """Run statements with both modules loaded."""

    def go(statements, raw=None):
        head = 'loadmodule "sipmsgops.so"\nloadmodule "textops.so"\n'
        return scripted(f"{head}route {{ {statements} }}", request() if raw is None else raw)

    return go


@pytest.mark.parametrize(
    ("call", "true"),
    [
        ("has_body()", True),
        ('has_body("application/sdp")', True),
        ('has_body("text/plain")', False),
        ('has_body_part("application/*")', True),
        ("is_audio_on_hold()", True),
        ('codec_exists("speex")', True),
        ('codec_exists("Speex", "8000")', True),
        ('codec_exists("speex", "16000")', False),
        ('codec_exists("pcmu")', True),  # a static payload type
        ('codec_exists_re("^sp[a-z]*")', True),
        ('codec_exists_re("g729")', False),
        ('stream_exists("video|image")', True),
        ('stream_exists("image")', False),
        ('is_privacy("id")', False),
        ('ruri_has_param("ob")', True),
        ('ruri_has_param("a", "1")', True),
        ('ruri_has_param("a", "2")', False),
        ('ruri_has_param("b")', False),
        ('is_uri_user_e164("sip:+4930123@h")', True),
        ('is_uri_user_e164("sip:0030123@h")', False),
        ("sipmsg_validate()", True),
        ('sipmsg_validate("shrftcm")', True),
        ('search("^INVITE.*c1")', True),
        ('search("nothing of it")', False),
        ('search_body("m=VIDEO")', True),
        ('search_body("INVITE")', False),
    ],
)
def test_questions(run, call, true):
    assert run(f'if ({call}) xlog("yes"); else xlog("no");').texts == ["yes" if true else "no"]


def test_parts_of_a_body(run):
    made = run(
        'if (has_body("text/plain") && has_body_part("multipart/mixed") && !has_body("a/b")) xlog("yes");', MIXED
    )
    assert made.texts == ["yes"]


def test_no_body(run):
    made = run(
        'if (!has_body() && !has_body("a/b") && !strip_body() && !codec_exists("pcmu")) xlog("yes");', request("")
    )
    assert made.texts == ["yes"]


@pytest.mark.parametrize("privacy", ["id", "header;ID", "user; id"])
def test_privacy(run, privacy):
    raw = request(extra=f"Privacy: {privacy}\r\n")
    assert run('if (is_privacy("id") && !is_privacy("session")) xlog("yes");', raw).texts == ["yes"]


@pytest.mark.parametrize(
    ("flags", "raw", "shown"),
    [
        ("s", request("nonsense"), "-6 Body parse error"),
        ("r", request(ruri="sip:h:port"), "-11 Request URI parse error"),
        ("c", request(extra="Contact: <sip:unclosed\r\n"), "-26 Contact header parse error"),
    ],
)
def test_what_is_wrong_with_a_message(run, flags, raw, shown):
    assert run(f'$var(rc) = sipmsg_validate("{flags}", $var(why)); xlog("$var(rc) $var(why)");', raw).texts == [shown]


@pytest.mark.parametrize(
    ("call", "old", "new"),
    [
        ('codec_delete("speex");', "97 101\r\na=rtpmap:97 SPEEX/8000\r\na=fmtp:97 mode=1\r\n", "101\r\n"),
        ('codec_delete_re("PCMA|PCMU");', "AVP 0 8 97", "AVP 97"),
        ('codec_move_up("SPEEX");', "AVP 0 8 97 101", "AVP 97 0 8 101"),
        ('codec_move_up_re("pcma|speex");', "AVP 0 8 97 101", "AVP 8 97 0 101"),
        ('codec_move_down("PCMU", "8000");', "AVP 0 8 97 101", "AVP 8 97 101 0"),
        ('codec_move_down_re("pcm");', "AVP 0 8 97 101", "AVP 97 101 0 8"),
        ('stream_delete("video");', VIDEO, ""),
        ('codec_delete("h261");', "video 4002", "video 0"),
        ("replace_body('10.0.0.1', 'x\\1y');", "10.0.0.1", "x\\1y"),
        ('search_append_body("mode=1", ";x=2");', "mode=1", "mode=1;x=2"),
        ("subst_body('/m=video ([0-9]+)/m=video \\1\\1/');", "m=video 4002", "m=video 40024002"),
        ("subst_body('/o=-/o=$fd/');", "o=-", "o=home.net"),
    ],
)
def test_what_changes_in_a_body(run, call, old, new):
    made = run(call)
    assert old in SDP
    assert made.context.body == SDP.replace(old, new, 1).encode()
    assert made.context.edits == []


def test_every_codec_but_some(run):
    made = run(
        'codec_delete_except_re("PCMU|telephone"); if (!codec_exists("speex") && codec_exists("pcmu")) xlog("yes");'
    )
    assert b"m=audio 4000 RTP/AVP 0 101\r\na=rtpmap:101" in made.context.body
    assert made.texts == ["yes"]


@pytest.mark.parametrize(
    ("call", "count"),
    [('replace_body_all("[0-9]+$", "#");', 9), ('replace_body_atonce("10", "#");', 4)],
)
def test_everything_is_replaced(run, call, count):
    made = run(call)
    assert made.context.body.count(b"#") == count
    assert made.context.body.count(b"\r\n") == SDP.count("\r\n")


@pytest.mark.parametrize(
    "call",
    [
        'codec_delete("none")',
        'stream_delete("none")',
        'replace_body("none", "x")',
        'replace_body_all("none", "x")',
        'search_append_body("none", "x")',
        "subst_body('/none/x/')",
        "subst_uri('/none/x/')",
        "subst_uri('/.*/no uri/')",
        "subst_user('/none/x/')",
        "subst_user('/a/@/')",
        'strip_body("a/b")',
        'filter_body("a/b")',
        'ruri_del_param("none")',
        'ruri_add_param("a b")',
        "ruri_tel2sip()",
        'append_urihf("no header", "")',
    ],
)
def test_what_is_not_there_changes_nothing(run, call):
    made = run(f'if (!{call}) xlog("no");')
    assert (made.texts, made.context.body, made.context.edits) == (["no"], None, [])
    assert made.context.ruri == "sip:alice@h;a=1;ob"


def test_one_part_of_several_is_not_changed_by_codecs(run):
    body = f"--cut\r\nContent-Type: application/sdp\r\n\r\n{SDP}\r\n--cut--"
    made = run(
        'if (codec_exists("pcmu") && !codec_delete("pcmu")) xlog("yes");', request(body, "multipart/mixed;boundary=cut")
    )
    assert (made.texts, made.context.body) == (["yes"], None)


def test_bodies_come_and_go(run):
    gone = run('strip_body("application/sdp"); add_body("hi");').context
    assert (gone.body, gone.edits) == (b"hi", [])
    other = run('append_hf("X: 1\\r\\n"); add_body("a", "text/plain"); add_body("b", "text/html");').context
    assert (other.body, other.edits) == (
        b"b",
        [("append", "X: 1\r\n"), ("remove", "content-type"), ("append", "Content-Type: text/html\r\n")],
    )
    added = run('if (!add_body("x")) xlog("no"); add_body("hi", "text/plain");', request("", "")).context
    assert added.body == b"hi"
    assert added.edits == [("remove", "content-type"), ("append", "Content-Type: text/plain\r\n")]
    assert run('filter_body("text/plain");', MIXED).context.body == b"hello"


@pytest.mark.parametrize(
    ("statement", "uri"),
    [
        ('ruri_add_param("x=2");', "sip:alice@h;a=1;ob;x=2"),
        ('ruri_del_param("A");', "sip:alice@h;ob"),
        ("subst_uri('/^sip:([a-z]+)@(.*)$/sips:$ru_q\\1@\\2/i');", "sips:<null>alice@h;a=1;ob"),
        ("subst_uri('/alice/\\0\\0/');", "sip:alicealice@h;a=1;ob"),
        ("subst_user('/ice$/fred/');", "sip:alfred@h;a=1;ob"),
        ("$avp(p) = '0\\1'; subst_user('/a(l)/$avp(p)/');", "sip:0\\1ice@h;a=1;ob"),
        ("$var(s) = '/l/L/'; subst_user($var(s));", "sip:aLice@h;a=1;ob"),
        ("$var(s) = 'nonsense'; subst_user($var(s));", "sip:alice@h;a=1;ob"),
    ],
)
def test_the_request_uri(run, statement, uri):
    assert run(statement).context.ruri == uri


def test_a_number_becomes_an_address(run):
    made = run("ruri_tel2sip();", request(ruri="tel:+358-555;postd=pp22"))
    assert made.context.ruri == "sip:+358-555;postd=pp22@home.net;user=phone"


@pytest.mark.parametrize("text", ["/a", "/a/b/x", "/(/b/", "/a/\\1/", "/a/$nope/"])
def test_a_wrong_substitution_is_told_at_load(scripted, text):
    with pytest.raises(AssertionError, match=r"substitution|unknown variable"):
        scripted(f"loadmodule \"textops.so\"\nroute {{ subst_user('{text}'); }}", request())


def test_headers_of_replies_and_of_what_is_relayed(run):
    made = run('append_time(); append_urihf("CC: ", "\\r\\n"); append_to_reply("X: 1");')
    date, other = made.context.reply_headers
    assert date.startswith("Date: ")
    assert date.endswith(" GMT\r\n")
    assert other == "X: 1\r\n"
    assert made.context.edits == [("append", "CC: sip:alice@h;a=1;ob\r\n")]


@pytest.mark.parametrize(
    ("had", "wanted", "taken"),
    [(603, 404, True), (180, 183, True), (486, 200, False), (200, 486, False), (180, 100, False)],
)
def test_a_reply_gets_another_status_of_its_kind(scripted, had, wanted, taken):
    made = scripted(
        'loadmodule "sipmsgops.so"\nroute { exit; } '
        f'onreply_route {{ if (change_reply_status({wanted}, "Rea\\r\\nson")) xlog("yes"); }}',
        RINGING.replace(b"180", str(had).encode()),
    )
    made.context.reply_status = had
    made.script.routes.onreply[""](made.context)
    assert made.context.new_status == ((wanted, "Rea son") if taken else None)
    assert made.texts == (["yes"] if taken else [])
