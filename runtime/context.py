"""The message context: what a route works on, and what is parked.

It is plain data. Nothing in it refers to the process that holds it, so parking is putting it aside and resuming
is picking it up again. Script strings are bytes spelled as latin-1 `str`, as they stand in the datagram and in
the script file; they become real text only at the MI boundary.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import TypeAlias

from runtime.sip.message import Reply, Request

Value: TypeAlias = str | int | None
"""A script value: a string, an integer, or NULL."""


class RouteType(enum.Flag):
    """In which kind of route a statement stands (OpenSIPS: route, failure_route, …)."""

    REQUEST = enum.auto()
    FAILURE = enum.auto()
    ONREPLY = enum.auto()
    BRANCH = enum.auto()
    LOCAL = enum.auto()
    STARTUP = enum.auto()
    TIMER = enum.auto()
    EVENT = enum.auto()
    ERROR = enum.auto()
    ANY = REQUEST | FAILURE | ONREPLY | BRANCH | LOCAL | STARTUP | TIMER | EVENT | ERROR


@dataclass(frozen=True, slots=True)
class Address:
    """A transport address as the kernel gives it: textual IP and port."""

    host: str
    port: int


@dataclass(slots=True)
class Branch:
    """One more target of the request, as `append_msg_branch` adds it."""

    uri: str
    dst_uri: str | None = None
    path: str = ""
    q: int = -1
    flags: set[str] = field(default_factory=set)


@dataclass(slots=True)
class Context:
    """One message on its way through the script.

    Args:
        message: the request or reply as received; never changed.
        route: the kind of route that runs now.
        source: where the message came from; None for messages that the runtime made itself.
        socket: the index of the listening socket it came in on.
        ruri: the Request-URI as the script has rewritten it (starts as received).
        dst_uri: `$du`, the next hop that overrides the Request-URI; None when unset.
        branches: what `append_msg_branch` added.
        avps: AVP name to its values, **oldest first** (`=` appends; `$(avp(x)[0])` is the newest, the last).
        variables: `$var`. One dict per process that all its messages share, as in OpenSIPS; parking takes a copy
            and resuming puts it back, so the values survive what ran in between.
        flags: names of the message flags that are set.
        branch_flags: names of the branch flags of the main branch.
        rc: `$rc`, what the last function or route returned.
        returned: `$return(n)`, the values of the last `return(n, v1, …)`.
        params: `$param(n)`, the parameters of the route that runs now (index 0 is `$param(1)`).
        named_params: `$param(name)` of an event route.
        route_name: `$route.name`; empty for an unnamed route.
        reply_headers: header lines (with CRLF) that `append_to_reply` collected.
        edits: what changes in the headers when the message is relayed, in order: ``("append", line)``,
            ``("remove", name)``.
        force_rport: whether the reply goes to the source port though the request did not ask for it (RFC 3581).
        transaction: the key of the server transaction that holds this message, once there is one.
        story: the last job's story, for `$mi(code)`, `$mi(message)`, `$mi(data)`, `$mi(worker)`, `$mi(elapsed)`.
    """

    message: Request | Reply
    route: RouteType = RouteType.REQUEST
    source: Address | None = None
    socket: int = 0
    ruri: str = ""
    dst_uri: str | None = None
    branches: list[Branch] = field(default_factory=list)
    avps: dict[str, list[Value]] = field(default_factory=dict)
    variables: dict[str, Value] = field(default_factory=dict)
    flags: set[str] = field(default_factory=set)
    branch_flags: set[str] = field(default_factory=set)
    rc: int = 1
    returned: tuple[Value, ...] = ()
    params: tuple[Value, ...] = ()
    named_params: dict[str, Value] = field(default_factory=dict)
    route_name: str = ""
    reply_headers: list[str] = field(default_factory=list)
    edits: list[tuple[str, str]] = field(default_factory=list)
    force_rport: bool = False
    transaction: str | None = None
    story: dict[str, Value] = field(default_factory=dict)
