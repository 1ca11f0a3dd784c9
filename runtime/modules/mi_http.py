"""Modules httpd and mi_http: MI over HTTP."""

from __future__ import annotations

from runtime.modules.base import RuntimeModule
from runtime.modules.mi_access import ACCESS, MiModule
from runtime.script.declare import Parameter


class Httpd(RuntimeModule):
    """The HTTP listener."""

    name = "httpd"
    parameters = (
        Parameter("ip", str, "127.0.0.1", doc="The address to listen on."),
        Parameter("port", int, 8888, doc="The port to listen on."),
    )


class MiHttp(MiModule):
    """MI over HTTP, on the listener of the module httpd."""

    name = "mi_http"
    parameters = (
        *ACCESS,
        Parameter("root", str, "mi", doc="The path of the URL under which MI is served."),
    )
