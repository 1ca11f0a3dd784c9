"""What stands in braces behind a variable's name."""

import pytest

URI = "sip:bob:pw@host.net:5080;transport=tcp;lr;x=1?h=v"
LIST = 'a=1;b="two words";c'
VIA = "SIP/2.0/UDP host.net:5070;branch=z9hG4bK1;received=10.0.0.1;rport, SIP/2.0/TCP other"
AUDIO = "m=audio 4000 RTP/AVP 0\r\na=sendonly\r\n"
VIDEO = "m=video 4002 RTP/AVP 31\r\na=rtpmap:31 LPC\r\n"
HEAD = "v=0\r\no=- 1 1 IN IP4 10.0.0.1\r\na=x\r\n"
SDP = HEAD + AUDIO + VIDEO


@pytest.mark.parametrize(
    ("value", "change", "result"),
    [
        ("abcdef", "s.len", 6),
        ("", "s.len", 0),
        ("12ab", "s.int", 12),
        ("-3", "s.int", -3),
        ("ab", "s.int", 0),
        ("-", "s.int", 0),
        ("9223372036854775807", "s.int", 2**63 - 1),
        ("-9223372036854775809", "s.int", -(2**63)),
        ("00000000000000000000017", "s.int", 17),
        ("9" * 5000, "s.int", 2**63 - 1),
        ("abc", "s.md5", "900150983cd24fb0d6963f7d28e17f72"),
        ("abc", "s.sha1", "a9993e364706816aba3e25717850c26c9cd0d89d"),
        ("what do ya want for nothing?", "s.sha1_hmac,Jefe", "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79"),
        ("123456789", "s.crc32", "3421780262"),
        ("abcdef", "s.substr,2,3", "cde"),
        ("abcdef", "s.substr,2,0", "cdef"),
        ("abcdef", "s.substr,1,-1", "bcde"),
        ("abcdef", "s.substr,-2,0", "ef"),
        ("abcdef", "s.substr,9,1", None),
        ("abcdef", "s.substr,-9,1", None),
        ("abcdef", "s.substr,$var(two),$var(two)", "cd"),
        ("a;b;c", "s.select,1,;", "b"),
        ("a;b;c", "s.select,-1,;", "c"),
        ("a;b;c", "s.select,3,;", None),
        ("a,b,c", "s.select,1,,", "b"),
        ("a;b;c", "s.select,$var(two),;", "c"),
        ("one two one", "s.index,one", 0),
        ("one two one", "s.index,one,1", 8),
        ("one two one", "s.rindex,one", 8),
        ("one two one", "s.index,x", None),
        ("aBc", "s.toupper", "ABC"),
        ("AbC", "s.tolower", "abc"),
        (" a b ", "s.trim", "a b"),
        (" a ", "s.triml", "a "),
        (" a ", "s.trimr", " a"),
        ("abc", "s.reverse", "cba"),
        ("7", "s.fill_left,0,3", "007"),
        ("7", "s.fill_right,ab,4", "7aba"),
        ("abc", "s.width,5", "abc  "),
        ("abc", "s.width,2", "ab"),
        ("abc", "s.width,9999999", None),
        ("AZ", "s.encode.hexa", "415a"),
        ("415a", "s.decode.hexa", "AZ"),
        ("zz", "s.decode.hexa", None),
        ("ff", "s.hex2dec", 255),
        ("255", "s.dec2hex", "ff"),
        ("abc", "s.b64encode", "YWJj"),
        ("YWJj", "s.b64decode", "abc"),
        ("?", "s.b64decode", None),
        ("Sat, 13 Nov 2010 23:29:00 GMT", "s.date2unix", "1289690940"),
        ("a'b", "s.escape.common", "a\\'b"),
        ("a\\'b", "s.unescape.common", "a'b"),
        ("a b", "s.escape.user", "a%20b"),
        ("a%20b", "s.unescape.user", "a b"),
        (URI, "uri.user", "bob"),
        (URI, "uri.passwd", "pw"),
        (URI, "uri.host", "host.net"),
        (URI, "uri.port", 5080),
        (URI, "uri.params", "transport=tcp;lr;x=1"),
        (URI, "uri.param,x", "1"),
        (URI, "uri.param,none", ""),
        (URI, "uri.transport", "tcp"),
        (URI, "uri.headers", "h=v"),
        (URI, "uri.schema", "sip"),
        ("sip:[2001:db8::1]:5060", "uri.host", "[2001:db8::1]"),
        ("tel:+4930123", "uri.user", "+4930123"),
        ("no uri", "uri.host", None),
        (VIA, "via.name", "SIP"),
        (VIA, "via.version", "2.0"),
        (VIA, "via.transport", "UDP"),
        (VIA, "via.host", "host.net"),
        (VIA, "via.port", 5070),
        (VIA, "via.params", "branch=z9hG4bK1;received=10.0.0.1;rport"),
        (VIA, "via.param,Branch", "z9hG4bK1"),
        (VIA, "via.branch", "z9hG4bK1"),
        (VIA, "via.received", "10.0.0.1"),
        (VIA, "via.rport", None),
        ("SIP/2.0/UDP host", "via.port", None),
        ("SIP/2.0/UDP host", "via.params", ""),
        ("nonsense", "via.host", None),
        (",", "via.params", None),
        (SDP, "sdp.line,m", "m=audio 4000 RTP/AVP 0"),
        (SDP, "sdp.line,a,1", "a=sendonly"),
        (SDP, "sdp.line,a,-1", "a=rtpmap:31 LPC"),
        (SDP, "sdp.line,m,$var(two)", None),
        (SDP, "sdp.line,z", None),
        ("", "sdp.line,v", None),
        ("v=0", "sdp.line,v", "v=0"),
        (SDP, "sdp.stream,0", AUDIO),
        (SDP, "sdp.stream,-1", VIDEO),
        (SDP, "sdp.stream,video", VIDEO),
        (SDP, "sdp.stream,2", None),
        (SDP, "sdp.stream,text", None),
        (SDP, "sdp.stream-delete,0", HEAD + VIDEO),
        (SDP, "sdp.stream-delete,video", HEAD + AUDIO),
        (SDP + AUDIO, "sdp.stream-delete,audio", HEAD + VIDEO),
        (SDP, "sdp.stream-delete,text", None),
        (LIST, "param.value,a", "1"),
        (LIST, "param.value,b", "two words"),
        (LIST, "param.value,d", ""),
        (LIST, "param.exist,c", 1),
        (LIST, "param.exist,d", 0),
        (LIST, "param.name,1", "b"),
        (LIST, "param.valueat,0", "1"),
        (LIST, "param.count", 3),
        ('"Bob" <sip:b@h>;tag=x', "nameaddr.name", "Bob"),
        ('"Bob" <sip:b@h>;tag=x', "nameaddr.uri", "sip:b@h"),
        ('"Bob" <sip:b@h>;tag=x', "nameaddr.param,tag", "x"),
        ('a,"b,""c""",d', "csv.value,1", 'b,"c"'),
        ('a,"b,c",d', "csv.count", 3),
        ("a,b", "csv.value,-1", "b"),
        ("a,b", "csv.value,5", None),
        ("10.0.0.1", "ip.isip", 1),
        ("10.0.0.1", "ip.isip6", 0),
        ("::1", "ip.isip6", 1),
        ("10.0.0.300", "ip.isip", 0),
        ("10.0.0.1", "ip.family", "INET"),
        ("10.0.0.1", "ip.pton}{ip.ntop", "10.0.0.1"),
        ("10.1.2.3", "ip.matches,10.0.0.0/8", 1),
        ("11.1.2.3", "ip.matches,10.0.0.0/8", 0),
        ("abcabc", "re.subst,/b/X/", "aXcabc"),
        ("abcabc", "re.subst,/b/X/g", "aXcaXc"),
        ("abcABC", "re.subst,/B/x/ig", "axcAxC"),
        ("sip:a@b", "re.subst,/^sip:(.*)@(.*)$/\\2 \\1 \\0/", "b a sip:a@b"),
        ("a/b", "re.subst,#/#-#", "a-b"),
        ("x1y", "re.subst,/[[:digit:]]/n/", "xny"),
        ("sip:bob@h", "uri.user}{s.toupper}{s.len", 3),
    ],
)
def test_transformations(run, value, change, result):
    made = run(f"$var(two) = 2; $var(x) = $avp(in); $var(y) = $(var(x){{{change}}});")
    assert made.var("y") is None
    made.context.avps["in"] = [value]
    made.run()
    assert made.var("y") == result
    assert made.process.logged == []


def test_null_stays_null_and_integers_count_as_text(run):
    made = run("$var(y) = $(var(none){s.len}); $var(i) = 123; $var(z) = $(var(i){s.len});")
    assert (made.var("y"), made.var("z")) == (None, 3)


def test_a_substitution_that_is_wrong_does_not_load(problems):
    (found,) = problems("route { $var(x) = $(var(y){re.subst,/a/\\1/}); }")
    assert "{re.subst}: " in found
