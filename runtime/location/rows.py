"""Bindings as rows of a database, in OpenSIPS's table ``location``.

A user's rows are always replaced together: deleted, and those that there are now inserted, in one transaction. It says
the same to every kind of database, and does not depend on what was there before.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    DateTime,
    Float,
    Index,
    Integer,
    MetaData,
    RowMapping,
    String,
    Table,
    Text,
    and_,
    bindparam,
    delete,
    func,
    insert,
    inspect,
    or_,
    select,
)

from runtime.location.contact import ALL_METHODS, MEMORY_ONLY, Contact
from runtime.location.store import User

COLUMNS: Final = {
    "contact_id": "contact_id",
    "username": "user",
    "domain": "domain",
    "contact": "contact",
    "received": "received",
    "path": "path",
    "expires": "expires",
    "q": "q",
    "callid": "callid",
    "cseq": "cseq",
    "last_modified": "last_modified",
    "flags": "flags",
    "cflags": "cflags",
    "user_agent": "user_agent",
    "socket": "socket",
    "methods": "methods",
    "sip_instance": "sip_instance",
    "kv_store": "kv_store",
    "attr": "attr",
}
"""The columns, each with what stands before ``_column`` in the name of usrloc's parameter for it."""
_LAST_SECOND: Final = 2**31 - 1
"""What fits the column ``expires`` of a table that OpenSIPS made."""
_AT_ONCE: Final = 1000


class LocationTable(NamedTuple):
    """One domain's table.

    Args:
        domain: its name.
        table: with the usual column names as keys, whatever they are called in the database.
        use_domain: whether users are told apart by their domain too.
    """

    domain: str
    table: Table
    use_domain: bool


class Loaded(NamedTuple):
    """A row as it is loaded."""

    user: User
    contact: Contact


def location_table(domain: str, *, use_domain: bool = False, names: Mapping[str, str] | None = None) -> LocationTable:
    """The table of a domain.

    Args:
        names: the names of columns that are called differently, by their usual names.
    """
    names = names or {}

    def column(key: str, kind: Any, **more: Any) -> Column[Any]:
        return Column(names.get(key, key), kind, key=key, **more)

    table = Table(
        domain,
        MetaData(),
        column("contact_id", BigInteger, primary_key=True, autoincrement=False),
        column("username", String(64), nullable=False, server_default=""),
        column("domain", String(64)),
        column("contact", String(255), nullable=False, server_default=""),
        column("received", String(255)),
        column("path", String(255)),
        column("expires", BigInteger, nullable=False),
        column("q", Float, nullable=False, server_default="1.0"),
        column("callid", String(255), nullable=False, server_default="Default-Call-ID"),
        column("cseq", Integer, nullable=False, server_default="13"),
        column("last_modified", DateTime, nullable=False, server_default="1900-01-01 00:00:01"),
        column("flags", Integer, nullable=False, server_default="0"),
        column("cflags", String(255)),
        column("user_agent", String(255), nullable=False, server_default=""),
        column("socket", String(64)),
        column("methods", Integer),
        column("sip_instance", String(255)),
        column("kv_store", Text),
        column("attr", String(255)),
    )
    Index(f"{domain}_aor_idx", table.c.username, table.c.domain)
    return LocationTable(domain, table, use_domain)


def is_indexed(connection: Connection, place: LocationTable) -> bool:
    """Whether the database finds a user's rows without reading all of them."""
    username = place.table.c.username.name
    indexes = inspect(connection).get_indexes(place.domain)
    return any([index["column_names"][:1] == [username] for index in indexes])


def load(connection: Connection, place: LocationTable, now: float) -> Iterator[Loaded]:
    """The rows that have not expired at `now` (seconds of the epoch). One without the domain it needs is left out."""
    columns = place.table.c
    wanted = select(*columns).where(or_(columns.expires == 0, columns.expires > int(now)))
    for row in connection.execution_options(yield_per=_AT_ONCE).execute(wanted).mappings():
        user, domain = _script(row["username"]), _script(row["domain"])
        if user and (domain or not place.use_domain):
            yield Loaded(User(place.domain, f"{user}@{domain}" if place.use_domain else user), _contact(row))


def next_id(connection: Connection, place: LocationTable) -> int:
    """An id that is greater than every one that is used."""
    return int(connection.execute(select(func.max(place.table.c.contact_id))).scalar() or 0) + 1


def delete_expired(connection: Connection, place: LocationTable, now: float) -> int:
    """Delete the rows that have expired at `now`; how many they were."""
    expires = place.table.c.expires
    return connection.execute(delete(place.table).where(and_(expires != 0, expires <= int(now)))).rowcount


def replace(connection: Connection, place: LocationTable, users: Iterable[tuple[User, Sequence[Contact]]]) -> None:
    """Let each of these users have these contacts and no others. Contacts for the memory only are left out."""
    keys, rows = [], []
    for user, contacts in users:
        name, _, domain = user.aor.rpartition("@") if place.use_domain else (user.aor, "", "")
        keys.append({"the_user": _text(name), "the_domain": _text(domain)})
        rows += [_row(_text(name), _text(domain), contact) for contact in contacts if not contact.flags & MEMORY_ONLY]
    if not keys:
        return
    columns = place.table.c
    theirs = columns.username == bindparam("the_user")
    if place.use_domain:
        theirs = and_(theirs, columns.domain == bindparam("the_domain"))
    connection.execute(delete(place.table).where(theirs), keys)
    if rows:
        connection.execute(insert(place.table), rows)


def _row(user: str, domain: str, contact: Contact) -> dict[str, Any]:
    return {
        "contact_id": contact.id,
        "username": user,
        "domain": domain or None,
        "contact": _text(contact.uri),
        "received": _text(contact.received) or None,
        "path": _text(contact.path) or None,
        "expires": min(contact.expires_at, _LAST_SECOND),
        "q": contact.q / 1000 if contact.q >= 0 else -1.0,
        "callid": _text(contact.call_id),
        "cseq": contact.cseq,
        # OpenSIPS's clock there is the machine's local one.
        "last_modified": datetime.fromtimestamp(int(contact.modified_at)),
        "flags": contact.flags,
        "cflags": _text(contact.cflags) or None,
        "user_agent": _text(contact.user_agent),
        "socket": contact.socket or None,
        "methods": None if contact.methods == ALL_METHODS else contact.methods,
        "sip_instance": _text(contact.instance) or None,
        "attr": _text(contact.attr) or None,
    }


def _contact(row: RowMapping) -> Contact:
    q = float(row["q"])
    return Contact(
        id=int(row["contact_id"]),
        uri=_script(row["contact"]),
        expires_at=int(row["expires"]),
        q=round(q * 1000) if q >= 0 else -1,
        call_id=_script(row["callid"]),
        cseq=int(row["cseq"]),
        modified_at=row["last_modified"].timestamp(),
        received=_script(row["received"]),
        path=_script(row["path"]),
        user_agent=_script(row["user_agent"]),
        socket=row["socket"] or "",
        methods=ALL_METHODS if row["methods"] is None else int(row["methods"]),
        instance=_script(row["sip_instance"]),
        attr=_script(row["attr"]),
        flags=int(row["flags"] or 0),
        cflags=_script(row["cflags"]),
    )


# Script strings are bytes spelled as latin-1; a database has real text, without NULs.


def _text(script: str) -> str:
    if script.isascii() and "\0" not in script:
        return script
    try:
        return script.encode("latin-1").decode("utf-8").replace("\0", "")
    except UnicodeError:
        return script.replace("\0", "")


def _script(text: str | None) -> str:
    if not text or text.isascii():
        return (text or "").rstrip(" ")  # a column of fixed width is filled up with blanks
    return text.encode("utf-8").decode("latin-1").rstrip(" ")
