"""The rate at saturation: as many requests as it takes, each source port waiting for its answers before it asks again.

Of our own generator it is the highest rate at which the loads of a search were answered, since one of them was too
much. sipp, where it is installed, is written in C and leaves more of a small machine to the server: it keeps a fixed
number of requests outstanding.
"""

from __future__ import annotations

import csv
import random
import shutil
import subprocess
from pathlib import Path
from typing import Final

from msgspec.structs import replace

from runtime.bench.plan import Asked, Cell
from runtime.bench.results import CellRun, Saturation
from runtime.bench.site import plan_of, started
from runtime.bench.summary import OUTSTANDING
from runtime.traffic.offer import accepted
from runtime.traffic.request import checked
from runtime.traffic.server import Server, free_port

_USERS: Final = 1_000
_MOST: Final = 2_000_000
_SURE_S: Final = 40.0
_NICENESS: Final = ("nice", "-n", "5")
"""Where both want a CPU the server gets it: what is measured is the server."""

_SCENARIO: Final = """<?xml version="1.0" encoding="UTF-8" ?>
<scenario name="requests">
  <send retrans="500"><![CDATA[

{request}
]]></send>
  <recv response="100" optional="true"/>
  <recv response="{status}"/>
</scenario>
"""


class SippError(Exception):
    """sipp is not there, or did not come to its end."""


def cannot_sipp(asked: Asked) -> str | None:
    """Why sipp cannot look for the rate at saturation; None when it can."""
    if shutil.which("sipp") is None:
        return "sipp is not installed (Debian: sip-tester)"
    if asked.accept not in ("2xx", "200"):
        return "sipp waits for one status, 200, and other answers are wanted"
    if asked.request.startswith("INVITE "):
        return "sipp is not given calls here"
    if ";" in asked.user + asked.slow_user:
        return "sipp's users may have no semicolon"
    return None


def added(found: CellRun, cell: Cell, asked: Asked, folder: Path) -> CellRun:
    """A cell's run with its rate at saturation, where the knee was looked for.

    Raises:
        ServerError, LoadError, CannotMeasure: the server for it did not start.
        SippError: sipp did not come to its end.
    """
    if found.knee is None:
        return found
    own = max(point.answered_per_s for point in found.points)
    if asked.generator == "own" or cannot_sipp(asked):
        return replace(found, saturation=Saturation(own, "own"))
    with started(cell, asked, folder) as subject:
        return replace(found, saturation=_by_sipp(cell, asked, subject.server, own, folder))


def _by_sipp(cell: Cell, asked: Asked, server: Server, likely_per_s: float, folder: Path) -> Saturation:
    calls = int(min(_MOST, max(2 * OUTSTANDING, likely_per_s * asked.seconds)))
    scenario, users, counts = folder / "requests.xml", folder / "users.csv", folder / "counts.csv"
    counts.unlink(missing_ok=True)
    scenario.write_text(_scenario(cell, asked, server.port))
    users.write_text(_users(cell, asked))
    command = [*_NICENESS, "sipp", f"{Server.host}:{server.port}", "-sf", str(scenario), "-inf", str(users)]
    command += ["-i", Server.host, "-p", str(free_port()), "-m", str(calls), "-l", str(OUTSTANDING), "-r", str(_MOST)]
    command += ["-nostdin", "-skip_rlimit", "-trace_stat", "-stf", str(counts), "-fd", "1"]
    before_s = server.cpu_s()
    limit_s = 10 * asked.seconds + _SURE_S
    try:
        done = subprocess.run(command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, timeout=limit_s)
    except (subprocess.TimeoutExpired, OSError) as error:
        raise SippError(f"sipp did not measure the rate at saturation: {error}") from error
    cpu_s = server.cpu_s() - before_s
    if done.returncode not in (0, 1):  # 1: some were not answered as wanted, which is counted
        raise SippError(f"sipp ended with {done.returncode}: {done.stderr[-400:].decode('utf-8', 'replace')}")
    rate_per_s, failed = _counted(counts)
    return Saturation(rate_per_s, "sipp", failed, cpu_s * 10_000 / calls)


def _scenario(cell: Cell, asked: Asked, port: int) -> str:
    text = checked(plan_of(cell, asked, port, 1).request).replace("[service]", "[field0]").replace("\r\n", "\n")
    return _SCENARIO.format(request=text, status=min(accepted(asked.accept)))


def _users(cell: Cell, asked: Asked) -> str:
    slow = round(_USERS * cell.share)
    users = [asked.slow_user] * slow + [asked.user] * (_USERS - slow)
    random.Random(asked.seed).shuffle(users)
    return "\n".join(["SEQUENTIAL", *users, ""])


def _counted(counts: Path) -> tuple[float, int]:
    try:
        with counts.open(newline="") as file:
            last = list(csv.DictReader(file, delimiter=";"))[-1]
        succeeded, failed, begun = (
            int(last[f"{name}(C)"]) for name in ("SuccessfulCall", "FailedCall", "OutgoingCall")
        )
        # It writes the elapsed time in whole seconds, and the rate not.
        elapsed_s = begun / float(last["CallRate(C)"])
    except (OSError, LookupError, ValueError, ZeroDivisionError) as error:
        raise SippError(f"sipp's figures cannot be read: {error}") from error
    return succeeded / max(elapsed_s, 0.001), failed
