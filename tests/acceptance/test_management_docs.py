"""docs/management.md: its server starts as it stands there, and each of its lines does what it is there for."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from shutil import which

import pytest

from tests.acceptance.examples import without_head
from tests.harness import ROOT, Server, free_port

pytestmark = pytest.mark.processes

DOC = (ROOT / "docs" / "management.md").read_text()
[SCRIPT] = re.findall(r"```opensips\n(.*?)```", DOC, re.DOTALL)
LINES = "".join(re.findall(r"```sh\n(.*?)```", DOC, re.DOTALL)).splitlines()
CAN_RUN = [line for line in LINES if not line.startswith("curl") or which("curl")]


def test_every_line_does_what_it_is_there_for(start_server: Callable[..., Server], tmp: Path) -> None:
    datagrams = str(free_port())
    script = SCRIPT.replace("8889", datagrams).replace('"/tmp/', f'"{tmp}/')
    server = start_server(without_head(script))
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "HOME": str(tmp)}
    failed = []
    for line in CAN_RUN:
        asked = line.replace("--fifo /tmp/", f"--reply-dir {tmp} --fifo {tmp}/")
        asked = asked.replace("8888", str(server.http_port)).replace("8889", datagrams)
        done = subprocess.run(["bash", "-c", asked], capture_output=True, text=True, timeout=30, env=environment)
        # A line that starts with "!" is one that the server refuses.
        if done.returncode or not (done.stdout or line.startswith("!")):
            failed.append((line, done.stdout[-200:], done.stderr[-400:]))
    assert failed == []
    assert len(LINES) >= 25
