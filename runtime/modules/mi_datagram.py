"""Module mi_datagram: MI over UDP or a Unix datagram socket."""

from __future__ import annotations

from runtime.modules.base import RuntimeModule
from runtime.script.declare import Parameter


class MiDatagram(RuntimeModule):
    """The module as a script loads it; the MI process serves the socket."""

    name = "mi_datagram"
    parameters = (
        Parameter(
            "socket_name", str, "", doc="`udp:HOST:PORT`, or the path of a Unix socket, made for its owner alone."
        ),
    )
