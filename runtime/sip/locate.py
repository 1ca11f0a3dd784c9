"""Where a request goes: from the URI of its next hop to addresses, in the order to try them (RFC 3263).

A URI with a numeric host is its own answer. For any other, a `Locator` says what to ask of DNS next, takes the
answers, and ends with targets or with why there are none:

    a port is given                      host's addresses
    a transport is given                 SRV of that transport, then addresses
    neither, several transports served   NAPTR, SRV of those that it names (or of all), then addresses
    no SRV record                        host's addresses, with the transport's own port

It has at most three steps, and each asks all it asks at once. An alias (CNAME) is followed by who answers, never here,
so that no chain of answers keeps a machine going.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import Final, NamedTuple, TypeAlias, TypeVar

from runtime.sip.dns_records import (
    Naptr,
    Query,
    Record,
    RecordType,
    Srv,
    Unanswered,
    in_srv_order,
    is_name,
)
from runtime.sip.uri import parse_uri

MAX_TARGETS: Final = 16
"""How many targets one URI can have: each may be tried for 32 s."""
_MAX_SERVICES: Final = 4
_MAX_CACHED_CHARS: Final = 512


class Target(NamedTuple):
    """Where to send: a transport protocol, an address as text (IPv6 without brackets), and a port."""

    protocol: str
    host: str
    port: int


@dataclass(frozen=True, slots=True)
class NotFound:
    """There is no target.

    Args:
        reason: why, for the log; printable ASCII, never the sender's text.
        temporary: whether it is worth another try: DNS did not answer.
    """

    reason: str
    temporary: bool = False


Targets: TypeAlias = tuple[Target, ...]
"""Targets in the order to try them, never empty, all different."""


class _Service(NamedTuple):
    """How a protocol is spelled in DNS, and its default port (RFC 3263 4.1, RFC 3261 19.1.2)."""

    naptr: str
    prefix: str
    port: int
    secure: bool


_SERVICES: Final = {
    "udp": _Service("SIP+D2U", "_sip._udp.", 5060, False),
    "tcp": _Service("SIP+D2T", "_sip._tcp.", 5060, False),
    "sctp": _Service("SIP+D2S", "_sip._sctp.", 5060, False),
    "tls": _Service("SIPS+D2T", "_sips._tcp.", 5061, True),
}
_BY_NAPTR: Final = {service.naptr: protocol for protocol, service in _SERVICES.items()}


class Place(NamedTuple):
    """What a URI says about where it leads.

    Args:
        host: `maddr` where there is one, else the host; an address without brackets, or a name.
        port: None when it is left to DNS.
        protocols: the transports that are served here and that the URI allows, most wanted first, never empty.
        secure: whether the scheme is sips.
        targets: the answer, where `host` is an address; empty where it is a name.
    """

    host: str
    port: int | None
    protocols: tuple[str, ...]
    secure: bool
    targets: Targets = ()

    @property
    def default(self) -> str:
        """The transport where nothing else settles it (RFC 3263 4.1): UDP, or TLS for sips."""
        return "udp" if "udp" in self.protocols else self.protocols[0]


def place_of(uri: str, supported: tuple[str, ...]) -> Place | NotFound:
    """Read where a URI leads. Only its scheme and what stands behind its last ``@`` matter.

    Args:
        uri: a next hop, e.g. ``sip:alice@example.com;transport=tcp``; any text.
        supported: the transports that are served here, most wanted first, in lower case.

    Returns:
        `NotFound` for what is no sip or sips URI, and for what is not served here; never raises.
    """
    at = uri.rfind("@")
    # One entry for all users of a place: a proxy sees few places and many users.
    key = uri if at < 0 else uri[: uri.find(":") + 1] + uri[at + 1 :]
    return _place_of(key, supported) if len(key) <= _MAX_CACHED_CHARS else _place_of.__wrapped__(key, supported)


def at_once(uri: str, supported: tuple[str, ...]) -> Targets | NotFound | None:
    """The answer that needs no DNS: to a numeric host, and to what leads nowhere; else None."""
    place = place_of(uri, supported)
    return place if isinstance(place, NotFound) else place.targets or None


@lru_cache(maxsize=4096)
def _place_of(text: str, supported: tuple[str, ...]) -> Place | NotFound:
    uri = parse_uri(text)
    if uri is None or uri.scheme == "tel":
        return NotFound("not a SIP URI")
    secure = uri.scheme == "sips"
    protocols = _protocols(secure, uri.params.get("transport"), supported)
    if isinstance(protocols, NotFound):
        return protocols
    if uri.port == 0:
        return NotFound("port 0")
    host = uri.params.get("maddr") or uri.host
    address = _address(host)
    if address is None and not is_name(host):
        return NotFound("the host is neither an address nor a name")
    place = Place(address or host.lower(), uri.port, protocols, secure)
    return place if address is None else place._replace(targets=(_default_target(place),))


def _default_target(place: Place) -> Target:
    return Target(place.default, place.host, place.port or _SERVICES[place.default].port)


def _protocols(secure: bool, transport: str | None, supported: tuple[str, ...]) -> tuple[str, ...] | NotFound:
    served = tuple(each for each in supported if each in _SERVICES and (_SERVICES[each].secure or not secure))
    if transport is None:
        return served or NotFound("TLS is not served" if secure else "no transport is served")
    asked = transport.lower()
    if secure and asked == "tcp":
        asked = "tls"  # RFC 3261 26.2.2: sips over TCP is TLS
    if asked in served:
        return (asked,)
    return NotFound(f"transport {asked} is not served" if asked in _SERVICES else "unknown transport")


def _address(host: str) -> str | None:
    """The address that this host is, in its usual spelling; None for a name."""
    bare = host[1:-1] if host[:1] == "[" else host
    if "%" in bare or not ("0" <= bare[-1:] <= "9" or ":" in bare):
        return None
    try:
        return str(ipaddress.ip_address(bare))
    except ValueError:
        return None


_Kind = TypeVar("_Kind", Srv, Naptr, str)


class _Hop(NamedTuple):
    protocol: str
    host: str
    port: int


class Locator:
    """One way from a place to its targets. Ask `next_queries`, give `answer`s, until there is a `result`.

    Args:
        place: as `place_of` gives it.
        random: a number from 0 up to but without 1, anew at each call: for the weights of SRV records.
        naptr: whether NAPTR is asked for (OpenSIPS: dns_try_naptr).
        ipv6: whether AAAA is asked for too (OpenSIPS: dns_try_ipv6). A host's IPv4 addresses come first.
    """

    __slots__ = (
        "_answers",
        "_hops",
        "_ipv6",
        "_new",
        "_offers",
        "_open",
        "_place",
        "_random",
        "_result",
        "_services",
        "_unanswered",
    )

    def __init__(self, place: Place, random: Callable[[], float], *, naptr: bool = True, ipv6: bool = False) -> None:
        self._place = place
        self._random = random
        self._ipv6 = ipv6
        self._open: set[Query] = set()
        """What this step has asked and nobody has answered."""
        self._new: list[Query] = []
        """Those of `_open` that `next_queries` has not given out."""
        self._answers: dict[Query, Sequence[Record]] = {}
        """What this step and those before it were answered; nothing for what was not answered."""
        self._services: list[tuple[str, str]] = []
        """Protocol and SRV name of each service that may be asked for, most wanted first."""
        self._offers: list[tuple[str, list[Srv]]] = []
        """The SRV records of each service that has some and has not been tried, most wanted first."""
        self._hops: list[_Hop] = []
        """Whose addresses are asked for, in the order to try them."""
        self._unanswered: Unanswered | None = None
        """Why a query was left without answer, if one was; silence if it was both."""
        self._result: Targets | NotFound | None = None
        if place.targets:
            self._result = place.targets
        elif place.port is not None:
            self._ask_addresses([_Hop(place.default, place.host, place.port)])
        elif naptr and len(place.protocols) > 1:
            self._ask([Query(place.host, "NAPTR")])
        else:
            self._ask_services(self._all_services())

    def next_queries(self) -> list[Query]:
        """What to ask now that was not given out before; empty while answers are missing, and at the end."""
        new, self._new = self._new, []
        return new

    def answer(self, query: Query, records: Sequence[Record] | Unanswered) -> None:
        """DNS has answered. An answer that nobody waits for, a second one too, changes nothing.

        Args:
            query: one from `next_queries`.
            records: of the type that was asked for, aliases resolved; empty when there are none. Those of another
                kind are passed over.
        """
        if query not in self._open:
            return
        self._open.discard(query)
        if isinstance(records, Unanswered):
            if self._unanswered is not Unanswered.SILENCE:
                self._unanswered = records
        else:
            self._answers[query] = records
        if not self._open:
            self._read(query.type)

    def result(self) -> Targets | NotFound | None:
        """The targets, or why there are none; None while answers are missing."""
        return self._result

    # Steps.

    def _ask(self, queries: Iterable[Query]) -> None:
        self._new = [query for query in dict.fromkeys(queries) if is_name(query.name)]
        self._open = set(self._new)

    def _read(self, type_: RecordType) -> None:
        """A step is answered; all queries of a step are of one kind."""
        if type_ == "NAPTR":
            self._read_naptr()
        elif type_ == "SRV":
            self._read_srv()
        else:
            self._read_addresses()

    def _read_naptr(self) -> None:
        """RFC 3263 4.1: the first record whose service is served here. Of several the later ones are for need."""
        if self._unanswered is Unanswered.SILENCE:
            self._fail("")  # what is asked next would be waited for as long again
            return
        services: dict[str, str] = {}
        for record in sorted(_of(Naptr, self._answers.get(Query(self._place.host, "NAPTR"), ()))):
            protocol = _BY_NAPTR.get(record.service.upper())
            if protocol not in self._place.protocols or record.flags.lower() != "s" or record.regexp:
                continue
            if is_name(record.replacement):
                services.setdefault(protocol, _absolute(record.replacement))
        self._ask_services(list(services.items()) or self._all_services())

    def _all_services(self) -> list[tuple[str, str]]:
        """Without NAPTR, each transport of the scheme's own kind is asked for."""
        fitting = [each for each in self._place.protocols if _SERVICES[each].secure == self._place.secure]
        # `sip:…;transport=tls` is of the other kind, and asks for nothing else.
        return [(each, _SERVICES[each].prefix + self._place.host) for each in fitting or self._place.protocols]

    def _ask_services(self, services: list[tuple[str, str]]) -> None:
        self._services = services[:_MAX_SERVICES]
        self._ask(Query(name, "SRV") for _, name in self._services)
        if not self._open:  # a name so long that its SRV name would be too long
            self._read_srv()

    def _read_srv(self) -> None:
        answered = [(protocol, self._answers.get(Query(name, "SRV"), ())) for protocol, name in self._services]
        self._offers = [(protocol, found) for protocol, records in answered if (found := _of(Srv, records))]
        if self._offers:
            self._take_offer("the service is not offered")
        elif self._unanswered is Unanswered.SILENCE:
            self._fail("")
        else:
            protocol = self._services[0][0]
            self._ask_addresses([_Hop(protocol, self._place.host, _SERVICES[protocol].port)])

    def _take_offer(self, reason: str) -> None:
        """Ask for the addresses of the next service that has hosts; where there is none, fail for this reason."""
        while self._offers:
            protocol, records = self._offers.pop(0)
            usable = (each for each in records if 0 < each.port < 65536 and is_name(each.target))
            ordered = in_srv_order(usable, self._random, MAX_TARGETS)
            if ordered:
                self._ask_addresses([_Hop(protocol, _absolute(each.target), each.port) for each in ordered])
                return
        self._fail(reason)

    def _ask_addresses(self, hops: list[_Hop]) -> None:
        self._hops = hops
        types: tuple[RecordType, ...] = ("A", "AAAA") if self._ipv6 else ("A",)
        self._ask(Query(hop.host, type_) for hop in hops for type_ in types)

    def _read_addresses(self) -> None:
        targets = tuple(islice(dict.fromkeys(self._found_targets()), MAX_TARGETS))
        if targets:
            self._result = targets
        else:
            self._take_offer("no address")

    def _found_targets(self) -> Iterator[Target]:
        for protocol, host, port in self._hops:
            for query in (Query(host, "A"), Query(host, "AAAA")):
                for address in _of(str, self._answers.get(query, ())):
                    if _is_unicast(address):
                        yield Target(protocol, address, port)

    def _fail(self, reason: str) -> None:
        why = self._unanswered
        self._result = NotFound(reason) if why is None else NotFound(why.value, temporary=True)


def _of(kind: type[_Kind], records: Sequence[Record]) -> list[_Kind]:
    return [record for record in records if isinstance(record, kind)]


def _absolute(name: str) -> str:
    """The name with a dot at its end: a name from a record is whole, and no search list applies to it."""
    return name.lower().removesuffix(".") + "."


@lru_cache(maxsize=4096)
def _is_unicast(address: str) -> bool:
    """Whether a request can be sent there. What a record says may be anything, even an address of all hosts."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    return not (parsed.is_unspecified or parsed.is_multicast or address == "255.255.255.255" or "%" in address)
