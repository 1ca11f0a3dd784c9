"""How states of destinations get into the database: by jobs, and the rest at the server's end."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

from runtime.db import DatabaseError
from runtime.recording import AT_ONCE, recorded

if TYPE_CHECKING:
    from runtime.dispatching.partition import Partition
    from workers.worker import Running

log = logging.getLogger("layby.dispatcher")

_here: list[Partition] = []


def enter(partitions: Sequence[Partition]) -> None:
    """From now on these are the partitions of the process in which the job runs."""
    _here[:] = partitions


def record_states(payload: bytes, running: Running) -> bytes:
    """The job: write states that the database has not got.

    Returns:
        How many they were, or why none was written, as msgpack.
    """
    return recorded(lambda: sum([one.save(AT_ONCE) for one in _here]))


def put_away(partitions: Sequence[Partition]) -> None:
    """At the server's end: write what is left, or say that it is lost."""
    for one in partitions:
        try:
            while one.save(AT_ONCE):
                pass
        except DatabaseError as error:
            log.error("partition %s: states of destinations are lost: %s", one.name, error)
