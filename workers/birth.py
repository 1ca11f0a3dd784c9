"""What happens in a new process between the fork and its role, and how it leaves."""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from types import FrameType
from typing import Final, NoReturn

import setproctitle
from msgspec import Struct

from workers.control import ControlLink
from workers.jobs import Peer
from workers.steps import Step, after, before, enter
from workers.terms import BootFailure
from workers.tree_events import ExitCode

log = logging.getLogger("layby.process")

_PR_SET_PDEATHSIG: Final = 1
"""prctl(2)."""

# Loaded here and not after the fork: loading takes locks that another thread of the attendant may hold then.
_LIBC: Final = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None

_GROUP_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""What a terminal or a service manager sends to every process of the group. The attendant acts on them for all."""


class Child(Struct, frozen=True):
    """What a role's main function gets.

    Args:
        peer: its name and which life of it this is.
        slot: its fixed number, the same in every life.
        role: the name of its role.
        control: its link to the attendant.
    """

    peer: Peer
    slot: int
    role: str
    control: ControlLink


class Birth(Struct, frozen=True):
    """How to begin: what the attendant settled before the fork.

    Args:
        child: who this is.
        main: the role; its result is the exit code.
        prepare: runs before the role, or None. A place for what every process does first, e.g. with its logging.
        title: what `ps` shows, before the name.
        attendant_pid: the parent.
        release: closes what the attendant has open for itself.
        mask: the signals to block, as they were before those of the fork were blocked.
        signals: those that the attendant handles.
    """

    child: Child
    main: Callable[[Child], int]
    prepare: Callable[[Child], None] | None
    title: str
    attendant_pid: int
    release: Callable[[], None]
    mask: Iterable[int]
    signals: Iterable[int]


def live(birth: Birth) -> NoReturn:
    """Be the new process, from the first instruction after the fork to the last one."""
    code = int(ExitCode.CRASHED)
    try:
        enter(birth.child.peer.name)
        _become(birth)
        code = _run(birth)
    except BaseException:
        # Before the role's main function, so most likely before logging works.
        sys.excepthook(*sys.exc_info())
    finally:
        # Never return into the attendant's stack, and never run its atexit handlers.
        _flush()
        os._exit(code & 0xFF)


@before(Step.BORN)
@after(Step.SET_UP)
def _become(birth: Birth) -> None:
    _die_with(birth.attendant_pid)
    signal.set_wakeup_fd(-1)
    birth.release()
    for number in birth.signals:
        signal.signal(number, signal.SIG_DFL)
    for number in _GROUP_SIGNALS:
        # A function that does nothing, not SIG_IGN: a program that this process starts would inherit SIG_IGN.
        signal.signal(number, _leave_it_to_the_attendant)
    signal.pthread_sigmask(signal.SIG_SETMASK, birth.mask)
    setproctitle.setproctitle(f"{birth.title}: {birth.child.peer.name}")


def _leave_it_to_the_attendant(number: int, frame: FrameType | None) -> None:
    pass


def _die_with(attendant_pid: int) -> None:
    """Have the kernel kill this process when its parent dies, however that comes about.

    The kernel watches the parent's *thread* that forked, which is why `ProcessTree.run` wants the main thread. Other
    systems have no such thing; there the end of file on the control link says it, to a process that runs its loop.
    """
    if _LIBC is not None and _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != attendant_pid:  # it died between the fork and the call above, so no signal will come
        os._exit(ExitCode.CRASHED)


def _run(birth: Birth) -> int:
    name = birth.child.peer
    try:
        if birth.prepare is not None:
            birth.prepare(birth.child)
        return birth.main(birth.child)
    except BootFailure as failure:
        log.critical("%s cannot start: %s", name, failure)
        birth.child.control.last_words(str(failure))
        return ExitCode.BOOT_FAILED
    except SystemExit as leaving:
        return leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)
    except BaseException:
        log.critical("%s crashed", name, exc_info=True)
        return ExitCode.CRASHED


def _flush() -> None:
    for handler in logging.getLogger().handlers:
        with suppress(Exception):
            handler.flush()
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):
            stream.flush()
