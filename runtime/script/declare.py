"""How a module declares what it gives to scripts: functions, their asynchronous forms, variables, parameters.

One declaration is read by the checker (name, arity, kinds, route types), the compiler (what to call) and the
documentation. A declaration is made by decorating a method of a `Module` subclass; `functions_of()` and
`variables_of()` read it from the class, and from an instance they also give the bound method.
"""

from __future__ import annotations

import enum
import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias, TypeVar

from msgspec import Struct

from runtime.context import Context, RouteType, Value
from workers.jobs import Outcome


class Kind(enum.Enum):
    """What a function's parameter may be in the script, as the reference says it, and what the function receives."""

    STRING = "a string"  # a string with $variables in it, or a variable: str (NULL becomes "<null>", as in xlog)
    INTEGER = "an integer"  # an integer, a variable, or a numeric string: int
    VALUE = "any value"  # any expression's value as it is: str, int or None
    OUTPUT = "a variable that is written"  # a writable variable: Ref
    AVP = "an $avp(name)"  # an $avp(...): Ref, of which all values can be read
    ROUTE = "the name of a route"  # the name of a route that must exist at load: str
    REGEX = "a regular expression"  # a regular expression, compiled at load where it is constant: re.Pattern[str]
    SUBSTITUTION = "a substitution, `/pattern/replacement/flags`"  # variables in the replacement: Substitution


@dataclass(frozen=True, slots=True)
class Param:
    """One parameter. An optional one that the script leaves out (`f(a,,b)`) arrives as None."""

    name: str
    kind: Kind
    optional: bool = False


class Ref(Protocol):
    """A variable named in the script, apart from any context: made at load, read and written at run time."""

    @property
    def name(self) -> str:
        """As the script spells it, e.g. ``$avp(attrs)``."""

    def get(self, context: Context) -> Value:
        """The value, or None for NULL."""

    def set(self, context: Context, value: Value) -> None:
        """Assign as the script's `=` does (an AVP gets one more value)."""

    def all(self, context: Context) -> list[Value]:
        """Every value, oldest first: the order in which the script added them."""


class JobRequest(Struct, frozen=True):
    """What an asynchronous form asks for: this job, and how its end becomes `$rc` and the output variable.

    Args:
        handler, label, payload, idempotent: as in `workers.jobs.Job`.
        timeout_s: seconds until the caller stops waiting, when the script does not say it itself.
        finish: writes the outcome into the context that resumes (or the report's) and gives `$rc`.
    """

    handler: str
    label: str
    payload: bytes
    timeout_s: float
    finish: Callable[[Context, Outcome], int]
    idempotent: bool = False


class BatchRequest(Struct, frozen=True):
    """What an asynchronous form asks for that needs several jobs: they run side by side, and the context waits once.

    Args:
        jobs: what is asked for, in order; each one's own `finish` and `timeout_s` are not used.
        timeout_s: seconds until the caller stops waiting for all of them.
        finish: writes the outcomes, in the order of ``jobs``, and gives `$rc`.
    """

    jobs: tuple[JobRequest, ...]
    timeout_s: float
    finish: Callable[[Context, list[Outcome]], int]


class Refused(Struct, frozen=True):
    """It could not be asked for. `finish` writes why and gives `$rc`; the resume route runs at once."""

    finish: Callable[[Context], int]


Begin: TypeAlias = JobRequest | BatchRequest | Refused


@dataclass(frozen=True, slots=True)
class Function:
    """A script function.

    Args:
        name: as the script calls it.
        params: in order; only trailing ones may be left off the call, any optional one may be empty.
        routes: where it may be called.
        call: ``call(context, *args) -> rc``; 0 ends the script, as in OpenSIPS. Unbound until the module is made.
        begin: the asynchronous form, ``begin(context, *args) -> Begin``; None where `async(f())` is not allowed.
        module: the module's name.
        doc: one paragraph for the reference.
    """

    name: str
    params: tuple[Param, ...]
    routes: RouteType
    call: Callable[..., int]
    begin: Callable[..., Begin] | None
    module: str
    doc: str


@dataclass(frozen=True, slots=True)
class Variable:
    """A script variable `$name` or `$name(inner)`.

    Args:
        name: without the `$`.
        get: ``get(context, inner) -> Value``; ``inner`` is what stands in the brackets ("" when nothing does).
        set: ``set(context, inner, value)``, or None for a read-only one.
        all: ``all(context, inner) -> list``, every value in the order of the index, for one that can be indexed.
        put: ``put(context, inner, index, value)``: an assignment to ``$(name(inner)[index])``; None where none is.
        reset: ``reset(context, inner, value)``: what ``:=`` does, where that is another thing than ``=``.
        mark: ``mark(value) -> str``: how the value of a variable in the brackets is written into ``inner``, where it
            has to be told from what the script itself wrote there.
    """

    name: str
    get: Callable[[Context, str], Value]
    set: Callable[[Context, str, Value], None] | None
    module: str
    doc: str
    all: Callable[[Context, str], list[Value]] | None = None
    put: Callable[[Context, str, Value, Value], None] | None = None
    reset: Callable[[Context, str, Value], None] | None = None
    mark: Callable[[Value], str] | None = None


@dataclass(frozen=True, slots=True)
class Parameter:
    """A module parameter, set by `modparam("module", "name", value)`.

    Args:
        name, kind: what the script sets.
        default: what holds where the script says nothing.
        repeats: whether every setting is collected in a list; of any other parameter the last one stands.
        doc: what it does, in a sentence; or why it has no effect.
        effect: whether it does anything. What OpenSIPS has and what means nothing here is accepted all the same.
        commands: whether its words name MI commands (`mi_script.access`).
    """

    name: str
    kind: type[str] | type[int]
    default: Any = None
    repeats: bool = False
    doc: str = ""
    effect: bool = True
    commands: bool = False


@dataclass(frozen=True, slots=True)
class Event:
    """An event that a module raises, for an ``event_route[name]``.

    Args:
        name: as the route's name has it.
        params: the names of its parameters, for `$param(name)`, in order.
        doc: when it is raised, in a sentence.
    """

    name: str
    params: tuple[str, ...]
    doc: str


def ignored(name: str, kind: type[str] | type[int], default: Any, why: str) -> Parameter:
    """A parameter that OpenSIPS has and that is accepted without effect, and why."""
    return Parameter(name, kind, default, doc=f"No effect: {why}", effect=False)


class Module:
    """Base of every script module. One instance is made per loaded script, in the attendant, before any fork.

    Class attributes:
        name: the module's OpenSIPS name, without ``.so``.
        parameters: what `modparam` may set.
    """

    name: str = ""
    parameters: tuple[Parameter, ...] = ()

    def __init__(self, settings: dict[str, Any] | None = None) -> None:
        self.settings: dict[str, Any] = {p.name: ([] if p.repeats else p.default) for p in self.parameters}
        self.settings.update(settings or {})


@dataclass(frozen=True, slots=True)
class _Mark:
    name: str
    params: tuple[Param, ...]
    routes: RouteType
    asynchronous: bool


_F = TypeVar("_F", bound=Callable[..., Any])


def function(name: str, *params: Param, routes: RouteType = RouteType.ANY) -> Callable[[_F], _F]:
    """Declare a method ``(self, context, *args) -> rc`` as the script function `name`."""
    return _marker("_script_function", _Mark(name, params, routes, asynchronous=False))


def asynchronous(name: str, *params: Param, routes: RouteType = RouteType.ANY) -> Callable[[_F], _F]:
    """Declare a method ``(self, context, *args) -> Begin`` as what `async(name())` and `launch(name())` do."""
    return _marker("_script_function", _Mark(name, params, routes, asynchronous=True))


@dataclass(frozen=True, slots=True)
class _VariableMark:
    name: str
    methods: dict[str, str] = field(default_factory=dict)
    mark: Callable[[Value], str] | None = None


def variable(
    name: str,
    setter: str | None = None,
    *,
    lister: str | None = None,
    putter: str | None = None,
    resetter: str | None = None,
    mark: Callable[[Value], str] | None = None,
) -> Callable[[_F], _F]:
    """Declare a method ``(self, context, inner) -> Value`` as `$name`.

    Args:
        name: without the dollar sign.
        setter, lister, putter, resetter: the names of the methods that are `set`, `all`, `put` and `reset` of
            `Variable`; None for those that it has not.
        mark: as in `Variable`.
    """
    named = {"set": setter, "all": lister, "put": putter, "reset": resetter}
    methods = {role: method for role, method in named.items() if method is not None}
    return _marker("_script_variable", _VariableMark(name, methods, mark))


def _marker(attribute: str, mark: object) -> Callable[[_F], _F]:
    def mark_it(method: _F) -> _F:
        setattr(method, attribute, mark)
        return method

    return mark_it


def functions_of(module: Module | type[Module]) -> dict[str, Function]:
    """The functions that a module declares, by name, each joined with its asynchronous form."""
    found: dict[str, Function] = {}
    for method, mark in sorted(_marked(module, "_script_function"), key=lambda pair: pair[1].asynchronous):
        if not mark.asynchronous:
            found[mark.name] = Function(mark.name, mark.params, mark.routes, method, None, module.name, _doc(method))
        else:
            sync = found.get(mark.name)
            call = sync.call if sync else only_asynchronous
            doc = sync.doc if sync else _doc(method)
            found[mark.name] = Function(mark.name, mark.params, mark.routes, call, method, module.name, doc)
    return found


def variables_of(module: Module | type[Module]) -> dict[str, Variable]:
    """The variables that a module declares, by name."""
    found = {}
    for method, mark in _marked(module, "_script_variable"):
        others = {role: getattr(module, name) for role, name in mark.methods.items()}
        found[mark.name] = Variable(
            mark.name, method, others.pop("set", None), module.name, _doc(method), mark=mark.mark, **others
        )
    return found


def _marked(module: Module | type[Module], attribute: str) -> Iterator[tuple[Callable[..., Any], Any]]:
    for name in dir(module):
        member = getattr(module, name, None)
        mark = getattr(member, attribute, None)
        if callable(member) and mark is not None:
            yield member, mark


def _doc(method: Callable[..., Any]) -> str:
    return inspect.cleandoc(method.__doc__ or "")


def only_asynchronous(*_: object) -> int:
    """What is called of a function that has an asynchronous form and no other: the checker lets nobody do that."""
    raise AssertionError("the checker lets nobody call an asynchronous-only function directly")
