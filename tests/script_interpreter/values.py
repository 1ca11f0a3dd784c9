"""Values and operators: strings, integers and None for NULL.

Whatever is a rule that could as well be another one stands in a table, which the differential test may spoil to see
that it is noticed.
"""

import operator
import re

NOTHING = object()
"""What an expression gives that cannot be computed."""

# Three levels, each from the left. C has others.
PRECEDENCE = {
    **dict.fromkeys(["or", "||", "and", "&&"], 1),
    **dict.fromkeys(["|", "&", "^", "<<", ">>"], 2),
    **dict.fromkeys(["+", "-", "*", "/", "%"], 3),
}


def wrapped(number):
    """An integer has 64 bits and a sign."""
    return (number + 2**63) % 2**64 - 2**63


def divided(left, right):
    """Integer division towards zero, as C's; by zero there is none."""
    if right == 0:
        return NOTHING
    quotient = abs(left) // abs(right)
    return quotient if (left < 0) == (right < 0) else -quotient


def remainder(left, right):
    """What division leaves, with the sign of the left."""
    return NOTHING if right == 0 else left - divided(left, right) * right


OF_INTEGERS = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": divided,
    "%": remainder,
    "&": operator.and_,
    "|": operator.or_,
    "^": operator.xor,
    "<<": lambda left, right: left << right % 64,
    ">>": lambda left, right: left >> right % 64,
}


def joined(left, right, from_variable):
    """Text and text. An integer is text only where it comes out of a variable; NULL is empty."""
    if isinstance(right, int) and not from_variable:
        return NOTHING
    return ("" if left is None else left) + ("" if right is None else str(right))


def computed(left, sign, right, from_variable):
    """``left sign right``.

    Args:
        left, right: values or `NOTHING`.
        sign: one of those that compute.
        from_variable: whether the right side is a variable, in brackets or not.
    """
    if left is NOTHING or right is NOTHING:
        return NOTHING
    if isinstance(left, int):
        right = 0 if right is None else right
        result = OF_INTEGERS[sign](left, right) if isinstance(right, int) else NOTHING
        return wrapped(result) if isinstance(result, int) else result
    if sign == "+":
        return joined(left, right, from_variable)
    if sign in "&|^" and isinstance(left, str) and isinstance(right, str) and len(left) == len(right):
        return "".join(chr(OF_INTEGERS[sign](ord(a), ord(b))) for a, b in zip(left, right, strict=True))
    return NOTHING


SAME = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    ">": operator.gt,
    "<=": operator.le,
    ">=": operator.ge,
}


def compared(left, sign, right, from_variable):
    """``left sign right`` as true or false. Text compares without regard to case.

    Args:
        left, right: values.
        sign: one of those that compare.
        from_variable: whether the right side is a variable.
    """
    if sign in ("=~", "!~"):
        return matches(left, sign, right)
    if left is None or right is None:
        return sign in ("==", "!=") and SAME[sign](left, right)
    if isinstance(left, int) and isinstance(right, int):
        return SAME[sign](left, right)
    if isinstance(right, int) and not from_variable:
        return False  # text and the literal of a number do not compare
    return SAME[sign](caseless(str(left)), caseless(str(right)))


def caseless(text):
    """Text for comparing: only ASCII letters have a case, what other bytes mean nobody knows."""
    return re.sub("[A-Z]", lambda letter: letter[0].lower(), text)


def matches(left, sign, pattern):
    """``=~`` and ``!~``: an empty text neither matches nor does it not; NULL matches nothing, not even NULL.

    Raises:
        re.error: the pattern is none.
    """
    if left is None or pattern is None:
        return sign == "!~" and left is not pattern
    if left == "":
        return False
    return (re.search(str(pattern), str(left), re.IGNORECASE | re.ASCII) is not None) == (sign == "=~")


def true(value):
    """A value as a condition: not NULL, not zero, not empty."""
    return value is not NOTHING and bool(value)


def true_result(code):
    """What a call gave as a condition."""
    return code > 0


def shown(value):
    """A value within text."""
    return "<null>" if value is None else str(value)
