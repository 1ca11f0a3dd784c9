"""`make bench`: which ratios it takes, and when one is worse than the baseline."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from runtime.bench.plan import Asked
from runtime.bench.results import CellResult, Document
from runtime.bench.statistics import Range
from tests.harness import ROOT
from tests.runtime.bench.made import document


@pytest.fixture
def ratios(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    yield __import__("ratios")
    sys.modules.pop("ratios")


def measured(scale: float = 1.0) -> Document:
    """All flavours, with the first of the loads only, as at one rate."""
    found = document(scale, Asked(runs=2, rates_per_s=(500.0,)))
    cells = [
        CellResult(each.cell, [msgspec.structs.replace(run, points=run.points[:1]) for run in each.runs])
        for each in found.cells
    ]
    return msgspec.structs.replace(found, cells=cells)


def test_each_ratio_is_taken_within_a_run(ratios: Any) -> None:
    found = ratios.ratios_of(measured(), [*ratios.WAITING, *ratios.COST])
    assert list(found) == [ratio.name for ratio in [*ratios.WAITING, *ratios.COST]]
    assert found["fast p99, async : none"].median == pytest.approx(1.5, rel=0.01)
    assert found["slow p99, async : the command"].median == pytest.approx(51 / 50, rel=0.01)
    assert found["CPU, launch : none"] == Range(1.0, 1.0, 1.0, 2)
    assert ratios.lost(measured()) == 0


def test_a_ratio_is_worse_beyond_its_factor_and_beyond_all_runs(ratios: Any) -> None:
    low = ratios.COST[0]
    assert not ratios.is_worse(low, Range(2.0, 1.9, 2.1, 3), Range(2.4, 2.3, 2.5, 3))
    assert ratios.is_worse(low, Range(2.0, 1.9, 2.1, 3), Range(2.6, 2.3, 2.9, 3))
    assert not ratios.is_worse(low, Range(2.0, 1.9, 2.4, 3), Range(2.6, 2.3, 2.9, 3))
    high = next(ratio for ratio in ratios.WAITING if ratio.more_is_better)
    assert ratios.is_worse(high, Range(100.0, 90.0, 110.0, 3), Range(40.0, 30.0, 50.0, 3))
    assert not ratios.is_worse(high, Range(100.0, 90.0, 110.0, 3), Range(400.0, 300.0, 500.0, 3))


def test_what_is_worse_is_counted_and_marked(ratios: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = ratios.ratios_of(measured(), [*ratios.WAITING, *ratios.COST])
    path = tmp_path / "baseline.json"
    assert ratios.judge(found, path) == 0
    path.write_text(json.dumps({"ratios": msgspec.to_builtins(found)}))
    assert ratios.judge(found, path) == 0
    worse = {**found, "CPU, mi : none": Range(3.0, 2.9, 3.1, 3)}
    capsys.readouterr()
    assert ratios.judge(worse, path) == 1
    assert "x 1.25  WORSE" in capsys.readouterr().out


def test_the_committed_baseline_has_every_ratio(ratios: Any) -> None:
    found = json.loads(ratios.BASELINE.read_text())
    assert set(found["ratios"]) == {ratio.name for ratio in [*ratios.WAITING, *ratios.COST]}
    msgspec.convert(found["ratios"], dict[str, Range])
