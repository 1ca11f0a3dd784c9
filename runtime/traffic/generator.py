"""The load generator: a process of its own, so that its work and its garbage do not disturb what it measures.

``python -m runtime.traffic.generator PLAN`` sends what the plan says and writes msgpack frames to its standard output;
`offer()` starts it and reads them.
"""

from __future__ import annotations

import contextlib
import gc
import os
import select
import socket
import struct
import subprocess
import sys
import time
from array import array
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO

import msgpack

import runtime
from runtime.traffic.calls import after_final
from runtime.traffic.merging import Merging, divided
from runtime.traffic.offer import (
    Acknowledge,
    Ended,
    Exchanges,
    Frame,
    Plan,
    Progress,
    from_wire,
    template,
    to_wire,
    which_are_slow,
)

ROOT = Path(runtime.__file__).parent.parent
"""Where the packages lie: the checkout's folder, or site-packages."""

_BURST = 64
"""So many datagrams at most go out, or come in from one port, before the other direction has its turn."""
_PROGRESS_S = 0.25
_START_IN_S = 0.1
_RECEIVE_BUFFER = 4 << 20
_LONGEST_DATAGRAM = 65_535
# Python has no name for Linux's option; SO_TIMESTAMPNS and its control message share this number on x86 and ARM.
# Where it means something else no timestamp arrives, and the moment of reading stands in for it.
SO_TIMESTAMPNS = 35
_TIMESPEC = struct.Struct("@ll")


class LoadError(Exception):
    """The generator could not be started, stopped in mid-run, or said something that is no frame."""


class Generator:
    """Sends one plan's requests by an absolute schedule and takes in the answers, all in one thread.

    Args:
        plan: what to send.
        report: gets a frame now and then, and an `Ended` last.
    """

    def __init__(self, plan: Plan, report: Callable[[Frame], None]) -> None:
        self._plan = plan
        self._report = report
        self._sources = [_open_source(plan) for _ in range(plan.sources)]
        self._fast = [template(plan, plan.fast_user, *each.getsockname()) for each in self._sources]
        self._slow = [template(plan, plan.slow_user, *each.getsockname()) for each in self._sources]
        self._exchanges = Exchanges(plan, which_are_slow(plan), time.monotonic() + _START_IN_S)
        self._lags = array("d")
        self._send_errors = 0
        self._progress_at = self._exchanges.start_s + _PROGRESS_S

    def run(self) -> None:
        """Offer the whole load, wait for what is outstanding, report, close the sockets."""
        exchanges = self._exchanges
        now = time.monotonic()
        while not exchanges.finished(now):
            self._send_due(now)
            self._resend_due(now)
            self._report_progress(now)
            readable, _, _ = select.select(self._sources, [], [], max(0.0, self._wake_at() - time.monotonic()))
            for source in readable:
                self._drain(source)
            now = time.monotonic()
        self._report_end(now)
        for source in self._sources:
            source.close()

    def _send_due(self, now: float) -> None:
        exchanges = self._exchanges
        for _ in range(_BURST):
            number = exchanges.counts.sent
            if number == self._plan.count or exchanges.intended_s(number) > now:
                return
            self._send(number)
            now = time.monotonic()
            self._lags.append(now - exchanges.intended_s(number))
            exchanges.sent(number, now)

    def _resend_due(self, now: float) -> None:
        for number in self._exchanges.due(now):
            self._send(number)

    def _send(self, number: int) -> None:
        self._put(number % len(self._sources), self._request(number))

    def _request(self, number: int) -> bytes:
        templates = self._slow if self._exchanges.is_slow(number) else self._fast
        return templates[number % len(self._sources)].numbered(number)

    def _put(self, source: int, data: bytes) -> None:
        try:
            self._sources[source].send(data)
        except OSError:  # the server is gone, or a buffer is full: as good as lost on the way, and sent again
            self._send_errors += 1

    def _drain(self, source: socket.socket) -> None:
        realtime_ahead_s = time.clock_gettime(time.CLOCK_REALTIME) - time.monotonic()
        for _ in range(_BURST):
            try:
                data, control, _, _ = source.recvmsg(_LONGEST_DATAGRAM, 64)
            except OSError:  # nothing more to read, or an ICMP error told on this socket
                return
            known = self._exchanges.received(data, arrived_s(control, realtime_ahead_s))
            if known is not None:
                self._acknowledge(known, data)

    def _acknowledge(self, known: Acknowledge, answer: bytes) -> None:
        for data in after_final(self._request(known.number), answer, known.again):
            self._put(known.number % len(self._sources), data)

    def _wake_at(self) -> float:
        exchanges = self._exchanges
        sent = exchanges.counts.sent
        next_send = exchanges.intended_s(sent) if sent < self._plan.count else exchanges.end_s
        return min(next_send, exchanges.next_due(), self._progress_at)

    def _report_progress(self, now: float) -> None:
        if now < self._progress_at:
            return
        self._progress_at = now + _PROGRESS_S
        counts, (fast_s, slow_s) = self._exchanges.counts, self._exchanges.take_latencies()
        elapsed_s = now - self._exchanges.start_s
        self._report(Progress(elapsed_s, counts.sent, counts.answered, counts.retransmitted, fast_s, slow_s))

    def _report_end(self, now: float) -> None:
        self._progress_at = now
        self._report_progress(now)
        exchanges, lags = self._exchanges, sorted(self._lags)
        window_s = max(exchanges.last_answer_s - exchanges.start_s, self._plan.count / self._plan.rate_per_s)
        lag_p99_s = lags[(len(lags) * 99 - 1) // 100]
        real_time = os.sched_getscheduler(0) == os.SCHED_FIFO
        lost, counts = exchanges.lost, exchanges.counts
        end = Ended(
            counts,
            lost,
            window_s,
            lag_p99_s,
            lags[-1],
            real_time,
            self._send_errors,
            exchanges.waiting_slow,
            *exchanges.waiting(now),
        )
        self._report(end)


def _open_source(plan: Plan) -> socket.socket:
    source = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    source.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
    with contextlib.suppress(OSError):
        source.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
    source.connect((plan.host, plan.port))
    source.setblocking(False)
    return source


def arrived_s(control: list[tuple[int, int, bytes]], realtime_ahead_s: float) -> float:
    """When the kernel took the datagram in, on the monotonic clock: how late we read it does not count."""
    for level, kind, data in control:
        if (level, kind) == (socket.SOL_SOCKET, SO_TIMESTAMPNS) and len(data) == _TIMESPEC.size:
            seconds, nanoseconds = _TIMESPEC.unpack(data)
            return float(seconds + nanoseconds / 1e9 - realtime_ahead_s)
    return time.monotonic()


def offer(plan: Plan, processes: int = 1) -> Iterator[Frame]:
    """Run a plan in processes of their own.

    Args:
        plan: what to send.
        processes: how many share it; one is enough where the server has but a few CPUs.

    Yields:
        `Progress` about four times a second from each of them, and one `Ended` last.

    Raises:
        LoadError: a generator failed, or did not end when it should have.
    """
    merging = Merging(processes)
    with contextlib.ExitStack() as stack:
        started = [stack.enter_context(_started(each)) for each in divided(plan, processes)]
        for generator, frame in _frames(started, time.monotonic() + plan.seconds + plan.grace_s + 15):
            told = merging.take(generator, frame)
            if told is not None:
                yield told


@contextlib.contextmanager
def _started(plan: Plan) -> Iterator[IO[bytes]]:
    command = [sys.executable, "-m", "runtime.traffic.generator", plan.to_json()]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, env=environment()) as process:
        assert process.stdout is not None
        try:
            yield process.stdout
        finally:
            process.kill()


def _frames(streams: Sequence[IO[bytes]], deadline: float) -> Iterator[tuple[int, Frame]]:
    """What generators write, with the number of each, until all have ended."""
    unpackers = {stream: msgpack.Unpacker(max_buffer_size=64 << 20, strict_map_key=False) for stream in streams}
    while unpackers:
        ready, _, _ = select.select(list(unpackers), [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            raise LoadError("the load generator did not end in time")
        for stream in ready:
            data = os.read(stream.fileno(), 1 << 16)
            if not data:
                raise LoadError("the load generator failed")
            unpackers[stream].feed(data)
            for plain in unpackers[stream]:
                frame = from_wire(plain)
                yield streams.index(stream), frame
                if isinstance(frame, Ended):
                    del unpackers[stream]
                    break


def environment() -> dict[str, str]:
    """The environment for a Python of ours: it finds the same packages, wherever the caller stands."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])}


def main(arguments: list[str]) -> int:
    """The generator process: one plan as JSON, frames to standard output."""
    plan = Plan.from_json(arguments[0])
    # By default the kernel may wake a sleeper 50 microseconds late, to save power; here that would be measured.
    with contextlib.suppress(OSError):
        Path("/proc/self/timerslack_ns").write_text("1000")
    # Where it is allowed, the clock of the measurement does not queue for a CPU behind what it measures.
    # It sleeps most of the time, and the kernel ends a real-time process's turn should it ever not. The figures say
    # whether it was so.
    with contextlib.suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    output = sys.stdout.buffer

    def report(frame: Frame) -> None:
        output.write(msgpack.packb(to_wire(frame)))
        output.flush()

    gc.disable()  # nothing here makes cycles, and a collection in mid-run would be a spike of our own making
    with contextlib.suppress(BrokenPipeError, KeyboardInterrupt):
        Generator(plan, report).run()
        return 0
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
