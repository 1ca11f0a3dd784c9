"""What module registrar tells a script of a user's contacts, and how it removes them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final

from runtime.clock import epoch_now
from runtime.context import Context, RouteType
from runtime.location.answers import host_of
from runtime.location.bindings import Accepted, remove
from runtime.location.contact import Contact, canonical
from runtime.location.registration import AorRules, aor_of
from runtime.location.store import User
from runtime.modules.base import RuntimeModule
from runtime.script.declare import Kind, Param, function
from runtime.sip.fields import is_token
from runtime.sip.message import Request
from runtime.store import StoreError

if TYPE_CHECKING:
    from runtime.modules.usrloc import Usrloc

log = logging.getLogger("layby.registrar")

DOMAIN: Final = Param("domain", Kind.STRING)
AOR: Final = Param("aor", Kind.STRING, optional=True)


class RegistrarQueries(RuntimeModule):
    """The functions that neither register nor look up.

    Attributes:
        usrloc: where the bindings are.
        rules: how users are told apart.
        attr_avp: the AVP that takes a contact's attributes; empty for none.
    """

    usrloc: Usrloc
    rules: AorRules
    attr_avp: str

    # Asking.

    @function("is_registered", DOMAIN, AOR, routes=RouteType.MESSAGE)
    def is_registered(self, c: Context, domain: str, aor: str | None) -> int:
        """Whether a user has a contact: `aor`, or else the one in To of a REGISTER, in From of another request."""
        contacts = self._contacts(c, domain, aor)
        if contacts and self.attr_avp:
            c.avps.setdefault(self.attr_avp, []).extend([one.attr for one in reversed(contacts)])
        return 1 if contacts else -1

    @function("registered", DOMAIN, AOR, Param("callid", Kind.STRING, optional=True), routes=RouteType.MESSAGE)
    def registered(self, c: Context, domain: str, aor: str | None, callid: str | None) -> int:
        """Whether a user has a contact: `aor`, or else the one in the Request-URI. For scripts of OpenSIPS 2."""
        contacts = self._contacts(c, domain, aor or c.ruri)
        return 1 if any([callid is None or one.call_id == callid for one in contacts]) else -1

    @function(
        "is_contact_registered",
        *(DOMAIN, AOR),
        Param("contact", Kind.STRING, optional=True),
        Param("callid", Kind.STRING, optional=True),
        routes=RouteType.MESSAGE,
    )
    def is_contact_registered(
        self, c: Context, domain: str, aor: str | None, contact: str | None, callid: str | None
    ) -> int:
        """Whether a user has this contact, and by this Call-ID; with neither, the message's own Contact."""
        if contact is None and callid is None:
            if c.message.contact is None:
                return -1
            contact = c.message.contact.uri
        uri = None if contact is None else canonical(contact)
        for one in self._contacts(c, domain, aor):
            if (uri is None or canonical(one.uri) == uri) and (callid is None or one.call_id == callid):
                return 1
        return -1

    @function(
        "is_ip_registered",
        *(DOMAIN, AOR),
        Param("ip", Kind.STRING),
        Param("port", Kind.INTEGER, optional=True),
        routes=RouteType.MESSAGE,
    )
    def is_ip_registered(self, c: Context, domain: str, aor: str | None, ip: str, port: int | None) -> int:
        """Whether a user has a contact that registered from an address."""
        wanted = ip.strip("[]").lower()
        for one in self._contacts(c, domain, aor):
            host, its_port = host_of(one._replace(path=""))
            if host == wanted and (port is None or (its_port or 5060) == port):
                return 1
        return -1

    def _contacts(self, c: Context, domain: str, aor: str | None) -> list[Contact]:
        if aor is None:
            of_to = isinstance(c.message, Request) and c.message.method == "REGISTER"
            aor = (c.message.to if of_to else c.message.from_).uri
        name = aor_of(aor, self.rules)
        return [] if name is None else self.usrloc.contacts(User(domain, name), epoch_now())

    # Removing.

    @function(
        "remove",
        *(DOMAIN, Param("aor", Kind.STRING)),
        Param("contact", Kind.STRING, optional=True),
        Param("next_hop", Kind.STRING, optional=True),
        Param("sip_instance", Kind.STRING, optional=True),
    )
    def remove(
        self, c: Context, domain: str, aor: str, contact: str | None, next_hop: str | None, sip_instance: str | None
    ) -> int:
        """Remove the contacts of a user: all, or those with this URI, next hop (an address) and instance."""
        name = aor_of(aor, self.rules)
        if name is None:
            return -1
        uri = None if contact is None else canonical(contact)
        hop = None if next_hop is None else next_hop.strip("[]").lower()

        def fits(one: Contact) -> bool:
            return (
                (uri is None or canonical(one.uri) == uri)
                and (hop is None or host_of(one)[0] == hop)
                and (sip_instance is None or one.instance == sip_instance.strip('"'))
            )

        return 1 if self._remove(User(domain, name), fits) else -1

    @function("remove_ip_port", Param("ip", Kind.STRING), Param("port", Kind.INTEGER), DOMAIN, AOR)
    def remove_ip_port(self, c: Context, ip: str, port: int, domain: str, aor: str | None) -> int:
        """Remove all contacts at an address, of one user or, after looking at every one, of all."""
        place = ip.strip("[]").lower(), port

        def fits(one: Contact) -> bool:
            host, its_port = host_of(one)
            return (host, its_port or 5060) == place

        if aor is not None:
            name = aor_of(aor, self.rules)
            users: Iterable[User] = [] if name is None else [User(domain, name)]
        else:
            users = [user for user, some in self.usrloc.locations.everybody(domain) if any(map(fits, some))]
        return 1 if sum([self._remove(user, fits) for user in users]) else -1

    def _remove(self, user: User, fits: Callable[[Contact], bool]) -> int:
        now = epoch_now()
        gone = 0

        def decide(contacts: tuple[Contact, ...], first_id: int) -> Accepted:
            nonlocal gone
            ids = frozenset([one.id for one in contacts if one.is_alive(now) and fits(one)])
            gone = len(ids)
            return remove(contacts, ids, now)

        try:
            self.usrloc.change(user, decide)
        except StoreError as error:
            log.error("the bindings of %s cannot be removed: %s", user.aor, error)
            return 0
        return gone

    @function("add_sock_hdr", Param("hdr_name", Kind.STRING), routes=RouteType.MESSAGE)
    def add_sock_hdr(self, c: Context, hdr_name: str) -> int:
        """Add a header that tells which socket the request came in on, for a registrar further on."""
        if not is_token(hdr_name):
            return -1
        c.edits.append(("append", f"{hdr_name}: {self.house.sockets[c.socket].listen}\r\n"))
        return 1
