"""Connections found again, opened, handed over and given up: `Transports` over real sockets on one loop.

A `Site` is what one process has. Sites that share their listening sockets and their table of peers are the processes of
one server; letters between them arrive in the next turn of the loop, as they do between processes.
"""

from __future__ import annotations

import asyncio
import contextlib
import mmap
import resource
import socket
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from typing import Any

import pytest

from runtime.context import Address
from runtime.handover import Marks
from runtime.listen import Listen
from runtime.settings import StreamSettings
from runtime.sip.framing import Broken
from runtime.sip.ownership import Fingerprints
from runtime.sip_loop import SipLoop
from runtime.transports.base import ListenSocket, open_sockets
from runtime.transports.streams import peers_slots
from runtime.transports.tcp import MAX_UNSENT_BYTES, State
from runtime.transports.transports import Transports
from tests.harness import free_port

LIMIT_S = 5.0


def message(name: str, body: int = 0) -> bytes:
    return f"INFO sip:{name}@x SIP/2.0\r\nContent-Length: {body}\r\n\r\n{'b' * body}".encode()


def reply(status: int, body: int = 0) -> bytes:
    return f"SIP/2.0 {status} X\r\nContent-Length: {body}\r\n\r\n{'b' * body}".encode()


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(LIMIT_S):
        while not condition():
            await asyncio.sleep(0.002)


class Site:
    """One process: its transports, and what came in and went wrong."""

    def __init__(
        self,
        *listens: Listen,
        settings: StreamSettings | None = None,
        among: list[Site] | None = None,
        slot: int = 0,
        processes: int = 1,
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.settings = settings or StreamSettings()
        self.among = [self] if among is None else [*among, self]
        if among:
            self.sockets = [ListenSocket(one.index, one.listen, one.sock.dup()) for one in among[0].sockets]
            self.peers = among[0].peers
            for other in among:
                other.among = self.among
        else:
            self.sockets = open_sockets(listens, self.settings)
            slots = peers_slots(self.settings)
            self.peers = Fingerprints(mmap.mmap(-1, Fingerprints.size(processes, slots)), processes, slots)
        self.came: list[tuple[int, bytes, Address]] = []
        self.broken: list[Broken] = []
        self.failed: list[str] = []
        self.letters = 0
        self.reachable = True
        self.transports = Transports(
            self.sockets,
            self.loop,
            lambda one, data, source: self.came.append((one.index, data, source)),
            on_broken=lambda one, source, broken: self.broken.append(broken),
            settings=self.settings,
            slot=slot,
            peers=self.peers,
            post=self.post,
            marks=Marks(mmap.mmap(-1, 8 * processes), processes, 0),
            took=lambda messages: None,
        )
        self.transports.open()
        self.transports.datagrams.open()

    def post(self, slot: int, topic: str, body: bytes) -> bool:
        if slot >= len(self.among) or not self.among[slot].reachable:
            return False
        self.letters += 1
        self.loop.call_soon(self.among[slot].transports.on_letter, topic, body)
        return True

    def address(self, index: int = 0) -> Address:
        return Address(self.sockets[index].listen.host, self.sockets[index].listen.port)

    def send(
        self, data: bytes, to: Address, *, index: int = 0, name: str = "", otherwise: Address | None = None
    ) -> bool:
        failed = (lambda: self.failed.append(name)) if name else None
        return self.transports.send(self.sockets[index], data, to, failed, otherwise)

    def messages(self) -> list[bytes]:
        return [data for _, data, _ in self.came]

    def states(self) -> list[int]:
        return [row.state for row in self.transports.peers()]

    def close(self) -> None:
        self.transports.close()
        for one in self.sockets:
            one.close()


def tcp(host: str = "127.0.0.1") -> Listen:
    return Listen("tcp", host, free_port(socket.SOCK_STREAM))


def udp() -> Listen:
    return Listen("udp", "127.0.0.1", free_port())


Test = Callable[..., Coroutine[Any, Any, None]]


@pytest.fixture
def run() -> Iterator[Callable[[Callable[[contextlib.ExitStack], Awaitable[None]]], None]]:
    """Run a scenario: it is given a stack on which it puts what has to be closed."""

    def runner(scenario: Callable[[contextlib.ExitStack], Awaitable[None]]) -> None:
        async def whole() -> None:
            with contextlib.ExitStack() as stack:
                await scenario(stack)

        with asyncio.Runner(loop_factory=SipLoop) as one:
            one.run(whole())

    return runner


def made(stack: contextlib.ExitStack, site: Site) -> Site:
    stack.callback(site.close)
    return site


def test_a_datagram_goes_out_at_once_and_comes_in_with_its_source(run) -> None:
    async def scenario(stack: contextlib.ExitStack) -> None:
        one, two = made(stack, Site(udp())), made(stack, Site(udp()))
        assert one.send(message("a"), two.address())
        await until(lambda: two.came)
        assert two.came == [(0, message("a"), one.address())]
        assert not one.send(b"x" * 70_000, two.address()), "the kernel takes no such datagram"

    run(scenario)


def test_a_connection_is_opened_once_and_used_both_ways(run) -> None:
    async def scenario(stack: contextlib.ExitStack) -> None:
        one, two = made(stack, Site(tcp())), made(stack, Site(tcp()))
        for name in "abc":
            assert one.send(message(name), two.address())
        assert one.states() == [State.CONNECTING]
        await until(lambda: len(two.came) == 3)
        assert two.messages() == [message("a"), message("b"), message("c")]
        (source,) = {source for _, _, source in two.came}
        assert source.host == "127.0.0.1"
        assert source != one.address()
        assert two.send(reply(200), source)
        assert one.send(message("d"), two.address())
        await until(lambda: one.came and len(two.came) == 4)
        assert one.came == [(0, reply(200), two.address())]
        assert one.states() == two.states() == [State.OPEN]
        (row,) = two.transports.peers()
        assert (row.type, row.remote, row.local) == (
            "tcp",
            f"127.0.0.1:{source.port}",
            f"127.0.0.1:{two.address().port}",
        )

    run(scenario)


def test_a_connection_is_opened_from_the_address_of_its_socket(run) -> None:
    async def scenario(stack: contextlib.ExitStack) -> None:
        one, two = made(stack, Site(tcp("127.0.0.2"))), made(stack, Site(tcp()))
        assert one.send(message("a"), two.address())
        await until(lambda: two.came)
        assert two.came[0][2].host == "127.0.0.2"

    run(scenario)


def test_a_connection_to_another_socket_of_the_same_protocol_serves_as_well(run) -> None:
    async def scenario(stack: contextlib.ExitStack) -> None:
        one, two = made(stack, Site(tcp())), made(stack, Site(tcp(), udp(), tcp()))
        assert one.send(message("a"), two.address(2))
        await until(lambda: two.came)
        index, _, source = two.came[0]
        assert index == 2
        assert two.send(reply(200), source, index=0)
        await until(lambda: one.came)
        assert len(two.transports.peers()) == 1

    run(scenario)


def test_it_is_said_in_a_later_turn_that_nobody_listens(run) -> None:
    async def scenario(stack: contextlib.ExitStack) -> None:
        one, nobody = made(stack, Site(tcp())), Address("127.0.0.1", free_port(socket.SOCK_STREAM))
        assert one.send(message("a"), nobody, name="a")
        assert one.send(message("b"), nobody, name="b")
        assert one.send(message("c"), nobody)
        assert one.failed == []
        await until(lambda: one.failed)
        await until(lambda: one.states() == [])
        assert one.failed == ["a", "b"]

    run(scenario)


def test_a_connection_that_does_not_open_in_time_fails_what_waits_for_it(run) -> None:
    async def scenario(stack: contextlib.ExitStack) -> None:
        one = made(stack, Site(tcp(), settings=StreamSettings(connect_timeout_s=0.2)))
        full = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(4):  # with its backlog full a listener answers no more
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())
        assert one.send(message("a"), Address("127.0.0.1", full.getsockname()[1]), name="a")
        await asyncio.sleep(0)
        assert one.states() == [State.CONNECTING]
        await until(lambda: one.failed == ["a"])
        assert one.states() == []

    run(scenario)


def test_what_waits_for_a_connection_is_bounded(run) -> None:
    async def scenario(stack: contextlib.ExitStack) -> None:
        one, two = made(stack, Site(tcp())), made(stack, Site(tcp()))
        big = message("a", 60_000)
        fits = MAX_UNSENT_BYTES // len(big)
        taken = [one.send(big, two.address(), name="big") for _ in range(fits + 3)]
        assert taken == [True] * fits + [False] * 3
        await until(lambda: len(two.came) == fits)
        assert one.failed == []
        assert one.send(big, two.address())

    run(scenario)


@pytest.mark.parametrize("host", ["sip.example.org", "::1", "", "127.0.0.1.5", "999.1.1.1"])
def test_what_is_no_address_of_the_family_is_refused_at_once(run, host: str) -> None:
    async def scenario(stack: contextlib.ExitStack) -> None:
        one = made(stack, Site(tcp()))
        assert not one.send(message("a"), Address(host, 5060), name="a")
        await asyncio.sleep(0)
        assert one.failed == []

    run(scenario)


def test_ipv6_is_served_as_well(run) -> None:
    async def scenario(stack: contextlib.ExitStack) -> None:
        one, two = made(stack, Site(tcp("::1"))), made(stack, Site(tcp("::1")))
        assert one.send(message("a"), two.address())
        await until(lambda: two.came)
        assert two.send(reply(200), two.came[0][2])
        await until(lambda: one.came)

    run(scenario)


def test_a_reply_goes_to_the_other_address_only_when_the_connection_is_gone(run) -> None:
    async def scenario(stack: contextlib.ExitStack) -> None:
        caller, server, elsewhere = (made(stack, Site(tcp())) for _ in range(3))
        caller.send(message("a"), server.address())
        await until(lambda: server.came)
        source = server.came[0][2]
        assert server.send(reply(200), source, otherwise=elsewhere.address())
        await until(lambda: caller.came)
        caller.transports.close()
        await until(lambda: server.states() == [])
        assert server.send(reply(404), source, otherwise=elsewhere.address(), name="404")
        await until(lambda: elsewhere.came)
        assert elsewhere.messages() == [reply(404)]
        assert server.failed == []

    run(scenario)


def test_a_reply_into_a_connection_that_turns_out_to_be_gone_is_sent_to_the_other_address(run) -> None:
    async def scenario(stack: contextlib.ExitStack) -> None:
        server, elsewhere = made(stack, Site(tcp())), made(stack, Site(tcp()))
        caller = stack.enter_context(socket.create_connection((server.address().host, server.address().port)))
        caller.sendall(message("a"))
        await until(lambda: server.came)
        caller.close()
        await until(lambda: server.states() == [State.HALF_OPEN])  # it may have closed one way only
        assert server.send(reply(200), server.came[0][2], otherwise=elsewhere.address(), name="200")
        await until(lambda: elsewhere.came)
        assert elsewhere.messages() == [reply(200)]
        assert server.failed == []

    run(scenario)


def test_a_reply_that_cannot_be_sent_anywhere_has_failed(run) -> None:
    async def scenario(stack: contextlib.ExitStack) -> None:
        server = made(stack, Site(tcp()))
        caller = stack.enter_context(socket.create_connection((server.address().host, server.address().port)))
        caller.sendall(message("a"))
        await until(lambda: server.came)
        caller.close()
        await until(lambda: server.states() == [State.HALF_OPEN])
        nobody = Address("127.0.0.1", free_port(socket.SOCK_STREAM))
        assert server.send(reply(200), server.came[0][2], otherwise=nobody, name="200")
        await until(lambda: server.failed == ["200"])

    run(scenario)


def test_a_half_open_peer_that_reads_gets_its_answer_once_and_is_let_go(run) -> None:
    async def scenario(stack: contextlib.ExitStack) -> None:
        server, elsewhere = made(stack, Site(tcp())), made(stack, Site(tcp()))
        caller = stack.enter_context(socket.create_connection((server.address().host, server.address().port)))
        caller.sendall(message("a") + message("b"))
        caller.shutdown(socket.SHUT_WR)
        await until(lambda: len(server.came) == 2 and server.states() == [State.HALF_OPEN])
        source = server.came[0][2]
        assert server.send(reply(100), source, otherwise=elsewhere.address())
        assert server.send(reply(200), source, otherwise=elsewhere.address())
        await asyncio.sleep(0.1)
        assert server.states() == [State.HALF_OPEN], "it has one more request to be answered"
        assert server.send(reply(486), source, otherwise=elsewhere.address())
        await until(lambda: server.states() == [])
        caller.setblocking(True)
        assert b"".join(iter(lambda: caller.recv(4096), b"")) == reply(100) + reply(200) + reply(486)
        assert elsewhere.came == []

    run(scenario)


def test_a_request_does_not_go_to_a_peer_that_will_say_nothing_more(run) -> None:
    async def scenario(stack: contextlib.ExitStack) -> None:
        server = made(stack, Site(tcp()))
        caller = stack.enter_context(socket.create_connection((server.address().host, server.address().port)))
        caller.sendall(message("a"))
        caller.shutdown(socket.SHUT_WR)
        await until(lambda: server.states() == [State.HALF_OPEN])
        source = server.came[0][2]
        assert not server.send(message("b"), source)
        assert server.send(reply(200), source, otherwise=source)
        await until(lambda: server.states() == [])
        caller.setblocking(True)
        assert b"".join(iter(lambda: caller.recv(4096), b"")) == reply(200)

    run(scenario)


def test_a_request_goes_over_a_new_connection_where_the_peer_has_ended_the_one_to_it(run) -> None:
    async def scenario(stack: contextlib.ExitStack) -> None:
        server = made(stack, Site(tcp()))
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        to = Address("127.0.0.1", listener.getsockname()[1])
        assert server.send(message("a"), to)
        first, _ = listener.accept()
        stack.enter_context(first)
        first.sendall(message("b"))  # it is owed an answer
        first.shutdown(socket.SHUT_WR)
        await until(lambda: server.states() == [State.HALF_OPEN])
        assert server.send(message("c"), to)
        assert server.states() == [State.CONNECTING]
        await until(lambda: server.states() == [State.OPEN])
        second, _ = listener.accept()
        stack.enter_context(second)
        assert second.recv(4096) == message("c")

    run(scenario)


def test_a_peer_that_closes_and_is_owed_nothing_is_let_go_at_once(run) -> None:
    async def scenario(stack: contextlib.ExitStack) -> None:
        server = made(stack, Site(tcp()))
        caller = stack.enter_context(socket.create_connection((server.address().host, server.address().port)))
        caller.sendall(message("a").replace(b"INFO", b"ACK"))
        await until(lambda: server.came)
        caller.close()
        await until(lambda: server.states() == [])

    run(scenario)


def test_a_slow_reader_is_cut_and_what_waits_for_it_has_failed(run) -> None:
    async def scenario(stack: contextlib.ExitStack) -> None:
        server, elsewhere = made(stack, Site(tcp())), made(stack, Site(tcp()))
        caller = stack.enter_context(socket.create_connection((server.address().host, server.address().port)))
        caller.sendall(message("a"))
        await until(lambda: server.came)
        source, sent = server.came[0][2], 0
        while server.states() and sent < 1000:
            server.send(reply(183, 60_000), source, name="183", otherwise=elsewhere.address())
            sent += 1
        assert server.states() == []
        assert sent * 60_000 > MAX_UNSENT_BYTES
        await until(lambda: server.failed)
        assert (len(server.failed) - 1) * 60_000 <= MAX_UNSENT_BYTES  # the first of them is out in part
        assert elsewhere.came == [], "a peer that reads slowly here does not get it all elsewhere"

    run(scenario)


def test_what_is_sent_slowly_arrives_whole_and_in_order(run) -> None:
    async def scenario(stack: contextlib.ExitStack) -> None:
        server = made(stack, Site(tcp()))
        server.sockets[0].sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65_536)  # an accepted one inherits it
        caller = stack.enter_context(socket.create_connection((server.address().host, server.address().port)))
        caller.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 131_072)
        caller.sendall(message("a"))
        await until(lambda: server.came)
        caller.setblocking(False)
        (connection,) = server.transports._streams._connections.values()
        replies = [reply(180 + number % 10, 50_000 + number) for number in range(60)]
        got, waited = b"", 0
        async with asyncio.timeout(LIMIT_S):
            for batch in range(0, 60, 15):  # no more at once than may wait
                for data in replies[batch : batch + 15]:
                    assert server.send(data, server.came[0][2])
                waited += connection._unsent
                while len(got) < sum(map(len, replies[: batch + 15])):
                    await asyncio.sleep(0)
                    with contextlib.suppress(BlockingIOError):
                        got += caller.recv(7_000)
        assert got == b"".join(replies)
        assert waited > 4 * 200_000
        assert connection._unsent == 0

    run(scenario)


def test_a_broken_stream_gets_what_is_said_to_it_and_is_closed(run) -> None:
    async def scenario(stack: contextlib.ExitStack) -> None:
        server = made(stack, Site(tcp()))
        reader, writer = await asyncio.open_connection(server.address().host, server.address().port)
        stack.callback(writer.close)
        writer.write(message("a") + b"INFO sip:x SIP/2.0\r\n\r\n" + message("never seen"))
        assert await reader.read() == b""
        assert server.messages() == [message("a")]
        assert [broken.reason for broken in server.broken] == ["Missing Content-Length header"]
        assert server.states() == [State.CLOSING]
        writer.close()
        await until(lambda: server.states() == [])

    run(scenario)


def processes(stack: contextlib.ExitStack, **more: Any) -> tuple[Site, Site]:
    """Two processes of one server."""
    first = made(stack, Site(tcp(), processes=2, **more))
    return first, made(stack, Site(among=[first], slot=1, **more))


async def connected(stack: contextlib.ExitStack, caller: Site, first: Site, second: Site) -> tuple[Site, Site, Address]:
    """Let a caller connect to a server: who owns the connection, who does not, and the caller's address."""
    caller.send(message("a"), first.address())
    await until(lambda: first.came or second.came)
    owner, other = (first, second) if first.came else (second, first)
    return owner, other, owner.came[0][2]


def test_what_another_process_has_to_say_goes_over_the_connection_of_its_owner(run) -> None:
    async def scenario(stack: contextlib.ExitStack) -> None:
        caller = made(stack, Site(tcp()))
        _, other, source = await connected(stack, caller, *processes(stack))
        assert other.send(reply(200), source, name="200", otherwise=Address("127.0.0.1", 1))
        await until(lambda: caller.came)
        assert caller.messages() == [reply(200)]
        assert (other.letters, other.states(), other.failed) == (1, [], [])

    run(scenario)


def test_an_owner_that_finds_the_connection_gone_sends_it_elsewhere_or_says_that_it_failed(run) -> None:
    async def scenario(stack: contextlib.ExitStack) -> None:
        caller, elsewhere = made(stack, Site(tcp())), made(stack, Site(tcp()))
        owner, other, source = await connected(stack, caller, *processes(stack))
        # The connection ends while the letters are on their way.
        assert other.send(reply(200), source, name="200", otherwise=elsewhere.address())
        assert other.send(reply(404), source, name="404", otherwise=Address("127.0.0.1", free_port(socket.SOCK_STREAM)))
        for connection in list(owner.transports._streams._connections.values()):
            connection.end("for the test")
        await until(lambda: elsewhere.came and other.failed)
        assert elsewhere.messages() == [reply(200)]
        assert other.failed == ["404"]
        assert (other.letters, owner.letters) == (2, 1)

    run(scenario)


def test_an_owner_that_cannot_be_told_is_done_without(run) -> None:
    async def scenario(stack: contextlib.ExitStack) -> None:
        caller, elsewhere = made(stack, Site(tcp())), made(stack, Site(tcp()))
        owner, other, source = await connected(stack, caller, *processes(stack))
        owner.reachable = False
        assert other.send(reply(200), source, otherwise=elsewhere.address())
        await until(lambda: elsewhere.came)
        assert other.letters == 0

    run(scenario)


def test_a_dead_process_owns_nothing_any_more(run) -> None:
    async def scenario(stack: contextlib.ExitStack) -> None:
        caller, elsewhere = made(stack, Site(tcp())), made(stack, Site(tcp()))
        owner, other, source = await connected(stack, caller, *processes(stack))
        owner.peers.clear(owner.among.index(owner))
        assert other.send(reply(200), source, otherwise=elsewhere.address())
        await until(lambda: elsewhere.came)
        assert other.letters == 0

    run(scenario)


def test_there_are_no_more_connections_than_allowed_over_all_processes(run) -> None:
    async def scenario(stack: contextlib.ExitStack) -> None:
        first, second = processes(stack, settings=StreamSettings(max_connections=3))
        place = (first.address().host, first.address().port)
        held = [stack.enter_context(socket.create_connection(place)) for _ in range(3)]
        await until(lambda: len(first.states() + second.states()) == 3)
        reader, writer = await asyncio.open_connection(*place)
        stack.callback(writer.close)
        assert await reader.read() == b""
        assert not first.send(message("a"), Address("127.0.0.1", free_port(socket.SOCK_STREAM)))
        held[0].close()
        await until(lambda: len(first.states() + second.states()) == 2)
        stack.enter_context(socket.create_connection(place))
        await until(lambda: len(first.states() + second.states()) == 3)

    run(scenario)


def test_a_half_open_connection_makes_room_for_a_new_one(run) -> None:
    async def scenario(stack: contextlib.ExitStack) -> None:
        server = made(stack, Site(tcp(), settings=StreamSettings(max_connections=1)))
        place = (server.address().host, server.address().port)
        silent = stack.enter_context(socket.create_connection(place))
        silent.sendall(message("a"))
        silent.shutdown(socket.SHUT_WR)
        await until(lambda: server.states() == [State.HALF_OPEN])
        stack.enter_context(socket.create_connection(place))
        await until(lambda: server.states() == [State.OPEN])

    run(scenario)


def test_a_connection_lives_for_as_long_as_it_is_used_or_as_it_is_told_to(run) -> None:
    async def scenario(stack: contextlib.ExitStack) -> None:
        server = made(stack, Site(tcp(), settings=StreamSettings(lifetime_s=0.3)))
        idle, kept = made(stack, Site(tcp())), made(stack, Site(tcp()))
        idle.send(message("idle"), server.address())
        kept.send(message("kept"), server.address())
        await until(lambda: len(server.came) == 2)
        source = {data: source for _, data, source in server.came}
        assert server.transports.persist(server.sockets[0], source[message("kept")], 60)
        assert not server.transports.persist(server.sockets[0], Address("127.0.0.1", 1), 60)
        await until(lambda: len(server.states()) == 1)
        (row,) = server.transports.peers()
        assert row.remote.endswith(f":{source[message('kept')].port}")

    run(scenario)


def test_a_message_that_begins_has_to_end_in_time(run) -> None:
    async def scenario(stack: contextlib.ExitStack) -> None:
        server = made(stack, Site(tcp(), settings=StreamSettings(max_message_s=0.3)))
        reader, writer = await asyncio.open_connection(server.address().host, server.address().port)
        stack.callback(writer.close)
        writer.write(message("whole") + b"INFO sip:")
        assert await asyncio.wait_for(reader.read(), LIMIT_S) == b""
        assert server.messages() == [message("whole")]

    run(scenario)


def test_a_handler_that_fails_costs_no_other_message(run, caplog) -> None:
    async def scenario(stack: contextlib.ExitStack) -> None:
        server, caller = made(stack, Site(tcp())), made(stack, Site(tcp()))

        def fails_once(one: ListenSocket, data: bytes, source: Address) -> None:
            server.came.append((0, data, source))
            if len(server.came) == 1:
                raise RuntimeError("on purpose")

        server.transports._streams._on_message = fails_once
        for name in "abc":
            caller.send(message(name), server.address())
        await until(lambda: len(server.came) == 3)

    run(scenario)
    assert "on purpose" in caplog.text


def test_running_out_of_files_stops_the_accepting_for_a_moment_only(run, caplog) -> None:
    async def scenario(stack: contextlib.ExitStack) -> None:
        server = made(stack, Site(tcp()))
        callers = [stack.enter_context(socket.socket()) for _ in range(2)]
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        taken = callers[-1].fileno() + 1
        with contextlib.ExitStack() as hole:
            for _ in range(3):  # whatever lower numbers are free
                filler = hole.enter_context(socket.socket())
                taken = max(taken, filler.fileno() + 1)
            resource.setrlimit(resource.RLIMIT_NOFILE, (taken, hard))
            try:
                for caller in callers:
                    caller.connect((server.address().host, server.address().port))
                await until(lambda: "no connection can be accepted" in caplog.text)
                await asyncio.sleep(0.1)
                assert server.states() == []
                assert caplog.text.count("no connection can be accepted") == 1
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        await until(lambda: len(server.states()) == 2)

    run(scenario)


def test_nothing_is_said_after_the_end(run) -> None:
    async def scenario(stack: contextlib.ExitStack) -> None:
        one = made(stack, Site(tcp()))
        assert one.send(message("a"), Address("127.0.0.1", free_port(socket.SOCK_STREAM)), name="a")
        one.transports.close()
        await asyncio.sleep(0.05)
        assert one.failed == []
        assert one.states() == []

    run(scenario)
