"""Both channels against what `workers.channel` promises."""

from __future__ import annotations

import itertools
import math
import os
import select
import signal
import socket
import stat
import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.workers.house import no_descriptor_free
from workers.channel import Channel, Transport, inbox_path, open_channel
from workers.jobs import Peer

ME, A, B = Peer("worker-1", 1), Peer("sip-1", 1), Peer("sip-2", 1)
MOST = 16 * 1024 * 1024
LIMIT_S = 10.0
FULL = 4 * 1024 * 1024
"""More than the kernel holds for a stream that nobody reads."""


def open_files() -> list[str]:
    return sorted(os.listdir("/proc/self/fd"))


def is_readable(channel: Channel, limit_s: float = LIMIT_S) -> bool:
    poller = select.poll()
    poller.register(channel.fileno(), select.POLLIN)
    return bool(poller.poll(limit_s * 1000))


def drain(channel: Channel) -> list[bytes]:
    """Everything there is for now."""
    frames = []
    while (frame := channel.receive()) is not None:
        frames.append(frame)
    return frames


class Hall:
    """Some channels of one folder, served from one loop that looks only where a descriptor is readable, or when due."""

    def __init__(self, transport: Transport, folder: Path) -> None:
        self.transport, self.folder = transport, folder
        self.channels: dict[Peer, Channel] = {}
        self.got: dict[Peer, list[bytes]] = {}

    def open(self, peer: Peer, *to: Peer, most: int = MOST) -> Channel:
        channel = self.channels[peer] = open_channel(self.transport, peer, self.folder, most)
        assert drain(channel) == []
        self.got[peer] = []
        for other in to:
            channel.connect(other)
        return channel

    def close(self, peer: Peer) -> None:
        self.channels.pop(peer).close()

    def turn(self, wait_s: float = 0.05, *, but: Peer | None = None) -> bool:
        """Serve what is readable or due, all but one; whether anything was readable."""
        poller = select.poll()
        served = {channel.fileno(): peer for peer, channel in self.channels.items() if peer != but}
        for fd in served:
            poller.register(fd, select.POLLIN)
        due = min((self.channels[peer].due for peer in served.values()), default=math.inf)
        events = poller.poll(max(0.0, min(wait_s, due - time.monotonic())) * 1000)
        for fd, _ in events:
            self.got[served[fd]] += drain(self.channels[served[fd]])
        for peer in served.values():
            self.serve_due(peer)
        return bool(events)

    def serve_due(self, peer: Peer) -> None:
        channel, now = self.channels[peer], time.monotonic()
        if now >= channel.due:
            self.got[peer] += drain(channel)
            assert channel.due > now, "the loop turns on the spot"

    def until(self, condition: Callable[[], object], limit_s: float = LIMIT_S) -> None:
        ends_at = time.monotonic() + limit_s
        while not condition():
            assert time.monotonic() < ends_at, "it does not come"
            self.turn()

    def comes_to_rest(self) -> bool:
        """Whether there comes a time when no descriptor asks for anything."""
        return any(not self.turn(0.02) for _ in range(500))

    def stream_to(self, peer: Peer) -> socket.socket:
        """What a stranger who may enter the folder can open."""
        stream = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        stream.settimeout(LIMIT_S)
        stream.connect(str(inbox_path(self.folder, peer)))
        return stream


@pytest.fixture(params=["zmq", "unix"])
def hall(request, tmp: Path) -> Iterator[Hall]:
    before = open_files()
    hall = Hall(request.param, tmp)
    yield hall
    for peer in list(hall.channels):
        hall.close(peer)
    assert list(tmp.iterdir()) == [], "an inbox is left behind"
    assert open_files() == before, "a descriptor is left open"


@pytest.fixture
def unix(tmp: Path) -> Iterator[Hall]:
    before = open_files()
    hall = Hall("unix", tmp)
    yield hall
    for peer in list(hall.channels):
        hall.close(peer)
    assert open_files() == before, "a descriptor is left open"


def body(length: int, seed: int) -> bytes:
    """Bytes that show when a part is missing, doubled or moved."""
    return b"".join(struct.pack(">II", seed, at) for at in range(0, length + 8, 8))[:length]


# -- frames -----------------------------------------------------------------------------------------------------------


def test_frames_arrive_whole_in_their_order_and_once(hall: Hall) -> None:
    hall.open(ME)
    sizes = [0, 1, 2, 3, 4, 5, 100, 4096, 65_536, 70_000]
    sent = {
        peer: [peer.name.encode() + body(sizes[(7 * n + shift) % len(sizes)], n) for n in range(300)]
        for shift, peer in enumerate((A, B))
    }
    for peer in sent:
        hall.open(peer, ME)
    for number in range(300):
        for peer, frames in sent.items():
            hall.channels[peer].send(ME, frames[number])
        hall.turn(0.0)
    hall.until(lambda: len(hall.got[ME]) == 600)
    for peer, frames in sent.items():
        assert [frame for frame in hall.got[ME] if frame.startswith(peer.name.encode())] == frames
    assert hall.got[A] == hall.got[B] == []


def test_both_ways_at_once(hall: Hall) -> None:
    hall.open(ME)
    hall.open(A, ME)
    hall.channels[ME].connect(A)
    frames = [body(n * 50, n) for n in range(500)]
    for frame in frames:
        hall.channels[ME].send(A, frame)
        hall.channels[A].send(ME, frame)
    hall.until(lambda: len(hall.got[A]) == len(hall.got[ME]) == 500)
    assert hall.got == {ME: frames, A: frames}


def test_large_frames_over_a_full_socket_to_a_slow_receiver(hall: Hall) -> None:
    """Sending blocks nobody, although nothing is taken; and then all of it comes, between small ones."""
    receiver, sender = hall.open(ME), hall.open(A, ME)
    large = [body(MOST, 1), body(MOST - 1, 2)]
    frames = [b"first", large[0], b"between", b"", large[1], *[b"%d" % n for n in range(1000)]]
    for frame in frames:
        sender.send(ME, frame)
    for _ in range(20):
        hall.turn(0.001, but=ME)
    assert hall.got[ME] == []
    ends_at, got = time.monotonic() + LIMIT_S, []
    while len(got) < len(frames) and time.monotonic() < ends_at:
        hall.turn(0.0, but=ME)
        if is_readable(receiver, 0.01):
            got += drain(receiver)
    assert len(got) == len(frames)
    assert got == frames
    assert hall.comes_to_rest()


def test_what_is_longer_than_allowed_is_dropped_and_others_go_on(hall: Hall) -> None:
    hall.open(ME, most=1000)
    sender, other = hall.open(A, ME), hall.open(B, ME)
    sender.send(ME, bytes(1000))
    hall.until(lambda: hall.got[ME])
    sender.send(ME, bytes(1001))
    for number in range(200):
        other.send(ME, b"%d" % number)
        hall.turn(0.0)
    hall.until(lambda: len(hall.got[ME]) == 201)
    assert hall.got[ME] == [bytes(1000), *[b"%d" % number for number in range(200)]]
    sender.send(ME, b"it harms nobody to go on")


# -- the descriptor ---------------------------------------------------------------------------------------------------


def test_each_frame_makes_the_descriptor_readable(hall: Hall) -> None:
    """Nobody looks but when told to: a single missed edge would hang here."""
    receiver, sender = hall.open(ME), hall.open(A, ME)
    for number in range(500):
        burst = [b"%d %d" % (number, index) for index in range(1 + number % 3)]
        for frame in burst:
            sender.send(ME, frame)
        got: list[bytes] = []
        while len(got) < len(burst):
            assert is_readable(receiver), "a frame came, and nobody is told"
            got += drain(receiver)
        assert got == burst
    assert hall.comes_to_rest()
    assert not is_readable(receiver, 0.0)


def test_nothing_is_due_where_the_descriptor_tells_of_everything(hall: Hall) -> None:
    hall.open(ME)
    sender = hall.open(A, ME)
    for frame in (b"first", bytes(FULL), b"last"):
        sender.send(ME, frame)
    while len(hall.got[ME]) < 3:
        assert [channel.due for channel in hall.channels.values()] == [math.inf, math.inf]
        hall.turn()
    assert [channel.due for channel in hall.channels.values()] == [math.inf, math.inf]


def test_the_descriptor_stays_the_same(hall: Hall) -> None:
    receiver = hall.open(ME)
    fd = receiver.fileno()
    hall.open(A, ME).send(ME, b"x")
    hall.until(lambda: hall.got[ME])
    assert receiver.fileno() == fd


def test_on_streams_it_is_readable_as_long_as_there_is_something(unix: Hall) -> None:
    receiver, sender = unix.open(ME), unix.open(A, ME)
    sender.send(ME, b"x")
    got: list[bytes] = []
    while not got:
        assert is_readable(receiver)
        assert is_readable(receiver), "however often one asks"
        got += drain(receiver)
    assert got == [b"x"]
    assert not is_readable(receiver, 0.0)


# -- peers that are not there -----------------------------------------------------------------------------------------


def test_nobody_is_there(hall: Hall) -> None:
    sender = hall.open(A, ME, B)
    for _ in range(100):
        sender.send(ME, bytes(10_000))
    assert hall.comes_to_rest()
    assert hall.got[A] == []
    sender.disconnect(ME)
    hall.open(ME)
    sender.connect(ME)
    sender.send(ME, b"now it is")
    hall.until(lambda: hall.got[ME])
    assert hall.got[ME] == [b"now it is"]


@pytest.mark.parametrize("unsent", [0, 100, FULL], ids=["nothing", "a little", "more than fits"])
def test_a_peer_that_dies_with_frames_unread(hall: Hall, unsent: int) -> None:
    """Its death is for others to tell; here nothing raises, blocks or turns on the spot."""
    hall.open(ME)
    other, sender = hall.open(B), hall.open(A, ME, B)
    sender.send(ME, b"first")
    hall.until(lambda: hall.got[ME])
    for _ in range(3):
        sender.send(ME, bytes(unsent))
    hall.close(ME)
    for number in range(10):
        sender.send(ME, b"to the dead")
        sender.send(B, b"%d" % number)
        hall.turn(0.001)
    hall.until(lambda: len(hall.got[B]) == 10)
    assert hall.comes_to_rest()
    sender.disconnect(ME)
    sender.send(B, b"after")
    hall.until(lambda: len(hall.got[B]) == 11)
    assert other is hall.channels[B]


def test_a_sender_that_dies_has_said_whole_frames_or_nothing(hall: Hall) -> None:
    hall.open(ME)
    peer = Peer("sip-9", 1)
    pid = os.fork()
    if pid == 0:
        try:
            channel = open_channel(hall.transport, peer, hall.folder, MOST)
            channel.connect(ME)
            for number in range(2000):
                channel.send(ME, body(5000 + number, number))
            signal.pause()
        finally:
            os._exit(1)
    hall.until(lambda: len(hall.got[ME]) >= 3)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    assert hall.comes_to_rest()
    assert hall.got[ME] == [body(5000 + number, number) for number in range(len(hall.got[ME]))]
    inbox_path(hall.folder, peer).unlink(missing_ok=True)


def test_an_inbox_belongs_to_one_incarnation(hall: Hall) -> None:
    hall.open(ME)
    sender, successor = hall.open(A, ME), Peer(ME.name, ME.incarnation + 1)
    sender.send(ME, b"x")
    hall.until(lambda: hall.got[ME])
    sender.send(ME, bytes(FULL))
    hall.close(ME)
    hall.open(successor)
    for _ in range(10):
        sender.send(ME, b"for the dead")
        hall.turn(0.001)
    assert hall.comes_to_rest()
    assert hall.got[successor] == []
    sender.connect(successor)
    sender.send(successor, b"for the living")
    hall.until(lambda: hall.got[successor])
    assert hall.got[successor] == [b"for the living"]


def test_closing_a_way_forgets_what_has_not_left(hall: Hall) -> None:
    receiver, sender = hall.open(ME), hall.open(A, ME)
    sender.send(ME, b"first")
    hall.until(lambda: hall.got[ME])
    unsent = [body(FULL, number) for number in range(4)]
    for frame in unsent:
        sender.send(ME, frame)
    sender.disconnect(ME)
    assert hall.comes_to_rest()
    assert hall.got[ME][1:] == unsent[: len(hall.got[ME]) - 1], "whole, in order, up to some point"
    assert len(hall.got[ME]) < 5, "not everything can have left"
    sender.connect(ME)
    sender.send(ME, b"again")
    hall.until(lambda: hall.got[ME][-1] == b"again")
    assert not is_readable(receiver, 0.0)


def test_a_small_frame_does_not_overtake_a_large_one_that_waits(hall: Hall) -> None:
    """The receiver has made room by now, but the sender was not told yet."""
    receiver, sender = hall.open(ME), hall.open(A, ME)
    large = body(FULL, 1)
    sender.send(ME, large)
    sender.send(ME, b"second")
    ends_at = time.monotonic() + 0.2
    while time.monotonic() < ends_at:
        if is_readable(receiver, 0.01):
            hall.got[ME] += drain(receiver)
    sender.send(ME, b"third")
    hall.until(lambda: len(hall.got[ME]) == 3)
    assert hall.got[ME] == [large, b"second", b"third"]


def test_a_child_that_inherited_the_descriptors_keeps_nothing_busy(hall: Hall) -> None:
    """Who forks after it bound its inbox: closing is then not the end of a stream."""
    hall.open(ME)
    sender = hall.open(A, ME)
    sender.send(ME, bytes(FULL))
    sender.send(ME, b"unsent")
    hall.turn(0.0, but=ME)
    pid = os.fork()
    if pid == 0:
        try:
            signal.pause()
        finally:
            os._exit(1)
    try:
        sender.disconnect(ME)
        assert hall.comes_to_rest()
        hall.close(ME)
        assert hall.comes_to_rest()
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


# -- when something is short ------------------------------------------------------------------------------------------


def test_who_calls_while_no_descriptor_is_free_is_heard_once_there_is_one(unix: Hall) -> None:
    receiver, known = unix.open(ME), unix.open(B, ME)
    known.send(ME, b"before")
    unix.until(lambda: unix.got[ME])
    callers = [Peer("sip-3", number) for number in range(1, 4)]
    for caller in callers:
        unix.open(caller, ME).send(ME, b"from %d" % caller.incarnation)
    with no_descriptor_free():
        assert unix.comes_to_rest(), "the loop turns on the spot"
        known.send(ME, b"meanwhile")
        unix.until(lambda: len(unix.got[ME]) == 2)
        assert unix.comes_to_rest()
        assert unix.got[ME] == [b"before", b"meanwhile"]
        assert receiver.due < math.inf
    unix.until(lambda: len(unix.got[ME]) == 5)
    assert sorted(unix.got[ME][2:]) == [b"from 1", b"from 2", b"from 3"]
    assert unix.comes_to_rest()
    assert receiver.due == math.inf


def test_without_a_free_descriptor_nothing_is_due_when_nobody_calls(unix: Hall) -> None:
    """Where none is free the kernel says so even to who would find nobody to accept."""
    receiver, sender = unix.open(ME), unix.open(A, ME)
    sender.send(ME, b"first")
    last = os.open(os.devnull, os.O_RDONLY)
    with no_descriptor_free():
        os.close(last)
        unix.until(lambda: unix.got[ME])
        unix.until(lambda: receiver.due == math.inf)
        assert unix.comes_to_rest()
    assert unix.got[ME] == [b"first"]


def test_parting_while_somebody_calls_in_vain(unix: Hall) -> None:
    unix.open(ME)
    sender = unix.open(A, ME)
    sender.send(ME, b"first")
    with no_descriptor_free():
        assert unix.comes_to_rest()
        began_at = time.monotonic()
        unix.close(ME)
        assert time.monotonic() - began_at < 1.0
    assert unix.comes_to_rest()


def test_who_connects_while_no_descriptor_is_free_is_connected_once_there_is_one(unix: Hall) -> None:
    unix.open(ME)
    sender = unix.open(A)
    with no_descriptor_free():
        sender.connect(ME)
        sender.send(ME, b"first")
        assert unix.comes_to_rest()
        sender.send(ME, bytes(FULL))
        assert unix.got[ME] == []
        assert sender.due < math.inf
    unix.until(lambda: len(unix.got[ME]) == 2)
    assert unix.got[ME] == [b"first", bytes(FULL)]
    assert unix.comes_to_rest()
    assert sender.due == math.inf


@pytest.fixture
def small_backlog(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two streams may wait to be accepted: the kernel allows one more than it is told. ZeroMQ has its own ways."""
    monkeypatch.setattr("workers.channel_unix._BACKLOG", 1)


def late_callers(hall: Hall) -> list[Peer]:
    """More than a backlog holds; the last of them are turned away for now."""
    callers = [Peer("sip-3", number) for number in range(1, 7)]
    for caller in callers:
        hall.open(caller, ME)
    return callers


@pytest.mark.usefixtures("small_backlog")
def test_a_peer_that_accepts_nobody_for_a_while_misses_nothing(hall: Hall) -> None:
    hall.open(ME)
    callers = late_callers(hall)
    frames = {caller: [b"%d %d" % (caller.incarnation, number) for number in range(3)] for caller in callers}
    frames[callers[-1]].append(b"%d " % callers[-1].incarnation + bytes(FULL))
    for caller in callers:
        for frame in frames[caller]:
            hall.channels[caller].send(ME, frame)
    for _ in range(20):
        hall.turn(0.002, but=ME)
    hall.until(lambda: len(hall.got[ME]) == 19)
    for caller in callers:
        mine = [frame for frame in hall.got[ME] if frame.startswith(b"%d " % caller.incarnation)]
        assert mine == frames[caller], "in order; whose turn comes first is open"
    assert hall.comes_to_rest()
    assert {channel.due for channel in hall.channels.values()} == {math.inf}


@pytest.mark.usefixtures("small_backlog")
def test_who_was_turned_away_costs_no_turns(unix: Hall) -> None:
    unix.open(ME)
    last = unix.channels[late_callers(unix)[-1]]
    dues, ends_at = {last.due}, time.monotonic() + LIMIT_S
    assert last.due < math.inf
    while len(dues) < 4:
        assert time.monotonic() < ends_at
        unix.turn(but=ME)
        assert not is_readable(last, 0.0)
        dues.add(last.due)
    ordered = sorted(dues)
    assert all(0.005 < after - before < math.inf for before, after in itertools.pairwise(ordered))


@pytest.mark.usefixtures("small_backlog")
def test_what_was_to_go_to_one_that_died_before_it_accepted_is_forgotten(hall: Hall) -> None:
    hall.open(ME)
    callers = late_callers(hall)
    for caller in callers:
        hall.channels[caller].send(ME, b"to the dead")
    hall.close(ME)
    assert hall.comes_to_rest()
    hall.until(lambda: {channel.due for channel in hall.channels.values()} == {math.inf})
    for caller in callers:
        hall.channels[caller].send(ME, b"to the dead")
    assert hall.comes_to_rest()


@pytest.mark.usefixtures("small_backlog")
def test_a_way_that_was_never_open_can_be_closed(hall: Hall) -> None:
    hall.open(ME)
    last = hall.channels[late_callers(hall)[-1]]
    last.send(ME, bytes(FULL))
    last.disconnect(ME)
    hall.until(lambda: last.due == math.inf)
    last.connect(ME)
    last.send(ME, b"again")
    hall.until(lambda: hall.got[ME])
    assert hall.got[ME] == [b"again"]


@pytest.mark.usefixtures("small_backlog")
def test_last_words_to_one_that_accepts_nobody_yet(hall: Hall) -> None:
    hall.open(ME)
    callers = late_callers(hall)
    last = hall.channels.pop(callers[-1])
    last.send(ME, b"the very last")
    closing = threading.Thread(target=last.close)
    closing.start()
    hall.until(lambda: hall.got[ME])
    closing.join(LIMIT_S)
    assert hall.got[ME] == [b"the very last"]


@pytest.mark.usefixtures("small_backlog")
def test_parting_from_one_that_never_accepts_is_short(hall: Hall) -> None:
    hall.open(ME)
    callers = late_callers(hall)
    for caller in callers:
        hall.channels[caller].send(ME, b"x")
    began_at = time.monotonic()
    hall.close(callers[-1])
    assert time.monotonic() - began_at < 1.0


# -- strangers --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x00",
        b"\xff" * 100,
        b"\x01\x00\x00\x01" + bytes(100),
        b"GET / HTTP/1.1\r\n\r\n",
        struct.pack(">I", MOST + 1) + bytes(1000),
        struct.pack(">I", 2**32 - 1),
        struct.pack(">I", 1000) + bytes(999),
    ],
)
def test_hostile_bytes_harm_nobody(hall: Hall, data: bytes) -> None:
    receiver, sender = hall.open(ME), hall.open(A, ME)
    sender.send(ME, b"before")
    hall.until(lambda: hall.got[ME])
    with hall.stream_to(ME) as hostile:
        hostile.sendall(data)
        for _ in range(5):
            hall.turn(0.005)
        sender.send(ME, b"meanwhile")
        hall.until(lambda: len(hall.got[ME]) == 2)
    sender.send(ME, b"after")
    hall.until(lambda: len(hall.got[ME]) == 3)
    assert hall.got[ME] == [b"before", b"meanwhile", b"after"]
    assert hall.comes_to_rest()
    assert not is_readable(receiver, 0.0)


def test_a_frame_in_the_smallest_pieces(unix: Hall) -> None:
    unix.open(ME)
    frames = [b"", b"x", b"four", body(300, 1)]
    with unix.stream_to(ME) as stream:
        for byte in b"".join(struct.pack(">I", len(frame)) + frame for frame in frames):
            stream.sendall(bytes([byte]))
            unix.turn(0.0)
        unix.until(lambda: len(unix.got[ME]) == 4)
    assert unix.got[ME] == frames


@pytest.mark.parametrize("cut", [1, 2, 3, 4, 5])
def test_after_a_large_frame_the_stream_may_be_cut_in_the_next_ones_head(unix: Hall, cut: int) -> None:
    """How much the large one still wanted says nothing of the next."""
    unix.open(ME)
    large, small = body(1_000_000, 1), b"small"
    second = struct.pack(">I", len(small)) + small
    with unix.stream_to(ME) as stream:
        data = memoryview(struct.pack(">I", len(large)) + large + second[:cut])
        stream.setblocking(False)
        while data:
            if select.select([], [stream], [], 0.0)[1]:
                data = data[stream.send(data) :]
            unix.turn(0.0)
        unix.until(lambda: unix.got[ME] == [large])
        assert unix.comes_to_rest()
        stream.sendall(second[cut:])
        unix.until(lambda: len(unix.got[ME]) == 2, 2.0)
    assert unix.got[ME] == [large, small]


def test_a_length_too_long_ends_that_stream_at_once(unix: Hall) -> None:
    """Nothing is kept for it: what follows cannot be told from the frame's own bytes."""
    unix.open(ME, most=1000)
    with unix.stream_to(ME) as stream:
        stream.sendall(struct.pack(">I", 3) + b"one" + struct.pack(">I", 1001) + struct.pack(">I", 3) + b"two")
        unix.until(lambda: unix.got[ME])
        stream.settimeout(LIMIT_S)
        unix.comes_to_rest()
        with pytest.raises(OSError, match=r"[Bb]roken|reset"):
            stream.sendall(bytes(FULL))
    assert unix.got[ME] == [b"one"]


def test_a_peer_that_never_reads_costs_its_sender_no_turns(unix: Hall) -> None:
    """An outgoing stream that is full is waited for, not asked again and again."""
    unix.open(ME)
    sender = unix.open(A, ME)
    sender.send(ME, bytes(FULL))
    for _ in range(3):
        unix.turn(0.0, but=ME)
    assert not is_readable(sender, 0.0)
    unix.until(lambda: unix.got[ME])
    assert unix.comes_to_rest()


# -- the inbox, and the end -------------------------------------------------------------------------------------------


def test_the_inbox_is_its_owners_alone_and_goes_with_the_channel(hall: Hall) -> None:
    hall.open(ME)
    path = inbox_path(hall.folder, ME)
    assert path.name == "worker-1.1"
    mode = path.stat().st_mode
    assert stat.S_ISSOCK(mode)
    assert stat.S_IMODE(mode) == 0o600
    hall.close(ME)
    assert list(hall.folder.iterdir()) == []


@pytest.mark.parametrize("wide_open", [0o000, 0o077])
def test_the_umask_does_not_matter(hall: Hall, wide_open: int) -> None:
    before = os.umask(wide_open)
    try:
        hall.open(ME)
    finally:
        os.umask(before)
    assert stat.S_IMODE(inbox_path(hall.folder, ME).stat().st_mode) == 0o600


def test_last_words_arrive(hall: Hall) -> None:
    hall.open(ME)
    sender = hall.open(A, ME)
    frames = [b"%d" % number for number in range(100)]
    for frame in frames:
        sender.send(ME, frame)
    hall.close(A)
    hall.until(lambda: len(hall.got[ME]) == 100)
    assert hall.got[ME] == frames
    assert hall.comes_to_rest()


def test_last_words_that_fill_the_socket_arrive_where_somebody_reads(hall: Hall) -> None:
    hall.open(ME)
    sender = hall.open(A, ME)
    sender.send(ME, b"first")
    hall.until(lambda: hall.got[ME])
    last = [body(FULL, 1), b"the very last"]
    for frame in last:
        sender.send(ME, frame)
    del hall.channels[A]
    closing = threading.Thread(target=sender.close)
    closing.start()
    hall.until(lambda: len(hall.got[ME]) == 3)
    closing.join(LIMIT_S)
    assert hall.got[ME] == [b"first", *last]


def test_parting_from_a_peer_that_reads_nothing_is_short(hall: Hall) -> None:
    hall.open(ME)
    sender = hall.open(A, ME, B)
    for peer in (ME, B):
        for _ in range(3):
            sender.send(peer, bytes(FULL))
    began_at = time.monotonic()
    hall.close(A)
    assert time.monotonic() - began_at < 1.0


def test_parting_when_the_peer_is_dead(hall: Hall) -> None:
    hall.open(ME)
    sender = hall.open(A, ME)
    sender.send(ME, bytes(FULL))
    hall.close(ME)
    sender.send(ME, b"more")
    began_at = time.monotonic()
    hall.close(A)
    assert time.monotonic() - began_at < 1.0


def test_parting_while_others_still_talk(hall: Hall) -> None:
    """Frames for us that come meanwhile are for nobody."""
    hall.open(ME)
    sender = hall.open(A, ME)
    hall.channels[ME].connect(A)
    sender.send(ME, bytes(FULL))
    for _ in range(10):
        hall.channels[ME].send(A, bytes(10_000))
    hall.close(A)
    hall.channels[ME].send(A, b"late")
    assert hall.comes_to_rest()


def test_no_descriptor_is_left(hall: Hall) -> None:
    hall.open(ME)
    before = open_files()
    for number in range(2, 30):
        peer = Peer("sip-1", number)
        hall.open(peer, ME).send(ME, b"%d" % number)
        hall.until(lambda number=number: hall.got[ME] and hall.got[ME][-1] == b"%d" % number)
        if number % 2:
            hall.channels[peer].disconnect(ME)
        hall.close(peer)
    assert hall.comes_to_rest()
    ends_at = time.monotonic() + LIMIT_S
    while open_files() != before and time.monotonic() < ends_at:  # a thread of ZeroMQ's closes what ended
        hall.turn(0.01)
    assert open_files() == before
    assert len(hall.got[ME]) == 28


def test_a_path_too_long_for_a_socket_leaves_nothing(hall: Hall) -> None:
    before, folder = open_files(), hall.folder / ("x" * 120)
    folder.mkdir()
    with pytest.raises(OSError):  # noqa: PT011  (each transport has its own text)
        open_channel(hall.transport, ME, folder, MOST)
    assert (open_files(), list(folder.iterdir())) == (before, [])
    folder.rmdir()
