"""Transformations by their description: text and arguments in, a value out; None is NULL.

https://www.opensips.org/Documentation/Script-Tran-3-6
"""

import re

WHITE = " \t\r\n"


def integer(text):
    """``{s.int}``: the number that the text begins with."""
    digits = re.match(r"[+-]?\d+", text)
    return int(digits[0]) if digits else 0


def substring(text, offset, length):
    """A negative offset counts from the end; no length (0) goes up to the end, a negative one stops short of it."""
    start = len(text) + offset if offset < 0 else offset
    if not 0 <= start < len(text):
        return None
    end = len(text) + length if length <= 0 else start + length
    return text[start : min(end, len(text))] if end > start else ""


def selected(text, index, separator):
    """One of the fields; -1 is the last."""
    fields = text.split(separator)
    return fields[index] if -len(fields) <= index < len(fields) else None


def found(text, wanted, start=0):
    """Where the wanted text stands first."""
    at = text.find(wanted, start)
    return None if at < 0 else at


def found_last(text, wanted):
    """Where the wanted text stands last."""
    at = text.rfind(wanted)
    return None if at < 0 else at


def upper(text):
    """ASCII letters only: what else a byte means nobody knows."""
    return "".join(chr(ord(c) - 32) if "a" <= c <= "z" else c for c in text)


def lower(text):
    """As `upper`."""
    return "".join(chr(ord(c) + 32) if "A" <= c <= "Z" else c for c in text)


def filler(text, token, width):
    """What is missing up to the width, made of the token again and again."""
    return token * max(width - len(text), 0)


def filled_left(text, token, width):
    """Up to the width, from the text on to the left."""
    missing = max(width - len(text), 0)
    return filler(text, token, width)[len(token) * missing - missing :] + text


def filled_right(text, token, width):
    """Up to the width, from the text on to the right."""
    missing = max(width - len(text), 0)
    return text + filler(text, token, width)[:missing]


def wide(text, width):
    """Cut off, or filled with spaces."""
    return text[:width] + " " * (width - len(text))


def csv_fields(text):
    """Fields between commas, without the white space around them.

    A comma in double quotes is none, and two quotes in them are one.
    """
    fields, quoted, index = [""], False, 0
    while index < len(text):
        c = text[index]
        if quoted and text[index : index + 2] == '""':
            fields[-1] += '"'
            index += 1
        elif c == '"':
            quoted = not quoted
        elif c == "," and not quoted:
            fields.append("")
        else:
            fields[-1] += c
        index += 1
    return [field.strip() for field in fields]


def csv_value(text, index):
    """One of the fields; -1 is the last."""
    fields = csv_fields(text)
    return fields[index] if -len(fields) <= index < len(fields) else None


def parameters(text):
    """``name=value;name``: pairs, a name alone has an empty value."""
    pairs = [piece.strip(WHITE).partition("=") for piece in text.split(";")]
    return [(name, value) for name, _, value in pairs if name]


def parameter(text, wanted):
    """A parameter's value, empty where there is none."""
    return next((value for name, value in parameters(text) if lower(name) == lower(wanted)), "")


def has_parameter(text, wanted):
    """1 or 0."""
    return int(any(lower(name) == lower(wanted) for name, _ in parameters(text)))


def parameter_name(text, index):
    """The name of one of them, empty where there is none; -1 is the last."""
    names = [name for name, _ in parameters(text)]
    return names[index] if -len(names) <= index < len(names) else ""


URI = re.compile(r"(sips?):(?:([^@:]*)(?::([^@]*))?@)?([^:;?@\s]+)(?::(\d+))?(?:;([^?]*))?(?:\?(.*))?")


def uri_part(group, convert=str):
    """One part of a SIP URI: empty where the URI has none, NULL where the text is no URI."""

    def part(text):
        match = URI.fullmatch(text)
        if match is None:
            return None
        value = match[group]
        return "" if value is None else convert(value)

    return part


def substituted(text, pattern, replacement, everywhere):
    """``{re.subst,/pattern/replacement/flags}``: the first match, or each with ``g``; the text itself without one."""
    return re.sub(pattern, replacement, text, count=0 if everywhere else 1)


TRANSFORMATIONS = {
    "s.len": len,
    "s.int": integer,
    "s.substr": substring,
    "s.select": selected,
    "s.index": found,
    "s.rindex": found_last,
    "s.toupper": upper,
    "s.tolower": lower,
    "s.trim": lambda text: text.strip(WHITE),
    "s.triml": lambda text: text.lstrip(WHITE),
    "s.trimr": lambda text: text.rstrip(WHITE),
    "s.reverse": lambda text: text[::-1],
    "s.fill_left": filled_left,
    "s.fill_right": filled_right,
    "s.width": wide,
    "s.encode.hexa": lambda text: "".join(f"{ord(c):02x}" for c in text),
    "csv.count": lambda text: len(csv_fields(text)),
    "csv.value": csv_value,
    "param.value": parameter,
    "param.exist": has_parameter,
    "param.name": parameter_name,
    "param.count": lambda text: len(parameters(text)),
    "uri.user": uri_part(2),
    "uri.host": uri_part(4),
    "uri.port": uri_part(5, int),
    "uri.params": uri_part(6),
    "re.subst": None,  # has an argument of its own form, see `transformed`
}


def transformed(value, name, arguments):
    """A value after one transformation. NULL stays NULL; an integer counts as its text.

    Args:
        value: a string, an integer or None.
        name: e.g. ``s.len``.
        arguments: text and numbers; of ``re.subst`` the one text that follows the comma.
    """
    if value is None:
        return None
    if name == "re.subst":
        _, pattern, replacement, flags = arguments[0].split("/")
        return substituted(str(value), pattern, replacement.replace("\\0", "\\g<0>"), "g" in flags)
    return TRANSFORMATIONS[name](str(value), *arguments)
