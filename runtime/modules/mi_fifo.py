"""Module mi_fifo: MI over a named pipe."""

from __future__ import annotations

from typing import Any

from runtime.modules.mi_access import ACCESS, MiModule
from runtime.script.declare import Parameter
from runtime.settings import SettingsError


class MiFifo(MiModule):
    """The module as a script loads it; the MI process serves the pipe."""

    name = "mi_fifo"
    parameters = (
        *ACCESS,
        Parameter("fifo_name", str, "/tmp/layby_fifo", doc="Where the pipe is made."),
        Parameter("fifo_mode", int, 0o600, doc="The pipe's permissions, e.g. `0660`; without it, its owner's alone."),
        Parameter("reply_dir", str, "/tmp/", doc="The folder of the clients' reply pipes."),
    )

    def __init__(self, settings: dict[str, Any] | None = None) -> None:
        super().__init__(settings)
        mode = int(self.settings["fifo_mode"])
        if mode & ~0o666 or mode & 0o600 != 0o600:
            raise SettingsError(f'modparam("mi_fifo", "fifo_mode", …) is {mode:#o}, not 0600 to 0666', "fifo_mode")
