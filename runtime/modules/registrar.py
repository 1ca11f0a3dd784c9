"""Module registrar: REGISTER (RFC 3261 section 10), and finding a user's contacts for a request."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

from runtime.clock import epoch_now
from runtime.context import Branch, Context, RouteType
from runtime.house import House
from runtime.location.answers import Found, contact_line, pick
from runtime.location.bindings import Limits, Refused, Registration, register
from runtime.location.contact import MEMORY_ONLY, Contact
from runtime.location.flags import LookupFlags, SaveFlags, lookup_flags, save_flags
from runtime.location.registration import (
    MAX_TEXT,
    AorRules,
    Path,
    aor_of,
    path_of,
    registration_of,
    wanted_of,
)
from runtime.location.store import User
from runtime.modules.complaints import Complaints
from runtime.modules.registrar_queries import AOR, DOMAIN, RegistrarQueries
from runtime.modules.usrloc import DbMode, Usrloc
from runtime.script.declare import Kind, Param, Parameter, function, ignored
from runtime.settings import SettingsError
from runtime.sip.message import Request
from runtime.sip.uri import parse_uri
from runtime.store import StoreError

if TYPE_CHECKING:
    from runtime.sip_process import SipProcess

log = logging.getLogger("layby.registrar")

_FLAGS: Final = Param("flags", Kind.STRING, optional=True)
_PARKED_S: Final = 5.0
"""How long a transaction is kept for a reply that waits for the database: longer than it ever does."""
_Flags = TypeVar("_Flags", SaveFlags, LookupFlags)


class Registrar(RegistrarQueries):
    """The module as a script loads it."""

    name = "registrar"
    counters: Mapping[str, str] = {
        "accepted_regs": "REGISTERs that were accepted.",
        "rejected_regs": "REGISTERs that were refused.",
    }
    computed: Mapping[str, str] = {
        "max_expires": "The module parameter max_expires.",
        "max_contacts": "The module parameter max_contacts.",
        "default_expires": "The module parameter default_expires.",
    }
    process: SipProcess
    parameters = (
        Parameter("default_expires", int, 3600, doc="Seconds that a contact lasts which says no time."),
        Parameter("min_expires", int, 60, doc="Seconds to which a shorter time is raised; 0 for no limit."),
        Parameter("max_expires", int, 0, doc="Seconds to which a longer time is cut; 0 for no limit."),
        Parameter("reject_brief_expires", int, 0, doc="1 refuses a time below min_expires with 423 instead."),
        Parameter("expires_max_deviation", int, 0, doc="Seconds by which a time is changed by chance, up or down."),
        Parameter("default_q", int, -1, doc="The q of a contact that says none, in thousandths; -1 for none."),
        Parameter("max_contacts", int, 0, doc="How many contacts a user may have; 0 for no limit of the script's own."),
        Parameter("retry_after", int, 0, doc="Seconds for a Retry-After header in 5xx replies; 0 for no header."),
        Parameter("case_sensitive", int, 1, doc="0 takes users that differ in case for the same."),
        Parameter("realm_prefix", str, "", doc="What is taken off the start of a user's domain."),
        Parameter("received_avp", str, "", doc="$avp(…) that holds where a REGISTER came from, as a URI."),
        Parameter("received_param", str, "received", doc="The parameter of a contact under which a 200 tells that."),
        Parameter("attr_avp", str, "", doc="$avp(…) whose value is kept with a contact and comes back at lookup()."),
        Parameter("sock_hdr_name", str, "", doc="The header that save() with the flag socket-header reads."),
        Parameter("allow_dup_cseq", int, 0, doc="1 takes the same Call-ID and CSeq again for a new REGISTER."),
        Parameter("max_username_len", int, 64, doc="How many characters a user may have."),
        Parameter("max_domain_len", int, 64, doc="How many characters a user's domain may have."),
        Parameter("max_aor_len", int, 256, doc="How many characters an address-of-record may have."),
        Parameter("max_contact_len", int, 255, doc="How many characters a contact's URI may have."),
        ignored("mcontact_avp", str, "", "save() is for requests."),
        ignored("tcp_persistent_flag", str, "", "a connection stays open as long as its peer wants."),
        ignored("disable_gruu", int, 1, "GRUUs are not made."),
        ignored("gruu_secret", str, "", "GRUUs are not made."),
        Parameter("pn_enable", int, 0, doc="Only 0: there are no push notifications."),
        *[
            ignored(f"pn_{name}", str, "", "there are no push notifications.")
            for name in ("providers", "ct_match_params")
        ],
        *[
            ignored(f"pn_{name}", int, 0, "there are no push notifications.")
            for name in ("pnsreg_interval", "trigger_interval", "skip_pn_interval", "refresh_timeout", "enable_purr")
        ],
    )

    def __init__(self, settings: dict[str, Any] | None = None) -> None:
        super().__init__(settings)
        found = self.settings
        if found["pn_enable"]:
            raise SettingsError("registrar: push notifications (pn_enable) are not offered")
        self._received_avp, self.attr_avp = _avp(found["received_avp"]), _avp(found["attr_avp"])
        self._limits = Limits(
            default_expires=found["default_expires"],
            min_expires=found["min_expires"],
            max_expires=found["max_expires"],
            reject_brief=bool(found["reject_brief_expires"]),
            expires_max_deviation=found["expires_max_deviation"],
            default_q=found["default_q"],
            max_contacts=found["max_contacts"],
            allow_dup_cseq=bool(found["allow_dup_cseq"]),
        )
        if not -1 <= found["default_q"] <= 1000 or min(self._limits[:3]) < 0:
            raise SettingsError("registrar: a time is 0 or more, and default_q from -1 to 1000")
        self._complaints = Complaints(log, logging.WARNING)

    def furnish(self, house: House) -> None:
        super().furnish(house)
        usrloc = house.program.modules.get("usrloc")
        if not isinstance(usrloc, Usrloc):
            raise SettingsError('module registrar needs loadmodule "usrloc.so"')
        self.usrloc = usrloc
        self._limits = self._limits._replace(cseq_delay=usrloc.settings["cseq_delay"], matching=usrloc.matching)
        found = self.settings
        self.rules = AorRules(
            usrloc.use_domain,
            bool(found["case_sensitive"]),
            found["realm_prefix"],
            found["max_username_len"],
            found["max_domain_len"],
            found["max_aor_len"],
            found["max_contact_len"],
        )
        for name in self.computed:
            house.statistics.compute("registrar", name, partial(int, found[name]))

    # REGISTER.

    @function("save", DOMAIN, _FLAGS, AOR, Param("ownership_tag", Kind.STRING, optional=True), routes=RouteType.REQUEST)
    def save(self, c: Context, domain: str, flags: str | None, aor: str | None, ownership_tag: str | None) -> int:
        """Do what a REGISTER asks for, and answer it with all contacts of its user.

        The user is `aor`, or else the one in To. -1 when it was refused, which is answered too; the flag `no-reply`
        (`r`) leaves the answer to the script. `ownership_tag` is for clusters, of which there are none.
        """
        if not isinstance(c.message, Request):
            return -1
        wanted = self._known(save_flags(flags or ""), flags)
        done = self._save(c, c.message, domain, wanted, aor)
        if isinstance(done, Refused):
            self.count("rejected_regs")
            return self._refuse(c, done, wanted.no_reply)
        self.count("accepted_regs")
        return 1 if wanted.no_reply else self._answer(c, *done)

    def _save(
        self, c: Context, request: Request, domain: str, flags: SaveFlags, aor: str | None
    ) -> tuple[User, list[str], bool] | Refused:
        """The user, the lines for the 200, and whether anything changed."""
        name = aor_of(aor or request.to.uri, self.rules)
        if name is None:
            return Refused(400, "Malformed Address-of-Record")
        path = path_of(request, flags.path)
        if isinstance(path, Refused):
            return path
        wanted = wanted_of(request, self.rules)
        if isinstance(wanted, Refused):
            return wanted
        user, now = User(domain, name), epoch_now()
        asked = self._with_facts(c, request, registration_of(request, wanted), flags, path)
        limits = self._limits_for(flags)
        chance = secrets.randbelow(1 << 20) / (1 << 20) if limits.expires_max_deviation else 0.5
        try:
            found = self.usrloc.change(
                user, lambda old, first: register(old, asked, limits, now, first_id=first, chance=chance)
            )
        except StoreError as error:
            log.error("the bindings of %s cannot be kept: %s", name, error)
            return Refused(500, "Server Internal Error")
        if isinstance(found, Refused):
            return found
        told = [one for one in found.contacts if not flags.only_request_contacts or one.id in found.asked]
        lines = [contact_line(one, now, self.settings["received_param"]) for one in told]
        return user, [*lines, *path.reply_headers], bool(found.changes)

    def _limits_for(self, flags: SaveFlags) -> Limits:
        limits = self._limits
        if flags.max_contacts is not None or flags.replace_oldest:
            most = limits.max_contacts if flags.max_contacts is None else flags.max_contacts
            limits = limits._replace(max_contacts=most, replace_oldest=flags.replace_oldest)
        if flags.min_expires is not None:
            limits = limits._replace(min_expires=flags.min_expires)
        if flags.max_expires is not None:
            limits = limits._replace(max_expires=flags.max_expires)
        return limits if flags.matching is None else limits._replace(matching=flags.matching)

    def _with_facts(
        self, c: Context, request: Request, asked: Registration, flags: SaveFlags, path: Path
    ) -> Registration:
        """What is known of the REGISTER beside what it says."""
        received = path.received or _newest(c, self._received_avp)
        nat = {self.usrloc.nat_flag} if path.received and self.usrloc.nat_flag else set()
        return asked._replace(
            received=received if parse_uri(received) is not None and len(received) <= MAX_TEXT else "",
            path=path.stored,
            socket=self._socket(c, request, flags.socket_header),
            attr=_newest(c, self.attr_avp)[:MAX_TEXT],
            flags=MEMORY_ONLY if flags.memory_only else 0,
            cflags=" ".join(sorted(c.branch_flags | nat))[:MAX_TEXT],
        )

    def _socket(self, c: Context, request: Request, by_header: bool) -> str:
        name = self.settings["sock_hdr_name"]
        told = request.get(name) if by_header and name else None
        return told[:64] if told else str(self.house.sockets[c.socket].listen)

    def _answer(self, c: Context, user: User, lines: Sequence[str], changed: bool) -> int:
        """200, with the database's word that it has the bindings, where it is asked for that (write-through)."""
        waits = changed and self.usrloc.mode is DbMode.WRITE_THROUGH
        if waits and not self.process.hold(c):
            return 0  # a copy that another process has
        key = c.transaction
        headers = [*c.reply_headers, *lines]
        if waits and key is not None:
            transactions = self.process.transactions
            transactions.hold(key, _PARKED_S)
            reply = partial(transactions.reply, key, 200, "OK", headers, to_source=c.force_rport)
            if self.usrloc.when_recorded(user, reply):
                return 1
        c.reply_headers = headers
        return self.process.send_reply(c, 200, "OK")

    def _refuse(self, c: Context, refused: Refused, no_reply: bool) -> int:
        if not no_reply:
            c.reply_headers += refused.headers
            if refused.status >= 500 and self.settings["retry_after"]:
                c.reply_headers.append(f"Retry-After: {self.settings['retry_after']}")
            self.process.send_reply(c, refused.status, refused.reason)
        return -1

    def _known(self, flags: _Flags, text: str | None) -> _Flags:
        """The flags; what is none of them is complained about once."""
        if flags.unknown:
            self._complaints.make(f"flags {text!r}: there is no {', '.join(flags.unknown)}")
        return flags

    # Finding.

    @function("lookup", DOMAIN, _FLAGS, AOR, routes=RouteType.RELAYING | RouteType.ONREPLY)
    def lookup(self, c: Context, domain: str, flags: str | None, aor: str | None) -> int:
        """Send the request to the contacts of a user: `aor`, or else the one in the Request-URI.

        The best contact takes the Request-URI's place, and the others become branches. -1: the user has no contact;
        -2: none that takes the method (flag `method-filtering`); -3: it names no user.
        """
        wanted = self._known(lookup_flags(flags or ""), flags)
        name = aor_of(aor or c.ruri, self.rules)
        if name is None:
            return -3
        now = epoch_now()
        names = [name]
        if wanted.branch:
            names += [known for one in c.branches if (known := aor_of(one.uri, self.rules)) is not None]
            c.branches = []
        method = c.message.method if isinstance(c.message, Request) else c.message.cseq_method
        found = [self._pick(User(domain, one), now, wanted, method) for one in names]
        contacts = [contact for one in found for contact in one.contacts]
        if not contacts:
            return -2 if any([one.known for one in found]) else -1
        self._direct(c, contacts, wanted)
        return 1

    def _pick(self, user: User, now: float, flags: LookupFlags, method: str) -> Found:
        contacts = self.usrloc.locations.get(user)
        return pick(contacts, now, flags, method, newest_first=self.usrloc.newest_first)

    def _direct(self, c: Context, contacts: list[Contact], flags: LookupFlags) -> None:
        others = contacts
        if not flags.to_branches_only:
            best, *others = contacts
            c.ruri, c.dst_uri, c.path = best.uri, best.next_hop(), best.path
            c.branch_flags |= set(best.cflags.split())
            socket = self._socket_of(best)
            c.send_socket = c.send_socket if socket is None else socket
        if flags.no_branches:
            contacts, others = contacts[:1], []
        c.branches += [Branch(one.uri, one.next_hop(), one.path, one.q, set(one.cflags.split())) for one in others]
        if self.attr_avp:
            # $(avp(attr)[n]) is the newest but n, and belongs to branch n.
            c.avps.setdefault(self.attr_avp, []).extend([one.attr for one in reversed(contacts)])

    def _socket_of(self, contact: Contact) -> int | None:
        for socket in self.house.sockets:
            if str(socket.listen) == contact.socket:
                return socket.index
        return None


def _avp(parameter: str) -> str:
    """The name in ``$avp(name)``; empty for no AVP."""
    if not parameter:
        return ""
    if not (parameter.startswith("$avp(") and parameter.endswith(")") and len(parameter) > 6):
        raise SettingsError(f"registrar: {parameter!r} is no AVP; write $avp(name)")
    return parameter[5:-1]


def _newest(c: Context, avp: str) -> str:
    values = c.avps.get(avp) if avp else None
    return "" if not values or values[-1] is None else str(values[-1])
