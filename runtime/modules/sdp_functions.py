"""The part of module sipmsgops that works on session descriptions."""

from __future__ import annotations

import re
from typing import Final

from runtime.context import Context, RouteType
from runtime.script.declare import Kind, Module, Param, function
from runtime.script.sdp_access import get_sdp, set_sdp
from runtime.script.sdp_changes import Chosen, Move, change_codecs, has_codec, has_stream, without_streams
from runtime.sip.sdp import sdp_of

_CODEC: Final = (Param("name", Kind.STRING), Param("clock", Kind.STRING, optional=True))
_PATTERN: Final = Param("pattern", Kind.REGEX)


class SdpFunctions(Module):
    """Codecs and streams. Each sees the description as the ones before it have left it. Names count in either case."""

    @function("is_audio_on_hold", routes=RouteType.MESSAGE)
    def is_audio_on_hold(self, c: Context) -> int:
        """Whether the session description has an audio stream that is on hold (RFC 3264 8.4)."""
        session = sdp_of(c.message)
        streams = () if session is None else session.streams
        return 1 if any(stream.kind == "audio" and stream.is_on_hold for stream in streams) else -1

    @function("codec_exists", *_CODEC, routes=RouteType.MESSAGE)
    def codec_exists(self, c: Context, name: str, clock: str | None) -> int:
        """Whether some stream has a codec of that name, and of that clock rate where one is given."""
        return _has(c, _named(name, clock))

    @function("codec_exists_re", _PATTERN, routes=RouteType.MESSAGE)
    def codec_exists_re(self, c: Context, pattern: re.Pattern[str]) -> int:
        """Whether some stream has a codec whose name a regular expression finds."""
        return _has(c, _found(pattern))

    @function("codec_delete", *_CODEC, routes=RouteType.MESSAGE)
    def codec_delete(self, c: Context, name: str, clock: str | None) -> int:
        """Take a codec out of every stream; -1 where no stream has it.

        A stream that has no other is refused: it gets the port 0.
        """
        return _change(c, _named(name, clock), Move.AWAY)

    @function("codec_delete_re", _PATTERN, routes=RouteType.MESSAGE)
    def codec_delete_re(self, c: Context, pattern: re.Pattern[str]) -> int:
        """Take every codec out whose name a regular expression finds, as `codec_delete()` does."""
        return _change(c, _found(pattern), Move.AWAY)

    @function("codec_delete_except_re", _PATTERN, routes=RouteType.MESSAGE)
    def codec_delete_except_re(self, c: Context, pattern: re.Pattern[str]) -> int:
        """Take every codec out but those whose name a regular expression finds, as `codec_delete()` does."""
        return _change(c, lambda codec: not pattern.search(codec.name), Move.AWAY)

    @function("codec_move_up", *_CODEC, routes=RouteType.MESSAGE)
    def codec_move_up(self, c: Context, name: str, clock: str | None) -> int:
        """Put a codec in front of every stream's others; -1 where no stream has it."""
        return _change(c, _named(name, clock), Move.UP)

    @function("codec_move_up_re", _PATTERN, routes=RouteType.MESSAGE)
    def codec_move_up_re(self, c: Context, pattern: re.Pattern[str]) -> int:
        """Put the codecs in front whose name a regular expression finds, in the order in which they are."""
        return _change(c, _found(pattern), Move.UP)

    @function("codec_move_down", *_CODEC, routes=RouteType.MESSAGE)
    def codec_move_down(self, c: Context, name: str, clock: str | None) -> int:
        """Put a codec behind every stream's others; -1 where no stream has it."""
        return _change(c, _named(name, clock), Move.DOWN)

    @function("codec_move_down_re", _PATTERN, routes=RouteType.MESSAGE)
    def codec_move_down_re(self, c: Context, pattern: re.Pattern[str]) -> int:
        """Put the codecs behind the others whose name a regular expression finds, in the order in which they are."""
        return _change(c, _found(pattern), Move.DOWN)

    @function("stream_exists", _PATTERN, routes=RouteType.MESSAGE)
    def stream_exists(self, c: Context, pattern: re.Pattern[str]) -> int:
        """Whether there is a stream of a kind of media that a regular expression finds, e.g. ``image``."""
        text = get_sdp(c)
        return 1 if isinstance(text, str) and has_stream(text, pattern) else -1

    @function("stream_delete", _PATTERN, routes=RouteType.MESSAGE)
    def stream_delete(self, c: Context, pattern: re.Pattern[str]) -> int:
        """Take every stream out of such a kind of media; -1 where there is none."""
        text = _changeable(c)
        return _take(c, None if text is None else without_streams(text, pattern))


def _named(name: str, clock: str | None) -> Chosen:
    wanted = name.lower()
    return lambda codec: codec.name.lower() == wanted and clock in (None, "", str(codec.clock_hz))


def _found(pattern: re.Pattern[str]) -> Chosen:
    return lambda codec: pattern.search(codec.name) is not None


def _has(c: Context, chosen: Chosen) -> int:
    text = get_sdp(c)
    return 1 if isinstance(text, str) and has_codec(text, chosen) else -1


def _change(c: Context, chosen: Chosen, move: Move) -> int:
    text = _changeable(c)
    return _take(c, None if text is None else change_codecs(text, chosen, move))


def _changeable(c: Context) -> str | None:
    """The description; None where there is none, or where it is one part of several."""
    text = get_sdp(c)
    whole = c.message.body if c.body is None else c.body
    return text if isinstance(text, str) and text.encode("latin-1", "replace") == whole else None


def _take(c: Context, text: str | None) -> int:
    if text is None:
        return -1
    set_sdp(c, text)
    return 1
