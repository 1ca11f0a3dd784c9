"""One datagram taken and one given, in Python and compiled: both do the same with whatever comes."""

from __future__ import annotations

import errno
import mmap
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from runtime.context import Address
from runtime.handover import Marks
from runtime.listen import Listen
from runtime.settings import StreamSettings
from runtime.sip.reading import LATE_S
from runtime.transports import datagrams
from runtime.transports.base import open_sockets
from runtime.transports.datagrams import Intake, Send, intake_of, sending_to
from tests.harness import free_port

LONGEST = 65_507
IP_RECVERR = 11


@pytest.fixture(params=["plain", "compiled"])
def compiled(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    wanted = request.param == "compiled"
    if wanted and not datagrams._COMPILED:
        pytest.skip("not compiled")
    monkeypatch.setattr(datagrams, "_COMPILED", wanted)
    return wanted


class End:
    """A listening socket of ours with its marks: of two processes, this is the second."""

    def __init__(self, host: str) -> None:
        self.address = Address(host, free_port())
        (self.listening,) = open_sockets([Listen("udp", host, self.address.port)], StreamSettings())
        self.sock = self.listening.sock
        self.marks = Marks(mmap.mmap(-1, 16), 2, 1)
        self.intake: Intake = intake_of(self.sock, self.marks)
        self.send: Send = sending_to(self.sock)


@pytest.fixture
def end(compiled: bool) -> Iterator[Callable[..., End]]:
    with ExitStack() as stack:

        def make(host: str = "127.0.0.1") -> End:
            one = End(host)
            stack.callback(one.listening.close)
            return one

        yield make


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
@pytest.mark.parametrize("data", [b"", b"x", b"\0\r\n\xff", b"y" * LONGEST], ids=len)
def test_what_is_given_is_taken(end: Callable[..., End], host: str, data: bytes) -> None:
    one, other = end(host), end(host)

    assert one.send(data, other.address)
    assert other.intake.take() == (data, one.address)
    assert other.intake.take() is None


def test_the_mark_says_what_is_looked_at(end: Callable[..., End]) -> None:
    one, other = end(), end()
    assert other.intake.take() is None
    assert other.marks.looks_at() == 0

    before = time.time_ns()
    one.send(b"x", other.address)
    after = time.time_ns()
    other.intake.take()

    assert before <= other.marks.looks_at() <= after
    other.marks.through()
    assert other.marks.looks_at() == 0


def test_what_has_lain_too_long_is_late(end: Callable[..., End]) -> None:
    one, other = end(), end()
    one.send(b"old", other.address)
    time.sleep(LATE_S * 1.5)
    other.intake.take()
    assert other.intake.late == 1
    other.intake.late = 0
    other.intake.take()
    assert other.intake.late == 0


def test_every_sender_is_told_apart_and_known_again(end: Callable[..., End]) -> None:
    other = end()
    with ExitStack() as stack:
        senders = [stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) for _ in range(400)]
        for sender in senders:
            sender.bind(("127.0.0.1", 0))
        for _ in range(2):
            for sender in senders:
                sender.sendto(b"x", (other.address.host, other.address.port))
                assert other.intake.take() == (b"x", Address(*sender.getsockname()))


def test_a_peers_word_that_nobody_listens_is_no_datagram(end: Callable[..., End]) -> None:
    one, nobody = end(), Address("127.0.0.1", free_port())
    one.sock.setsockopt(socket.IPPROTO_IP, IP_RECVERR, 1)
    assert one.send(b"x", nobody)

    assert one.intake.take() is None
    assert one.marks.looks_at() == 0
    one.send(b"to myself", one.address)
    assert one.intake.take() == (b"to myself", one.address)


def test_a_socket_that_cannot_be_read_says_so(end: Callable[..., End]) -> None:
    one = end()
    one.listening.close()
    with pytest.raises(OSError, match=r".") as raised:
        one.intake.take()
    assert raised.value.errno == errno.EBADF
    assert one.marks.looks_at() == 0


@pytest.mark.parametrize(
    ("data", "to"),
    [
        (b"y" * (LONGEST + 1), Address("127.0.0.1", 5060)),
        (b"x", Address("::1", 5060)),
        (b"x", Address("127.0.0.256", 5060)),
        (b"x", Address("127.0.0.1", 0)),
    ],
    ids=["too long", "of the other family", "no address", "no port"],
)
def test_what_cannot_be_sent_is_refused(end: Callable[..., End], data: bytes, to: Address) -> None:
    one = end()
    assert not one.send(data, to)
    assert one.send(b"x", one.address)


def test_a_name_is_looked_up(end: Callable[..., End]) -> None:
    one = end()
    assert one.send(b"x", Address("localhost", one.address.port))
    assert one.intake.take() == (b"x", one.address)


def test_what_only_begins_like_an_address_is_none(end: Callable[..., End]) -> None:
    one = end()
    with pytest.raises((TypeError, ValueError)):
        one.send(b"x", Address("127.0.0.1\0.example", one.address.port))
    assert one.intake.take() is None
