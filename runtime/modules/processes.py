"""The processes of the server as MI commands show them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runtime.process_table import Row
from runtime.roles import MI, SIP, TITLES

if TYPE_CHECKING:
    from runtime.house import House


def alive(house: House) -> list[Row]:
    """The processes that there are, without the attendant."""
    return [row for row in house.table if row.pid]


def title_of(house: House, row: Row) -> str:
    """What `ps` calls a process: its kind, and what it listens on."""
    title = TITLES[row.role]
    if row.role == SIP:
        return " ".join([title, *map(str, house.settings.listen)])
    return " ".join([title, *_listens(house)]) if row.role == MI else title


def _listens(house: House) -> list[str]:
    """What the MI process listens on."""
    modules = house.program.modules
    found = []
    if "mi_fifo" in modules:
        found.append(f"FIFO {modules['mi_fifo'].settings['fifo_name']}")
    if "mi_datagram" in modules:
        found.append(f"Datagram {modules['mi_datagram'].settings['socket_name']}")
    if "mi_http" in modules:
        settings = modules["httpd"].settings
        found.append(f"HTTPD {settings['ip']}:{settings['port']}")
    return found
