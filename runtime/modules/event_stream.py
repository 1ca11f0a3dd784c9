"""Module event_stream: events for outside programs, streamed over TCP as JSON-RPC.

A subscriber is `tcp:HOST:PORT`, or `tcp:HOST:PORT/method` where the method shall not be the event. The MI process has
one connection to each: it opens it when there is something to say, and again after ever longer pauses where that fails,
while up to 10,000 events wait for half a minute at most. Nothing stands between one JSON text and the next.
"""

from __future__ import annotations

import functools
import ipaddress
import itertools
import logging
import mmap
import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from runtime.clock import monotonic_now
from runtime.event_line import Line
from runtime.modules.events import Done, EventTransport
from runtime.roles import MI, role_of
from runtime.script.declare import Parameter
from runtime.settings import SettingsError
from runtime.streaming import Item, Terms

if TYPE_CHECKING:
    from collections.abc import Mapping

    from runtime.house import House
    from runtime.process import Process
    from runtime.subscriptions import Notice

log = logging.getLogger("layby.events")

MAX_LINES: Final = 256
"""Connections to subscribers. Those that there is nothing to say to give way."""
_ADDRESS: Final = re.compile(r"tcp:(\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9._-]{1,253}):([0-9]{1,5})(?:/([!-~]{1,64}))?")


class Address(NamedTuple):
    """Where a subscriber listens, and the method to call there; empty for the event's name."""

    host: str
    port: int
    method: str


class EventStream(EventTransport):
    """The module as a script loads it."""

    name = "event_stream"
    schemes = ("tcp",)
    is_central = True
    computed: Mapping[str, str] = {"queued_events": "Events that wait for a subscriber, or for its answer."}
    parameters = (
        Parameter("reliable_mode", int, 0, doc="1 has subscribers answer; an event without an answer counts as lost."),
        Parameter("timeout", int, 1000, doc="Milliseconds that connecting, sending an event and an answer may take."),
        Parameter("event_param", str, "", doc="The name of a further parameter that says which event it is."),
    )

    def __init__(self, settings: dict[str, Any] | None = None) -> None:
        super().__init__(settings)
        if not 1 <= self.settings["timeout"] <= 60_000:
            raise SettingsError('modparam("event_stream", "timeout", …) must be from 1 to 60000', "timeout")
        self._terms = Terms(bool(self.settings["reliable_mode"]), self.settings["timeout"] / 1000)

    def furnish(self, house: House) -> None:
        super().furnish(house)
        self._queued = memoryview(mmap.mmap(-1, mmap.PAGESIZE)).cast("Q")
        """In shared memory, for others to see, and for the next MI process to know what this one took with it."""
        house.statistics.compute(self.name, "queued_events", lambda: self._queued[0])

    def enter(self, process: Process) -> None:
        super().enter(process)
        self._lines: dict[tuple[str, int], Line] = {}
        self._serials = itertools.count(1)
        if role_of(process.peer.name) == MI:
            if self._queued[0]:
                self.count("lost_events", self._queued[0])
                self._queued[0] = 0
            process.trailing.append(self)

    def is_address(self, socket: str) -> bool:
        return address_of(socket) is not None

    def deliver(self, socket: str, notice: Notice, done: Done, *, patient: bool = True) -> None:
        address = address_of(socket)
        line = None if address is None else self._line(address.host, address.port)
        if address is None or line is None:
            done(False)
            return
        serial = next(self._serials)
        data = notice.text(address.method, self.settings["event_param"], serial if self._terms.answers else None)
        self._queued[0] += 1

        def ended(arrived: bool) -> None:
            self._queued[0] -= 1
            done(arrived)

        line.offer(Item(data, monotonic_now(), serial, patient, ended))

    def _line(self, host: str, port: int) -> Line | None:
        found = self._lines.get((host, port))
        if found is None:
            if len(self._lines) >= MAX_LINES:
                self._make_room()
            if len(self._lines) < MAX_LINES:
                found = self._lines[host, port] = Line(self.process.loop, host, port, self._terms)
        return found

    def _make_room(self) -> None:
        for place, line in [(place, line) for place, line in self._lines.items() if not line.pending()]:
            line.close()
            del self._lines[place]

    # What is begun and must come to its end before the process goes.

    def pending(self) -> int:
        """How many events are on their way to subscribers that are there. A shutdown waits for nobody else."""
        return sum([line.pending() for line in self._lines.values() if line.is_up()])

    def close(self) -> None:
        """The process ends."""
        if self._queued[0]:
            log.warning("%d events for subscribers are lost", self._queued[0])
        for line in self._lines.values():
            line.close()


@functools.lru_cache(maxsize=1024)
def address_of(text: str) -> Address | None:
    """``tcp:HOST:PORT[/method]``, as a script spells it; None for what is none."""
    found = _ADDRESS.fullmatch(text)
    if found is None or not 0 < int(found[2]) < 65536:
        return None
    host = found[1].strip("[]")
    if found[1].startswith("["):
        try:
            ipaddress.IPv6Address(host)
        except ValueError:
            return None
    return Address(host, int(found[2]), found[3] or "")
