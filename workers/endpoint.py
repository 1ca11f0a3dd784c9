"""What one process has to say to others: words, put down per peer and sent as one frame each at the end of a turn."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from pathlib import Path

from workers.channel import Transport, open_channel
from workers.jobs import Job, Peer
from workers.steps import Step, after, before
from workers.wire import OVERHEAD_BYTES, PER_JOB_BYTES, Dispatch, Results, Word, encode, is_name, size_of

_MOST_UNANNOUNCED = 64
"""A peer may speak to us before the attendant has told us of it; so many such peers are answered."""


class _Line:
    """The way to one peer, and what is to go there at the end of this turn."""

    __slots__ = ("announced", "nbytes", "peer", "words")

    def __init__(self, peer: Peer, announced: bool) -> None:
        self.peer = peer
        self.announced = announced
        self.words: list[Word] = []
        self.nbytes = OVERHEAD_BYTES


class Endpoint:
    """The inbox of one process and its lines to others. To be made after the fork.

    Args:
        me: this process.
        folder: where the inboxes are; only its owner may enter it.
        max_frame_bytes: the largest frame that is sent or received.
        transport: what the frames go over.

    Raises:
        ValueError: the process's name cannot be part of a file name.
        OSError: the inbox cannot be bound, e.g. because the folder's path is too long for a Unix socket.
    """

    def __init__(self, me: Peer, folder: Path, max_frame_bytes: int, transport: Transport = "zmq") -> None:
        if not is_name(me.name):
            raise ValueError(f"not a process name: {me.name!r}")
        self.me = me
        self._max_frame_bytes = max_frame_bytes
        self._lines: dict[Peer, _Line] = {}
        self.unsent: list[_Line] = []
        """The lines on which something waits for a `flush`."""
        self.to_myself: deque[Word] = deque()
        """What this process says to itself; it needs no channel, but waits for a later turn all the same."""
        self.channel = open_channel(transport, me, folder, max_frame_bytes)
        """To be read from, and for no more: what is sent goes through `flush`."""

    def connect(self, peer: Peer, *, announced: bool = True) -> bool:
        """Open the line to a peer; False when there are too many that nobody announced."""
        line = self._lines.get(peer)
        if line is not None:
            line.announced = line.announced or announced
            return True
        if not announced and sum(not line.announced for line in self._lines.values()) >= _MOST_UNANNOUNCED:
            return False
        self.channel.connect(peer)
        self._lines[peer] = _Line(peer, announced)
        return True

    def disconnect(self, peer: Peer) -> None:
        """Close the line to a peer, and forget what has not reached it."""
        line = self._lines.pop(peer, None)
        if line is None:
            return
        if line.words:
            self.unsent.remove(line)
        self.channel.disconnect(peer)

    def send(self, peer: Peer, word: Word) -> bool:  # model: say_worker, say_origin, say
        """Put a word down for a peer; it goes with the next `flush`. False when there is no line to it."""
        line = self._lines.get(peer)
        if line is None:
            if peer == self.me:
                self.to_myself.append(word)
            return peer == self.me
        nbytes = size_of(word)
        if not line.words:
            self.unsent.append(line)
        elif line.nbytes + nbytes > self._max_frame_bytes:
            self._flush(line)
        line.words.append(word)
        line.nbytes += nbytes
        return True

    @after(Step.JOB_PUT_DOWN)
    def send_jobs(self, peer: Peer, jobs: Sequence[Job], weighed: bool) -> None:
        """Put jobs of one kind down for a peer, in as many frames as they need."""
        word = Dispatch(jobs, weighed)
        if len(jobs) > 1 and size_of(word) + OVERHEAD_BYTES > self._max_frame_bytes:
            half = len(jobs) // 2
            self.send_jobs(peer, jobs[:half], weighed)
            self.send_jobs(peer, jobs[half:], weighed)
        else:
            self.send(peer, word)

    @before(Step.ANSWER_MADE)
    @after(Step.ANSWER_PUT_DOWN)
    def send_result(self, peer: Peer, serial: int, payload: bytes, elapsed_s: float) -> None:
        """Put down what a blocking handler returned: into the column of the one before, if that was a result too."""
        line = self._lines.get(peer)
        if line is not None and line.words:
            last = line.words[-1]
            nbytes = line.nbytes + PER_JOB_BYTES + len(payload)
            if type(last) is Results and nbytes <= self._max_frame_bytes:
                line.nbytes = nbytes
                last.serials.append(serial)
                last.payloads.append(payload)
                last.elapsed_s.append(elapsed_s)
                return
        self.send(peer, Results([serial], [payload], [elapsed_s]))

    def is_unsent_to(self, peer: Peer) -> bool:
        """Whether something for that peer waits for a `flush`."""
        line = self._lines.get(peer)
        return line is not None and bool(line.words)

    def flush(self) -> None:
        """Send what was put down, one frame to each peer."""
        while self.unsent:
            self._flush(self.unsent.pop())

    @before(Step.FRAME_MADE)
    @after(Step.FRAME_SENT)
    def _flush(self, line: _Line) -> None:
        words, line.words, line.nbytes = line.words, [], OVERHEAD_BYTES
        self.channel.send(line.peer, encode(self.me, words))

    def close(self) -> None:
        """Say the last words, close everything and remove the inbox."""
        self.flush()
        self._lines.clear()
        self.channel.close()
