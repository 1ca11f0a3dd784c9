"""Modules httpd and mi_http: settings that can be, and those that cannot."""

from __future__ import annotations

import pytest

from runtime.modules.mi_http import Httpd, MiHttp, is_loopback
from runtime.settings import SettingsError


@pytest.mark.parametrize(
    ("module", "settings", "said"),
    [
        (MiHttp, {"max_body": 0}, "max_body must be from 1"),
        (MiHttp, {"max_body": 1 << 30}, "max_body must be from 1"),
        (Httpd, {"port": 65536}, "port must be from 0 to 65535"),
        (Httpd, {"port": -1}, "port must be from 0 to 65535"),
        (Httpd, {"conn_timeout": -1}, "conn_timeout must be 0 or more seconds"),
        (Httpd, {"tls_certificate": "x.pem"}, "a certificate and its private key go together"),
        (Httpd, {"tls_key_file": "x.key"}, "a certificate and its private key go together"),
        (Httpd, {"tls_client_ca": "x.pem"}, "tls_client_ca needs a certificate of the server's own"),
    ],
)
def test_settings_that_cannot_be(module, settings, said):
    with pytest.raises(SettingsError, match=said):
        module(settings)


def test_certificates_go_by_two_names():
    one = Httpd({"tls_certificate": "a.pem", "tls_private_key": "a.key"})
    other = Httpd({"tls_cert_file": "a.pem", "tls_key_file": "a.key", "tls_client_ca": "ca.pem"})
    assert (one.certificate, one.private_key) == (other.certificate, other.private_key) == ("a.pem", "a.key")
    assert (one.checks_clients, other.checks_clients) == (False, True)


@pytest.mark.parametrize(
    ("ip", "host", "loopback"),
    [
        ("127.0.0.1", "127.0.0.1", True),
        ("::1", "::1", True),
        ("*", "0.0.0.0", False),
        ("192.0.2.1", "192.0.2.1", False),
    ],
)
def test_addresses(ip, host, loopback):
    assert Httpd({"ip": ip}).host == host
    assert is_loopback(host) == loopback
