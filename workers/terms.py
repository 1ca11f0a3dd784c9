"""The terms of a pool: what its creator settled, and the words at its door.

The settings go from the creator to the attendant, and from it to every guest, as msgpack; nothing is ever pickled.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias, assert_never

import msgpack
from msgspec import Struct
from msgspec.structs import asdict, replace

from workers.jobs import Peer
from workers.policy import DEFAULT_LIMITS, Limits

MAX_SETTINGS_BYTES: Final = 16 * 1024 * 1024
"""Of the settings on their way to the attendant, mostly the initialiser's arguments."""

MAX_WELCOME_BYTES: Final = 60_000
"""Of what a guest is told; it must fit into one message of the socket."""

MAX_FOLDER_BYTES: Final = 80
"""A Unix socket's whole path has at most 107 bytes, and the name of a process takes some."""


class BootFailure(Exception):
    """A process cannot start and would not be able to next time either. Its text is what people read."""


class PoolSettings(Struct, frozen=True):
    """What a pool is made with.

    Args:
        workers: how many processes run jobs, at least 1.
        max_workers: up to how many while they are wanted; the same as ``workers`` for a pool that does not grow.
        handlers: import paths of the modules whose functions may be run; see `workers.calls`.
        folder: where the sockets are, mode 0700, at most `MAX_FOLDER_BYTES`. It is the pool's own, and goes with it.
        limits: the bounds of each process's place in the pool.
        transport: how jobs travel.
        initializer: ``module:function``, run in each worker before its first job, or None.
        initargs: its arguments; what msgpack can carry.
        max_jobs_per_worker: after so many jobs a worker is replaced (it finishes what it has in hand); None for never.
        memory_limit_bytes: of one worker's resident memory; above it, a worker is replaced after its job, or killed in
            the middle of one. None for no limit.
        kill_grace_s: how long past its deadline a job of the kind "kill" may run.
        max_guests: how many processes may have joined at once, the creator being one of them.
        title: what `ps` shows before the name of a process.
        codec: how arguments and results travel, for `workers.calls`.
        main_path: the file that is the creator's ``__main__``, so that its functions can be found; or None.
        sys_path: where the creator imports from.
        idle_s: a worker above ``workers`` is retired when it was not needed for so long.
        drain_s: how long what was accepted may take when the pool ends, unless the creator's close says otherwise.
    """

    folder: Path
    workers: int = 1
    max_workers: int = 0
    handlers: tuple[str, ...] = ()
    limits: Limits = DEFAULT_LIMITS
    transport: Literal["unix", "zmq"] = "unix"
    initializer: str | None = None
    initargs: tuple[Any, ...] = ()
    max_jobs_per_worker: int | None = None
    memory_limit_bytes: int | None = None
    kill_grace_s: float = 0.1
    max_guests: int = 16
    title: str = "pool"
    codec: Literal["msgpack", "pickle"] = "msgpack"
    main_path: str | None = None
    sys_path: tuple[str, ...] = ()
    idle_s: float = 10.0
    drain_s: float = 5.0

    @property
    def most_workers(self) -> int:
        """``max_workers``, which defaults to ``workers``."""
        return max(self.workers, self.max_workers)

    @property
    def slots(self) -> int:
        """The rows of the load board: the workers', then the guests'."""
        return self.most_workers + self.max_guests

    def check(self) -> None:
        """Raise ValueError for what cannot be."""
        for name, least in (("workers", 1), ("max_guests", 1), ("max_jobs_per_worker", 1), ("memory_limit_bytes", 1)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise ValueError(f"{name}={value}: at least {least}")
        if self.max_workers and self.max_workers < self.workers:
            raise ValueError(f"max_workers={self.max_workers} is less than workers={self.workers}")
        for name in ("kill_grace_s", "idle_s", "drain_s"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise ValueError(f"{name}={getattr(self, name)}: not a span of time")
        if len(str(self.folder).encode("utf-8", "surrogateescape")) > MAX_FOLDER_BYTES:
            most = MAX_FOLDER_BYTES
            raise ValueError(
                f"the folder's path is too long for Unix sockets in it (at most {most} bytes): {self.folder}"
            )


def pack_settings(settings: PoolSettings) -> bytes:
    """Write settings down.

    Raises:
        TypeError: an argument of the initialiser is nothing that msgpack can carry.
        ValueError: they are too large.
    """
    plain = {name: getattr(settings, name) for name in PoolSettings.__struct_fields__}
    plain |= {"folder": str(settings.folder), "limits": asdict(settings.limits)}
    packed = bytes(msgpack.packb(plain, unicode_errors="surrogateescape"))
    if len(packed) > MAX_SETTINGS_BYTES:
        raise ValueError(f"the settings take {len(packed)} bytes; {MAX_SETTINGS_BYTES} are the most")
    return packed


def unpack_settings(packed: bytes) -> PoolSettings:
    """Read back what `pack_settings` wrote. Both ends are one version of one program."""
    plain = msgpack.unpackb(packed, unicode_errors="surrogateescape", strict_map_key=False)
    return _settings_of(plain)


def _settings_of(plain: Mapping[str, Any]) -> PoolSettings:
    tuples = {name: tuple(plain[name]) for name in ("handlers", "initargs", "sys_path")}
    return PoolSettings(**{**plain, **tuples, "folder": Path(plain["folder"]), "limits": Limits(**plain["limits"])})


class Welcome(Struct, frozen=True):
    """You are in, under this name; the board's descriptor comes with it."""

    peer: Peer
    slot: int
    settings: PoolSettings


class Refused(Struct, frozen=True):
    """You are not, and why."""

    reason: str


Greeting: TypeAlias = Welcome | Refused
"""The first word that a guest hears."""


def encode_greeting(greeting: Greeting) -> bytes:
    """Write a greeting down. What only workers need of the settings is left out.

    Raises:
        ValueError: the settings are too large for one message.
    """
    match greeting:
        case Welcome(peer, slot, settings):
            packed = pack_settings(replace(settings, initargs=()))
            frame = bytes(msgpack.packb(["welcome", peer.name, peer.incarnation, slot, packed]))
            if len(frame) > MAX_WELCOME_BYTES:
                raise ValueError(f"the settings take {len(frame)} bytes for a guest; {MAX_WELCOME_BYTES} are the most")
            return frame
        case Refused(reason):
            return bytes(msgpack.packb(["refused", reason]))
        case _:
            assert_never(greeting)


def decode_greeting(frame: bytes) -> Greeting | None:
    """Read a greeting back; None for what is none."""
    try:
        plain = msgpack.unpackb(frame)
        match plain:
            case ["welcome", str(name), int(incarnation), int(slot), bytes(packed)]:
                return Welcome(Peer(name, incarnation), slot, unpack_settings(packed))
            case ["refused", str(reason)]:
                return Refused(reason)
            case _:
                return None
    except (ValueError, TypeError, KeyError, msgpack.UnpackException):
        return None
