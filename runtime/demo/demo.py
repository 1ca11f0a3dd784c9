"""`layby demo`: the same traffic against a real server, once per flavour of `mi()`, and what it did to the others."""

from __future__ import annotations

import json
import secrets
import time
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich import box
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table

from runtime.demo import chart
from runtime.demo.figures import (
    COLUMNS,
    RUN_COLUMNS,
    Figures,
    Run,
    document,
    figures,
    lag_line,
    rows,
    verdict,
)
from runtime.traffic import generator
from runtime.traffic.offer import Ended, Plan
from runtime.traffic.offer import Progress as SoFar
from runtime.traffic.server import Server, ServerError, command, example, free_port
from runtime.traffic.spread import milliseconds, percentile

FLAVOURS = ("none", "mi", "async", "launch")
_PAUSE_S = 1.0
_SEED = 20
_PLAIN_LINE_S = 1.0


@dataclass(frozen=True, slots=True)
class Settings:
    """What `run` was asked for."""

    rate: int
    seconds: float
    slow_share: float
    slow_ms: int
    flavours: tuple[str, ...]
    sip_processes: int
    mi_workers: int

    def __post_init__(self) -> None:
        unknown = [each for each in self.flavours if each not in FLAVOURS]
        if unknown or not self.flavours:
            raise ValueError(f"flavours are {', '.join(FLAVOURS)}; not {', '.join(unknown) or 'none at all'}")
        if not 1 <= self.slow_ms <= 10_000:
            raise ValueError("slow_ms: 1 to 10000")
        for flavour in self.flavours:
            plan(self, flavour, port=0)  # raises what is wrong with the load


def plan(settings: Settings, flavour: str, port: int) -> Plan:
    """The load of one flavour. Raises ValueError for numbers out of range."""
    calls = flavour != "none"
    return Plan(
        host=Server.host,
        port=port,
        rate_per_s=settings.rate,
        seconds=settings.seconds,
        fast_user="fast",
        slow_user=f"{flavour}-slow-{settings.slow_ms}" if calls else "fast",
        slow_share=settings.slow_share if calls else 0.0,
        seed=_SEED,
        run=f"{flavour}-{secrets.token_hex(4)}",
    )


def run(
    *,
    rate: int = 1000,
    seconds: float = 10.0,
    slow_share: float = 0.05,
    slow_ms: int = 50,
    flavours: Sequence[str] = FLAVOURS,
    sip_processes: int = 4,
    mi_workers: int = 4,
    out: Path,
    console: Console,
) -> int:
    """Measure every flavour against one real server and show the figures.

    Args:
        rate: requests offered per second.
        seconds: length of each flavour's load.
        slow_share: which share of the requests calls the slow command, 0 to 1.
        slow_ms: how many milliseconds that command takes.
        flavours: which of ``none``, ``mi``, ``async`` and ``launch``, in which order.
        sip_processes, mi_workers: how many of each the server has.
        out: the chart's PNG file, or a folder for it; the figures go beside it as JSON.
        console: where everything is shown.

    Returns:
        0; 1 when a request was lost or refused, or the fast requests' p99 under `mi` is not ten times that under
        `async`; 2 for settings that make no sense; 3 when the server or the generator failed; 130 when interrupted.
    """
    try:
        settings = Settings(rate, seconds, slow_share, slow_ms, tuple(flavours), sip_processes, mi_workers)
    except ValueError as error:
        console.print(f"layby demo: {error}", style="red", markup=False)
        return 2
    try:
        script, port = example("opensips.cfg"), free_port()
        with Server(command(script, port, sip_processes, mi_workers), port) as server:
            server.wait_ready()
            runs = measure(settings, server, console)
    except (ServerError, generator.LoadError, OSError) as error:
        console.print(f"layby demo: {error}", style="red", markup=False)
        return 3
    except KeyboardInterrupt:
        console.print("interrupted")
        return 130
    return show(settings, runs, out, console)


def measure(settings: Settings, server: Server, console: Console) -> list[Run]:
    """Offer each flavour's load to a server that is ready, one after the other, and show how far it is.

    Raises:
        ServerError, LoadError: the server or the generator failed.
    """
    console.print(
        f"{settings.rate} requests/s for {settings.seconds:g} s each: {', '.join(settings.flavours)}; "
        f"{100 * settings.slow_share:g} % call a command of {settings.slow_ms} ms; "
        f"{settings.sip_processes} SIP processes, {settings.mi_workers} workers.",
        highlight=False,
    )
    with _Show(console, settings) as shown:
        return [_measure_one(settings, each, server, shown) for each in settings.flavours]


def _measure_one(settings: Settings, flavour: str, server: Server, shown: _Show) -> Run:
    wanted = plan(settings, flavour, server.port)
    fast_s, slow_s = array("d"), array("d")
    if flavour != settings.flavours[0]:
        time.sleep(_PAUSE_S)  # it begins with an idle server, not with the last jobs of the flavour before
    shown.begin(flavour, wanted.count)
    cpu_before_s = server.cpu_s()
    for frame in generator.offer(wanted):
        match frame:
            case SoFar():
                fast_s.extend(frame.fast_s)
                slow_s.extend(frame.slow_s)
                shown.progress(flavour, frame, fast_s)
            case Ended():
                ended = frame
    cpu_s = server.cpu_s() - cpu_before_s
    server.check_alive()
    return _run(flavour, wanted, ended, (fast_s, slow_s), cpu_s)


def _run(flavour: str, wanted: Plan, ended: Ended, latencies: tuple[array[float], array[float]], cpu_s: float) -> Run:
    counts = ended.counts
    return Run(
        flavour=flavour,
        offered=wanted.count,
        load_s=wanted.count / wanted.rate_per_s,
        window_s=ended.window_s,
        fast_s=latencies[0],
        slow_s=latencies[1],
        statuses=counts.statuses,
        lost=ended.lost,
        retransmitted=counts.retransmitted,
        duplicates=counts.duplicates,
        send_errors=ended.send_errors,
        lag_p99_s=ended.lag_p99_s,
        lag_max_s=ended.lag_max_s,
        real_time=ended.real_time,
        cpu_s=cpu_s,
    )


class _Show:
    """Progress on a terminal as one bar per flavour, elsewhere as a plain line per second.

    Nothing is drawn between the generator's frames: a thread that redraws would take CPU from the server.
    """

    def __init__(self, console: Console, settings: Settings) -> None:
        self._console = console
        self._bars = {}
        self._plain_at = 0.0
        self._before = (0.0, 0)
        self._progress = Progress(
            TextColumn("{task.description:>7}"),
            BarColumn(bar_width=30),
            TextColumn("{task.fields[told]}"),
            console=console,
            auto_refresh=False,
            disable=not console.is_terminal,
        )
        for flavour in dict.fromkeys(settings.flavours):
            self._bars[flavour] = self._progress.add_task(flavour, total=None, start=False, told="")

    def __enter__(self) -> _Show:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def begin(self, flavour: str, total: int) -> None:
        """A flavour's load begins."""
        self._plain_at, self._before = _PLAIN_LINE_S, (0.0, 0)
        self._progress.update(self._bars[flavour], total=total, completed=0)

    def progress(self, flavour: str, so_far: SoFar, fast_s: array[float]) -> None:
        """Show how far it is, at most twice a second."""
        elapsed_s, answered = so_far.elapsed_s - self._before[0], so_far.answered - self._before[1]
        total = self._progress.tasks[self._bars[flavour]].total
        if elapsed_s < 0.45 and so_far.answered != total:
            return
        self._before = (so_far.elapsed_s, so_far.answered)
        told = f"{answered / max(elapsed_s, 0.001):6.0f}/s  {so_far.answered:7d} answered  " + _p99_text(fast_s)
        self._progress.update(self._bars[flavour], completed=so_far.answered, told=told)
        if self._console.is_terminal:
            self._progress.refresh()
        elif so_far.elapsed_s >= self._plain_at or so_far.answered == total:
            self._plain_at = so_far.elapsed_s + _PLAIN_LINE_S
            self._console.print(f"{flavour:>7} {so_far.elapsed_s:5.1f} s {told}", highlight=False)


def _p99_text(fast_s: array[float]) -> str:
    return f"fast p99 {milliseconds(1000 * percentile(sorted(fast_s), 0.99))} ms" if fast_s else ""


def show(settings: Settings, runs: Sequence[Run], out: Path, console: Console) -> int:
    """Show the figures, write the chart and the JSON, and give `run`'s exit code 0, 1 or 3."""
    measured = [figures(each) for each in runs]
    console.print(table(measured))
    console.print(lag_line(measured), highlight=False)
    judged = verdict(measured)
    if judged.sentence:
        console.print(judged.sentence, highlight=False)
    picture = out if out.suffix else out / "layby-demo.png"
    try:
        _write(settings, runs, measured, picture, console)
    except OSError as error:
        console.print(f"layby demo: {error}", style="red", markup=False)
        return 3
    for reason in judged.reasons:
        console.print(f"Not as it should be: {reason}.", style="red", markup=False)
    return 1 if judged.reasons else 0


def _write(
    settings: Settings, runs: Sequence[Run], measured: Sequence[Figures], picture: Path, console: Console
) -> None:
    picture.parent.mkdir(parents=True, exist_ok=True)
    numbers = picture.with_suffix(".json")
    plain = {field: getattr(settings, field) for field in settings.__slots__}
    numbers.write_text(json.dumps(document(measured, plain), indent=2) + "\n")
    title = (
        f"{settings.rate} requests/s, {100 * settings.slow_share:g} % of them calling a command of "
        f"{settings.slow_ms} ms; {settings.sip_processes} SIP processes, {settings.mi_workers} workers"
    )
    try:
        chart.draw(runs, title, picture)
    except ImportError:
        console.print("No chart: matplotlib is not installed (pip install 'layby[chart]').", markup=False)
    else:
        console.print(f"Chart: {picture}", soft_wrap=True, highlight=False, markup=False)
    console.print(f"Figures: {numbers}", soft_wrap=True, highlight=False, markup=False)


def table(measured: Sequence[Figures]) -> Table:
    """The figures as a table: two rows per flavour, what concerns the whole run on the first."""
    shown = Table(box=box.SIMPLE_HEAD, padding=0)  # 80 columns are enough for it
    for name in COLUMNS + RUN_COLUMNS:
        shown.add_column(name, justify="left" if name in COLUMNS[:2] else "right", no_wrap=True)
    for each in measured:
        for line in rows(each):
            shown.add_row(*line)
    return shown
