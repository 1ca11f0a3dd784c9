"""What the script's global parameters and the command line settle before anything starts."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from runtime.dns_settings import DnsSettings, settle_dns
from runtime.errors import SettingsError
from runtime.listen import Listen, parse_listen
from workers.channel import Transport

__all__ = [
    "Listen",
    "Settings",
    "SettingsError",
    "StreamSettings",
    "Thresholds",
    "parse_listen",
    "runtime_home",
    "settle",
]

MAX_PROCESSES: Final = 64
"""SIP processes, or job workers. The load board and the counters have a row for each."""


@dataclass(frozen=True, slots=True)
class StreamSettings:
    """What TCP connections are held to.

    Args:
        connect_timeout_s: how long a connection may take to open.
        lifetime_s: how long one may lie idle before it is closed.
        max_connections: how many the whole server holds.
        max_message_s: how long a message may take to arrive, from its first byte to its last.
        backlog: connections that the kernel holds until a process takes them.
        keepalive: whether the kernel probes idle connections.
        keepidle_s, keepinterval_s, keepcount: when it begins, how often, and how many probes may stay unanswered; 0
            for the kernel's own values.
    """

    connect_timeout_s: float = 3.0
    lifetime_s: float = 120.0
    max_connections: int = 2048
    max_message_s: float = 4.0
    backlog: int = 1024
    keepalive: bool = True
    keepidle_s: int = 0
    keepinterval_s: int = 0
    keepcount: int = 0


@dataclass(frozen=True, slots=True)
class Thresholds:
    """What takes longer, or more, is told; 0 for no limit.

    Args:
        message_us: microseconds that a route may take.
        dns_us: microseconds that an answer of DNS may take.
        shm_percent: how full what processes share may be.
    """

    message_us: int = 0
    dns_us: int = 0
    shm_percent: int = 0


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that is fixed for the life of a server.

    Args:
        listen: where SIP is received.
        udp_workers: SIP processes. They serve streams too, whatever `tcp_workers` says.
        udp_readers: how many of them read datagrams at least; more do while those are busy or stand still.
        mi_workers: processes that run MI jobs; 0 lets the SIP processes run each other's, as OpenSIPS does.
        mi_workers_max: up to how many there are while jobs wait and all are occupied, or slow jobs have all that they
            may have; 0 where mi_workers is.
        log_level, xlog_level: OpenSIPS's levels, -3 (alert) to 4 (debug).
        log_stderr, log_syslog: where log lines go.
        log_json: whether lines on standard error are JSON objects.
        server_header: the `Server` header of replies, or None for no such header.
        user_agent: the `User-Agent` header of requests of the server's own, or None for no such header.
        open_files: how many files each process may hold; None for as many as it may already.
        transport: what jobs and letters between the processes go over; see `workers.channel`.
        drain_s: how long parked and relayed requests and running jobs may take to end at shutdown, in seconds.
        folder: the runtime folder; None makes one below `runtime_home()`.
        trace: where every process writes down what it does, see `runtime.tracing`; None for nowhere.
        streams: what TCP connections are held to.
        dns: how next hops' names are looked up.
        thresholds: what is told of.
    """

    listen: tuple[Listen, ...]
    udp_workers: int = 4
    udp_readers: int = 1
    mi_workers: int = 4
    mi_workers_max: int = 16
    log_level: int = 3
    xlog_level: int = 3
    log_stderr: bool = True
    log_syslog: bool = False
    log_prefix: str = ""
    log_json: bool = False
    server_header: str | None = "layby"
    user_agent: str | None = None
    open_files: int | None = None
    transport: Transport = "zmq"
    drain_s: float = 5.0
    folder: Path | None = None
    trace: Path | None = None
    streams: StreamSettings = StreamSettings()
    dns: DnsSettings = field(default_factory=DnsSettings)
    thresholds: Thresholds = Thresholds()


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
    trace: Path | None = None,
) -> Settings:
    """Join the script's global parameters with the command line, which wins.

    Raises:
        SettingsError: a value is out of its range.
    """
    addresses = tuple(parse_listen(text) for text in (sockets or ("udp:127.0.0.1:5060",)))
    places = [str(listen) for listen in addresses]
    if twice := next((place for at, place in enumerate(places) if place in places[:at]), None):
        raise SettingsError(f"the listening address {twice} is given twice", twice)

    def number(name: str, override: int | None, default: int, low: int, high: int) -> int:
        return _number(globals_ if override is None else {name: override}, name, default, low, high)

    workers = number("mi_workers", mi_workers, 4, 0, MAX_PROCESSES)
    most_workers = number("mi_workers_max", mi_workers_max, max(16, workers), workers, MAX_PROCESSES)
    level = number("log_level", log_level, 3, -3, 4)
    number("max_while_loops", None, 1, 1, 1 << 31)  # the script's compiler reads it, with no word for what is wrong
    header = str(globals_.get("server_header", "layby")).removeprefix("Server:").strip()
    agent = str(globals_.get("user_agent_header", "")).removeprefix("User-Agent:").strip()
    files = number("open_files_limit", None, 0, 256, 1 << 20) if "open_files_limit" in globals_ else None
    return Settings(
        listen=addresses,
        udp_workers=number("udp_workers", udp_workers, 4, 1, MAX_PROCESSES),
        udp_readers=number("udp_readers", None, 1, 1, MAX_PROCESSES),
        mi_workers=workers,
        mi_workers_max=most_workers if workers else 0,
        log_level=level,
        xlog_level=number("xlog_level", None, level, -3, 4),
        log_stderr=_truth(globals_, "stderror_enabled", "log_stderror", default=True),
        # The older log_stderror says both: to standard error or to syslog.
        log_syslog=_truth(globals_, "syslog_enabled", default=not _truth(globals_, "log_stderror", default=True)),
        log_json=_log_format(globals_) == "json",
        log_prefix=str(globals_.get("log_prefix", "")),
        server_header=header if _truth(globals_, "server_signature", default=True) and header else None,
        user_agent=agent or None,
        open_files=files,
        transport=_transport(globals_),
        drain_s=drain_s,
        folder=folder,
        trace=trace,
        dns=settle_dns(globals_),
        streams=_streams(globals_),
        thresholds=Thresholds(
            message_us=number("exec_msg_threshold", None, 0, 0, 1 << 40),
            dns_us=number("exec_dns_threshold", None, 0, 0, 1 << 40),
            shm_percent=number("event_shm_threshold", None, 0, 0, 100),
        ),
    )


def _log_format(globals_: Mapping[str, int | str]) -> str:
    name = "stderror_log_format"
    found = str(globals_.get(name, "plain_text"))
    if found not in ("plain_text", "json"):
        raise SettingsError(f"{name} is {found!r}; it must be plain_text or json", name)
    return found


def _transport(globals_: Mapping[str, int | str]) -> Transport:
    name = "process_transport"
    match globals_.get(name, "zmq"):
        case "zmq":
            return "zmq"
        case "unix":
            return "unix"
        case other:
            raise SettingsError(f"{name} is {other!r}; it must be zmq or unix", name)


def _streams(globals_: Mapping[str, int | str]) -> StreamSettings:
    plain = StreamSettings()

    def number(name: str, default: float, low: int, high: int) -> int:
        return _number(globals_, name, int(default), low, high)

    return StreamSettings(
        connect_timeout_s=number("tcp_connect_timeout", plain.connect_timeout_s * 1000, 1, 600_000) / 1000,
        lifetime_s=number("tcp_connection_lifetime", plain.lifetime_s, 1, 86_400 * 366),
        max_connections=number("tcp_max_connections", plain.max_connections, 1, 1_000_000),
        max_message_s=number("tcp_max_msg_time", plain.max_message_s, 1, 3600),
        backlog=number("tcp_socket_backlog", plain.backlog, 1, 65_535),
        keepalive=_truth(globals_, "tcp_keepalive", default=plain.keepalive),
        keepidle_s=number("tcp_keepidle", plain.keepidle_s, 0, 32_767),
        keepinterval_s=number("tcp_keepinterval", plain.keepinterval_s, 0, 32_767),
        keepcount=number("tcp_keepcount", plain.keepcount, 0, 127),
    )


def _number(globals_: Mapping[str, int | str], name: str, default: int, low: int, high: int) -> int:
    value = globals_.get(name, default)
    if isinstance(value, str) and value.lstrip("-").isdecimal():
        value = int(value)
    if not isinstance(value, int) or not low <= value <= high:
        raise SettingsError(f"{name} is {value!r}; it must be a number from {low} to {high}", name)
    return value


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
