"""The Status/Report interface: `sr_check_status()`, and the MI commands over what the parts of the server say."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from mi_script.commands import Json, MiError, Params, command
from runtime.context import Context
from runtime.modules.base import RuntimeModule
from runtime.modules.events import events_of
from runtime.modules.texts import bytes_text, script_text
from runtime.roles import MI, role_of
from runtime.script.declare import Event, Kind, Param, function
from runtime.status_reports import MAIN, Part, Report
from workers.jobs import Peer

if TYPE_CHECKING:
    from runtime.process import Process

CORE: Final = "core"
"""The group of the server itself, with the one identifier ``main``."""
_ALL: Final = "all"
_STATUS_CHANGED: Final = Event(
    "E_CORE_SR_STATUS_CHANGED",
    ("group", "identifier", "status", "details", "old_status"),
    "The status of a part of the server has changed.",
)


class StatusReporting(RuntimeModule):
    """Always there; a script does not load it."""

    name = "status_reports"
    events = (_STATUS_CHANGED,)

    def enter(self, process: Process) -> None:
        super().enter(process)
        process.status.on_changed = self._on_changed

    def opened(self) -> None:
        # One process speaks for all. It is told of everybody's end but its own, of which its replacement speaks.
        me, status = self.process.peer, self.process.status
        self._speaks = role_of(me.name) == MI
        if self._speaks and me.incarnation > 1:
            status.report(CORE, MAIN, f"{Peer(me.name, me.incarnation - 1)} ended; {me} is its replacement")
        elif self._speaks:
            status.set_status(CORE, MAIN, -1, "initializing")
            status.report(CORE, MAIN, "initializing")

    def on_peer_up(self, peer: Peer) -> None:
        settings, status = self.house.settings, self.process.status
        expected = settings.udp_workers + settings.mi_workers
        if not self._speaks or len(self.process.node.peers()) < expected:
            return
        part = status.part(CORE, MAIN)
        if part is None or not part.is_ready:
            status.set_status(CORE, MAIN, 1, "running")
            status.report(CORE, MAIN, "initialization completed, ready now")

    def on_peer_down(self, peer: Peer) -> None:
        if self._speaks:
            self.process.status.report(CORE, MAIN, f"{peer} ended: {self.process.ends.get(peer.name, '')}")

    def _on_changed(self, part: Part, before: int) -> None:
        names = bytes_text(part.group), bytes_text(part.identifier)
        events_of(self.house).tell(_STATUS_CHANGED, *names, part.status, bytes_text(part.details), before)

    # What scripts do.

    @function("sr_check_status", Param("group", Kind.STRING), Param("identifier", Kind.STRING, optional=True))
    def sr_check_status(self, c: Context, group: str, identifier: str | None) -> int:
        """The status of a part: positive where it is ready, negative where it is not, and -1 where there is none.

        Without an identifier that of ``main``. With ``all`` 1 where every part of the group is ready, else -1.
        """
        found = self._status(script_text(group), script_text(identifier or MAIN))
        return -1 if found is None else found.status

    def _status(self, group: str, identifier: str) -> Part | None:
        if identifier.lower() != _ALL:
            return self.process.status.part(group, identifier)
        parts = self.process.status.group(group)
        return Part(group, _ALL, 1 if all(part.is_ready for part in parts) else -1, "aggregated") if parts else None

    # MI commands.

    @command(
        "sr_get_status",
        ("group",),
        ("group", "identifier"),
        idempotent=True,
        aliases=("status_report:get",),
        instead="sr_check_status()",
    )
    def sr_get_status(self, params: Params) -> Json:
        """Whether a part of the server is ready: that of a group alone is ``main``, and ``all`` is all of them."""
        group = params.text("group")
        self._group(group)
        found = self._status(group, params.text("identifier", MAIN))
        if found is None:
            raise MiError(404, "Identity not found")
        return _shown(found)

    @command("sr_list_status", (), ("group",), idempotent=True, aliases=("status_report:status",))
    def sr_list_status(self, params: Params) -> Json:
        """Whether each part of the server is ready, or each one of a group."""
        if "group" in params:
            return [{"Name": part.identifier, **_shown(part)} for part in self._group(params.text("group"))]
        return [
            {"Name": group, "Identifiers": [{"Name": part.identifier, **_shown(part)} for part in parts]}
            for group, parts in self.process.status.groups().items()
        ]

    @command(
        "sr_list_reports",
        (),
        ("group",),
        ("group", "identifier"),
        idempotent=True,
        cost="quick",
        aliases=("status_report:reports",),
    )
    def sr_list_reports(self, params: Params) -> Json:
        """What has happened to the parts of the server, of a group, or to one of them: the last 200 reports of each."""
        if "group" not in params:
            return [
                {"Name": group, "Identifiers": self._with_reports(parts)}
                for group, parts in self.process.status.groups().items()
            ]
        parts = self._group(params.text("group"))
        if "identifier" not in params:
            return self._with_reports(parts)
        wanted = params.text("identifier").lower()
        part = next((one for one in parts if one.identifier.lower() == wanted), None)
        if part is None:
            raise MiError(404, "Identifier not found")
        return self._reports(part)

    @command("sr_list_identifiers", (), ("group",), idempotent=True, aliases=("status_report:identifiers",))
    def sr_list_identifiers(self, params: Params) -> Json:
        """The names of all parts of the server, or of those of a group."""
        if "group" in params:
            parts = self._group(params.text("group"))
            return _identifiers(parts[0].group, parts)
        return [_identifiers(group, parts) for group, parts in self.process.status.groups().items()]

    def _group(self, group: str) -> list[Part]:
        found = self.process.status.group(group)
        if not found:
            raise MiError(404, "Group not found")
        return found

    def _with_reports(self, parts: list[Part]) -> list[Json]:
        return [{"Name": part.identifier, "Reports": self._reports(part)} for part in parts]

    def _reports(self, part: Part) -> list[Json]:
        return [_report(one) for one in self.process.status.reports_of(part.group, part.identifier)]


def _shown(part: Part) -> dict[str, Json]:
    shown: dict[str, Json] = {"Readiness": part.is_ready, "Status": part.status}
    return {**shown, "Details": part.details} if part.details else shown


def _report(one: Report) -> Json:
    return {"Timestamp": one.at, "Date": time.ctime(one.at), "Log": one.text}


def _identifiers(group: str, parts: list[Part]) -> Json:
    return {"Group": group, "Identifiers": [part.identifier for part in parts]}
