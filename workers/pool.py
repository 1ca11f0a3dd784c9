"""A pool of worker processes that begins and ends with a block of code."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from types import ModuleType, TracebackType
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from msgspec.structs import replace

from workers import calls
from workers.batches import OnTimeout, is_kill
from workers.client import enter
from workers.errors import BadHandlers, PoolBroken
from workers.joining import AttendantProcess, BootFailure, PoolSettings, fresh_folder, start_attendant
from workers.packing import codec_named
from workers.policy import DEFAULT_LIMITS, Limits, Policy
from workers.session import Session
from workers.sync import SyncPool
from workers.targets import path_of

if TYPE_CHECKING:
    from workers.asynchronous import AsyncPool

_SPIN_S = 100e-6
"""About what a small job's way there and back takes. Measured on 2 cores: a round trip of 160 µs instead of 250, since
nobody has to be woken; half of it does nothing, and twice as much no more."""

Handlers: TypeAlias = str | ModuleType | Callable[..., Any]
"""A module, or its name; a function, or its import path ``package.module:function``."""


class WorkerPool:
    """Worker processes on this machine. ``async with`` gives an `AsyncPool`, ``with`` a `SyncPool`.

    Leaving the block waits for the jobs that were accepted, at most ``drain_s``, and ends every process; when the block
    raised, they are cancelled. The pool ends with the process that made it, however that ends.

    Args:
        workers: how many processes run jobs.
        handlers: what they may be asked to run by its name: modules, of which every public function can be run (those
            in ``__all__``, else those that are defined there and begin with no underscore), or single functions. One,
            or several.
        max_workers: up to how many there are while jobs wait and all are occupied, or slow jobs have all but those that
            they leave free; by default no more than ``workers``.
        allow_imports: whether any function can be run by its import path, as executors do. By default only in a pool
            that was given no handlers.
        timeout_s: the deadline of this process's jobs in seconds, unless a handler or a submission says otherwise; None
            for none.
        on_timeout: what happens to a worker that still runs a job past its deadline: ``"abandon"``, it goes on for
            nobody; ``"kill"``, it is killed and replaced. A submission can say otherwise.
        kill_grace_s: how long past its deadline, in seconds, such a job may run.
        initializer: run in each worker before its first job, a function or its import path. When it raises in the
            first workers, entering the block raises.
        initargs: its arguments.
        max_jobs_per_worker: after so many jobs a worker is replaced.
        memory_limit: of one worker's resident memory, in bytes. Above it a worker is replaced.
        max_queued: how many jobs may wait in each process that submits, and ten times as many in all of them; one more
            is rejected.
        max_clients: how many processes may have joined at one time, this one included.
        transport: how jobs travel: Unix streams, or ZeroMQ, which takes longer but exists elsewhere than on Linux.
        codec: how arguments and results are written: msgpack, or pickle, for who trusts every process of the user.
        title: what ``ps`` shows before the names of the processes.
        policy: which worker a job of this process goes to, see `workers.policy`; None for the least loaded.
        limits: all other bounds; by default `workers.Limits` with a ``spin_s`` of 100 µs.
        folder: where the pool lives; by default a fresh folder that only this user may enter. For a known address.
        start_timeout_s: how long the start may take, in seconds.
        drain_s: how long the end may take, in seconds.

    Raises:
        BadHandlers: on entering: the handlers cannot be imported. The text says why.
        PoolBroken: on entering: the pool cannot start. The text says why.
        ValueError: an argument cannot be.

    Example::

        async with WorkerPool(workers=4, handlers="myapp.jobs") as pool:
            thumbnail = await pool.submit("resize", path="a.png", timeout_s=2.0)
    """

    def __init__(
        self,
        workers: int = 1,
        handlers: Handlers | Iterable[Handlers] = (),
        *,
        max_workers: int | None = None,
        allow_imports: bool | None = None,
        timeout_s: float | None = None,
        on_timeout: OnTimeout = "abandon",
        kill_grace_s: float = 0.1,
        initializer: str | Callable[..., object] | None = None,
        initargs: Iterable[Any] = (),
        max_jobs_per_worker: int | None = None,
        memory_limit: int | None = None,
        max_queued: int | None = None,
        max_clients: int = 16,
        transport: Literal["unix", "zmq"] = "unix",
        codec: Literal["msgpack", "pickle"] = "msgpack",
        title: str = "pool",
        policy: Policy | None = None,
        limits: Limits | None = None,
        folder: str | os.PathLike[str] | None = None,
        start_timeout_s: float = 30.0,
        drain_s: float = 5.0,
    ) -> None:
        if calls.importing_main():
            raise RuntimeError(
                "a worker imports this program to find its functions, and must not make a pool while it does; put what "
                'runs the program under  if __name__ == "__main__":'
            )
        is_kill(on_timeout)
        names = [_name_of(one) for one in _each(handlers)]
        if allow_imports or (allow_imports is None and not names):
            names.append(calls.ANY_FUNCTION)
        main_path = _main_path()
        self._settings = PoolSettings(
            folder=Path() if folder is None else Path(folder),
            workers=workers,
            max_workers=max_workers or 0,
            handlers=tuple(names),
            limits=_limits(limits or _own_limits(), max_queued, kill_grace_s),
            transport=transport,
            initializer=None if initializer is None else f"{calls.__name__}:{calls.initialize.__name__}",
            initargs=() if initializer is None else _packed(initializer, initargs, main_path, codec),
            max_jobs_per_worker=max_jobs_per_worker,
            memory_limit_bytes=memory_limit,
            kill_grace_s=kill_grace_s,
            max_guests=max_clients,
            title=title,
            codec=codec,
            main_path=main_path,
            sys_path=tuple(sys.path),
            drain_s=drain_s,
        )
        self._settings.check()
        self._on_timeout: OnTimeout = on_timeout
        self._options: dict[str, Any] = {"default_s": timeout_s, "policy": policy}
        self._start_timeout_s = start_timeout_s
        self._attendant: AttendantProcess | None = None
        self._pool: AsyncPool | SyncPool | None = None

    # -- with an event loop ---------------------------------------------------------------------------------------

    async def __aenter__(self) -> AsyncPool:
        from asyncio import to_thread

        from workers.asynchronous import AsyncPool

        try:
            session = Session(*await to_thread(self._start), **self._options)
        except BaseException:
            await to_thread(self._end, 0.0)
            raise
        self._pool = pool = AsyncPool(session, self._on_timeout)
        return pool

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        from asyncio import to_thread

        from workers.asynchronous import AsyncPool

        assert isinstance(self._pool, AsyncPool)
        try:
            if error is None:
                await self._pool.drain(self._settings.drain_s)
        finally:
            self._pool.close()
            await to_thread(self._end, self._settings.drain_s if error is None else 0.0)

    # -- without --------------------------------------------------------------------------------------------------

    def __enter__(self) -> SyncPool:
        try:
            session = Session(*self._start(), shared=True, **self._options)
        except BaseException:
            self._end(0.0)
            raise
        self._pool = pool = SyncPool(session, self._on_timeout)
        return pool

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        assert isinstance(self._pool, SyncPool)
        try:
            if error is None:
                self._pool.drain(self._settings.drain_s)
        finally:
            self._pool.close()
            self._end(self._settings.drain_s if error is None else 0.0)

    # -- both -----------------------------------------------------------------------------------------------------

    def _start(self) -> tuple[Any, bytes]:
        if self._attendant is not None:
            raise RuntimeError("this pool was entered already; make another one")
        settings = self._settings
        if settings.folder == Path():
            settings = replace(settings, folder=fresh_folder())
        self._attendant = start_attendant(settings)
        try:
            self._attendant.wait_ready(self._start_timeout_s)
        except BootFailure as problem:
            text = str(problem)
            raise (BadHandlers if "handlers" in text else PoolBroken)(text) from None
        return enter(self._attendant.folder, self._start_timeout_s)

    def _end(self, within_s: float) -> None:
        if self._attendant is not None:
            self._attendant.close(within_s)


def _each(handlers: Handlers | Iterable[Handlers]) -> Iterable[Handlers]:
    if isinstance(handlers, str | ModuleType) or callable(handlers):
        return [handlers]
    return handlers


def _name_of(handlers: Handlers) -> str:
    if isinstance(handlers, str):
        return handlers
    return handlers.__name__ if isinstance(handlers, ModuleType) else path_of(handlers)


def _main_path() -> str | None:
    # multiprocessing's name for it, so that what a worker pickles of it is found here.
    main = sys.modules["__main__"]
    sys.modules.setdefault(calls.MAIN, main)
    path = getattr(main, "__file__", None)
    return None if path is None else os.path.abspath(path)


def _own_limits() -> Limits:
    """A pool's own: its processes look for more for a moment before they sleep, where that takes nobody's processor."""
    return replace(DEFAULT_LIMITS, spin_s=_SPIN_S if len(os.sched_getaffinity(0)) > 1 else 0.0)


def _limits(limits: Limits, max_queued: int | None, kill_grace_s: float) -> Limits:
    if max_queued is not None:
        limits = replace(limits, max_queued=max_queued, max_pool_queued=10 * max_queued)
    return replace(limits, kill_grace_s=kill_grace_s)


def _packed(
    initializer: str | Callable[..., object], initargs: Iterable[Any], main_path: str | None, codec: str
) -> tuple[Any, ...]:
    path = initializer if isinstance(initializer, str) else path_of(initializer)
    return path, main_path, codec, codec_named(codec, shared=True).pack_call(tuple(initargs), None)
