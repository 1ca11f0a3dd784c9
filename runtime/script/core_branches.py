"""Functions of the module ``core`` that work on branches: a request's targets, side by side or one after another."""

from __future__ import annotations

from itertools import groupby

from msgspec.structs import replace

from runtime.context import Branch, Context
from runtime.script.branch_access import branch_at, flags_of, own_branch, q_value, take_branch
from runtime.script.declare import Kind, Module, Param, function
from runtime.script.uris import can_be_sent

_FLAG = Param("flag", Kind.STRING)
_BRANCH = Param("branch", Kind.INTEGER, optional=True)


class BranchFunctions(Module):
    """The part of the module ``core`` that works on branches. The index 0 is the Request-URI's own branch."""

    name = "core"

    @function("setbflag", _FLAG, _BRANCH)
    def setbflag(self, c: Context, flag: str, branch: int | None) -> int:
        """Set a flag of a branch; branch 0, the main one, when none is named."""
        flags = _flags(c, branch)
        if flags is None:
            return -1
        flags.add(flag)
        return 1

    @function("resetbflag", _FLAG, _BRANCH)
    def resetbflag(self, c: Context, flag: str, branch: int | None) -> int:
        """Take a flag off a branch."""
        flags = _flags(c, branch)
        if flags is None:
            return -1
        flags.discard(flag)
        return 1

    @function("isbflagset", _FLAG, _BRANCH)
    def isbflagset(self, c: Context, flag: str, branch: int | None) -> int:
        """Whether a flag of a branch is set."""
        flags = _flags(c, branch)
        return 1 if flags is not None and flag in flags else -1

    @function(
        "append_msg_branch",
        Param("uri", Kind.STRING, optional=True),
        Param("q", Kind.STRING, optional=True),
        Param("flags", Kind.STRING, optional=True),
    )
    def append_msg_branch(self, c: Context, uri: str | None, q: str | None, flags: str | None) -> int:
        """Add a branch: a URI, or the Request-URI as it is now. `q` is of 0.0 to 1.0.

        With the flag ``inherite`` it has all that the Request-URI's own branch has: next hop, path, flags, attributes
        and socket.
        """
        target = c.ruri if uri is None else uri
        weight = -1 if q is None else q_value(q)
        if not can_be_sent(target) or weight is None:
            return -1
        if flags == "inherite":
            c.branches.append(replace(own_branch(c), uri=target, q=weight))
        else:
            c.branches.append(Branch(target, c.dst_uri if uri is None else None, q=weight))
        return 1

    @function("remove_msg_branch", Param("index", Kind.INTEGER))
    def remove_msg_branch(self, c: Context, index: int) -> int:
        """Take an appended branch away; the first has the index 0."""
        if not -len(c.branches) <= index < len(c.branches):
            return -1
        del c.branches[index]
        return 1

    @function(
        "move_branch",
        *(Param(name, Kind.INTEGER, optional=True) for name in ("from", "to")),
        Param("keep", Kind.STRING, optional=True),
    )
    def move_branch(self, c: Context, source: int | None, target: int | None, keep: str | None) -> int:
        """Put one branch in the place of another; without `keep` it leaves its own, unless that is the index 0.

        One that is not named is the Request-URI's own. -1 when one of them is not there.
        """
        source, target = source or 0, target or 0
        if source == target or not _are_there(c, source, target):
            return -1
        _put(c, target, _copy(c, source))
        if keep is None and source:
            del c.branches[source - 1]
        return 1

    @function("swap_branches", *(Param(name, Kind.INTEGER, optional=True) for name in ("one", "other")))
    def swap_branches(self, c: Context, one: int | None, other: int | None) -> int:
        """Let two branches change places; one that is not named is the Request-URI's own. -1 when one is not there."""
        one, other = one or 0, other or 0
        if one == other or not _are_there(c, one, other):
            return -1
        first, second = _copy(c, one), _copy(c, other)
        _put(c, one, second)
        _put(c, other, first)
        return 1

    @function("serialize_branches", Param("clear", Kind.INTEGER), Param("keep_order", Kind.INTEGER, optional=True))
    def serialize_branches(self, c: Context, clear: int, keep_order: int | None) -> int:
        """Put all branches aside, the Request-URI's own with them, to be tried one after another by `next_branches()`.

        Those of the same `q` are tried together, the highest first; where `keep_order` is not 0 each one by itself, in
        the order in which they are. Where `clear` is not 0 what was put aside before is given up.
        """
        if clear:
            c.serial.clear()
        branches = [own_branch(c), *c.branches]
        if keep_order:
            c.serial += [[branch] for branch in branches]
        else:
            branches.sort(key=lambda branch: branch.q, reverse=True)
            c.serial += [list(group) for _, group in groupby(branches, lambda branch: branch.q)]
        c.branches = []
        return 1

    @function("next_branches")
    def next_branches(self, c: Context) -> int:
        """Take the next of what `serialize_branches()` has put aside: as the Request-URI, and further ones as branches.

        1 when more is left, 2 when this was the last, -1 when there was nothing any more.
        """
        if not c.serial:
            return -1
        first, *others = c.serial.pop(0)
        take_branch(c, first)
        c.branches = others
        return 1 if c.serial else 2


def _flags(c: Context, index: int | None) -> set[str] | None:
    if index is not None and not 0 <= index <= len(c.branches):
        return None
    return flags_of(c, branch_at(c, index or 0))


def _are_there(c: Context, *indices: int) -> bool:
    return all(0 <= index <= len(c.branches) for index in indices)


def _copy(c: Context, index: int) -> Branch:
    branch = branch_at(c, index)
    if branch is None:
        return own_branch(c)
    return replace(branch, flags=set(branch.flags), attributes=dict(branch.attributes))


def _put(c: Context, index: int, branch: Branch) -> None:
    if index:
        c.branches[index - 1] = branch
    else:
        take_branch(c, branch)
