"""The transformations of texts: families s, csv and re; SIP's values are in `transformations_sip`, session descriptions
in `transformations_sdp`, IP addresses in `transformations_ip`.

Source of names and meanings: OpenSIPS, "Script transformations".
"""

from __future__ import annotations

import base64
import binascii
import datetime
import hashlib
import hmac
import re
import zlib
from typing import Final

from runtime.context import Value
from runtime.script import transformations_ip, transformations_sdp, transformations_sip
from runtime.script.changes import CHANGES, Change, Wants, change, integer_of
from runtime.script.patterns import Substitution
from runtime.script.values import lowered

__all__ = ["CHANGES", "transformations_ip", "transformations_sdp", "transformations_sip"]

MAX_FILL: Final = 65_536
"""How long `fill_left` and `width` may make a text."""


def _latin(data: bytes) -> str:
    return data.decode("latin-1")


def _bytes(text: str) -> bytes:
    return text.encode("latin-1", "replace")


# s: strings


@change("s.len")
def _len(text: str) -> Value:
    """The length in characters."""
    return len(text)


@change("s.int")
def _int(text: str) -> Value:
    """The number that the text starts with; 0 when it starts with none. What 64 bits cannot hold is the nearest."""
    found = re.match(r"\s*([+-]?)0*([0-9]*)", text)
    assert found is not None, "it matches anything"
    sign, digits = found.groups()
    if len(digits) > 19:
        return -(2**63) if sign == "-" else 2**63 - 1
    return min(max(int(f"{sign}{digits or 0}"), -(2**63)), 2**63 - 1)


@change("s.eval")
def _eval(text: str) -> Value:
    """The text with the values of the variables that it names put in; NULL where it names what is not known."""
    raise AssertionError("the compiler calls what reads variables instead")


def _hashes() -> None:
    for name in ("md5", "sha1", "sha224", "sha256", "sha384", "sha512"):

        def digest(text: str, name: str = name) -> Value:
            return hashlib.new(name, _bytes(text), usedforsecurity=False).hexdigest()

        def keyed(text: str, key: str, name: str = name) -> Value:
            return hmac.new(_bytes(key), _bytes(text), name).hexdigest()

        CHANGES["s", name] = Change(digest, doc=f"The {name.upper()} digest, in hexadecimal digits.")
        if name != "md5":
            doc = f"The HMAC-{name.upper()} of the text with a key, in hexadecimal digits."
            CHANGES["s", f"{name}_hmac"] = Change(keyed, (Wants.TEXT,), doc=doc)


_hashes()


@change("s.crc32")
def _crc32(text: str) -> Value:
    """The CRC-32 as a decimal number."""
    return str(zlib.crc32(_bytes(text)))


@change("s.substr", Wants.INTEGER, Wants.INTEGER)
def _substr(text: str, start: int, length: int) -> Value:
    """The part from `start`, `length` characters long.

    A negative start counts from the end; a length below 1 leaves that many characters off the end.
    """
    if start < 0:
        start += len(text)
    if not 0 <= start < len(text):
        return None
    end = start + length if length >= 1 else len(text) + length
    return text[start : max(start, end)]


@change("s.select", Wants.INTEGER, Wants.TEXT)
def _select(text: str, index: int, separator: str) -> Value:
    """The field of that number, from 0, of the text cut at the separator; a negative number counts from the end."""
    pieces = text.split(separator[:1]) if separator else [text]
    return pieces[index] if -len(pieces) <= index < len(pieces) else None


@change("s.index", Wants.TEXT, Wants.INTEGER, optional=1)
def _index(text: str, part: str, start: int = 0) -> Value:
    """Where a part stands first, from 0 and not before `start`; NULL when it does not."""
    found = text.find(part, _start(text, start)) if part else -1
    return found if found >= 0 else None


@change("s.rindex", Wants.TEXT, Wants.INTEGER, optional=1)
def _rindex(text: str, part: str, start: int = -1) -> Value:
    """Where a part stands last, from 0 and not behind `start`; NULL when it does not."""
    found = text.rfind(part, 0, _start(text, start) + len(part)) if part else -1
    return found if found >= 0 else None


def _start(text: str, start: int) -> int:
    """A negative start counts from the end, round and round."""
    return start % len(text) if start < 0 and text else start


_UPPER: Final = str.maketrans("abcdefghijklmnopqrstuvwxyz", "ABCDEFGHIJKLMNOPQRSTUVWXYZ")


@change("s.toupper")
def _toupper(text: str) -> Value:
    """In capital letters."""
    return text.upper() if text.isascii() else text.translate(_UPPER)


@change("s.tolower")
def _tolower(text: str) -> Value:
    """In small letters."""
    return lowered(text)


_BLANK: Final = " \t\r\n"


@change("s.trim")
def _trim(text: str) -> Value:
    """Without the blanks around it."""
    return text.strip(_BLANK)


@change("s.triml")
def _triml(text: str) -> Value:
    """Without the blanks before it."""
    return text.lstrip(_BLANK)


@change("s.trimr")
def _trimr(text: str) -> Value:
    """Without the blanks behind it."""
    return text.rstrip(_BLANK)


@change("s.reverse")
def _reverse(text: str) -> Value:
    """Backwards."""
    return text[::-1]


@change("s.fill.left s.fill_left", Wants.TEXT, Wants.INTEGER)
def _fill_left(text: str, pad: str, width: int) -> Value:
    """Filled up on its left with `pad` to that width."""
    return _padding(pad, width - len(text), from_right=True) + text if pad and width <= MAX_FILL else None


@change("s.fill.right s.fill_right", Wants.TEXT, Wants.INTEGER)
def _fill_right(text: str, pad: str, width: int) -> Value:
    """Filled up on its right with `pad` to that width."""
    return text + _padding(pad, width - len(text), from_right=False) if pad and width <= MAX_FILL else None


@change("s.width", Wants.INTEGER)
def _width(text: str, width: int) -> Value:
    """Cut, or filled up with blanks on its right, to that width."""
    return text[:width].ljust(width) if 0 <= width <= MAX_FILL else None


def _padding(pad: str, count: int, *, from_right: bool) -> str:
    pad = pad.strip(_BLANK) or pad  # blanks around a comma mean nothing, unless there is nothing else
    if count <= 0:
        return ""
    filled = pad * (count // len(pad) + 1)
    return filled[-count:] if from_right else filled[:count]


@change("s.encode.hexa")
def _encode_hexa(text: str) -> Value:
    """Each byte as two hexadecimal digits."""
    return _bytes(text).hex()


@change("s.decode.hexa")
def _decode_hexa(text: str) -> Value:
    """The bytes that hexadecimal digits stand for."""
    try:
        return _latin(bytes.fromhex(text[: len(text) // 2 * 2]))
    except ValueError:
        return None


@change("s.hex2dec")
def _hex2dec(text: str) -> Value:
    """A hexadecimal number as a decimal one."""
    return int(text, 16) if re.fullmatch(r"(0[xX])?[0-9A-Fa-f]{1,15}", text) else None


@change("s.dec2hex")
def _dec2hex(text: str) -> Value:
    """A decimal number as a hexadecimal one."""
    number = integer_of(text)
    return None if number is None else f"{number & 0xFFFFFFFF:x}"


@change("s.b64encode")
def _b64encode(text: str) -> Value:
    """In base64."""
    return base64.b64encode(_bytes(text)).decode("ascii")


@change("s.b64decode")
def _b64decode(text: str) -> Value:
    """What base64 stands for; NULL when it is none."""
    try:
        return _latin(base64.b64decode(_bytes(text), validate=True))
    except binascii.Error:
        return None


@change("s.xor", Wants.TEXT)
def _xor(text: str, secret: str) -> Value:
    """Each byte xor the secret's, which is repeated; done twice it gives the text back."""
    if not secret:
        return None
    key = _bytes(secret)
    return _latin(bytes(byte ^ key[at % len(key)] for at, byte in enumerate(_bytes(text))))


@change("s.date2unix")
def _date2unix(text: str) -> Value:
    """A Date header (RFC 3261 20.17), which is always GMT, as seconds since 1970."""
    try:
        moment = datetime.datetime.strptime(text, "%a, %d %b %Y %H:%M:%S GMT")
    except ValueError:
        return None
    return str(int(moment.replace(tzinfo=datetime.UTC).timestamp()))


_COMMON: Final = {"'": "\\'", '"': '\\"', "\\": "\\\\", "\0": "\\0"}
_UNCOMMON: Final = {"'": "'", '"': '"', "\\": "\\", "0": "\0"}
_USER_CHARS: Final = re.compile(r"[^A-Za-z0-9_.!~*'()&=+$,;?/-]")
_PARAM_CHARS: Final = re.compile(r"[^A-Za-z0-9_.!~*'()\[\]/:&+$-]")


@change("s.escape.common")
def _escape_common(text: str) -> Value:
    """With a backslash before quotes, backslashes and zero bytes."""
    return re.sub(r"['\"\\\0]", lambda found: _COMMON[found[0]], text)


@change("s.unescape.common")
def _unescape_common(text: str) -> Value:
    """Without the backslashes that `s.escape.common` puts in."""
    return re.sub(r"\\(['\"\\0])", lambda found: _UNCOMMON[found[1]], text)


@change("s.escape.user")
def _escape_user(text: str) -> Value:
    """Fit for the user of a URI: what cannot stand there as `%xx`."""
    return _USER_CHARS.sub(_percent, text)


@change("s.escape.param")
def _escape_param(text: str) -> Value:
    """Fit for a parameter of a URI: what cannot stand there as `%xx`."""
    return _PARAM_CHARS.sub(_percent, text)


@change("s.unescape.user s.unescape.param")
def _unescape(text: str) -> Value:
    """With `%xx` as the characters that they stand for."""
    return re.sub(r"%([0-9A-Fa-f]{2})", lambda found: chr(int(found[1], 16)), text)


def _percent(found: re.Match[str]) -> str:
    return "".join(f"%{byte:02x}" for byte in _bytes(found[0]))


# csv


def _csv(text: str) -> list[str]:
    values, at = [], 0
    while True:
        found = re.compile(r'\s*(?:"((?:[^"]|"")*)"\s*|([^,]*))').match(text, at)
        assert found is not None, "the second alternative matches anything"
        quoted = found[1]
        values.append(found[2].strip() if quoted is None else quoted.replace('""', '"'))
        comma = text.find(",", found.end())
        if comma < 0:
            return values
        at = comma + 1


@change("csv.count")
def _csv_count(text: str) -> Value:
    """How many values a comma-separated list has."""
    return len(_csv(text))


@change("csv.value", Wants.INTEGER)
def _csv_value(text: str, index: int) -> Value:
    """The value of that number, from 0, of a comma-separated list; a negative number counts from the end."""
    values = _csv(text)
    return values[index] if -len(values) <= index < len(values) else None


# re


@change("re.subst", Wants.SUBSTITUTION)
def _re_subst(text: str, substitution: Substitution) -> Value:
    """With what a regular expression matches replaced: `/pattern/replacement/flags`, with the flags i, s and g."""
    return substitution.apply(text)
