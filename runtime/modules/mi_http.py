"""Modules httpd and mi_http: MI over HTTP."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mi_script.commands import Json, Params, command
from mi_script.jsonrpc import MAX_BYTES
from runtime.errors import SettingsError
from runtime.modules.base import RuntimeModule
from runtime.modules.mi_access import ACCESS, MiModule
from runtime.script.declare import Parameter, ignored

if TYPE_CHECKING:
    import ssl

    from runtime.house import House

_MOST_BODY: Final = 15 << 20
PAGES: Final = ("healthz", "metrics", "openapi.json")
"""What is served beside MI."""


class Httpd(RuntimeModule):
    """The HTTP listener."""

    name = "httpd"
    parameters = (
        Parameter("ip", str, "127.0.0.1", doc="The address to listen on; `*` for all of IPv4."),
        Parameter("port", int, 8888, doc="The port to listen on."),
        Parameter("conn_timeout", int, 30, doc="Seconds for which a connection may lie idle; 0 for any time."),
        Parameter("tls_certificate", str, "", doc="The server's certificate, a PEM file. With it HTTP is HTTPS."),
        Parameter("tls_private_key", str, "", doc="Its private key, a PEM file without a password."),
        Parameter(
            "tls_client_ca", str, "", doc="CAs, a PEM file: who has no certificate of one of them is not let in."
        ),
        Parameter("tls_cert_file", str, "", doc="As `tls_certificate`, by OpenSIPS's name."),
        Parameter("tls_key_file", str, "", doc="As `tls_private_key`, by OpenSIPS's name."),
        Parameter("tls_ciphers", str, "", doc="What is offered up to TLS 1.2, as OpenSSL spells it."),
        ignored("buf_size", int, 0, "answers take what room they need."),
        ignored("post_buf_size", int, 1024, "requests take what room they need, up to mi_http's `max_body`."),
        ignored("receive_buf_size", int, 1024, "requests take what room they need, up to mi_http's `max_body`."),
    )
    tls: ssl.SSLContext | None = None
    """How connections are encrypted."""

    def __init__(self, settings: dict[str, Any] | None = None) -> None:
        super().__init__(settings)
        if not 0 <= self.settings["port"] <= 65535:
            raise SettingsError("module httpd: port must be from 0 to 65535", "port")
        if self.settings["conn_timeout"] < 0:
            raise SettingsError("module httpd: conn_timeout must be 0 or more seconds", "conn_timeout")
        self.certificate = str(self.settings["tls_certificate"] or self.settings["tls_cert_file"])
        self.private_key = str(self.settings["tls_private_key"] or self.settings["tls_key_file"])
        if bool(self.certificate) != bool(self.private_key):
            raise SettingsError("module httpd: a certificate and its private key go together", "tls_")
        if self.settings["tls_client_ca"] and not self.certificate:
            raise SettingsError("module httpd: tls_client_ca needs a certificate of the server's own", "tls_client_ca")

    @property
    def host(self) -> str:
        """The IP address to listen on."""
        return "0.0.0.0" if self.settings["ip"] in ("*", "") else str(self.settings["ip"])

    @property
    def checks_clients(self) -> bool:
        """Whether only clients are let in that show a certificate."""
        return bool(self.settings["tls_client_ca"])

    def furnish(self, house: House) -> None:
        super().furnish(house)
        if self.certificate:
            # Imported here because OpenSSL takes a while, and most scripts need none.
            from mi_script.transports.credentials import tls_context

            ca = Path(self.settings["tls_client_ca"]) if self.checks_clients else None
            files = Path(self.certificate), Path(self.private_key)
            self.tls = tls_context(*files, ca, str(self.settings["tls_ciphers"]))

    @command("httpd_list_root_path", (), idempotent=True, aliases=("httpd:list_root_path",))
    def list_root_path(self, params: Params) -> Json:
        """What is served over HTTP: paths, and the module of each."""
        found = self.house.program.modules.get("mi_http")
        paths = [str(found.settings["root"]).strip("/"), *PAGES] if found is not None else []
        return [{"http_root": path, "module": "mi_http"} for path in paths]


class MiHttp(MiModule):
    """MI over HTTP, on the listener of the module httpd."""

    name = "mi_http"
    parameters = (
        *ACCESS,
        Parameter("root", str, "mi", doc="The path of the URL under which MI is served."),
        Parameter(
            "token_file",
            str,
            "",
            doc="A file that its owner alone can read: who asks must know the token in it, "
            "`Authorization: Bearer TOKEN`. Without it nobody is asked.",
        ),
        Parameter("max_body", int, MAX_BYTES, doc="The longest request, in bytes."),
        Parameter(
            "health_timeout", int, 2, doc="Seconds for which a SIP process may stand still before `/healthz` says so."
        ),
    )
    token: bytes | None = None
    """What clients must know."""

    def __init__(self, settings: dict[str, Any] | None = None) -> None:
        super().__init__(settings)
        if self.settings["root"].strip("/") in PAGES:
            raise SettingsError(f"module mi_http: root must be none of {', '.join(PAGES)}", "root")
        if not 1 <= self.settings["health_timeout"] <= 60:
            raise SettingsError("module mi_http: health_timeout must be from 1 to 60 seconds", "health_timeout")
        if not 1 <= self.settings["max_body"] <= _MOST_BODY:
            raise SettingsError(f"module mi_http: max_body must be from 1 to {_MOST_BODY} bytes", "max_body")

    def furnish(self, house: House) -> None:
        super().furnish(house)
        if "httpd" not in house.program.modules:
            raise SettingsError('module mi_http needs loadmodule "httpd.so"', "mi_http")
        if self.settings["token_file"]:
            from mi_script.transports.credentials import read_token

            self.token = read_token(Path(self.settings["token_file"]))


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches that IP address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
