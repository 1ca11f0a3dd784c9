"""What the ways in to the MI commands have in common: which commands may be run there."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Final

from mi_script.access import Access, UnknownName, access_of
from mi_script.calls import Call, Fault, refusal
from runtime.errors import SettingsError
from runtime.modules.base import RuntimeModule
from runtime.script.declare import Parameter

log = logging.getLogger("layby.mi")

DENIED: Final[Mapping[str, str]] = {"denied": "Commands that this module's `allow` and `deny` have refused."}
COUNTED: Final[Mapping[str, str]] = {
    **DENIED,
    "requests": "Requests that have come.",
    "replies": "Replies that were given.",
    "dropped": "Replies that could not be given, and requests or connections that could not be taken.",
    "errors": "What was no request.",
}
"""What a transport counts."""
ACCESS: Final = (
    Parameter(
        "allow",
        str,
        repeats=True,
        commands=True,
        doc="The only commands that may be run, by any of their names, apart by spaces or commas; `dlg_*`, `dialog:*` "
        "(all that the module has) and `*` stand for several. Without it, all.",
    ),
    Parameter("deny", str, repeats=True, commands=True, doc="Those that may not be run, whatever `allow` says."),
)


class MiModule(RuntimeModule):
    """A module by which MI commands can be called. It counts `COUNTED`, or `DENIED` at least, and has the parameters
    `ACCESS`.
    """

    counters = COUNTED

    def __init__(self, settings: dict[str, Any] | None = None) -> None:
        super().__init__(settings)
        self._access: Access | None = None
        self._told: set[str] = set()

    def furnished(self) -> None:
        try:
            self._access = access_of(self.house.registry, self.settings["allow"], self.settings["deny"])
        except UnknownName as error:
            raise SettingsError(f"module {self.name}: {error}", error.word) from error

    def refused(self, call: Call) -> Fault | None:
        """Why a command may not be run by this way, counted and logged; None where it may."""
        fault = refusal(self.house.registry, call, self._access) if self._access else None
        if fault is not None:
            self.count("denied")
            self.house.statistics.count("mi:denied")
            self._tell(call.method, fault)
        return fault

    def _tell(self, method: str, fault: Fault) -> None:
        # Once each in this process, or whoever asks again and again would fill the log.
        first = method not in self._told
        self._told.add(method)  # there are only so many: it names a command
        log.log(logging.WARNING if first else logging.DEBUG, "%s: %s", self.name, fault.data)
