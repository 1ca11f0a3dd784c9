"""The attendant's end of one link, watched by its loop: what arrives is handed on, what does not fit goes later."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from workers.control import AttendantEnd, Said
from workers.loop import READ, WRITE, Loop

_LAST_WORDS_BATCHES: Final = 256
"""More than a socket holds; a bound only in case that somebody else still writes into it."""


class WatchedLink:
    """A link in the attendant's loop.

    Args:
        loop: the loop, open.
        end: the attendant's end; closed with this.
        hear: told of each word.
        ended: told once that nothing more will come: the other side closed its end, or is dead.
    """

    def __init__(self, loop: Loop, end: AttendantEnd, hear: Callable[[Said], None], ended: Callable[[], None]) -> None:
        self._loop = loop
        self._end = end
        self._hear = hear
        self._ended = ended
        self._watched = READ
        """What the loop watches the link for; 0 when it does not any more."""
        self._closed = False
        loop.watch(end, READ, self._on_events)

    def send(self, frame: bytes) -> bool:
        """Send now or as soon as there is room; False when the other side leaves too much unread."""
        taken = self._end.send(frame)
        self._watch()
        return taken

    def hear_last_words(self) -> None:
        """Hand on everything that is still in the socket."""
        for _ in range(_LAST_WORDS_BATCHES):
            said, ended = self._end.receive()
            for word in said:
                self._hear(word)
            if ended or not said:
                return

    def close(self) -> None:
        """Let go of it. Events that the loop's current turn has already seen are ignored."""
        if not self._closed:
            self._closed = True
            self._unwatch()
            self._end.close()

    def close_in_child(self) -> None:
        """Close the descriptor in a process that was forked from this one; see `Loop.close_in_child`."""
        self._end.close()

    def _on_events(self, events: int) -> None:
        if self._closed:
            return
        if events & WRITE:
            self._end.flush()
            self._watch()
        if events & READ:
            said, ended = self._end.receive()
            if ended:
                self._unwatch()
            for word in said:
                self._hear(word)
            if ended:
                self._ended()

    def _watch(self) -> None:
        """Watch for room in the socket only while something waits for it."""
        wanted = READ | (WRITE if self._end.wants_write else 0)
        if self._watched and self._watched != wanted:
            self._watched = wanted
            self._loop.change(self._end, wanted, self._on_events)

    def _unwatch(self) -> None:
        if self._watched:
            self._loop.unwatch(self._end)
            self._watched = 0
