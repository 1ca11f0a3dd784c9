"""The functions and variables that every script has without a `loadmodule`: the module ``core``."""

from __future__ import annotations

from collections.abc import Callable

from runtime.context import Context
from runtime.script.access import (
    Unwritable,
    set_dst_uri,
    set_ruri,
    set_ruri_host,
    set_ruri_port,
    set_ruri_user,
)
from runtime.script.core_branches import BranchFunctions
from runtime.script.core_headers import HeaderFunctions
from runtime.script.declare import Kind, Param, Ref, function
from runtime.script.patterns import MAX_TEXT_CHARS
from runtime.script.uris import can_be_sent, split_uri
from runtime.script.world import World, WorldVariables
from runtime.sip.fields import split_host_port

__all__ = ["Core", "World"]

_FLAG = Param("flag", Kind.STRING)


class Core(HeaderFunctions, BranchFunctions, WorldVariables):
    """The functions of the language itself, with its variables that need the world: see `WorldVariables`."""

    name = "core"

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

    @function("setuserpass", Param("password", Kind.STRING))
    def setuserpass(self, c: Context, password: str) -> int:
        """Set the password of the Request-URI, which must have a user."""
        uri = split_uri(c.ruri)
        if uri is None or not uri.user or not uri.host or any(char in password for char in '@:;?<>" \r\n'):
            return -1
        return _tried(set_ruri, c, str(uri._replace(password=password)))

    @function("sethostport", Param("hostport", Kind.STRING))
    def sethostport(self, c: Context, hostport: str) -> int:
        """Set host and port of the Request-URI, ``host[:port]``; without a port it has none."""
        uri, place = split_uri(c.ruri), split_host_port(hostport)
        if uri is None or place is None:
            return -1
        return _tried(set_ruri, c, str(uri._replace(host=place[0], port=place[1]))) if uri.host else -1

    @function(
        "construct_uri",
        Param("protocol", Kind.STRING),
        Param("user", Kind.STRING, optional=True),
        Param("domain", Kind.STRING),
        Param("port", Kind.STRING, optional=True),
        Param("extra", Kind.STRING, optional=True),
        Param("result", Kind.OUTPUT),
    )
    def construct_uri(
        self, c: Context, scheme: str, user: str | None, host: str, port: str | None, extra: str | None, result: Ref
    ) -> int:
        """Put a URI together and assign it: ``scheme:user@domain:port;extra``. -1 when that is no URI."""
        userinfo = f"{user}@" if user else ""
        text = f"{scheme}:{userinfo}{host}{f':{port}' if port else ''}{f';{extra}' if extra else ''}"
        found = split_uri(text)
        if found is None or found.host != host or not can_be_sent(text):
            return -1
        return _tried(result.set, c, text)

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

    @function("force_rport")
    def force_rport(self, c: Context) -> int:
        """Reply to the source port, whether or not the request asked for it (RFC 3581)."""
        c.force_rport = True
        return 1

    @function("add_local_rport")
    def add_local_rport(self, c: Context) -> int:
        """Let the Via that is added to the request ask for replies to the port that it is sent from (RFC 3581)."""
        c.local_rport = True
        return 1

    # Variables and time

    @function("pv_printf", Param("variable", Kind.OUTPUT), Param("text", Kind.STRING))
    def pv_printf(self, c: Context, target: Ref, text: str) -> int:
        """Assign text with variables in it to a variable; -1 where it has become too long."""
        return _tried(target.set, c, text) if len(text) <= MAX_TEXT_CHARS else -1

    @function("get_timestamp", Param("seconds", Kind.OUTPUT), Param("microseconds", Kind.OUTPUT))
    def get_timestamp(self, c: Context, seconds: Ref, microseconds: Ref) -> int:
        """The time now, in seconds and microseconds since 1970, into two variables."""
        now = self.world.wall_clock()
        seconds.set(c, int(now))
        microseconds.set(c, int(now % 1 * 1_000_000))
        return 1


def _tried(change: Callable[[Context, str], None], c: Context, value: str) -> int:
    try:
        change(c, value)
    except Unwritable:
        return -1
    return 1
