"""Module mi_datagram: MI over UDP or a Unix datagram socket."""

from __future__ import annotations

from runtime.modules.mi_access import ACCESS, MiModule
from runtime.script.declare import Parameter


class MiDatagram(MiModule):
    """The module as a script loads it; the MI process serves the socket."""

    name = "mi_datagram"
    parameters = (
        *ACCESS,
        Parameter(
            "socket_name",
            str,
            repeats=True,
            doc="`udp:HOST:PORT`, or the path of a Unix socket, made for its owner alone. Each setting is one more.",
        ),
    )
