"""sipp as the load: its scenarios, how it is started, and what it says of its calls afterwards."""

from __future__ import annotations

import contextlib
import csv
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from runtime.traffic.server import free_port

_HOST: Final = "127.0.0.1"
_NICENESS: Final = ["nice", "-n", "5"]
"""Where both want a CPU the server gets it: what is measured is the server."""
_FROM_TO: Final = """From: <sip:caller@[local_ip]:[local_port]>;tag=[pid]a[call_number]
    To: <sip:[service]@[remote_ip]:[remote_port]>"""

_SDP: Final = """Content-Type: application/sdp
    Content-Length: [len]

    v=0
    o=user 53655765 2353687637 IN IP4 [local_ip]
    s=-
    c=IN IP4 [local_ip]
    t=0 0
    m=audio 6000 RTP/AVP 0
    a=rtpmap:0 PCMU/8000
"""

CALLER: Final = f"""<?xml version="1.0" encoding="ISO-8859-1" ?>
<scenario name="caller">
  <send retrans="500"><![CDATA[
    INVITE sip:[service]@[remote_ip]:[remote_port] SIP/2.0
    Via: SIP/2.0/UDP [local_ip]:[local_port];branch=[branch]
    Max-Forwards: 70
    {_FROM_TO}
    Call-ID: [call_id]
    CSeq: 1 INVITE
    Contact: <sip:caller@[local_ip]:[local_port]>
    {_SDP}
  ]]></send>
  <recv response="100" optional="true"/>
  <recv response="180" optional="true"/>
  <recv response="200" rrs="true"/>
  <send><![CDATA[
    ACK [next_url] SIP/2.0
    Via: SIP/2.0/UDP [local_ip]:[local_port];branch=[branch]
    [routes]
    Max-Forwards: 70
    {_FROM_TO}[peer_tag_param]
    Call-ID: [call_id]
    CSeq: 1 ACK
    Content-Length: 0

  ]]></send>
  <pause milliseconds="100"/>
  <send retrans="500"><![CDATA[
    BYE [next_url] SIP/2.0
    Via: SIP/2.0/UDP [local_ip]:[local_port];branch=[branch]
    [routes]
    Max-Forwards: 70
    {_FROM_TO}[peer_tag_param]
    Call-ID: [call_id]
    CSeq: 2 BYE
    Content-Length: 0

  ]]></send>
  <recv response="200"/>
</scenario>
"""

_SAME: Final = """[last_Via:]
    [last_From:]
    [last_To:];tag=[pid]b[call_number]
    [last_Call-ID:]
    [last_CSeq:]
    [last_Record-Route:]
    Contact: <sip:callee@[local_ip]:[local_port]>"""

CALLEE: Final = f"""<?xml version="1.0" encoding="ISO-8859-1" ?>
<scenario name="callee">
  <recv request="INVITE"/>
  <send><![CDATA[
    SIP/2.0 180 Ringing
    {_SAME}
    Content-Length: 0

  ]]></send>
  <pause milliseconds="100"/>
  <send retrans="500"><![CDATA[
    SIP/2.0 200 OK
    {_SAME}
    {_SDP}
  ]]></send>
  <recv request="ACK"/>
  <recv request="BYE"/>
  <send><![CDATA[
    SIP/2.0 200 OK
    [last_Via:]
    [last_From:]
    [last_To:]
    [last_Call-ID:]
    [last_CSeq:]
    Content-Length: 0

  ]]></send>
</scenario>
"""
"""The pause between 180 and 200 is there so that the two do not race through a server of several processes."""


@dataclass(frozen=True, slots=True)
class Told:
    """What sipp counted: calls that went through, calls that did not, and what it had to send again."""

    succeeded: int
    failed: int
    retransmitted: int


class SippError(Exception):
    """sipp is not there, could not be started, or did not come to its end."""


def missing() -> str | None:
    """Why there is no load; None when there is."""
    return None if shutil.which("sipp") else "sipp is not installed (Debian: sip-tester)"


def send(folder: Path, port: int, calls: int, per_s: int) -> Told:
    """Offer calls to a server and wait for their end.

    Args:
        folder: for sipp's files.
        port: the server's, on 127.0.0.1.
        calls: how many.
        per_s: how many are begun each second.

    Raises:
        SippError: it did not end in time, or died.
    """
    path, statistics = folder / "caller.xml", folder / "caller.csv"
    path.write_text(CALLER)
    statistics.unlink(missing_ok=True)
    limit_s = calls / per_s + 40
    command = [*_NICENESS, "sipp", f"{_HOST}:{port}", "-sf", str(path), "-i", _HOST, "-p", str(free_port())]
    command += ["-m", str(calls), "-r", str(per_s), "-l", str(20 * per_s), "-s", "service", *_quiet(statistics)]
    try:
        done = subprocess.run(
            command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=limit_s
        )
    except subprocess.TimeoutExpired as error:
        raise SippError(f"sipp did not end within {limit_s:.0f} s") from error
    if done.returncode not in (0, 1):  # 1: some calls failed, which is counted
        raise SippError(f"sipp ended with {done.returncode}: {_last_words(done)}")
    told = _told(statistics)
    if told.succeeded + told.failed != calls:
        raise SippError(f"sipp ended after {told.succeeded + told.failed} of {calls} calls: {_last_words(done)}")
    return told


@contextlib.contextmanager
def callee(folder: Path, port: int) -> Iterator[None]:
    """Somebody who takes every call on `port` of 127.0.0.1, until the end of the block."""
    path, statistics = folder / "callee.xml", folder / "callee.csv"
    path.write_text(CALLEE)
    command = [*_NICENESS, "sipp", "-sf", str(path), "-i", _HOST, "-p", str(port), *_quiet(statistics)]
    nowhere = subprocess.DEVNULL
    process = subprocess.Popen(command, cwd=folder, stdin=nowhere, stdout=nowhere, stderr=nowhere)
    try:
        _wait_bound(process, port)
        yield
    finally:
        process.kill()
        process.wait()


def _quiet(statistics: Path) -> list[str]:
    # Whatever is in the buffers is read in one go; its terminal is no terminal, and it must not wait for keys.
    return ["-nostdin", "-skip_rlimit", "-trace_stat", "-stf", str(statistics), "-fd", "1"]


def _wait_bound(process: subprocess.Popen[bytes], port: int) -> None:
    """Wait until the kernel lists the port among its UDP sockets."""
    ends = time.monotonic() + 10
    wanted = f":{port:04X} "
    while time.monotonic() < ends:
        if process.poll() is not None:
            raise SippError(f"sipp, which should take the calls, ended with {process.returncode}")
        if wanted in Path("/proc/net/udp").read_text():
            return
        time.sleep(0.01)
    raise SippError("sipp, which should take the calls, did not come up")


def _last_words(done: subprocess.CompletedProcess[str]) -> str:
    return f"{done.stderr[-400:]}\n{done.stdout[-1200:]}"


def _told(statistics: Path) -> Told:
    with statistics.open(newline="") as file:
        rows = list(csv.DictReader(file, delimiter=";"))
    if not rows:
        raise SippError("sipp wrote no statistics")
    last = rows[-1]
    return Told(*(int(last[f"{name}(C)"]) for name in ("SuccessfulCall", "FailedCall", "Retransmissions")))
