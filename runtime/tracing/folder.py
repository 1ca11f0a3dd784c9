"""Where recordings lie: one folder with the order and a file of each life of each process."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path
from typing import Final

from runtime.tracing.order import Order, pack_order, read_order
from runtime.tracing.recording import SUFFIX
from runtime.tracing.records import RECORDS_AT, written

ORDER: Final = "order"
_OURS: Final = re.compile(r"[a-z]{1,16}-[0-9]{1,3}\.[0-9]{1,9}" + re.escape(SUFFIX))
MOST_FILES: Final = 256
"""A process that dies again and again leaves a file each time."""


def give(folder: Path, order: Order) -> None:
    """Put an order where all processes find it. The folder is there afterwards.

    Raises:
        OSError: it cannot be written.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    scratch = folder / f"{ORDER}.new"
    scratch.write_bytes(pack_order(order))
    scratch.replace(folder / ORDER)


def given(folder: Path) -> Order | None:
    """The order that was given last; None where there is none, or none that can be read."""
    try:
        return read_order((folder / ORDER).read_bytes())
    except (OSError, ValueError):
        return None


def recordings(folder: Path) -> list[str]:
    """The names of the files of processes, in order."""
    if not folder.is_dir():
        return []
    return sorted(path.name for path in folder.iterdir() if _OURS.fullmatch(path.name))


def part_of(folder: Path, name: str, start: int, length: int) -> bytes:
    """Some bytes of one of the folder's files; fewer at its end, which is where nothing has been written yet.

    Raises:
        FileNotFoundError: there is no such file, or it is none of ours.
        OSError: it cannot be read.
    """
    if name != ORDER and not _OURS.fullmatch(name):
        raise FileNotFoundError(name)
    with (folder / name).open("rb") as file:
        if name != ORDER:
            length = max(0, min(length, written(file.read(RECORDS_AT)) - start))
        file.seek(start)
        return file.read(length)


def forget(folder: Path) -> None:
    """Remove what is ours in it, and the folder where nothing else is."""
    for name in (ORDER, *recordings(folder)):
        (folder / name).unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        folder.rmdir()
