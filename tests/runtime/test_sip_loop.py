"""The loop of a SIP process: asyncio's in every respect, and direct readers that run within its wait."""

from __future__ import annotations

import asyncio
import os
import select
import selectors
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from runtime.sip_loop import DirectSelector, SipLoop
from tests.harness import wait_until

FAR_S = 60.0
"""A time-out that must not be waited for; the tests' own limit is shorter."""
SOON_S = 2.0


@pytest.fixture
def loop() -> Iterator[SipLoop]:
    one = SipLoop()
    yield one
    one.close()


@pytest.fixture
def selector() -> Iterator[DirectSelector]:
    one = DirectSelector()
    yield one
    one.close()


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    yield from _pairs(socket.SOCK_DGRAM)


@pytest.fixture
def other_pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    yield from _pairs(socket.SOCK_DGRAM)


@pytest.fixture
def stream() -> Iterator[tuple[socket.socket, socket.socket]]:
    yield from _pairs(socket.SOCK_STREAM)


Pair = tuple[socket.socket, socket.socket]


def _pairs(kind: socket.SocketKind) -> Iterator[Pair]:
    ends = socket.socketpair(socket.AF_UNIX, kind)
    for end in ends:
        end.setblocking(False)
    yield ends
    for end in ends:
        end.close()


def run(loop: SipLoop, limit_s: float = SOON_S) -> None:
    """Run until something stops the loop; fail when nothing does."""
    late: list[bool] = []

    def stop() -> None:
        late.append(True)
        loop.stop()

    handle = loop.call_later(limit_s, stop)
    loop.run_forever()
    handle.cancel()
    assert not late, "nothing stopped the loop"


# --- direct readers


def test_a_direct_reader_is_called_within_select_and_ends_no_wait(selector: DirectSelector, pair: Pair) -> None:
    out, into = pair
    got: list[bytes] = []
    selector.add_direct(into.fileno(), lambda: got.append(into.recv(100)), exclusive=False)
    out.send(b"one")
    began = time.monotonic()

    assert selector.select(0.05) == []
    assert got == [b"one"]
    assert time.monotonic() - began >= 0.05, "the loop's own time-out still counts"


def test_a_direct_reader_that_scheduled_something_ends_the_wait(selector: DirectSelector, pair: Pair) -> None:
    out, into = pair

    def read() -> None:
        into.recv(100)
        selector.touched = True

    selector.add_direct(into.fileno(), read, exclusive=False)
    out.send(b"one")

    began = time.monotonic()
    assert selector.select(FAR_S) == []
    assert time.monotonic() - began < SOON_S


def test_what_lies_there_is_read_before_what_the_first_of_it_scheduled(
    selector: DirectSelector, pair: Pair, other_pair: Pair
) -> None:
    out, into = pair
    got: list[bytes] = []

    def read() -> None:
        got.append(into.recv(100))
        selector.touched = True

    selector.add_direct(into.fileno(), read, exclusive=False)
    key = selector.register(other_pair[1], selectors.EVENT_READ, "for the loop")
    other_pair[0].send(b"x")
    for word in (b"one", b"two", b"three"):
        out.send(word)

    assert selector.select(FAR_S) == [(key, selectors.EVENT_READ)]
    assert got == [b"one", b"two", b"three"]


def test_what_was_scheduled_waits_a_millisecond_for_more_to_read(
    selector: DirectSelector, pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, into = pair
    now, reads = 100.0, 0

    def read() -> None:
        nonlocal now, reads
        into.recv(100)
        out.send(b"again")
        now, reads = now + 0.0004, reads + 1
        selector.touched = True

    monkeypatch.setattr(time, "monotonic", lambda: now)
    selector.add_direct(into.fileno(), read, exclusive=False)
    out.send(b"one")

    assert selector.select(FAR_S) == []
    assert reads == 3


def test_what_the_loop_waits_for_is_given_to_it_beside_direct_readers(
    selector: DirectSelector, pair: Pair, other_pair: Pair
) -> None:
    got: list[bytes] = []
    selector.add_direct(pair[1].fileno(), lambda: got.append(pair[1].recv(100)), exclusive=False)
    key = selector.register(other_pair[1], selectors.EVENT_READ, "data")
    pair[0].send(b"one")
    other_pair[0].send(b"two")

    assert selector.select(FAR_S) == [(key, selectors.EVENT_READ)]
    assert got == [b"one"]


def test_nothing_to_do_returns_at_once_where_the_loop_does_not_want_to_wait(selector: DirectSelector) -> None:
    began = time.monotonic()
    assert selector.select(0) == []
    assert selector.select(-1) == []
    assert time.monotonic() - began < SOON_S


def test_a_direct_reader_that_is_removed_by_another_one_is_not_called(
    selector: DirectSelector, pair: Pair, other_pair: Pair
) -> None:
    called: list[int] = []

    def read(this: int, other: int) -> None:
        called.append(this)
        selector.remove_direct(other)
        selector.remove_direct(this)

    one, two = pair[1].fileno(), other_pair[1].fileno()
    selector.add_direct(one, lambda: read(one, two), exclusive=False)
    selector.add_direct(two, lambda: read(two, one), exclusive=False)
    pair[0].send(b"x")
    other_pair[0].send(b"x")

    assert selector.select(0.01) == []
    assert len(called) == 1


def test_removing_twice_and_removing_what_was_closed_is_harmless(selector: DirectSelector, pair: Pair) -> None:
    fd = pair[1].fileno()
    selector.add_direct(fd, lambda: None, exclusive=True)
    pair[1].close()
    selector.remove_direct(fd)
    selector.remove_direct(fd)

    assert selector.select(0) == []


def test_a_descriptor_that_cannot_be_waited_for_is_not_kept(selector: DirectSelector, tmp: Any) -> None:
    with (tmp / "file").open("wb") as file:
        with pytest.raises(PermissionError):
            selector.add_direct(file.fileno(), lambda: None, exclusive=False)
        with pytest.raises(PermissionError):
            selector.register(file, selectors.EVENT_READ)
        assert len(selector.get_map()) == 0
        with pytest.raises(PermissionError, match="not permitted"):  # and not: registered already
            selector.register(file, selectors.EVENT_READ)


def test_a_descriptor_has_one_reader(selector: DirectSelector, pair: Pair) -> None:
    selector.add_direct(pair[1].fileno(), lambda: None, exclusive=False)
    with pytest.raises(KeyError):
        selector.add_direct(pair[1].fileno(), lambda: None, exclusive=False)
    with pytest.raises(KeyError):
        selector.register(pair[1], selectors.EVENT_READ)
    selector.register(pair[0], selectors.EVENT_READ)
    with pytest.raises(KeyError):
        selector.add_direct(pair[0].fileno(), lambda: None, exclusive=False)


# --- as every selector


def test_the_map_is_by_descriptor_and_by_object(selector: DirectSelector, pair: Pair) -> None:
    key = selector.register(pair[0], selectors.EVENT_WRITE, "data")

    assert selector.get_key(pair[0]) is selector.get_key(pair[0].fileno()) is key
    assert list(selector.get_map()) == [pair[0].fileno()]
    with pytest.raises(KeyError):
        selector.get_key(pair[1])
    changed = selector.modify(pair[0], selectors.EVENT_READ, "other")
    assert (changed.events, changed.data) == (selectors.EVENT_READ, "other")
    assert selector.unregister(pair[0]) is changed
    with pytest.raises(KeyError):
        selector.unregister(pair[0])


def test_what_was_closed_while_it_was_registered_can_be_taken_out(selector: DirectSelector, pair: Pair) -> None:
    file = os.fdopen(os.dup(pair[1].fileno()), "rb", buffering=0)
    selector.register(pair[0], selectors.EVENT_READ)
    selector.register(file, selectors.EVENT_READ)
    pair[0].close()
    file.close()

    assert selector.unregister(pair[0]).fileobj is pair[0]
    assert selector.unregister(file).fileobj is file
    assert len(selector.get_map()) == 0


def test_what_cannot_be_changed_any_more_is_taken_out(selector: DirectSelector, pair: Pair) -> None:
    fd = pair[0].fileno()
    selector.register(fd, selectors.EVENT_READ)
    pair[0].close()

    with pytest.raises(OSError, match="descriptor"):
        selector.modify(fd, selectors.EVENT_WRITE)
    assert len(selector.get_map()) == 0


def test_a_hang_up_wakes_who_reads_and_who_writes(selector: DirectSelector, stream: Pair) -> None:
    both = selectors.EVENT_READ | selectors.EVENT_WRITE
    key = selector.register(stream[0], both)
    stream[1].close()

    assert selector.select(FAR_S) == [(key, both)]


def test_events_that_nobody_waits_for_are_not_told(selector: DirectSelector, stream: Pair) -> None:
    key = selector.register(stream[0], selectors.EVENT_WRITE)
    stream[1].send(b"x")

    assert selector.select(FAR_S) == [(key, selectors.EVENT_WRITE)]


# --- as every loop


@pytest.mark.parametrize(
    "schedule",
    [
        lambda loop, work: loop.call_soon(work),
        lambda loop, work: loop.call_later(0, work),
        lambda loop, work: loop.call_at(loop.time(), work),
        lambda loop, work: loop.call_soon_threadsafe(work),
        lambda loop, work: loop.create_task(_later(work)),
        lambda loop, work: work(),
    ],
    ids=["call_soon", "call_later", "call_at", "threadsafe", "task", "itself"],
)
def test_what_a_direct_reader_schedules_comes_at_once(
    loop: SipLoop, pair: Pair, schedule: Callable[[SipLoop, Callable[[], None]], object]
) -> None:
    def read() -> None:
        pair[1].recv(100)
        schedule(loop, loop.stop)

    loop.add_direct(pair[1].fileno(), read, exclusive=True)
    pair[0].send(b"x")
    run(loop)
    loop.run_until_complete(asyncio.sleep(0))


async def _later(work: Callable[[], None]) -> None:
    work()


def test_a_timer_that_a_direct_reader_starts_shortens_the_wait(loop: SipLoop, pair: Pair) -> None:
    fired: list[float] = []

    def read() -> None:
        pair[1].recv(100)
        loop.call_later(0.02, lambda: (fired.append(loop.time()), loop.stop()))

    loop.add_direct(pair[1].fileno(), read, exclusive=False)
    pair[0].send(b"x")
    began = loop.time()
    run(loop)

    assert 0.02 <= fired[0] - began < SOON_S


def test_timers_get_their_turn_while_datagrams_come_without_end(loop: SipLoop, pair: Pair) -> None:
    reads = 0

    def read() -> None:
        nonlocal reads
        pair[1].recv(100)
        reads += 1
        pair[0].send(b"again")

    loop.add_direct(pair[1].fileno(), read, exclusive=False)
    pair[0].send(b"x")
    loop.call_later(0.03, loop.stop)
    run(loop)

    assert reads > 10


def test_another_thread_wakes_the_loop(loop: SipLoop) -> None:
    ran_in: list[int] = []

    def work() -> None:
        ran_in.append(threading.get_ident())
        loop.stop()

    thread = threading.Thread(target=lambda: loop.call_soon_threadsafe(work))
    loop.call_soon(thread.start)
    run(loop)
    thread.join()

    assert ran_in == [threading.get_ident()]


def test_stop_from_a_direct_reader_ends_the_loop_and_it_can_run_again(loop: SipLoop, pair: Pair) -> None:
    def read() -> None:
        pair[1].recv(100)
        loop.stop()

    loop.add_direct(pair[1].fileno(), read, exclusive=False)
    for _ in range(3):
        pair[0].send(b"x")
        run(loop)


def test_a_direct_reader_runs_within_the_running_loop(loop: SipLoop, pair: Pair) -> None:
    seen: list[asyncio.AbstractEventLoop] = []

    def read() -> None:
        pair[1].recv(100)
        seen.append(asyncio.get_running_loop())
        loop.stop()

    loop.add_direct(pair[1].fileno(), read, exclusive=False)
    pair[0].send(b"x")
    run(loop)

    assert seen == [loop]


def test_what_a_direct_reader_raises_goes_to_the_exception_handler_and_the_others_go_on(
    loop: SipLoop, pair: Pair, other_pair: Pair
) -> None:
    told: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, about: told.append(about))

    def fail() -> None:
        pair[1].recv(100)
        raise ValueError("what a reader raises")

    def read() -> None:
        other_pair[1].recv(100)
        loop.stop()

    loop.add_direct(pair[1].fileno(), fail, exclusive=False)
    loop.add_direct(other_pair[1].fileno(), read, exclusive=False)
    pair[0].send(b"x")
    other_pair[0].send(b"x")
    run(loop)
    loop.call_soon(loop.stop)
    run(loop)

    assert [str(about["exception"]) for about in told] == ["what a reader raises"]


def test_a_direct_reader_that_ends_the_process_does(loop: SipLoop, pair: Pair) -> None:
    def leave() -> None:
        pair[1].recv(100)
        raise SystemExit(3)

    loop.add_direct(pair[1].fileno(), leave, exclusive=False)
    pair[0].send(b"x")
    with pytest.raises(SystemExit):
        run(loop)


def test_a_direct_reader_may_remove_itself(loop: SipLoop, pair: Pair) -> None:
    called: list[bool] = []

    def read() -> None:
        called.append(True)
        loop.remove_direct(pair[1].fileno())

    loop.add_direct(pair[1].fileno(), read, exclusive=False)
    pair[0].send(b"it is not even read")
    loop.call_later(0.02, loop.stop)
    run(loop)

    assert called == [True]


def test_readers_and_writers_are_called_and_removed(loop: SipLoop, stream: Pair) -> None:
    one, other = stream
    got: list[bytes] = []

    def write() -> None:
        one.send(b"written")
        assert loop.remove_writer(one)

    def read() -> None:
        got.append(other.recv(100))
        assert loop.remove_reader(other)
        loop.stop()

    loop.add_reader(other, read)
    loop.add_writer(one, write)
    run(loop)

    assert got == [b"written"]
    assert not loop.remove_reader(other)
    assert not loop.remove_writer(one)


def test_streams_of_asyncio_run_over_it(loop: SipLoop) -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            writer.write(line.upper())
            await writer.drain()
        writer.close()

    async def talk() -> list[bytes]:
        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        lines = []
        for number in range(50):
            writer.write(b"line %d\n" % number)
            lines.append(await reader.readline())
        writer.close()
        await writer.wait_closed()
        server.close()
        await server.wait_closed()
        return lines

    lines = loop.run_until_complete(asyncio.wait_for(talk(), SOON_S))
    assert lines == [b"LINE %d\n" % number for number in range(50)]


@pytest.mark.parametrize("inbox_first", [True, False], ids=["inbox first", "datagram first"])
def test_a_reader_that_a_direct_reader_replaces_goes_on_reading(
    loop: SipLoop, pair: Pair, other_pair: Pair, inbox_first: bool
) -> None:
    """As `block_on` does it: take a descriptor out, wait on the stack, and put it back, while it is readable."""
    inbox = other_pair[1]
    got: list[bytes] = []

    def read() -> None:
        got.append(inbox.recv(100))
        if got[-1] == b"last":
            loop.stop()

    def swap() -> None:
        pair[1].recv(100)
        loop.remove_reader(inbox)
        loop.add_reader(inbox, read)
        loop.call_later(0.02, other_pair[0].send, b"last")

    loop.add_reader(inbox, read)
    loop.add_direct(pair[1].fileno(), swap, exclusive=False)
    for sends in (other_pair[0], pair[0]) if inbox_first else (pair[0], other_pair[0]):
        sends.send(b"first")
    run(loop)

    assert got == [b"first", b"last"]


def test_a_descriptor_closed_by_a_direct_reader_takes_its_old_events_along(loop: SipLoop, pair: Pair) -> None:
    """The number is given again at once; what the kernel said of the old one is not told of the new one."""
    old, sender, new = _datagram_socket(), _datagram_socket(), _datagram_socket()
    number = old.fileno()
    told: list[str] = []

    def read() -> None:
        told.append("new")
        os.read(number, 100)
        loop.stop()

    def replace() -> None:
        pair[1].recv(100)
        loop.remove_reader(number)
        os.dup2(new.fileno(), number)
        loop.add_reader(number, read)
        loop.call_later(0.03, sender.sendto, b"x", new.getsockname())

    loop.add_reader(number, told.append, "old")
    loop.add_direct(pair[1].fileno(), replace, exclusive=False)
    sender.sendto(b"x", old.getsockname())
    pair[0].send(b"x")
    try:
        run(loop)
        assert told == ["new"]
    finally:
        loop.remove_reader(number)
        for one in (old, sender, new):
            one.close()


def _datagram_socket() -> socket.socket:
    one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    one.bind(("127.0.0.1", 0))
    one.setblocking(False)
    return one


def test_another_loop_runs_nested_in_a_direct_reader(loop: SipLoop, pair: Pair, other_pair: Pair) -> None:
    """As in `Process.block_on`: the inbox is served by the nested loop meanwhile, and by this one again after it."""
    inbox = other_pair[1]
    got: list[tuple[str, bytes]] = []

    def serve(who: str) -> None:
        got.append((who, inbox.recv(100)))

    def block() -> None:
        pair[1].recv(100)
        asyncio._set_running_loop(None)
        loop.remove_reader(inbox)
        nested = asyncio.SelectorEventLoop()
        try:
            nested.add_reader(inbox, serve, "nested")
            other_pair[0].send(b"one")
            nested.run_until_complete(asyncio.sleep(0.02))
            nested.remove_reader(inbox)
        finally:
            nested.close()
            asyncio._set_running_loop(loop)
            loop.add_reader(inbox, serve, "outer")
        other_pair[0].send(b"two")
        loop.call_soon(loop.call_soon, loop.call_soon, loop.stop)

    loop.add_reader(inbox, serve, "outer")
    loop.add_direct(pair[1].fileno(), block, exclusive=False)
    pair[0].send(b"x")
    run(loop)

    assert got == [("nested", b"one"), ("outer", b"two")]


# --- several processes


def test_of_two_processes_that_wait_one_is_woken() -> None:
    """Each datagram is for one process; the other sleeps on, which its context switches would show."""
    shared = _datagram_socket()
    sender = _datagram_socket()
    report, reports = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    reports.settimeout(SOON_S)
    children = [_fork_reader(shared, report) for _ in range(2)]
    try:
        assert sorted(reports.recv(10) for _ in children) == [b"up", b"up"]
        wait_until(lambda: all(_sleeps(child) for child in children), what="both wait")
        for _ in range(50):
            sender.sendto(b"x", shared.getsockname())
            assert reports.recv(10) == b"read"
            wait_until(lambda: all(_sleeps(child) for child in children), what="both wait")
        reports.setblocking(False)
        with pytest.raises(BlockingIOError):
            reports.recv(10)  # nobody was woken for nothing
    finally:
        for child in children:
            os.kill(child, 9)
            os.waitpid(child, 0)
        for one in (shared, sender, report, reports):
            one.close()


def _fork_reader(shared: socket.socket, report: socket.socket) -> int:
    """A process that says ``read`` for each datagram that it takes, and ``late`` when it is woken and finds none."""
    child = os.fork()
    if child:
        return child
    try:
        one = SipLoop()

        def read() -> None:
            try:
                shared.recv(100)
            except BlockingIOError:
                report.send(b"late")
            else:
                report.send(b"read")

        one.add_direct(shared.fileno(), read, exclusive=True)
        report.send(b"up")
        one.run_forever()
    finally:
        os._exit(1)


def _sleeps(pid: int) -> bool:
    with open(f"/proc/{pid}/wchan") as file:
        where = file.read()
    with open(f"/proc/{pid}/stat") as file:
        state = file.read().rpartition(")")[2].split()[0]
    return state == "S" and where in ("0", "", "ep_poll", "do_epoll_wait")


def test_an_exclusive_reader_is_woken_in_the_next_process_while_the_first_is_busy() -> None:
    """Who is busy does not wait in the kernel: the datagram wakes the other one."""
    shared = _datagram_socket()
    with select.epoll() as first, select.epoll() as second:
        for one in (first, second):
            one.register(shared.fileno(), select.EPOLLIN | select.EPOLLEXCLUSIVE)
        woken: list[list[tuple[int, int]]] = []
        waiting = threading.Thread(target=lambda: woken.append(second.poll(SOON_S)))
        waiting.start()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.sendto(b"x", shared.getsockname())
        waiting.join()
        assert woken == [[(shared.fileno(), select.EPOLLIN)]]
    shared.close()
