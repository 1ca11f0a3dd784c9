"""AVPs: each name has a stack of values. They are kept oldest first here; a script counts from the newest."""

NOT_THERE = object()
"""Said of a value that was to be changed and is not there."""


def place(values, index):
    """Where the value with the script's index stands in the list; 0 is the newest, -1 the oldest. None for nowhere."""
    if not isinstance(index, int):
        return None
    at = len(values) - 1 - index if index >= 0 else -index - 1
    return at if 0 <= at < len(values) else None


def push(values, value):
    """``$avp(x) = value``: one more; NULL takes the newest away."""
    if value is None:
        return values[:-1]
    return [*values, value]


def reset(values, value):
    """``$avp(x) := value``: this one only; NULL leaves none."""
    return [] if value is None else [value]


STORE = {"=": push, ":=": reset}


def put(values, index, value):
    """``$(avp(x)[index]) = value``: in place; NULL takes that one away."""
    at = place(values, index)
    if at is None:
        return NOT_THERE
    return values[:at] + ([] if value is None else [value]) + values[at + 1 :]


PUT = {"in place": put}


def newest_first(values):
    """The order in which a script sees them."""
    return values[::-1]


WALK = {"for": newest_first, "[*]": newest_first}
