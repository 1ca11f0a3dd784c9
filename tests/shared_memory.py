"""What lies in the machine's shared memory that may be of our making: others use it as well."""

from __future__ import annotations

from pathlib import Path
from typing import Final

_OURS: Final = ("layby", "psm_", "sem.", "pymp-")
"""What our own names begin with, and those that the standard library gives."""


def named_memory() -> set[str]:
    """The names of what may be ours."""
    return {entry.name for entry in Path("/dev/shm").iterdir() if entry.name.startswith(_OURS)}
