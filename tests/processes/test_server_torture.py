"""RFC 4475's and RFC 5118's messages against a real server: each is answered or dropped as the RFCs say."""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from runtime.sip.message import Reply, Request, parse
from tests.harness import Server, wait_until
from tests.runtime.sip.test_sip_torture import ACCEPTED, DROPPED, TORTURES, Torture, datagram

pytestmark = pytest.mark.processes

SENDER = "127.0.0.7"
"""Replies go to where a Via says, which for most of these messages is port 5060; on this address nobody has it."""


@pytest.fixture(scope="module")
def server(start_shared: Callable[..., Server]) -> Server:
    return start_shared('route { sl_send_reply(200, "OK"); }', options=("--udp-workers", "2", "--mi-workers", "1"))


@pytest.fixture
def sender() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.bind((SENDER, 5060))
        yield one


def answer_to(sender: socket.socket, data: bytes, port: int) -> int | None:
    """The status of what comes back before the answer to a harmless request that is sent behind it."""
    probe = (
        "OPTIONS sip:probe@127.0.0.1 SIP/2.0\r\n"
        f"Via: SIP/2.0/UDP {SENDER}:5060;branch=z9hG4bKprobe{time.monotonic_ns()}\r\n"
        "From: <sip:a@b>;tag=1\r\nTo: <sip:a@b>\r\nCall-ID: probe\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
    )
    sender.sendto(data, ("127.0.0.1", port))
    found, ends = None, time.monotonic() + 5.0
    time_to_probe = time.monotonic() + 0.05
    while time.monotonic() < ends:
        if time_to_probe and time.monotonic() > time_to_probe:
            sender.sendto(probe.encode(), ("127.0.0.1", port))
            time_to_probe = 0.0
        if select.select([sender], [], [], 0.02)[0]:
            # Not read by our parser: a reply echoes what it answers, a Via of version 7 for instance.
            reply = sender.recv(65535).decode("latin-1")
            if "Call-ID: probe\r\n" in reply:
                return found
            found = int(reply.split(" ")[1])
    pytest.fail("the server does not answer any more")


def port_of(data: bytes) -> int:
    message = parse(data)
    answered = getattr(message, "answerable", message)
    via = getattr(answered, "via", None)
    return 5060 if via is None else via.port or 5060


@pytest.mark.parametrize("torture", TORTURES, ids=lambda torture: torture.name)
def test_a_message_is_answered_as_the_rfc_says(server: Server, sender: socket.socket, torture: Torture) -> None:
    data = datagram(torture.name)
    message = parse(data)
    expected = {ACCEPTED: 200, DROPPED: None}.get(torture.expected, torture.expected)  # type: ignore[call-overload]
    if isinstance(message, Reply) or getattr(message, "method", "") == "ACK":
        expected = None
    if torture.expected in (483, 420) and isinstance(message, Request):
        expected = 200  # only a proxy refuses it, and this script answers itself
    found = answer_to(sender, data, server.sip_port)
    if port_of(data) == 5060:
        assert found == expected


def test_the_server_is_as_it_was(server: Server) -> None:
    wait_until(lambda: len(server.pids("SIP")) == 2, what="both SIP processes are there")
    assert "Traceback" not in server.log()


def test_the_folder_has_no_message_that_is_not_tried() -> None:
    files = {path.stem for path in (Path(__file__).parents[1] / "runtime" / "sip" / "torture").glob("*.dat")}
    assert files == {torture.name for torture in TORTURES}
