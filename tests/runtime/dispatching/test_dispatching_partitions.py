"""Partitions from module parameters."""

from __future__ import annotations

from typing import Any

import pytest

from runtime.dispatching.partitions import PartitionSettings, partitions_of

USUAL: dict[str, Any] = {"ds_ping_from": "sip:p@localhost", "ds_ping_method": "OPTIONS", "persistent_state": 1}


def by_name(texts: list[str], **settings: Any) -> dict[str, PartitionSettings]:
    return {one.name: one for one in partitions_of({**USUAL, **settings}, texts)}


def test_without_any_word_there_is_the_default_partition() -> None:
    assert by_name([]) == {
        "default": PartitionSettings(
            name="default",
            db_url="",
            table_name="dispatcher",
            dst_avp="ds_dst_failover",
            grp_avp="ds_grp_failover",
            cnt_avp="ds_cnt_failover",
            sock_avp="ds_sock_failover",
            attrs_avp="",
            script_attrs_avp="",
            ping_from="sip:p@localhost",
            ping_method="OPTIONS",
            persistent_state=True,
        )
    }


def test_a_partition_has_avps_of_its_own_and_what_it_does_not_say_is_the_default_ones() -> None:
    found = by_name(
        ["far: table_name = far; ping_method=INFO ; persistent_state = 0; ds_define_blacklist = list = 4,6"],
        db_url="sqlite:a.db",
        attrs_avp="$avp(attrs)",
    )

    assert list(found) == ["default", "far"]
    far = found["far"]
    assert (far.db_url, far.table_name, far.attrs_avp) == ("sqlite:a.db", "far", "attrs")
    assert (far.dst_avp, far.ping_method, far.persistent_state) == ("ds_dst_failover_far", "INFO", False)
    assert found["default"].persistent_state


def test_where_nothing_is_said_of_the_default_partition_there_is_none() -> None:
    assert list(by_name(["far: db_url=sqlite:a.db", "near: db_url=sqlite:b.db"])) == ["far", "near"]


def test_the_default_partition_may_be_named_like_any_other() -> None:
    found = by_name(["default: db_url=sqlite:a.db; dst_avp=$avp(mine)", "far: table_name=far"])

    assert (found["default"].dst_avp, found["far"].dst_avp) == ("mine", "mine")


@pytest.mark.parametrize(
    "text", ["far", ": db_url=x", "far: what=5", "far: db_url", "far: dst_avp=mine", "two words: db_url=x", ""]
)
def test_what_cannot_be_read_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"partition|AVP"):
        by_name([text])
