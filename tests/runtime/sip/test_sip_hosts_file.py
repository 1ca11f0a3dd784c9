"""The hosts file."""

from __future__ import annotations

import pytest

from runtime.sip.dns_records import Query, Record, RecordType
from runtime.sip.hosts_file import Hosts

TEXT = """
# a comment
127.0.0.1\tlocalhost
::1  localhost ip6-localhost   # another
192.0.2.1 Proxy.Example proxy
192.0.2.2 proxy.example.
192.0.2.1 proxy.example
nonsense here
192.0.2.9
\xff\xfe
"""


@pytest.mark.parametrize(
    ("name", "type_", "records"),
    [
        ("localhost", "A", ("127.0.0.1",)),
        ("localhost", "AAAA", ("::1",)),
        ("ip6-localhost", "A", ()),
        ("PROXY.example.", "A", ("192.0.2.1", "192.0.2.2")),
        ("proxy", "A", ("192.0.2.1",)),
        ("proxy", "AAAA", ()),
        ("proxy.example", "NAPTR", ()),
        ("_sip._udp.proxy.example", "SRV", ()),
        ("_sip._udp.other.example", "SRV", None),
        ("here", "A", None),
        ("other.example", "A", None),
    ],
)
def test_what_it_says(name: str, type_: RecordType, records: tuple[Record, ...] | None) -> None:
    assert Hosts(TEXT).answer(Query(name, type_)) == records


def test_an_empty_one_says_nothing() -> None:
    assert Hosts().answer(Query("localhost", "A")) is None
