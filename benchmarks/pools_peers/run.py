"""One row of one peer, in a process of its own: `python -m pools_peers.run JSON`; the figures go to a file.

The file is written before the pool is closed. A pool that then does not close within its time is said to hang in
closing, and keeps its figures.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Any

from pools_peers.adapter import SyncPeer
from pools_peers.registry import ENTRIES
from pools_peers.rows import ROWS, Effort, Gate, cost_openings
from pools_peers.shell import BlockingShell, LoopShell, Shell

CLOSE_LIMIT_S = 15.0


def save(path: Path, result: dict[str, Any]) -> None:
    """All of it or nothing."""
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps(result))
    fresh.replace(path)


def shell_of(peer: Any, uvloop: bool) -> Shell:
    return BlockingShell(peer) if isinstance(peer, SyncPeer) else LoopShell(peer, uvloop=uvloop)


def measure(shell: Shell, row: str, effort: Effort, path: Path, gate: Gate = lambda: None) -> None:
    """Run a row, save its figures, close the pool within its time, save how that went."""
    figures: dict[str, Any] = {}
    if row == "cost":
        openings = cost_openings(shell, effort)
        figures = {"openings": len(openings), "first_result_ms": statistics.median(openings) * 1e3}

    async def whole_row() -> None:
        await shell.open()
        figures.update(await ROWS[row](shell, effort, gate))
        save(path, {"status": "ok", "figures": figures})
        threading.Thread(target=_give_up, args=(path, figures), daemon=True).start()
        await shell.close()

    shell.run(whole_row)
    save(path, {"status": "ok", "figures": figures, "closed": True})


def _give_up(path: Path, figures: dict[str, Any]) -> None:
    time.sleep(CLOSE_LIMIT_S)
    save(path, {"status": "ok", "figures": figures, "closed": False})
    os._exit(0)


def main() -> None:
    request = json.loads(sys.argv[1])
    folder, entry = Path(request["folder"]), ENTRIES[request["peer"]]
    path = folder / "result.json"
    try:
        adapter = entry.load()
    except ImportError as error:
        save(path, {"status": "not installed", "why": str(error)})
        return
    try:
        peer = adapter(folder, **entry.settings)
        effort = Effort(**request["effort"])
        if hasattr(peer, "measure"):  # it divides the row among processes of its own
            save(path, {"status": "ok", "figures": peer.measure(request), "closed": True})
        else:
            measure(shell_of(peer, request["uvloop"]), request["row"], effort, path)
    except BaseException as error:
        if not path.exists():  # else it failed in closing, and its figures stand
            save(path, {"status": "failed", "why": "".join(traceback.format_exception_only(error)).strip()})
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)  # what the pool left running must not keep this process


if __name__ == "__main__":
    main()
