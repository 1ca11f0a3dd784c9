"""`layby trace`."""

from __future__ import annotations

import gc
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from runtime.tracing.events import Trace

app = typer.Typer(
    name="trace",
    help="Record what every process of a server does, as a trace for ui.perfetto.dev or chrome://tracing.",
    no_args_is_help=True,
)


@app.callback()
def _begin(context: typer.Context) -> None:
    # A trace is hundreds of thousands of events that all stay: looking for garbage among them is 40 % of making one.
    if gc.isenabled():
        gc.disable()
        context.call_on_close(gc.enable)


_Out = Annotated[Path, typer.Option("-o", "--out", metavar="FILE", help="Where the trace goes.")]
_Share = Annotated[float, typer.Option(min=0, max=1, help="Share of the calls that are recorded, each of them whole.")]
_LeastUs = Annotated[float, typer.Option(min=0, metavar="MICROSECONDS", help="Statements that take less are left out.")]
_CallIds = Annotated[bool, typer.Option("--call-ids", help="Write Call-IDs down; else a number stands for each.")]


@app.command("run", context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def run_it(
    context: typer.Context,
    script: Annotated[Path, typer.Argument(metavar="FILE", help="The routing script; options of `layby run` follow.")],
    seconds: Annotated[float | None, typer.Option(min=0.1, help="End the server after so long.")] = None,
    out: _Out = Path("trace.json"),
    share: _Share = 1.0,
    least_us: _LeastUs = 50.0,
    call_ids: _CallIds = False,
    megabytes: Annotated[int, typer.Option(min=1, max=64, help="The most that one process writes.")] = 16,
) -> None:
    """Run a server and record it, from its first message to its last.

    It ends after `--seconds`, or as `layby run` does. Exit codes: the server's; 2 when nothing was recorded.

    Examples:

        layby trace run examples/opensips.cfg -l udp:127.0.0.1:5060 --seconds 10 -o trace.json
    """
    from runtime.modules.timelines import WHOLE_RUN_S, new_order
    from runtime.tracing.collecting import NoTrace
    from runtime.tracing.running import record

    order = new_order(WHOLE_RUN_S, share, least_us, call_ids=call_ids, size=megabytes << 20)
    try:
        code, trace = record(script, context.args, order, seconds)
    except NoTrace as error:
        typer.echo(f"layby: {error}", err=True)
        raise typer.Exit(2) from None
    _write(trace, out)
    raise typer.Exit(code)


@app.command()
def live(
    fifo: Annotated[Path | None, typer.Option(metavar="PATH", help="The server's FIFO (module mi_fifo).")] = None,
    reply_dir: Annotated[Path, typer.Option(metavar="FOLDER", help="With --fifo: the server's reply_dir.")] = Path(
        "/tmp"
    ),
    http: Annotated[str | None, typer.Option(metavar="URL", help="e.g. http://127.0.0.1:8888/mi")] = None,
    token_file: Annotated[
        Path | None, typer.Option(metavar="PATH", help="With --http: a file with the token that the server asks for.")
    ] = None,
    datagram: Annotated[
        str | None, typer.Option(metavar="HOST:PORT|PATH", help="The server's datagram socket (module mi_datagram).")
    ] = None,
    seconds: Annotated[float, typer.Option(min=0.1, max=3000, help="For how long.")] = 5.0,
    out: _Out = Path("trace.json"),
    share: _Share = 0.01,
    least_us: _LeastUs = 50.0,
    call_ids: _CallIds = False,
    megabytes: Annotated[int, typer.Option(min=1, max=16, help="The most that one process writes.")] = 4,
) -> None:
    """Record a running server for a while, by MI. Ctrl-C ends it sooner.

    Before and after, its processes do nothing for it at all. Exit code 1 when the server does not answer or refuses,
    2 when nothing was recorded.

    Examples:

        layby trace live --http http://127.0.0.1:8888/mi --seconds 5 --share 0.01 -o trace.json
    """
    from runtime import mi_client
    from runtime.mi_wire import MiClientError
    from runtime.tracing.collecting import NoTrace, of_server

    options = {
        "share": f"{share:.9g}",
        "least_us": f"{least_us:g}",
        "call_ids": str(int(call_ids)),
        "kilobytes": str(megabytes << 10),
    }
    try:
        target = mi_client.target_of(
            fifo=fifo, reply_dir=reply_dir, http=http, datagram=datagram, token_file=token_file
        )
        trace = of_server(target, seconds, options, _wait)
    except MiClientError as error:
        typer.echo(f"layby: {error}", err=True)
        raise typer.Exit(1) from None
    except NoTrace as error:
        typer.echo(f"layby: {error}", err=True)
        raise typer.Exit(2) from None
    _write(trace, out)


@app.command()
def read(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="What `layby run --trace FOLDER` has left.")],
    out: _Out = Path("trace.json"),
) -> None:
    """Make a trace of what the processes of a server have left in a folder, however they ended."""
    from runtime.tracing.collecting import NoTrace, of_folder

    try:
        trace = of_folder(folder)
    except (NoTrace, OSError) as error:
        typer.echo(f"layby: {error}", err=True)
        raise typer.Exit(2) from None
    _write(trace, out)


@app.command()
def picture(
    trace: Annotated[Path, typer.Argument(metavar="TRACE.json", help="What the other commands have written.")],
    out: Annotated[Path, typer.Option("-o", "--out", metavar="FILE", help="Where the drawing goes, an SVG.")] = Path(
        "trace.svg"
    ),
    start_ms: Annotated[float | None, typer.Option("--from", metavar="MS", help="From where in the trace.")] = None,
    end_ms: Annotated[float | None, typer.Option("--to", metavar="MS", help="Up to where.")] = None,
    title: Annotated[str, typer.Option(help="Stands above.")] = "What the processes did",
) -> None:
    """Draw a part of a trace, by default around the first message that was parked for a job and resumed."""
    from runtime.tracing.events import read_trace
    from runtime.tracing.picture import Window, draw, window_of

    try:
        read_in = read_trace(trace.read_bytes())
        usual = window_of(read_in)
        start = usual.start if start_ms is None else start_ms * 1000
        end = usual.end if end_ms is None else end_ms * 1000
        out.write_text(draw(read_in, Window(start, max(start, end)), title))
    except (OSError, ValueError) as error:
        typer.echo(f"layby: {error}", err=True)
        raise typer.Exit(1) from None


def _wait(seconds: float) -> None:
    try:
        time.sleep(seconds)
    except KeyboardInterrupt:
        typer.echo("ended", err=True)


def _write(trace: Trace, out: Path) -> None:
    from runtime.tracing.events import pack_trace
    from runtime.tracing.summary import summary_of

    try:
        out.write_bytes(pack_trace(trace))
    except OSError as error:
        typer.echo(f"layby: {out}: {error.strerror}", err=True)
        raise typer.Exit(1) from None
    typer.echo("\n".join([*summary_of(trace), f"{out}: open it in https://ui.perfetto.dev or chrome://tracing"]))
