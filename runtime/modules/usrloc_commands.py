"""The MI commands of module usrloc. Their strings are real text; the store holds bytes spelled as latin-1."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Final

from mi_script.commands import Json, MiError, Params, command
from runtime.clock import epoch_now
from runtime.location.bindings import (
    Accepted,
    Limits,
    Refused,
    Registration,
    Wanted,
    register,
    remove,
)
from runtime.location.contact import ALL_METHODS, MEMORY_ONLY, Contact, Matching, canonical
from runtime.location.recorder import flushed
from runtime.location.store import Decide, Locations, User
from runtime.modules.base import RuntimeModule
from runtime.modules.texts import bytes_text, script_text
from runtime.sip.uri import parse_uri
from runtime.store import StoreError

_MI_CALL_ID: Final = "dfjrewr12386fd6-343@layby.mi"
_MAX_Q: Final = 1000
_FLUSH_S: Final = 10.0
"""How long `ul_flush` waits: longer than the database may take to refuse."""
_SYNC_S: Final = 60.0
"""`ul_sync` may have all bindings to write."""
MAX_DUMPED: Final = 30_000
"""Contacts in one answer: about what one can hold."""
MAX_BRIEF: Final = 300_000
"""Users in one answer without their contacts."""


class UsrlocCommands(RuntimeModule):
    """What usrloc offers to outside programs."""

    locations: Locations
    domains: frozenset[str]
    matching: Matching
    records: bool
    change: Callable[[User, Decide], Accepted | Refused]
    contacts: Callable[[User, float], list[Contact]]

    @command("ul_dump", (), ("brief",), idempotent=True, cost="slow", aliases=("usrloc:dump",))
    def ul_dump(self, params: Params) -> Json:
        """All bindings; with `brief` the users alone."""
        brief = "brief" in params and params.text("brief") == "brief"
        now, room = epoch_now(), MAX_BRIEF if brief else MAX_DUMPED
        domains: list[Json] = []
        for domain in sorted(self.domains):
            aors: list[Json] = []
            for user, contacts in self.locations.everybody(domain):
                alive = [contact for contact in contacts if contact.is_alive(now)]
                room -= bool(alive) if brief else len(alive)
                if room < 0:  # told before all of it is in memory
                    raise MiError(400, "Too many contacts", "ask with brief, or for one user with ul_show_contact")
                if alive:
                    aors.append({"AOR": script_text(user.aor)} if brief else self._shown(user, alive, now))
            domains.append({"name": domain, "hash_size": 1 << int(self.settings["hash_size"]), "AORs": aors})
        return {"Domains": domains}

    @command("ul_show_contact", ("table_name", "aor"), idempotent=True, aliases=("usrloc:show_contact",))
    def ul_show_contact(self, params: Params) -> Json:
        """The bindings of one user."""
        user, now = self._user(params), epoch_now()
        contacts = self.contacts(user, now)
        if not contacts:
            raise MiError(404, "AOR not found")
        return self._shown(user, contacts, now)

    @command("ul_rm", ("table_name", "aor"), idempotent=True, aliases=("usrloc:rm",), instead="remove()")
    def ul_rm(self, params: Params) -> Json:
        """Remove all bindings of a user."""
        self._remove(self._user(params), lambda contacts: None, "AOR not found")
        return "OK"

    @command(
        "ul_rm_contact",
        ("table_name", "aor", "contact"),
        idempotent=True,
        aliases=("usrloc:rm_contact",),
        instead="remove()",
    )
    def ul_rm_contact(self, params: Params) -> Json:
        """Remove one binding of a user."""
        wanted = canonical(bytes_text(params.text("contact")))

        def chosen(contacts: Iterable[Contact]) -> frozenset[int]:
            return frozenset([one.id for one in contacts if canonical(one.uri) == wanted])

        self._remove(self._user(params), chosen, "Contact not found")
        return "OK"

    @command(
        "ul_add",
        ("table_name", "aor", "contact", "expires", "q", "flags", "cflags", "methods"),
        idempotent=True,
        aliases=("usrloc:add",),
    )
    def ul_add(self, params: Params) -> Json:
        """Bind a contact to a user, for `expires` seconds; 0 for good."""
        user, uri = self._user(params), bytes_text(params.text("contact"))
        if parse_uri(uri) is None:
            raise MiError(400, "Bad parameter value", "contact is no URI")
        wanted = Wanted(uri, params.integer("expires"), _q(params.text("q")))
        request = Registration(
            call_id=_MI_CALL_ID,
            cseq=1,
            contacts=(wanted._replace(expires=wanted.expires or 1),),
            methods=params.integer("methods") & ALL_METHODS,
            flags=params.integer("flags") & MEMORY_ONLY,
            cflags=bytes_text(params.text("cflags")).replace("0", "").strip(),
        )
        limits = Limits(min_expires=0, allow_dup_cseq=True, matching=self.matching, default_q=-1)
        found = self._change(user, partial(_added, request, limits, epoch_now(), not wanted.expires))
        if isinstance(found, Refused):
            raise MiError(400, found.reason)
        return "OK"

    @command("ul_flush", (), idempotent=True, aliases=("usrloc:flush",))
    async def ul_flush(self, params: Params) -> Json:
        """Have all changes written to the database now; answered when they are."""
        self._needs_database("flush")
        return await self._flushed(_FLUSH_S)

    @command("ul_sync", ("table_name",), ("table_name", "aor"), idempotent=True, cost="slow", aliases=("usrloc:sync",))
    async def ul_sync(self, params: Params) -> Json:
        """Write all bindings to the database anew, or those of one user; answered when they are written."""
        self._needs_database("sync")
        if "aor" in params:
            self.locations.mark(self._user(params))
        else:
            self.locations.mark_all(self._domain(params))
        return await self._flushed(_SYNC_S)

    # Details.

    def _domain(self, params: Params) -> str:
        domain = params.text("table_name")
        if domain not in self.domains:
            raise MiError(404, "Table not found")
        return domain

    def _user(self, params: Params) -> User:
        return User(self._domain(params), bytes_text(params.text("aor")))

    def _needs_database(self, verb: str) -> None:
        if not self.records:
            raise MiError(400, f"Cannot {verb} in no-db mode")

    async def _flushed(self, within_s: float) -> Json:
        """Wait until the database has what is marked. What it does not take stays marked, and is written later."""
        reason = await flushed(self.process, within_s)
        if reason:
            raise MiError(500, "Bindings are not in the database", reason)
        return "OK"

    def _change(self, user: User, decide: Decide) -> Accepted | Refused:
        try:
            return self.change(user, decide)
        except StoreError as error:
            raise MiError(500, "Failed to change bindings", str(error)) from error

    def _remove(
        self, user: User, chosen: Callable[[tuple[Contact, ...]], frozenset[int] | None], otherwise: str
    ) -> None:
        now = epoch_now()
        gone = 0

        def decide(contacts: tuple[Contact, ...], first_id: int) -> Accepted:
            nonlocal gone
            found = remove(contacts, chosen(contacts), now)
            gone = len([one for one in contacts if one.is_alive(now)]) - len(found.contacts)
            return found

        self._change(user, decide)
        if not gone:
            raise MiError(404, otherwise)

    def _shown(self, user: User, contacts: Iterable[Contact], now: float) -> Json:
        state = "CS_NEW" if not self.records else "CS_DIRTY" if self.locations.is_marked(user) else "CS_SYNC"
        return {"AOR": script_text(user.aor), "Contacts": [_row(contact, state, now) for contact in contacts]}


def _row(contact: Contact, state: str, now: float) -> Json:
    row: dict[str, Json] = {
        "Contact": script_text(contact.uri),
        "ContactID": str(contact.id),
        "Expires": contact.expires_at - int(now) if contact.expires_at else "permanent",
        "Q": f"{contact.q / 1000:g}" if contact.q >= 0 else "",
        "Callid": script_text(contact.call_id),
        "Cseq": contact.cseq,
        "User-agent": script_text(contact.user_agent) or "n/a",
        "State": state,
        "Flags": contact.flags,
        "Cflags": contact.cflags,
        "Socket": contact.socket,
        "Methods": contact.methods,
    }
    for name, value in (
        ("Received", contact.received),
        ("Path", contact.path),
        ("SIP_instance", contact.instance),
        ("Attr", contact.attr),
    ):
        if value:
            row[name] = script_text(value)
    return row


def _added(
    request: Registration,
    limits: Limits,
    now: float,
    for_good: bool,
    contacts: tuple[Contact, ...],
    first_id: int,
) -> Accepted | Refused:
    found = register(contacts, request, limits, now, first_id=first_id)
    if isinstance(found, Refused) or not for_good:
        return found
    return Accepted(
        tuple([one._replace(expires_at=0) if one.id in found.asked else one for one in found.contacts]),
        tuple([change._replace(contact=change.contact._replace(expires_at=0)) for change in found.changes]),
        found.asked,
    )


def _q(text: str) -> int:
    try:
        q = round(float(text or "-0.001") * _MAX_Q)
    except (ValueError, OverflowError):
        q = _MAX_Q + 1
    if not -1 <= q <= _MAX_Q:
        raise MiError(400, "Bad parameter value", "q is from 0 to 1")
    return q
