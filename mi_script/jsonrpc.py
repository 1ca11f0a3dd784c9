"""JSON-RPC 2.0: bytes to requests, answers to bytes.

Whatever the bytes are, `decode` gives something that can be answered or passed over; it raises nothing.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from mi_script.calls import Call, Fault
from mi_script.commands import INVALID_REQUEST, PARSE_ERROR, Json

Id: TypeAlias = int | float | str | None

MAX_BYTES: Final = 1 << 20
"""The longest request text that is read, in bytes."""
MAX_DEPTH: Final = 64
"""How deep arrays and objects may stand in each other."""
MAX_BATCH: Final = 100
"""The most members of a batch."""

_WHITESPACE: Final = " \t\r\n"
_SURROGATE_ESCAPE: Final = re.compile(rb"\\u[dD][89a-fA-F]")


@dataclass(frozen=True, slots=True)
class Request:
    """One well-formed request; a notification wants no answer."""

    call: Call
    id: Id = None
    notification: bool = False


@dataclass(frozen=True, slots=True)
class Malformed:
    """What is no request, and the answer to it. A `stray` is somebody's answer, which has lost its way."""

    fault: Fault
    id: Id = None
    stray: bool = False


Item: TypeAlias = Request | Malformed


@dataclass(frozen=True, slots=True)
class Single:
    """A text that holds one request."""

    item: Item


@dataclass(frozen=True, slots=True)
class Batch:
    """A text that holds an array of them (JSON-RPC 2.0 section 6)."""

    items: tuple[Item, ...]


def decode(text: bytes, max_bytes: int = MAX_BYTES) -> Single | Batch:
    """Read one JSON-RPC text.

    Bytes after the first JSON value are ignored, as MI clients expect of datagrams and of HTTP. Unpaired
    surrogates, NaN, infinities, invalid UTF-8 and too much depth or length are a parse error.
    """
    if len(text) > max_bytes:
        return _refused(_parse_error(f"longer than {max_bytes} bytes"))
    try:
        value = _read(text)
    except _Unreadable as reason:
        return _refused(_parse_error(str(reason) or None))
    if not isinstance(value, list):
        return Single(_item(value))
    if not value:
        return _refused(_INVALID)
    if len(value) > MAX_BATCH:
        return _refused(_invalid_request(f"a batch holds at most {MAX_BATCH} requests"))
    return Batch(tuple(_item(member) for member in value))


def result_text(result: str, id: Id) -> str:
    """The answer to a request whose result is the JSON text `result`."""
    return f'{{"jsonrpc":"2.0","result":{result},"id":{dump(id)}}}'


def fault_text(fault: Fault, id: Id) -> str:
    """The answer to a request that has no result."""
    error: dict[str, Json] = {"code": fault.code, "message": fault.message}
    if fault.data is not None:
        error["data"] = fault.data
    return f'{{"jsonrpc":"2.0","error":{dump(error)},"id":{dump(id)}}}'


def dump(value: Json, pretty: bool = False) -> str:
    """A value as JSON text that can be encoded as UTF-8: without spaces, or the way cJSON prints for people.

    Raises:
        ValueError, TypeError, RecursionError: the value is nothing that JSON can say.
    """
    text = _compact(value)
    if not text.isascii() and not _encodable(text):
        text = _ESCAPED.encode(value)
    return _pretty(json.loads(text), 1) if pretty else text


def _made_once(encoder: json.JSONEncoder) -> Callable[[Json], str]:
    """What `encoder.encode` does, which makes the same object of C anew for each value: that takes twice as long.

    A value that holds itself is a RecursionError so, not a ValueError.
    """
    make, text = getattr(json.encoder, "c_make_encoder", None), getattr(json.encoder, "c_encode_basestring", None)
    if make is None or text is None:
        return encoder.encode
    parts = make(None, encoder.default, text, None, ":", ",", False, False, False)
    return lambda value: "".join(parts(value, 0))


_COMPACT: Final = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))
_compact: Final = _made_once(_COMPACT)
_ESCAPED: Final = json.JSONEncoder(ensure_ascii=True, allow_nan=False, separators=(",", ":"))


class _Unreadable(Exception):
    """Why a text holds no JSON value of ours."""


def _read(text: bytes) -> Json:
    try:
        value, _ = _DECODER.raw_decode(text.decode("utf-8").lstrip(_WHITESPACE))
    except (ValueError, RecursionError):
        # UnicodeDecodeError and JSONDecodeError are ValueErrors, and so is an integer of too many digits.
        raise _Unreadable from None
    if _depth_exceeds(value, MAX_DEPTH):
        raise _Unreadable(f"nested more than {MAX_DEPTH} deep")
    if _SURROGATE_ESCAPE.search(text) and not _encodable(_COMPACT.encode(value)):
        raise _Unreadable("half of a surrogate pair is no text")
    return value  # type: ignore[no-any-return]


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(text)
    return number


def _no_constant(name: str) -> Any:
    raise ValueError(name)


_DECODER: Final = json.JSONDecoder(parse_float=_finite, parse_constant=_no_constant)


def _depth_exceeds(value: Json, limit: int) -> bool:
    level = [value]
    for _ in range(limit):
        level = [child for parent in level for child in _children(parent)]
        if not level:
            return False
    return any(isinstance(value, list | dict) for value in level)


def _children(value: Json) -> list[Json]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []


def _encodable(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _item(value: Json) -> Item:
    if not isinstance(value, dict):
        return Malformed(_INVALID)
    id = value.get("id")
    if isinstance(id, bool | list | dict):
        return Malformed(_INVALID)
    method, params = value.get("method"), value.get("params", {})
    if value.get("jsonrpc") != "2.0" or not isinstance(method, str) or not isinstance(params, dict | list):
        return Malformed(_INVALID, id, stray="method" not in value and ("result" in value or "error" in value))
    return Request(Call(method, params), id, notification="id" not in value)


def _refused(fault: Fault) -> Single:
    return Single(Malformed(fault))


def _parse_error(data: str | None) -> Fault:
    return Fault(PARSE_ERROR, "Parse error", data)


def _invalid_request(data: str | None = None) -> Fault:
    return Fault(INVALID_REQUEST, "Invalid Request", data)


_INVALID: Final = _invalid_request()


def _pretty(value: Json, depth: int) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(_pretty(item, depth + 1) for item in value) + "]"
    if not isinstance(value, dict):
        return dump(value)
    indent = "\t" * depth
    lines = ",\n".join(f"{indent}{dump(key)}:\t{_pretty(item, depth + 1)}" for key, item in value.items())
    return "{\n" + (lines + "\n" if lines else "") + indent[1:] + "}"
