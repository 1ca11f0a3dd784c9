"""Recordings of what the processes do (`layby trace`), as MI commands; and each process's part in one."""

from __future__ import annotations

import asyncio
import base64
import logging
import math
import os
import secrets
import time
from typing import TYPE_CHECKING, Final

import msgspec

from mi_script.commands import Json, MiError, Params, command
from runtime.errors import SettingsError
from runtime.modules.base import RuntimeModule
from runtime.roles import TITLES, role_of
from runtime.tracing import folder as folders
from runtime.tracing.order import LEAST_BYTES, LONGEST_S, MOST_BYTES, Order, chosen_of
from runtime.tracing.recording import Recording
from runtime.tracing.records import Who
from workers.jobs import Peer

if TYPE_CHECKING:
    from runtime.house import House
    from runtime.process import Process
    from runtime.tracing.recorder import Recorder

log = logging.getLogger("layby.trace")

_LETTER: Final = "timeline"
"""Tells a process that there is another order than before."""
_MOST_PART: Final = 1 << 20
_USUAL_PART: Final = 32 << 10
"""Bytes of a file in one answer: what a datagram has room for."""
_USUAL_S: Final = 10.0
_APART_S: Final = 0.03
_LAST_S: Final = 0.5
"""When processes begin, one after the other, and the last of them at the latest."""
WHOLE_RUN_S: Final = 10 * 365 * 86_400.0
"""For who is recorded as long as it lives: longer than any server does."""


class Timelines(RuntimeModule):
    """Always there; a script does not load it."""

    name = "timelines"

    def furnish(self, house: House) -> None:
        super().furnish(house)
        self._folder = house.settings.trace or house.folder / "timeline"
        if house.settings.trace is not None:
            try:
                self._begin_run()
            except OSError as error:
                raise SettingsError(f"{self._folder}: {error.strerror}") from error

    def _begin_run(self) -> None:
        """Give the order for the life of a server, unless it lies there; what an earlier one has left is removed."""
        if folders.given(self._folder) is None or folders.recordings(self._folder):
            folders.forget(self._folder)
            folders.give(self._folder, new_order(WHOLE_RUN_S))

    def enter(self, process: Process) -> None:
        super().enter(process)
        self._recorder: Recorder | None = None
        self._ends: asyncio.TimerHandle | None = None
        process.letters[_LETTER] = self._on_letter

    def opened(self) -> None:
        self._follow(born=True)

    def leave(self) -> None:
        self._end()

    # A process's part.

    def _on_letter(self, sender: Peer, body: bytes) -> None:
        # To begin takes milliseconds, for the script is compiled once more: one process after the other, so that the
        # others serve meanwhile.
        self._follow(begins=False)
        self.process.loop.call_later(min(_LAST_S, self.process.slot * _APART_S), self._follow)

    def _follow(self, *, begins: bool = True, born: bool = False) -> None:
        """Do what the order says that was given last."""
        order = folders.given(self._folder)
        wanted = order if order is not None and order.ends_ns > time.monotonic_ns() else None
        if self._recorder is not None and (wanted is None or self._recorder.order.id != wanted.id):
            self._end()
        if begins and self._recorder is None and wanted is not None:
            self.process.stand_still()
            try:
                self._begin(wanted, born=born)
            finally:
                self.process.move_again()

    def _begin(self, order: Order, *, born: bool) -> None:
        # Here, since it brings all kinds of processes along: most servers are never recorded.
        from runtime.tracing.recorder import Recorder
        from runtime.tracing.watching import can_be_watched, watch

        if not can_be_watched(self.process):
            return
        process, now = self.process, time.monotonic_ns()
        peer = process.peer
        title = TITLES[role_of(peer.name)]
        who = Who(order.id, peer.name, peer.incarnation, os.getpid(), process.slot, title, now, born)
        try:
            if len(folders.recordings(self._folder)) >= folders.MOST_FILES:
                raise OSError("too many processes have been recorded already")
            recording = Recording(self._folder, who, order.bytes)
        except OSError as error:
            log.error("%s is not recorded: %s", peer, error)
            return
        self._recorder = Recorder(order, recording)
        watch(process, self._recorder)
        left_s = (order.ends_ns - now) / 1e9
        if left_s < WHOLE_RUN_S / 2:
            self._ends = process.loop.call_later(left_s, self._end)

    def _end(self) -> None:
        recorder, self._recorder = self._recorder, None
        if self._ends is not None:
            self._ends.cancel()
            self._ends = None
        if recorder is not None:
            from runtime.tracing.watching import leave_alone

            leave_alone(self.process)
            recorder.close()

    # The commands.

    @command(
        "timeline_start",
        (),
        ("seconds",),
        ("seconds", "share"),
        ("seconds", "share", "least_us"),
        ("seconds", "share", "least_us", "call_ids"),
        ("seconds", "share", "least_us", "call_ids", "kilobytes"),
        cost="quick",
        aliases=("timeline:start",),
    )
    def timeline_start(self, params: Params) -> Json:
        """Have all processes record what they do, for `layby trace live`: at most `seconds` long (10).

        `share` of the calls are recorded (1), each whole; statements that take `least_us` microseconds or more (50);
        Call-IDs only with `call_ids` 1. Each process writes up to `kilobytes` (4096).
        """
        before = folders.given(self._folder)
        if before is not None and before.ends_ns > time.monotonic_ns():
            raise MiError(480, "A timeline is being recorded already")
        order = self._order_of(params)
        try:
            folders.forget(self._folder)
            folders.give(self._folder, order)
        except OSError as error:
            raise MiError(500, "The timeline cannot be recorded", error.strerror) from error
        self._tell_all()
        return {"Id": order.id}

    def _order_of(self, params: Params) -> Order:
        seconds = _number(params, "seconds", _USUAL_S, 0.001, LONGEST_S)
        share = _number(params, "share", 1.0, 0.0, 1.0)
        least_us = _number(params, "least_us", 50.0, 0.0, 1e9)
        kilobytes = _number(params, "kilobytes", 4096.0, LEAST_BYTES / 1024, MOST_BYTES / 1024)
        call_ids = params.text("call_ids", "0") == "1"
        return new_order(seconds, share, least_us, call_ids=call_ids, size=int(kilobytes) * 1024)

    @command("timeline_stop", (), idempotent=True, cost="quick", aliases=("timeline:stop",))
    def timeline_stop(self, params: Params) -> Json:
        """End the recording, where there is one; the files that it has left, for `timeline_read`."""
        order = folders.given(self._folder)
        if order is None:
            raise MiError(404, "There is no timeline")
        now = time.monotonic_ns()
        if order.ends_ns > now and self.house.settings.trace is None:
            folders.give(self._folder, msgspec.structs.replace(order, ends_ns=now))
            self._tell_all()
        return {"Id": order.id, "Files": [folders.ORDER, *folders.recordings(self._folder)]}

    @command(
        "timeline_read",
        ("file", "start"),
        ("file", "start", "length"),
        idempotent=True,
        cost="quick",
        aliases=("timeline:read",),
    )
    def timeline_read(self, params: Params) -> Json:
        """A part of a file that `timeline_stop` has named, from `start`, in base64; less than asked for at its end."""
        start, length = params.integer("start"), params.integer("length", _USUAL_PART)
        if start < 0 or not 0 < length <= _MOST_PART:
            raise MiError(400, "Bad parameter value", f"start is 0 or more, length 1 to {_MOST_PART}")
        try:
            part = folders.part_of(self._folder, params.text("file"), start, length)
        except FileNotFoundError:
            raise MiError(404, "There is no such file") from None
        except OSError as error:
            raise MiError(500, "The file cannot be read", error.strerror) from error
        return {"Data": base64.b64encode(part).decode("ascii")}

    @command("timeline_forget", (), idempotent=True, cost="quick", aliases=("timeline:forget",))
    def timeline_forget(self, params: Params) -> Json:
        """Remove the files of a recording that has ended."""
        order = folders.given(self._folder)
        if order is not None and order.ends_ns > time.monotonic_ns():
            raise MiError(480, "A timeline is being recorded")
        folders.forget(self._folder)
        return "OK"

    def _tell_all(self) -> None:
        # In a turn of its own: this command may be run by what is recorded, and that goes on as it began.
        self.process.loop.call_soon(self._follow)
        for peer in self.process.node.peers():
            self.process.node.post(peer, _LETTER, b"")


def new_order(
    seconds: float, share: float = 1.0, least_us: float = 50.0, *, call_ids: bool = False, size: int = 4 << 20
) -> Order:
    """An order that begins now.

    Args:
        seconds: for how long.
        share: of the calls, 0 to 1.
        least_us: statements that take less are left out.
        call_ids: whether Call-IDs are written down.
        size: the most bytes that one process writes.
    """
    now = time.monotonic_ns()
    return Order(
        id=secrets.token_hex(8),
        began_ns=now,
        ends_ns=now + int(seconds * 1e9),
        epoch_ns=time.time_ns(),
        chosen=chosen_of(share),
        seed=secrets.randbits(32),
        least_ns=int(least_us * 1000),
        call_ids=call_ids,
        bytes=size,
    )


def _number(params: Params, name: str, usual: float, least: float, most: float) -> float:
    given = params.raw(name, usual)
    try:
        number = float(given) if isinstance(given, int | float | str) and given is not True else math.nan
    except (ValueError, OverflowError):
        number = math.nan
    if not least <= number <= most:
        raise MiError(400, "Bad parameter value", f"{name} must be a number from {least:g} to {most:g}")
    return number
