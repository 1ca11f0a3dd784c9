"""The proxy under test: layby. ACCEPTANCE_PROXY=kamailio puts Kamailio there, which shows that a test asks nothing odd.

The routes of these tests are written in what both have in common.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.harness import Server, SipClient, free_port, wait_until

WITH_KAMAILIO = os.environ.get("ACCEPTANCE_PROXY") == "kamailio"
T1_MS = 50
"""The proxy's T1, so that what lingers for 64 times T1 is over in some 3 s."""
LINGER_S = 64 * T1_MS / 1000

LAYBY_HEAD = f"""
modparam("tm", "T1_timer", {T1_MS})
modparam("tm", "T4_timer", {10 * T1_MS})
"""
KAMAILIO_HEAD = f"""#!KAMAILIO
log_stderror=yes
children=4
disable_tcp=yes
auto_aliases=no
dns=no
rev_dns=no
listen=udp:127.0.0.1:{{port}}
loadmodule "pv.so"
loadmodule "tm.so"
loadmodule "sl.so"
loadmodule "siputils.so"
loadmodule "textops.so"
modparam("tm", "retr_timer1", {T1_MS})
"""


@dataclass
class Proxy:
    """A running proxy.

    Args:
        port: where it listens on 127.0.0.1.
        server: layby, to be asked things; None for Kamailio.
    """

    port: int
    server: Server | None

    def statistic(self, name: str) -> int:
        """One of its statistics; 0 where nobody can be asked."""
        return 0 if self.server is None else self.server.statistic(name)

    def private_kib(self) -> int:
        """Memory that its SIP processes have to themselves; 0 where nobody can be asked."""
        return 0 if self.server is None else sum(_private_kib(pid) for pid in self.server.pids("SIP"))


def forgets(proxy: Proxy, *more: str) -> None:
    """Nothing of any call is left once the last wait is over: the transactions' statistics, and these, are 0."""
    for name in ("tm:inuse_transactions", "tm:inuse_branches", *more):
        wait_until(lambda name=name: proxy.statistic(name) == 0, LINGER_S + 10, f"{name} is 0")


def _private_kib(pid: int) -> int:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_"))


def layby_proxy(start_server: Callable[..., Server], modules: tuple[str, ...], routes: str) -> Proxy:
    """layby with 4 SIP processes, and these modules beside the harness's."""
    head = "".join(f'loadmodule "{module}.so"\n' for module in modules) + LAYBY_HEAD
    server = start_server(routes, head=head, options=("--udp-workers", "4", "--mi-workers", "1"))
    return Proxy(server.sip_port, server)


class Kamailio:
    """Kamailio in the foreground, on loopback, with nothing of its own outside `folder`."""

    def __init__(self, folder: Path, modules: tuple[str, ...], routes: str) -> None:
        path = shutil.which("kamailio", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
        if path is None:
            pytest.skip("kamailio is not installed")
        self.port = free_port()
        config, log = folder / "kamailio.cfg", folder / "kamailio.log"
        head = KAMAILIO_HEAD.format(port=self.port) + "".join(f'loadmodule "{module}.so"\n' for module in modules)
        config.write_text(head + routes)
        command = [path, "-f", str(config), "-DD", "-E", "-w", str(folder), "-Y", str(folder)]
        with log.open("wb") as file:
            self.process = subprocess.Popen(
                [*command, "-P", str(folder / "kamailio.pid")], stdin=subprocess.DEVNULL, stdout=file, stderr=file
            )
        self._log = log
        client = SipClient(self.port)
        try:
            wait_until(lambda: self._answers(client), what="Kamailio answers")
        finally:
            client.close()

    def _answers(self, client: SipClient) -> bool:
        if self.process.poll() is not None:
            pytest.fail(f"Kamailio ended\n{self._log.read_text()}")
        # Too many hops for whoever asks: any answer will do.
        call_id, data = client.request("nobody", "OPTIONS")
        client.send(data)
        client.collect(0.2)
        return call_id in client.answers

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(10)
