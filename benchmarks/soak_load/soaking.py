"""Module soaking: commands that take their time and give back what they were given, with the process that ran them."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from typing import Any

from mi_script.commands import Json, Params, command
from runtime.modules.base import RuntimeModule
from runtime.script.declare import Parameter


class Soaking(RuntimeModule):
    """The module as the server of the soak loads it."""

    name = "soaking"
    parameters = (Parameter("tell", int, 0, doc="The UDP port of 127.0.0.1 that is told when a command runs."),)

    def __init__(self, settings: dict[str, Any] | None = None) -> None:
        super().__init__(settings)
        self._telling = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._tell = ("127.0.0.1", self.settings["tell"])

    @command("soak_wait", ("ms", "token"), idempotent=True)
    async def soak_wait(self, params: Params) -> Json:
        """Answer after `ms` milliseconds and block nothing meanwhile; when its worker dies another one runs it."""
        await asyncio.sleep(params.integer("ms") / 1000)
        return _echo(params)

    @command("soak_sleep", ("ms", "token", "origin"))
    def soak_sleep(self, params: Params) -> Json:
        """Block the process that runs it for `ms` milliseconds; it is not run twice for one `origin`, a PID."""
        told = f"ran {params.text('token')} {os.getpid()} {params.integer('origin')}"
        self._telling.sendto(told.encode(), self._tell)
        time.sleep(params.integer("ms") / 1000)
        return _echo(params)


def _echo(params: Params) -> Json:
    return f"{params.text('token')} {os.getpid()}"
