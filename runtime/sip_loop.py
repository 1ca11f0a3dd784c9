"""The event loop of a SIP process: datagrams go straight from the kernel's wake-up to who reads them.

An asyncio loop over a selector of its own, for two reasons.

All SIP processes wait on the same sockets. Registered with EPOLLEXCLUSIVE a datagram wakes one of them and not all: of
four processes three had been woken for nothing, for more CPU time than the request itself took. It also wakes the same
one again while that one keeps up, so that most of a call's messages find their transaction without being handed over.

And the readers of these sockets are called within `select` itself. A turn of asyncio's loop costs as much as reading a
datagram does; it is taken only where something was scheduled, or something else is ready.
"""

from __future__ import annotations

import asyncio
import contextlib
import select
import selectors
import time
from collections.abc import Callable, Iterator, Mapping
from contextvars import Context
from typing import TYPE_CHECKING, Any, Final, TypeVarTuple, Unpack

if TYPE_CHECKING:
    from _typeshed import FileDescriptorLike

_Ts = TypeVarTuple("_Ts")

_MOST: Final = 64
"""Events that one look at the kernel gives."""
_TOGETHER_S: Final = 0.001
"""For so long what readers have scheduled waits for more that can be read at once."""


class DirectSelector(selectors.BaseSelector):
    """A selector over epoll that calls some readers itself.

    Attributes:
        touched: set by the loop when something was scheduled, so that the next turn must come.
        waited_s: seconds that were spent waiting, all together.
    """

    def __init__(self) -> None:
        self.touched = False
        self.waited_s = 0.0
        self._epoll = select.epoll()
        self._keys: dict[int, selectors.SelectorKey] = {}
        """What the loop waits for, by descriptor."""
        self._direct: dict[int, Callable[[], None]] = {}
        """Who reads a descriptor at once; none of them is in `_keys`."""
        self._has_read = False
        """Whether the last look found anything for them."""
        self._changes = 0
        """Counts what was registered, changed and taken out: whether what the kernel said is still about the same."""

    def add_direct(self, fd: int, reader: Callable[[], None], *, exclusive: bool) -> None:
        """Call `reader` whenever there is something to read.

        Args:
            fd: a descriptor that is registered nowhere else here.
            reader: must not raise.
            exclusive: other processes wait for it too, and one of them is enough.

        Raises:
            KeyError: it is registered already.
            OSError: the kernel cannot wait for it.
        """
        self._expect_unknown(fd)
        self._epoll.register(fd, select.EPOLLIN | (select.EPOLLEXCLUSIVE if exclusive else 0))
        self._direct[fd] = reader

    def remove_direct(self, fd: int) -> None:
        """Call its reader no more."""
        if self._direct.pop(fd, None) is not None:
            self._leave(fd)

    # What every selector has.

    def register(self, fileobj: FileDescriptorLike, events: int, data: Any = None) -> selectors.SelectorKey:
        """See `selectors.BaseSelector`."""
        fd = fileobj if isinstance(fileobj, int) else fileobj.fileno()
        self._expect_unknown(fd)
        self._epoll.register(fd, _mask_of(events))
        self._changes += 1
        key = self._keys[fd] = selectors.SelectorKey(fileobj, fd, events, data)
        return key

    def unregister(self, fileobj: FileDescriptorLike) -> selectors.SelectorKey:
        """See `selectors.BaseSelector`."""
        key = self._keys.pop(self._fd_of(fileobj))
        self._changes += 1
        self._leave(key.fd)
        return key

    def modify(self, fileobj: FileDescriptorLike, events: int, data: Any = None) -> selectors.SelectorKey:
        """See `selectors.BaseSelector`."""
        old = self._keys[self._fd_of(fileobj)]
        self._changes += 1
        if old.events != events:
            try:
                self._epoll.modify(old.fd, _mask_of(events))
            except OSError:
                del self._keys[old.fd]  # it was closed
                raise
        key = self._keys[old.fd] = old._replace(events=events, data=data)
        return key

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """As every selector's; returns early when a reader has scheduled something, but reads first what lies there.

        What several datagrams have scheduled is then done for all of them at once, e.g. their jobs leave in one frame.
        """
        self.touched = False
        began = now = time.monotonic()
        ends = None if timeout is None else now + timeout
        while True:
            left = -1.0 if ends is None else max(0.0, ends - now)
            self._has_read = False
            ready = self._look(0.0 if self.touched else left, now)
            now = time.monotonic()
            if self.touched and self._has_read and now - began < _TOGETHER_S:
                continue  # what else is ready will be so again
            if ready or self.touched:
                return ready
            if ends is not None and now >= ends:
                return ready

    def _look(self, timeout: float, now: float) -> list[tuple[selectors.SelectorKey, int]]:
        changes = self._changes
        others: list[tuple[int, int]] = []
        found = self._epoll.poll(timeout, _MOST)
        self.waited_s += time.monotonic() - now
        for fd, mask in found:
            reader = self._direct.get(fd)
            if reader is None:
                others.append((fd, mask))
            else:
                self._has_read = True
                reader()
        if others and self._changes != changes:
            # A reader, or the script that it ran, has put other keys there, even for the same numbers. To give asyncio
            # the old key of a descriptor that is read again would make it take the new reader out.
            others = self._epoll.poll(0, _MOST)
        return self._ready(others)

    def _ready(self, found: list[tuple[int, int]]) -> list[tuple[selectors.SelectorKey, int]]:
        ready: list[tuple[selectors.SelectorKey, int]] = []
        for fd, mask in found:
            key = self._keys.get(fd)
            if key is not None and (events := _events_of(mask) & key.events):
                ready.append((key, events))
        return ready

    def close(self) -> None:
        """See `selectors.BaseSelector`."""
        self._keys.clear()
        self._direct.clear()
        self._epoll.close()

    def get_map(self) -> Mapping[FileDescriptorLike, selectors.SelectorKey]:
        """See `selectors.BaseSelector`: by descriptor, or by what has one."""
        return _Map(self)

    def _expect_unknown(self, fd: int) -> None:
        if fd in self._keys or fd in self._direct:
            raise KeyError(f"descriptor {fd} is registered already")

    def _leave(self, fd: int) -> None:
        # One that was closed before is out of the kernel's list already.
        with contextlib.suppress(OSError):
            self._epoll.unregister(fd)

    def _fd_of(self, fileobj: FileDescriptorLike) -> int:
        """The descriptor, also of an object that has been closed meanwhile; KeyError where it is not registered."""
        try:
            fd = fileobj if isinstance(fileobj, int) else fileobj.fileno()
        except ValueError:
            fd = -1  # a closed file says it so, a closed socket by -1
        if fd in self._keys:
            return fd
        for key in self._keys.values():
            if key.fileobj is fileobj:
                return key.fd
        raise KeyError(f"{fileobj!r} is not registered")


class _Map(Mapping["FileDescriptorLike", selectors.SelectorKey]):
    def __init__(self, selector: DirectSelector) -> None:
        self._selector = selector

    def __getitem__(self, fileobj: FileDescriptorLike) -> selectors.SelectorKey:
        return self._selector._keys[self._selector._fd_of(fileobj)]

    def __iter__(self) -> Iterator[FileDescriptorLike]:
        return iter(self._selector._keys)

    def __len__(self) -> int:
        return len(self._selector._keys)


def _mask_of(events: int) -> int:
    reads, writes = events & selectors.EVENT_READ, events & selectors.EVENT_WRITE
    return (select.EPOLLIN if reads else 0) | (select.EPOLLOUT if writes else 0)


def _events_of(mask: int) -> int:
    """An error or a hang-up is for who reads and for who writes."""
    reads = selectors.EVENT_READ if mask & ~select.EPOLLOUT else 0
    return reads | (selectors.EVENT_WRITE if mask & ~select.EPOLLIN else 0)


class SipLoop(asyncio.SelectorEventLoop):
    """A loop whose selector calls the readers of datagrams itself."""

    def __init__(self) -> None:
        self._direct_selector = DirectSelector()
        self._asked = time.monotonic(), 0.0
        """When `busy_part` was last asked, and how long had been waited by then."""
        super().__init__(self._direct_selector)

    def add_direct(self, fd: int, reader: Callable[[], None], *, exclusive: bool) -> None:
        """Call `reader` as soon as there is something to read, ahead of all that waits for its turn.

        What it raises is given to the exception handler.
        """

        def read() -> None:
            try:
                reader()
            except Exception as error:
                self.call_exception_handler({"message": f"reading descriptor {fd}", "exception": error})

        self._direct_selector.add_direct(fd, read, exclusive=exclusive)

    def remove_direct(self, fd: int) -> None:
        """Call its reader no more."""
        self._direct_selector.remove_direct(fd)

    def busy_part(self) -> float:
        """For which part of the time since this was last asked the loop had something to do: from 0 to 1."""
        now, waited_s = time.monotonic(), self._direct_selector.waited_s
        since, before_s = self._asked
        self._asked = now, waited_s
        return 1.0 - min(1.0, (waited_s - before_s) / (now - since)) if now > since else 0.0

    # What schedules something ends the wait: the selector's time-out was worked out before.

    def call_soon(
        self, callback: Callable[[Unpack[_Ts]], object], *args: *_Ts, context: Context | None = None
    ) -> asyncio.Handle:
        self._direct_selector.touched = True
        return super().call_soon(callback, *args, context=context)

    def call_at(
        self,
        when: float,
        callback: Callable[[Unpack[_Ts]], object],
        *args: *_Ts,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        self._direct_selector.touched = True
        return super().call_at(when, callback, *args, context=context)

    def stop(self) -> None:
        """As every loop's."""
        self._direct_selector.touched = True
        super().stop()
