"""baresip in a test's hands: a phone with an account, and no sound but what it makes itself."""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
from pathlib import Path
from typing import Self

import pytest

from tests.harness import free_port, wait_until

MODULES = [
    Path("/usr/lib/baresip/modules"),
    *Path("/usr/lib").glob("*/baresip/modules"),
    Path("/usr/local/lib/baresip/modules"),
]
_FOUND = next((folder for folder in MODULES if folder.is_dir()), None)
needs_baresip = pytest.mark.skipif(
    shutil.which("baresip") is None or _FOUND is None, reason="baresip (Debian: baresip-core) is not installed"
)

CONFIG = """
poll_method epoll
sip_listen 127.0.0.1:{port}
audio_player aubridge,{name}
audio_source aubridge,{name}
audio_alert aubridge,{name}
module_path {modules}
module g711.so
module aubridge.so
module_tmp account.so
module_app menu.so
"""


class Phone:
    """A running baresip; a context manager that ends it.

    Args:
        name: the user part of its account.
        proxy: the port of its registrar and proxy.
        answers: whether it takes calls by itself.
        dials: a URI that it calls when it has started.
        quits_after_s: when it hangs up and ends.
    """

    def __init__(
        self, name: str, proxy: int, *, answers: bool = False, dials: str | None = None, quits_after_s: int = 30
    ) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="baresip")
        home = Path(self._folder.name)
        self._log = home / "log"
        (home / "config").write_text(CONFIG.format(port=_port_pair(), name=name, modules=_FOUND))
        mode = "auto" if answers else "manual"
        account = f"<sip:{name}@127.0.0.1:{proxy}>;auth_pass=secret;regint=60;answermode={mode}\n"
        (home / "accounts").write_text(account)
        (home / "contacts").write_text("")
        command = ["baresip", "-f", str(home), "-t", str(quits_after_s)]
        command += ["-e", f"/dial {dials}"] if dials else []
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=home)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait(5)
        self._folder.cleanup()

    def says(self, text: str) -> None:
        """Wait until it has written that."""
        wait_until(lambda: text in self.log() or self._process.poll() is not None, what=f"baresip says {text!r}")
        assert text in self.log(), self.log()

    def finish(self) -> int:
        """Wait until it has ended by itself; its exit code."""
        return self._process.wait(15)

    def log(self) -> str:
        return self._log.read_text("latin-1")


def _port_pair() -> int:
    """A free port whose successor is free too: baresip puts TLS there, whether anybody wants it or not."""
    while True:
        port = free_port()
        with socket.socket() as one, socket.socket() as other:
            try:
                one.bind(("127.0.0.1", port))
                other.bind(("127.0.0.1", port + 1))
            except OSError:
                continue
            return port
