"""`layby verify` and `layby replay`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn, get_args

import typer
from rich.console import Console

if TYPE_CHECKING:
    from runtime.simulation.events import Fault
    from runtime.simulation.verifying import Verified

CANNOT_RUN = 2
"""The exit code where there was nothing to judge."""
INTERRUPTED = 130
"""The exit code of who did not wait until there was anything to judge: 128 and the number of SIGINT, as shells say."""


def verify(
    script: Annotated[
        Path, typer.Argument(metavar="FILE", help="The routing script: FILE.cfg (OpenSIPS language), FILE.py.")
    ],
    seconds: Annotated[float, typer.Option(min=0.1, help="For how long to look.")] = 60.0,
    seed: Annotated[int, typer.Option(min=0, help="Of the first run; the others follow from it.")] = 1,
    faults: Annotated[
        str | None,
        typer.Option(
            metavar="KIND,...",
            help="What goes wrong (all): crash, loss, stall, cancel, reload, delay, duplicate, slow; or none.",
        ),
    ] = None,
    block_ms: Annotated[
        float, typer.Option(metavar="MS", min=1, help="For how long a statement may keep its process from the others.")
    ] = 100.0,
    runs: Annotated[int | None, typer.Option(min=1, help="Stop after so many runs, if that is earlier.")] = None,
    first: Annotated[bool, typer.Option("-x", "--first", help="Stop at the first finding.")] = False,
    json: Annotated[
        Path | None,
        typer.Option("--json", metavar="FILE", help="Where findings and coverage go as JSON; - is standard output."),
    ] = None,
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="Where each finding goes, for `layby replay`.")] = Path(
        "findings"
    ),
) -> None:
    """Look for what is wrong with a script, in a simulated machine on which things go wrong.

    The real server runs the script on a virtual clock. Its traffic is made from what the script tests, so that it
    reaches the routes; meanwhile processes die and stop, packets are lost, callers give up. Told are, with file and
    line: contexts that never resume or resume twice, transactions that are never answered or answered twice, AVPs and
    shared variables that change while a message is parked, statements that block their process, jobs that are lost,
    and routes that no message can reach.

    Exit codes: 0 nothing was found, 1 there are findings, 2 the script cannot be run, 130 interrupted before anything
    was found.
    """
    from runtime.simulation.reporting import Shown, document_of, report
    from runtime.simulation.verifying import FAULTS, Asked
    from runtime.simulation.verifying import verify as look

    kinds = FAULTS if faults is None else _faults_of(faults)
    asked = Asked(script, seconds, seed, kinds, block_ms, runs, first=first)
    console = Console(highlight=False, soft_wrap=True, stderr=json == Path("-"))
    try:
        with Shown(console, seconds) as progress:
            verified = look(asked, progress)
        report(console, verified, out)
        if json == Path("-"):
            sys.stdout.buffer.write(document_of(verified))
        elif json is not None:
            json.write_bytes(document_of(verified))
    except Exception as error:
        _cannot_run(script, error)
    raise typer.Exit(_code_of(verified))


def _code_of(verified: Verified) -> int:
    if verified.findings:
        return 1
    if verified.interrupted:
        return INTERRUPTED
    if not verified.runs:
        typer.echo("layby: no run came to its end in that time; give it more --seconds", err=True)
        return CANNOT_RUN
    return 0


def replay(
    finding: Annotated[Path, typer.Argument(metavar="FINDING", help="A file that `layby verify` wrote.")],
    step: Annotated[bool, typer.Option("--step", help="Show one step at a time, with whole messages.")] = False,
) -> None:
    """Run again what showed a finding, with the script as it is now, and show it as a sequence diagram.

    Exit codes: 0 the finding is not there any more, 1 it is, 2 it cannot be run.
    """
    from runtime.simulation.findings import NoFinding, finding_of
    from runtime.simulation.replaying import replay as run_again
    from runtime.simulation.reporting import replayed, said

    console = Console(highlight=False, soft_wrap=True)
    try:
        told = finding_of(finding.read_bytes())
        again = run_again(told)
    except NoFinding as error:
        typer.echo(f"layby: {finding} is no finding: {error}", err=True)
        raise typer.Exit(CANNOT_RUN) from None
    except Exception as error:
        _cannot_run(finding, error)
    asks = sys.stdin.isatty() and console.is_terminal
    replayed(console, again.found or told, again.events, step, _wait_for_enter if asks else lambda left: None)
    if again.changed:
        console.print(f"{told.script} has changed since this was found", markup=False)
    console.print(said(again.found) if again.found else f"not found any more: {said(told)}", markup=False)
    raise typer.Exit(1 if again.found else 0)


def _wait_for_enter(left: str) -> None:
    input(f"[{left}] ")


def _faults_of(text: str) -> tuple[Fault, ...]:
    from runtime.simulation.events import Fault

    if text.strip() == "none":
        return ()
    kinds = [word.strip() for word in text.split(",") if word.strip()]
    if unknown := [kind for kind in kinds if kind not in get_args(Fault)]:
        message = f"{unknown[0]} is none of {', '.join(get_args(Fault))}; none by itself is none of them"
        raise typer.BadParameter(message, param_hint="--faults")
    return tuple(kind for kind in get_args(Fault) if kind in kinds)


def _cannot_run(what: Path, error: Exception) -> NoReturn:
    """Say why, for what the user can change; what is our own fault crashes."""
    from runtime.checking import print_report, problem_of
    from runtime.errors import NotLoaded, SettingsError
    from runtime.simulation.simulator import SimulationFailed

    match error:
        case NotLoaded():
            print_report(error.problems, stderr=True)
        case SettingsError():
            print_report([problem_of(what, error)], stderr=True)
        case OSError():
            typer.echo(f"layby: {error.filename or what}: {error.strerror}", err=True)
        case SimulationFailed():
            typer.echo(f"layby: {what}: {error}", err=True)
        case _:
            raise error
    raise typer.Exit(CANNOT_RUN) from None
