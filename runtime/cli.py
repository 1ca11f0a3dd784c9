"""The command line: `layby run`, `check`, `mi`, `which`, `reference`, `demo`, `bench`, `verify`, `replay`, `trace`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console

from runtime.bench.cli import bench
from runtime.simulation import cli as simulation
from runtime.tracing import cli as tracing

app = typer.Typer(
    name="layby",
    help="A multi-process SIP runtime whose routing script runs management (MI) commands without stopping traffic.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)

app.command()(simulation.verify)
app.command()(simulation.replay)
app.command()(bench)
app.add_typer(tracing.app)


def main() -> None:
    """Entry point of the `layby` program and of `python -m runtime`."""
    app()


def _version(wanted: bool) -> None:
    if wanted:
        from runtime.modules.management import server_name

        typer.echo(server_name())
        raise typer.Exit


@app.callback()
def _layby(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Say it.")] = False,
) -> None:
    pass


def _host_and_port(text: str | None) -> tuple[str, int] | None:
    if text is None:
        return None
    host, _, port = text.rpartition(":")
    if not host or not (port.isascii() and port.isdecimal() and 0 < int(port) < 65536):
        raise typer.BadParameter(f"{text} is not HOST:PORT")
    return host.strip("[]"), int(port)


@app.command()
def run(
    script: Annotated[
        Path, typer.Argument(metavar="FILE", help="The routing script: FILE.cfg (OpenSIPS language), FILE.py.")
    ],
    listen: Annotated[
        list[str] | None,
        typer.Option(
            "-l",
            "--listen",
            metavar="PROTOCOL:HOST:PORT",
            help="Where to listen (udp or tcp), instead of the script's socket= lines. May be given several times.",
        ),
    ] = None,
    check: Annotated[
        bool, typer.Option("-C", "--check", help="Check the script and leave: 0 when it is right, 1 when not.")
    ] = False,
    mi_http: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT",
            help="Where MI is to be had over HTTP, whatever the script says of that, if anything.",
        ),
    ] = None,
    udp_workers: Annotated[int | None, typer.Option(help="SIP processes, instead of the script's udp_workers.")] = None,
    mi_workers: Annotated[
        int | None,
        typer.Option(help="Processes that run MI jobs, instead of the script's mi_workers. 0: the SIP processes do."),
    ] = None,
    mi_workers_max: Annotated[
        int | None,
        typer.Option(
            help="Up to how many there are while jobs wait and all are occupied (16, or --mi-workers if more)."
        ),
    ] = None,
    log_level: Annotated[
        int | None, typer.Option(help="-3 (alerts only) to 4 (debug), instead of the script's log_level.")
    ] = None,
    drain: Annotated[
        float, typer.Option(metavar="SECONDS", min=0, help="How long parked requests may take to end at shutdown.")
    ] = 5.0,
    options: Annotated[
        list[str] | None,
        typer.Option("-o", "--option", metavar="NAME=VALUE", help="What $argv(NAME) says. May be given several times."),
    ] = None,
    folder: Annotated[
        Path | None,
        typer.Option(
            "-R", "--runtime-folder", help="For sockets and shared state; made with mode 0700, removed at the end."
        ),
    ] = None,
    trace: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", help="Where every process writes down what it does, for `layby trace read FOLDER`."
        ),
    ] = None,
) -> None:
    """Run a server in the foreground until SIGINT or SIGTERM.

    A second signal ends it at once, without draining. What is wrong with the script is written as `layby check`
    does, and a script with errors never starts.

    Exit codes: 0 shut down, 1 the script or a setting is wrong, 3 a process did not come up, 4 processes died
    again and again, 5 ended by a second signal.
    """
    from runtime.attendant import serve
    from runtime.checking import print_report, problem_of
    from runtime.errors import NotLoaded
    from runtime.program import Program
    from runtime.settings import SettingsError, settle

    try:
        told = dict(option.partition("=")[::2] for option in options or ())
        program = Program.load(script, listen or (), options=told, mi_http=_host_and_port(mi_http))
    except NotLoaded as error:
        print_report(error.problems, stderr=True)
        raise typer.Exit(1) from None
    except OSError as error:
        typer.echo(f"{script}: {error.strerror}", err=True)
        raise typer.Exit(1) from None
    except SettingsError as error:
        print_report([problem_of(script, error)], stderr=True)
        raise typer.Exit(1) from None
    if warnings := program.warnings():
        print_report(warnings, stderr=True)
    try:
        settings = settle(
            program.checked.globals,
            program.checked.sockets,
            udp_workers=udp_workers,
            mi_workers=mi_workers,
            mi_workers_max=mi_workers_max,
            log_level=log_level,
            drain_s=drain,
            folder=folder,
            trace=trace,
        )
    except SettingsError as error:
        print_report([problem_of(script, error)], stderr=True)
        raise typer.Exit(1) from None
    if check:
        return
    try:
        code = serve(program, settings, [sys.argv[0], *sys.argv[1:]])
    except SettingsError as error:
        typer.echo(f"layby: {error}", err=True)
        raise typer.Exit(1) from None
    raise typer.Exit(code)


@app.command("check")
def check_files(
    scripts: Annotated[list[Path], typer.Argument(metavar="FILE...", help="The routing scripts, FILE.cfg or FILE.py.")],
    format: Annotated[
        Literal["text", "json"], typer.Option("--format", help="`text` for people, `json` for editors.")
    ] = "text",
    strict: Annotated[bool, typer.Option("--strict", help="Exit code 1 on warnings too.")] = False,
) -> None:
    """Check routing scripts without starting anything.

    Names, arguments, routes and settings that make no sense are errors. Code that can never run, and management
    commands that stop traffic, are warnings; `# layby: ignore[code]` at the end of a line silences one there.

    Exit codes: 0 all is right or there are only warnings, 1 there are errors (with `--strict`: or warnings), 2 a file
    cannot be read.
    """
    from runtime.checking import print_json, print_report, problems_of

    for script in scripts:
        try:
            script.open("rb").close()
        except OSError as error:
            typer.echo(f"layby: cannot read {script}: {error.strerror}", err=True)
            raise typer.Exit(2) from None
    problems = [problem for script in scripts for problem in problems_of(script)]
    if format == "json":
        print_json(problems)
    else:
        print_report(problems)
    if any(strict or problem.severity == "error" for problem in problems):
        raise typer.Exit(1)


@app.command(context_settings={"ignore_unknown_options": True})
def mi(
    command: Annotated[str, typer.Argument(help="The MI command; `which` lists them all.")],
    arguments: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[ARG | NAME=VALUE]...",
            help="Either values in order, or names with values; NAME:=JSON passes a list or an object.",
        ),
    ] = None,
    fifo: Annotated[Path | None, typer.Option(metavar="PATH", help="The server's FIFO (module mi_fifo).")] = None,
    reply_dir: Annotated[Path, typer.Option(metavar="FOLDER", help="With --fifo: the server's reply_dir.")] = Path(
        "/tmp"
    ),
    http: Annotated[str | None, typer.Option(metavar="URL", help="e.g. http://127.0.0.1:8888/mi")] = None,
    token_file: Annotated[
        Path | None, typer.Option(metavar="PATH", help="With --http: a file with the token that the server asks for.")
    ] = None,
    ca: Annotated[
        Path | None, typer.Option(metavar="PATH", help="With https: the CA of the server's certificate, PEM.")
    ] = None,
    certificate: Annotated[
        tuple[Path, Path] | None, typer.Option(metavar="PATH KEY", help="With https: our own certificate and its key.")
    ] = None,
    datagram: Annotated[
        str | None, typer.Option(metavar="HOST:PORT|PATH", help="The server's datagram socket (module mi_datagram).")
    ] = None,
    timeout: Annotated[float, typer.Option(metavar="SECONDS", min=0.01, help="How long to wait.")] = 10.0,
) -> None:
    """Call an MI command of a running server and print its result as JSON.

    Exit code 1, and the error on stderr, when the server refuses it or does not answer.

    Examples:

        layby mi --http http://127.0.0.1:8888/mi get_statistics core: rcv_replies

        layby mi --fifo /tmp/layby_fifo cache_store local key value

        layby mi dlg_list index=0 counter=10

        layby mi which dlg_list (what it can be called with)

        layby mi help dlg_list (what it does)
    """
    from runtime import mi_client
    from runtime.mi_wire import MiClientError

    try:
        target = mi_client.target_of(
            fifo=fifo,
            reply_dir=reply_dir,
            http=http,
            datagram=datagram,
            token_file=token_file,
            ca=ca,
            certificate=certificate,
        )
        result = mi_client.call(target, command, arguments or [], timeout)
    except MiClientError as error:
        typer.echo(f"layby: {error}", err=True)
        if isinstance(error, mi_client.Refused):
            for line in mi_client.advise(target, command, error, timeout):
                typer.echo(f"  {line}", err=True)
        raise typer.Exit(1) from None
    typer.echo(json.dumps(result, indent=4, ensure_ascii=False))


@app.command()
def which(
    name: Annotated[
        str | None,
        typer.Argument(metavar="[NAME]", help="As a script writes it: t_relay, '$ru', '{s.len}', tm.fr_timeout."),
    ] = None,
    module: Annotated[str | None, typer.Option(metavar="MODULE", help="Only what this module gives.")] = None,
    script: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Only what this script has: its own modules, too.")
    ] = None,
) -> None:
    """Say what a name is: word, module, function, variable, transformation, MI command, parameter, statistic or event.

    Without a name, list all of them. Exit code 1 when nothing has that name.
    """
    from runtime import naming
    from runtime.checking import print_report, problem_of
    from runtime.errors import NotLoaded, SettingsError

    try:
        entries = naming.names_of(script, module)
    except (NotLoaded, SettingsError) as error:
        assert script is not None
        print_report(error.problems if isinstance(error, NotLoaded) else [problem_of(script, error)], stderr=True)
        raise typer.Exit(1) from None
    lines = list(naming.listed(entries)) if name is None else naming.described(entries, name)
    if not lines:
        typer.echo(f"layby: {naming.unknown(entries, name or module or '')}", err=True)
        raise typer.Exit(1)
    typer.echo("\n".join(lines))


@app.command()
def reference(
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="Where the pages go.")] = Path("docs/reference"),
) -> None:
    """Write the pages of the reference, made of the declarations in the sources."""
    from runtime.reference import write_reference

    try:
        written = write_reference(out)
    except OSError as error:
        typer.echo(f"layby: {error.filename}: {error.strerror}", err=True)
        raise typer.Exit(1) from None
    typer.echo(f"{len(written)} pages in {out}")


@app.command()
def demo(
    rate: Annotated[int, typer.Option(min=1, max=20_000, help="Requests offered per second.")] = 1000,
    seconds: Annotated[float, typer.Option(min=0.5, max=600, help="How long each way is driven.")] = 10.0,
    share: Annotated[float, typer.Option(min=0, max=1, help="Share of the requests that call the command.")] = 0.05,
    milliseconds: Annotated[int, typer.Option(min=1, max=10_000, help="How long the command takes.")] = 50,
    udp_workers: Annotated[int, typer.Option(min=1, max=64, help="SIP processes.")] = 4,
    mi_workers: Annotated[int, typer.Option(min=0, max=64, help="Processes that run MI jobs.")] = 4,
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="Where the chart and the figures go.")] = Path("out"),
) -> None:
    """Start a real server on loopback, drive SIP traffic through it in four ways, and show what MI did to it.

    The ways: no MI, `mi()`, `async(mi())` and `launch(mi())`. Ends with a table and a chart; exit code 1 when a
    request was lost or the asynchronous form did not protect the fast requests.
    """
    from runtime.demo import demo as the_demo

    raise typer.Exit(
        the_demo.run(
            rate=rate,
            seconds=seconds,
            slow_share=share,
            slow_ms=milliseconds,
            sip_processes=udp_workers,
            mi_workers=mi_workers,
            out=out,
            console=Console(),
        )
    )
