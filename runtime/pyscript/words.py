"""What scripts in Python get back from functions and commands, how they end, and how their text is spelled.

The runtime keeps script strings as bytes spelled in latin-1. Scripts in Python see real text: UTF-8, in which a byte
that is none stands as a lone surrogate (PEP 383), so that what was read can be written back as it came.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple, TypeAlias

from mi_script.commands import Json
from runtime.context import Value
from runtime.script.values import wrapped


class Rc(int):
    """What a script function returned: an integer that is true where it is **above zero**, as in the cfg language.

    ``if not call.t_relay():`` then says what it says there.
    """

    __slots__ = ()

    def __bool__(self) -> bool:
        return self > 0


USUAL_RC: Final = {number: Rc(number) for number in range(-500, 10)}
"""The usual ones, made once."""


def rc_of(number: int) -> Rc:
    """A return code."""
    found = USUAL_RC.get(number)
    return Rc(number) if found is None else found


class Answer(NamedTuple):
    """How an MI command ended.

    Args:
        rc: 1 for a result, else the code that `$rc` has after ``mi()``: ``-408`` no answer in time, ``-487`` cancelled,
            ``-500`` its worker died, ``-503`` refused, ``-1`` no such command, or minus the error's code.
        value: the result as `json.loads` gives it, or the error's message.
    """

    rc: Rc
    value: Any


class Ending(BaseException):
    """Ends the script. No `Exception`, so that a script which catches those ends all the same."""


class Exit(Ending):
    """The whole script ends, as by the cfg language's ``exit``."""


class Drop(Ending):
    """The script ends, and in a reply route and a branch route the message goes no further (``drop``)."""


class Cancelled(Exception):
    """The caller gave up while a script waited for something that is no MI command; uncaught it ends the script.

    An MI command says the same by its ``rc``, which is -487.
    """


Text: TypeAlias = str
"""Real text, as scripts in Python have it."""


def to_text(script: str) -> Text:
    """A script string as real text."""
    return script if script.isascii() else script.encode("latin-1").decode("utf-8", "surrogateescape")


def to_script(text: Text) -> str:
    """Real text as a script string.

    Raises:
        ValueError: it holds half of a surrogate pair that stands for no byte.
    """
    return text if text.isascii() else text.encode("utf-8", "surrogateescape").decode("latin-1")


def seen(value: Value) -> Value:
    """A script value as scripts in Python see it."""
    return to_text(value) if value.__class__ is str else value


def kept(value: Value) -> Value:
    """A value of a script in Python as the runtime keeps it: plain text, or a plain integer cut to 64 bits.

    Raises:
        TypeError: it is neither text nor an integer nor None.
    """
    if isinstance(value, str):
        return to_script(str.__str__(value))  # of a subclass only the text
    if isinstance(value, int):
        return wrapped(int(value))
    if value is None:
        return None
    raise TypeError(f"a script value is a str, an int or None, not {type(value).__name__}")


def clean(value: Json) -> Json:
    """A command's parameter as JSON can say it: what is no UTF-8 becomes U+FFFD."""
    match value:
        case str():
            return value if value.isascii() else value.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
        case list():
            return [clean(one) for one in value]
        case dict():
            return {str(clean(name)): clean(one) for name, one in value.items()}
        case _:
            return value
