"""MI over HTTP of a whole server: who is let in, and what a script's settings may be."""

from __future__ import annotations

import http.client
import json
import ssl
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from tests.harness import ROOT, Server, wait_until

pytestmark = pytest.mark.processes

CERTIFICATES = ROOT / "tests/mi_script/certificates"
TOKEN = "0123456789abcdefghij"
PROCESSES = ("--udp-workers", "1", "--mi-workers", "1")
UPTIME = b'{"jsonrpc":"2.0","id":1,"method":"uptime"}'
TLS = f"""
modparam("httpd", "tls_certificate", "{CERTIFICATES}/server.pem")
modparam("httpd", "tls_private_key", "{CERTIFICATES}/server.key")
"""


def ask(server: Server, headers: dict[str, str] | None = None, tls: ssl.SSLContext | None = None) -> int:
    """The status of one request for `uptime`; 0 where nobody answers."""
    url = f"http{'s' if tls else ''}://127.0.0.1:{server.http_port}/mi"
    request = urllib.request.Request(url, UPTIME, {"Content-Type": "application/json", **(headers or {})})
    try:
        with urllib.request.urlopen(request, timeout=5, context=tls) as reply:
            assert set(json.load(reply)["result"]) == {"Now", "Up since", "Up time"}
            return int(reply.status)
    except urllib.error.HTTPError as error:
        return error.code
    except (OSError, http.client.HTTPException):
        return 0


@pytest.fixture
def token_file(tmp: Path) -> Path:
    path = tmp / "token"
    path.touch(0o600)
    path.write_text(TOKEN + "\n")
    return path


def test_a_token(start_server, token_file) -> None:
    head = f'modparam("mi_http", "token_file", "{token_file}")\n'
    server = start_server("route { exit; }", head=head, options=PROCESSES, ready=False)
    known = {"Authorization": f"Bearer {TOKEN}"}
    wait_until(lambda: ask(server, known) == 200, 30, what="the server answers MI")
    assert [ask(server), ask(server, {"Authorization": f"Bearer {TOKEN}x"}), ask(server, known)] == [401, 401, 200]
    assert TOKEN not in server.log()


def test_certificates_of_both_sides(start_server) -> None:
    head = f'{TLS}modparam("httpd", "tls_client_ca", "{CERTIFICATES}/ca.pem")\n'
    server = start_server("route { exit; }", head=head, options=PROCESSES, ready=False)
    unknown = ssl.create_default_context(cafile=CERTIFICATES / "ca.pem")
    known = ssl.create_default_context(cafile=CERTIFICATES / "ca.pem")
    known.load_cert_chain(CERTIFICATES / "client.pem", CERTIFICATES / "client.key")
    wait_until(lambda: ask(server, tls=known) == 200, 30, what="the server answers MI")
    assert [ask(server), ask(server, tls=unknown), ask(server, tls=known)] == [0, 0, 200]


def test_back_to_back_requests_over_one_connection_are_answered_at_once(start_server) -> None:
    head = 'modparam("mi_http", "max_body", 200)\n'
    server = start_server("route { exit; }", head=head, options=PROCESSES)
    connection = http.client.HTTPConnection("127.0.0.1", server.http_port, timeout=2)
    for _ in range(50):
        connection.request("POST", "/mi", UPTIME, {"Content-Type": "application/json"})
        assert json.load(connection.getresponse())["id"] == 1
    connection.request("POST", "/mi", UPTIME + b" " * 200, {"Content-Type": "application/json"})
    assert connection.getresponse().status == 413
    connection.close()
    assert server.mi("httpd_list_root_path")[0] == {"http_root": "mi", "module": "mi_http"}
    before = server.statistic("mi_http:requests")
    assert server.statistic("mi_http:requests") == before + 1
    assert server.statistic("mi_http:errors") == 1


def test_who_listens_to_everybody_is_told_so(start_server) -> None:
    head = 'modparam("httpd", "ip", "*")\n'
    server = start_server("route { exit; }", head=head, options=PROCESSES)
    wait_until(lambda: "whoever reaches 0.0.0.0:" in server.log(), what="the warning")


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ('modparam("mi_http", "token_file", "/nowhere/token")', "token file /nowhere/token: No such file or directory"),
        (TLS.replace("server.key", "stranger.key"), "key values mismatch"),
    ],
)
def test_settings_that_cannot_be_keep_a_server_from_starting(start_server, setting, said) -> None:
    server = start_server("route { exit; }", head=setting + "\n", ready=False)
    assert server.wait() == 1
    assert said in server.log()
    assert "Traceback" not in server.log()
