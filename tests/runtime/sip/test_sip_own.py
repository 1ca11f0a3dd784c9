"""Which addresses are this server's own."""

import pytest

from runtime.listen import Listen
from runtime.sip.own import ANY_PORT, Alias, OwnAddresses, aliases_of, read_alias


@pytest.fixture
def own():
    """A server with some of everything."""
    sockets = [
        Listen("udp", "192.0.2.1", 5060),
        Listen("tcp", "192.0.2.1", 5060),
        Listen("udp", "192.0.2.1", 5080, "203.0.113.9", 5090),
        Listen("tls", "2001:db8::1", 5061),
        Listen("udp", "127.0.0.1", 5060, "public.example.com"),
        Listen("udp", "192.0.2.1", 5070, None, 5072),
    ]
    names = "sip.example.com:5060\nudp:edge.example.com\n[2001:DB8:0::7]:5070\ntcp:old.example.com:5070\nno such"
    return OwnAddresses(sockets, aliases_of({"alias": names}))


@pytest.mark.parametrize(
    ("host", "port", "protocol"),
    [
        ("192.0.2.1", 5060, None),
        ("192.0.2.1", None, None),
        ("192.0.2.1", None, "tcp"),
        ("192.0.2.1", 5080, "udp"),
        ("192.0.2.1", ANY_PORT, "tcp"),
        ("203.0.113.9", 5090, "udp"),
        ("[2001:db8::1]", 5061, "tls"),
        ("2001:DB8:0:0::1", None, "tls"),
        ("SIP.Example.COM", 5060, "tcp"),
        ("sip.example.com.", None, None),
        ("edge.example.com", 5060, None),
        ("edge.example.com", 7777, "udp"),
        ("edge.example.com", None, "udp"),
        ("edge.example.com", ANY_PORT, None),
        ("[2001:db8::7]", 5070, "udp"),
        ("localhost", None, "udp"),
        ("public.example.com", None, "udp"),
        ("192.0.2.1", 5072, "udp"),
        ("127.0.0.1", 5060, "udp"),
        ("old.example.com", 5070, "tcp"),
        ("old.example.com", ANY_PORT, None),
    ],
)
def test_own(own, host, port, protocol):
    assert own.is_own(host, port, protocol)


@pytest.mark.parametrize(
    ("host", "port", "protocol"),
    [
        ("192.0.2.2", None, None),
        ("192.0.2.1", 5073, None),
        ("192.0.2.1", 5080, "tcp"),
        ("192.0.2.1", 5060, "tls"),
        ("203.0.113.9", None, None),
        ("203.0.113.9", 5090, "tcp"),
        ("[2001:db8::1]", 5060, None),
        ("[2001:db8::1]", 5061, "udp"),
        ("sip.example.com", 5080, None),
        ("edge.example.com", 5060, "tcp"),
        ("[2001:db8::7]", None, None),
        ("[not:an:address]", None, None),
        ("old.example.com", 5070, "udp"),
        ("old.example.com", None, None),
        ("", None, None),
    ],
)
def test_not_own(own, host, port, protocol):
    assert not own.is_own(host, port, protocol)


@pytest.mark.parametrize(
    ("text", "alias"),
    [
        ("example.com", Alias("", "example.com", ANY_PORT)),
        ("example.com:5080", Alias("", "example.com", 5080)),
        ("TCP:example.com:5080", Alias("tcp", "example.com", 5080)),
        ("[::1]:5080", Alias("", "::1", 5080)),
        ("  ", None),
        ("a b", None),
    ],
)
def test_an_alias_as_the_script_writes_it(text, alias):
    assert read_alias(text) == alias


def test_without_a_socket_and_an_alias_nothing_is_own():
    assert aliases_of({}) == []
    assert not OwnAddresses([], []).is_own("127.0.0.1", ANY_PORT)


def test_the_socket_of_an_address(own):
    asked = [
        ("192.0.2.1", 5060, "tcp"),
        ("203.0.113.9", 5090, None),
        ("sip.example.com", 5060, None),
        ("192.0.2.1", None, None),
        ("192.0.2.1", ANY_PORT, "tcp"),
        ("x", None, None),
    ]
    assert [own.socket_of(*one) for one in asked] == [1, 2, None, 0, 1, None]


@pytest.mark.parametrize(
    ("host", "protocol", "preferred", "index"),
    [
        ("198.51.100.1", "udp", 2, 2),
        ("198.51.100.1", "tcp", 0, 1),
        ("[2001:db8::9]", "tls", 0, 3),
        ("example.com", "udp", 4, 4),
        ("example.com", "tls", 0, 3),
        ("198.51.100.1", "tls", 0, 0),
        ("[2001:db8::9]", "udp", 1, 1),
    ],
)
def test_a_socket_that_reaches_a_host(own, host, protocol, preferred, index):
    assert own.socket_towards(host, protocol, preferred) == index
