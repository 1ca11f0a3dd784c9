"""The operator: a loop over MI that lists all dialogs page by page, ends some of them, and has the rules reloaded.

Pages and ends go over HTTP, one connection for all. A reload is asked for by a request whose route runs `dr_reload` in
the flavour that the request names; the server tells its end by an event, and then it is asked for again.

``python -m mi_load.operating ORDERS`` works in a process of its own until its standard input closes, and writes what it
has done to standard output.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import random
import select
import socket
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from mi_load.calls import ENDED

_HOST: Final = "127.0.0.1"
_NICENESS: Final = 5
"""An operator's program runs on another machine: where both want a CPU the server gets it."""
_AGAIN_S: Final = 0.5
_CONFIRMED: Final = 4
EVENT: Final = "E_RELOADED"


@dataclass(frozen=True, slots=True)
class Orders:
    """What to do.

    Args:
        port: of SIP, on 127.0.0.1.
        http_port: of MI.
        run: names the load; only its calls are looked at.
        flavour: how the rules are reloaded: launch, async or mi; empty for not at all.
        page: dialogs in a page.
        pages_per_s: how many pages are asked for in a second, at most.
    """

    port: int
    http_port: int
    run: str
    flavour: str
    page: int = 100
    pages_per_s: float = 50.0


@dataclass(slots=True)
class Sweep:
    """One walk through all dialogs.

    Args:
        begun, over: seconds of the monotonic clock.
        calls: the numbers of the calls that were seen, as they came.
    """

    begun: float
    over: float = 0.0
    calls: list[int] = field(default_factory=list)


@dataclass(slots=True)
class Done:
    """What the operator has done.

    Args:
        pages: how many were read.
        page_s: how long each took.
        sweeps: the walks that came to their end.
        ended: by call number the moment at which its end was asked for.
        end_s: how long each of those commands took.
        reload_s: how long each reload took, from the request to the event.
        problems: what was not as it should be, the first 20.
    """

    pages: int = 0
    page_s: list[float] = field(default_factory=list)
    sweeps: list[Sweep] = field(default_factory=list)
    ended: dict[int, float] = field(default_factory=dict)
    end_s: list[float] = field(default_factory=list)
    reload_s: list[float] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def problem(self, text: str) -> None:
        """Note what was not as it should be."""
        if len(self.problems) < 20:
            self.problems.append(text)


class Reloads:
    """Has the rules reloaded, again and again.

    Args:
        orders: where and how.
        done: takes the figures.
    """

    def __init__(self, orders: Orders, done: Done) -> None:
        self._orders = orders
        self._done = done
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((_HOST, 0))
        self._socket.setblocking(False)
        self._asked = self._sent = 0.0
        self._answered = False
        self._serial = 0

    @property
    def address(self) -> str:
        """Where the event is to be sent."""
        return f"udp:{_HOST}:{self._socket.getsockname()[1]}"

    def turn(self) -> None:
        """Take in what has come, and ask where it is time to."""
        self._take_in()
        now = time.monotonic()
        if not self._asked:
            self._serial += 1
            self._asked, self._answered = now, False
            self._send(now)
        elif not self._answered and now - self._sent > _AGAIN_S:
            self._send(now)

    def wait(self, until: float) -> None:
        """Wait for something to come, or for that moment."""
        select.select([self._socket], [], [], max(0.0, until - time.monotonic()))

    def _take_in(self) -> None:
        while True:
            try:
                data = self._socket.recv(65_535)
            except BlockingIOError:
                return
            if data.startswith(b"SIP/2.0 "):
                self._replied(data)
            else:
                self._told(json.loads(data))

    def _replied(self, data: bytes) -> None:
        self._answered = True
        if int(data[8:11]) >= 300:
            self._done.problem(f"the reload was refused: {data[:60]!r}")

    def _told(self, event: dict[str, Any]) -> None:
        values = event["params"]
        if int(values["serial"]) != self._serial or not self._asked:
            return
        if int(values["rc"]) < 0:
            self._done.problem(f"a reload ended with {values['rc']}")
        self._done.reload_s.append(time.monotonic() - self._asked)
        self._asked = 0.0

    def _send(self, now: float) -> None:
        orders, port, serial = self._orders, self._socket.getsockname()[1], self._serial
        text = (
            f"OPTIONS sip:{orders.flavour}@{_HOST}:{orders.port} SIP/2.0\r\n"
            f"Via: SIP/2.0/UDP {_HOST}:{port};branch=z9hG4bKreload{orders.run}{serial}\r\nMax-Forwards: 70\r\n"
            f"From: <sip:operator@{_HOST}>;tag=r{serial}\r\nTo: <sip:{orders.flavour}@{_HOST}>\r\n"
            f"Call-ID: reload-{orders.run}-{serial}\r\nCSeq: {serial} OPTIONS\r\nContent-Length: 0\r\n\r\n"
        )
        self._sent = now
        self._socket.sendto(text.encode(), (_HOST, orders.port))


class Operator:
    """See the module.

    Args:
        orders: what to do.
    """

    def __init__(self, orders: Orders) -> None:
        self._orders = orders
        self.done = Done()
        self._http = http.client.HTTPConnection(_HOST, orders.http_port, timeout=60)
        self._reloads = Reloads(orders, self.done)
        self._prefix = f"{orders.run}-"
        self._next = 0.0
        self._random = random.Random(orders.run)

    def run(self) -> Done:
        """Work until standard input closes."""
        if self._orders.flavour:
            self._call("event_subscribe", {"event": EVENT, "socket": self._reloads.address})
        while not self._over():
            self._sweep()
        return self.done

    def _over(self) -> bool:
        return bool(select.select([sys.stdin], [], [], 0)[0])

    def _sweep(self) -> None:
        sweep, waiting = Sweep(time.monotonic()), []
        while not self._over():
            rows = self._page(sweep)
            waiting += [row for row in rows if row["state"] == _CONFIRMED and _is_to_end(row)]
            if len(rows) < self._orders.page:
                sweep.over = time.monotonic()
                self.done.sweeps.append(sweep)
                break
        for row in waiting:
            self._end(row)

    def _page(self, sweep: Sweep) -> list[dict[str, Any]]:
        self._pace()
        begun = time.monotonic()
        rows = self._call("dlg_list", {"index": len(sweep.calls), "counter": self._orders.page})["Dialogs"]
        self.done.page_s.append(time.monotonic() - begun)
        self.done.pages += 1
        sweep.calls += [self._number(row) for row in rows]
        return list(rows)

    def _number(self, row: dict[str, Any]) -> int:
        call_id = str(row["callid"])
        return int(call_id[len(self._prefix) :]) if call_id.startswith(self._prefix) else -1

    def _pace(self) -> None:
        """The next page is due; the reloads go on meanwhile."""
        while True:
            if self._orders.flavour:
                self._reloads.turn()
            if time.monotonic() >= self._next:
                break
            self._reloads.wait(self._next)
        # Not in step with the calls: which of them a page gets in the way of would be the same all through a run.
        pause_s = 2 * self._random.random() / self._orders.pages_per_s
        self._next = max(self._next + pause_s, time.monotonic())

    def _end(self, row: dict[str, Any]) -> None:
        number = self._number(row)
        if number in self.done.ended:
            return
        begun = self.done.ended[number] = time.monotonic()
        if self._call("dlg_end_dlg", {"dialog_id": row["ID"]}) != "OK":
            self.done.problem(f"call {number} could not be ended")
        self.done.end_s.append(time.monotonic() - begun)

    def _call(self, method: str, params: dict[str, Any]) -> Any:
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
        self._http.request("POST", "/mi", body, {"Content-Type": "application/json"})
        answer = json.loads(self._http.getresponse().read())
        if "error" in answer:
            self.done.problem(f"{method}: {answer['error']}")
        return answer.get("result", {"Dialogs": []})


def _is_to_end(row: dict[str, Any]) -> bool:
    return str(row["from_uri"]).startswith(f"sip:{ENDED}@")


def _give_way() -> None:
    os.setsid()
    os.nice(_NICENESS)
    # Where the kernel shares the CPUs out by session first, it is the session's value that counts (sched(7)).
    with contextlib.suppress(OSError):
        Path("/proc/self/autogroup").write_text(str(_NICENESS))


def main(arguments: list[str]) -> int:
    """The operator's process: orders as JSON; what was done as JSON on standard output."""
    _give_way()
    done = Operator(Orders(**json.loads(arguments[0]))).run()
    json.dump(asdict(done), sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
