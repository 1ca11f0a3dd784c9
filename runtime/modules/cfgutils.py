"""Module cfgutils: `sleep` and `usleep`, which block the process, as their OpenSIPS namesakes do."""

from __future__ import annotations

import time
from typing import Final

from runtime.context import Context
from runtime.modules.base import RuntimeModule
from runtime.script.declare import Kind, Param, function

MAX_SLEEP_S: Final = 3600


class Cfgutils(RuntimeModule):
    """The module as a script loads it."""

    name = "cfgutils"

    @function("sleep", Param("seconds", Kind.INTEGER))
    def sleep(self, c: Context, seconds: int) -> int:
        """Stop this process for some seconds (at most an hour). It serves nothing meanwhile."""
        return _pause(seconds)

    @function("usleep", Param("microseconds", Kind.INTEGER))
    def usleep(self, c: Context, microseconds: int) -> int:
        """Stop this process for some microseconds. It serves nothing meanwhile."""
        return _pause(microseconds / 1_000_000)


def _pause(seconds: float) -> int:
    if not 0 <= seconds <= MAX_SLEEP_S:
        return -1
    time.sleep(seconds)
    return 1
