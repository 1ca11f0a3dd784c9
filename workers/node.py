"""One process's place in the pool: it submits jobs, executes them, and carries letters for the floors above.

A node works in turns of whatever loop it lives in. With asyncio or uvloop, `Node.attach` is all; any other loop waits
for `fileno` to be readable or for `next_deadline`, and calls `on_readable` or `on_deadline`. Everything that a turn
leaves undone makes `next_deadline` a moment in the past, so no message stays behind the edge-triggered descriptor.

Callbacks may come back into the node: submit, pause, run a nested loop with the node attached to it, and resume. So a
turn keeps nothing that matters in a local variable.
"""

from __future__ import annotations

import logging
import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from workers.channel import Transport
from workers.endpoint import Endpoint
from workers.jobs import Job, JobId, Kind, Outcome, Peer, Returned
from workers.loads import LoadBoard
from workers.origin import OnProgress, Origin, Settled
from workers.policy import DEFAULT_LIMITS, Limits, Policy, least_expected
from workers.steps import Step, before
from workers.stimuli import JobView
from workers.wire import (
    MAX_TEXT,
    OVERHEAD_BYTES,
    Answers,
    Dispatch,
    Idle,
    Later,
    Letter,
    Malformed,
    Progress,
    Results,
    Withdraw,
    Word,
    clean,
    decode,
    size_of,
)
from workers.worker import Handler, Worker

if TYPE_CHECKING:
    import asyncio

    from workers.attachment import Attachment

log = logging.getLogger("layby.workers")

AT_ONCE = 0.0
"""What `Node.next_deadline` answers when there is more to do now."""

_COUNTERS = (
    "submitted",
    "returned",
    "failed",
    "worker_lost",
    "timed_out",
    "cancelled",
    "rejected",
    "late_answers",
    "reruns",
    "lost_jobs",
    "callback_errors",
    "executed",
    "handler_failures",
    "bad_frames",
    "from_the_dead",
    "letters_sent",
    "letters_received",
    "nudges",
)


class Node:
    """A process in the pool. To be made after the fork, and used from one thread.

    Args:
        me: this process.
        slot: its slot, unique among the processes that live at one time.
        folder: where the inboxes are (mode 0700).
        board: the load board of the pool.
        executes: whether it takes ordinary jobs. Jobs directed at it, and its own directed at itself, it always runs.
        handlers: what it may be asked to run, by name.
        limits: the bounds.
        on_letter: told of each letter: topic, sender, body.
        on_timed_out: told of each job whose time is over, and how many seconds it had, just before its caller is.
        transport: what frames between the processes go over; the same in all of them, see `workers.channel`.
        policy: which worker a job goes to, see `workers.policy`.
        on_late: told how many answers have come that nobody waits for any more.

    Attributes:
        me: this process.
        counters: what happened so far, by name; outcomes are counted where the job came from.

    Raises:
        ValueError: the process's name cannot be part of a file name.
        OSError: the inbox cannot be bound.
    """

    def __init__(
        self,
        me: Peer,
        slot: int,
        folder: Path,
        board: LoadBoard,
        *,
        executes: bool,
        handlers: Mapping[str, Handler],
        limits: Limits = DEFAULT_LIMITS,
        on_letter: Callable[[str, Peer, bytes], None] | None = None,
        on_timed_out: Callable[[Job, float], object] | None = None,
        transport: Transport = "zmq",
        policy: Policy = least_expected,
        on_late: Callable[[int], None] | None = None,
    ) -> None:
        self.me = me
        self.counters: dict[str, int] = dict.fromkeys(_COUNTERS, 0)
        self._slot = slot
        self._board = board
        self._executes = executes
        self._limits = limits
        self._on_letter = on_letter
        self._endpoint = Endpoint(me, folder, limits.max_frame_bytes, transport)
        self._origin = Origin(
            me,
            slot,
            board,
            limits=limits,
            policy=policy,
            endpoint=self._endpoint,
            counters=self.counters,
            on_timed_out=on_timed_out,
            on_late=on_late,
        )
        self._worker = Worker(
            me,
            slot,
            board,
            executes=executes,
            handlers=handlers,
            limits=limits,
            endpoint=self._endpoint,
            wake=self._wake,
            listen=self._receive,
            counters=self.counters,
        )
        self._kinds: dict[tuple[str, str, bool, int, Peer | None, bool], Kind] = {}
        self._peers: dict[Peer, tuple[int, bool]] = {}
        self._known: dict[tuple[str, int], Peer] = {(me.name, me.incarnation): me}
        self._by_slot: dict[int, Peer] = {slot: me}
        # name -> its newest dead incarnation. Dispatcher and worker keep to themselves; letters are stopped here.
        self._dead: dict[str, int] = {}
        self._letters: deque[tuple[str, Peer, bytes]] = deque()
        self._paused = 0
        # True until the inbox was found empty; then the descriptor tells of the next frame.
        self._may_have_frames = True
        self._closing = False
        self._closed = False
        self._channel = self._endpoint.channel
        self._fd = self._channel.fileno()
        self._attachment: Attachment | None = None
        now = time.monotonic()
        board.enter(slot, me.incarnation, now)
        self._origin.worker_up(me, slot, executes, now)

    # -- who is there ---------------------------------------------------------------------------------------------

    def peer_up(self, peer: Peer, slot: int, executes: bool) -> None:
        """A process has bound its inbox. An older incarnation of that name is dead thereby."""
        if self._closed or peer in self._peers or peer == self.me or self._is_dead(peer):
            return
        for other in [other for other in self._peers if other.name == peer.name or self._peers[other][0] == slot]:
            if other.name == peer.name and other.incarnation > peer.incarnation:
                return
            self.peer_down(other)
        self._endpoint.connect(peer)
        self._peers[peer] = (slot, executes)
        self._known[peer.name, peer.incarnation] = peer
        self._by_slot[slot] = peer
        self._origin.worker_up(peer, slot, executes, time.monotonic())
        self._wake()

    def peer_down(self, peer: Peer, reason: str = "") -> None:
        """A process is dead: its jobs are WorkerLost, or run elsewhere where they are idempotent."""
        if peer == self.me or self._closed:
            return
        self._dead[peer.name] = max(peer.incarnation, self._dead.get(peer.name, 0))
        slot, _ = self._peers.pop(peer, (None, False))
        self._known.pop((peer.name, peer.incarnation), None)
        if slot is not None and self._by_slot.get(slot) == peer:
            del self._by_slot[slot]
        self._origin.worker_down(peer, reason, time.monotonic())
        self._worker.origin_down(peer)
        self._endpoint.disconnect(peer)
        self._wake()

    def peers(self) -> dict[Peer, tuple[int, bool]]:
        """The other processes that were announced: slot, and whether they take ordinary jobs."""
        return dict(self._peers)

    def _is_dead(self, peer: Peer) -> bool:
        return peer.incarnation <= self._dead.get(peer.name, 0)

    # -- jobs -----------------------------------------------------------------------------------------------------

    def kind(
        self,
        handler: str,
        label: str,
        *,
        idempotent: bool = False,
        priority: int = 0,
        to: Peer | None = None,
        kill: bool = False,
    ) -> Kind:
        """What jobs of one sort have in common, for `submit_kind`; for the same arguments the same object.

        Args:
            handler: which of the worker's handlers is to run.
            label: under which name its running time is learnt.
            idempotent: it may run again after its worker died.
            priority: higher goes first among the jobs that wait here.
            to: the one peer to run it (this process too), or None for the least loaded.
            kill: kill the worker if it is still running the job ``Limits.kill_grace_s`` after the deadline.

        Raises:
            ValueError: the priority does not fit 32 bits.
        """
        key = (handler, label, idempotent, priority, to, kill)
        kind = self._kinds.get(key)
        if kind is None:
            if not -(2**31) <= priority < 2**31:
                raise ValueError(f"not a priority: {priority}")
            if len(self._kinds) >= self._limits.max_labels:
                del self._kinds[next(iter(self._kinds))]
            kind = self._kinds[key] = Kind(clean(handler), clean(label), idempotent, priority, to, kill)
        return kind

    def submit(
        self,
        handler: str,
        payload: bytes,
        *,
        label: str,
        timeout_s: float,
        settled: Settled,
        idempotent: bool = False,
        priority: int = 0,
        to: Peer | None = None,
        kill: bool = False,
        through_pause: bool = False,
        on_progress: OnProgress | None = None,
    ) -> Job:
        """Hand in a job: `kind` and `submit_kind` in one.

        Returns:
            The job; its name is for `cancel`.

        Raises:
            ValueError: the time limit is not finite, or the priority does not fit 32 bits.
            RuntimeError: the node is closed.
        """
        kind = self.kind(handler, label, idempotent=idempotent, priority=priority, to=to, kill=kill)
        return self.submit_kind(kind, payload, timeout_s, settled, through_pause, on_progress)

    def submit_kind(
        self,
        kind: Kind,
        payload: bytes,
        timeout_s: float,
        settled: Settled,
        through_pause: bool = False,
        on_progress: OnProgress | None = None,
    ) -> Job:
        """Hand in a job. Those of one turn leave together.

        Args:
            kind: what is to run, see `kind`.
            payload: its argument.
            timeout_s: after how many seconds it is TimedOut, whatever the worker does; 0 is the next turn.
            settled: told the outcome exactly once, from a later turn of the loop and never from within this call.
            through_pause: tell its outcome even while paused.
            on_progress: told, before the outcome, how far its handler says that it is.

        Returns:
            The job; its name is for `cancel`.

        Raises:
            ValueError: the time limit is not finite.
            RuntimeError: the node is closed.
        """
        timeout_s = self._checked(timeout_s)
        job = self._origin.submit(kind, payload, timeout_s, settled, time.monotonic(), through_pause, on_progress)
        if self._attachment is not None:
            self._attachment.wake()
        return job

    def submit_all(
        self, kind: Kind, payloads: Iterable[bytes], timeout_s: float, settled: Iterable[Settled]
    ) -> list[Job]:
        """Hand in many jobs of one kind, each with its payload and who is told of it; the rest as `submit_kind`."""
        timeout_s = self._checked(timeout_s)
        jobs = self._origin.submit_all(kind, payloads, timeout_s, settled, time.monotonic())
        if jobs:
            self._wake()
        return jobs

    def _checked(self, timeout_s: float) -> float:
        if self._closed:
            raise RuntimeError(f"{self.me} is closed")
        if timeout_s < 0.0:
            return 0.0
        if not timeout_s < math.inf:
            raise ValueError(f"not a time limit: {timeout_s}")
        return timeout_s

    def hurry(self, job: Job) -> None:
        """Let a job that was just submitted leave at once, if it is the only one that has not ended.

        It has nothing to leave together with, and need not wait for a turn of the loop, unless more are about to come.
        """
        if self._origin.has_only(job) and not self._closed:
            self._origin.hand_in(time.monotonic())
            self._endpoint.flush()

    async def call(  # model: ask
        self,
        handler: str,
        payload: bytes,
        *,
        label: str,
        timeout_s: float,
        to: Peer | None = None,
        idempotent: bool = False,
    ) -> Outcome:
        """Submit a job and wait for its outcome on the running loop, paused or not.

        A caller that is cancelled cancels its job.

        Raises:
            ValueError, RuntimeError: as `submit`.
        """
        from asyncio import CancelledError, get_running_loop  # who runs no loop need not load it

        future: asyncio.Future[Outcome] = get_running_loop().create_future()

        def settled(_: Job, outcome: Outcome) -> None:
            if not future.done():
                future.set_result(outcome)

        kind = self.kind(handler, label, idempotent=idempotent, to=to)
        job = self.submit_kind(kind, payload, timeout_s, settled, through_pause=True)
        try:
            return await future
        except CancelledError:
            self.cancel(job.id, "the caller was cancelled")
            raise

    def cancel(self, job: JobId, reason: str) -> bool:
        """Settle a job as Cancelled. One that waits never runs; an awaiting handler is cancelled; a blocking one is
        left to end, for nobody, and may ask whether somebody still waits for it.

        Returns:
            False when the job is settled already or is not of this process.
        """
        if self._closed or job.origin != self.me:
            return False
        cancelled = self._origin.cancel(job.serial, clean(reason), time.monotonic())
        self._wake()
        return cancelled

    def expected_s(self, label: str) -> float:
        """How long a job of that label is expected to occupy its worker, in seconds, by what was seen of it here."""
        return self._origin.expected_s(label)

    def jobs(self) -> list[JobView]:
        """The unsettled jobs of this process, oldest first."""
        return self._origin.jobs(time.monotonic())

    def pending(self) -> int:
        """Jobs of ours whose callers have not been told, and jobs that we execute."""
        return self._origin.pending() + len(self._worker)

    # -- letters --------------------------------------------------------------------------------------------------

    def post(self, peer: Peer, topic: str, body: bytes) -> bool:
        """Send a letter; letters to one peer arrive in their order, or not at all when it dies.

        Returns:
            False when the peer is unknown or dead, or the letter is too large.
        """
        letter = Letter(topic, body)
        fits = len(topic) <= MAX_TEXT and size_of(letter) <= self._limits.max_frame_bytes - OVERHEAD_BYTES
        if self._closed or not fits or not (peer in self._peers or peer == self.me):
            return False
        if not topic.isascii():
            letter = Letter(clean(topic), body)
        self._endpoint.send(peer, letter)
        self.counters["letters_sent"] += 1
        self._wake()
        return True

    def _read_letters(self) -> None:
        for _ in range(len(self._letters)):
            if self._paused or not self._letters:
                return
            topic, sender, body = self._letters.popleft()
            self.counters["letters_received"] += 1
            try:
                if self._on_letter is not None:
                    self._on_letter(topic, sender, body)
            except Exception:
                log.exception("a letter (%s) from %s raised", topic, sender)
                self.counters["callback_errors"] += 1

    # -- pausing --------------------------------------------------------------------------------------------------

    def pause(self) -> None:
        """Hold back ordinary jobs, letters, and settlements without ``through_pause``. Pauses nest."""
        self._paused += 1
        self._origin.paused = True
        if not self._closed:
            self._board.pause(self._slot, True)

    def resume(self) -> None:
        """End a pause; with the last one what was held back goes on, in its order.

        Raises:
            RuntimeError: the node is not paused.
        """
        if not self._paused:
            raise RuntimeError("resume without pause")
        self._paused -= 1
        if self._paused or self._closed:
            return
        self._board.pause(self._slot, False)
        self._origin.resume()
        self._nudge()
        self._wake()

    # -- turns ----------------------------------------------------------------------------------------------------

    def fileno(self) -> int:
        """The descriptor to wait on. It is edge-triggered: heed `next_deadline` as well, after every call."""
        return self._fd

    def on_readable(self, now: float) -> None:
        """Take a turn, because `fileno` was readable. ``now`` in CLOCK_MONOTONIC seconds."""
        self._may_have_frames = True
        self._turn(now)

    def on_deadline(self, now: float) -> None:
        """Take a turn, because `next_deadline` has come. ``now`` in CLOCK_MONOTONIC seconds."""
        self._turn(now)

    def next_deadline(self) -> float | None:
        """When to call `on_deadline` (CLOCK_MONOTONIC seconds); in the past when there is more to do now.

        It may come before there is anything to do.
        """
        if self._closed:
            return None
        if self._has_more():
            return AT_ONCE
        due = self._origin.due
        if self._worker.awaited:
            due = min(due, self._worker.beat_at)
        due = min(due, self._channel.due)
        return due if due < math.inf else None

    def _has_more(self) -> bool:
        origin, endpoint, worker = self._origin, self._endpoint, self._worker
        return bool(
            self._may_have_frames
            or endpoint.unsent
            or origin.fresh
            or origin.settlements
            or endpoint.to_myself
            or worker.directed
            or (not self._paused and (worker.ordinary or self._letters))
        )

    def _turn(self, now: float) -> None:
        # Asked here and not in each step, whether there is something to do: a turn has often only one thing to do.
        if self._closed:
            return
        origin, worker, endpoint = self._origin, self._worker, self._endpoint
        if self._may_have_frames or now >= self._channel.due:
            self._receive(now)
        if endpoint.to_myself:
            self._hear_myself(now)
        if origin.fresh or origin.freed or now >= origin.due:
            origin.tick(now)
        if worker.awaited:
            worker.beat(now)
        if origin.settlements:
            origin.deliver()
            origin.hand_in(now)  # what the callers submitted leaves in this turn as well
        if self._letters:
            self._read_letters()
        if self._closed:
            return
        if (
            (worker.directed or (worker.ordinary and not self._paused))
            and worker.run(self._paused > 0)
            and not self._closed
            and self._board.anybody_waits()
        ):
            self._nudge()
        if endpoint.unsent and not self._closed:
            endpoint.flush()

    def _receive(self, now: float) -> None:  # model: ignore
        self._may_have_frames = True  # a handler that listens may stop short of the end, with the edge used up
        for _ in range(self._limits.turn_frames):
            data = self._channel.receive()
            if data is None:
                self._may_have_frames = False
                return
            frame = decode(data, self.me, self._known, self._limits.max_frame_bytes)
            if isinstance(frame, Malformed):
                self.counters["bad_frames"] += 1
                log.warning("a frame of %d bytes was refused: %s", len(data), frame.reason)
            elif frame.sender == self.me:
                self.counters["bad_frames"] += 1  # nobody else may speak in our name
            elif frame.sender not in self._peers and self._is_dead(frame.sender):
                self.counters["from_the_dead"] += len(frame.words)
            else:
                for word in frame.words:
                    self._hear(frame.sender, word, now)

    def _hear_myself(self, now: float) -> None:
        words = self._endpoint.to_myself
        for _ in range(len(words)):
            if words:
                self._hear(self.me, words.popleft(), now)

    def _hear(self, sender: Peer, word: Word, now: float) -> None:
        match word:
            case Answers():  # model: hear_answer
                self._origin.answered(sender, word.answers, now)
            case Dispatch():  # model: hear_question
                self._accept(sender, word)
            case Results():  # model: hear_answer
                # Decoded frames have none, but this process says some to itself.
                columns = zip(word.serials, word.payloads, word.elapsed_s, strict=True)
                self._origin.answered(sender, [(serial, Returned(p, sender, s), s) for serial, p, s in columns], now)
            case Later(serial):
                self._origin.answers_later(sender, serial, now)
            case Progress():
                self._origin.progressed(sender, word)
            case Withdraw(serial):  # model: withdraw
                self._worker.withdraw(sender, serial)
            case Idle():
                self._origin.room_made(now)
            case Letter(topic, body):  # model: hear_drained
                self._letters.append((topic, sender, body))

    def _accept(self, sender: Peer, dispatch: Dispatch) -> None:
        if sender in self._peers or sender == self.me or self._endpoint.connect(sender, announced=False):
            self._worker.accept(dispatch)
        else:
            self.counters["bad_frames"] += 1

    def _nudge(self) -> None:
        """Being idle, tell the origins whose jobs wait for room; those that get an answer now hear it from that."""
        worker = self._worker
        if self._closed or not self._executes or self._paused or worker.directed or worker.ordinary:
            return
        for slot, jobs in enumerate(self._board.waiting()):
            peer = self._by_slot.get(slot) if jobs else None
            if peer is not None and not self._endpoint.is_unsent_to(peer):
                self._endpoint.send(peer, Idle())
                self.counters["nudges"] += 1

    # -- asyncio --------------------------------------------------------------------------------------------------

    def attach(self, loop: asyncio.AbstractEventLoop, next_deadline: Callable[[], float | None] | None = None) -> None:
        """Live in this loop from now on. A nested loop may borrow the node; attach it back afterwards.

        Handlers that answer later are awaited in the loop that was attached while not paused: a nested one ends too
        soon for them.

        Args:
            loop: the loop.
            next_deadline: asked after every turn in place of `next_deadline`, which it is to ask in its turn; for who
                looks at something after every turn, or has deadlines of its own.
        """
        if self._attachment is None:
            from workers.attachment import Attachment  # who runs no asyncio need not load it

            self._attachment = Attachment(
                self._fd, self.on_readable, self._turn, self.next_deadline, self._limits.spin_s, self._origin.expects
            )
        if self._worker.loop is None or not self._paused:
            self._worker.loop = loop
        self._attachment.attach(loop, next_deadline)

    def detach(self) -> None:
        """Leave the loop."""
        if self._attachment is not None:
            self._attachment.detach()

    def _wake(self) -> None:
        if self._attachment is not None:
            self._attachment.wake()

    # -- the end --------------------------------------------------------------------------------------------------

    def drain(self, reason: str) -> None:
        """From now on every `submit` is Rejected; what was accepted may end. Others stop sending ordinary jobs here,
        unless every worker drains.
        """
        self._origin.drain(clean(reason), time.monotonic())
        self._board.drain(self._slot)

    @before(Step.LEAVING)
    def close(self) -> None:  # model: leave
        """Settle what is left as Cancelled("shutdown"), give back what has not begun, and remove the inbox.

        There is no later turn: callers are told from within. What they submit meanwhile is Rejected, and what those
        submit raises. Closing twice is the same as once.
        """
        if self._closing:
            return
        self._closing = True
        self._origin.close("shutdown", time.monotonic())
        self._closed = True
        self._origin.deliver_all()
        self._worker.close()
        self.detach()
        self._endpoint.close()
        self._board.clear_slot(self._slot)
