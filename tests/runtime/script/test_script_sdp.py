"""Session descriptions, read and changed by the line and by the word. Rows as in OpenSIPS's "Core variables"."""

import pytest

SDP = (
    "v=0\r\n"
    "o=- 1 1 IN IP4 10.0.0.1\r\n"
    "s=-\r\n"
    "c=IN IP4 10.0.0.1\r\n"
    "t=0 0\r\n"
    "a=ptime:20\r\n"
    "m=video 4000 RTP/AVP 97\r\n"
    "a=rtpmap:97 H264/90000\r\n"
    "m=audio 27292 RTP/AVP 9 8 0 101\r\n"
    "a=rtpmap:101 telephone-event/16000\r\n"
    "a=fmtp:101 mode=1;bitrate=32000;x=y\r\n"
    "a=ptime:30\r\n"
)


def invite(body=SDP, media_type="application/sdp"):
    return (
        "INVITE sip:a@h SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1\r\nFrom: <sip:b@h>;tag=1\r\n"
        "To: <sip:a@h>\r\nCall-ID: c1\r\nCSeq: 1 INVITE\r\n"
        + (f"Content-Type: {media_type}\r\n" if body else "")
        + f"Content-Length: {len(body)}\r\n\r\n{body}"
    ).encode("latin-1")


@pytest.mark.parametrize(
    ("variable", "shown"),
    [
        ("$sdp.line(a=)", "a=ptime:20"),
        ("$sdp.line(a=[0])", "a=ptime:20"),
        ("$sdp.line(a=ptime[1])", "a=ptime:30"),
        ("$sdp.line(a=[100])", "<null>"),
        ("$sdp.line([2])", "s=-"),
        ("$sdp.line(m=audio)", "m=audio 27292 RTP/AVP 9 8 0 101"),
        ("$sdp.line(m=audio/[0])", "audio"),
        ("$sdp.line(m=audio/[1])", "27292"),
        ("$sdp.line(m=audio/[2])", "RTP/AVP"),
        ("$sdp.line(m=audio/[6])", "101"),
        ("$sdp.line(m=audio/[7])", "<null>"),
        ("$sdp.line(m=audio/RTP)", "RTP/AVP"),
        ("$sdp.line(m=audio/RTP\\\\/AVP)", "RTP/AVP"),
        ("$sdp.line(m=audio/RTP\\\\/AVP[1])", "<null>"),
        ("$sdp.line(m=audio/RTQ)", "<null>"),
        ("$sdp.stream(/a=rtpmap)", "a=rtpmap:97 H264/90000"),
        ("$sdp.stream([1]/a=ptime)", "a=ptime:30"),
        ("$sdp.stream(audio[0]/a=ptime)", "a=ptime:30"),
        ("$sdp.stream(audio[1]/a=ptime)", "<null>"),
        ("$sdp.stream(a/a=fmtp:101/bitrate=)", "bitrate=32000"),
        ("$sdp.stream(video)", "m=video 4000 RTP/AVP 97\r\na=rtpmap:97 H264/90000\r\n"),
        ("$sdp.session(a=ptime)", "a=ptime:20"),
        ("$sdp.session(m=)", "<null>"),
        ("$sdp.stream.idx(/a=fmtp/bitrate=)", "1"),
        ("$sdp.stream.idx(video/a=fmtp)", "<null>"),
        ("$sdp", SDP),
    ],
)
def test_what_is_read(run, variable, shown):
    assert run(f'xlog("{variable}");', raw=invite()).texts == [shown]


@pytest.mark.parametrize(
    ("statement", "old", "new"),
    [
        ("$sdp.line(a=ptime) = NULL;", "a=ptime:20\r\n", ""),
        ('$sdp.line([2]) = "s=new";', "s=-", "s=new"),
        ("$sdp.session(a=ptime[0]) = NULL;", "a=ptime:20\r\n", ""),
        ("$sdp.stream(audio/a=fmtp:101/bitrate=) = 48000;", "bitrate=32000", "bitrate=48000"),
        ("$sdp.stream(audio/a=fmtp:101/bitrate=) = NULL;", ";bitrate=32000", ""),
        ("$sdp.stream(audio/a=fmtp:101/x=) = NULL;", ";x=y", ""),
        ('$sdp.stream(audio/a=rtpmap/telephone-event\\/) = "8000";', "event/16000", "event/8000"),
        ('$sdp.stream(audio/a=ptime:/[0]) = "yes";', "ptime:30", "ptime:yes"),
        ("$sdp.stream(audio/m=/[1]) = 5004;", "27292", "5004"),
        ("$sdp.stream(video) = NULL;", "m=video 4000 RTP/AVP 97\r\na=rtpmap:97 H264/90000\r\n", ""),
        (
            '$sdp.stream(video) = "m=text 1 RTP/AVP 98";',
            "m=video 4000 RTP/AVP 97\r\na=rtpmap:97 H264/90000",
            "m=text 1 RTP/AVP 98",
        ),
    ],
)
def test_what_is_changed(run, statement, old, new):
    made = run(f'{statement} xlog("$sdp");', raw=invite())
    assert made.texts == [SDP.replace(old, new, 1)]
    assert (made.context.body, made.context.edits) == (made.texts[0].encode(), [])


@pytest.mark.parametrize(
    "statement",
    ["$sdp.line(z=) = 1;", '$sdp.line(s=) = "s=a\\r\\nm=x";', "$sdp.stream(text) = NULL;", "$sdp.line(a=/x/y/z) = 1;"],
)
def test_what_cannot_be_changed(run, statement):
    made = run(f'{statement} xlog("$rc");', raw=invite())
    assert made.process.logged[0][0] == -1
    assert (made.texts[-1], made.context.body) == ("-1", None)


def test_changes_add_up_and_a_new_description_takes_their_place(run):
    made = run(
        '$sdp.line(s=) = "s=one"; $sdp.line(s=/[0]) = "two"; xlog("$sdp.line(s=)"); $sdp = "v=0"; ', raw=invite()
    )
    assert (made.texts, made.context.body) == (["s=two"], b"v=0")


def test_a_description_where_none_was_says_what_it_is(run):
    made = run('$sdp = "v=0\\r\\n";', raw=invite(""))
    assert made.context.body == b"v=0\r\n"
    assert made.context.edits == [("remove", "content-type"), ("append", "Content-Type: application/sdp\r\n")]


TYPE = [("remove", "content-type"), ("append", "Content-Type: application/sdp\r\n")]


@pytest.mark.parametrize(
    ("statements", "edits"),
    [
        ('$sdp = "v=0\\r\\n"; $sdp = "v=1\\r\\n";', TYPE),
        ('$sdp = "v=0\\r\\n"; $sdp.line(v=) = "v=1";', TYPE),
        ('append_hf("Content-Type: text/plain"); $sdp = "v=0\\r\\n";', TYPE),
        ('append_hf("X: 1"); $sdp = "v=0\\r\\n"; $sdp = NULL;', [("append", "X: 1\r\n")]),
    ],
)
def test_a_description_says_once_what_it_is_however_often_it_is_assigned(run, statements, edits):
    assert run(statements, raw=invite("")).context.edits == edits


def test_the_body_goes_away(run):
    made = run('$sdp = NULL; xlog("$sdp");', raw=invite())
    assert (made.context.body, made.texts) == (b"", ["<null>"])
    assert made.context.edits == [("remove", "content-type")]


def test_one_part_of_several_is_read_and_not_changed(run):
    body = f"--cut\r\nContent-Type: application/sdp\r\n\r\n{SDP}\r\n--cut--"
    made = run(
        'xlog("$sdp.line(s=)"); $sdp.line(s=) = "s=x"; xlog("$rc");', raw=invite(body, "multipart/mixed;boundary=cut")
    )
    assert made.texts[0] == "s=-"
    assert made.texts[-1] == "-1"
    assert made.context.body is None


@pytest.mark.parametrize("variable", ["$sdp", "$sdp.line(a=)", "$sdp.stream(audio)", "$sdp.stream.idx(/a=)"])
def test_no_description_is_null(run, variable):
    assert run(f'xlog("{variable}");', raw=invite("text", "text/plain")).texts == ["<null>"]
