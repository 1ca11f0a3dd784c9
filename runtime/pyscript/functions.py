"""The script functions of the core and the modules as methods of a call: arguments by kind, `$rc` returned.

The rules are those of the cfg language, with one difference: text is taken as it stands, and no `$variable` in it is
replaced. Scripts in Python have f-strings for that, and what a caller wrote into a header names no variable.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, assert_never

from runtime.context import Context
from runtime.pyscript.avps import Avp
from runtime.pyscript.variables import Variables
from runtime.pyscript.words import Exit, Rc, kept, rc_of, to_script
from runtime.script.changes import integer_of
from runtime.script.declare import Function, Kind, Param, Ref
from runtime.script.patterns import cached_pattern

if TYPE_CHECKING:
    from runtime.pyscript.call import Call

Convert = Callable[[Any], Any]
Complain = Callable[[Context, str], None]
BAD_ARGUMENT: Final = -1


class NotTaken(Exception):
    """An argument is not what the function takes: it is not called, and gives -1."""


def method_of(found: Function, variables: Variables, complain: Complain) -> Callable[..., Rc]:
    """A script function as a method of `Call`.

    Args:
        found: the function.
        variables: finds those that it writes.
        complain: logs that it was not called.
    """
    run, name = found.call, found.name
    converts = [converter(param, variables) for param in found.params]
    most = len(converts)

    def method(self: Call, *given: Any, **named: Any) -> Rc:
        c = self.context
        if named or len(given) != most:
            given = arranged(found, given, named)
        try:
            values = [convert(one) for convert, one in zip(converts, given, strict=True)]
        except NotTaken as problem:
            complain(c, f"{name}() is not called: {problem}")
            c.rc = BAD_ARGUMENT
            return rc_of(BAD_ARGUMENT)
        rc = c.rc = run(c, *values)
        if not rc:
            raise Exit
        return rc_of(rc)

    method.__name__ = name
    method.__doc__ = found.doc
    return method


def arranged(found: Function, given: Sequence[Any], named: dict[str, Any]) -> tuple[Any, ...]:
    """The arguments in the order of the parameters; None for those that are left out.

    Raises:
        TypeError: as a function of Python does.
    """
    if len(given) > len(found.params):
        raise TypeError(f"{found.name}() takes {len(found.params)} arguments, not {len(given)}")
    rest = dict(named)
    values = list(given)
    for param in found.params[len(given) :]:
        key = keyword_of(param.name)
        if key not in rest and not param.optional:
            raise TypeError(f'{found.name}() needs its argument "{key}"')
        values.append(rest.pop(key, None))
    if rest:
        raise TypeError(f'{found.name}() takes no argument "{next(iter(rest))}", or has it already')
    return tuple(values)


def keyword_of(name: str) -> str:
    """A parameter's name as a keyword: a word of Python gets an underscore behind it."""
    return f"{name}_" if name in ("from", "global", "in", "is", "class", "return") else name


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
