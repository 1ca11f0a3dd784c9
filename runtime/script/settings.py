"""The global parameters that a script may set: each is declared once, here.

The checker, the reference and `layby which` read this table. Those that OpenSIPS has and that mean nothing here are
accepted, so that a script written for it runs as it is, and say why they have no effect.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Global:
    """One global parameter.

    Args:
        name: as the script writes it.
        kind: what it is set to.
        doc: what it does, with its unit; or why it has no effect.
        default: what holds where the script says nothing; None where there is nothing to say.
        repeats: whether it may stand more than once; of any other one the last stands.
        effect: whether it does anything.
        granted: whether what it is there for is so without it: then a script that sets it need not be told.
    """

    name: str
    kind: type[int] | type[str]
    doc: str
    default: int | str | None = None
    repeats: bool = False
    effect: bool = True
    granted: bool = False


def _ignored(why: str, *names: str, kind: type[int] | type[str] = int, repeats: bool = False) -> Iterator[Global]:
    return (Global(name, kind, why, repeats=repeats, effect=False) for names_ in names for name in names_.split())


_DECLARED: Final = (
    # Where the server is
    Global(
        "socket", str, "A listening address, `PROTOCOL:HOST[:PORT]`; udp and tcp.", "udp:127.0.0.1:5060", repeats=True
    ),
    Global("alias", str, "A further name of this server, `[PROTOCOL:]HOST[:PORT]`.", repeats=True),
    Global("advertised_address", str, "The host that others are told, in place of the one that is listened on."),
    Global("advertised_port", int, "The port that others are told, in place of the one that is listened on."),
    # Processes
    Global("udp_workers", int, "How many processes serve SIP, 1 to 64; they serve TCP too.", 4),
    Global("udp_readers", int, "How many of them read datagrams at least; more do while those are busy.", 1),
    Global("mi_workers", int, "How many processes run MI jobs, 0 to 64; with 0 the SIP processes do.", 4),
    Global(
        "process_transport",
        str,
        "What jobs and letters go over from process to process: `zmq`, or `unix` for Unix streams, which cost less.",
        "zmq",
    ),
    Global("open_files_limit", int, "How many files and connections a process may hold, as far as the system lets it."),
    Global(
        "mi_workers_max",
        int,
        "Up to how many there are while jobs wait and all are occupied, or slow ones have all they may have.",
        16,
    ),
    # Logging
    Global("log_level", int, "Up to which level is logged, -3 (alerts only) to 4 (debug).", 3),
    Global("xlog_level", int, "Up to which level xlog() is heard; as log_level where it is not set."),
    Global("xlog_print_level", int, "The level of an xlog() that names none.", -1),
    Global("log_prefix", str, "What every log line begins with.", ""),
    Global("stderror_enabled", int, "Whether log lines go to the standard error output.", 1),
    Global("log_stderror", int, "The older way to say where log lines go: 1 standard error, 0 syslog."),
    Global("stderror_log_format", str, "`plain_text`, or `json` for lines that are JSON objects.", "plain_text"),
    Global("syslog_enabled", int, "Whether log lines go to syslog.", 0),
    # The script
    Global("max_while_loops", int, "How often a `while` turns at most.", 10_000),
    Global("enable_asserts", int, "Whether `assert` does anything.", 0),
    Global("abort_on_assert", int, "Whether an `assert` that fails ends the server, in order, as SIGTERM does.", 0),
    # Messages
    Global("server_signature", int, "Whether replies carry a Server header.", 1),
    Global("server_header", str, "What that header says, with or without `Server:` before it.", "layby"),
    Global("user_agent_header", str, "What requests of the server's own say in User-Agent; nothing if not set."),
    # The database
    Global("db_default_url", str, "The database of the modules that are given none of their own."),
    # DNS
    Global("dns_try_naptr", int, "Whether NAPTR records are asked for.", 1),
    Global("dns_try_ipv6", int, "Whether AAAA records are asked for.", 0),
    Global("dns_use_search_list", int, "Whether a name may be completed from the list of resolv.conf.", 1),
    Global("dns_servers_no", int, "How many of resolv.conf's servers are asked, up to 16; 0 for all.", 0),
    Global(
        "dns_servers", str, "Asked instead of those of resolv.conf: `IP[:PORT]`, with blanks or commas between.", ""
    ),
    Global("dns_retr_time", int, "Seconds that a DNS server may take, 1 to 30.", 1),
    Global("dns_retr_no", int, "How often a question is asked again, up to 10 times.", 4),
    Global("disable_dns_blacklist", int, "With 0, targets that failed of late are tried last.", 0),
    # TCP
    Global("tcp_connect_timeout", int, "Milliseconds that a connection may take to open.", 3000),
    Global("tcp_connection_lifetime", int, "Seconds that a connection may lie idle before it is closed.", 120),
    Global("tcp_max_connections", int, "How many TCP connections the whole server holds.", 2048),
    Global("tcp_max_msg_time", int, "Seconds that a message may take from its first byte to its last.", 4),
    Global("tcp_socket_backlog", int, "Connections that the kernel holds until a process takes them.", 1024),
    Global("tcp_keepalive", int, "Whether the kernel probes idle connections.", 1),
    Global("tcp_keepidle", int, "Seconds of idleness before the first probe; 0 for the kernel's own value.", 0),
    Global("tcp_keepinterval", int, "Seconds between two probes; 0 for the kernel's own value.", 0),
    Global("tcp_keepcount", int, "How many probes may stay unanswered; 0 for the kernel's own value.", 0),
    # Thresholds
    Global("exec_msg_threshold", int, "Microseconds that a route may take before that is told; 0 for no limit.", 0),
    Global("exec_dns_threshold", int, "Microseconds that DNS may take before that is told; 0 for no limit.", 0),
    Global("event_shm_threshold", int, "Percent of what processes share that may be used before that is told.", 0),
    # What OpenSIPS has and what means nothing here
    Global(
        "mpath",
        str,
        "No effect: the server has its modules with it, and a file of one's own is named by its path.",
        repeats=True,
        effect=False,
        granted=True,
    ),
    *_ignored(
        "No effect: memory is the operating system's to give, and nothing is set aside in advance.",
        "mem_warming mem_warming_enabled mem_warming_percentage memdump mem_dump memlog mem_log shm_memlog_size",
        "shm_hash_split_percentage shm_secondary_hash_size restart_persistency_size event_pkg_threshold",
        "pv_print_buf_size",
    ),
    *_ignored(
        "No effect: memory is the operating system's to give, and nothing is set aside in advance.",
        "mem_warming_pattern_file restart_persistency_cache_file",
        kind=str,
    ),
    *_ignored("No effect: nobody counts the memory of single modules.", "mem-group", kind=str, repeats=True),
    *_ignored("No effect: the SIP processes serve TCP too.", "tcp_workers tcp_threads"),
    *_ignored("No effect: one process runs the timers and the timer routes.", "timer_workers worker_reactor_timeout"),
    *_ignored("No effect: the number of SIP processes does not change.", "auto_scaling_cycle"),
    *_ignored(
        "No effect: the number of SIP processes does not change.", "auto_scaling_profile scale", kind=str, repeats=True
    ),
    *_ignored(
        "No effect: log lines have one form and bounds of their own.",
        "log_event_enabled log_event_level_filter log_json_buf_size log_msg_buf_size log_stdout",
        "stderror_level_filter syslog_level_filter xlog_buf_size xlog_force_color",
    ),
    *_ignored(
        "No effect: log lines have one form and bounds of their own.",
        "syslog_log_format syslog_facility syslog_name",
        kind=str,
    ),
    *_ignored("No effect: no process waits for a TCP connection, or for what is sent over one.", "tcp_threshold"),
    *_ignored("No effect: what is received is read the same way for everybody.", "check_via maxbuffer"),
    *_ignored("No effect: addresses are compared as they are written, without DNS.", "auto_aliases dns rev_dns"),
    *_ignored("No effect: a next hop's further addresses are always tried.", "disable_dns_failover"),
    *_ignored("No effect: 503 is sent on as 500 (RFC 3261 16.7).", "disable_503_translation"),
    *_ignored("No effect: nothing is relayed without a transaction.", "disable_stateless_fwd"),
    *_ignored("No effect: replies carry no Warning header.", "sip_warning"),
    *_ignored(
        "No effect: a request leaves by the socket that it came in on, or by one that reaches its next hop.", "mhomed"
    ),
    *_ignored("No effect: nothing is sent to more than one receiver at once.", "mcast_loopback mcast_ttl"),
    *_ignored("No effect: a connection belongs to the address that it came from.", "tcp_accept_aliases"),
    *_ignored(
        "No effect: where there is no connection, one is opened.",
        "tcp_no_new_conn_bflag tcp_no_new_conn_rplflag",
        kind=str,
    ),
    *_ignored("No effect: packets have the kernel's type of service.", "tos", kind=str),
    *_ignored("No effect: no destination is refused.", "dst_blacklist", kind=str, repeats=True),
    *_ignored(
        "No effect: a writer of its own takes rows to the database.",
        "query_buffer_size query_flush_time db_max_async_connections",
    ),
    *_ignored("No effect: tables are made where they are missing.", "db_version_table", kind=str),
    *_ignored("No effect: who starts the server sets its limits and its folder.", "disable_core_dump"),
    *_ignored("No effect: who starts the server sets its limits and its folder.", "chroot wdir workdir", kind=str),
    *_ignored("No effect: the server always runs in the foreground.", "debug_mode"),
    *_ignored("No effect: the event loop finds the best way by itself.", "poll_method", kind=str),
    *_ignored("No effect: there is no such interface.", "pi_framework", kind=str),
)

GLOBALS: Final[dict[str, Global]] = {declared.name: declared for declared in _DECLARED}
"""Every global parameter by name."""
NUMBERS: Final = frozenset(name for name, found in GLOBALS.items() if found.kind is int)
TEXTS: Final = frozenset(name for name, found in GLOBALS.items() if found.kind is str)
REPEATABLE: Final = frozenset(name for name, found in GLOBALS.items() if found.repeats)
"""Those that may stand more than once; of any other one the last stands."""

REPLACED: Final = {
    "execdnsthreshold": "exec_dns_threshold",
    "execmsgthreshold": "exec_msg_threshold",
    "listen": "socket",
    "log_facility": "syslog_facility",
    "log_name": "syslog_name",
    "tcpthreshold": "tcp_threshold",
}
"""Names that OpenSIPS 3 still takes, and what is meant by them (its core parameters' reference)."""

GONE: Final = {
    "children": "udp_workers",
    "debug": "log_level",
    "port": "socket",
    "tcp_children": "tcp_workers",
    "tcp_listen_backlog": "tcp_socket_backlog",
}
"""Names that scripts of older OpenSIPS have and version 3 takes no more, and what stands for them now."""
