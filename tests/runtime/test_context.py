"""A context that is copied goes on by itself, and has everything that the first one has."""

from __future__ import annotations

from runtime.context import Branch, Context
from tests.runtime.script.conftest import INVITE, make_context


def test_a_copy_has_everything_and_shares_only_what_is_the_message_s() -> None:
    context = make_context(INVITE)
    context.avps["x"], context.flags, context.branch_flags = [1], {"a"}, {"b"}
    context.branches, context.serial, context.reply_status = [Branch("sip:b@h")], [[Branch("sip:c@h")]], 486
    before = values(context)

    made = context.copy()
    assert values(made) == before
    made.branches.clear()
    made.serial.pop()
    made.branch_flags.clear()
    made.branch_attributes["x"] = 1
    made.reply_headers.append("X: 1")
    made.edits.append(("remove", "X"))
    assert values(context) == before
    made.avps["y"] = []
    made.flags.add("c")
    assert "y" in context.avps
    assert context.flags == {"a", "c"}


def values(context: Context) -> dict[str, object]:
    found: dict[str, object] = {}
    for field in Context.__struct_fields__:
        value = getattr(context, field)
        found[field] = value.copy() if isinstance(value, list | dict | set) else value
    return found
