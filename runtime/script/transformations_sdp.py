"""The transformations of session descriptions: family sdp."""

from __future__ import annotations

from runtime.context import Value
from runtime.script.changes import Wants, change, integer_of
from runtime.sip.sdp import lines_of, split_streams


@change("sdp.line", Wants.TEXT, Wants.INTEGER, optional=1)
def _line(text: str, letter: str, index: int = 0) -> Value:
    """The line of that letter, its letter included, counted from 0; a negative index counts from the end."""
    start = f"{letter.strip()}="
    found = [line for line in lines_of(text) if line.startswith(start)]
    return found[index].rstrip("\r\n") if -len(found) <= index < len(found) else None


@change("sdp.stream", Wants.TEXT)
def _stream(text: str, which: str) -> Value:
    """The stream of that index, or the first of that kind of media, from its media line on."""
    _, streams = split_streams(text)
    found = _chosen(streams, which)
    return streams[found[0]] if found else None


@change("sdp.stream-delete", Wants.TEXT)
def _stream_delete(text: str, which: str) -> Value:
    """The description without the stream of that index, or without all streams of that kind of media."""
    head, streams = split_streams(text)
    found = set(_chosen(streams, which))
    if not found:
        return None
    return head + "".join([stream for at, stream in enumerate(streams) if at not in found])


def _chosen(streams: list[str], which: str) -> list[int]:
    index = integer_of(which)
    if index is not None:
        return [index % len(streams)] if -len(streams) <= index < len(streams) else []
    wanted = which.strip()
    return [at for at, stream in enumerate(streams) if stream[2:].partition(" ")[0] == wanted]
