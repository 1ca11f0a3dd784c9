"""What scripts see of the world around a message: time, chance, the process, its sockets and its command line."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from runtime.context import Branch, Context, Value
from runtime.errors import SettingsError
from runtime.listen import DEFAULT_PORT, Listen, parse_listen
from runtime.script.access import Unwritable, pick
from runtime.script.branch_access import all_parts, append_branch, appended_branch, branch_at, put_part
from runtime.script.declare import Kind, Module, Param, function, variable
from runtime.sip.own import ANY_PORT, Alias, OwnAddresses


@dataclass(frozen=True, slots=True)
class World:
    """What scripts may know of the world, given from outside so that a script's run can be repeated.

    Args:
        wall_clock: seconds since 1970, as `time.time`.
        random: a number of 0 up to but not including 1, as `random.random`.
        process_id: this process's, asked at each use: a script is compiled before the forks.
        started_at: when the runtime started, in seconds since 1970.
        options: what the command line says with ``-o NAME=VALUE``.
    """

    wall_clock: Callable[[], float]
    random: Callable[[], float]
    process_id: Callable[[], int]
    started_at: float = 0.0
    options: Mapping[str, str] = field(default_factory=dict)


class LogLevels(Protocol):
    """The log levels of the process that runs scripts: of its own lines and of those of `xlog()`."""

    def log_level(self) -> int:
        """Up to which level `xlog()` is heard."""

    def own_log_level(self) -> int:
        """Up to which level the process itself logs."""

    def set_log_level(self, which: Literal["log", "xlog"], level: int | None) -> None:
        """Change one of the two in this process; None gives it back the server's."""


class WorldVariables(Module):
    """The part of the module ``core`` that needs the world.

    Args:
        settings: none so far.
        world: time, chance and process.
        sockets: the listening sockets as the script writes them, in order.
        aliases: further names of this server.
        levels: the process's log levels.
    """

    name = "core"

    def __init__(
        self,
        settings: dict[str, Any] | None = None,
        *,
        world: World,
        sockets: Sequence[str] = (),
        aliases: Iterable[Alias] = (),
        levels: LogLevels,
    ) -> None:
        super().__init__(settings)
        self.world = world
        self.sockets = [_listen(text) for text in sockets]
        self.own = OwnAddresses(self.sockets, aliases)
        self.levels = levels

    # Time and chance

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
        """The time as text, as `$Tf`; a part of it as a number by the part's name in brackets.

        The parts are ``sec``, ``min``, ``hour``, ``mday`` (1 to 31), ``mon`` (1 to 12), ``year``, ``wday`` (1 for
        Sunday to 7) and ``yday`` (1 to 366).
        """
        return _part_of_time(self._local(), inner) if inner else self.now_text(c, inner)

    @variable("time")
    def formatted_time(self, c: Context, inner: str) -> Value:
        """`$time(format)`: the time as strftime formats it; NULL where that is no format."""
        try:
            return self._local().strftime(inner or "%H:%M:%S")
        except ValueError:  # a zero byte in it
            return None

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

    @variable("argv")
    def option(self, c: Context, inner: str) -> Value:
        """`$argv(name)`: the value that the command line gives with ``-o NAME=VALUE``."""
        return self.world.options.get(inner)

    @variable("log_level", setter="set_log_level")
    def current_log_level(self, c: Context, inner: str) -> Value:
        """Up to which level this process logs. A number from -3 to 4 changes that, NULL gives it back the server's."""
        return self.levels.own_log_level()

    def set_log_level(self, c: Context, inner: str, value: Value) -> None:
        """Assign `$log_level`."""
        self.levels.set_log_level("log", _level(value))

    @variable("xlog_level", setter="set_xlog_level")
    def current_xlog_level(self, c: Context, inner: str) -> Value:
        """Up to which level `xlog()` is heard in this process; assigned as `$log_level` is."""
        return self.levels.log_level()

    def set_xlog_level(self, c: Context, inner: str, value: Value) -> None:
        """Assign `$xlog_level`."""
        self.levels.set_log_level("xlog", _level(value))

    # Sockets

    @variable("socket_in")
    def socket_in(self, c: Context, inner: str) -> Value:
        """The socket that the message came in on; a part of it by the part's name in brackets.

        The parts are ``ip``, ``port``, ``proto``, ``advertised_ip``, ``advertised_port``, ``tag`` and ``af``.
        """
        if not 0 <= c.socket < len(self.sockets):
            return None
        return _part(self.sockets[c.socket], inner)

    @variable("socket_out", setter="set_socket_out")
    def socket_out(self, c: Context, inner: str) -> Value:
        """The socket to send from: the one that was assigned, or the one that the message came in on.

        It has the parts of `$socket_in`; ``forced`` is the one that was assigned, and NULL while none was. Assigned is
        ``protocol:address[:port]`` of a listening socket, or its tag; NULL takes that back.
        """
        if inner == "forced":
            return None if c.send_socket is None else str(self.sockets[c.send_socket])
        index = c.socket if c.send_socket is None else c.send_socket
        return _part(self.sockets[index], inner) if 0 <= index < len(self.sockets) else None

    def set_socket_out(self, c: Context, inner: str, value: Value) -> None:
        """Assign `$socket_out`."""
        if inner:
            raise Unwritable("only $socket_out as a whole is assigned")
        c.send_socket = self._socket_named(value)

    def _socket_named(self, value: Value) -> int | None:
        """The index of a listening socket. Raises Unwritable when there is none of that name."""
        if value is None:
            return None
        listen = _listen(str(value))
        place = listen.protocol, listen.host, listen.port
        for index, own in enumerate(self.sockets):
            if (own.protocol, own.host, own.port) == place or (own.tag and own.tag == value):
                return index
        raise Unwritable(f"this server does not listen on {str(value)[:80]}")

    @function("force_send_socket", Param("socket", Kind.STRING))
    def force_send_socket(self, c: Context, socket: str) -> int:
        """Send from that socket, ``protocol:address[:port]`` or a tag, as `$socket_out` does."""
        try:
            self.set_socket_out(c, "", socket)
        except Unwritable:
            return -1
        return 1

    @variable("msg.branch.socket", setter="set_branch_socket", lister="all_branch_sockets", putter="put_branch_socket")
    def branch_socket(self, c: Context, inner: str) -> Value:
        """The socket that the last branch is to be sent from; NULL while none was assigned."""
        return self._socket_of(c, branch_at(c, None))

    def all_branch_sockets(self, c: Context, inner: str) -> list[Value]:
        """The socket of every branch, that of the Request-URI first."""
        return [self._socket_of(c, branch) for branch in (None, *c.branches)]

    def set_branch_socket(self, c: Context, inner: str, value: Value) -> None:
        """Assign `$msg.branch.socket`."""
        self.put_branch_socket(c, inner, None, value)

    def put_branch_socket(self, c: Context, inner: str, index: Value, value: Value) -> None:
        """Assign `$(msg.branch.socket[index])`."""
        (branch_at(c, index) or c).send_socket = self._socket_named(value)

    @variable("branch", setter="set_branch", lister="all_branches", putter="put_branch")
    def branch(self, c: Context, inner: str) -> Value:
        """A part of an appended branch, as in `$(branch(uri)[1])`: of the first one where no index is given.

        The parts are ``uri`` (also without a name), ``duri``, ``q`` in thousandths, ``path``, ``socket``, and
        ``flags``, which are read only. Assigning a URI to `$branch` itself appends a branch.
        """
        return pick(self.all_branches(c, inner), 0)

    def all_branches(self, c: Context, inner: str) -> list[Value]:
        """A part of every appended branch."""
        if inner == "socket":
            return [self._socket_of(c, branch) for branch in c.branches]
        return all_parts(c, inner)

    def set_branch(self, c: Context, inner: str, value: Value) -> None:
        """Assign `$branch`, or `$branch(part)` of the first."""
        if inner:
            self.put_branch(c, inner, 0, value)
        else:
            append_branch(c, value)

    def put_branch(self, c: Context, inner: str, index: Value, value: Value) -> None:
        """Assign `$(branch(part)[index])`."""
        if inner == "socket":
            appended_branch(c, index).send_socket = self._socket_named(value)
        else:
            put_part(c, inner, index, value)

    def _socket_of(self, c: Context, branch: Branch | None) -> Value:
        index = c.send_socket if branch is None else branch.send_socket
        return None if index is None else str(self.sockets[index])

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

    @function("is_myself", Param("host", Kind.STRING), Param("port", Kind.INTEGER, optional=True))
    def is_myself(self, c: Context, host: str, port: int | None) -> int:
        """Whether this runtime listens on that host, and on that port where one is given; or says so to its peers.

        Its aliases count too.
        """
        return 1 if self.own.is_own(host, port or ANY_PORT) else -1

    def _local(self) -> datetime.datetime:
        return datetime.datetime.fromtimestamp(self.world.wall_clock())


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


def _part_of_time(now: datetime.datetime, name: str) -> Value:
    parts = {"sec": now.second, "min": now.minute, "hour": now.hour, "mday": now.day, "mon": now.month}
    days = {"year": now.year, "wday": now.isoweekday() % 7 + 1, "yday": now.timetuple().tm_yday}
    return (parts | days).get(name)


def _level(value: Value) -> int | None:
    if value is None or (isinstance(value, int) and -3 <= value <= 4):
        return value
    raise Unwritable("a log level is a number from -3 to 4")
