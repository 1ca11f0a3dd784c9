"""Module status_report: groups of the Status/Report interface that a script speaks for itself.

What the server's own parts say, and how all of it is asked for, is always there: see `status_reports`.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from runtime.modules.base import RuntimeModule
from runtime.modules.texts import script_text
from runtime.roles import MI, role_of
from runtime.script.declare import Kind, Param, Parameter, function
from runtime.settings import SettingsError
from runtime.status_reports import MAIN

if TYPE_CHECKING:
    from runtime.context import Context
    from runtime.house import House

log = logging.getLogger("layby.script")

_GROUP = Param("group", Kind.STRING)


class StatusReport(RuntimeModule):
    """The module as a script loads it."""

    name = "status_report"
    parameters = (
        Parameter("script_sr_group", str, repeats=True, doc="The name of a group that the script speaks for."),
    )

    def __init__(self, settings: dict[str, Any] | None = None) -> None:
        super().__init__(settings)
        self._groups = {script_text(name) for name in self.settings["script_sr_group"]}

    def furnish(self, house: House) -> None:
        super().furnish(house)
        taken = self._groups & {"core", *house.program.modules}
        if taken:
            raise SettingsError(f"status_report: the group {min(taken)} is not the script's", "script_sr_group")

    def opened(self) -> None:
        if role_of(self.process.peer.name) == MI:
            for group in self._groups:
                self.process.status.introduce(group, MAIN, 1)

    @function("sr_set_status", _GROUP, Param("status", Kind.INTEGER), Param("details", Kind.STRING, optional=True))
    def sr_set_status(self, c: Context, group: str, status: int, details: str | None) -> int:
        """Say whether a group of the script's is ready: a positive number, or a negative one, and why.

        Gives -1 for a group that `script_sr_group` does not name.
        """
        if not self._is_ours(group):
            return -1
        self.process.status.set_status(script_text(group), MAIN, status, script_text(details or ""))
        return 1

    @function("sr_add_report", _GROUP, Param("report", Kind.STRING))
    def sr_add_report(self, c: Context, group: str, report: str) -> int:
        """Put down what has happened to a group of the script's; -1 for one that `script_sr_group` does not name."""
        if not self._is_ours(group):
            return -1
        self.process.status.report(script_text(group), MAIN, script_text(report))
        return 1

    def _is_ours(self, group: str) -> bool:
        found = script_text(group) in self._groups
        if not found:
            log.error("there is no script_sr_group %.100s", script_text(group))
        return found
