"""A SIP process in a thread of the test: real sockets and a real loop, and its insides are there to be looked at."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from runtime.attendant import furnish
from runtime.folder import RuntimeFolder
from runtime.house import House
from runtime.program import Program
from runtime.script.problems import Place, ScriptError
from runtime.script.script import Exit
from runtime.settings import settle
from runtime.sip_process import SipProcess
from runtime.transports.base import open_sockets
from tests.harness import free_port, wait_until
from workers.birth import Child
from workers.control import AttendantEnd, encode, pair
from workers.jobs import Peer as ProcessPeer
from workers.tree_events import Drain

HEAD = """
loadmodule "proto_udp.so"
loadmodule "signaling.so"
loadmodule "sl.so"
loadmodule "tm.so"
loadmodule "sipmsgops.so"
loadmodule "mi_script.so"
loadmodule "bench.so"
"""
_T = TypeVar("_T")


class OneProcess:
    """See the module; `one_process` makes it.

    Attributes:
        sip_port: where it listens.
        process: what runs. Touch it by `do` only.
    """

    def __init__(self, house: House, sip_port: int, link: AttendantEnd, child: Child) -> None:
        self.sip_port = sip_port
        self.process = SipProcess(child, house)
        self._link = link
        self._thread = threading.Thread(target=self.process.run)

    def start(self) -> None:
        self._thread.start()
        wait_until(lambda: self._link.receive()[0], what="the process is ready")

    def do(self, work: Callable[[], _T]) -> _T:
        """Call something in the process's thread, between two turns of its loop; what it gives or raises."""
        done: Future[_T] = Future()

        def run() -> None:
            try:
                done.set_result(work())
            except Exception as error:
                done.set_exception(error)

        self.process.loop.call_soon_threadsafe(run)
        return done.result(5)

    def drain(self, for_s: float) -> None:
        """Have it shut down, as the attendant says it."""
        self._link.send(encode(Drain(time.monotonic() + for_s)))

    def wait_end(self, limit_s: float = 5.0) -> None:
        self._thread.join(limit_s)
        assert not self._thread.is_alive(), "the process has ended"

    def stop(self) -> None:
        if self._thread.is_alive():
            self.process.loop.call_soon_threadsafe(self.process.loop.stop)
            self.wait_end()


@contextmanager
def one_process(tmp: Path, routes: str, head: str = "") -> Iterator[OneProcess]:
    """A server of one SIP process, which also runs the jobs.

    Args:
        tmp: an empty folder with a short name.
        routes: the script.
        head: what stands before it, behind the modules that are always loaded.
    """
    script = tmp / "server.cfg"
    script.write_text(HEAD + head + routes)
    port = free_port()
    program = Program.load(script, [f"udp:127.0.0.1:{port}"])
    settings = settle(
        program.script.globals, program.checked.sockets, udp_workers=1, mi_workers=0, folder=tmp / "run", drain_s=1.0
    )
    folder = RuntimeFolder.make(settings.folder)
    sockets = open_sockets(settings.listen, settings.streams)
    house = furnish(program, settings, folder, sockets, [])
    link, control = pair()
    one = OneProcess(house, port, link, Child(ProcessPeer("sip-1", 1), 0, "sip", control))
    try:
        one.start()
        yield one
    finally:
        one.stop()
        link.close()
        control.close()
        house.handover.close()
        for socket in sockets:
            socket.close()
        folder.close()


def broken_route(_: object) -> Exit | None:
    """A route one of whose statements raises."""
    raise ScriptError(Place("test", 1, 1), ZeroDivisionError("a statement that raises"))
