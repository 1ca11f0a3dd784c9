"""What is to be recorded of one transaction, as the script says it: the state behind `do_accounting()`. A core.

Source: OpenSIPS, module acc. What is settled here where its documentation leaves it open:

- **One record of an end.** Of an INVITE several 2xx may go upstream, of different forks, and each again and again until
  its ACK comes (RFC 3261 13.3.1.4): each tag is one record. Any other final reply is recorded once.
- **A missed call** is an INVITE that nobody took: each time that all branches have failed, before the failure route
  runs, which may ask for it again; and a refusal of this server's own. Both a missed call and a failed transaction
  are recorded of the same refusal where both were asked for.
- **cdr** says something of an INVITE that starts a call. With any other request it is left out.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from runtime.script.kept import kept

MAX_EXTRA_CHARS: Final = 1024
"""Of one extra value: what a caller can make a record grow by."""
_MAX_TAGS: Final = 64
"""Answers of one INVITE that are recorded; as many as it may have branches."""


class Backend(enum.Enum):
    """Where records go."""

    LOG = "log"
    DB = "db"
    EVI = "evi"


class Wants(enum.Flag):
    """What is recorded in one of them."""

    ANSWERED = enum.auto()
    CDR = enum.auto()
    MISSED = enum.auto()
    FAILED = enum.auto()


_WANTS: Final = {"cdr": Wants.CDR, "missed": Wants.MISSED, "failed": Wants.FAILED}
_BACKENDS: Final = {one.value: one for one in Backend}
NOTHING: Final = Wants(0)


class Parties(NamedTuple):
    """Whose transaction it is: what a record says of the request.

    Args:
        to_tag: empty for a request that starts something: the reply has it.
        local_tag: the To tag of this server's own replies.
    """

    method: str
    from_tag: str
    to_tag: str
    call_id: str
    local_tag: str = ""

    def tag_of(self, replied: str) -> str:
        """The To tag of a record about a reply with that one."""
        return self.to_tag or replied


@dataclass(slots=True)
class Account:
    """One transaction's.

    Args:
        created: when it was made, in seconds of the epoch.
        parties: None until there is a transaction.
        wants: what is recorded where.
        table: the database's table; empty for the module's own.
        extra: `$acc_extra(tag)`.
    """

    created: float
    parties: Parties | None = None
    wants: dict[Backend, Wants] = field(default_factory=dict)
    table: str = ""
    extra: dict[str, str | int] = field(default_factory=dict)
    _tags: set[str] = field(default_factory=set)
    """Those of the 2xx that are recorded."""
    _ended: bool = False
    """Whether a final reply other than 2xx is."""

    @property
    def is_answered(self) -> bool:
        """Whether a 2xx has gone upstream."""
        return bool(self._tags)

    def ask(self, backends: tuple[Backend, ...], wants: Wants, table: str = "") -> None:
        """Record also this (`do_accounting`)."""
        for one in backends:
            self.wants[one] = self.wants.get(one, NOTHING) | wants | Wants.ANSWERED
        self.table = table or self.table

    def drop(self, backends: tuple[Backend, ...] | None, wants: Wants = NOTHING) -> None:
        """Do not record this any more (`drop_accounting`): without flags nothing at all, in all or in some backends."""
        for one in tuple(Backend) if backends is None else backends:
            if wants and one in self.wants:
                self.wants[one] &= ~wants
            else:
                self.wants.pop(one, None)

    def where(self, wanted: Wants, without: Wants = NOTHING) -> list[Backend]:
        """The backends that want something, and do not want something else."""
        return [one for one, wants in self.wants.items() if wanted in wants and not wants & without]

    def early(self) -> list[Backend]:
        """Where a provisional reply with a body is recorded."""
        return self.where(Wants.ANSWERED, Wants.CDR)

    def answered(self, tag: str) -> list[Backend]:
        """A 2xx goes upstream: where it is recorded. Where a CDR is wanted, the call's end will be."""
        if tag in self._tags or len(self._tags) >= _MAX_TAGS:
            return []
        self._tags.add(tag)
        return self.where(Wants.ANSWERED, Wants.CDR)

    def refused(self) -> list[Backend]:
        """Another final reply goes upstream: where it is recorded."""
        if self._ended or self._tags:
            return []
        self._ended = True
        return self.where(Wants.FAILED)

    def missed(self) -> list[Backend]:
        """Nobody took the INVITE: where that is recorded. It is asked for once only."""
        if self.parties is None or self.parties.method != "INVITE":
            return []
        found = self.where(Wants.MISSED)
        for one in found:
            self.wants[one] &= ~Wants.MISSED
        return found

    def cancelled(self) -> list[Backend]:
        """The CANCEL came: where it is recorded, if it is to be at all."""
        return self.where(Wants.ANSWERED)


def put_extra(values: dict[str, str | int], tag: str, value: str | int | None) -> None:
    """Set an extra value, cut where it is too long; None takes it away."""
    if value is None:
        values.pop(tag, None)
    else:
        values[tag] = value[:MAX_EXTRA_CHARS] if isinstance(value, str) else value


@kept(256)
def backends_of(text: str) -> tuple[Backend, ...] | None:
    """``log|db|evi``; None where it is anything else."""
    words = _words(text)
    return tuple(_BACKENDS[word] for word in words) if words and all(word in _BACKENDS for word in words) else None


@kept(256)
def wants_of(text: str) -> Wants | None:
    """``cdr|missed|failed``; None where it is anything else."""
    words = _words(text)
    if not all(word in _WANTS for word in words):
        return None
    found = NOTHING
    for word in words:
        found |= _WANTS[word]
    return found


def _words(text: str) -> list[str]:
    return [word for piece in text.split("|") if (word := piece.strip().lower())]


class Extra(NamedTuple):
    """An extra field: `$acc_extra(tag)`, and how a backend calls it."""

    tag: str
    name: str


def extras_of(settings: list[str]) -> dict[Backend, list[Extra]]:
    """The module's ``extra_fields``: ``backend: tag->name; tag``, and so on with another backend.

    Raises:
        ValueError: it is not written so.
    """
    found: dict[Backend, list[Extra]] = {one: [] for one in Backend}
    for text in settings:
        backend: Backend | None = None
        for piece in text.split(";"):
            before, colon, rest = piece.partition(":")
            if colon:
                backend, piece = _BACKENDS.get(before.strip().lower()), rest
            if not piece.strip():
                continue
            tag, arrow, name = (part.strip() for part in piece.partition("->"))
            if backend is None or not tag or bool(arrow) != bool(name):
                raise ValueError(
                    f"{text!r} is not written as log: tag->name; tag, with log, db or evi before the colon"
                )
            found[backend].append(Extra(tag, name or tag))
    return found


def chosen(extras: list[Extra], values: Mapping[str, str | int]) -> dict[str, str | int | None]:
    """The values of a backend's extra fields by its names; None for those that the script has not set."""
    return {one.name: values.get(one.tag) for one in extras}
