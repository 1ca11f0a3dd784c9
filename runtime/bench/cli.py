"""`layby bench`."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn

import typer
from rich.console import Console

if TYPE_CHECKING:
    from runtime.bench.plan import Asked
    from runtime.bench.results import Document

WORSE = 1
"""The exit code where a figure is worse than in the measurement that it was compared with."""
NONSENSE = 2
"""The exit code where nothing can be measured as it was asked for."""
FAILED = 3
"""The exit code where the server, its script or the generator failed."""
INTERRUPTED = 130
"""The exit code of who did not wait: 128 and the number of SIGINT, as shells say. The report has what there was."""

_WIDE = 120


def bench(
    script: Annotated[
        Path | None,
        typer.Argument(
            metavar="[FILE]",
            help="Your own routing script, FILE.cfg or FILE.py, which is told $argv(flavour), $argv(duration_ms), "
            "$argv(command); without it a built-in one.",
        ),
    ] = None,
    flavours: Annotated[
        str | None,
        typer.Option(metavar="NAME,...", help="How the command is called: none, mi, async, launch, gather (all)."),
    ] = None,
    workers: Annotated[
        str, typer.Option(metavar="N,...", help="Job workers; 0: the SIP processes run each other's jobs.")
    ] = "4",
    ms: Annotated[str, typer.Option(metavar="MS,...", help="How long the command takes.")] = "50",
    share: Annotated[str, typer.Option(metavar="%,...", help="How many per cent of the requests call it.")] = "5",
    command: Annotated[
        str, typer.Option(metavar="TEXT", help="The MI command; {ms} in it stands for its duration.")
    ] = "bench_sleep {ms}",
    gathered: Annotated[int, typer.Option(metavar="N", help="How many of it `gather` waits for at once.")] = 2,
    rate: Annotated[
        str, typer.Option(metavar="knee|N,...", help="Requests per second; `knee` looks for where it gets too much.")
    ] = "knee",
    start: Annotated[float, typer.Option("--from", metavar="N", help="The rate at which that begins.")] = 250.0,
    top: Annotated[float, typer.Option("--to", metavar="N", help="The rate at which it ends at last.")] = 32_000.0,
    slo_ms: Annotated[
        float | None,
        typer.Option(metavar="MS", help="The p99 of the fast requests that is too much (10 times the lowest rate's)."),
    ] = None,
    seconds: Annotated[float, typer.Option(help="How long each load lasts.")] = 2.0,
    runs: Annotated[int, typer.Option(help="How often everything is measured; medians and ranges are shown.")] = 3,
    generators: Annotated[int, typer.Option(help="How many processes offer the load between them.")] = 1,
    seed: Annotated[int, typer.Option(min=0, help="Of the places of the slow requests among the others.")] = 20,
    udp_workers: Annotated[int, typer.Option(help="SIP processes.")] = 4,
    method: Annotated[str, typer.Option(help="What is sent.")] = "OPTIONS",
    user: Annotated[str, typer.Option(help="Whom requests ask for that need no command.")] = "fast",
    slow_user: Annotated[str, typer.Option(help="Whom those ask for that call it.")] = "slow",
    request: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A request of your own, with sipp's keywords: [service], [branch], …"),
    ] = None,
    accept: Annotated[str, typer.Option(metavar="STATUS,...", help="Answers that are as wanted.")] = "2xx",
    generator: Annotated[
        Literal["auto", "own", "sipp"],
        typer.Option(help="Who finds the rate at saturation; `auto`: sipp where it is installed."),
    ] = "auto",
    json: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="All figures as JSON; - is standard output.")
    ] = None,
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="The report as one page, with plots.")] = None,
    svg: Annotated[Path | None, typer.Option(metavar="FILE", help="Two of these plots as a picture.")] = None,
    compare: Annotated[
        Path | None, typer.Option(metavar="OLD.json", help="What has changed since, beyond the noise.")
    ] = None,
    plan: Annotated[bool, typer.Option("--list", help="Say what would be measured and how long that takes.")] = False,
    show_script: Annotated[bool, typer.Option("--show-script", help="Print the built-in script.")] = False,
) -> None:
    """Measure what an MI command costs the traffic, called in one way and another.

    A real server is started on the script for each way, and offered load from processes beside it: open-loop, so that
    latencies count from the moment at which each request was due. Ctrl-C ends it with the figures so far.

    Exit codes: 0 measured, 1 worse than with `--compare`, 2 nothing can be measured so, 3 the server or the generator
    failed, 130 interrupted.

    Examples:

        layby bench --list

        layby bench --flavours none,mi,async --ms 5,50 --share 1,10 --html out/bench.html

        layby bench --rate 500,1000 --command "dr_reload" mine.cfg --user 4930 --slow-user reload --accept 2xx,404
    """
    from runtime.bench.site import SCRIPT

    if show_script:
        typer.echo(SCRIPT, nl=False)
        return
    console = Console(stderr=json == Path("-"), highlight=False)
    if not console.is_terminal:
        console.width = _WIDE  # nobody looks at it now, and a table that is cut off is of no use later
    try:
        asked = _asked(
            script=script,
            flavours=flavours,
            numbers={"workers": workers, "durations_ms": ms, "shares": share, "rates_per_s": rate},
            text=request.read_text() if request else None,
            method=method,
            others={
                "command": command,
                "gathered": gathered,
                "from_per_s": start,
                "to_per_s": top,
                "slo_ms": slo_ms,
                "seconds": seconds,
                "runs": runs,
                "seed": seed,
                "sip_processes": udp_workers,
                "user": user,
                "slow_user": slow_user,
                "accept": accept,
                "generator": generator,
                "generators": generators,
            },
        )
        old = _old(compare)
    except (ValueError, OSError) as error:
        _end(NONSENSE, error)
    if plan:
        from runtime.bench.report import show_plan

        show_plan(asked, console)
        return
    document = _measured(asked, console)
    raise typer.Exit(_reported(document, old, console, {"json": json, "html": html, "svg": svg}))


def _asked(
    *,
    script: Path | None,
    flavours: str | None,
    numbers: dict[str, str],
    text: str | None,
    method: str,
    others: dict[str, Any],
) -> Asked:
    """What the options mean. Raises ValueError: something that makes no sense."""
    from runtime.bench.plan import FLAVOURS, OWN, Asked
    from runtime.bench.plan import numbers as listed
    from runtime.bench.saturation import cannot_sipp
    from runtime.bench.site import check_load
    from runtime.traffic.request import checked, request_of

    if script is not None and not script.is_file():
        raise ValueError(f"{script}: no such file")
    usual = FLAVOURS if script is None else (OWN,)
    rates = numbers["rates_per_s"]
    asked = Asked(
        script=None if script is None else str(script),
        flavours=tuple(word.strip() for word in flavours.split(",")) if flavours else usual,
        workers=tuple(map(int, listed(numbers["workers"]))),
        durations_ms=listed(numbers["durations_ms"]),
        shares=tuple(each / 100 for each in listed(numbers["shares"])),
        rates_per_s=() if rates == "knee" else listed(rates),
        request=checked(text or request_of(method)),
        **others,
    )
    check_load(asked)
    if asked.generator == "sipp" and (why := cannot_sipp(asked)):
        raise ValueError(why)
    return asked


def _old(path: Path | None) -> Document | None:
    from runtime.bench.results import NoResults, from_json

    try:
        return None if path is None else from_json(path.read_bytes())
    except NoResults as error:
        raise ValueError(f"{path} has no results of layby bench: {error}") from error


def _measured(asked: Asked, console: Console) -> Document:
    from runtime.bench.measuring import measure
    from runtime.bench.saturation import SippError
    from runtime.bench.showing import Shown
    from runtime.bench.site import CannotMeasure
    from runtime.traffic.generator import LoadError
    from runtime.traffic.server import ServerError

    try:
        with Shown(console, asked) as shown:
            return measure(asked, shown)
    except (ServerError, LoadError, CannotMeasure, SippError) as error:
        _end(FAILED, error)


def _reported(document: Document, old: Document | None, console: Console, files: Mapping[str, Path | None]) -> int:
    from runtime.bench.compare import compare
    from runtime.bench.page import page, picture
    from runtime.bench.report import show, show_comparison
    from runtime.bench.results import to_json

    compared = None if old is None else compare(old, document)
    if any(result.runs for result in document.cells):
        show(document, console)
    if old is not None and compared is not None:
        show_comparison(old, document, compared, console)
    try:
        if files["json"] == Path("-"):
            sys.stdout.buffer.write(to_json(document))
        elif files["json"] is not None:
            _write(files["json"], to_json(document))
        if files["html"] is not None:
            _write(files["html"], page(document, compared).encode())
        if files["svg"] is not None:
            _write(files["svg"], picture(document).encode())
    except OSError as error:
        _end(FAILED, error)
    if document.failure:
        _end(FAILED, document.failure)
    if document.interrupted:
        console.print("interrupted")
        return INTERRUPTED
    return WORSE if any(each.change == "worse" for each in compared or ()) else 0


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def _end(code: int, error: Exception | str) -> NoReturn:
    typer.echo(f"layby bench: {error}", err=True)
    raise typer.Exit(code) from None
