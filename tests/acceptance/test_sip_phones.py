"""Phones and tools that others wrote register with the server and call through it: baresip and sipsak."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator

import pytest

from tests.acceptance.baresip import Phone, needs_baresip
from tests.acceptance.proxies import Proxy, forgets

pytestmark = pytest.mark.processes
needs_sipsak = pytest.mark.skipif(shutil.which("sipsak") is None, reason="sipsak is not installed")

MODULES = ("rr", "maxfwd", "usrloc", "registrar")
ROUTES = """
route {
    if (!mf_process_maxfwd_header(70)) {
        sl_send_reply(483, "Too Many Hops");
        exit;
    }
    if (is_method("CANCEL")) {
        if (t_check_trans()) t_relay();
        exit;
    }
    if (has_totag()) {
        if (loose_route()) t_relay();
        else if (!is_method("ACK")) sl_send_reply(404, "Not Here");
        else if (t_check_trans()) t_relay();
        exit;
    }
    if (is_method("REGISTER")) {
        save("location");
        exit;
    }
    if (is_method("OPTIONS")) {
        sl_send_reply(200, "OK");
        exit;
    }
    if (!lookup("location")) {
        sl_send_reply(404, "Not Found");
        exit;
    }
    if (is_method("INVITE")) record_route();
    t_relay();
}
"""


@pytest.fixture
def proxy(start_proxy: Callable[..., Proxy]) -> Iterator[Proxy]:
    """A registrar and proxy, which must have forgotten every transaction at the end."""
    proxy = start_proxy(ROUTES, MODULES)
    yield proxy
    forgets(proxy)


@needs_baresip
def test_one_baresip_calls_another_and_hangs_up(proxy: Proxy) -> None:
    with Phone("bob", proxy.port, answers=True) as bob:
        bob.says("200 OK")
        with Phone("alice", proxy.port, dials=f"sip:bob@127.0.0.1:{proxy.port}", quits_after_s=2) as alice:
            alice.says("180 Ringing")
            alice.says("Call established: sip:bob@")
            bob.says("Call established: sip:alice@")
            assert alice.finish() == 0, alice.log()
            bob.says(f"Call with sip:alice@127.0.0.1:{proxy.port} terminated")


@needs_baresip
def test_baresip_hears_that_nobody_is_there(proxy: Proxy) -> None:
    with Phone("alice", proxy.port, dials=f"sip:bob@127.0.0.1:{proxy.port}") as alice:
        alice.says("session closed: 404 Not Found")


def sipsak(*options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sipsak", *options], stdin=subprocess.DEVNULL, capture_output=True, encoding="latin-1", timeout=20
    )


@needs_sipsak
def test_sipsak_asks_with_options(proxy: Proxy) -> None:
    done = sipsak("-v", "-s", f"sip:127.0.0.1:{proxy.port}")
    assert done.returncode == 0, done
    assert done.stdout.startswith("SIP/2.0 200 OK")


@needs_sipsak
def test_sipsak_registers_asks_for_its_bindings_and_takes_them_back(proxy: Proxy) -> None:
    user, contact = f"sip:bob@127.0.0.1:{proxy.port}", "sip:bob@127.0.0.1:9"
    done = sipsak("-U", "-v", "-s", user)
    assert done.returncode == 0, done
    assert "All usrloc tests completed successful" in done.stdout
    done = sipsak("-U", "-v", "-C", contact, "-x", "60", "-s", user)
    assert done.returncode == 0, done
    done = sipsak("-U", "-vvv", "-C", "empty", "-s", user)
    assert done.returncode == 0, done
    assert f"<{contact}>" in done.stdout
    done = sipsak("-U", "-vvv", "-C", "star", "-x", "0", "-s", user)
    assert done.returncode == 0, done
    done = sipsak("-U", "-vvv", "-C", "empty", "-s", user)
    assert done.returncode == 0, done
    assert contact not in done.stdout
