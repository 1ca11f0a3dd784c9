"""A script as the generator makes it: the printer writes it down, the interpreter walks it.

An expression of several operators is a `Formula`, the flat row in which a script spells it. What binds tighter is for
whoever reads it to know: the parser on the one side, the interpreter on the other.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Number:
    value: int


@dataclass(frozen=True)
class Text:
    """A string in an expression: a dollar sign in it is a dollar sign."""

    value: str


@dataclass(frozen=True)
class Null:
    pass


@dataclass(frozen=True)
class Template:
    """A string in which variables count: what is logged, or given to a function or a route."""

    parts: tuple


@dataclass(frozen=True)
class Change:
    """``{name,argument,…}``; an argument is text, a number or a variable."""

    name: str
    arguments: tuple = ()


@dataclass(frozen=True)
class Variable:
    """``$name``, ``$name(key)`` or ``$(name(key)[index]{change})``; key and index may be variables themselves."""

    name: str
    key: object = None
    index: object = None
    changes: tuple = ()


@dataclass(frozen=True)
class Call:
    """An argument that is left empty is None."""

    name: str
    arguments: tuple = ()


@dataclass(frozen=True)
class RouteCall:
    """The target is a route's name or a variable that has it."""

    target: object
    arguments: tuple = ()


@dataclass(frozen=True)
class Async:
    call: Call
    resume: str
    timeout_s: int | None = None


@dataclass(frozen=True)
class Launch:
    call: Call
    report: str | None = None
    parameter: Template | None = None


@dataclass(frozen=True)
class Formula:
    """``first (operator operand)*``."""

    first: object
    rest: tuple = ()


@dataclass(frozen=True)
class Not:
    operand: object
    sign: str = "!"


@dataclass(frozen=True)
class BitNot:
    operand: object


@dataclass(frozen=True)
class Brackets:
    inner: object
    square: bool = False


@dataclass(frozen=True)
class Comparison:
    """The left side is a variable or a call, the right one a variable or a literal."""

    left: object
    sign: str
    right: object


@dataclass(frozen=True)
class Assign:
    target: Variable
    sign: str
    value: object


@dataclass(frozen=True)
class Do:
    """A call that stands alone."""

    call: object


@dataclass(frozen=True)
class Log:
    """``xlog``; without a level it is an error."""

    text: Template
    level: str | None = None


@dataclass(frozen=True)
class PlainLog:
    """``log``: nothing in its text is a variable."""

    level: int
    text: str


@dataclass(frozen=True)
class If:
    condition: object
    then: tuple
    otherwise: tuple | None = None


@dataclass(frozen=True)
class While:
    condition: object
    body: tuple


@dataclass(frozen=True)
class For:
    target: Variable
    source: Variable
    body: tuple


@dataclass(frozen=True)
class Switch:
    """Cases are pairs of a value (an int, a str, or None for the default) and statements."""

    subject: Variable
    cases: tuple


@dataclass(frozen=True)
class Break:
    pass


@dataclass(frozen=True)
class Return:
    code: object = None
    values: tuple = ()


@dataclass(frozen=True)
class Exit:
    pass


@dataclass(frozen=True)
class Drop:
    pass


@dataclass(frozen=True)
class Assert:
    condition: object
    message: str


@dataclass(frozen=True)
class Program:
    """Statements of the request route, and named routes."""

    main: tuple
    routes: dict
    max_while_loops: int = 4
