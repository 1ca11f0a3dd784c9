"""JSON documents as scripts use them: `$json(name/key[index])`.

A path is read apart from the values of the variables in it: what a script takes from a message and uses as a key is
one key, whatever it has of slashes and brackets. `mark` puts such a value between two characters that no script string
has, for those are bytes.

Source of the forms: OpenSIPS, module json; the layout of text is that of json-c, which that module prints with.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from typing import Final, NamedTuple, TypeAlias

from runtime.context import Document, Value
from runtime.script.access import Unwritable
from runtime.script.kept import kept
from runtime.script.patterns import MAX_TEXT_CHARS

MAX_DEPTH: Final = 32
"""How deep objects and arrays may stand in one another in one text, and how many steps a path may have."""
MAX_PATH_CHARS: Final = 4096

_OPEN: Final = "\ue000"
_CLOSE: Final = "\ue001"
_UNMARKED: Final = str.maketrans("", "", _OPEN + _CLOSE)
_WORD: Final = r"(?:\ue000[^\ue001]*\ue001|[^/\[\]\ue000])"
_NAME: Final = re.compile(f"{_WORD}+")
_STEP: Final = re.compile(rf"/({_WORD}+)|\[\ue000?(-?[0-9]{{1,9}})?\ue001?\]")
_64_BITS: Final = 2**63


class Missing:
    """Stands for "there is nothing": null is something."""

    __slots__ = ()


MISSING: Final = Missing()
Step: TypeAlias = str | int | None
"""A key of an object, an index of an array, or None for the place behind an array's last value."""


class Path(NamedTuple):
    """Where a value is.

    Args:
        name: the document's.
        steps: the way to it.
        part: ``keys`` or ``values``, where a script asks for those of an object; else empty.
    """

    name: str
    steps: tuple[Step, ...]
    part: str = ""


def mark(value: Value) -> str:
    """A variable's value, to be one key or one index of a path whatever it holds."""
    text = "<null>" if value is None else str(value).translate(_UNMARKED)
    return f"{_OPEN}{text}{_CLOSE}"


@kept(2048)
def parse_path(text: str) -> Path | None:
    """Read ``name/key[index]``; None for what is no path."""
    part = next((word for word in ("keys", "values") if text.endswith(f".{word}")), "")
    text = text.removesuffix(f".{part}")
    found = _NAME.match(text)
    if found is None or len(text) > MAX_PATH_CHARS:
        return None
    steps: list[Step] = []
    at = found.end()
    while at < len(text):
        step = _STEP.match(text, at)
        if step is None or len(steps) == MAX_DEPTH:
            return None
        key, index = step[1], step[2]
        steps.append(key.translate(_UNMARKED) if key is not None else None if index is None else int(index))
        at = step.end()
    return Path(found[0].translate(_UNMARKED), tuple(steps), part)


def find(documents: dict[str, Document], path: Path | None) -> Document | Missing:
    """The value at a path."""
    if path is None or path.name not in documents:
        return MISSING
    value = documents[path.name]
    for step in path.steps:
        if isinstance(value, dict):
            if not isinstance(step, str) or step not in value:
                return MISSING
            value = value[step]
        elif isinstance(value, list) and isinstance(step, int) and -len(value) <= step < len(value):
            value = value[step]
        else:
            return MISSING
    return value


def put(documents: dict[str, Document], path: Path | None, value: Document) -> None:
    """Put a value where a path says, in place of what is there. What is on the way to it must be there.

    Raises:
        Unwritable: it is not.
    """
    if path is None or path.part:
        raise Unwritable("this is not a path of $json that can be written")
    if not path.steps:
        documents[path.name] = value
        return
    holder = find(documents, path._replace(steps=path.steps[:-1]))
    match holder, path.steps[-1]:
        case dict(), str(key):
            holder[key] = value
        case list(), None:
            holder.append(value)
        case list(), int(index) if -len(holder) <= index < len(holder):
            holder[index] = value
        case _:
            raise Unwritable(f"there is no such place in $json({path.name})")


def remove(documents: dict[str, Document], path: Path | None) -> None:
    """Take away what stands at a path; nothing happens when it is not there."""
    if path is None or isinstance(find(documents, path), Missing):
        return
    if not path.steps:
        del documents[path.name]
        return
    holder = find(documents, path._replace(steps=path.steps[:-1]))
    match holder, path.steps[-1]:
        case dict(), str(key):
            del holder[key]
        case list(), int(index):
            del holder[index]


def listed(value: Document | Missing, part: str) -> list[Document]:
    """What a loop over a value walks through: an array's values, an object's values, or its keys."""
    if isinstance(value, dict):
        return list(value) if part == "keys" else list(value.values())
    return list(value) if isinstance(value, list) else []


def read(text: str) -> Document:
    """Read JSON text.

    Raises:
        Unwritable: it is none, or too long or too deep.
    """
    if len(text) > MAX_TEXT_CHARS:
        raise Unwritable(f"JSON text may have {MAX_TEXT_CHARS} characters at most")
    if text.count("[") + text.count("{") > MAX_DEPTH and _depth(text) > MAX_DEPTH:
        raise Unwritable(f"JSON may stand {MAX_DEPTH} deep in itself at most")
    try:
        if "\\u" not in text:
            return _loaded(text)
        # An escape may give any character, so the text has to be read as what its bytes say.
        return _spelled(_loaded(text.encode("latin-1").decode("utf-8", "surrogateescape")))
    except ValueError as error:
        raise Unwritable("this is not JSON") from error


def _loaded(text: str) -> Document:
    value: Document = json.loads(text, parse_constant=_no_constant, parse_float=_finite)
    return value


def _no_constant(name: str) -> Document:
    raise ValueError(f"{name} is not JSON")


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):  # it could not be written as JSON again
        raise ValueError("the number is too large")
    return number


_STRING_OR_BRACKET: Final = re.compile(r'"(?:[^"\\]|\\.)*"?|([\[{])|([\]}])', re.DOTALL)


def _depth(text: str) -> int:
    deepest = depth = 0
    for found in _STRING_OR_BRACKET.finditer(text):
        if found[1]:
            depth += 1
            deepest = max(deepest, depth)
        elif found[2]:
            depth -= 1
    return deepest


def _spelled(value: Document) -> Document:
    """The value with its strings' UTF-8 bytes spelled as latin-1."""
    match value:
        case str():
            return _script_text(value)
        case list():
            return [_spelled(item) for item in value]
        case dict():
            return {_script_text(key): _spelled(item) for key, item in value.items()}
        case _:
            return value


def _script_text(text: str) -> str:
    try:
        return text.encode("utf-8", "surrogateescape").decode("latin-1")
    except UnicodeEncodeError:  # half of a surrogate pair
        return text.encode("utf-8", "surrogatepass").decode("latin-1")


def value_of(found: Document | Missing, layout: Callable[[Document], str] | None = None) -> Value:
    """What a script reads: strings and integers as they are, anything else as JSON text.

    Args:
        found: what stands at a path.
        layout: writes objects and arrays; as `spaced` does where it is None.

    Returns:
        NULL where nothing is, or the text is too long for a script.
    """
    match found:
        case Missing():
            return None
        case bool() | None | float():
            return json.dumps(found)
        case int():
            return found if -_64_BITS <= found < _64_BITS else str(found)
        case str():
            return found
        case _:
            text = (layout or spaced)(found)
            return text if len(text) <= MAX_TEXT_CHARS else None


def spaced(value: Document) -> str:
    """JSON text with a space on either side of what brackets hold, and behind each comma and colon."""
    match value:
        case dict() if value:
            return f"{{ {', '.join([f'{_quoted(key)}: {spaced(item)}' for key, item in value.items()])} }}"
        case dict():
            return "{ }"
        case list() if value:
            return f"[ {', '.join([spaced(item) for item in value])} ]"
        case list():
            return "[ ]"
        case str():
            return _quoted(value)
        case _:
            return json.dumps(value)


def compact(value: Document) -> str:
    """JSON text without a space."""
    return without_escapes(value).replace("/", "\\/")


def without_escapes(value: Document) -> str:
    """JSON text without a space, slashes as they are."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def pretty(value: Document) -> str:
    """JSON text in lines."""
    return json.dumps(value, ensure_ascii=False, indent=2).replace("/", "\\/")


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("/", "\\/")


def merged(document: Document, patch: Document) -> Document:
    """A document as a merge patch changes it (RFC 7386). Neither of the two is changed."""
    if not isinstance(patch, dict):
        return patch
    result = dict(document) if isinstance(document, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merged(result.get(key), value)
    return result


def copy_of(documents: dict[str, Document]) -> dict[str, Document]:
    """Documents of one's own, which no change of these reaches."""
    return {name: _copy(value) for name, value in documents.items()}


def _copy(value: Document) -> Document:
    match value:
        case dict():
            return {key: _copy(item) for key, item in value.items()}
        case list():
            return [_copy(item) for item in value]
        case _:
            return value
