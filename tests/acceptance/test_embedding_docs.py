"""docs/embedding.md: its programs are the files that it names, and they do what it says."""

from __future__ import annotations

import inspect
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import workers
from workers import WorkerPool

pytestmark = pytest.mark.processes

ROOT = Path(__file__).parent.parent.parent
EXAMPLES = ROOT / "examples" / "embedding"
DOC = (ROOT / "docs" / "embedding.md").read_text()

EXPECTED = {
    "thumbnails.py": [
        r"a\.grey: 100%, row 100",
        r"b\.grey: 100%, row 100",
        r"\['200 100 bytes', '200 100 bytes', '404 c\.jpeg'\]",
        r"504 no answer within 0\.[12]\d* s",
        "499 the browser went away",
        "20000 bytes of thumbnails",
    ],
    "migration.py": ["1229 primes", r"result: 2\.0", r"result: 3\.5", "error: negative", "104729 is prime: True"],
    "shared_pool.py": ["threads: 200", "loop: 200", "owner: 2"],
}


def test_the_document_quotes_the_files() -> None:
    quoted = re.findall(r"`examples/embedding/(\w+\.py)`\):\n\n```python\n(.*?)```\n", DOC, re.DOTALL)
    assert dict(quoted) == {path.name: path.read_text() for path in EXAMPLES.glob("*.py")}


@pytest.mark.parametrize("name", EXPECTED)
def test_a_program_does_what_the_document_says(name: str, tmp_path: Path) -> None:
    # Programs that run side by side write a line as a whole; unbuffered it would go word by word.
    environment = {**os.environ, "PYTHONUNBUFFERED": "", "PYTHONPATH": str(Path(workers.__file__).parent.parent)}
    done = subprocess.run(
        [sys.executable, EXAMPLES / name],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    for line in EXPECTED[name]:
        assert re.search(f"^{line}$", done.stdout, re.MULTILINE), f"{line!r} is not in\n{done.stdout}\n{done.stderr}"


def test_every_option_is_in_the_table() -> None:
    table = DOC[DOC.index("## Options of") : DOC.index("## Beside")]
    rows = {name for row in re.findall(r"^\| (`.*?`) \|", table, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)}
    assert rows == set(inspect.signature(WorkerPool).parameters)


def test_every_public_name_is_there_and_documented_with_an_example() -> None:
    for name in workers.__all__:
        public = getattr(workers, name)
        assert name in dir(workers)
        if inspect.isfunction(public) or inspect.isclass(public):
            assert inspect.getdoc(public), name
    for face in (workers.AsyncPool, workers.SyncPool):
        for name, method in vars(face).items():
            if not name.startswith("_") and callable(method) and name not in {"drain", "close"}:
                assert "Example::" in (inspect.getdoc(method) or ""), f"{face.__name__}.{name}"


def test_importing_a_core_loads_neither_asyncio_nor_zmq() -> None:
    text = "import sys, workers, workers.dispatch, workers.calls\nprint({'asyncio', 'zmq'} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", text], capture_output=True, text=True, cwd=ROOT, timeout=30, check=True
    )
    assert done.stdout.strip() == "set()"
