"""What is said of the machine beside figures."""

from __future__ import annotations

import os
import platform
from typing import Any


def machine() -> dict[str, Any]:
    """Its CPUs, how busy it is, and what runs on it."""
    return {
        "cpus": len(os.sched_getaffinity(0)),
        "load": os.getloadavg(),
        "python": platform.python_version(),
        "kernel": platform.release(),
    }
