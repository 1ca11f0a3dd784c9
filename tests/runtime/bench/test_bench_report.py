"""`layby bench`: what is said of a measurement, on a terminal, as JSON and as a page."""

from __future__ import annotations

import io
import re
from html.parser import HTMLParser
from xml.etree import ElementTree

from msgspec.structs import replace
from rich.console import Console

from runtime.bench.compare import compare, differences
from runtime.bench.page import page, picture
from runtime.bench.plots import Line, plot
from runtime.bench.report import show, show_comparison
from runtime.bench.results import CellResult, CellRun, Document, Knee, Saturation, from_json, to_json
from runtime.bench.summary import answer, complaints, noise, reference_rate, row_of, who_saturated
from tests.runtime.bench.made import ASKED, MACHINE, document, point


def shown(found: Document) -> str:
    written = io.StringIO()
    show(found, Console(file=written, width=160))
    return written.getvalue()


def with_points(found: Document, *points: object, limit: str = "server") -> Document:
    run = CellRun(list(points), Knee(250.0, None, limit))  # type: ignore[arg-type]
    return replace(found, cells=[CellResult(found.cells[0].cell, [run])])


def test_the_document_travels_as_json() -> None:
    found = document()
    assert from_json(to_json(found)) == found


def test_cells_are_compared_at_the_highest_rate_that_all_of_them_held() -> None:
    assert reference_rate(document()) == 500.0
    assert reference_rate(replace(document(), cells=[])) is None
    row = row_of(document().cells[0], 500.0)
    assert row is not None
    assert row.held
    assert (row.offered, row.fast["p99"].runs) == (1000, 2)


def test_the_answer_names_each_way_of_calling_beside_the_traffic_without() -> None:
    of_mi, of_async = answer(document())
    assert re.match(r"mi, 50 ms, 5 %: at 500 requests/s the others' p99 is 40\.\d ms instead of 0\.202 \(\d+", of_mi)
    assert "who calls it waits" in of_mi
    assert "a call costs less CPU than runs differ by" in of_async
    assert "the knee is at 707 requests/s instead of 707" in of_async


def test_what_a_call_costs_in_cpu_is_told_where_it_is_more_than_the_noise() -> None:
    dear = document(scale=2.0)
    found = replace(dear, cells=[document().cells[0], *dear.cells[1:]])
    assert "a call costs 4,040 µs of CPU" in answer(found)[0]


def test_the_table_has_medians_and_how_far_the_runs_are_off() -> None:
    text = shown(document())
    assert "A <CPU> & more, 2 CPUs, Python 3.11.2, layby 0.1.0; 4 SIP processes; 2 runs of 2 s" in text
    assert "The command: bench_sleep 50, called by 5 % of the requests, 4 job workers." in text
    assert re.search(r" +knee saturation fast p50 +p99 p99\.9 +slow p99 all p99 +CPU s", text)
    assert re.search(r"mi +707 ±0% +900 +40\.\d +40\.\d ±1% +40\.\d +51\.2 ±0% +51\.2 +2\.02 ±1%", text)


def test_rates_that_were_named_have_a_row_each() -> None:
    asked = replace(ASKED, rates_per_s=(250.0, 500.0, 1000.0), workers=(0, 4))
    rows = re.findall(r"^ async +(\d+) +([\d,]+) ", shown(document(asked=asked)), re.MULTILINE)
    assert rows == [(workers, rate) for workers in ("0", "4") for rate in ("250", "500", "1,000")]


def test_requests_without_the_wanted_answer_are_told_with_their_statuses() -> None:
    missed = point(good=400, refused=80, lost=20, statuses={200: 400, 404: 80})
    (told, *_) = complaints(with_points(document(), missed))
    assert told == "none at 250/s: of 500 requests 400 were answered as wanted, 20 never (200: 400, 404: 80)"


def test_calls_that_failed_are_told_though_their_requests_were_answered() -> None:
    (told, *_) = complaints(with_points(document(), point(failed=3)))
    assert told == "none at 250/s: 3 calls of the command failed"


def test_a_generator_that_was_the_limit_is_told_and_no_knee_is_claimed() -> None:
    found = with_points(document(), point(), point(500.0, verdict="generator"), limit="generator")
    assert "the generator was the limit" in complaints(found)[0]
    assert "≥ 250" in shown(found)
    top = with_points(document(), point(), limit="top")
    assert "still held" in complaints(top)[0]


def test_what_disturbs_is_told() -> None:
    busy = replace(document(), machine=replace(MACHINE, load=1.7))
    assert complaints(busy) == ["the machine was busy with other things before: load 1.7"]
    (told, *_) = complaints(with_points(document(), point(real_time=False)))
    assert told.startswith("the generator had no real-time priority")


def test_how_far_runs_differ_and_who_found_the_saturation_is_told() -> None:
    assert noise(document()) == (
        "Runs differed from their median: the fast requests' p99 by up to 1 %, CPU seconds by up to 1 %, "
        "knees by up to 0 %."
    )
    alone = replace(document(), cells=[CellResult(each.cell, each.runs[:1]) for each in document().cells])
    assert noise(alone) == ""
    assert "by layby's own generator" in shown(document())
    run = replace(alone.cells[0].runs[0], saturation=Saturation(900.0, "sipp", 3))
    by_sipp = replace(alone, cells=[CellResult(alone.cells[0].cell, [run])])
    assert who_saturated(by_sipp) == "Saturation: by sipp, 64 requests outstanding; 3 requests failed."
    assert who_saturated(replace(alone, cells=[])) == ""


def test_a_comparison_shows_what_has_changed_and_counts_what_has_not() -> None:
    old, new = document(), document(scale=2.0)
    found = compare(old, new)
    assert {each.change for each in found if each.figure.startswith("CPU")} == {"worse"}
    assert {each.change for each in found if each.figure.startswith(("slow", "knee"))} == {"none"}
    assert {each.rate_per_s for each in found} == {250.0, 500.0, None}
    written = io.StringIO()
    show_comparison(old, new, found, Console(file=written, width=160))
    text = written.getvalue()
    assert "CPU s/10,000 at 250/s" in text
    assert "slow p99" not in text
    assert re.search(r"Of \d+ figures \d+ are worse, 0 better; \d+ have not changed beyond the noise", text)
    assert all(each.change == "none" for each in compare(old, old))


def test_measurements_that_were_made_otherwise_are_told_apart() -> None:
    other = replace(document(asked=replace(ASKED, command="uptime")), machine=replace(MACHINE, cpus=8))
    assert differences(document(), document()) == []
    assert differences(document(), other) == [
        "command was 'bench_sleep {ms}' and is 'uptime'",
        "cpus of the machine was 2 and is 8",
    ]


class Seen(HTMLParser):
    """What a page refers to, and whether its elements are closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.references: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.references += [f"{name}={value}" for name, value in attrs if name in ("src", "href", "xlink:href", "data")]
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_needs_nothing_from_anywhere_and_has_a_plot_for_each_percentile() -> None:
    found = document()
    text = page(found, compare(found, document(scale=2.0)))
    seen = Seen()
    seen.feed(text)
    assert seen.open == []
    assert seen.references == []
    assert "script" not in seen.tags
    assert not re.search(r"url\(|@import|https?:", text)
    for title in ("Fast requests: p50", "Fast requests: p95", "Fast requests: p99", "Fast requests: p99.9"):
        assert f'aria-label="{title}"' in text
    for title in ("Requests that call the command: p99", "CPU seconds for 10,000 requests, at 500/s"):
        assert f'aria-label="{title}"' in text
    assert 'class="knee"' in text
    assert "A &lt;CPU&gt; &amp; more" in text
    assert '<td class="worse">worse</td>' in text


def test_what_was_swept_has_plots_of_its_own() -> None:
    asked = replace(ASKED, workers=(0, 1, 4), durations_ms=(5.0, 50.0))
    text = page(document(asked=asked))
    assert "What makes the difference" in text
    for axis in ("job workers", "ms that the command takes"):
        assert text.count(f">{axis}</text>") == 2
    assert "share of the requests that call it" not in text
    assert "What makes the difference" not in page(document())


def test_a_page_of_an_interrupted_measurement_has_what_there_was() -> None:
    found = replace(with_points(document(), point()), interrupted=True)
    assert "Interrupted: this is what there was." in page(found)
    assert "<h1>" in page(replace(found, cells=[]))


def test_a_plot_without_points_is_none() -> None:
    assert plot("nothing", [Line("a", ("red", ""), [])], ("x", "y")) == ""


def test_the_picture_has_both_p99_and_says_what_the_lines_mean() -> None:
    drawn = ElementTree.fromstring(picture(document()))
    texts = ["".join(one.itertext()) for one in drawn.iter() if one.tag.endswith("text")]
    assert {"Fast requests: p99", "Requests that call the command: p99", "none", "mi", "async"} <= set(texts)
    nothing = ElementTree.fromstring(picture(replace(document(), cells=[])))
    assert not [one for one in nothing.iter() if one.tag.endswith("text")]
