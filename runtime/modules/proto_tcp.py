"""Module proto_tcp: accepted as scripts load it. TCP is served wherever a `socket=tcp:` says so."""

from __future__ import annotations

from runtime.modules.base import RuntimeModule
from runtime.script.declare import Parameter, ignored


class ProtoTcp(RuntimeModule):
    """The module as a script loads it. What connections are held to is set by the global parameters `tcp_…`."""

    name = "proto_tcp"
    parameters = (
        Parameter("tcp_port", int, 5060, doc="The port of a socket= line that names none."),
        ignored("tcp_send_timeout", int, 100, "nothing that is sent makes anybody wait."),
        ignored("tcp_max_msg_chunks", int, 4, "a message may come in any number of pieces."),
        ignored("tcp_crlf_pingpong", int, 1, "a keep-alive is always answered (RFC 5626 3.5.1)."),
        ignored("tcp_crlf_drop", int, 0, "a lone CRLF is always ignored (RFC 3261 7.5)."),
        ignored("tcp_async", int, 1, "connecting and writing never block."),
        ignored("tcp_async_max_postponed_chunks", int, 32, "what waits is bounded in bytes, 1 MiB."),
        ignored("tcp_async_local_connect_timeout", int, 100, "see the global tcp_connect_timeout."),
        ignored("tcp_async_local_write_timeout", int, 10, "writing never blocks."),
        ignored("tcp_parallel_handling", int, 0, "a connection's messages are handled in their order."),
        ignored("trace_destination", str, "", "nothing is traced."),
        ignored("trace_on", int, 0, "nothing is traced."),
        ignored("trace_filter_route", str, "", "nothing is traced."),
    )
