"""How layby is built where nothing can be compiled."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_what_cannot_be_compiled_is_left_out_with_a_warning(tmp_path: Path) -> None:
    package = [f"runtime/{name}" for name in ("__init__.py", "sip/__init__.py", "sip/scan.pyx", "sip/spans.pxd")]
    for name in ["setup.py", "pyproject.toml", "README.md", "LICENSE", *package]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    command = [sys.executable, "setup.py", "build_ext", "--inplace"]
    without = dict(os.environ, CC="false")
    done = subprocess.run(command, cwd=tmp_path, env=without, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert 'building extension "runtime.sip.scan" failed' in done.stderr
    assert list(tmp_path.rglob("*.so")) == []


def test_layby_pure_leaves_alone_what_is_compiled() -> None:
    asked = "from runtime.compiled import is_compiled; print(is_compiled('runtime.sip.scan'))"
    pure = dict(os.environ, LAYBY_PURE="1")
    done = subprocess.run([sys.executable, "-c", asked], cwd=ROOT, env=pure, capture_output=True, text=True, timeout=60)
    assert done.stdout == "False\n"
