"""One question to DNS, asked of one server after the other until there is an answer.

dnspython does the asking: which server next, how long to wait, what a reply means, aliases, search lists. What it
sends through is made here, for three reasons. A socket is connected to its server, so that nobody else's datagrams
arrive on it, and a server that is not there is known at once and not after a time-out. No name or address is looked
up by the loop, for which uvloop would start threads. And the size of a reply is bounded before it is read.
"""

from __future__ import annotations

import asyncio
import io
import ipaddress
import logging
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

import dns.asyncbackend
import dns.asyncresolver
import dns.exception
import dns.message
import dns.name
import dns.nameserver
import dns.rcode
import dns.rdata
import dns.rdatatype
import dns.resolver
from dns.rdtypes.IN.A import A
from dns.rdtypes.IN.AAAA import AAAA
from dns.rdtypes.IN.NAPTR import NAPTR
from dns.rdtypes.IN.SRV import SRV

from runtime.dns_settings import DnsServer, DnsSettings
from runtime.sip.dns_records import MAX_SRV_RECORDS, Naptr, Query, Record, Srv, Unanswered

log = logging.getLogger("layby.dns")

RESOLV_CONF: Final = Path("/etc/resolv.conf")
MAX_REPLY_BYTES: Final = 4_096
"""Far more than `MAX_SRV_RECORDS` need. A reply of 64 KiB would keep the process busy for a tenth of a second."""
MAX_REPLY_RECORDS: Final = 100
"""In all of its sections. Compressed, a record has 16 bytes, and up to 0.15 ms go by until it is read."""
MAX_RECORDS: Final = MAX_SRV_RECORDS
_MAX_BAD_DATAGRAMS: Final = 16
"""After so many datagrams that are no answer a server is given up: to read them costs time too."""
_LOOK_AGAIN_S: Final = 5.0
"""How often resolv.conf is looked at for changes, at most."""
_PREFER_FOR_S: Final = 30.0
"""How long the server that answered is asked first, before the order of resolv.conf is gone back to."""


class Answer(NamedTuple):
    """What a server says: the records, none when there are none, and for how many seconds."""

    records: tuple[Record, ...]
    ttl_s: float


class DnsClient:
    """Asks questions. To be made in the process that uses it, after its fork.

    Args:
        loop: where it runs.
        settings: whom it asks, how often, how long.
        resolv_conf: the file that names the servers where the settings do not; read again when it changes.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, settings: DnsSettings, resolv_conf: Path = RESOLV_CONF) -> None:
        self._loop = loop
        self._settings = settings
        self._path = resolv_conf
        self._stamp: tuple[int, int, int] | None = None
        self._look_at = self._prefer_until = float("-inf")
        self._resolver = dns.asyncresolver.Resolver(configure=False)
        self._servers: list[_Server] = []
        """In the order of the configuration."""

    async def ask(self, query: Query) -> Answer | Unanswered:
        """Ask a question.

        Returns:
            the answer, or why no server has given one within the time that the settings allow. Never raises.
        """
        try:
            self._configure()
            async with asyncio.timeout(self._settings.deadline_s + 0.1):
                return await self._resolve(query)
        except (dns.resolver.NoNameservers, dns.resolver.YXDOMAIN) as error:
            log.debug("%s %s: %s", query.type, query.name, error)
            return Unanswered.ERROR
        except (dns.exception.DNSException, OSError) as error:
            log.debug("%s %s: %s", query.type, query.name, error)
        except Exception:
            log.exception("%s %s", query.type, query.name)
        return Unanswered.SILENCE

    async def _resolve(self, query: Query) -> Answer:
        try:
            answer = await self._resolver.resolve(
                dns.name.from_text(query.name, None), query.type, raise_on_no_answer=False, backend=_BACKEND
            )
        except dns.resolver.NXDOMAIN as error:
            replies: list[dns.message.QueryMessage] = list(error.kwargs["responses"].values())
            return Answer((), min((reply.resolve_chaining().minimum_ttl for reply in replies), default=0))
        records = [_read(rdata) for rdata in answer.rrset or ()]
        return Answer(tuple(records[:MAX_RECORDS]), answer.chaining_result.minimum_ttl)

    # Whom to ask.

    def _configure(self) -> None:
        now = self._loop.time()
        if now >= self._look_at:
            self._look_at = now + _LOOK_AGAIN_S
            if (stamp := _stamp(self._path)) != self._stamp or not self._servers:
                self._stamp = stamp
                self._read_configuration()
        if now >= self._prefer_until:
            self._resolver.nameservers = self._servers

    def _read_configuration(self) -> None:
        settings = self._settings
        resolver, named = _from_resolv_conf(self._path)
        servers = settings.servers or tuple(named[: settings.servers_no or None]) or (DnsServer("127.0.0.1"),)
        # However few tries are wanted, there is time for each server once.
        resolver.timeout = min(settings.retr_time_s, settings.deadline_s / len(servers))
        resolver.lifetime = settings.deadline_s
        resolver.use_search_by_default = settings.use_search_list
        self._servers = [_Server(self._loop, server, self._prefer) for server in servers]
        self._resolver = resolver
        self._prefer_until = float("-inf")

    def _prefer(self, server: _Server) -> None:
        """This server has answered. While the first of them is silent, not every question has to wait for it."""
        if server is not self._resolver.nameservers[0] and server in self._servers:
            self._resolver.nameservers = [server, *(other for other in self._servers if other is not server)]
            self._prefer_until = self._loop.time() + _PREFER_FOR_S


def _from_resolv_conf(path: Path) -> tuple[dns.asyncresolver.Resolver, list[DnsServer]]:
    """A resolver with the file's options, and the servers that it names."""
    resolver = dns.asyncresolver.Resolver(configure=False)
    try:
        lines = path.read_text("utf-8", "replace").splitlines()
        # dnspython refuses all of a file with one bad server in it.
        good = (line for line in lines if line.split()[:1] != ["nameserver"] or _names_a_server(line))
        resolver.read_resolv_conf(io.StringIO("\n".join(good)))
    except (dns.exception.DNSException, ValueError, OSError) as error:
        log.info("%s: %s", path, error)
    return resolver, [DnsServer(str(each)) for each in resolver.nameservers]


def _names_a_server(line: str) -> bool:
    try:
        ipaddress.ip_address(line.split()[1])
    except (ValueError, IndexError):
        return False
    return True


def _stamp(path: Path) -> tuple[int, int, int] | None:
    """What changes when a file does; None when it is not there."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _read(rdata: dns.rdata.Rdata) -> Record:
    match rdata:
        case A(address=address) | AAAA(address=address):
            return str(address)
        case SRV():
            return Srv(rdata.priority, rdata.weight, rdata.port, rdata.target.to_text())
        case NAPTR():
            words = (rdata.flags, rdata.service, rdata.regexp)
            flags, service, regexp = (word.decode("latin-1") for word in words)
            return Naptr(rdata.order, rdata.preference, flags, service, regexp, rdata.replacement.to_text())
        case _:
            raise ValueError(f"a record of type {dns.rdatatype.to_text(rdata.rdtype)} was not asked for")


class _Server(dns.nameserver.Do53Nameserver):
    """A server, asked over connected sockets."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, server: DnsServer, on_answer: Callable[[_Server], None]
    ) -> None:
        super().__init__(server.host, server.port)
        self._loop = loop
        self._on_answer = on_answer
        self._family = socket.AF_INET6 if ":" in server.host else socket.AF_INET

    async def async_query(
        self,
        request: dns.message.QueryMessage,
        timeout: float,
        source: str | None,
        source_port: int,
        max_size: bool,
        backend: object,
        one_rr_per_rrset: bool = False,
        ignore_trailing: bool = False,
    ) -> dns.message.Message:
        """Ask once; `max_size` says over TCP. Raises what dnspython takes for the server's failure."""
        try:
            async with asyncio.timeout(timeout):
                reply = await (self._over_tcp(request) if max_size else self._over_udp(request))
        except TimeoutError:
            raise dns.exception.Timeout from None
        if reply.rcode() in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
            self._on_answer(self)
        return reply

    async def _over_udp(self, request: dns.message.QueryMessage) -> dns.message.Message:
        with socket.socket(self._family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as udp:
            udp.connect((self.address, self.port))
            udp.send(request.to_wire())
            for _ in range(_MAX_BAD_DATAGRAMS):
                reply = _reply_in(await self._loop.sock_recv(udp, MAX_REPLY_BYTES), request)
                if reply is not None:
                    return reply
        raise EOFError("no answer in many datagrams")

    async def _over_tcp(self, request: dns.message.QueryMessage) -> dns.message.Message:
        with socket.socket(self._family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as tcp:
            await self._loop.sock_connect(tcp, (self.address, self.port))
            await self._loop.sock_sendall(tcp, request.to_wire(prepend_length=True))
            size = int.from_bytes(await self._receive(tcp, 2), "big")
            if size > MAX_REPLY_BYTES:
                raise EOFError(f"an answer of {size} bytes")
            data = await self._receive(tcp, size)
        if _record_count(data) > MAX_REPLY_RECORDS:
            raise EOFError("an answer with too many records")
        reply = dns.message.from_wire(data)
        if not request.is_response(reply):
            raise EOFError("the answer to another question")
        return reply

    async def _receive(self, tcp: socket.socket, size: int) -> bytes:
        data = b""
        while len(data) < size:
            part = await self._loop.sock_recv(tcp, size - len(data))
            if not part:
                raise EOFError("the connection has ended")
            data += part
        return data


def _record_count(data: bytes) -> int:
    """How many records the header of a reply announces (RFC 1035 4.1.1)."""
    return sum(int.from_bytes(data[at : at + 2], "big") for at in (6, 8, 10))


def _reply_in(data: bytes, request: dns.message.QueryMessage) -> dns.message.Message | None:
    """The reply that this datagram is; None when it is none, or to something else. Raises Truncated."""
    if _record_count(data) > MAX_REPLY_RECORDS:
        return None
    try:
        reply = dns.message.from_wire(data, raise_on_truncation=True)
    except dns.message.Truncated as error:
        if request.is_response(error.kwargs["message"]):
            raise
        return None
    except Exception:
        # What a parser finds to raise on anybody's bytes is not all of one family.
        return None
    return reply if request.is_response(reply) else None


_BACKEND: Final = dns.asyncbackend.get_backend("asyncio")
"""Named, so that nothing is detected for each question. Of it only `sleep` is used."""
