"""Changes of a session description by its codecs and its streams (RFC 8866, RFC 3264), as text to text."""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import Enum
from typing import Final

from runtime.sip.sdp import Codec, lines_of, parse_sdp, split_streams

Chosen = Callable[[Codec], bool]
_FORMATS_AT: Final = 3
"""Where in a media line the formats begin."""
_OF_FORMAT: Final = re.compile(r"a=(?:rtpmap|fmtp|rtcp-fb):([^ \r\n]+)")


class Move(Enum):
    """What becomes of the codecs that are chosen."""

    AWAY = "away"
    UP = "up"
    DOWN = "down"


def has_codec(text: str, chosen: Chosen) -> bool:
    """Whether some stream has such a codec."""
    session = parse_sdp(text.encode("latin-1", "replace"))
    return session is not None and any(chosen(codec) for stream in session.streams for codec in stream.codecs())


def change_codecs(text: str, chosen: Chosen, move: Move) -> str | None:
    """The description with the chosen codecs of each stream taken away, or moved; None where there is none of them.

    A stream whose last codec goes is refused: it keeps that and gets the port 0 (RFC 3264 6).
    """
    session = parse_sdp(text.encode("latin-1", "replace"))
    if session is None or not has_codec(text, chosen):
        return None
    head, streams = split_streams(text)
    for at, stream in enumerate(session.streams):
        payloads = {codec.payload for codec in stream.codecs() if chosen(codec)}
        if payloads:
            streams[at] = _changed(streams[at], payloads, move)
    return head + "".join(streams)


def _changed(stream: str, payloads: set[str], move: Move) -> str:
    media, *lines = lines_of(stream)
    bare = media.rstrip("\r\n")
    words = [word for word in bare.split(" ") if word]
    formats = words[_FORMATS_AT:]
    others = [payload for payload in formats if payload not in payloads]
    match move:
        case Move.UP:
            formats = [payload for payload in formats if payload in payloads] + others
        case Move.DOWN:
            formats = others + [payload for payload in formats if payload in payloads]
        case Move.AWAY if others:
            formats = others
            lines = [line for line in lines if not _is_of(line, payloads)]
        case Move.AWAY:
            words[1] = "0"
            formats = formats[-1:]
    return " ".join([*words[:_FORMATS_AT], *formats]) + media[len(bare) :] + "".join(lines)


def _is_of(line: str, payloads: set[str]) -> bool:
    found = _OF_FORMAT.match(line)
    return found is not None and found[1] in payloads


def has_stream(text: str, pattern: re.Pattern[str]) -> bool:
    """Whether there is a stream of a kind of media that the pattern finds."""
    _, streams = split_streams(text)
    return any(pattern.search(_kind_of(stream)) for stream in streams)


def without_streams(text: str, pattern: re.Pattern[str]) -> str | None:
    """The description without the streams of such a kind; None where there is none of them."""
    head, streams = split_streams(text)
    kept = [stream for stream in streams if not pattern.search(_kind_of(stream))]
    return None if len(kept) == len(streams) else head + "".join(kept)


def _kind_of(stream: str) -> str:
    return stream[2:].partition(" ")[0]
