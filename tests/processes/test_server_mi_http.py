"""MI over HTTP of a whole server: who is let in, and what a script's settings may be."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import ssl
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from runtime.mi_client import call, target_of
from runtime.mi_wire import Http, MiClientError
from tests.harness import ROOT, Server, free_port, wait_until

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


PAGES = """
route {
    if ($rU == "waits") async(mi("bench_wait 2000"), done);
    if ($rU == "still") { mi("bench_wait 4000"); exit; }
    if ($rU == "job") async(mi("bench_sleep 1"), done);
    mi("pwd");
    mi("uptme");
    sl_send_reply(200, "OK");
}
route[done] { t_reply(200, "OK"); }
"""


def read(server: Server, path: str, headers: dict[str, str] | None = None) -> tuple[int, str]:
    """A page's status and text; 0 where nobody answers."""
    request = urllib.request.Request(f"http://127.0.0.1:{server.http_port}/{path}", headers=headers or {})
    try:
        with urllib.request.urlopen(request, timeout=5) as reply:
            return reply.status, reply.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except (OSError, http.client.HTTPException):
        return 0, ""


def samples(server: Server, headers: dict[str, str] | None = None) -> dict[tuple[str, ...], float]:
    """What /metrics says, by name and the values of the labels in their order."""
    families = text_string_to_metric_families(read(server, "metrics", headers)[1])
    return {(one.name, *one.labels.values()): one.value for family in families for one in family.samples}


@pytest.fixture
def token_file(tmp: Path) -> Path:
    path = tmp / "token"
    path.touch(0o600)
    path.write_text(TOKEN + "\n")
    return path


def test_a_token_is_asked_for_and_a_server_that_drains_takes_no_more_commands(start_server, token_file, tmp) -> None:
    head = f'modparam("mi_http", "token_file", "{token_file}")\n'
    server = start_server(PAGES, head=head, options=PROCESSES, ready=False)
    known = {"Authorization": f"Bearer {TOKEN}"}
    wait_until(lambda: ask(server, known) == 200, 30, what="the server answers MI")
    assert [ask(server), ask(server, {"Authorization": f"Bearer {TOKEN}x"}), ask(server, known)] == [401, 401, 200]
    assert [read(server, path)[0] for path in ("metrics", "healthz")] == [401, 200]
    address = {"http": f"http://127.0.0.1:{server.http_port}/mi", "fifo": None, "reply_dir": tmp, "datagram": None}
    assert "WD" in call(target_of(**address, token_file=token_file), "pwd", [], 5.0)
    with pytest.raises(MiClientError, match=r"HTTP 401 Unauthorized .a token is needed"):
        call(target_of(**address), "pwd", [], 5.0)
    with pytest.raises(MiClientError, match="No such file or directory"):
        target_of(**address, token_file=tmp / "none")
    client = server.client()
    client.send(client.request("waits")[1])
    wait_until(lambda: samples(server, known)["layby_process_parked", "sip-1"] == 1, what="it is parked")
    server.process.terminate()
    _, text = wait_until(lambda: (found := read(server, "healthz"))[0] == 503 and found, what="it drains")
    assert json.loads(text)["problems"] == ["the server is shutting down"]
    assert ask(server, known) == 503
    assert server.wait() == 0
    assert TOKEN not in server.log()


def test_certificates_of_both_sides(start_server) -> None:
    head = f'{TLS}modparam("httpd", "tls_client_ca", "{CERTIFICATES}/ca.pem")\n'
    server = start_server("route { exit; }", head=head, options=PROCESSES, ready=False)
    unknown = ssl.create_default_context(cafile=CERTIFICATES / "ca.pem")
    known = ssl.create_default_context(cafile=CERTIFICATES / "ca.pem")
    known.load_cert_chain(CERTIFICATES / "client.pem", CERTIFICATES / "client.key")
    wait_until(lambda: ask(server, tls=known) == 200, 30, what="the server answers MI")
    assert [ask(server), ask(server, tls=unknown), ask(server, tls=known)] == [0, 0, 200]
    url, ours = f"https://127.0.0.1:{server.http_port}/mi", (CERTIFICATES / "client.pem", CERTIFICATES / "client.key")
    assert "WD" in call(Http(url, ca=CERTIFICATES / "ca.pem", certificate=ours), "pwd", [], 5.0)
    for target, said in [
        (Http(url, ca=CERTIFICATES / "ca.pem"), "https://"),
        (Http(url, certificate=ours), "certificate verify failed"),
        (Http(url, ca=CERTIFICATES / "none.pem"), "cannot use the certificates"),
        (Http(url, ca=CERTIFICATES / "ca.pem", certificate=(ours[0], CERTIFICATES / "server.key")), "cannot use"),
    ]:
        with pytest.raises(MiClientError, match=said):
            call(target, "pwd", [], 5.0)


def test_back_to_back_requests_over_one_connection_are_answered_at_once(start_server) -> None:
    head = 'modparam("mi_http", "max_body", 200)\n'
    port = free_port(socket.SOCK_STREAM)
    options = (*PROCESSES, "--mi-http", f"*:{port}")
    server = start_server("route { exit; }", head=head, options=options, ready=False)
    server.http_port = port
    wait_until(server.answers, 30, what="the server answers MI")
    assert "whoever reaches 0.0.0.0:" in server.log()
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


def test_a_key_of_another_certificate_keeps_a_server_from_starting(start_server) -> None:
    head = TLS.replace("server.key", "stranger.key")
    server = start_server("route { exit; }", head=head, ready=False)
    assert server.wait(30) == 1
    assert "key values mismatch" in server.log()
    assert "Traceback" not in server.log()


@pytest.fixture(scope="module")
def pages(start_shared) -> Server:
    head = 'modparam("mi_http", "health_timeout", 1)\n'
    return start_shared(PAGES, head=head, options=("--udp-workers", "2", "--mi-workers", "1"))


def test_metrics_of_commands_processes_and_statistics(pages: Server) -> None:
    client = pages.client()
    for _ in range(5):
        client.ask("x")
    client.ask("job")
    found = samples(pages)
    assert found["layby_mi_runs_total", "pwd"] == 5
    assert found["layby_mi_run_seconds_count", "pwd"] == found["layby_mi_run_seconds_bucket", "pwd", "+Inf"] == 5
    assert found["layby_mi_errors_total", "-32601", "(unknown)"] == 5
    assert found["layby_mi_wait_seconds_count", "bench_sleep"] == found["layby_mi_runs_total", "bench_sleep"] == 1
    assert sum(found["layby_process_messages_total", f"sip-{number}"] for number in (1, 2)) == 6
    assert found["layby_process_parked", "sip-1"] == found["layby_process_jobs", "worker-1"] == 0
    assert found["layby_process_restarts_total", "mi-1"] == 0
    assert found["layby_process_resident_bytes", "attendant"] > 1 << 20
    assert found["layby_statistic_total", "core", "rcv_requests"] == 6
    assert found["layby_statistic_now", "shmem", "used_size"] > 0
    (row,) = [row for row in pages.mi("command_list")["Commands"] if row["Name"] == "pwd"]
    assert set(row.pop("Run time [ms]")) == {"mean", "p50", "p99"}
    assert row == {"Name": "pwd", "Module": "core", "Cost": "instant", "Runs": 5, "Errors": {}, "Wait [ms]": None}
    assert pages.mi("command_list", ["bench_sleep"])["Wait [ms]"]["p99"] > 0
    assert pages.mi_error("command_list", ["nosuch"])["code"] == 404


def test_health_says_who_stands_still_and_who_is_not_there(pages: Server) -> None:
    status, text = read(pages, "healthz")
    assert (status, json.loads(text)) == (200, {"status": "ok", "problems": [], "processes": 5})
    client = pages.client()
    client.send(client.request("still")[1])
    status, text = wait_until(lambda: (found := read(pages, "healthz"))[0] == 503 and found, what="it is told")
    assert [one.split(" ", 1)[1] for one in json.loads(text)["problems"]] == ["has stood still for 1 s"]
    wait_until(lambda: read(pages, "healthz")[0] == 200, what="it goes on")


@pytest.mark.parametrize(("kind", "name"), [("SIP receiver", "sip-1"), ("MI worker", "worker-1")])
def test_health_says_who_is_stopped(pages: Server, kind: str, name: str) -> None:
    pid = next(row["PID"] for row in pages.mi("ps")["Processes"] if row["Type"].startswith(kind))
    os.kill(pid, signal.SIGSTOP)
    try:
        _, text = wait_until(lambda: (found := read(pages, "healthz"))[0] == 503 and found, what="it is told")
    finally:
        os.kill(pid, signal.SIGCONT)
    assert json.loads(text)["problems"] == [f"{name} is stopped"]
    wait_until(lambda: read(pages, "healthz")[0] == 200, what="it goes on")


def test_health_says_who_is_being_replaced_and_not_that_he_stands_still(pages: Server) -> None:
    before = samples(pages)["layby_process_restarts_total", "sip-1"]
    row = next(row for row in pages.mi("ps")["Processes"] if row["Type"].startswith("SIP receiver"))
    os.kill(row["PID"], signal.SIGKILL)
    said: set[str] = set()

    def is_well_again() -> bool:
        status, text = read(pages, "healthz")
        said.update(json.loads(text)["problems"])
        return status == 200 and samples(pages)["layby_process_restarts_total", "sip-1"] > before

    wait_until(is_well_again, what="it is replaced")
    assert said <= {"sip-1 is not there", "sip-1 is starting"}
