"""`$sdp…`: the session description of a message (RFC 8866), read and changed by the line and by the word.

``LINE`` names a line by how it starts and by its number among those that start so, ``a=ptime[1]``; with nothing before
the bracket all lines count. Behind a slash ``WORD`` names a word of the line in the same way; words are what stands
between blanks and semicolons, and a slash in the name of one is written with a backslash. A stream stands before that:
``audio[1]/LINE/WORD``, the second stream whose kind of media starts with ``audio``.
Source of the form: OpenSIPS, "Core variables".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from runtime.context import Context, Value
from runtime.script.access import Unwritable
from runtime.script.kept import kept
from runtime.sip.body import read_body
from runtime.sip.sdp import MEDIA_TYPE, lines_of, split_streams

_PIECE = re.compile(r"((?:[^\\\[/]|\\.|\[(?![0-9]{1,4}\](?:/|$)))*)(?:\[([0-9]{1,4})\])?(/|$)")
_WORD = re.compile(r"[^ ;\r\n]+")
_TYPE_HEADERS: Final = ("content-type", "c")
_MOST_PIECES: Final = 3  # a stream, a line and a word


class Piece(NamedTuple):
    """One step of a path: how what it means starts, and its number among those that do."""

    start: str
    number: int


class Span(NamedTuple):
    """Where something stands in a text, from and up to; `rest` is where that begins which an assignment replaces."""

    start: int
    end: int
    rest: int


# The description as it is now


def get_sdp(c: Context) -> Value:
    """`$sdp`: the session description as it is now, alone or in a multipart; NULL when there is none."""
    if c.body is not None:
        return c.body.decode("latin-1") or None
    body = read_body(c.message)
    if body is None:
        return None
    return next((part.content.decode("latin-1") for part in body.leaves() if part.media_type == MEDIA_TYPE), None)


def set_sdp(c: Context, value: Value) -> None:
    """Assign `$sdp`: the message goes on with this description. NULL takes the body away."""
    if value is None:
        set_body(c, "", "")
    else:
        set_body(c, str(value), MEDIA_TYPE)


def set_body(c: Context, text: str, media_type: str) -> None:
    """Give the message that is relayed another body.

    Args:
        c: the message's context.
        text: the body; empty for none.
        media_type: its Content-Type; empty where there is none.
    """
    c.body = text.encode("latin-1", "replace")
    # What was said of another body before does not hold for this one.
    c.edits[:] = [edit for edit in c.edits if edit[1].partition(":")[0].strip().lower() not in _TYPE_HEADERS]
    if (c.message.content_type or "").partition(";")[0].strip().lower() != media_type.partition(";")[0].lower():
        c.edits.append(("remove", "content-type"))
        if media_type:
            c.edits.append(("append", f"Content-Type: {media_type}\r\n"))


# Paths


@kept(512)
def pieces_of(text: str) -> tuple[Piece, ...] | None:
    """Read a path; None for what is none."""
    pieces: list[Piece] = []
    at = 0
    while at <= len(text):
        found = _PIECE.match(text, at)
        if found is None:
            return None
        if len(pieces) == _MOST_PIECES:
            return None
        pieces.append(Piece(re.sub(r"\\(.)", r"\1", found[1]), int(found[2] or 0)))
        if not found[3]:
            break
        at = found.end()
    return tuple(pieces)


def _nth(found: Iterator[Span], index: int) -> Span | None:
    return next((span for at, span in enumerate(found) if at == index), None)


def _lines(text: str, start: str, offset: int, end: int) -> Iterator[Span]:
    """The lines within a part of the text that start so, without their ends."""
    at = offset
    for line in lines_of(text[offset:end]):
        bare = line.rstrip("\r\n")
        if bare.startswith(start):
            yield Span(at, at + len(bare), at)
        at += len(line)


def _words(text: str, line: Span, piece: Piece, named: str) -> Iterator[Span]:
    """The words of a line that start so. They are counted behind what named the line, where that ends in a colon."""
    begin = line.start + (len(named) if named.endswith(":") else 2)
    for found in _WORD.finditer(text, begin, line.end):
        if found[0].startswith(piece.start):
            yield Span(found.start(), found.end(), found.start() + len(piece.start))


def _within(text: str, pieces: tuple[Piece, ...], part: Span) -> Span | None:
    """What ``LINE/WORD`` means within a part of the text; the part itself where nothing is named."""
    if not pieces:
        return part
    line = _nth(_lines(text, pieces[0].start, part.start, part.end), pieces[0].number)
    if line is None or len(pieces) == 1:
        return line
    return _nth(_words(text, line, pieces[1], pieces[0].start), pieces[1].number) if len(pieces) == 2 else None


def _streams(text: str) -> tuple[Span, list[Span]]:
    """The session's part, and each stream's."""
    head, streams = split_streams(text)
    spans, at = [], len(head)
    for stream in streams:
        spans.append(Span(at, at + len(stream), at))
        at += len(stream)
    return Span(0, len(head), 0), spans


def _chosen(text: str, piece: Piece) -> list[tuple[int, Span]]:
    _, streams = _streams(text)
    wanted = f"m={piece.start}"
    return [(at, span) for at, span in enumerate(streams) if text.startswith(wanted, span.start)]


# What each variable means


def _in_all(text: str, path: str) -> Span | None:
    pieces = pieces_of(path)
    return None if pieces is None else _within(text, pieces, Span(0, len(text), 0))


def _in_session(text: str, path: str) -> Span | None:
    pieces = pieces_of(path)
    return None if pieces is None else _within(text, pieces, _streams(text)[0])


def _in_stream(text: str, path: str) -> Span | None:
    pieces = pieces_of(path)
    if pieces is None:
        return None
    chosen = _chosen(text, pieces[0])
    return _within(text, pieces[1:], chosen[pieces[0].number][1]) if pieces[0].number < len(chosen) else None


Finder = Callable[[str, str], Span | None]


def _reader(find: Finder) -> Callable[[Context, str], Value]:
    def get(c: Context, path: str) -> Value:
        text = get_sdp(c)
        found = find(text, path) if isinstance(text, str) else None
        return None if found is None or not isinstance(text, str) else text[found.start : found.end]

    return get


def _writer(find: Finder) -> Callable[[Context, str, Value], None]:
    def put(c: Context, path: str, value: Value) -> None:
        text = get_sdp(c)
        found = find(text, path) if isinstance(text, str) else None
        if found is None or not isinstance(text, str):
            raise Unwritable("there is no such line or word in the session description")
        if c.body is None and c.message.body.decode("latin-1") != text:
            raise Unwritable("the session description is one part of several, and is not changed by the line")
        set_body(c, _changed(text, found, value), MEDIA_TYPE)

    return put


def _changed(text: str, found: Span, value: Value) -> str:
    start, end = found.start, found.end
    if value is not None:
        new, is_stream = str(value), text[start:end].endswith("\n")
        if not is_stream and ("\r" in new or "\n" in new):
            raise Unwritable("a line of a session description takes no line end")
        if is_stream and not new.endswith("\n"):
            new += "\r\n"
        return text[: found.rest] + new + text[end:]
    if start == 0 or text[start - 1] == "\n":
        end = next((end + len(mark) for mark in ("\r\n", "\n") if text.startswith(mark, end)), end)
    elif text[start - 1] in " ;":
        start -= 1
    return text[:start] + text[end:]


get_line, set_line = _reader(_in_all), _writer(_in_all)
"""`$sdp.line(LINE/WORD)`: a line of the description, or a word of it."""
get_session, set_session = _reader(_in_session), _writer(_in_session)
"""`$sdp.session(LINE/WORD)`: the same, of the lines before the first stream."""
get_stream, set_stream = _reader(_in_stream), _writer(_in_stream)
"""`$sdp.stream(STREAM/LINE/WORD)`: a stream, or a line of it, or a word of that."""


def get_stream_index(c: Context, path: str) -> Value:
    """`$sdp.stream.idx(STREAM/LINE/WORD)`: the number of the first stream of that kind that has such a line or word."""
    text, pieces = get_sdp(c), pieces_of(path)
    if not isinstance(text, str) or pieces is None:
        return None
    for at, span in _chosen(text, pieces[0])[pieces[0].number :]:
        if _within(text, pieces[1:], span) is not None:
            return at
    return None
