"""What the MI process serves over HTTP beside MI, for machines and for people."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final

from mi_script.transports.http import Body, Page
from runtime.health import Health
from runtime.metrics import CONTENT_TYPE, Metrics

if TYPE_CHECKING:
    from runtime.modules.mi_http import MiHttp
    from runtime.process import Process

_JSON: Final = "application/json"


def pages_of(process: Process, module: MiHttp) -> dict[str, Page]:
    """The pages by path, as `runtime.modules.mi_http.PAGES` names them.

    Args:
        process: the one that serves them.
        module: its settings.
    """
    health, metrics = Health(process, float(module.settings["health_timeout"])), Metrics(process.house)

    async def read_metrics() -> Body:
        return Body(200, CONTENT_TYPE, metrics.text())

    # Whoever balances load has no token.
    return {"healthz": Page(_reading(health), public=True), "metrics": Page(read_metrics)}


def _reading(health: Health) -> Callable[[], Awaitable[Body]]:
    async def read() -> Body:
        well, report = await health.report()
        return Body(200 if well else 503, _JSON, json.dumps(report).encode())

    return read
