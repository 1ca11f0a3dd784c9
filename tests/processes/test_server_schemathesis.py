"""A server's own OpenAPI description, and what schemathesis finds when it asks by it."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

pytestmark = pytest.mark.processes

MOST_S = 10
CHECKS = (
    "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,"
    "response_schema_conformance,unsupported_method,allow_header_conformance"
)
"""All but those that want an HTTP error for a request that JSON-RPC answers with an error of its own."""
HEAD = """
loadmodule "dialog.so"
loadmodule "usrloc.so"
modparam("mi_http", "deny", "kill, reload_routes, bench_*")
"""


def test_nothing_that_is_asked_by_the_description_breaks_the_server(start_server, tmp: Path) -> None:
    server = start_server("route { exit; }", head=HEAD, options=("--udp-workers", "1", "--mi-workers", "1"))
    url = f"http://127.0.0.1:{server.http_port}/openapi.json"
    with urllib.request.urlopen(url, timeout=5) as reply:
        described = json.load(reply)["components"]["schemas"]
    assert {f"mi.{name}" for name in ("kill", "ps", "dlg_list", "ul_dump", "httpd_list_root_path")} <= set(described)
    pids = server.all_pids()
    command = [str(Path(sys.executable).parent / "schemathesis"), "run", url, "--checks", CHECKS]
    command += ["--max-time", str(MOST_S), "--phases", "coverage,fuzzing", "--generation-database", "none"]
    command += ["--request-timeout", "5", "--suppress-health-check", "all", "--warnings", "off"]
    ran = subprocess.run(command, cwd=tmp, capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 0, ran.stdout[-5000:] + ran.stderr[-1000:]
    assert server.all_pids() == pids
    assert server.statistic("mi_http:requests") > 10
    assert "Traceback" not in server.log()
