"""How DNS is asked: OpenSIPS's global parameters for it, and the defaults."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from runtime.errors import SettingsError

_WITH_PORT: Final = re.compile(r"(?P<host>\[[0-9a-fA-F:.]+\]|[0-9.]+):(?P<port>[0-9]{1,5})")
_NO: Final = frozenset(("0", "no", "false", "off"))
_YES: Final = frozenset(("1", "yes", "true", "on"))


@dataclass(frozen=True, slots=True)
class DnsServer:
    """A DNS server's address: textual IP and port."""

    host: str
    port: int = 53


@dataclass(frozen=True, slots=True)
class DnsSettings:
    """How DNS is asked.

    Args:
        try_naptr: whether NAPTR records are asked for (`dns_try_naptr`).
        try_ipv6: whether AAAA records are asked for (`dns_try_ipv6`).
        use_search_list: whether a name from a URI may be completed from resolv.conf's list (`dns_use_search_list`).
        servers_no: how many of resolv.conf's servers are asked; 0 for all of them (`dns_servers_no`).
        retr_time_s: how long one server may take before the next is asked, in seconds (`dns_retr_time`); less where
            there are more servers than tries.
        retr_no: how often a question is asked again (`dns_retr_no`).
        servers: asked instead of those that resolv.conf names (`dns_servers`, which OpenSIPS does not have).
        blacklist: whether targets that failed of late are put last (not `disable_dns_blacklist`).
    """

    try_naptr: bool = True
    try_ipv6: bool = False
    use_search_list: bool = True
    servers_no: int = 0
    retr_time_s: float = 1.0
    retr_no: int = 4
    servers: tuple[DnsServer, ...] = ()
    blacklist: bool = True

    @property
    def deadline_s(self) -> float:
        """How long it may take to locate a next hop, however many questions that needs; 5 s by default."""
        return self.retr_time_s * (self.retr_no + 1)


def settle_dns(globals_: Mapping[str, int | str]) -> DnsSettings:
    """Read the script's global parameters.

    Raises:
        SettingsError: a value is out of its range.
    """
    default = DnsSettings()
    return DnsSettings(
        try_naptr=_truth(globals_, "dns_try_naptr", default.try_naptr),
        try_ipv6=_truth(globals_, "dns_try_ipv6", default.try_ipv6),
        use_search_list=_truth(globals_, "dns_use_search_list", default.use_search_list),
        servers_no=_number(globals_, "dns_servers_no", default.servers_no, 0, 16),
        retr_time_s=_number(globals_, "dns_retr_time", int(default.retr_time_s), 1, 30),
        retr_no=_number(globals_, "dns_retr_no", default.retr_no, 0, 10),
        servers=tuple(map(_server, str(globals_.get("dns_servers", "")).replace(",", " ").split())),
        blacklist=not _truth(globals_, "disable_dns_blacklist", not default.blacklist),
    )


def _truth(globals_: Mapping[str, int | str], name: str, default: bool) -> bool:
    text = str(globals_.get(name, "yes" if default else "no")).lower()
    if text not in _YES | _NO:
        raise SettingsError(f"{name} is {text!r}; it must be yes or no", name)
    return text in _YES


def _number(globals_: Mapping[str, int | str], name: str, default: int, low: int, high: int) -> int:
    value = globals_.get(name, default)
    if isinstance(value, str) and value.isdecimal():
        value = int(value)
    if not isinstance(value, int) or not low <= value <= high:
        raise SettingsError(f"{name} is {value!r}; it must be a number from {low} to {high}", name)
    return value


def _server(text: str) -> DnsServer:
    """Read ``IP``, ``IPv4:PORT`` or ``[IPv6]:PORT``."""
    match = _WITH_PORT.fullmatch(text)
    host, port = (match["host"].strip("[]"), int(match["port"])) if match else (text, 53)
    try:
        server = DnsServer(str(ipaddress.ip_address(host)), port)
    except ValueError:
        raise SettingsError(f"dns_servers: {text!r} is no IP or IP:PORT", "dns_servers") from None
    if not 0 < port < 65536:
        raise SettingsError(f"dns_servers: {text!r} has no port from 1 to 65535", "dns_servers")
    return server
