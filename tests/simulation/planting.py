"""The bugs that `layby verify` has to find: scripts with one each, and one script whose server has one.

    python -m tests.simulation.planting verify FILE.cfg

is `layby verify` with interpreters in which `planted` plants the bug that the script is named after.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from runtime.cli import main
from runtime.simulation.simulator import Simulator

SCRIPTS: Final = sorted((Path(__file__).parent / "scripts").glob("*.cfg"))
"""In each a comment ``found: KIND`` stands at each line where something is to be found."""
ARM: Final = "tests.simulation.planted:arm"

SERVER_BUGS: Final = {
    "resumes_twice": ("resumed-twice", "bench_wait 50"),
    "swaps_answers": ("wrong-answer", "bench_wait 50"),
    "loses_a_job": ("left-over", "bench_wait 50"),
    "ignores_deadlines": ("resumed-late", "bench_wait 60000"),
    "keeps_transactions": ("left-over", "bench_wait 60000"),
    "answers_twice": ("answered-twice", "bench_wait 50"),
    "forgets_the_dead": ("never-resumed", "bench_wait 300"),
    "tells_of_the_dead_late": ("lost-job", "bench_wait 300"),
}
"""Bugs that `planted` has: what is to be found of each, with a command that brings it to light."""
_SERVED: Final = """
loadmodule "proto_udp.so"
loadmodule "sl.so"
loadmodule "signaling.so"
loadmodule "tm.so"
loadmodule "sipmsgops.so"
loadmodule "mi_script.so"
loadmodule "bench.so"
socket=udp:192.0.2.1:5060
route {
    if (!is_method("ACK"))
        async(mi("COMMAND", $var(r)), resumed, 1);
}
route[resumed] { send_reply(480, "Later"); }
"""


def expected_in(script: Path) -> set[tuple[str, int]]:
    """What is to be found in a script: kinds, and lines."""
    lines = script.read_text().split("\n")
    return {(found[1], at) for at, line in enumerate(lines, 1) if (found := re.search(r"# found: ([a-z-]+)", line))}


def served(bug: str, folder: Path) -> Path:
    """The script whose server has that bug, written into a folder."""
    script = folder / f"{bug}.cfg"
    script.write_text(_SERVED.replace("COMMAND", SERVER_BUGS[bug][1]))
    return script


class _Planting(Simulator):
    def __init__(self, load: Sequence[str] = (), cpu: int | None = None) -> None:
        super().__init__([*load, ARM], cpu)


if __name__ == "__main__":
    from runtime.simulation import replaying, verifying

    verifying.Simulator = replaying.Simulator = _Planting  # type: ignore[misc]
    main()
