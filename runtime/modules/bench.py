"""Module bench: commands whose cost is known, to measure what commands do to traffic."""

from __future__ import annotations

import asyncio
import re
import time
from typing import Final

from mi_script.commands import Json, MiError, Params, command
from runtime.modules.base import RuntimeModule

MAX_MS: Final = 600_000
_FRACTION: Final = re.compile(r"[0-9]{1,9}\.[0-9]{1,9}")


class Bench(RuntimeModule):
    """The module as a script loads it."""

    name = "bench"

    @command("bench_sleep", ("ms",), cost="slow", aliases=("bench:sleep",))
    def bench_sleep(self, params: Params) -> Json:
        """Block the process that runs it for `ms` milliseconds (`0.5`, `50`), as a slow synchronous command does."""
        ms = _milliseconds(params)
        time.sleep(ms / 1000)
        return {"slept_ms": ms}

    @command("bench_wait", ("ms",), cost="slow", aliases=("bench:wait",))
    async def bench_wait(self, params: Params) -> Json:
        """Answer after `ms` milliseconds and block nothing meanwhile, as a command that waits for the network."""
        ms = _milliseconds(params)
        await asyncio.sleep(ms / 1000)
        return {"waited_ms": ms}


def _milliseconds(params: Params) -> int | float:
    written = str(params.raw("ms"))
    ms = float(written) if _FRACTION.fullmatch(written) else params.integer("ms")
    if not 0 <= ms <= MAX_MS:
        raise MiError(400, "Bad parameter value", f"ms must be from 0 to {MAX_MS}")
    return ms
