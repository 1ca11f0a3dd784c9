"""Module proto_udp: accepted as scripts load it. UDP is always there."""

from __future__ import annotations

from runtime.modules.base import RuntimeModule
from runtime.script.declare import Parameter


class ProtoUdp(RuntimeModule):
    """The module as a script loads it."""

    name = "proto_udp"
    parameters = (Parameter("udp_port", int, 5060, doc="The port of a socket= line that names none."),)
