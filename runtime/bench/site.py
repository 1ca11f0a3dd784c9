"""The server that is measured: the built-in script, or the user's own, and the requests that it gets."""

from __future__ import annotations

import contextlib
import secrets
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final, NamedTuple

from runtime.bench.plan import WARM_UP_S, Asked, Cell, cells
from runtime.mi_client import call
from runtime.mi_wire import Http, MiClientError
from runtime.traffic.generator import offer
from runtime.traffic.offer import Ended, Plan, accepted
from runtime.traffic.request import request_of
from runtime.traffic.server import Server, command, free_port

SCRIPT: Final = """\
# What `layby bench` measures where it is given no script; the command line says how the command is called:
#   -o flavour=async -o command="bench_sleep 50" -o commands="bench_sleep 50; bench_sleep 50"

log_level=-1
socket=udp:127.0.0.1:5060

loadmodule "proto_udp.so"
loadmodule "signaling.so"
loadmodule "sl.so"
loadmodule "tm.so"
loadmodule "statistics.so"
loadmodule "cachedb_local.so"
loadmodule "bench.so"
loadmodule "mi_script.so"
modparam("mi_script", "timeout", 30)

route {
    if ($rU != "slow") {
        sl_send_reply(200, "OK");
        exit;
    }
    switch ($argv(flavour)) {
    case "mi":
        mi("$argv(command)", $avp(answer)); # layby: ignore[blocking-mi]
        route(answer);
        break;
    case "async":
        t_newtran();
        async(mi("$argv(command)", $avp(answer)), answer);
        break;
    case "gather":
        t_newtran();
        async(mi_gather("$argv(commands)", $avp(answer)), answer);
        break;
    case "launch":
        launch(mi("$argv(command)", $avp(answer)), report);
        sl_send_reply(200, "OK");
        break;
    default:
        sl_send_reply(200, "OK");
    }
}

route[answer] {
    if ($rc < 0) {
        route(report);
        send_reply(500, "Command Failed");
        exit;
    }
    send_reply(200, "OK");
}

route[report] {
    if ($rc < 0)
        xlog("L_ERR", "the command failed: $mi(code) $mi(message)\\n");
}
"""
_FAILED: Final = "the command failed: "
"""What the built-in script logs of a command that failed: a launched one is seen nowhere else."""

READY_S: Final = 20.0
GRACE_S: Final = 2.0
_MI_S: Final = 3.0
_WARM_UP_PER_S: Final = 250.0
_ANY: Final = "2xx,3xx,4xx,5xx,6xx"


class Calls(NamedTuple):
    """Calls of commands: how many ended with a negative ``$rc``, and how many launched ones have not ended."""

    failed: int
    launched: int


class CannotMeasure(Exception):
    """The command fails, or the server gives none of the answers that are wanted; the text says how."""


class Started(NamedTuple):
    """A server, and where it can be asked by MI."""

    server: Server
    mi: Http

    def calls(self) -> Calls | None:
        """What has become of the script's calls so far; None where it does not say."""
        try:
            told = [call(self.mi, "get_statistics", [group], _MI_S) for group in ("async:", "mi_script:")]
            counts = {name: int(str(value)) for each in told if isinstance(each, dict) for name, value in each.items()}
            return Calls(counts["mi_script:failed_calls"], counts["async:launched"] - counts["async:reported"])
        except (MiClientError, LookupError, ValueError):
            return None


@contextlib.contextmanager
def started(cell: Cell, asked: Asked, folder: Path) -> Iterator[Started]:
    """A server for one cell, ready and warm, that is stopped at the end of the block.

    Args:
        cell: how the command is called.
        asked: of the user.
        folder: for the built-in script.

    Raises:
        ServerError: it did not start, or answers nothing.
        LoadError: the warm-up could not be offered.
        CannotMeasure: the command fails, or no answer is as wanted.
    """
    script, port, mi = script_of(asked, folder), free_port(), f"{Server.host}:{free_port(socket.SOCK_STREAM)}"
    options = "--mi-http", mi, *options_of(cell, asked)
    with Server(command(script, port, asked.sip_processes, cell.workers, *options), port) as server:
        plan = warm_up_of(cell, asked, port)
        server.wait_ready(READY_S, replace(plan, accept=_ANY))
        _warm_up(plan, server)
        yield Started(server, Http(f"http://{mi}/mi"))


def _warm_up(plan: Plan, server: Server) -> None:
    ended = next(frame for frame in offer(plan) if isinstance(frame, Ended))
    server.check_alive()
    line = next((line for line in server.log().splitlines() if _FAILED in line), None)
    if line is not None:
        raise CannotMeasure(line[line.index(_FAILED) :])
    if not accepted(plan.accept) & ended.counts.statuses.keys():
        raise CannotMeasure(f"of {plan.count} requests none was answered as wanted ({plan.accept}); {said_of(ended)}")


def said_of(ended: Ended) -> str:
    """Which statuses there were, and how many requests had none."""
    found = [f"{status}: {count}" for status, count in sorted(ended.counts.statuses.items())]
    return ", ".join(found + ([f"never answered: {ended.lost}"] if ended.lost else []))


def script_of(asked: Asked, folder: Path) -> Path:
    """The user's own script, or the built-in one, written into `folder`."""
    if asked.script is not None:
        return Path(asked.script)
    path = folder / "bench.cfg"
    path.write_text(SCRIPT)
    return path


def options_of(cell: Cell, asked: Asked) -> list[str]:
    """What the script is told on the command line, as ``$argv(…)``."""
    one = asked.command.replace("{ms}", f"{cell.duration_ms:g}")
    told = {
        "flavour": cell.flavour,
        "duration_ms": f"{cell.duration_ms:g}",
        "command": one,
        "commands": "; ".join([one] * asked.gathered),
    }
    return ["--drain", "0", *(word for name, value in told.items() for word in ("-o", f"{name}={value}"))]


def plan_of(cell: Cell, asked: Asked, port: int, rate_per_s: float) -> Plan:
    """The load of one cell at one rate.

    Raises:
        ValueError: the request that the user wants cannot be offered.
    """
    return Plan(
        host=Server.host,
        port=port,
        rate_per_s=rate_per_s,
        seconds=asked.seconds,
        fast_user=asked.user,
        slow_user=asked.slow_user if cell.share else asked.user,
        slow_share=cell.share,
        seed=asked.seed,
        run=secrets.token_hex(6),
        grace_s=GRACE_S + cell.duration_ms / 1000,
        request=asked.request or request_of("OPTIONS"),
        accept=asked.accept,
    )


def warm_up_of(cell: Cell, asked: Asked, port: int) -> Plan:
    """A short and light load: the command is called, but no more often than one process could run it."""
    slow = min(cell.share, 1000 / max(1.0, cell.duration_ms) / _WARM_UP_PER_S, 0.2)
    least = 1 / (_WARM_UP_PER_S * WARM_UP_S)
    plan = plan_of(cell, asked, port, _WARM_UP_PER_S)
    return replace(plan, seconds=WARM_UP_S, slow_share=max(slow, least) if cell.share else 0.0)


def check_load(asked: Asked) -> None:
    """Raises ValueError: the requests cannot be offered as they are wanted."""
    for cell in cells(asked):
        for rate in asked.rates_per_s or (asked.from_per_s,):
            plan_of(cell, asked, 1, rate)
