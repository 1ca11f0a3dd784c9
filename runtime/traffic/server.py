"""The server under test: started as any user starts it, waited for, weighed, stopped."""

from __future__ import annotations

import contextlib
import os
import secrets
import select
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

from runtime.memory import cpu_s_of
from runtime.traffic.generator import ROOT, environment
from runtime.traffic.offer import Plan, accepted, template

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_STOP_S = 10.0


class ServerError(Exception):
    """The server did not start, or is gone. The text ends with what it last wrote to its standard error."""


class Server:
    """A SIP server on a UDP port of 127.0.0.1, in processes of its own; a context manager that stops it.

    Args:
        command: how it is started.
        port: where it listens.
    """

    host = "127.0.0.1"

    def __init__(self, command: Sequence[str], port: int) -> None:
        self.port = port
        # A file, since a pipe that nobody empties would one day stop the server in mid-word.
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed in __exit__
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=self._errors,
            stderr=self._errors,
            env=environment(),
            start_new_session=True,  # an interrupt at the terminal is ours: we stop the server in order
        )

    @property
    def pid(self) -> int:
        """The server's first process."""
        return self._process.pid

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._process.terminate()
        try:
            self._process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, 9)
            self._process.wait()
        self._errors.close()

    def wait_ready(self, within_s: float = 15.0, probe: Plan | None = None) -> None:
        """Ask again and again until it answers.

        Args:
            within_s: for how long, in seconds.
            probe: what is asked, and which answers will do; without it OPTIONS to the user ``fast``, and 200.

        Raises:
            ServerError: it ended, or did not answer so within that time.
        """
        deadline = time.monotonic() + within_s
        asked = probe or Plan(self.host, self.port, 1, 1, "fast", "fast", 0, 0, "ready")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
            asking.connect((self.host, self.port))
            while time.monotonic() < deadline:
                self.check_alive()
                if _answers(replace(asked, run=secrets.token_hex(8)), asking):
                    return
        raise ServerError(f"the server does not answer on udp:{self.host}:{self.port}{self._last_words()}")

    def check_alive(self) -> None:
        """Raises ServerError when the server has ended."""
        code = self._process.poll()
        if code is not None:
            raise ServerError(f"the server ended with exit code {code}{self._last_words()}")

    def cpu_s(self) -> float:
        """CPU seconds that the server's processes have used so far, with those that have ended and were reaped."""
        return tree_cpu_s(self.pid)

    def log(self) -> str:
        """All that it has written to its standard output and standard error so far."""
        descriptor = self._errors.fileno()
        # Not by seek and read: the server writes at the same place of the same open file.
        return os.pread(descriptor, os.fstat(descriptor).st_size, 0).decode("utf-8", "replace")

    def _last_words(self) -> str:
        lines = self.log().splitlines()[-20:]
        return "; it wrote:\n" + "\n".join(lines) if lines else "; it wrote nothing"


def _answers(probe: Plan, asking: socket.socket) -> bool:
    with contextlib.suppress(OSError):  # refused: nobody listens yet
        asking.send(template(probe, probe.fast_user, *asking.getsockname()).numbered(0))
        if select.select([asking], [], [], 0.2)[0]:
            start = asking.recv(65_535)[:11]
            status = start[8:]
            return start.startswith(b"SIP/2.0 ") and status.isdigit() and int(status) in accepted(probe.accept)
    select.select([], [], [], 0.05)
    return False


def free_port(kind: socket.SocketKind = socket.SOCK_DGRAM) -> int:
    """A port of 127.0.0.1 that nobody uses now.

    Not one that the system gives to whoever asks for any (from 32768 on): some other program's client might have it
    before it is used.
    """
    while True:
        port = 10_000 + secrets.randbelow(22_000)
        with socket.socket(socket.AF_INET, kind) as trying, contextlib.suppress(OSError):
            trying.bind((Server.host, port))
            return port


def command(script: Path, port: int, sip_processes: int, mi_workers: int, *more: str) -> list[str]:
    """How the real server is started with `script` on `port`, with `more` on its command line."""
    listen = f"udp:{Server.host}:{port}"
    # As many workers as it says and no more, so that two runs compare.
    sizes = ["--udp-workers", str(sip_processes), "--mi-workers", str(mi_workers), "--mi-workers-max", str(mi_workers)]
    return [sys.executable, "-m", "runtime", "run", str(script), "-l", listen, *sizes, *more]


def example(name: str) -> Path:
    """The path of an example script.

    Raises:
        ServerError: the examples do not lie beside the packages (they come with a checkout).
    """
    path = ROOT / "examples" / name
    if not path.is_file():
        raise ServerError(f"{path} is not there: the demo runs from a checkout")
    return path


def tree_cpu_s(root: int) -> float:
    """User and system CPU seconds of a process, of all its descendants, and of what each of them has reaped.

    `/proc/PID/stat` counts in hundredths of a second, which over several processes is too coarse for a short load.
    Each process's own clock says the same in nanoseconds, and only of those that have ended the hundredths are left.
    """
    parents: dict[int, int] = {}
    reaped: dict[int, int] = {}
    for entry in os.listdir("/proc"):
        if entry.isdecimal():
            with contextlib.suppress(OSError):  # it ended between the two looks
                parents[int(entry)], reaped[int(entry)] = _parent_and_reaped(Path("/proc", entry, "stat").read_bytes())
    return sum(cpu_s_of(pid) + reaped[pid] / _TICKS_PER_S for pid in _tree(root, parents))


def _parent_and_reaped(stat: bytes) -> tuple[int, int]:
    # After the last ")": a process may put brackets and blanks into its own name. Fields as in proc(5).
    fields = stat.rpartition(b")")[2].split()
    return int(fields[1]), sum(int(field) for field in fields[13:15])


def _tree(root: int, parents: dict[int, int]) -> set[int]:
    found = {root} & parents.keys()
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return found
