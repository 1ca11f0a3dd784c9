"""The demo's figures: from latencies to percentiles, rows, the verdict, the JSON and the chart."""

import io
import json
import struct
from array import array

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from runtime.demo import chart, demo
from runtime.demo.figures import (
    COLUMNS,
    RUN_COLUMNS,
    Run,
    document,
    figures,
    lag_line,
    ratio,
    rows,
    verdict,
)
from runtime.traffic.spread import Spread, milliseconds, percentile, spread


def run_of(flavour, fast_ms, slow_ms=(), **changes):
    fast_s, slow_s = (array("d", [each / 1000 for each in of]) for of in (fast_ms, slow_ms))
    offered = len(fast_s) + len(slow_s)
    plain = {
        "flavour": flavour,
        "offered": offered,
        "load_s": 2.0,
        "window_s": 2.5,
        "fast_s": fast_s,
        "slow_s": slow_s,
        "statuses": {200: offered},
        "lost": 0,
        "retransmitted": 0,
        "duplicates": 0,
        "send_errors": 0,
        "lag_p99_s": 0.0002,
        "lag_max_s": 0.0015,
        "real_time": False,
        "cpu_s": 0.05,
    }
    return Run(**{**plain, **changes})


def test_a_percentile_is_the_nearest_rank():
    hundred = list(range(1, 101))
    assert [percentile(hundred, share) for share in (0.5, 0.95, 0.99, 1, 0.001)] == [50, 95, 99, 100, 1]
    assert percentile([7.5], 0.99) == 7.5
    assert percentile([1, 2, 3], 0.5) == 2
    assert percentile(hundred, 0.07) == 7  # 0.07 * 100 is a little above 7 in binary


@pytest.mark.parametrize(("ordered", "share"), [([], 0.5), ([1], 0), ([1], 1.01), ([1], -1)])
def test_a_percentile_of_nothing_is_an_error(ordered, share):
    with pytest.raises(ValueError, match="percentile needs values"):
        percentile(ordered, share)


@settings(max_examples=60)
@given(st.lists(st.floats(0, 100), min_size=1, max_size=60), st.integers(1, 100))
def test_a_percentile_has_its_share_at_or_below_it_and_is_the_smallest_such(values, hundredths):
    ordered = sorted(values)
    found = percentile(ordered, hundredths / 100)
    assert found in values
    assert 100 * sum(each <= found for each in values) >= hundredths * len(values)
    below = [each for each in values if each < found]
    assert not below or 100 * sum(each <= max(below) for each in values) < hundredths * len(values)


def test_a_spread_is_in_milliseconds_and_needs_no_order():
    assert spread(array("d")) is None
    shuffled = [each / 1000 for each in (3, 1, 2, 4)]
    assert spread(shuffled) == Spread(4, 2, 4, 4, 4)


def test_the_rows_of_a_flavour():
    run = run_of("mi", [0.2] * 98 + [71.64, 90.0], [50.0, 61.3], retransmitted=3, lost=1, statuses={200: 101})
    assert len(COLUMNS + RUN_COLUMNS) == 11
    assert rows(figures(run)) == [
        ("mi", "fast", "0.200", "0.200", "71.6", "90.0", "51", "40", "1", "3", "4.90"),
        ("", "slow", "50.0", "61.3", "61.3", "61.3", "", "", "", "", ""),
    ]
    assert rows(figures(run_of("none", [1.0]))) == [
        ("none", "fast", "1.00", "1.00", "1.00", "1.00", "0", "0", "0", "0", "500.00")
    ]
    nothing = run_of("none", [], offered=4, lost=4, statuses={})
    assert rows(figures(nothing))[0][2:9] == ("-", "-", "-", "-", "2", "0", "4")


def test_milliseconds_keep_about_three_digits():
    assert [milliseconds(each) for each in (0.0, 0.2134, 4.7134, 71.64, 1204.4)] == [
        "0.000",
        "0.213",
        "4.71",
        "71.6",
        "1204",
    ]


def test_the_verdict_is_good_when_async_protects_the_fast_ones():
    measured = [figures(run_of("mi", [70.0] * 10)), figures(run_of("async", [0.7] * 10))]
    assert ratio(measured) == pytest.approx(100)
    judged = verdict(measured)
    assert judged.reasons == ()
    assert "70.0 ms" in judged.sentence
    assert "0.700 ms: 100.0 times less" in judged.sentence
    assert "(ordinary priority)" in lag_line(measured)
    assert "async 0.200" in lag_line(measured)


def test_the_verdict_tells_a_ratio_that_is_too_small():
    measured = [figures(run_of("mi", [7.0] * 10)), figures(run_of("async", [0.71] * 10))]
    judged = verdict(measured)
    assert judged.reasons == ("the ratio of the fast requests' p99, mi : async, is 9.9, below 10",)
    assert "times less" not in judged.sentence


def test_the_verdict_tells_losses_and_refusals_of_every_flavour():
    measured = [
        figures(run_of("none", [1.0] * 9, offered=10, lost=1, statuses={200: 9})),
        figures(run_of("launch", [1.0] * 8, offered=10, statuses={200: 8, 500: 1, 503: 1})),
    ]
    assert ratio(measured) is None
    assert verdict(measured).reasons == (
        "none: never answered: 1",
        "launch: answered with something other than 200: 2",
    )


def test_there_is_no_ratio_without_an_answer_in_both():
    only_mi = figures(run_of("mi", [70.0]))
    unanswered = figures(run_of("async", [], offered=5, lost=5, statuses={}))
    assert ratio([only_mi]) is None
    assert ratio([only_mi, unanswered]) is None
    assert verdict([only_mi, unanswered]).reasons == ("async: never answered: 5",)


def test_the_document_is_json_and_holds_what_the_table_shows():
    measured = [figures(run_of("mi", [70.0] * 10, [50.0])), figures(run_of("async", [0.7] * 10))]
    read = json.loads(json.dumps(document(measured, {"rate": 1000})))
    assert read["settings"] == {"rate": 1000}
    assert [each["flavour"] for each in read["figures"]] == ["mi", "async"]
    assert read["figures"][0]["slow"] == {"count": 1, "p50_ms": 50, "p95_ms": 50, "p99_ms": 50, "max_ms": 50}
    assert read["figures"][1]["slow"] is None
    assert read["fast_p99_mi_over_async"] == pytest.approx(100)
    assert read["reasons"] == []


def test_the_table_shows_every_flavour_within_a_terminal():
    measured = [figures(run_of(each, [123.4] * 100, [1234.0])) for each in demo.FLAVOURS]
    written = io.StringIO()
    Console(file=written, width=80).print(demo.table(measured))
    text = written.getvalue()
    assert "…" not in text
    for flavour in demo.FLAVOURS:
        assert flavour in text
    assert text.count("1234") == 4 * 4


def test_the_chart_is_a_picture_of_some_size(tmp_path):
    runs = [run_of(each, [0.2 + index / 100 for index in range(200)], [50.0, 60.0]) for each in demo.FLAVOURS]
    chart.draw(runs, "title", tmp_path / "chart.png")
    data = (tmp_path / "chart.png").read_bytes()
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    width, height = struct.unpack(">II", data[16:24])
    assert (width, height) == (1440, 672)


def test_a_chart_can_be_drawn_of_runs_without_latencies(tmp_path):
    chart.draw([run_of("none", [0.0]), run_of("mi", [])], "title", tmp_path / "chart.png")
    assert (tmp_path / "chart.png").stat().st_size > 10_000
