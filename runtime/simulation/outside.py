"""A simulated machine has nothing around it: what a script would reach there is not touched by simulating it.

No socket of its processes leads anywhere, and their databases are copies: of the file where the script's database is
one, else empty ones. Like `clock` and `kernel` this stands in an interpreter that only simulates.
"""

from __future__ import annotations

import errno
import os
import shutil
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from runtime import db
from runtime.simulation.clock import put

if TYPE_CHECKING:
    from sqlalchemy import URL

_WAYS_OUT: Final = ("bind", "connect", "connect_ex", "sendto", "sendmsg")


def install() -> None:
    """Cut off what leads out of this interpreter."""
    for name in _WAYS_OUT:
        put(socket.socket, name, _unreachable)


def copy_databases(folder: Path) -> None:
    """From now on databases are copies in a folder."""
    read = db.parse_url
    copies: dict[str, URL] = {}

    def parse_url(text: str) -> URL:
        from sqlalchemy import URL  # as in `runtime.db`: most scripts need none

        url = read(text)
        if text not in copies:
            copy = folder / f"database-{len(copies)}"
            if url.get_backend_name() == "sqlite" and url.database and os.path.exists(url.database):
                shutil.copyfile(url.database, copy)
            copies[text] = URL.create("sqlite", database=str(copy))
        return copies[text]

    put(db, "parse_url", parse_url)


def _unreachable(*args: Any) -> Any:
    raise OSError(errno.ENETUNREACH, os.strerror(errno.ENETUNREACH))
