"""What a parked request takes of memory, and how fast requests resume when many are parked.

Memory is that of all of the server's processes together, what they share counted once, less what it was before, less
the messages. So it has all that a parked request needs, its transaction and its place in the queue of jobs among it.

layby's job workers are stopped by a signal, requests come until so many are parked, and the workers go on: then all of
them resume, as fast as the server can. Other servers are asked for memory alone.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from mi_load.site import memory_mib
from pools_peers.processes import descendants

from peers.effort import Effort, started
from peers.requests import wait_idle
from peers.servers import LAYBY, Entry
from runtime.traffic.offer import Plan, template
from runtime.traffic.server import Server

_MIB: Final = 1 << 20
_AT_ONCE: Final = 20
_PER_S: Final = 5_000
_CHUNK: Final = 100
"""So many may be on their way into the server: the kernel keeps that many for it."""
_LEAST_RESUMES: Final = 2_000
"""Where fewer are parked, it is done several times: what takes milliseconds could not be told from chance."""
_WITHIN_S: Final = 90.0
_BUFFER: Final = 32 << 20
_SO_RCVBUFFORCE: Final = 33


class ParkingError(Exception):
    """The requests could not be parked, or did not all come back."""


def measure(entry: Entry, effort: Effort) -> dict[str, Any]:
    """Park fewer and more requests, each time in a server of its own.

    Returns:
        the bytes of each, for the most that were parked; for layby also the resumes per second, and `flatness`, which
        is that rate through the one with the fewest; all of it by number.

    Raises:
        ServerError: the server did not start, or is gone at the end.
        ParkingError: requests were lost.
    """
    if entry.name not in LAYBY:
        return {"parked": max(effort.parked), "bytes_each": _hold(entry, max(effort.parked), effort.processes)}
    found = {count: _hold_and_resume(entry, count, effort.processes) for count in effort.parked}
    (_, per_s_few), (bytes_each, per_s_many) = found[min(found)], found[max(found)]
    return {
        "parked": max(found),
        "bytes_each": bytes_each,
        "resumed_per_s": per_s_many,
        "flatness": per_s_many / per_s_few,
        "by_count": {str(count): {"bytes_each": size, "resumed_per_s": rate} for count, (size, rate) in found.items()},
    }


def _hold(entry: Entry, count: int, processes: int) -> float:
    """Bytes of each."""
    with started(entry, "parked", processes) as (_, server), contextlib.closing(_Crowd(server)) as crowd:
        crowd.come(20 * processes)
        wait_idle(server)
        before = _bytes_of(server)
        crowd.come(count)
        wait_idle(server)
        server.check_alive()
        if dropped := _dropped(server.port):
            raise ParkingError(f"{dropped} requests did not fit the kernel's buffer")
        if (grown := _bytes_of(server) - before) <= 0:
            raise ParkingError(f"nothing was parked: {server.log()[-400:]}")
        return grown / count - crowd.message_bytes


def _hold_and_resume(entry: Entry, count: int, processes: int) -> tuple[float, float]:
    """Bytes of each, and how many resumed per second."""
    with started(entry, "parked", processes) as (site, server), contextlib.closing(_Crowd(server)) as crowd:
        crowd.come(20 * processes)
        crowd.wait_answers(20 * processes)
        wait_idle(server)
        before, taken_s = _bytes_of(server), 0.0
        rounds = max(1, _LEAST_RESUMES // count)
        for number in range(rounds):
            with _stopped(_named(server, "worker-")):
                _park(crowd, site.folder / "mi.sock", count)
                if number == 0:
                    after = _bytes_of(server)
                begun_s = time.monotonic()
            taken_s += crowd.wait_answers(count) - begun_s
        server.check_alive()
    return (after - before) / count - crowd.message_bytes, rounds * count / taken_s


def _park(crowd: _Crowd, mi: Path, count: int) -> None:
    for sent in range(0, count, _CHUNK):
        crowd.come(min(_CHUNK, count - sent))
        _wait_parked(mi, min(sent + _CHUNK, count))


class _Crowd:
    """Requests from one socket, each sent once."""

    def __init__(self, server: Server) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        for option in (socket.SO_RCVBUF, _SO_RCVBUFFORCE):  # the second is beyond the system's limit, where allowed
            with contextlib.suppress(OSError):
                self._socket.setsockopt(socket.SOL_SOCKET, option, _BUFFER)
        self._socket.connect((server.host, server.port))
        plan = Plan(server.host, server.port, 1, 1, "parked", "parked", 0, 0, "crowd")
        self._template = template(plan, "parked", *self._socket.getsockname())
        self._number = 0

    @property
    def message_bytes(self) -> int:
        """Of the last that was sent."""
        return len(self._template.numbered(self._number))

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def come(self, count: int) -> None:
        """Send so many, at a rate that leaves none in the kernel's buffer."""
        begun_s = time.monotonic()
        for sent in range(count):
            self._number += 1
            self._socket.send(self._template.numbered(self._number))
            if sent % _AT_ONCE == 0:
                time.sleep(max(0.0, begun_s + sent / _PER_S - time.monotonic()))

    def wait_answers(self, count: int) -> float:
        """Take in so many answers; the moment of the last of them.

        Raises:
            ParkingError: fewer came, or other ones.
        """
        until_s = time.monotonic() + _WITHIN_S
        for number in range(count):
            if not select.select([self._socket], [], [], max(0.0, until_s - time.monotonic()))[0]:
                raise ParkingError(f"{number} of {count} parked requests were answered")
            answer = self._socket.recv(65_535)
            if not answer.startswith(b"SIP/2.0 200"):
                raise ParkingError(f"a parked request was answered {answer[:40]!r}")
        return time.monotonic()


@contextlib.contextmanager
def _stopped(pids: list[int]) -> Iterator[None]:
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def _wait_parked(mi: Path, count: int) -> None:
    until_s = time.monotonic() + _WITHIN_S
    waiting = 0
    while time.monotonic() < until_s:
        if (waiting := _statistic(mi, "async:waiting")) >= count:
            return
        time.sleep(0.002)
    raise ParkingError(f"{waiting} of {count} requests are parked")


def _statistic(mi: Path, name: str) -> int:
    request = {"jsonrpc": "2.0", "id": 1, "method": "get_statistics", "params": [[name]]}
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as asking:
        asking.bind(str(mi.with_name("reply.sock")))
        try:
            asking.settimeout(10.0)
            asking.sendto(json.dumps(request).encode(), str(mi))
            answer = json.loads(asking.recv(65_535))
        finally:
            mi.with_name("reply.sock").unlink()
    value = answer.get("result", {}).get(name)
    if value is None:
        raise ParkingError(f"the server does not tell {name}: {answer}")
    return int(value)


def _named(server: Server, prefix: str) -> list[int]:
    """The server's processes whose titles end in such a name."""
    return [pid for pid in descendants(server.pid) if f": {prefix}" in Path(f"/proc/{pid}/cmdline").read_text()]


def _dropped(port: int) -> int:
    """Datagrams for that port that the kernel had no room for."""
    lines = [line.split() for line in Path("/proc/net/udp").read_text().splitlines()[1:]]
    return sum(int(fields[-1]) for fields in lines if fields[1].endswith(f":{port:04X}"))


def _bytes_of(server: Server) -> float:
    return sum(memory_mib(pid) for pid in (server.pid, *descendants(server.pid))) * _MIB
