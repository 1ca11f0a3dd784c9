"""Which statement of a script a process stands at, read from its stack."""

from __future__ import annotations

import sys
from pathlib import Path
from types import FrameType
from typing import Final, NamedTuple

import runtime
from runtime.script.compile import statement_at
from runtime.script.problems import Place

_ROOT: Final = Path(runtime.__file__).parent.parent
_NOT_SCRIPTS: Final = (
    "<",
    *(f"{_ROOT / name}/" for name in ("runtime", "mi_script", "workers")),
    *(f"{prefix}/lib" for prefix in dict.fromkeys((sys.prefix, sys.base_prefix))),
)
"""What the file names begin with of code that belongs to no script in Python: ours, others', and what has no file."""


class Statement(NamedTuple):
    """A statement that runs now, and the function that it has called; empty where it has called none."""

    place: Place
    called: str


def statement_on(frame: FrameType | None) -> Statement | None:
    """The innermost statement of a script on this stack; None where there is none."""
    called = ""
    while frame is not None:
        code = frame.f_code
        place = statement_at(frame)
        if place is None and not code.co_filename.startswith(_NOT_SCRIPTS):
            place = Place(code.co_filename, frame.f_lineno, 1)
        if place is not None:
            return Statement(place, called)
        called, frame = code.co_name, frame.f_back
    return None
