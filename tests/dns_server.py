"""A DNS server on a loopback port, over UDP and TCP, that can be told to misbehave.

It runs in a thread with a loop of its own, so it serves a resolver in the test as well as a server in a process.
What it is told counts from the next question on.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import Any, Self

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset

ZONE = "test."
MAX_UDP_BYTES = 512


class DnsServer:
    """Use it as a context manager.

    Attributes:
        delay_s: how long each answer takes.
        silent: no answers at all.
        truncated: over UDP only the head of each answer comes, with TC.
        rcode: answer all questions with that, and with nothing else.
        mangle: what to send over UDP instead of an answer: any number of datagrams.
        negative_ttl_s: the SOA's minimum.
        questions: what has been asked: name, type, and ``udp`` or ``tcp``.
    """

    def __init__(self, port: int = 0) -> None:
        self.port = port
        self.delay_s = 0.0
        self.silent = False
        self.truncated = False
        self.rcode: dns.rcode.Rcode | None = None
        self.mangle: Callable[[bytes], list[bytes]] = lambda data: [data]
        self.negative_ttl_s = 20
        self.questions: list[tuple[str, str, str]] = []
        self._records: dict[tuple[dns.name.Name, int], dns.rrset.RRset] = {}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._udp: asyncio.DatagramTransport | None = None
        self._tcp: asyncio.Server | None = None

    # What it knows.

    def add(self, name: str, type_: str, *texts: str, ttl_s: int = 60) -> None:
        """Make these the name's records of this type; a name without a dot at its end is whole all the same."""
        rrset = dns.rrset.from_text(name.removesuffix(".") + ".", ttl_s, "IN", type_, *texts)
        self._records[rrset.name, rrset.rdtype] = rrset

    def remove(self, name: str, type_: str) -> None:
        del self._records[dns.name.from_text(name), dns.rdatatype.from_text(type_)]

    def count(self, name: str, type_: str) -> int:
        """How often this was asked."""
        return sum(asked[:2] == (name, type_) for asked in self.questions)

    # Its life.

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._open(), self._loop).result(5)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(5)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()

    async def _open(self) -> None:
        for _ in range(20):
            self._tcp = await asyncio.start_server(self._serve_tcp, "127.0.0.1", self.port)
            port = self._tcp.sockets[0].getsockname()[1]
            try:
                self._udp, _ = await self._loop.create_datagram_endpoint(
                    lambda: _Udp(self), local_addr=("127.0.0.1", port)
                )
            except OSError:
                self._tcp.close()
                continue
            self.port = port
            return
        raise OSError("no port is free for both UDP and TCP")

    async def _close(self) -> None:
        assert self._udp is not None
        assert self._tcp is not None
        self._udp.close()
        self._tcp.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    # Answering.

    def take_udp(self, data: bytes, source: Any, transport: asyncio.DatagramTransport) -> None:
        answer = self._answer(data, "udp")
        if answer is None or self.silent:
            return
        for datagram in self.mangle(self._for_udp(answer)):
            self._loop.call_later(self.delay_s, transport.sendto, datagram, source)

    def _for_udp(self, answer: dns.message.Message) -> bytes:
        try:
            if not self.truncated:
                return answer.to_wire(max_size=MAX_UDP_BYTES, want_shuffle=False)
        except dns.exception.TooBig:
            pass
        head = dns.message.from_wire(answer.to_wire(max_size=65_535, want_shuffle=False))
        head.flags |= dns.flags.TC
        head.answer, head.authority, head.additional = [], [], []
        return head.to_wire()

    async def _serve_tcp(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            while True:
                size = int.from_bytes(await reader.readexactly(2), "big")
                answer = self._answer(await reader.readexactly(size), "tcp")
                await asyncio.sleep(self.delay_s)
                if answer is not None and not self.silent:
                    writer.write(answer.to_wire(max_size=65_535, prepend_length=True, want_shuffle=False))
        writer.close()

    def _answer(self, data: bytes, protocol: str) -> dns.message.Message | None:
        try:
            query = dns.message.from_wire(data)
        except dns.exception.DNSException:
            return None
        question = query.question[0]
        name, type_ = question.name.to_text(omit_final_dot=True), dns.rdatatype.to_text(question.rdtype)
        self.questions.append((name, type_, protocol))
        answer = dns.message.make_response(query, recursion_available=True)
        if self.rcode is not None:
            answer.set_rcode(self.rcode)
        else:
            self._fill(answer, question.name, question.rdtype)
        return answer

    def _fill(self, answer: dns.message.Message, name: dns.name.Name, type_: dns.rdatatype.RdataType) -> None:
        """Answer as a recursive server does: aliases are followed, a loop of them once around."""
        seen = set()
        while name not in seen:
            seen.add(name)
            rrset = self._records.get((name, type_))
            if rrset is not None:
                answer.answer.append(rrset)
                return
            alias = self._records.get((name, dns.rdatatype.CNAME))
            if alias is None:
                break
            answer.answer.append(alias)
            name = alias[0].target
        if not any(known.is_subdomain(name) for known, _ in self._records):
            answer.set_rcode(dns.rcode.NXDOMAIN)
        soa = f"ns.{ZONE} root.{ZONE} 1 3600 600 86400 {self.negative_ttl_s}"
        answer.authority.append(dns.rrset.from_text(".", 3600, "IN", "SOA", soa))


class _Udp(asyncio.DatagramProtocol):
    def __init__(self, server: DnsServer) -> None:
        self._server = server

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self._server.take_udp(data, addr, self._transport)
