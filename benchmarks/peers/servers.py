"""Who takes part: how each server is started, and why it cannot be where it is not installed.

The configurations lie beside this file, one for each server and job, and say themselves what matters to fairness.
layby and OpenSIPS run the same file wherever OpenSIPS can.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, TypeAlias

from runtime.traffic.generator import ROOT
from runtime.traffic.server import Server

Job: TypeAlias = Literal["options", "stateful", "mi", "async", "launch", "slow", "calls", "parked"]

_SHM_MIB: Final = "2048"
"""Enough for the transactions that a few seconds at saturation leave behind; what is not used is not there."""
_NATIVE: Final = ROOT / "build" / "native"
_PLACE: Final = Path(__file__).parent
_MORE_PLACES: Final = ["/usr/sbin", "/usr/local/sbin"]


@dataclass(frozen=True, slots=True)
class Site:
    """What one server is started for.

    Args:
        job: which of its configurations it runs.
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

    def place(self, source: Path, name: str | None = None) -> Path:
        """Put one of its files into the folder, with the values put in; its path there.

        With `str.replace`, since all of the languages use braces.
        """
        text = source.read_text()
        values = {"port": self.port, "uas_port": self.uas_port, "processes": self.processes, "folder": self.folder}
        for key, value in values.items():
            text = text.replace("{" + key + "}", str(value))
        path = self.folder / (name or source.name)
        path.write_text(text)
        return path


@dataclass(frozen=True, slots=True)
class Entry:
    """One row of the tables.

    Args:
        name: what it is called there.
        command: writes the server's files and gives its command line.
        file: its configuration for a job, which need not exist.
        missing: why it cannot take part at all; None when it can.
    """

    name: str
    command: Callable[[Site], list[str]]
    file: Callable[[Job], Path]
    missing: Callable[[], str | None] = lambda: None

    def why_not(self, job: Job) -> str | None:
        """Why it cannot do a job; None when it can."""
        return self.missing() or (None if self.file(job).exists() else f"does no {job}")

    def start(self, site: Site) -> Server:
        """Start it; the caller enters the server to have it stopped, and waits until it is ready."""
        return Server(self.command(site), site.port)


def _layby_file(job: Job) -> Path:
    own = _PLACE / "layby" / f"{job}.cfg"
    return own if own.exists() else _opensips_file(job)


def _layby(site: Site) -> list[str]:
    return [sys.executable, *_layby_arguments(site)]


def _layby_native(site: Site) -> list[str]:
    # -P: else the folder that we stand in, with the same packages as they are written, would come first.
    return ["env", f"PYTHONPATH={_NATIVE}", sys.executable, "-P", *_layby_arguments(site)]


def _layby_arguments(site: Site) -> list[str]:
    program = [str(_PLACE / "layby" / "roomy.py")] if site.job == "parked" else ["-m", "runtime"]
    return [*program, "run", str(site.place(_layby_file(site.job))), "-R", str(site.folder / "run")]


def _no_native() -> str | None:
    return None if (_NATIVE / ".ready").exists() else "not built (make native)"


def _opensips_file(job: Job) -> Path:
    return _PLACE / "opensips" / f"{job}.cfg"


def _opensips(site: Site) -> list[str]:
    own = ["-w", str(site.folder), "-P", str(site.folder / "pid"), "-m", _SHM_MIB, "-M", "64"]
    return [_found("opensips") or "opensips", "-F", "-f", str(site.place(_opensips_file(site.job))), *own]


def _no_opensips() -> str | None:
    return None if _found("opensips") else "not installed (no opensips on PATH)"


def _kamailio_file(job: Job) -> Path:
    return _PLACE / "kamailio" / f"{job}.cfg"


def _kamailio(*options: str) -> Callable[[Site], list[str]]:
    return lambda site: _kamailio_command(site, _kamailio_file(site.job), *options)


def _kemi_file(job: Job) -> Path:
    return _PLACE / "kamailio_python" / f"{job}.py"


def _kemi(*options: str) -> Callable[[Site], list[str]]:
    def command(site: Site) -> list[str]:
        site.place(_kemi_file(site.job), "routes.py")
        return _kamailio_command(site, _PLACE / "kamailio_python" / "kamailio.cfg", *options)

    return command


def _kamailio_command(site: Site, config: Path, *options: str) -> list[str]:
    site.place(_PLACE / "kamailio" / "head.cfg")
    own = ["-w", str(site.folder), "-Y", str(site.folder), "-P", str(site.folder / "pid"), "-m", _SHM_MIB]
    return [_found("kamailio") or "kamailio", "-f", str(site.place(config)), "-DD", "-E", *own, *options]


def _no_kamailio() -> str | None:
    return None if _found("kamailio") else "not installed (Debian: kamailio)"


def _no_kemi() -> str | None:
    folders = [Path("/usr/lib"), Path("/usr/lib64"), Path("/usr/local/lib"), Path("/usr/local/lib64")]
    places = ("kamailio/modules/app_python3.so", "*/kamailio/modules/app_python3.so")
    found = any(next(folder.glob(place), None) for folder in folders for place in places)
    return _no_kamailio() or (None if found else "not installed (Debian: kamailio-python3-modules)")


def _sippy_file(job: Job) -> Path:
    return _PLACE / "sippy" / f"{job}.py"


def _sippy(site: Site) -> list[str]:
    return [_python_with_sippy() or "python", str(_sippy_file(site.job)), str(site.port)]


def _no_sippy() -> str | None:
    return None if _python_with_sippy() else "not installed (make .venv-bench/.ready)"


def _python_with_sippy() -> str | None:
    # It is in the environment of the pools' peers, since layby's own has no use for it.
    if importlib.util.find_spec("sippy"):
        return sys.executable
    found = next((ROOT / ".venv-bench" / "lib").glob("python3*/site-packages/sippy"), None)
    return str(ROOT / ".venv-bench" / "bin" / "python") if found else None


def _found(program: str) -> str | None:
    return shutil.which(program, path=os.pathsep.join([os.environ.get("PATH", ""), *_MORE_PLACES]))


_QUICK_ALLOCATOR: Final = ("-x", "fm", "-X", "fm")
"""Debian's Kamailio has qm by default, which checks every block that it gives out."""

ENTRIES: Final[dict[str, Entry]] = {
    entry.name: entry
    for entry in [
        Entry("layby", _layby, _layby_file),
        Entry("layby-native", _layby_native, _layby_file, _no_native),
        Entry("opensips", _opensips, _opensips_file, _no_opensips),
        Entry("kamailio", _kamailio(), _kamailio_file, _no_kamailio),
        Entry("kamailio-fm", _kamailio(*_QUICK_ALLOCATOR), _kamailio_file, _no_kamailio),
        Entry("kamailio-python", _kemi(), _kemi_file, _no_kemi),
        Entry("kamailio-python-fm", _kemi(*_QUICK_ALLOCATOR), _kemi_file, _no_kemi),
        Entry("sippy", _sippy, _sippy_file, _no_sippy),
    ]
}
LAYBY: Final = ("layby", "layby-native")
"""Whose figures are held against the goals."""
