"""The machine that figures come from."""

from __future__ import annotations

import contextlib
import os
import platform
import re
from pathlib import Path

import runtime.sip.message
from runtime.bench.results import Machine
from runtime.modules.management import server_name

_MODEL = re.compile(r"^(?:model name|Model|Hardware)\s*:\s*(.+)$", re.MULTILINE)


def machine() -> Machine:
    """What is said of it beside figures."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return Machine(
        cpu=_cpu(),
        cpus=len(os.sched_getaffinity(0)),
        memory_gib=round(memory / 2**30, 1),
        kernel=f"{platform.system()} {platform.release()}",
        python=platform.python_version(),
        layby=server_name(),
        native=not (runtime.sip.message.__file__ or "").endswith(".py"),
        load=round(os.getloadavg()[0], 2),
    )


def _cpu() -> str:
    with contextlib.suppress(OSError):
        found = _MODEL.search(Path("/proc/cpuinfo").read_text())
        if found:
            return found[1].strip()
    return platform.machine()
