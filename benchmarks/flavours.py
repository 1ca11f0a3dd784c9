"""What does a slow command cost the traffic, called in each of the three flavours?

    python benchmarks/flavours.py [--runs 3] [--rate 1000] [--seconds 10]

Runs `layby demo` several times and prints, for each figure, the median over the runs and its range, and the ratios
that matter: the fast requests' p99 with `mi()` and with `async(mi())`, both against the same run without MI.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

FIGURES = ("p50_ms", "p95_ms", "p99_ms", "max_ms")


def run_demo(rate: int, seconds: float) -> dict[str, dict[str, Any]]:
    """One demo; its figures by flavour."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "runtime", "demo", "--rate", str(rate), "--seconds", str(seconds)]
        done = subprocess.run([*command, "--out", folder], stdout=subprocess.DEVNULL)
        if done.returncode > 1:
            raise SystemExit(f"the demo failed with exit code {done.returncode}")
        figures = json.loads((Path(folder) / "layby-demo.json").read_text())["figures"]
    return {run["flavour"]: run for run in figures}


def spread(values: list[float]) -> str:
    """Median and range."""
    return f"{statistics.median(values):9.3f} ({min(values):.3f} to {max(values):.3f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--rate", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=10.0)
    options = parser.parse_args()
    runs = []
    for number in range(options.runs):
        print(f"run {number + 1} of {options.runs} …", file=sys.stderr)
        runs.append(run_demo(options.rate, options.seconds))
    for flavour in runs[0]:
        for kind in ("fast", "slow"):
            if runs[0][flavour][kind] is None:
                continue
            for figure in FIGURES:
                values = [run[flavour][kind][figure] for run in runs]
                print(f"{flavour:7} {kind} {figure:7} {spread(values)}")
        cpu = [run[flavour]["cpu_s_per_10000"] for run in runs]
        print(f"{flavour:7} CPU s per 10,000 {spread(cpu)}; lost {sum(run[flavour]['lost'] for run in runs)}")
    for flavour in ("mi", "async", "launch"):
        ratios = [run[flavour]["fast"]["p99_ms"] / run["none"]["fast"]["p99_ms"] for run in runs]
        print(f"fast p99, {flavour:6} : none   {spread(ratios)}")
    ratios = [run["mi"]["fast"]["p99_ms"] / run["async"]["fast"]["p99_ms"] for run in runs]
    print(f"fast p99, mi     : async  {spread(ratios)}")


if __name__ == "__main__":
    main()
