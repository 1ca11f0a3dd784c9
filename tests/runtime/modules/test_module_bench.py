"""Module bench: how long its commands take."""

from __future__ import annotations

import time

import pytest

from mi_script.commands import MiError, Params
from runtime.modules.bench import MAX_MS, Bench


@pytest.mark.parametrize(("ms", "slept"), [(3, 3), ("3", 3), ("0.5", 0.5), (0.5, 0.5), ("0", 0)])
def test_it_sleeps_for_milliseconds_and_for_parts_of_them(ms, slept):
    before = time.monotonic()
    assert Bench({}).bench_sleep(Params({"ms": ms})) == {"slept_ms": slept}
    assert time.monotonic() - before >= slept / 1000


@pytest.mark.parametrize("ms", ["soon", "-1", "1.", ".5", "1e3", "nan", MAX_MS + 1, f"{MAX_MS}.5", None, [1]])
def test_what_is_no_such_time_is_refused(ms):
    with pytest.raises(MiError):
        Bench({}).bench_sleep(Params({"ms": ms}))
