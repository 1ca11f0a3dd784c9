"""Where event_datagram sends to."""

import socket

import pytest

from runtime.modules.event_datagram import Address, address_of


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("udp:127.0.0.1:8888", Address(socket.AF_INET, ("127.0.0.1", 8888))),
        ("udp:[::1]:8888", Address(socket.AF_INET6, ("::1", 8888))),
        ("unix:/run/events", Address(socket.AF_UNIX, b"/run/events")),
    ],
)
def test_an_address(text: str, address: Address) -> None:
    assert address_of(text) == address


@pytest.mark.parametrize(
    "text",
    [
        "",
        "udp",
        "udp:8888",
        "udp:127.0.0.1",
        "udp:127.0.0.1:0",
        "udp:127.0.0.1:65536",
        "udp:127.0.0.1:+80",
        "udp:127.0.0.1:\xb2",
        "udp:host.example:8888",
        "tcp:127.0.0.1:8888",
        "unix:",
        "unix:events",
        "unix:/run/\0",
        "unix:/" + "x" * 107,
    ],
)
def test_no_address(text: str) -> None:
    assert address_of(text) is None
