"""Several processes that join one pool and divide a row among them, against one process that joined it alone.

`python -m pools_peers.layby_origins JSON` is one of those processes: it says "ready" when it is warm, measures when it
is told to, and leaves its figures in a file.
"""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from pools_peers.adapter import WORKERS
from pools_peers.layby_peer import HANDLERS, LaybyJoined
from workers import WorkerPool


class LaybyOrigins:
    """Args: transport; origins: how many processes submit."""

    def __init__(self, folder: Path, *, transport: str, origins: int) -> None:
        self.folder = folder
        self._transport: Any = transport
        self._origins = origins

    def measure(self, request: dict[str, Any]) -> dict[str, Any]:
        with WorkerPool(WORKERS, HANDLERS, transport=self._transport) as pool, ExitStack() as stack:
            started = [stack.enter_context(self._start(n, str(pool.address), request)) for n in range(self._origins)]
            for origin in started:
                if origin.stdout.readline() != b"ready\n":
                    raise RuntimeError("an origin did not get ready")
            for origin in started:
                origin.stdin.write(b"go\n")
                origin.stdin.flush()
            for origin in started:
                origin.wait()
        return together([self._figures(n) for n in range(self._origins)])

    def _start(self, number: int, address: str, request: dict[str, Any]) -> Any:
        effort = {**request["effort"], "origin": number, "origins": self._origins}
        own = {**request, "effort": effort, "address": address, "folder": str(self._folder(number))}
        self._folder(number).mkdir()
        return subprocess.Popen(
            [sys.executable, "-m", "pools_peers.layby_origins", json.dumps(own)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def _folder(self, number: int) -> Path:
        return self.folder / f"origin{number}"

    def _figures(self, number: int) -> dict[str, Any]:
        result = json.loads((self._folder(number) / "result.json").read_text())
        if result["status"] != "ok":
            raise RuntimeError(f"origin {number}: {result['why']}")
        figures: dict[str, Any] = result["figures"]
        return figures


def together(each: list[dict[str, Any]]) -> dict[str, Any]:
    """Counts and rates of all origins summed up; of times, the worst origin's."""
    figures: dict[str, Any] = {"each": each}
    for name, value in each[0].items():
        if isinstance(value, int | float):
            values = [one[name] for one in each]
            figures[name] = max(values) if name.endswith(("_us", "_ms")) else sum(values)
    return figures


def main() -> None:
    from pools_peers.rows import Effort
    from pools_peers.run import measure, save
    from pools_peers.shell import LoopShell

    request = json.loads(sys.argv[1])
    folder = Path(request["folder"])

    def gate() -> None:
        print("ready", flush=True)
        sys.stdin.readline()

    shell = LoopShell(LaybyJoined(folder, request["address"]), uvloop=request["uvloop"])
    try:
        measure(shell, request["row"], Effort(**request["effort"]), folder / "result.json", gate)
    except Exception as error:
        save(folder / "result.json", {"status": "failed", "why": f"{type(error).__name__}: {error}"})
        raise


if __name__ == "__main__":
    main()
