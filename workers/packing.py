"""Arguments and results as bytes: msgpack by default, pickle where a pool was made with it.

A call is packed as what it most often is: nothing at all, a list of positional arguments, or a map of named ones. With
both kinds the positional ones stand in the map under the empty name, which no parameter can have.

=================  ==============================================================================================
goes as it is      ``None``, ``bool``, ``int`` (64 bits), ``float``, ``str``, ``bytes``, ``list``, ``dict``
arrives changed    a tuple as a list, ``bytearray`` and ``memoryview`` as bytes, a subclass as its base
needs pickle       everything else
=================  ==============================================================================================
"""

from __future__ import annotations

import pickle
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn, Protocol

import msgpack

from workers.errors import NotEncodable, RemoteTraceback
from workers.wire import MAX_MESSAGE, clean

MAX_TRACE = 16_384
"""The longest traceback that is sent, in characters. The end of a longer one is kept: what was raised stands there."""

_NOTHING: dict[str, Any] = {}

_REMEDY = (
    "msgpack carries None, bool, int (64 bits), float, str, bytes, list, tuple and dict; convert it, or make the "
    'pool with codec="pickle"'
)


class Codec(Protocol):
    """How one pool writes calls and results. Packing raises `NotEncodable`; unpacking what another codec wrote may
    raise anything."""

    name: str

    def pack_call(self, args: Sequence[Any], kwargs: Mapping[str, Any] | None) -> bytes:
        """Write a call down."""

    def unpack_call(self, payload: bytes) -> tuple[Sequence[Any], dict[str, Any]]:
        """Read a call back."""

    def pack_result(self, value: Any) -> bytes:
        """Write a result down."""

    def unpack_result(self, payload: bytes) -> Any:
        """Read a result back; `Raised` where the handler raised and the codec carries exceptions."""

    def pack_raised(self, error: Exception) -> bytes | None:
        """Write down what a handler raised; None where that goes as text."""


class Msgpack:
    """The default codec.

    Args:
        shared: whether several threads pack at once; a packer of its own for each call then costs 0.3 µs more.
    """

    name = "msgpack"

    def __init__(self, shared: bool = False) -> None:
        self._pack: Callable[[Any], bytes] = msgpack.packb if shared else msgpack.Packer().pack

    def pack_call(self, args: Sequence[Any], kwargs: Mapping[str, Any] | None) -> bytes:
        form: Any
        if not kwargs:
            if not args:
                return b""
            form = args
        elif "" in kwargs:
            raise NotEncodable("an argument needs a name; the empty one cannot be sent")
        else:
            form = {**kwargs, "": args} if args else kwargs
        try:
            return self._pack(form)
        except (TypeError, ValueError, OverflowError, RecursionError) as problem:
            _blame_argument(self._pack, args, kwargs, problem, _REMEDY)

    def unpack_call(self, payload: bytes) -> tuple[Sequence[Any], dict[str, Any]]:
        if not payload:
            return (), _NOTHING
        form = _unpack(payload)
        if type(form) is list:
            return form, _NOTHING
        return form.pop("", ()), form

    def pack_result(self, value: Any) -> bytes:
        try:
            return self._pack(value)
        except (TypeError, ValueError, OverflowError, RecursionError) as problem:
            raise NotEncodable(f"the result ({type(value).__name__}) cannot be sent: {problem}; {_REMEDY}") from None

    def unpack_result(self, payload: bytes) -> Any:
        return _unpack(payload)

    def pack_raised(self, error: Exception) -> bytes | None:
        return None


def _unpack(payload: bytes) -> Any:
    try:
        return msgpack.unpackb(payload, strict_map_key=False)
    except TypeError as problem:
        # The one thing that can be packed and not be unpacked.
        raise NotEncodable(f"a key of a dict is a tuple ({problem}); {_REMEDY}") from None


class Raised:
    """An exception on its way home, with pickle. Itself it can always be unpickled, whatever it carries.

    Args:
        kind: the exception's class name.
        message: its text.
        trace: its traceback.
        pickled: the exception.
    """

    __slots__ = ("kind", "message", "pickled", "trace")

    def __init__(self, kind: str, message: str, trace: str, pickled: bytes) -> None:
        self.kind, self.message, self.trace, self.pickled = kind, message, trace, pickled

    def __reduce__(self) -> tuple[type[Raised], tuple[str, str, str, bytes]]:
        return Raised, (self.kind, self.message, self.trace, self.pickled)

    def error(self) -> Exception | None:
        """The exception itself, with its traceback as its cause; None where it cannot be made here."""
        try:
            error = pickle.loads(self.pickled)
        except Exception:
            return None
        if not isinstance(error, Exception):
            return None
        error.__cause__ = RemoteTraceback(self.trace)
        return error


class Pickle:
    """Python's own objects, for who trusts every process of the pool: unpickling runs whatever the sender says."""

    name = "pickle"

    def pack_call(self, args: Sequence[Any], kwargs: Mapping[str, Any] | None) -> bytes:
        if not (args or kwargs):
            return b""
        try:
            # Two forms that cannot be taken for each other: a tuple of arguments, or a list of both kinds.
            return _dumps([tuple(args), kwargs] if kwargs else tuple(args))
        except Exception as problem:
            _blame_argument(_dumps, args, kwargs, problem, "it cannot be pickled")

    def unpack_call(self, payload: bytes) -> tuple[Sequence[Any], dict[str, Any]]:
        if not payload:
            return (), _NOTHING
        form = pickle.loads(payload)
        if type(form) is list:
            return form[0], form[1]
        return form, _NOTHING

    def pack_result(self, value: Any) -> bytes:
        try:
            return _dumps(value)
        except Exception as problem:
            raise NotEncodable(f"the result ({type(value).__name__}) cannot be pickled: {problem}") from None

    def unpack_result(self, payload: bytes) -> Any:
        return pickle.loads(payload)

    def pack_raised(self, error: Exception) -> bytes | None:
        kind, message, trace = type(error).__name__, _text(error), trace_of(error)
        try:
            pickled = _dumps(error)
            pickle.loads(pickled)  # an exception with an __init__ of its own often cannot be made again
        except Exception:
            return None
        return _dumps(Raised(kind, message, trace, pickled))


def codec_named(name: str, shared: bool = False) -> Codec:
    """The codec of a pool: ``msgpack`` or ``pickle``.

    Raises:
        ValueError: there is no such codec.
    """
    if name == "msgpack":
        return Msgpack(shared)
    if name == "pickle":
        return Pickle()
    raise ValueError(f'no codec {name!r}; there are "msgpack" and "pickle"')


def trace_of(error: BaseException) -> str:
    """The end of an exception's traceback."""
    text = "".join(traceback.format_exception(error))
    return clean(text[-MAX_TRACE:], MAX_TRACE)


def _dumps(value: Any) -> bytes:
    return pickle.dumps(value, pickle.HIGHEST_PROTOCOL)


def _blame_argument(
    pack: Callable[[Any], bytes],
    args: Sequence[Any],
    kwargs: Mapping[str, Any] | None,
    problem: Exception,
    remedy: str,
) -> NoReturn:
    named = [(f"argument {place}", value) for place, value in enumerate(args, 1)]
    for name, value in named + [(f"argument {name!r}", value) for name, value in (kwargs or {}).items()]:
        try:
            pack(value)
        except Exception as found:
            raise NotEncodable(f"{name} ({type(value).__name__}) cannot be sent: {found}; {remedy}") from None
    raise NotEncodable(f"the arguments cannot be sent: {problem}; {remedy}") from None


def _text(error: BaseException) -> str:
    try:
        return clean(str(error), MAX_MESSAGE)
    except Exception:
        return "(its text cannot be made)"
