"""Listening addresses, as `socket=` and `-l` write them."""

from __future__ import annotations

import socket

import pytest

from runtime.listen import Listen, concrete, parse_listen
from runtime.program import Program
from runtime.settings import SettingsError
from runtime.transports.interfaces import addresses_of

OWN = {"lo": ["127.0.0.1", "::1"], "eth0": ["192.0.2.5", "2001:db8::5"]}


def own(name: str) -> list[str]:
    return [address for interface, found in OWN.items() for address in found if name in ("*", interface)]


@pytest.mark.parametrize(
    ("text", "listen"),
    [
        ("udp:127.0.0.1:5070", Listen("udp", "127.0.0.1", 5070)),
        ("udp:127.0.0.1", Listen("udp", "127.0.0.1", 5060)),
        ("udp:localhost:1", Listen("udp", "127.0.0.1", 1)),
        ("udp:[::1]:5070", Listen("udp", "::1", 5070)),
        ("tcp:192.0.2.1:5080", Listen("tcp", "192.0.2.1", 5080)),
        ("TCP:[2001:db8::1]", Listen("tcp", "2001:db8::1", 5060)),
        (" udp:127.0.0.1:7 as 198.51.100.1:5090 ", Listen("udp", "127.0.0.1", 7, "198.51.100.1", 5090)),
        ("udp:127.0.0.1:7 AS sip.example.org", Listen("udp", "127.0.0.1", 7, "sip.example.org")),
        ("udp:[::1]:7 as [2001:db8::9]:8", Listen("udp", "::1", 7, "2001:db8::9", 8)),
        ("udp:127.0.0.1:7 tag inside", Listen("udp", "127.0.0.1", 7, tag="inside")),
        (
            "udp:127.0.0.1:7 use_workers 4 as 198.51.100.1 reuse_port use_auto_scaling_profile p tag out",
            Listen("udp", "127.0.0.1", 7, "198.51.100.1", None, "out"),
        ),
    ],
)
def test_an_address_is_read_and_written_so_that_it_is_read_again(text: str, listen: Listen) -> None:
    assert parse_listen(text) == listen
    again = parse_listen(listen.written)
    assert (str(again), again.sent_by, again.tag) == (str(listen), listen.sent_by, listen.tag)


@pytest.mark.parametrize(
    "text",
    [
        *("", "127.0.0.1:5060", "sctp:127.0.0.1", "udp:example.org:1", "udp:1.2.3.4:0", "udp:1.2.3.4:99999", "udp:*:1"),
        *("tcp:0.0.0.0:1", "udp:1.2.3.4:1 as", "udp:1.2.3.4:1 as x:0", "udp:1.2.3.4:1 as a b", "udp:1.2.3.4:1 anycast"),
        *("udp:1.2.3.4:1 tag", "udp:[1.2.3.4:1", "udp::1:5060", "udp:1.2.3.4:" + "9" * 5000),
    ],
)
def test_what_is_no_address_is_refused_with_its_text(text: str) -> None:
    with pytest.raises(SettingsError) as refused:
        parse_listen(text)
    assert repr(text) in str(refused.value)
    assert refused.value.word == text


def test_peers_are_told_what_is_advertised() -> None:
    assert parse_listen("udp:127.0.0.1:7").sent_by == "127.0.0.1:7"
    assert parse_listen("tcp:[::1]:7").sent_by == "[::1]:7"
    assert parse_listen("udp:127.0.0.1:7 as example.org").sent_by == "example.org:7"
    assert parse_listen("udp:127.0.0.1:7 as [2001:db8::1]:9").sent_by == "[2001:db8::1]:9"


def test_only_udp_is_not_reliable() -> None:
    assert [parse_listen(f"{protocol}:127.0.0.1").reliable for protocol in ("udp", "tcp")] == [False, True]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("udp:127.0.0.1:7", ["udp:127.0.0.1:7"]),
        ("tcp:*:7", ["tcp:127.0.0.1:7", "tcp:[::1]:7", "tcp:192.0.2.5:7", "tcp:[2001:db8::5]:7"]),
        ("udp:0.0.0.0:7", ["udp:127.0.0.1:7", "udp:192.0.2.5:7"]),
        ("udp:[::]:7", ["udp:[::1]:7", "udp:[2001:db8::5]:7"]),
        ("udp:eth0:7", ["udp:192.0.2.5:7", "udp:[2001:db8::5]:7"]),
        ("udp:eth0", ["udp:192.0.2.5:5062", "udp:[2001:db8::5]:5062"]),
        ("tcp:eth0", ["tcp:192.0.2.5:5060", "tcp:[2001:db8::5]:5060"]),
        (
            "udp:lo:7 as example.org:8 tag x",
            ["udp:127.0.0.1:7 as example.org:8 tag x", "udp:[::1]:7 as example.org:8 tag x"],
        ),
        ("udp:example.org:7", ["udp:example.org:7"]),
        ("nonsense", ["nonsense"]),
    ],
)
def test_what_stands_for_several_addresses_becomes_them(text: str, found: list[str]) -> None:
    assert concrete([text], own, {"udp": 5062}) == found


def test_an_address_that_is_meant_twice_is_opened_once_and_order_is_kept() -> None:
    assert concrete(["udp:192.0.2.5:7", "udp:eth0:7", "tcp:lo:7"], own) == [
        "udp:192.0.2.5:7",
        "udp:[2001:db8::5]:7",
        "tcp:127.0.0.1:7",
        "tcp:[::1]:7",
    ]


def test_the_advertised_globals_are_for_those_sockets_that_say_nothing_themselves() -> None:
    assert concrete(["udp:192.0.2.5:7", "udp:192.0.2.6:7 as a.example"], own, advertised=("b.example", 9)) == [
        "udp:192.0.2.5:7 as b.example:9",
        "udp:192.0.2.6:7 as a.example:7",
    ]
    assert concrete(["udp:192.0.2.5:7"], own, advertised=(None, 9)) == ["udp:192.0.2.5:7 as 192.0.2.5:9"]


def test_this_machine_has_a_loopback_address() -> None:
    assert "127.0.0.1" in addresses_of("*")
    loopback = next(name for _, name in socket.if_nameindex() if "127.0.0.1" in addresses_of(name))
    assert addresses_of(loopback)[0] == "127.0.0.1"
    assert addresses_of("no-such-interface") == []


def test_a_program_knows_its_sockets_one_by_one(tmp_path) -> None:
    script = tmp_path / "one.cfg"
    script.write_text(
        """
        advertised_address="sip.example.org"
        socket=udp:127.0.0.1
        socket=tcp:127.0.0.1:5080 as 198.51.100.7:5090 tag outside
        loadmodule "proto_udp.so"
        loadmodule "proto_tcp.so"
        modparam("proto_udp", "udp_port", 5066)
        route { exit; }
        """
    )
    program = Program.load(script)
    expected = ["udp:127.0.0.1:5066 as sip.example.org:5066", "tcp:127.0.0.1:5080 as 198.51.100.7:5090 tag outside"]
    assert program.checked.sockets == expected
    assert Program.load(script, ["tcp:127.0.0.1:1"]).checked.sockets == ["tcp:127.0.0.1:1 as sip.example.org:1"]


def test_without_any_socket_the_loopback_address_is_served(tmp_path) -> None:
    script = tmp_path / "one.cfg"
    script.write_text("route { exit; }\n")
    assert Program.load(script).checked.sockets == ["udp:127.0.0.1:5060"]
