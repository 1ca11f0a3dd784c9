"""`benchmarks/hot_path.py`, short: what it measures, prints and leaves behind. Its figures are not judged here."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import get_args

import pytest

from runtime.program import Program
from runtime.traffic.server import tree_cpu_s
from tests.harness import ROOT

BENCHMARKS = ROOT / "benchmarks"
if str(BENCHMARKS) not in sys.path:
    sys.path.append(str(BENCHMARKS))

from hot_path import Progress  # noqa: E402
from peers.closed_loop import Load, Loop  # noqa: E402
from peers.goals import RECORDED, judge  # noqa: E402
from peers.report import medians, told  # noqa: E402
from peers.servers import ENTRIES, Job, Site  # noqa: E402
from pools_peers.processes import descendants  # noqa: E402


def bench(*options: str, before: str = "pass") -> subprocess.CompletedProcess[str]:
    """Run it as a user would, after some Python that changes what it finds on the machine."""
    code = f"import sys; sys.path[0] = 'benchmarks'; sys.argv[1:] = {list(options)!r}; {before}; import hot_path"
    command = [sys.executable, "-c", f"{code}; sys.exit(hot_path.main())"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100)


@pytest.mark.processes
def test_a_row_has_its_figures_and_its_goals(tmp: Path) -> None:
    file = tmp / "hot.json"
    asked = ("--rows", "async,order", "--only", "layby", "--seconds", "0.3", "--json", str(file))
    done = bench("--quick", *asked)
    assert done.returncode == 0, done.stderr
    found = json.loads(file.read_text())
    (run,) = found["runs"]
    assert list(run) == ["async", "order"]
    result = run["async"]["layby"]
    assert (result["status"], result["failed"], result["in_vain"]) == ("ok", 0, 0)
    assert result["requests"] > 16
    assert 0 < result["p50_ms"] <= result["p99_ms"]
    assert min(result["cpu_s"], result["rate_per_s"]) > 0
    assert (run["order"]["layby"]["status"], run["order"]["layby"]["calls"]) == ("ok", 300)
    assert done.stdout.startswith('async(mi("uptime")) on every request: CPU seconds of 10,000, as many as it takes\n')
    assert len(found["goals"]["async"]["layby"]) == 3
    assert "goal, layby: rate at least OpenSIPS's: " in done.stdout
    assert "left]" in done.stderr


def test_what_is_not_installed_is_a_row_that_says_so() -> None:
    before = "import shutil; shutil.which = lambda *names, **more: None"
    done = bench("--quick", "--rows", "options,parked", "--only", "opensips,kamailio", before=before)
    assert (done.returncode, done.stderr.count("missing")) == (0, 4), done.stderr
    assert done.stderr.count("not installed (Debian: kamailio)") == 2
    assert done.stderr.count("not installed (no opensips on PATH)") == 2
    assert done.stdout.count("not installed") == 4


def test_what_cannot_be_measured_is_told_and_ends_with_1(tmp: Path) -> None:
    before = (
        "from peers import servers; servers._layby_arguments = lambda site: ['-m', 'runtime', 'run', 'nowhere.cfg']"
    )
    done = bench("--quick", "--rows", "options", "--only", "layby", before=before)
    assert done.returncode == 1
    assert "not measured: options, layby: the server ended with exit code" in done.stderr


def test_an_unknown_server_is_refused() -> None:
    done = bench("--only", "asterisk")
    assert done.returncode == 2
    assert "unknown: asterisk; there are layby, layby-native, opensips" in done.stderr


@pytest.mark.parametrize("job", [*get_args(Job)])
def test_nothing_is_wrong_with_what_layby_runs(job: Job, tmp: Path) -> None:
    layby = ENTRIES["layby"]
    assert layby.why_not(job) is None
    site = Site(job, 5060, 5070, 4, tmp)
    script = site.place(layby.file(job))
    assert Program.load(script).warnings() == []


# What the closed loop makes of the answers.


class Answering:
    """It answers by the number of the request's Call-ID: the first only when asked again, the next ones in each way."""

    def __init__(self) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.seen: Counter[int] = Counter()

    def serve(self) -> None:
        while (request := self.socket.recvfrom(4096))[0] != b"end":
            self._answer(*request)

    def _answer(self, request: bytes, source: tuple[str, int]) -> None:
        found = re.search(rb"Call-ID: [0-9a-f]+-([0-9]+)@", request)
        assert found is not None
        number = int(found[1])
        self.seen[number] += 1
        answers = {1: ["200"] * (self.seen[1] - 1), 2: ["100", "200"], 3: ["503"], 4: ["200", "200"]}.get(
            number, ["200"]
        )
        for status in answers:
            answer = re.sub(rb"^OPTIONS [^\r]*", f"SIP/2.0 {status} Told".encode(), request)
            self.socket.sendto(answer, source)


def test_the_closed_loop_asks_again_and_counts_each_request_once() -> None:
    server = Answering()
    serving = threading.Thread(target=server.serve)
    serving.start()
    host, port = server.socket.getsockname()
    try:
        told = Loop(Load(host, port, "service", window=4, seconds=0.05)).run()
    finally:
        server.socket.sendto(b"end", (host, port))
        serving.join()
        server.socket.close()
    assert sorted(server.seen) == list(range(1, told.answered + 1))
    assert (server.seen[1], told.retransmitted) == (2, 1)
    assert (told.refused, told.lost) == (1, 0)
    assert told.seconds > 0.5 > told.p50_ms / 1000


# What a server has used.


def test_what_a_process_has_used_counts_when_it_has_ended_too() -> None:
    child = "sum(range(4_000_000))"
    code = f"import subprocess, sys; input(); subprocess.run([sys.executable, '-c', '{child}']); print('done'); input()"
    command = [sys.executable, "-uc", code]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdin is not None
        assert parent.stdout is not None
        before_s, others = tree_cpu_s(parent.pid), descendants(parent.pid)
        parent.stdin.write("\n")
        parent.stdin.flush()
        assert parent.stdout.readline() == "done\n"
        after_s, others_after = tree_cpu_s(parent.pid), descendants(parent.pid)
        parent.communicate("\n")
    assert not others
    assert not others_after
    assert after_s - before_s > 0.03


# How figures are held against the goals.


def test_a_goal_is_held_against_a_peer_of_the_same_run() -> None:
    measured = {"layby": {"cpu_s": 0.5}, "opensips": {"cpu_s": 0.2}, "kamailio-python": {"cpu_s": 0.5}}
    against_opensips, against_python = judge("options", "layby", measured)
    assert told(against_opensips) == (
        "CPU at most 2 times OpenSIPS's: missed by 1.25 times; 0.5 against 0.4 (opensips in this run)"
    )
    assert told(against_python) == (
        "CPU at most that of Kamailio with a Python script: met; 0.5 against 0.5 (kamailio-python in this run)"
    )


def test_for_a_peer_that_is_not_there_stands_what_was_measured_elsewhere() -> None:
    slower_machine = {"cpu_s": 2 * RECORDED["stateful"]["kamailio-fm"]["cpu_s"]}
    (unscaled,) = judge("stateful", "layby", {"layby": {"cpu_s": 0.5}})
    (scaled,) = judge("stateful", "layby", {"layby": {"cpu_s": 0.5}, "kamailio-fm": slower_machine})
    assert told(unscaled) == "CPU at most OpenSIPS's: missed by 1.22 times; 0.5 against 0.41 (opensips elsewhere)"
    assert told(scaled) == (
        "CPU at most OpenSIPS's: met; 0.5 against 0.82 (opensips elsewhere, brought here by kamailio-fm)"
    )


def test_more_is_better_of_rates_and_a_figure_may_be_held_against_another_of_the_same_server() -> None:
    rate, *_ = judge("async", "layby", {"layby": {"rate_per_s": 5_000}, "opensips": {"rate_per_s": 10_000}})
    assert told(rate) == "rate at least OpenSIPS's: missed by 2.00 times; 5,000 against 10,000 (opensips in this run)"
    mine = {"fast_p99_ms": 0.2, "blocking_fast_p99_ms": 40.0, "slow_p99_ms": 61.0}
    _, blocking, slow = judge("slow", "layby", {"layby": mine})
    assert told(blocking) == "fast p99 at most 1/100 of the blocking form's: met; 0.2 against 0.4"
    assert told(slow) == "slow p99 at most 60 ms: missed by 1.02 times; 61 against 60"


def test_never_is_met_by_none_and_missed_by_one() -> None:
    assert [told(*judge("order", "layby", {"layby": {"out_of_order": count}})) for count in (0, 1)] == [
        "never out of order: met; 0 against 0",
        "never out of order: missed; 1 against 0",
    ]


def test_figures_are_medians_of_the_runs_and_counts_are_sums() -> None:
    runs = [
        {
            "order": {"layby": {"status": "ok", "out_of_order": count}},
            "start": {"layby": {"status": "ok", "start_s": s}},
        }
        for count, s in ((0, 1.0), (0, 2.0), (1, 9.0))
    ]
    assert medians(runs, "order") == {"layby": {"out_of_order": 1}}
    assert medians(runs, "start") == {"layby": {"start_s": 2.0}}


def test_what_is_still_to_do_takes_as_long_as_what_is_done_took() -> None:
    progress = Progress([2.0, 2.0, 4.0])
    assert progress.remaining_s == 8.0
    progress.done(2.0, 3.0)
    assert progress.remaining_s == 9.0
    progress.done(0.0, 0.1)  # not installed
    assert progress.remaining_s == pytest.approx(9.3)
