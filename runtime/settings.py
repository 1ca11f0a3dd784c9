"""What the script's global parameters and the command line settle before anything starts."""

from __future__ import annotations

import ipaddress
import os
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

MAX_PROCESSES: Final = 64
"""SIP processes, or job workers. The load board and the counters have a row for each."""

_SOCKET: Final = re.compile(r"(?P<protocol>[a-z]+):(?P<host>\[[0-9a-fA-F:.]+\]|[^:\[\]\s]+)(?::(?P<port>\d+))?")


class SettingsError(Exception):
    """A setting is wrong; the text says which, why, and what is accepted.

    Args:
        text: that.
        word: what stands in the script for it, to find the place by: a global parameter's name or an address.
    """

    def __init__(self, text: str, word: str = "") -> None:
        super().__init__(text)
        self.word = word


@dataclass(frozen=True, slots=True)
class Listen:
    """One address to listen on, from `socket=` or `-l`."""

    protocol: str
    host: str
    port: int

    @property
    def sent_by(self) -> str:
        """The address as it stands in a Via and in a URI."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def __str__(self) -> str:
        return f"{self.protocol}:{self.sent_by}"


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that is fixed for the life of a server.

    Args:
        listen: where SIP is received.
        udp_workers: SIP processes.
        mi_workers: processes that run MI jobs; 0 lets the SIP processes run each other's, as OpenSIPS does.
        mi_workers_max: up to how many there are while jobs wait and all are occupied; 0 where mi_workers is.
        log_level, xlog_level: OpenSIPS's levels, -3 (alert) to 4 (debug).
        log_stderr, log_syslog: where log lines go.
        server_header: the `Server` header of replies, or None for no such header.
        drain_s: how long parked requests and running jobs may take to end at shutdown, in seconds.
        folder: the runtime folder; None makes one below `runtime_home()`.
    """

    listen: tuple[Listen, ...]
    udp_workers: int = 4
    mi_workers: int = 4
    mi_workers_max: int = 16
    log_level: int = 3
    xlog_level: int = 3
    log_stderr: bool = True
    log_syslog: bool = False
    log_prefix: str = ""
    server_header: str | None = "layby"
    drain_s: float = 5.0
    folder: Path | None = None


def parse_listen(text: str) -> Listen:
    """Read ``udp:HOST[:PORT]``. The port is 5060 when it is left out (RFC 3261 section 19.1.2).

    Raises:
        SettingsError: it is no such address, or of a protocol that is not served.
    """
    match = _SOCKET.fullmatch(text.strip())
    if match is None:
        raise SettingsError(f"{text!r} is no listening address; write udp:HOST:PORT, e.g. udp:127.0.0.1:5060", text)
    if match["protocol"] != "udp":
        raise SettingsError(f"{text!r}: protocol {match['protocol']} is not served; only udp is", text)
    port = int(match["port"] or 5060)
    if not 0 < port < 65536:
        raise SettingsError(f"{text!r}: a port is between 1 and 65535", text)
    host = match["host"].strip("[]")
    try:
        ipaddress.ip_address(host)
    except ValueError:
        if host != "localhost":
            raise SettingsError(f"{text!r}: give an IP address to listen on, not a name", text) from None
        host = "127.0.0.1"
    return Listen("udp", host, port)


def settle(
    globals_: Mapping[str, int | str],
    sockets: Sequence[str],
    *,
    udp_workers: int | None = None,
    mi_workers: int | None = None,
    mi_workers_max: int | None = None,
    log_level: int | None = None,
    drain_s: float = 5.0,
    folder: Path | None = None,
) -> Settings:
    """Join the script's global parameters with the command line, which wins.

    Raises:
        SettingsError: a value is out of its range.
    """
    addresses = tuple(parse_listen(text) for text in (sockets or ("udp:127.0.0.1:5060",)))
    if len(set(addresses)) != len(addresses):
        raise SettingsError("the same listening address is given twice", str(addresses[-1]))

    def number(name: str, override: int | None, default: int, low: int, high: int) -> int:
        value = override if override is not None else globals_.get(name, default)
        if isinstance(value, str) and value.lstrip("-").isdecimal():
            value = int(value)
        if not isinstance(value, int) or not low <= value <= high:
            raise SettingsError(f"{name} is {value!r}; it must be a number from {low} to {high}", name)
        return value

    workers = number("mi_workers", mi_workers, 4, 0, MAX_PROCESSES)
    most_workers = number("mi_workers_max", mi_workers_max, max(16, workers), workers, MAX_PROCESSES)
    level = number("log_level", log_level, 3, -3, 4)
    header = str(globals_.get("server_header", "layby")).removeprefix("Server:").strip()
    return Settings(
        listen=addresses,
        udp_workers=number("udp_workers", udp_workers, 4, 1, MAX_PROCESSES),
        mi_workers=workers,
        mi_workers_max=most_workers if workers else 0,
        log_level=level,
        xlog_level=number("xlog_level", None, level, -3, 4),
        log_stderr=_truth(globals_, "stderror_enabled", "log_stderror", default=True),
        log_syslog=_truth(globals_, "syslog_enabled", default=False),
        log_prefix=str(globals_.get("log_prefix", "")),
        server_header=header if _truth(globals_, "server_signature", default=True) and header else None,
        drain_s=drain_s,
        folder=folder,
    )


def _truth(globals_: Mapping[str, int | str], *names: str, default: bool) -> bool:
    for name in names:
        if name in globals_:
            return str(globals_[name]).lower() in ("1", "yes", "true", "on")
    return default


def runtime_home() -> Path:
    """The folder under which each server makes its own: on tmpfs where there is one, since all in it is volatile.

    A Unix socket's path has at most 107 bytes, so it is kept short.
    """
    given = os.environ.get("XDG_RUNTIME_DIR")
    for base in (given, "/dev/shm", tempfile.gettempdir()):
        if base and os.access(base, os.W_OK):
            return Path(base) / f"layby-{os.getuid()}"
    raise SettingsError("no writable folder for sockets; set XDG_RUNTIME_DIR")
