"""Starts `run.py` for one row of one peer, holds it to a time limit, and leaves nothing of it behind."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from pools_peers.processes import end_descendants
from pools_peers.rows import Effort

HERE = Path(__file__).resolve().parent.parent
QUIET = {
    "DO_NOT_TRACK": "1",
    "RAY_usage_stats_enabled": "0",
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # else it listens on every interface, whatever address it is given
    "RAY_DISABLE_IMPORT_WARNING": "1",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "PYDEVD_DISABLE_FILE_VALIDATION": "1",
    "PYTHONWARNINGS": "ignore",
}


def time_limit_s(row: str, effort: Effort) -> float:
    """When a row counts as hanging: its own time, generously, and the start of the slowest peer."""
    own = {
        "sequential": 2 * effort.sequential_s,
        "regular": effort.mixed_s + 20,
        "random": effort.mixed_s + 20,
        "cost": 90.0,
    }
    return 60.0 + own.get(row, 10 * effort.pipelined_s)


def measured(
    peer: str, row: str, effort: Effort, *, uvloop: bool = False, limit_s: float | None = None
) -> dict[str, Any]:
    """One row of one peer, at most ``limit_s`` (by default `time_limit_s`). Kills every descendant of this process.

    Returns:
        ``status``: ``ok`` (with ``figures``), ``not installed``, ``hangs`` or ``failed`` (with ``why``); ``closed``:
        whether the pool closed; ``left``: names of the processes that it left and that were killed.
    """
    # The path of a Unix socket must fit 107 bytes, and Ray's are 80 long by themselves.
    with tempfile.TemporaryDirectory(prefix="pb-", dir="/tmp", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        request = {"peer": peer, "row": row, "effort": dataclasses.asdict(effort), "uvloop": uvloop, "folder": name}
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "pools_peers.run", json.dumps(request)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=folder,
                env=_environment(folder),
                start_new_session=True,
            )
            try:
                process.wait(time_limit_s(row, effort) if limit_s is None else limit_s)
                hangs = False
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                hangs = True
            left = end_descendants(0.0 if hangs else 1.0)
        result = _read(folder, hangs)
        result["left"] = sorted(left.values())
        return result


def _environment(folder: Path) -> dict[str, str]:
    """Peers write into HOME and the temporary folder what they like; both are this run's alone."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    own = {"PATH": path, "HOME": str(folder), "TMPDIR": str(folder), "IPYTHONDIR": str(folder / "ipython")}
    modules = {"PYTHONPATH": os.pathsep.join([str(HERE), str(HERE.parent)])}
    # Installed programs have their bytecode; who is told to write none compiles layby anew at every start.
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**inherited, **QUIET, **own, **modules}


def _read(folder: Path, hangs: bool) -> dict[str, Any]:
    path = folder / "result.json"
    if path.exists():
        result: dict[str, Any] = json.loads(path.read_text())
        result.setdefault("closed", not hangs)
    elif hangs:
        result = {"status": "hangs", "why": "no figures within the time limit"}
    else:
        result = {"status": "failed", "why": "the process ended without a result"}
    if result["status"] != "ok":
        result["log"] = (folder / "log").read_text(errors="replace")[-4000:]
    return result
