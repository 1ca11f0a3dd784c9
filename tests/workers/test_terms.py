"""The terms of a pool survive their way, and what cannot be is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from workers.jobs import Peer
from workers.policy import Limits
from workers.terms import (
    MAX_WELCOME_BYTES,
    PoolSettings,
    Refused,
    Welcome,
    decode_greeting,
    encode_greeting,
    pack_settings,
    unpack_settings,
)

SETTINGS = PoolSettings(
    folder=Path("/tmp/pool"),
    workers=2,
    max_workers=5,
    handlers=("a.b", "c"),
    limits=Limits(max_queued=7),
    initializer="m:f",
    initargs=(1, "two", b"three", None, 4.5),
    sys_path=("", "/lib", "/odd\udcff"),
)


def test_settings_survive_the_way_to_the_attendant():
    assert unpack_settings(pack_settings(SETTINGS)) == SETTINGS
    assert (SETTINGS.most_workers, SETTINGS.slots) == (5, 21)
    assert PoolSettings(folder=Path("/x")).most_workers == 1


def test_a_guest_is_told_all_but_the_arguments_of_the_initialiser():
    welcome = Welcome(Peer("guest-1", 3), 9, SETTINGS)
    assert decode_greeting(encode_greeting(welcome)) == Welcome(Peer("guest-1", 3), 9, replace(SETTINGS, initargs=()))
    assert decode_greeting(encode_greeting(Refused("full"))) == Refused("full")
    with pytest.raises(ValueError, match=f"{MAX_WELCOME_BYTES} are the most"):
        encode_greeting(Welcome(Peer("guest-1", 1), 0, replace(SETTINGS, sys_path=("x" * 70_000,))))


@given(st.binary(max_size=60))
def test_what_is_no_greeting_is_none(frame):
    assert decode_greeting(frame) is None or frame


@pytest.mark.parametrize("frame", [b"", b"\xc1", b"\x91\xa7welcome", b"\x95\xa7welcome\xa1g\x01\x02\xc4\x01\xc0"])
def test_malformed_greetings(frame):
    assert decode_greeting(frame) is None
