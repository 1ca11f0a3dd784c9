"""`layby bench`, small: real servers, real loads, the files that it leaves. Its figures are not judged here."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from shutil import which

import pytest

from runtime.bench.results import from_json
from tests.harness import ROOT

pytestmark = pytest.mark.processes

REFUSING = """
loadmodule "proto_udp.so"
loadmodule "sl.so"
socket=udp:127.0.0.1:5060
route { sl_send_reply(404, "Not Here"); }
"""


def bench(*options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "runtime", "bench", *options]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)


def test_a_sweep_accounts_for_every_request_and_leaves_its_files(tmp: Path) -> None:
    figures, html = tmp / "out" / "bench.json", tmp / "out" / "bench.html"
    sweep = ["--flavours", "gather", "--ms", "1.5", "--share", "20", "--runs", "1", "--seconds", "0.5"]
    svg = html.with_suffix(".svg")
    files = ["--json", str(figures), "--html", str(html), "--svg", str(svg)]
    done = bench(*sweep, "--from", "100", "--to", "200", *files)
    assert done.returncode == 0, done.stderr
    (result,) = from_json(figures.read_bytes()).cells
    (run,) = result.runs
    assert run.knee is not None
    assert run.saturation is not None
    assert (run.saturation.generator, run.saturation.failed) == ("sipp" if which("sipp") else "own", 0)
    assert run.saturation.rate_per_s > 50
    assert run.points[0].rate_per_s <= 100.0
    for point in run.points:
        assert point.offered == point.good + point.refused + point.lost == round(0.5 * point.rate_per_s)
        assert point.fast is not None
        assert point.slow is not None
        assert point.slow.count == round(0.2 * point.offered)
        assert point.fast.count + point.slow.count == point.good + point.lost
        assert point.cpu_s > 0
        assert point.timeline
        assert point.failed == 0
    assert json.loads(figures.read_bytes())["cells"][0]["cell"]["duration_ms"] == 1.5
    page = html.read_text()
    assert page.startswith("<!DOCTYPE html>")
    assert page.count("<svg") > 5
    assert svg.read_text().count("<svg") == 3
    assert "The command: bench_sleep 1.5, called by 20 % of the requests, 4 job workers." in done.stdout


def test_a_script_that_answers_otherwise_is_told_before_anything_is_measured(tmp: Path) -> None:
    script = tmp / "refusing.cfg"
    script.write_text(REFUSING)
    done = bench(str(script), "--rate", "100", "--seconds", "0.2", "--runs", "1")
    assert done.returncode == 3
    assert "none was answered as wanted (2xx); 404: " in done.stderr


SOON_GONE = """
loadmodule "proto_udp.so"
loadmodule "sl.so"
loadmodule "mi_script.so"
socket=udp:127.0.0.1:5060
route {
    if ($argv(flavour) == "kill") mi("kill");
    sl_send_reply(404, "Not Here");
}
"""


def test_what_fails_later_leaves_a_report_of_the_users_own_script_until_then(tmp: Path) -> None:
    script, figures = tmp / "gone.cfg", tmp / "bench.json"
    script.write_text(SOON_GONE)
    ways = ["--flavours", "stay,kill", "--accept", "404", "--rate", "50", "--seconds", "0.2", "--runs", "1"]
    done = bench(str(script), *ways, "--json", str(figures))
    assert done.returncode == 3, done.stdout
    assert "layby bench: the server " in done.stderr
    found = from_json(figures.read_bytes())
    assert [(result.cell.flavour, len(result.runs)) for result in found.cells] == [("stay", 1), ("kill", 0)]
    (point,) = found.cells[0].runs[0].points
    assert (point.statuses, point.good, point.refused) == ({404: 10}, 10, 0)
    assert found.failure in done.stderr
    assert "stay" in done.stdout


def test_an_interrupt_ends_it_with_what_there_is(tmp: Path) -> None:
    figures = tmp / "bench.json"
    sweep = ["--flavours", "none,launch", "--ms", "1", "--rate", "50", "--seconds", "0.2", "--runs", "100"]
    command = [sys.executable, "-m", "runtime", "bench", *sweep, "--json", str(figures)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("run 1 of 100: none: 50 requests/s")
        process.send_signal(signal.SIGINT)
        told, _ = process.communicate(timeout=30)
    assert process.returncode == 130
    assert told.endswith("interrupted\n")
    found = from_json(figures.read_bytes())
    assert found.interrupted
    assert [len(result.runs) for result in found.cells] in ([1, 0], [1, 1])
