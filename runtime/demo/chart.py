"""The demo's picture: which share of the requests waited at least how long, per flavour. A PNG by matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from runtime.demo.figures import Run

# Okabe and Ito's palette, told apart by colour-blind readers too; the dashes tell the lines apart without colour.
_LOOKS = {
    "none": ("#000000", (0, (1, 1.5)), "no command at all"),
    "mi": ("#D55E00", "solid", "mi(): the SIP process waits"),
    "async": ("#0072B2", (0, (6, 1.5)), "async(mi()): parked, then resumed"),
    "launch": ("#009E73", (0, (3, 1, 1, 1)), "launch(mi()): not waited for"),
}
_SHARES = {1.0: "all", 0.1: "1 in 10", 0.01: "1 in 100", 0.001: "1 in 1,000", 0.0001: "1 in 10,000"}


def draw(runs: Sequence[Run], title: str, path: Path) -> None:
    """Draw the runs and write the picture.

    Args:
        runs: one per flavour.
        title: stands above the picture.
        path: where the PNG goes; its folder exists.

    Raises:
        ImportError: matplotlib is not installed (it comes with ``layby[chart]``).
        OSError: the file cannot be written.
    """
    # Only here: the server and the plain table need no matplotlib. The Agg canvas needs no display.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    picture = Figure(figsize=(12, 5.6), dpi=120, layout="constrained")
    FigureCanvasAgg(picture)
    picture.suptitle(title, fontsize=13)
    fast, slow = picture.subplots(1, 2, sharex=True, sharey=True)
    rarest = min((1 / len(run.fast_s) for run in runs if len(run.fast_s)), default=0.01)
    shares = [share for share in _SHARES if share >= rarest / 1.01]
    _panel(fast, "Requests that need no command", [(run.flavour, run.fast_s) for run in runs])
    _panel(slow, "Requests that call the slow command", [(run.flavour, run.slow_s) for run in runs])
    fast.set_ylabel("share of requests that waited at least so long")
    fast.set_yticks(shares, [_SHARES[share] for share in shares])
    picture.legend(*fast.get_legend_handles_labels(), loc="outside lower center", ncols=len(runs), frameon=False)
    picture.savefig(path, format="png")


def _panel(axes: Any, title: str, curves: Sequence[tuple[str, Sequence[float]]]) -> None:
    for flavour, latencies_s in curves:
        if latencies_s:
            _curve(axes, flavour, latencies_s)
    axes.set_title(title, fontsize=11)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("from the moment it was due to its answer, in ms (log scale)")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.grid(which="major", color="#d0d0d0", linewidth=0.8)
    axes.axhline(0.01, color="#808080", linewidth=0.8)
    axes.annotate("p99", (0, 0.01), xycoords=("axes fraction", "data"), xytext=(4, 3),
                  textcoords="offset points", fontsize=9, color="#505050")  # fmt: skip
    axes.spines[["top", "right"]].set_visible(False)


def _curve(axes: Any, flavour: str, latencies_s: Sequence[float]) -> None:
    colour, dashes, label = _LOOKS[flavour]
    ordered = sorted(latencies_s)
    # Point i: so many are at least this late. The last one stands for one request, never for a share of 0,
    # which a log axis could not show.
    shares = [(len(ordered) - index) / len(ordered) for index in range(len(ordered))]
    waits_ms = [max(1000 * latency_s, 0.001) for latency_s in ordered]
    axes.plot(waits_ms, shares, color=colour, linestyle=dashes, linewidth=2.2, label=label)
