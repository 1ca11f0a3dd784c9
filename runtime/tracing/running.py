"""`layby trace run`: a server of its own, recorded from its first message to its last."""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Final

from runtime.tracing import folder as folders
from runtime.tracing.collecting import of_folder
from runtime.tracing.events import Trace
from runtime.tracing.order import Order
from runtime.traffic.generator import environment

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


def record(script: Path, options: Sequence[str], order: Order, seconds: float | None) -> tuple[int, Trace]:
    """Run a server until it ends, is told to by a signal, or for so many seconds.

    Args:
        script: what it runs.
        options: those of `layby run`.
        order: what is recorded.
        seconds: None for no limit.

    Returns:
        Its exit code, and the trace.

    Raises:
        NoTrace: it did not come so far that anything was recorded.
    """
    with tempfile.TemporaryDirectory(prefix="layby-trace-") as path:
        folder = Path(path)
        folders.give(folder, order)
        command = [sys.executable, "-m", "runtime", "run", str(script), *options, "--trace", path]
        return _run(command, seconds), of_folder(folder)


def _run(command: Sequence[str], seconds: float | None) -> int:
    """Run a server, and hand on to it what would end this program; its exit code."""
    asked = False
    server: subprocess.Popen[bytes] | None = None

    def hand_on(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        asked = True
        if server is not None:
            server.terminate()

    before = {number: signal.signal(number, hand_on) for number in _SIGNALS}
    # In a session of its own: a Ctrl-C is for this program, which hands it on once.
    server = subprocess.Popen(command, env=environment(), start_new_session=True)
    try:
        if asked:
            server.terminate()
        try:
            return server.wait(seconds)
        except subprocess.TimeoutExpired:
            server.terminate()
            return server.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if server.poll() is None:
            server.kill()
            server.wait()
