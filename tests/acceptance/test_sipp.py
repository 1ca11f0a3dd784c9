"""sipp drives the server: its own retransmissions, its own idea of what an answer must look like."""

from __future__ import annotations

import shutil
import subprocess

import pytest

pytestmark = [
    pytest.mark.processes,
    pytest.mark.sipp,
    pytest.mark.skipif(shutil.which("sipp") is None, reason="sipp (Debian: sip-tester) is not installed"),
]

ROUTES = """
route {
    if (is_method("ACK")) exit;
    async(mi("bench_wait 20", $var(r)), answered);
}
route[answered] {
    if ($rc < 0) t_reply(500, "No Result");
    else t_reply($(rU{s.int}), "OK");
}
"""

OPTIONS_CALL = """<?xml version="1.0" encoding="ISO-8859-1" ?>
<scenario name="options">
  <send retrans="500"><![CDATA[
    OPTIONS sip:[service]@[remote_ip]:[remote_port] SIP/2.0
    Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
    Max-Forwards: 70
    From: <sip:sipp@[local_ip]:[local_port]>;tag=[call_number]
    To: <sip:[service]@[remote_ip]:[remote_port]>
    Call-ID: [call_id]
    CSeq: 1 OPTIONS
    Contact: <sip:sipp@[local_ip]:[local_port]>
    Content-Length: 0

  ]]></send>
  <recv response="200" rtd="true"/>
</scenario>
"""

REJECTED_CALL = """<?xml version="1.0" encoding="ISO-8859-1" ?>
<scenario name="rejected invite">
  <send retrans="500"><![CDATA[
    INVITE sip:[service]@[remote_ip]:[remote_port] SIP/2.0
    Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
    Max-Forwards: 70
    From: <sip:sipp@[local_ip]:[local_port]>;tag=[call_number]
    To: <sip:[service]@[remote_ip]:[remote_port]>
    Call-ID: [call_id]
    CSeq: 1 INVITE
    Contact: <sip:sipp@[local_ip]:[local_port]>
    Content-Length: 0

  ]]></send>
  <recv response="100" optional="true"/>
  <recv response="486" rtd="true"/>
  <send><![CDATA[
    ACK sip:[service]@[remote_ip]:[remote_port] SIP/2.0
    Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
    Max-Forwards: 70
    From: <sip:sipp@[local_ip]:[local_port]>;tag=[call_number]
    [last_To:]
    Call-ID: [call_id]
    CSeq: 1 ACK
    Content-Length: 0

  ]]></send>
</scenario>
"""


@pytest.mark.parametrize(("scenario", "user"), [(OPTIONS_CALL, "200"), (REJECTED_CALL, "486")])
def test_sipp_sees_no_failed_call(start_server, tmp, scenario: str, user: str) -> None:
    server = start_server(ROUTES, options=("--udp-workers", "2", "--mi-workers", "2"))
    path = tmp / "scenario.xml"
    path.write_text(scenario)
    calls = 300
    done = subprocess.run(
        ["sipp", f"127.0.0.1:{server.sip_port}", "-sf", str(path), "-s", user, "-i", "127.0.0.1"]
        + ["-m", str(calls), "-r", "150", "-nostdin", "-timeout", "20s", "-timeout_error"],
        cwd=tmp,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=40,
    )
    assert done.returncode == 0, done.stdout[-3000:]
    assert server.statistic("async:resumed") == server.statistic("async:parked") == calls
