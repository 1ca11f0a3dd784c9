"""What the MI process serves over HTTP beside MI, for machines and for people."""

from __future__ import annotations

import functools
import json
from importlib.metadata import version
from typing import TYPE_CHECKING, Final

from mi_script.commands import Json
from mi_script.openapi import description, json_answer, text_answer
from mi_script.transports.http import Body, Page
from runtime.health import Health
from runtime.metrics import CONTENT_TYPE, Metrics

if TYPE_CHECKING:
    from runtime.modules.mi_http import MiHttp
    from runtime.process import Process

_JSON: Final = "application/json"
_REPORT: Final[Json] = {
    "type": "object",
    "required": ["status", "problems", "processes"],
    "properties": {
        "status": {"enum": ["ok", "failing"]},
        "problems": {"type": "array", "items": {"type": "string"}},
        "processes": {"type": "integer"},
    },
}
_NO_TOKEN: Final = text_answer("No token, or not the one that is asked for.")
_OPERATIONS: Final[dict[str, Json]] = {
    "healthz": {
        "operationId": "healthz",
        "summary": "Whether all processes are there and answer. Needs no token.",
        "security": [],
        "responses": {"200": json_answer("All is well.", _REPORT), "503": json_answer("It is not.", _REPORT)},
    },
    "metrics": {
        "operationId": "metrics",
        "summary": "All figures, in Prometheus's text format.",
        "responses": {"200": text_answer("The figures."), "401": _NO_TOKEN},
    },
    "openapi.json": {
        "operationId": "openapi",
        "summary": "This description.",
        "responses": {"200": json_answer("The description.", {"type": "object"}), "401": _NO_TOKEN},
    },
}


class Pages:
    """The pages of one process.

    Args:
        process: the one that serves them.
        module: its settings.
    """

    def __init__(self, process: Process, module: MiHttp) -> None:
        self._house = process.house
        self._module = module
        self._health = Health(process, float(module.settings["health_timeout"]))
        self._metrics = Metrics(process.house)

    def by_path(self) -> dict[str, Page]:
        """Them, as `runtime.modules.mi_http.PAGES` names them."""
        return {
            "healthz": Page(self._read_health, public=True),  # whoever balances load has no token
            "metrics": Page(self._read_metrics),
            "openapi.json": Page(self._read_description),
        }

    async def _read_health(self) -> Body:
        well, report = await self._health.report()
        return Body(200 if well else 503, _JSON, json.dumps(report).encode())

    async def _read_metrics(self) -> Body:
        return Body(200, CONTENT_TYPE, self._metrics.text())

    async def _read_description(self) -> Body:
        return Body(200, _JSON, self._description)

    @functools.cached_property
    def _description(self) -> bytes:
        root, token = str(self._module.settings["root"]).strip("/"), self._module.token is not None
        found = description(self._house.registry, root, _OPERATIONS, version=version("layby"), token=token)
        return json.dumps(found).encode()
