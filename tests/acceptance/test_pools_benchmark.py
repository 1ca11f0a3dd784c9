"""`benchmarks/pools.py`, short: what it measures, prints and leaves behind. Its figures are not judged here."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.harness import ROOT

LAYBY = ["layby-async-unix", "layby-sync-unix", "layby-async-zmq", "layby-sync-zmq"]


def bench(*options: str, limit_s: float = 120) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "benchmarks/pools.py", "--quick", *options]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=limit_s)


@pytest.mark.processes
def test_the_rows_count_every_job_and_a_verdict_ends_them(tmp: Path) -> None:
    file = tmp / "pools.json"
    rows, peers = "sequential,pipelined-100,regular", "ProcessPoolExecutor,layby-async-unix,layby-sync-unix"
    done = bench("--rows", rows, "--peers", peers, "--json", str(file))
    assert done.returncode == 0, done.stderr
    measured = json.loads(file.read_text())
    (run,) = measured["runs"]
    assert list(run) == rows.split(",")
    assert set(run["sequential"]) == {*peers.split(","), "bare-pyzmq-echo"}
    for results in run.values():
        assert {result["status"] for result in results.values()} == {"ok"}
        assert all(result["left"] == [] and result["closed"] for result in results.values())
    for name in peers.split(","):
        seen = run["sequential"][name]["figures"]
        assert 10 <= seen["count"] <= 2000
        assert 0 < seen["p50_us"] <= seen["p99_us"]
        assert run["pipelined-100"][name]["figures"]["jobs_per_s"] > 0
        seen = run["regular"][name]["figures"]
        assert (seen["count"], seen["fast"], seen["slow"], seen["lost"], seen["errors"]) == (400, 380, 20, 0, {})
        assert seen["floor_p99_ms"] == 0.0  # two workers are enough for slow jobs that never overlap
    assert "1. Sequential round trip" in done.stdout
    verdict = done.stdout[done.stdout.index("\nVerdict\n") :]
    assert [verdict.count(name) > 0 for name in LAYBY] == [True] * 4
    assert len(measured["verdicts"]) == len(verdict.strip().splitlines()) - 3
    assert "1 of 11: sequential, layby-async-unix: p50_us" in done.stderr


@pytest.mark.processes
def test_the_row_of_the_killed_worker_accounts_for_every_job(tmp: Path) -> None:
    file = tmp / "pools.json"
    peers = ["layby-async-unix", "layby-idempotent-unix", "multiprocessing.Pool"]
    done = bench("--rows", "kill", "--peers", ",".join(peers), "--json", str(file))
    assert done.returncode == 0, done.stderr
    (run,) = json.loads(file.read_text())["runs"]
    for name in peers:
        seen = run["kill"][name]["figures"]
        assert seen["returned"] + seen["failed"] + seen["lost"] == 50
        assert (seen["wrong"], seen["settled_twice"]) == (0, 0)
    assert run["kill"]["layby-async-unix"]["figures"]["lost"] == 0
    assert run["kill"]["multiprocessing.Pool"]["figures"]["lost"] == 1  # it never hears of the death


@pytest.mark.processes
@pytest.mark.skipif(importlib.util.find_spec("loky") is not None, reason="loky is installed here")
def test_a_peer_that_is_not_installed_is_said_to_be_so() -> None:
    done = bench("--rows", "sequential", "--peers", "loky")
    assert done.returncode == 0, done.stderr
    assert "not installed: No module named 'loky'" in done.stdout


@pytest.mark.processes
def test_a_peer_that_hangs_is_killed_with_all_its_children() -> None:
    program = """
import json, os
from pools_peers.launch import measured
from pools_peers.processes import adopt_orphans, descendants
from pools_peers.rows import Effort
adopt_orphans()
result = measured("ProcessPoolExecutor", "regular", Effort(mixed_s=60), limit_s=2.0)
print(json.dumps([result["status"], len(result["left"]) >= 2, descendants(os.getpid())]))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT / "benchmarks", capture_output=True, text=True, timeout=60
    )
    assert json.loads(done.stdout) == ["hangs", True, {}], done.stderr


def test_unknown_names_are_refused() -> None:
    done = bench("--peers", "celery")
    assert done.returncode == 2
    assert "unknown: celery; there are layby," in done.stderr


# -- the parts that measure nothing -----------------------------------------------------------------------------------


def result(**figures: float) -> dict[str, Any]:
    return {"status": "ok", "figures": figures, "closed": True, "left": []}


def run_of(layby_us: float, echo_us: float, layby_rate: float) -> dict[str, Any]:
    return {
        "sequential": {
            "layby-async-unix": result(p50_us=layby_us, p99_us=2 * layby_us),
            "bare-pyzmq-echo": result(p50_us=echo_us, p99_us=2 * echo_us),
        },
        "pipelined-100": {
            "layby-async-unix": result(jobs_per_s=layby_rate),
            "pebble": result(jobs_per_s=10_000.0),
            "mpire": result(jobs_per_s=15_000.0),
            "anyio": {"status": "hangs", "why": "", "left": []},
            "bare-pyzmq-echo": result(jobs_per_s=200_000.0),
        },
    }


def test_a_verdict_takes_the_median_of_ratios_within_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    from pools_peers.report import verdicts

    # Layby's and the echo's own medians, 120 and 100, would say 1.2; within the runs it is 1.1, 1.4 and 1.3.
    runs = [run_of(110, 100, 150_000), run_of(140, 100, 90_000), run_of(120, 92.3, 120_000)]
    found = {one.requirement: one for one in verdicts(runs)}
    trip = found["round trip p50, at most 1.25 times the bare pyzmq echo's"]
    assert trip.shown["layby-async-unix"] == ("1.30 (1.10 to 1.40)", False)
    assert trip.shown["layby-sync-zmq"] == ("-", None)
    assert trip.reached() == "no"
    rate = found["pipelined-100: jobs/s, at least 7 times the best peer's"]
    assert rate.shown["layby-async-unix"] == ("8.00 (6.00 to 10.00)", True)  # mpire leads, the limit is no peer
    assert rate.reached() == "yes"
    assert found["random slow jobs: p99 of the fast under 1 ms"].reached() == "not measured"


@pytest.mark.parametrize("spacing", ["regular", "random"])
def test_the_origins_of_a_schedule_divide_the_same_load(monkeypatch: pytest.MonkeyPatch, spacing: str) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    from pools_peers.rows import Effort, schedule

    alone = schedule(Effort(mixed_s=4), spacing)
    shared = [schedule(Effort(mixed_s=4, origin=n, origins=2), spacing) for n in range(2)]
    assert [due for due, _ in alone] == [n / 200 for n in range(800)]
    assert sorted(due for part in shared for due, _ in part) == [due for due, _ in alone]
    assert sum(slow for _, slow in alone) == 40
    assert sum(slow for part in shared for _, slow in part) == 40
    if spacing == "regular":
        assert [n for n, (_, slow) in enumerate(alone) if slow] == list(range(19, 800, 20))
    else:
        assert sorted(due for part in shared for due, slow in part if slow) == [due for due, slow in alone if slow]
