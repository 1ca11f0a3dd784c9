"""Variables that say what a message's headers and body hold."""

import pytest

from runtime.script import header_access

MESSAGE = (
    b"INVITE sips:alice@example.com SIP/2.0\r\n"
    b"Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKone\r\n"
    b'From: "Bob" <sip:bob@biloxi.org>;tag=ft\r\n'
    b"To: <sip:alice@example.com>\r\n"
    b"Call-ID: call-1\r\n"
    b"CSeq: 7 INVITE\r\n"
    b'Authorization: Digest username="carol@chicago.com", realm="a, uri=b", nonce="n1", uri="sip:x@y", '
    b'response="r1", algorithm=MD5, cnonce="c1", qop=auth, nc=00000001, opaque="o1"\r\n'
    b'WWW-Authenticate: Digest realm="there", nonce="n2", qop="auth", algorithm=SHA-256\r\n'
    b'P-Asserted-Identity: "Cullen" <sip:fluffy@cisco.com>, <tel:+1>\r\n'
    b'P-Preferred-Identity: "Pre Ferred" <sip:pp@dom.net:99>\r\n'
    b"Remote-Party-ID: <sip:rpid@h>;party=calling\r\n"
    b'Diversion: <sip:div@h>;reason=user-busy;privacy="full"\r\n'
    b"Refer-To: Carol <sip:carol@cleveland.org?Replaces=1>\r\n"
    b"Path: <sip:p1;lr>\r\n"
    b"Path: <sip:p2;lr>,<sip:p3;lr>\r\n"
    b"Contact: <sip:one@h>;q=0.5, <sip:two@h>;q=0.7\r\n"
    b"Content-Type: multipart/mixed;boundary=cut\r\n"
    b"\r\n--cut\r\nContent-Type: application/sdp\r\n\r\nv=0\r\n"
    b"\r\n--cut\r\nContent-Type: text/plain\r\n\r\nhello\r\n--cut--"
)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("$au $ad $aU", "carol chicago.com carol@chicago.com"),
        ("$ar|$adu|$an", "a, uri=b|sip:x@y|n1"),
        (
            "$auth.resp $auth.nonce $auth.cnonce $auth.opaque $auth.alg $auth.qop $auth.nc",
            "r1 n1 c1 o1 MD5 auth 00000001",
        ),
        ("$Au", "carol"),
        ("$challenge.realm $challenge.nonce $challenge.qop $challenge.algorithm", "there n2 auth SHA-256"),
        ("$challenge.opaque", "<null>"),
        ("$ai", "sip:fluffy@cisco.com"),
        ("$pu $pU $pd $pn", "sip:pp@dom.net:99 pp dom.net Pre Ferred"),
        ("$re", "sip:rpid@h"),
        ("$di $dir $dip", "sip:div@h user-busy full"),
        ("$rt", "sip:carol@cleveland.org?Replaces=1"),
        ("$path", "<sip:p1;lr>, <sip:p2;lr>,<sip:p3;lr>"),
        ("$(ct.fields(uri)[1]) $(ct.fields(q)[-1]) $(ct.fields(uri)[2])", "sip:two@h 0.7 <null>"),
        ("$hdr_name $(hdr_name[1]) $(hdr_name[-1])", "Via From Content-Type"),
        ("$cT", "multipart/mixed;boundary=cut"),
        ("$(cT[*])", "application/sdp, text/plain"),
        ("$rb(text/plain)", "hello"),
        ("$(rb[1]) $(rb[-1]) $(rb(text/*)[0]) $(rb[2])", "hello hello hello <null>"),
        ("$rb(image/png)", "<null>"),
        ("$msg.is_request $msg.type", "1 request"),
        (
            "$oP $ruri $ruri.user $ruri.domain $ouri",
            "UDP sips:alice@example.com alice example.com sips:alice@example.com",
        ),
        (
            "$from $from.user $from.domain $to $to.user $to.domain.",
            "sip:bob@biloxi.org bob biloxi.org sip:alice@example.com alice example.com.",
        ),
        ("$src_ip $C(bg)x", "192.0.2.1 x"),
    ],
)
def test_what_the_message_says(run, text, shown):
    assert run(f'xlog("{text}");', raw=MESSAGE).texts == [shown]


def test_a_message_without_them_has_none(run):
    made = run('xlog("$au $ad $aU $adu $ai $pU $dir $rt $path $(rb(a/b)[0]) $Au");')
    assert made.texts == ["<null> " * 10 + "bob"]


def test_a_reply_is_a_reply(run, ringing):
    assert run('xlog("$msg.is_request $msg.type");', raw=ringing).texts == ["0 reply"]


@pytest.mark.parametrize("text", ["a" * 8000, 'a="' * 2500, "a=" + " " * 8000, 'a="' + "\\" * 8000, "a \t" * 2600])
def test_hostile_credentials_take_no_time(text, run):
    made = run("xlog('x');", raw=MESSAGE.replace(b"Digest username", b"Digest " + text.encode() + b", username"))
    assert header_access.get_auth_user(made.context) in (None, "carol", "")
