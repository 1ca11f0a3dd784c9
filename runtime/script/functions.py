"""The functions and variables that every script has without a `loadmodule`: the module ``core``."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from runtime.context import Branch, Context, RouteType, Value
from runtime.errors import SettingsError
from runtime.listen import DEFAULT_PORT, Listen, parse_listen
from runtime.script.access import (
    Unwritable,
    set_dst_uri,
    set_ruri,
    set_ruri_host,
    set_ruri_port,
    set_ruri_user,
)
from runtime.script.declare import Kind, Module, Param, Ref, function, variable
from runtime.script.uris import split_uri
from runtime.sip.own import ANY_PORT, Alias, OwnAddresses


@dataclass(frozen=True, slots=True)
class World:
    """What scripts may know of the world, given from outside so that a script's run can be repeated.

    Args:
        wall_clock: seconds since 1970, as `time.time`.
        random: a number of 0 up to but not including 1, as `random.random`.
        process_id: this process's, asked at each use: a script is compiled before the forks.
        started_at: when the runtime started, in seconds since 1970.
    """

    wall_clock: Callable[[], float]
    random: Callable[[], float]
    process_id: Callable[[], int]
    started_at: float = 0.0


_FLAG = Param("flag", Kind.STRING)
_BRANCH = Param("branch", Kind.INTEGER, optional=True)


class Core(Module):
    """The functions of the language itself.

    Args:
        settings: none so far.
        world: time, chance and process.
        sockets: the listening sockets as the script writes them, in order.
        aliases: further names of this server.
        log_level: what `$log_level` says.
    """

    name = "core"

    def __init__(
        self,
        settings: dict[str, Any] | None = None,
        *,
        world: World,
        sockets: Sequence[str] = (),
        aliases: Iterable[Alias] = (),
        log_level: Callable[[], int],
    ) -> None:
        super().__init__(settings)
        self.world = world
        self.sockets = [_listen(text) for text in sockets]
        self.own = OwnAddresses(self.sockets, aliases)
        self.log_level = log_level

    # Flags

    @function("setflag", _FLAG)
    def setflag(self, c: Context, flag: str) -> int:
        """Set a message flag."""
        c.flags.add(flag)
        return 1

    @function("resetflag", _FLAG)
    def resetflag(self, c: Context, flag: str) -> int:
        """Take a message flag off."""
        c.flags.discard(flag)
        return 1

    @function("isflagset", _FLAG)
    def isflagset(self, c: Context, flag: str) -> int:
        """Whether a message flag is set."""
        return 1 if flag in c.flags else -1

    @function("setbflag", _FLAG, _BRANCH)
    def setbflag(self, c: Context, flag: str, branch: int | None) -> int:
        """Set a flag of a branch; branch 0, the main one, when none is named."""
        flags = _branch_flags(c, branch)
        if flags is None:
            return -1
        flags.add(flag)
        return 1

    @function("resetbflag", _FLAG, _BRANCH)
    def resetbflag(self, c: Context, flag: str, branch: int | None) -> int:
        """Take a flag off a branch."""
        flags = _branch_flags(c, branch)
        if flags is None:
            return -1
        flags.discard(flag)
        return 1

    @function("isbflagset", _FLAG, _BRANCH)
    def isbflagset(self, c: Context, flag: str, branch: int | None) -> int:
        """Whether a flag of a branch is set."""
        flags = _branch_flags(c, branch)
        return 1 if flags is not None and flag in flags else -1

    # Headers

    @function("append_hf", Param("header", Kind.STRING), routes=RouteType.MESSAGE)
    def append_hf(self, c: Context, header: str) -> int:
        """Append one header line to the message that is relayed; -1 for what is no header line."""
        line = header.rstrip("\r\n")
        # A line break inside would let a value taken from the message add headers of its own.
        if ":" not in line or "\r" in line or "\n" in line:
            return -1
        c.edits.append(("append", line + "\r\n"))
        return 1

    @function("remove_hf", Param("name", Kind.STRING), routes=RouteType.MESSAGE)
    def remove_hf(self, c: Context, name: str) -> int:
        """Take every header of that name out of the message that is relayed; -1 when there is none."""
        if c.message.field(name) is None:
            return -1
        c.edits.append(("remove", name))
        return 1

    # The Request-URI, the destination, branches

    @function("prefix", Param("prefix", Kind.STRING))
    def prefix(self, c: Context, prefix: str) -> int:
        """Put a prefix before the user of the Request-URI."""
        uri = split_uri(c.ruri)
        return -1 if uri is None else _tried(set_ruri_user, c, prefix + (uri.user or ""))

    @function("strip", Param("count", Kind.INTEGER))
    def strip(self, c: Context, count: int) -> int:
        """Take that many characters off the start of the user of the Request-URI."""
        uri = split_uri(c.ruri)
        if uri is None or not uri.user or count < 0:
            return -1
        return _tried(set_ruri_user, c, uri.user[count:])

    @function("strip_tail", Param("count", Kind.INTEGER))
    def strip_tail(self, c: Context, count: int) -> int:
        """Take that many characters off the end of the user of the Request-URI."""
        uri = split_uri(c.ruri)
        if uri is None or not uri.user or count < 0:
            return -1
        return _tried(set_ruri_user, c, uri.user[: max(0, len(uri.user) - count)])

    @function("seturi", Param("uri", Kind.STRING))
    def seturi(self, c: Context, uri: str) -> int:
        """Set the Request-URI."""
        return _tried(set_ruri, c, uri)

    @function("setuser", Param("user", Kind.STRING))
    def setuser(self, c: Context, user: str) -> int:
        """Set the user of the Request-URI."""
        return _tried(set_ruri_user, c, user)

    @function("sethost", Param("host", Kind.STRING))
    def sethost(self, c: Context, host: str) -> int:
        """Set the host of the Request-URI."""
        return _tried(set_ruri_host, c, host)

    @function("setport", Param("port", Kind.STRING))
    def setport(self, c: Context, port: str) -> int:
        """Set the port of the Request-URI."""
        return _tried(set_ruri_port, c, port)

    @function("revert_uri")
    def revert_uri(self, c: Context) -> int:
        """Put the Request-URI back to what was received."""
        set_ruri(c, None)
        return 1

    @function("setdsturi", Param("uri", Kind.STRING))
    def setdsturi(self, c: Context, uri: str) -> int:
        """Set `$du`, where the request goes instead of its Request-URI."""
        return _tried(set_dst_uri, c, uri)

    @function("resetdsturi")
    def resetdsturi(self, c: Context) -> int:
        """Unset `$du`."""
        c.dst_uri = None
        return 1

    @function("isdsturiset")
    def isdsturiset(self, c: Context) -> int:
        """Whether `$du` is set."""
        return 1 if c.dst_uri is not None else -1

    @function("append_msg_branch", Param("uri", Kind.STRING, optional=True), Param("q", Kind.STRING, optional=True))
    def append_msg_branch(self, c: Context, uri: str | None, q: str | None) -> int:
        """Add a branch: a URI, or the Request-URI as it is now. `q` is of 0.0 to 1.0."""
        target = c.ruri if uri is None else uri
        weight = -1 if q is None else _q_value(q)
        if split_uri(target) is None or weight is None:
            return -1
        c.branches.append(Branch(target, c.dst_uri if uri is None else None, q=weight))
        return 1

    @function("remove_msg_branch", Param("index", Kind.INTEGER))
    def remove_msg_branch(self, c: Context, index: int) -> int:
        """Take an appended branch away; the first has the index 0."""
        if not -len(c.branches) <= index < len(c.branches):
            return -1
        del c.branches[index]
        return 1

    @function("force_rport")
    def force_rport(self, c: Context) -> int:
        """Reply to the source port, whether or not the request asked for it (RFC 3581)."""
        c.force_rport = True
        return 1

    # Variables and time

    @function("pv_printf", Param("variable", Kind.OUTPUT), Param("text", Kind.STRING))
    def pv_printf(self, c: Context, target: Ref, text: str) -> int:
        """Assign text with variables in it to a variable."""
        try:
            target.set(c, text)
        except Unwritable:
            return -1
        return 1

    @function("get_timestamp", Param("seconds", Kind.AVP), Param("microseconds", Kind.AVP))
    def get_timestamp(self, c: Context, seconds: Ref, microseconds: Ref) -> int:
        """The time now, in seconds and microseconds since 1970, into two AVPs."""
        now = self.world.wall_clock()
        seconds.set(c, int(now))
        microseconds.set(c, int(now % 1 * 1_000_000))
        return 1

    @function("is_myself", Param("host", Kind.STRING), Param("port", Kind.INTEGER, optional=True))
    def is_myself(self, c: Context, host: str, port: int | None) -> int:
        """Whether this runtime listens on that host, and on that port where one is given; or says so to its peers.

        Its aliases count too.
        """
        return 1 if self.own.is_own(host, port or ANY_PORT) else -1

    # What needs the world

    @variable("Ts")
    def now_s(self, c: Context, inner: str) -> Value:
        """Seconds since 1970."""
        return int(self.world.wall_clock())

    @variable("Tsm")
    def now_us(self, c: Context, inner: str) -> Value:
        """The microseconds of the current second."""
        return int(self.world.wall_clock() % 1 * 1_000_000)

    @variable("TS")
    def started_at(self, c: Context, inner: str) -> Value:
        """When the runtime started, in seconds since 1970."""
        return int(self.world.started_at)

    @variable("Tf")
    def now_text(self, c: Context, inner: str) -> Value:
        """The time as text, e.g. ``Sun Nov 22 21:10:30 2026``."""
        return self._local().strftime("%a %b %d %H:%M:%S %Y")

    @variable("ctime")
    def ctime(self, c: Context, inner: str) -> Value:
        """The time as text, as `$Tf`."""
        return self.now_text(c, inner)

    @variable("time")
    def formatted_time(self, c: Context, inner: str) -> Value:
        """`$time(format)`: the time as strftime formats it."""
        return self._local().strftime(inner or "%H:%M:%S")

    @variable("RANDOM")
    def random_number(self, c: Context, inner: str) -> Value:
        """A number of 0 to 2147483647, another one each time."""
        return int(self.world.random() * 2**31)

    @variable("pp")
    def process_id(self, c: Context, inner: str) -> Value:
        """The process's id."""
        return self.world.process_id()

    @variable("pid")
    def process_id_too(self, c: Context, inner: str) -> Value:
        """The process's id, as `$pp`."""
        return self.world.process_id()

    @variable("log_level")
    def current_log_level(self, c: Context, inner: str) -> Value:
        """Up to which level xlog() is heard."""
        return self.log_level()

    @variable("socket_in")
    def socket_in(self, c: Context, inner: str) -> Value:
        """The socket that the message came in on; a part of it by the part's name in brackets.

        The parts are ``ip``, ``port``, ``proto``, ``advertised_ip``, ``advertised_port``, ``tag`` and ``af``.
        """
        if not 0 <= c.socket < len(self.sockets):
            return None
        return _part(self.sockets[c.socket], inner)

    @variable("sP")
    def source_protocol(self, c: Context, inner: str) -> Value:
        """The protocol that the message came over, in capitals."""
        protocol = self.socket_in(c, "proto") if c.source else None
        return protocol.upper() if isinstance(protocol, str) else None

    @variable("Ri")
    def received_ip(self, c: Context, inner: str) -> Value:
        """The address that the message came in on."""
        return self.socket_in(c, "ip")

    @variable("Rp")
    def received_port(self, c: Context, inner: str) -> Value:
        """The port that the message came in on."""
        return self.socket_in(c, "port")

    def _local(self) -> datetime.datetime:
        return datetime.datetime.fromtimestamp(self.world.wall_clock())


def _branch_flags(c: Context, branch: int | None) -> set[str] | None:
    if branch is None or branch == 0:
        return c.branch_flags
    return c.branches[branch - 1].flags if 0 < branch <= len(c.branches) else None


def _tried(change: Callable[[Context, Value], None], c: Context, value: str) -> int:
    try:
        change(c, value)
    except Unwritable:
        return -1
    return 1


def _q_value(text: str) -> int | None:
    """``0.7`` as 700; None when it is none (RFC 3261 25.1: at most three decimals)."""
    whole, dot, decimals = text.partition(".")
    if whole not in ("0", "1", "") or len(decimals) > 3 or not (decimals or "0").isdecimal() or not (whole or dot):
        return None
    thousandths = int(whole or 0) * 1000 + int(decimals.ljust(3, "0") if decimals else 0)
    return thousandths if thousandths <= 1000 else None


def _listen(text: str) -> Listen:
    """What `socket=` says. What cannot be read is refused before any message comes."""
    try:
        return parse_listen(text)
    except SettingsError:
        return Listen("udp", text, DEFAULT_PORT)


def _part(listen: Listen, name: str) -> Value:
    match name:
        case "":
            return str(listen)
        case "ip":
            return listen.host
        case "port":
            return listen.port
        case "proto":
            return listen.protocol
        case "advertised_ip":
            return listen.advertised_host
        case "advertised_port":
            return listen.advertised_port
        case "tag":
            return listen.tag or None
        case "af":
            return "INET6" if ":" in listen.host else "INET"
        case _:
            return None
