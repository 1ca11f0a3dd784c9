"""Getting the recordings of a server, out of a folder or over MI, and making a trace of them."""

from __future__ import annotations

import base64
import binascii
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from runtime import mi_client
from runtime.mi_wire import Datagram, Target, UnixDatagram
from runtime.tracing import folder as folders
from runtime.tracing.events import Trace
from runtime.tracing.order import MOST_BYTES, Order, read_order
from runtime.tracing.records import Recorded, read_recording
from runtime.tracing.timeline import trace_of

_TIMEOUT_S: Final = 10.0
_DATAGRAM_PART: Final = 24 << 10
_PART: Final = 512 << 10


class NoTrace(Exception):
    """There is nothing that a trace could be made of; the text says why."""


def of_folder(folder: Path) -> Trace:
    """A trace of what lies in a folder.

    Raises:
        NoTrace: nothing does that can be read.
    """
    order = folders.given(folder)
    if order is None:
        raise NoTrace(f"{folder}: there is no recording there")
    return _trace(order, {name: (folder / name).read_bytes() for name in folders.recordings(folder)})


def of_server(target: Target, seconds: float, options: dict[str, str], waits: Callable[[float], object]) -> Trace:
    """Record a running server.

    Args:
        target: its management interface.
        seconds: for how long.
        options: the other parameters of `timeline_start`.
        waits: waits so many seconds; it may end early.

    Raises:
        NoTrace: it gave nothing that can be read.
        MiClientError: it does not answer, or refuses.
    """
    # Somewhat longer than is asked for, so that it ends by itself should this program not live to end it.
    named = {"seconds": f"{seconds + _TIMEOUT_S:g}", **options}
    mi_client.call(target, "timeline_start", [f"{name}={value}" for name, value in named.items()], _TIMEOUT_S)
    try:
        waits(seconds)
    finally:
        stopped = mi_client.call(target, "timeline_stop", [], _TIMEOUT_S)
    time.sleep(0.1)  # until the last of them has heard it
    names = stopped.get("Files") if isinstance(stopped, dict) else None
    if not isinstance(names, list):
        raise NoTrace("the server's answer names no files")
    files = {str(name): _read(target, str(name)) for name in names}
    mi_client.call(target, "timeline_forget", [], _TIMEOUT_S)
    try:
        order = read_order(files.pop(folders.ORDER, b""))
    except ValueError as error:
        raise NoTrace(str(error)) from None
    return _trace(order, files)


def _trace(order: Order, files: dict[str, bytes]) -> Trace:
    found: list[Recorded] = []
    for name, data in files.items():
        try:
            found.append(read_recording(data))
        except ValueError as error:
            raise NoTrace(f"{name}: {error}") from None
    if not found:
        raise NoTrace("no process has recorded anything")
    return trace_of(order, found)


def _read(target: Target, name: str) -> bytes:
    """A whole file, part by part."""
    length = _DATAGRAM_PART if isinstance(target, Datagram | UnixDatagram) else _PART
    parts: list[bytes] = []
    read = 0
    while read <= MOST_BYTES:
        asked = [f"file={name}", f"start:={read}", f"length:={length}"]
        answer = mi_client.call(target, "timeline_read", asked, _TIMEOUT_S)
        part = _decoded(answer.get("Data") if isinstance(answer, dict) else None)
        parts.append(part)
        read += len(part)
        if len(part) < length:
            break
    return b"".join(parts)


def _decoded(data: object) -> bytes:
    try:
        return base64.b64decode(data, validate=True) if isinstance(data, str) else b""
    except binascii.Error:
        raise NoTrace("the server's answer is no base64") from None
