"""The script functions of the core and the modules as methods of a call: arguments by kind, `$rc` returned.

The rules are those of the cfg language, with one difference: text is taken as it stands, and no `$variable` in it is
replaced. Scripts in Python have f-strings for that, and what a caller wrote into a header names no variable.
"""

from __future__ import annotations

import keyword
import re
from collections.abc import Callable
from functools import partial
from typing import Any, Final, TypeAlias, assert_never

from runtime.context import Context
from runtime.pyscript.avps import Avp
from runtime.pyscript.variables import Variables
from runtime.pyscript.words import USUAL_RC, Exit, Rc, kept, to_script
from runtime.script.changes import integer_of
from runtime.script.declare import Function, Kind, Param, Ref
from runtime.script.patterns import Substitution, cached_pattern, cached_substitution

Convert = Callable[[Any], Any]
Complain = Callable[[Context, str], None]
WatchMethod: TypeAlias = Callable[[str, Callable[..., Rc]], Callable[..., Rc]]
"""Gives, of a method of `Call` with its name, one that does the same and says what it took."""
BAD_ARGUMENT: Final = -1
_LEFT_OUT: Final = object()


class NotTaken(Exception):
    """An argument is not what the function takes: it is not called, and gives -1."""


def method_of(found: Function, variables: Variables, complain: Complain) -> Callable[..., Rc]:
    """A script function as a method of `Call`.

    Made of text, as `dataclasses` makes methods, so that Python itself sorts out the arguments and the usual ones cost
    nothing more: a call is a third of what a loop over converters makes it.

    Args:
        found: the function.
        variables: finds those that it writes.
        complain: logs that it was not called.
    """
    namespace: dict[str, Any] = {
        "__run": found.call,
        "__usual": USUAL_RC,
        "__Rc": Rc,
        "__Exit": Exit,
        "__NotTaken": NotTaken,
        "__LEFT_OUT": _LEFT_OUT,
        "__refuse": partial(_refused, complain, found.name),
    }
    heads: list[str] = ["self"]
    values: list[str] = []
    for at, param in enumerate(found.params):
        name = keyword_of(param.name)
        convert = converter(param, variables)
        default = "=None" if param.optional else ""
        if not param.optional and any(before.optional for before in found.params[:at]):
            # The cfg language leaves out one in the middle; Python wants a default behind it, and this is none.
            convert, default = _given(name, convert), "=__LEFT_OUT"
        namespace[f"__convert{at}"] = convert
        heads.append(name + default)
        values.append(_shortcut(param, name, f"__convert{at}({name})"))
    exec(_METHOD.format(heads=", ".join(heads), values=", ".join(["__c", *values])), namespace)
    method: Callable[..., Rc] = namespace["__method"]
    method.__name__ = method.__qualname__ = found.name
    method.__doc__ = found.doc
    return method


# With names of its own, whatever a module calls its parameters.
_METHOD: Final = """
def __method({heads}):
    __c = self.context
    try:
        __rc = __c.rc = __run({values})
    except __NotTaken as __problem:
        return __refuse(__c, __problem)
    if __rc:
        return __usual[__rc] if __rc in __usual else __Rc(__rc)
    raise __Exit
"""


def _shortcut(param: Param, name: str, convert: str) -> str:
    """An argument's conversion, left out where there is nothing to convert."""
    match param.kind:
        case Kind.STRING | Kind.ROUTE:
            return f"({name} if {name}.__class__ is str and {name}.isascii() else {convert})"
        case Kind.INTEGER:
            return f"({name} if {name}.__class__ is int else {convert})"
        case _:
            return convert


def _given(name: str, convert: Convert) -> Convert:
    def given(value: Any) -> Any:
        if value is _LEFT_OUT:
            raise TypeError(f"missing 1 required positional argument: '{name}'")
        return convert(value)

    return given


def _refused(complain: Complain, name: str, c: Context, problem: NotTaken) -> Rc:
    complain(c, f"{name}() is not called: {problem}")
    c.rc = BAD_ARGUMENT
    return Rc(BAD_ARGUMENT)


def keyword_of(name: str) -> str:
    """A parameter's name as Python's own: a word of Python gets an underscore behind it, and `self` does."""
    word = re.sub(r"\W|^(?=\d)", "_", name)
    return f"{word}_" if keyword.iskeyword(word) or word == "self" else word


def converter(param: Param, variables: Variables) -> Convert:
    """Makes of what a script in Python passes what the function receives."""
    convert = _converter(param, variables)
    if not param.optional:
        return convert
    return lambda value: None if value is None else convert(value)


def _converter(param: Param, variables: Variables) -> Convert:
    match param.kind:
        case Kind.STRING | Kind.ROUTE:
            return _text
        case Kind.INTEGER:
            return _integer(param.name)
        case Kind.VALUE:
            return kept
        case Kind.OUTPUT | Kind.AVP:
            return _ref(param.name, variables)
        case Kind.REGEX:
            return _pattern(param.name)
        case Kind.SUBSTITUTION:
            return _substitution(param.name)
        case _:
            assert_never(param.kind)


def _text(value: Any) -> str:
    if value.__class__ is str:
        return to_script(value)
    return "<null>" if value is None else str(kept(value))


def _integer(name: str) -> Convert:
    def convert(value: Any) -> int:
        number = integer_of(kept(value))
        if number is None:
            raise NotTaken(f'"{name}" is not an integer')
        return number

    return convert


def _ref(name: str, variables: Variables) -> Convert:
    def convert(value: Any) -> Ref:
        if isinstance(value, Avp):
            return variables.ref(f"$avp({value.name})")
        if isinstance(value, str):
            return variables.ref(value)
        raise TypeError(f'"{name}" is a variable\'s spelling, such as "$avp(x)", or call.avp["x"]')

    return convert


def _pattern(name: str) -> Convert:
    def convert(value: Any) -> re.Pattern[str]:
        if isinstance(value, re.Pattern):
            return value
        found = None if value is None else cached_pattern(to_script(str(value)))
        if found is None:
            raise NotTaken(f'"{name}" is no regular expression')
        return found

    return convert


def _substitution(name: str) -> Convert:
    def convert(value: Any) -> Substitution:
        found = None if value is None else cached_substitution(to_script(str(value)))
        if found is None:
            raise NotTaken(f'"{name}" is no substitution /pattern/replacement/flags')
        return found

    return convert
