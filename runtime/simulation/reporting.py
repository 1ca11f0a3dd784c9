"""What `layby verify` and `layby replay` show: progress, coverage, findings, and a run step by step."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from itertools import chain, count
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct
from msgspec.structs import replace
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from runtime.simulation.coverage import covered, lines_text
from runtime.simulation.diagram import column_of, diagram, of_call, title_of, words_of
from runtime.simulation.events import Event, PacketLost, PacketReceived, PacketSent, who
from runtime.simulation.findings import Finding, json_of
from runtime.simulation.verifying import Verified

_LINE_EVERY_S: Final = 10.0


class Shown:
    """Progress: a bar on a terminal, a line now and then elsewhere.

    Args:
        console: where it is shown.
        seconds: for how long it will go on.
    """

    def __init__(self, console: Console, seconds: float) -> None:
        self._console = console
        self._seconds = seconds
        self._line_at_s = _LINE_EVERY_S
        self._progress = Progress(
            TextColumn("verify"),
            BarColumn(bar_width=30),
            TextColumn("{task.fields[told]}"),
            console=console,
            disable=not console.is_terminal,
            transient=True,
        )
        self._bar = self._progress.add_task("", total=seconds, told="")

    def __enter__(self) -> Shown:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def __call__(self, so_far: Verified) -> None:
        """How far it has come."""
        reached = f", {so_far.share * 100:.0f} % reached" if so_far.statements else ""
        told = f"{so_far.parkings} parked{reached}, {len(so_far.findings)} found"
        self._progress.update(self._bar, completed=min(so_far.elapsed_s, self._seconds), told=told)
        if self._progress.disable and self._line_at_s <= so_far.elapsed_s < self._seconds:
            self._line_at_s += _LINE_EVERY_S
            self._console.print(f"{so_far.elapsed_s:.0f} of {self._seconds:g} s: {so_far.runs} runs, {told}")


def figures_text(verified: Verified) -> str:
    """How much there was."""
    reached = f", {verified.share * 100:.0f} % of the statements" if verified.statements else ""
    return f"{verified.runs} runs, {verified.requests} requests, {verified.parkings} parked{reached}"


def coverage_lines(verified: Verified) -> Iterator[str]:
    """A line for each route of which something was not reached."""
    for one in covered(verified.statements, verified.reached):
        if one.missed:
            yield f"  {one.route}: {one.reached} of {one.statements}, not lines {lines_text(one.missed)}"


def keep(findings: Iterable[Finding], folder: Path) -> list[Path]:
    """Write each finding into a file of its own, for `layby replay`.

    Args:
        findings: those.
        folder: made where there are any.

    Returns:
        The file of each.

    Raises:
        OSError: it cannot be written.
    """
    paths: list[Path] = []
    for finding in findings:
        folder.mkdir(parents=True, exist_ok=True)
        path = _free(f"{finding.kind}-{Path(finding.file).stem or 'server'}-{finding.line}", folder, paths)
        path.write_bytes(json_of(finding))
        paths.append(path)
    return paths


def _free(name: str, folder: Path, taken: Collection[Path]) -> Path:
    """Files of one name may lie in several folders."""
    tried = (folder / f"{name}{suffix}.json" for suffix in chain(("",), (f"-{number}" for number in count(2))))
    return next(path for path in tried if path not in taken)


def said(finding: Finding) -> str:
    """A finding in a line; its file as seen from here."""
    here = f"{Path.cwd()}/"
    return str(replace(finding, file=finding.file.removeprefix(here)))


def report(console: Console, verified: Verified, folder: Path) -> None:
    """Say what was found. Raises OSError: a finding cannot be kept."""
    for finding, path in zip(verified.findings, keep(verified.findings, folder), strict=True):
        console.print(said(finding), markup=False)
        console.print(f"  layby replay {shlex.quote(str(path))}", markup=False)
    stopped = ", interrupted" if verified.interrupted else ""
    console.print(f"{figures_text(verified)} in {verified.elapsed_s:.0f} s{stopped}")
    missed = list(coverage_lines(verified))
    if missed:
        console.print("Not reached:", *missed, sep="\n", markup=False)
    console.print(f"{len(verified.findings) or 'no'} finding{'' if len(verified.findings) == 1 else 's'}")


class RouteCovered(Struct, frozen=True):
    """See `coverage.Covered`."""

    route: str
    file: str
    line: int
    reached: int
    statements: int
    missed: tuple[int, ...]


class Document(Struct, frozen=True):
    """What ``--json`` writes."""

    findings: list[Finding]
    coverage: list[RouteCovered]
    runs: int
    requests: int
    parkings: int
    seconds: float


def document_of(verified: Verified) -> bytes:
    """All of it as JSON."""
    coverage = [
        RouteCovered(one.route, one.place.file, one.place.line, one.reached, one.statements, one.missed)
        for one in covered(verified.statements, verified.reached)
    ]
    document = Document(
        verified.findings, coverage, verified.runs, verified.requests, verified.parkings, round(verified.elapsed_s, 3)
    )
    return msgspec.json.format(msgspec.json.encode(document), indent=1) + b"\n"


def replayed(
    console: Console,
    finding: Finding,
    events: Sequence[Event],
    step: bool = False,
    ask: Callable[[str], object] = lambda left: None,
) -> None:
    """Show a finding's run.

    Args:
        console: where.
        finding: it.
        events: of its run.
        step: whether to show one step at a time, with whole messages, and not a diagram.
        ask: called after each step, with how many are left. EOFError: the others are not wanted one at a time.
    """
    shown = of_call(events, finding.call) if finding.call else list(events)
    if not step:
        console.print(diagram(shown, console.width), end="", markup=False, highlight=False, soft_wrap=True)
        return
    steps = list(step_texts(shown))
    asks = True
    for number, text in enumerate(steps):
        console.print(text, markup=False, highlight=False, soft_wrap=True)
        left = len(steps) - number - 1
        if asks and left:
            try:
                ask(f"{left} more")
            except EOFError:
                asks = False


def step_texts(events: Iterable[Event]) -> Iterator[str]:
    """What happened, one text for each step; a message is shown whole when it is sent."""
    titles: dict[int, str] = {}
    for event in events:
        match event:
            case PacketSent():
                titles[event.packet] = title_of(event.data)
                body = "".join(f"    {line}\n" for line in event.data.replace("\r", "").split("\n") if line)
                yield f"{event.at_s:10.4f}  {event.source} sends {titles[event.packet]} to {event.to}\n{body}".rstrip()
            case PacketReceived():
                yield f"{event.at_s:10.4f}  {event.to} receives {titles.get(event.packet, '')}"
            case PacketLost():
                yield f"{event.at_s:10.4f}  {titles.get(event.packet, '')} is lost"
            case _:
                if words := words_of(event):
                    yield f"{event.at_s:10.4f}  {column_of(who(event))} {words}"
