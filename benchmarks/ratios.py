"""Has layby become slower? Ratios of one way of calling a command to another, beside those that were committed.

    python benchmarks/ratios.py [--runs 3] [--seconds 4] [--write] [--baseline FILE] [--json FILE]

Two sweeps of `layby bench`, about three minutes together: 500 requests/s of which 5 % call a command of 50 ms, and
1,000 requests/s that all call `uptime`, which takes next to no time. Seconds are another machine's seconds; how much
worse `async(mi())` is than no command at all, measured in the same minute, is nearly the same on all of them. So only
ratios are compared with the baseline. Each is a ratio within one run, with median and range over the runs:

    fast p99     of the requests that need no command: async, launch and gather to none; mi to async
    slow p99     of those that call it, to the command's own 50 ms
    CPU          of a request that calls `uptime`, to one that calls nothing

A ratio is worse where its median is beyond the baseline's by more than the factor that stands beside it, and all runs
are beyond all of the baseline's. The exit code is 1 where one is worse, or a request was lost or refused; `--write`
makes what was measured the baseline.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from runtime.bench.results import Document, from_json
from runtime.bench.statistics import Range, range_of

BASELINE: Final = Path(__file__).parent / "baseline.json"
SLOW_MS: Final = 50.0
_LATENCY: Final = 2.0
"""What latencies far below a millisecond may grow by, as a ratio: they move that much with what else a machine does."""
_SLOW: Final = 1.3
_CPU: Final = 1.25

Figures = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Ratio:
    """One of the ratios.

    Args:
        name: as it is shown.
        of: from the figures of one run, by flavour.
        factor: so much worse than the baseline is not yet worse.
        more_is_better: whether it should be high.
    """

    name: str
    of: Callable[[Figures], float]
    factor: float
    more_is_better: bool = False


def _fast(flavour: str, to: str) -> Callable[[Figures], float]:
    return lambda run: float(run[flavour].fast.p99_ms / run[to].fast.p99_ms)


def _slow(flavour: str) -> Callable[[Figures], float]:
    return lambda run: float(run[flavour].slow.p99_ms / SLOW_MS)


def _cpu(flavour: str) -> Callable[[Figures], float]:
    return lambda run: float(run[flavour].cpu_s / run["none"].cpu_s)


WAITING: Final = [
    Ratio("fast p99, async : none", _fast("async", "none"), _LATENCY),
    Ratio("fast p99, launch : none", _fast("launch", "none"), _LATENCY),
    Ratio("fast p99, gather : none", _fast("gather", "none"), _LATENCY),
    Ratio("fast p99, mi : async", _fast("mi", "async"), _LATENCY, more_is_better=True),
    Ratio("slow p99, async : the command", _slow("async"), _SLOW),
    Ratio("slow p99, gather : the command", _slow("gather"), _SLOW),
]
COST: Final = [Ratio(f"CPU, {flavour} : none", _cpu(flavour), _CPU) for flavour in ("mi", "async", "launch", "gather")]


def sweep(*options: str) -> Document:
    """One sweep of `layby bench`, whose progress goes to standard error."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bench.json"
        command = [sys.executable, "-m", "runtime", "bench", *options, "--json", str(path)]
        done = subprocess.run(command, stdout=sys.stderr, cwd=Path(__file__).parent.parent)
        if done.returncode:
            raise SystemExit(f"layby bench failed with exit code {done.returncode}")
        return from_json(path.read_bytes())


def runs_of(document: Document) -> Iterator[Figures]:
    """For each run the load of each flavour."""
    for number in range(document.asked.runs):
        yield {result.cell.flavour: result.runs[number].points[0] for result in document.cells}


def ratios_of(document: Document, wanted: list[Ratio]) -> dict[str, Range]:
    """The ratios over the runs."""
    runs = list(runs_of(document))
    found = {ratio.name: range_of([ratio.of(run) for run in runs]) for ratio in wanted}
    return {name: value for name, value in found.items() if value}


def lost(document: Document) -> int:
    """Requests that were not answered as wanted."""
    return sum(point.lost + point.refused for each in document.cells for run in each.runs for point in run.points)


def is_worse(ratio: Ratio, old: Range, new: Range) -> bool:
    """Whether it is worse than the baseline, beyond what is allowed and beyond the runs' own ranges."""
    if ratio.more_is_better:
        return new.median * ratio.factor < old.median and new.high < old.low
    return new.median > old.median * ratio.factor and new.low > old.high


def shown(value: Range | None) -> str:
    """Median and range."""
    return "-" if value is None else f"{value.median:8.2f} ({value.low:.2f} to {value.high:.2f})"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4.0, help="of each load of the first sweep; half for others")
    parser.add_argument("--baseline", type=Path, default=BASELINE, metavar="FILE")
    parser.add_argument("--write", action="store_true", help="make what is measured the baseline")
    parser.add_argument("--json", type=Path, metavar="FILE", help="the ratios")
    options = parser.parse_args()
    runs = "--runs", str(options.runs)
    waiting = sweep(*runs, "--rate", "500", "--seconds", str(options.seconds))
    call = "--command", "uptime", "--share", "100"
    cost = sweep(*runs, "--rate", "1000", "--seconds", str(options.seconds / 2), *call)
    found = {**ratios_of(waiting, WAITING), **ratios_of(cost, COST)}
    written = {"machine": msgspec.to_builtins(waiting.machine), "ratios": msgspec.to_builtins(found)}
    if options.json:
        options.json.write_text(json.dumps(written, indent=1) + "\n")
    if options.write:
        options.baseline.write_text(json.dumps(written, indent=1) + "\n")
    missed = lost(waiting) + lost(cost)
    if missed:
        print(f"{missed} requests were lost or refused")
    return 1 if judge(found, options.baseline) or missed else 0


def judge(found: dict[str, Range], path: Path) -> int:
    """Print every ratio beside the baseline's; how many are worse."""
    old = msgspec.convert(json.loads(path.read_text())["ratios"], dict[str, Range]) if path.exists() else {}
    worse = 0
    print(f"{'':32}{'now':28}{'baseline':28}allowed")
    for ratio in [*WAITING, *COST]:
        now, then = found[ratio.name], old.get(ratio.name)
        is_it = then is not None and is_worse(ratio, then, now)
        worse += is_it
        bound = f"{'/' if ratio.more_is_better else 'x'} {ratio.factor:g}"
        print(f"{ratio.name:32}{shown(now):28}{shown(then):28}{bound}{'  WORSE' if is_it else ''}")
    return worse


if __name__ == "__main__":
    sys.exit(main())
