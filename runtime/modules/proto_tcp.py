"""Module proto_tcp: accepted as scripts load it. TCP is served wherever a `socket=tcp:` says so."""

from __future__ import annotations

from runtime.modules.base import RuntimeModule
from runtime.script.declare import Parameter


class ProtoTcp(RuntimeModule):
    """The module as a script loads it. What connections are held to is set by the global parameters `tcp_…`."""

    name = "proto_tcp"
    parameters = (
        Parameter("tcp_port", int, 5060, doc="the port of a socket= line that names none"),
        Parameter("tcp_send_timeout", int, 100, doc="accepted; nothing that is sent makes anybody wait"),
        Parameter("tcp_max_msg_chunks", int, 4, doc="accepted; a message may come in any number of pieces"),
        Parameter("tcp_crlf_pingpong", int, 1, doc="accepted; a keep-alive is always answered (RFC 5626 3.5.1)"),
        Parameter("tcp_crlf_drop", int, 0, doc="accepted; a lone CRLF is always ignored (RFC 3261 7.5)"),
        Parameter("tcp_async", int, 1, doc="accepted; connecting and writing never block"),
        Parameter("tcp_async_max_postponed_chunks", int, 32, doc="accepted; what waits is bounded in bytes, 1 MiB"),
        Parameter("tcp_async_local_connect_timeout", int, 100, doc="accepted; see the global tcp_connect_timeout"),
        Parameter("tcp_async_local_write_timeout", int, 10, doc="accepted; writing never blocks"),
        Parameter("tcp_parallel_handling", int, 0, doc="accepted; a connection's messages are handled in their order"),
        Parameter("trace_destination", str, "", doc="accepted; nothing is traced"),
        Parameter("trace_on", int, 0, doc="accepted; nothing is traced"),
        Parameter("trace_filter_route", str, "", doc="accepted; nothing is traced"),
    )
