"""What it costs a process to park a request and to resume it, all of it: a real SIP process, in a thread."""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from runtime.attendant import furnish
from runtime.context import Address, Context
from runtime.folder import RuntimeFolder
from runtime.program import Program
from runtime.runs import Ended, Route
from runtime.settings import settle
from runtime.sip.message import Request, parse
from runtime.sip_process import SipProcess
from runtime.traffic.server import free_port
from runtime.transports.base import open_sockets
from workers.birth import Child
from workers.control import AttendantEnd, pair
from workers.jobs import Peer

SCRIPT: Final = """
loadmodule "proto_udp.so"
loadmodule "tm.so"
loadmodule "mi_script.so"
route { }
route[inline] { t_newtran(); mi("uptime", $var(r)); route(after); }
route[parked] { async(mi("uptime", $var(r)), after); }
route[after] { $var(done) = $rc; }
"""
AT_ONCE: Final = 100
ROUNDS: Final = 20
_LIMIT_S: Final = 60.0
_LINE: Final = (
    "OPTIONS sip:bob@example.com SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:9;branch=z9hG4bK{n}\r\nMax-Forwards: 70\r\n"
    "From: <sip:a@h>;tag=t{n}\r\nTo: <sip:bob@h>\r\nCall-ID: {n}\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
)


@dataclass(frozen=True, slots=True)
class Parking:
    """CPU microseconds of one request, with a command that is run inline, and with one that it is parked for."""

    inline_us: float
    parked_us: float


def measure() -> Parking:
    """Run both in one process."""
    with _process() as process:
        return Parking(_cost(process, "inline"), _cost(process, "parked"))


def _cost(process: SipProcess, name: str) -> float:
    """Of one request, when so many come at once, again and again."""
    script = process.house.program.script
    route = script.routes.named[name]
    taken_s = sum(_round(process, route, f"{name}{number}") for number in range(ROUNDS))
    return taken_s / ROUNDS / AT_ONCE * 1e6


def _round(process: SipProcess, route: Route, label: str) -> float:
    """CPU seconds of the process's thread."""
    contexts = [_context(process, f"{label}-{number}") for number in range(AT_ONCE)]
    done: Future[float] = Future()
    left = len(contexts)

    def through(context: Context, ended: Ended) -> None:
        nonlocal left
        left -= 1
        if not left:
            done.set_result(time.thread_time() - started)

    def begin() -> None:
        nonlocal started
        started = time.thread_time()
        for context in contexts:
            process.run_script(context, route, through)

    started = 0.0
    process.loop.call_soon_threadsafe(begin)
    return done.result(_LIMIT_S)


def _context(process: SipProcess, label: str) -> Context:
    request = parse(_LINE.format(n=label).encode())
    assert isinstance(request, Request)
    script = process.house.program.script
    return Context(
        request, ruri=request.ruri, source=Address("127.0.0.1", 9), variables=process.variables, script=script
    )


@contextmanager
def _process() -> Iterator[SipProcess]:
    """A SIP process that also runs the jobs."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="park")))
        path = folder / "parking.cfg"
        path.write_text(SCRIPT)
        program = Program.load(path, [f"udp:127.0.0.1:{free_port()}"])
        settings = settle(
            program.script.globals, program.checked.sockets, udp_workers=1, mi_workers=0, folder=folder / "run"
        )
        runtime_folder = RuntimeFolder.make(settings.folder)
        stack.callback(runtime_folder.close)
        sockets = open_sockets(settings.listen, settings.streams)
        for socket in sockets:
            stack.callback(socket.close)
        house = furnish(program, settings, runtime_folder, sockets, [])
        stack.callback(house.handover.close)
        link, control = pair()
        stack.callback(link.close)
        stack.callback(control.close)
        process = SipProcess(Child(Peer("sip-1", 1), 0, "sip", control), house)
        thread = threading.Thread(target=process.run)
        thread.start()
        stack.callback(thread.join, _LIMIT_S)
        _wait_ready(link)
        stack.callback(process.loop.call_soon_threadsafe, lambda: process.loop.stop())
        yield process


def _wait_ready(link: AttendantEnd) -> None:
    ends = time.monotonic() + _LIMIT_S
    while not link.receive()[0]:
        if time.monotonic() > ends:
            raise SystemExit("the process did not start")
        time.sleep(0.005)
