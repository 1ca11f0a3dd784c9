"""sipp in a test's hands: started, waited for, and asked what became of its calls."""

from __future__ import annotations

import csv
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import pytest

from tests.harness import free_port, wait_until

needs_sipp = pytest.mark.skipif(shutil.which("sipp") is None, reason="sipp (Debian: sip-tester) is not installed")
HOST = "127.0.0.1"
LIMIT_S = 60.0
"""How long an instance may go on after its load's own time."""


@dataclass(frozen=True)
class Load:
    """How many calls, and how fast. The long run is asked for by the environment: ACCEPTANCE_RATE, ACCEPTANCE_SECONDS.

    Args:
        per_s: calls begun in a second.
        seconds: for how long.
    """

    per_s: int = 20
    seconds: float = 2.0

    @classmethod
    def asked(cls) -> Load:
        """What the environment asks for, or the short one."""
        return cls(
            int(os.environ.get("ACCEPTANCE_RATE", cls.per_s)), float(os.environ.get("ACCEPTANCE_SECONDS", cls.seconds))
        )

    @property
    def calls(self) -> int:
        return max(1, round(self.per_s * self.seconds))


@dataclass(frozen=True)
class Told:
    """What an instance counted."""

    succeeded: int
    failed: int
    retransmitted: int


class Sipp:
    """One running instance; a context manager that ends it.

    Args:
        scenario: the text of an XML file, or the name of one of sipp's own scenarios.
        options: more of its command line, its target among them.
        port: where it listens; one that is free.
    """

    def __init__(self, scenario: str, *options: str, port: int | None = None) -> None:
        self.port = free_port() if port is None else port
        self._folder = tempfile.TemporaryDirectory(prefix="sipp")
        self._home = Path(self._folder.name)
        command = ["sipp", *options, *self._scenario(scenario), "-i", HOST, "-p", str(self.port)]
        command += ["-nostdin", "-trace_stat", "-stf", "calls.csv", "-fd", "1", "-trace_err", "-error_file", "errors"]
        with (self._home / "screen").open("wb") as screen:
            self._process = subprocess.Popen(
                command, cwd=self._home, stdin=subprocess.DEVNULL, stdout=screen, stderr=screen
            )
        wanted = f":{self.port:04X} "
        wait_until(
            lambda: self._process.poll() is not None or wanted in Path("/proc/net/udp").read_text(),
            what=f"sipp listens on port {self.port}",
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait(5)
        self._folder.cleanup()

    def finish(self, limit_s: float = LIMIT_S) -> Told:
        """Wait until it has made all its calls."""
        try:
            code = self._process.wait(limit_s)
        except subprocess.TimeoutExpired:
            pytest.fail(f"sipp did not end within {limit_s} s\n{self.words()}")
        if code not in (0, 1):  # 1: some calls failed
            pytest.fail(f"sipp ended with {code}\n{self.words()}")
        return self.told()

    def told(self) -> Told:
        """What it has counted; of a running one as of the last second."""
        with (self._home / "calls.csv").open(newline="") as file:
            last = list(csv.DictReader(file, delimiter=";"))[-1]
        return Told(*(int(last[f"{name}(C)"]) for name in ("SuccessfulCall", "FailedCall", "Retransmissions")))

    def words(self) -> str:
        """Its last screen and what it complained of."""
        parts = [self._home / "screen", self._home / "errors"]
        return "\n".join(part.read_text("latin-1")[-3000:] for part in parts if part.exists())

    def _scenario(self, scenario: str) -> list[str]:
        if "<" not in scenario:
            return ["-sn", scenario]
        (self._home / "scenario.xml").write_text(scenario)
        return ["-sf", "scenario.xml"]


def caller(scenario: str, target: int, proxy: int, load: Load, *options: str) -> Sipp:
    """Make calls to whoever listens on `target`, by way of what listens on `proxy`.

    A call lasts 50 ms where its scenario does not say: an ACK and a BYE at the same moment may overtake each other on
    their way through several processes, and sipp's callee does not forgive that.
    """
    calls = ["-m", str(load.calls), "-r", str(load.per_s), "-l", str(load.calls), "-d", "50"]
    return Sipp(scenario, f"{HOST}:{target}", "-rsa", f"{HOST}:{proxy}", *calls, *options)


def own_scenario(name: str, t1_ms: int) -> str:
    """One of sipp's own scenarios, with another first wait before a copy is sent (its own is 500 ms)."""
    done = subprocess.run(["sipp", "-sd", name], stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert 'retrans="500"' in done.stdout, f"not as sipp is known to write it:\n{done.stdout}"
    return done.stdout.replace('retrans="500"', f'retrans="{t1_ms}"')
