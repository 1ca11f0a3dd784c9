"""The global parameters for DNS."""

from __future__ import annotations

import pytest

from runtime.dns_settings import DnsServer, DnsSettings, settle_dns
from runtime.settings import SettingsError


def test_the_defaults() -> None:
    assert settle_dns({}) == DnsSettings()
    assert DnsSettings().deadline_s == 5.0


def test_every_parameter() -> None:
    assert settle_dns(
        {
            "dns_try_naptr": "no",
            "dns_try_ipv6": 1,
            "dns_use_search_list": 0,
            "dns_servers_no": 2,
            "dns_retr_time": "3",
            "dns_retr_no": 1,
            "dns_servers": "192.0.2.53, 127.0.0.1:5353 [2001:db8::53]:54 2001:db8::54",
            "disable_dns_blacklist": "yes",
        }
    ) == DnsSettings(
        try_naptr=False,
        try_ipv6=True,
        use_search_list=False,
        servers_no=2,
        retr_time_s=3,
        retr_no=1,
        servers=(
            DnsServer("192.0.2.53", 53),
            DnsServer("127.0.0.1", 5353),
            DnsServer("2001:db8::53", 54),
            DnsServer("2001:db8::54", 53),
        ),
        blacklist=False,
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("dns_try_naptr", "perhaps"),
        ("dns_servers_no", -1),
        ("dns_retr_time", 0),
        ("dns_retr_time", "soon"),
        ("dns_retr_no", 99),
        ("dns_servers", "ns.example.com"),
        ("dns_servers", "192.0.2.1:0"),
        ("dns_servers", "[2001:db8::1"),
        ("dns_servers", "192.0.2.1:99999"),
    ],
)
def test_what_is_out_of_range_is_named(name: str, value: int | str) -> None:
    with pytest.raises(SettingsError, match=name) as caught:
        settle_dns({name: value})
    assert caught.value.word == name
