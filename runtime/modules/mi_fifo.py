"""Module mi_fifo: MI over a named pipe."""

from __future__ import annotations

from runtime.modules.base import RuntimeModule
from runtime.script.declare import Parameter


class MiFifo(RuntimeModule):
    """The module as a script loads it; the MI process serves the pipe."""

    name = "mi_fifo"
    parameters = (
        Parameter("fifo_name", str, "/tmp/layby_fifo", doc="Where the pipe is made, for its owner alone."),
        Parameter("reply_dir", str, "/tmp/", doc="The folder of the clients' reply pipes."),
    )
