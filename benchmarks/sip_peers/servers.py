"""Who takes part: how each server is started, and why it cannot be where it is not installed."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from runtime.traffic.generator import ROOT
from runtime.traffic.server import Server
from sip_peers.scripts import KAMAILIO, KAMAILIO_WITH_PYTHON, KEMI, LAYBY, Job

_SHM_MIB: Final = "256"
_NATIVE: Final = ROOT / "build" / "native"


@dataclass(frozen=True, slots=True)
class Site:
    """What one server is started for.

    Args:
        job: which of its scripts it runs.
        port: its UDP port on 127.0.0.1.
        uas_port: where it sends calls.
        processes: how many of its processes take SIP messages.
        folder: where its files go.
    """

    job: Job
    port: int
    uas_port: int
    processes: int
    folder: Path

    def write(self, name: str, text: str, **more: str) -> Path:
        """Write one of its files with the values put in; its path."""
        values = {"port": self.port, "uas_port": self.uas_port, "processes": self.processes, **more}
        for key, value in values.items():
            text = text.replace("{" + key + "}", str(value))
        path = self.folder / name
        path.write_text(text)
        return path


@dataclass(frozen=True, slots=True)
class Entry:
    """One row of the tables.

    Args:
        name: what it is called there.
        command: writes the server's files and gives its command line.
        missing: why it cannot take part; None when it can.
    """

    name: str
    command: Callable[[Site], list[str]]
    missing: Callable[[], str | None] = lambda: None

    def start(self, site: Site) -> Server:
        """Start it; the caller enters the server to have it stopped, and waits until it is ready."""
        return Server(self.command(site), site.port)


def _layby(site: Site) -> list[str]:
    return [sys.executable, "-m", *_layby_arguments(site)]


def _layby_native(site: Site) -> list[str]:
    # -P: else the folder that we stand in, with the same packages as they are written, would come first.
    return ["env", f"PYTHONPATH={_NATIVE}", sys.executable, "-P", "-m", *_layby_arguments(site)]


def _layby_arguments(site: Site) -> list[str]:
    return ["runtime", "run", str(site.write("layby.cfg", LAYBY[site.job])), "-R", str(site.folder / "run")]


def _no_native() -> str | None:
    return None if (_NATIVE / ".ready").exists() else "not built (make native)"


def _kamailio(*options: str) -> Callable[[Site], list[str]]:
    def command(site: Site) -> list[str]:
        return _kamailio_command(site, site.write("kamailio.cfg", KAMAILIO[site.job]), *options)

    return command


def _kemi(site: Site) -> list[str]:
    routes = site.write("routes.py", KEMI[site.job])
    return _kamailio_command(site, site.write("kamailio.cfg", KAMAILIO_WITH_PYTHON, routes=str(routes)))


def _kamailio_command(site: Site, config: Path, *options: str) -> list[str]:
    own = ["-w", str(site.folder), "-Y", str(site.folder), "-P", str(site.folder / "pid"), "-m", _SHM_MIB]
    return [_kamailio_path() or "kamailio", "-f", str(config), "-DD", "-E", *own, *options]


def _kamailio_path() -> str | None:
    return shutil.which("kamailio", path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"]))


def _no_kamailio() -> str | None:
    return None if _kamailio_path() else "not installed (Debian: kamailio)"


def _no_kemi() -> str | None:
    folders = [Path("/usr/lib"), Path("/usr/lib64"), Path("/usr/local/lib"), Path("/usr/local/lib64")]
    places = ("kamailio/modules/app_python3.so", "*/kamailio/modules/app_python3.so")
    found = any(next(folder.glob(place), None) for folder in folders for place in places)
    return _no_kamailio() or (None if found else "not installed (Debian: kamailio-python3-modules)")


ENTRIES: Final[dict[str, Entry]] = {
    entry.name: entry
    for entry in [
        Entry("layby", _layby),
        Entry("layby-native", _layby_native, _no_native),
        Entry("kamailio", _kamailio(), _no_kamailio),
        Entry("kamailio-fm", _kamailio("-x", "fm", "-X", "fm"), _no_kamailio),
        Entry("kamailio-python", _kemi, _no_kemi),
    ]
}
