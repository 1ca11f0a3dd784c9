"""Where clients that read the dialogs page by page have come to, for all processes.

The pages that a script asks for may each run in another worker.
"""

from __future__ import annotations

import contextlib
from typing import Final

import lmdb
import msgspec

from runtime.dialogs.paging import Places, Run


class SharedPlaces:
    """The places of all processes, in the environment that the dialogs are in.

    Args:
        environment: where a table is made for them.
    """

    def __init__(self, environment: lmdb.Environment) -> None:
        self._environment = environment
        self._table = environment.open_db(b"paging")

    def after(self, index: int, now: float) -> int | None:
        """See `Places.after`."""
        if not index:  # where every reading begins
            return None
        with self._environment.begin(db=self._table) as read:
            return _places(read.get(_KEY)).after(index, now)

    def turn(self, index: int, next_index: int, last: int, more: bool, now: float) -> None:
        """See `Places.turn`. Where there is no room to note it, the next page is found by its rank."""
        with contextlib.suppress(lmdb.Error), self._environment.begin(write=True, db=self._table) as write:
            places = _places(write.get(_KEY))
            places.turn(index, next_index, last, more, now)
            write.put(_KEY, _ENCODER.encode(places.runs))


def _places(packed: bytes | memoryview | None) -> Places:
    return Places(() if packed is None else _DECODER.decode(packed))


_KEY: Final = b"runs"
_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final = msgspec.msgpack.Decoder(list[Run])
