"""Where clients that read the dialogs page by page have come to, for all processes.

The pages that a script asks for may each run in another worker. The places lie in an environment of their own: each
page writes there, and no call must wait for that.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Final

import lmdb
import msgspec

from runtime.dialogs.paging import Places, Run
from runtime.store import open_environment


class SharedPlaces:
    """The places of all processes.

    Args:
        folder: where they lie; made with mode 0700 when it is not there.
    """

    def __init__(self, folder: Path) -> None:
        self._environment = open_environment(folder, _SIZE, tables=0)

    def after(self, index: int, now: float) -> int | None:
        """See `Places.after`."""
        if not index:  # where every reading begins
            return None
        with self._environment.begin() as read:
            return _places(read.get(_KEY)).after(index, now)

    def turn(self, index: int, next_index: int, last: int, more: bool, now: float) -> None:
        """See `Places.turn`. Where there is no room to note it, the next page is found by its rank."""
        with contextlib.suppress(lmdb.Error), self._environment.begin(write=True) as write:
            places = _places(write.get(_KEY))
            places.turn(index, next_index, last, more, now)
            write.put(_KEY, _ENCODER.encode(places.runs))

    def free_readers(self) -> None:
        """Free the reader slots of processes that died."""
        self._environment.reader_check()

    def close(self) -> None:
        self._environment.close()


def _places(packed: bytes | memoryview | None) -> Places:
    return Places(() if packed is None else _DECODER.decode(packed))


_KEY: Final = b"runs"
_SIZE: Final = 1 << 20
"""Bytes; all places together take some thousand, and each change as much again until nobody reads the old ones."""
_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final = msgspec.msgpack.Decoder(list[Run])
