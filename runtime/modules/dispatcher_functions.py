"""The functions of module dispatcher."""

from __future__ import annotations

import dataclasses
import fnmatch
import functools
import logging
import secrets
from collections.abc import Callable, Sequence
from typing import Any, Final

from runtime.context import Context, RouteType, Value
from runtime.dispatching.aside import drop, put_aside, tried_now
from runtime.dispatching.choosing import Chooser
from runtime.dispatching.destinations import Destination, State, Word
from runtime.dispatching.partition import MAX_SCRIPT_ATTRS, Partition
from runtime.dispatching.partitions import DEFAULT
from runtime.modules.complaints import Complaints
from runtime.modules.dispatcher_mi import ANY_SET, STATES, DispatcherCommands, at_address
from runtime.script.changes import integer_of
from runtime.script.declare import Kind, Param, Ref, function
from runtime.script.header_access import get_auth_user
from runtime.sip.uri import parse_uri
from runtime.store import StoreError

log = logging.getLogger("layby.dispatcher")

_SET: Final = Param("set", Kind.INTEGER)
_PARTITION: Final = Param("partition", Kind.STRING, optional=True)
_SELECT: Final = (
    _SET,
    Param("alg", Kind.INTEGER),
    Param("flags", Kind.STRING, optional=True),
    _PARTITION,
    Param("max_res", Kind.INTEGER, optional=True),
)
_BUILDING: Final = RouteType.BUILDING
_KNOWING: Final = (
    RouteType.REQUEST | RouteType.FAILURE | RouteType.BRANCH | RouteType.LOCAL | RouteType.TIMER | RouteType.EVENT
)
_BY_TURN: Final = (4, 5)
_BY_LOT: Final = 6
_BY_LOAD: Final = (9, 10)
_MOST: Final = 1000
"""Destinations that are put aside for failover where the script does not say how many."""
_FLAGS: Final = frozenset("fuda")

Use = Callable[[Context, str], bool]


class DispatcherFunctions(DispatcherCommands):
    """The functions, for the module to inherit."""

    hash_text: Callable[[Context], Value] | None = None
    evaluate: Callable[[Context, Value], Value]
    setid_ref: Ref | None = None

    def __init__(self, settings: dict[str, Any] | None = None) -> None:
        super().__init__(settings)
        self.complain = Complaints(log).make

    # Choosing.

    @function("ds_select_dst", *_SELECT, routes=_BUILDING)
    def ds_select_dst(
        self, c: Context, set_id: int, alg: int, flags: str | None, partition: str | None, max_res: int | None
    ) -> int:
        """Send the request to a destination of a set: its address becomes `$du`. -1: there is none that is active.

        Algorithms: 0 by hash of the Call-ID, 1 of From's URI, 2 of To's, 3 of the Request-URI, 4 each in turn, 5 by
        hash of the user name of the credentials, 6 by lot, 7 by hash of hash_pvar, 8 the first, 9 by
        pvar_algo_pattern, 10 by algo_route. Weights are shares of what 0 to 7 choose.

        Flags: f puts the other destinations aside for `ds_next_dst()`, up to `max_res`; u takes only the user part for
        a hash; d keeps the last one of the set for when all others have failed; a puts all behind what is aside
        already, and leaves `$du` as it is where anything is.
        """
        return self._select(c, _use_as_hop, set_id, alg, flags or "", partition, max_res)

    @function("ds_select_domain", *_SELECT, routes=_BUILDING)
    def ds_select_domain(
        self, c: Context, set_id: int, alg: int, flags: str | None, partition: str | None, max_res: int | None
    ) -> int:
        """As `ds_select_dst()`, but the destination's host and port become those of `$ru`."""
        return self._select(c, _use_as_domain, set_id, alg, flags or "", partition, max_res)

    def _select(
        self, c: Context, use: Use, set_id: int, alg: int, written: str, name: str | None, max_res: int | None
    ) -> int:
        partition, flags = self._partition(name), self._flags(written)
        found = None if partition is None else partition.chooser(set_id, keep_last="d" in flags)
        if partition is None or found is None or not found[0].active:
            return -1
        chooser, members = found
        most = max(1, _MOST if max_res is None else max_res) if "f" in flags else 1
        if alg in _BY_LOAD:
            loads = self._loads(c, alg, partition, [members[place] for place in chooser.active])
            if loads is None:
                return 0  # the script's own route has ended everything
            order = chooser.by_load(loads, most)
        else:
            order = chooser.from_there(self._first(c, alg, flags, partition, chooser, members), most)
        if not order:
            return -1
        return self._put_aside(c, partition, [members[place] for place in order], use, behind="a" in flags)

    def _first(
        self,
        c: Context,
        alg: int,
        flags: frozenset[str],
        partition: Partition,
        chooser: Chooser,
        members: Sequence[Destination],
    ) -> int:
        """The place of the destination that the algorithm chooses."""
        text = self._hashed(c, alg, user_only="u" in flags)
        if text is not None:
            return chooser.by_hash(text.encode("latin-1", "replace"))
        if alg in _BY_TURN:
            return chooser.by_turn(partition.turn(members))
        if alg == _BY_LOT:
            return chooser.by_chance(secrets.randbelow(1 << 30) / (1 << 30))
        return chooser.active[0]

    def _hashed(self, c: Context, alg: int, *, user_only: bool) -> str | None:
        """The text whose hash decides; None where none does."""
        request = c.message
        match alg:
            case 0:
                return request.call_id
            case 1:
                return _uri_text(request.from_.uri, user_only)
            case 2:
                return _uri_text(request.to.uri, user_only)
            case 3:
                return _uri_text(c.ruri, user_only)
            case 5:
                user = get_auth_user(c)
                return None if user is None else str(user)
            case 7 if self.hash_text is not None:
                return str(self.hash_text(c))
        return None

    def _loads(
        self, c: Context, alg: int, partition: Partition, active: Sequence[Destination]
    ) -> list[int | None] | None:
        if alg == _BY_LOAD[1]:
            return self._by_route(c, partition, active)
        pattern: str = self.settings["pvar_algo_pattern"]
        if not pattern:
            return [0] * len(active)
        texts = [pattern.replace("%u", one.uri).replace("%i", str(one.set_id)) for one in active]
        return [integer_of(self.evaluate(c, text)) or 0 for text in texts]

    def _by_route(self, c: Context, partition: Partition, active: Sequence[Destination]) -> list[int | None] | None:
        """What the script's own route says of each: the lower, the sooner; below 0 for one that is not to be used."""
        script = c.script or self.house.program.script
        route = script.routes.named.get(self.settings["algo_route"])
        if route is None:
            return [0] * len(active)
        before = c.params, c.named_params, c.route_name
        loads: list[int | None] = []
        try:
            for one in active:
                told = one.uri, one.attrs, partition.attrs_of(one)
                c.params = told
                c.named_params = dict(zip(("dst_uri", "attrs", "script_attrs"), told, strict=True))
                if route(c) is not None:
                    return None
                loads.append(c.rc if c.rc >= 0 else None)
        finally:
            c.params, c.named_params, c.route_name = before
        return loads

    def _put_aside(
        self, c: Context, partition: Partition, chosen: Sequence[Destination], use: Use, *, behind: bool
    ) -> int:
        has_attrs = bool(partition.settings.script_attrs_avp)
        script_attrs = [partition.attrs_of(one) for one in chosen] if has_attrs else []
        if not put_aside(c.avps, partition.settings, chosen, script_attrs, behind=behind):
            return 1
        partition.hit(chosen[0])
        return self._use(c, chosen[0], use)

    def _use(self, c: Context, one: Destination, use: Use) -> int:
        if not use(c, one.uri):
            return -3
        if one.send_socket is not None:
            c.send_socket = one.send_socket
        return 1

    # Failover.

    @function("ds_next_dst", _PARTITION, routes=RouteType.RELAYING)
    def ds_next_dst(self, c: Context, partition: str | None) -> int:
        """Send the request to the next destination that was put aside and is still active. -1: there is none."""
        return self._next(c, partition, _use_as_hop)

    @function("ds_next_domain", _PARTITION, routes=RouteType.RELAYING)
    def ds_next_domain(self, c: Context, partition: str | None) -> int:
        """As `ds_next_dst()`, but the destination's host and port become those of `$ru`."""
        return self._next(c, partition, _use_as_domain)

    def _next(self, c: Context, name: str | None, use: Use) -> int:
        partition = self._partition(name)
        if partition is None:
            return -1
        while drop(c.avps, partition.settings):
            one = self._current(c, partition)
            if one is not None and partition.states([one])[0] == State.ACTIVE:
                return self._use(c, one, use)
        return -1

    def _current(self, c: Context, partition: Partition) -> Destination | None:
        """The destination that is tried now, where the partition still has it."""
        tried = tried_now(c.avps, partition.settings)
        found = [] if tried is None else partition.generation().find(tried.set_id, tried.uri)
        return next((one for one in found if tried is not None and one.socket == tried.socket), None)

    @function("ds_mark_dst", Param("state", Kind.STRING, optional=True), _PARTITION, routes=RouteType.RELAYING)
    def ds_mark_dst(self, c: Context, state: str | None, partition: str | None) -> int:
        """Say of the destination that was tried last what state it has: i inactive, p probing, a active.

        Without a state it is inactive. Of p it takes ds_probing_threshhold in a row.
        """
        wanted = State.INACTIVE if state is None else STATES.get(state)
        if wanted is None:
            self.complain(f"ds_mark_dst(): there is no state {state!r}")
        found = self._partition(partition)
        one = None if found is None else self._current(c, found)
        if found is None or one is None or wanted is None:
            return -1
        if wanted is State.PROBING:
            found.heard([one], Word.FAILED, "script")
        else:
            found.set_state([one], wanted, "script")
        return 1

    # Asking.

    @function(
        "ds_count",
        _SET,
        Param("state_filter", Kind.STRING),
        Param("res_var", Kind.OUTPUT),
        _PARTITION,
        routes=_KNOWING,
    )
    def ds_count(self, c: Context, set_id: int, state_filter: str, res_var: Ref, partition: str | None) -> int:
        """Count the destinations of a set that have one of some states, e.g. "ap". -1: there is no such set."""
        found = self._partition(partition)
        members = None if found is None else found.generation().sets.get(set_id)
        if found is None or members is None:
            return -1
        wanted = {STATES[letter] for letter in state_filter if letter in STATES}
        res_var.set(c, sum([state in wanted for state in found.states(members)]))
        return 1

    @function(
        "ds_is_in_list",
        Param("ip", Kind.STRING),
        Param("port", Kind.INTEGER),
        Param("set", Kind.INTEGER, optional=True),
        _PARTITION,
        Param("active_only", Kind.INTEGER, optional=True),
        Param("pattern", Kind.STRING, optional=True),
        routes=RouteType.PASSING,
    )
    def ds_is_in_list(
        self,
        c: Context,
        ip: str,
        port: int,
        set_id: int | None,
        partition: str | None,
        active_only: int | None,
        pattern: str | None,
    ) -> int:
        """Whether an IP address and a port, 0 for any, are those of a destination, of a set or of any.

        `pattern`, with * and ?, is what its attributes must be like. Destinations that are given by name are not found.
        """
        found = self._partition(partition)
        if found is None:
            return -1
        set_id = ANY_SET if set_id is None else set_id
        for one in at_address(found, ip, port, set_id):
            if active_only and found.states([one])[0] != State.ACTIVE:
                continue
            if pattern is None or fnmatch.fnmatchcase(one.attrs, pattern):
                self._tell_found(c, found, one, any_set=set_id == ANY_SET)
                return 1
        return -1

    def _tell_found(self, c: Context, partition: Partition, one: Destination, *, any_set: bool) -> None:
        settings = partition.settings
        if any_set and self.setid_ref is not None:
            self.setid_ref.set(c, one.set_id)
        if settings.attrs_avp:
            c.avps.setdefault(settings.attrs_avp, []).append(one.attrs)
        if settings.script_attrs_avp:
            c.avps.setdefault(settings.script_attrs_avp, []).append(partition.attrs_of(one))

    @function(
        "ds_push_script_attrs",
        Param("script_attr", Kind.STRING),
        Param("ip", Kind.STRING),
        Param("port", Kind.INTEGER),
        _SET,
        _PARTITION,
        routes=_KNOWING,
    )
    def ds_push_script_attrs(
        self, c: Context, script_attr: str, ip: str, port: int, set_id: int, partition: str | None
    ) -> int:
        """Set attributes of the destinations of a set with an IP address and a port. -1: there is none."""
        found = self._partition(partition)
        destinations = [] if found is None else at_address(found, ip, port, set_id)
        if found is None or not destinations or len(script_attr) > MAX_SCRIPT_ATTRS:
            return -1
        try:
            found.push_attrs(destinations, script_attr)
        except StoreError as error:
            log.error("ds_push_script_attrs(): %s", error)
            return -1
        return 1

    @function(
        "ds_get_script_attrs",
        Param("uri", Kind.STRING),
        _SET,
        _PARTITION,
        Param("out_attrs", Kind.OUTPUT),
        routes=_KNOWING,
    )
    def ds_get_script_attrs(self, c: Context, uri: str, set_id: int, partition: str | None, out_attrs: Ref) -> int:
        """Read the attributes that scripts have set of a destination of a set. -1: there is no such destination."""
        found = self._partition(partition)
        destinations = [] if found is None else found.generation().find(set_id, uri)
        if found is None or not destinations:
            return -1
        out_attrs.set(c, found.attrs_of(destinations[0]))
        return 1

    # Details.

    def _partition(self, name: str | None) -> Partition | None:
        found = self.partitions.get(name or DEFAULT)
        if found is None:
            self.complain(f"there is no partition {name or DEFAULT!r}")
        return found

    def _flags(self, written: str) -> frozenset[str]:
        flags = _letters(written)
        if not flags <= _FLAGS:
            self.complain(f"flags {written!r}: there is no {', '.join(sorted(flags - _FLAGS))}")
        return flags


@functools.lru_cache(maxsize=256)
def _letters(written: str) -> frozenset[str]:
    return frozenset(written.lower()) - {" "}


def _uri_text(text: str, user_only: bool) -> str:
    """What of a URI decides: who and where, whatever its parameters."""
    uri = parse_uri(text)
    if uri is None:
        return text
    return uri.user if user_only else f"{uri.user}@{uri.host.lower()}:{uri.port or ''}"


def _use_as_hop(c: Context, uri: str) -> bool:
    c.dst_uri = uri
    return True


def _use_as_domain(c: Context, uri: str) -> bool:
    """Give the Request-URI the destination's host and port, and the parameters that say how to get there."""
    own, other = parse_uri(c.ruri), parse_uri(uri)
    if own is None or other is None or not own.host:
        return False
    c.ruri = str(dataclasses.replace(own, host=other.host, port=other.port, params={**own.params, **other.params}))
    return True
