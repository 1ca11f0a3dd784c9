"""`layby bench --compare FILE`: whatever the file has, it is refused or it can be shown and compared."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from typing import Any

from hypothesis import event, given
from hypothesis import strategies as st
from rich.console import Console

from runtime.bench.compare import compare
from runtime.bench.page import page
from runtime.bench.plan import Asked
from runtime.bench.report import show, show_comparison
from runtime.bench.results import NoResults, from_json, to_json
from tests.runtime.bench.made import document

WHOLE = document(asked=Asked(flavours=("none", "async"), runs=2))
TEXT = to_json(WHOLE)


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in a JSON document."""
    yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in inner:
        yield from leaves(each, (*path, key))


PLACES = [path for path in leaves(json.loads(TEXT)) if path]
VALUES = st.sampled_from([0, -1, 1, 1e300, -1e300, 1e-300, 1 << 70, "", "x", None, [], {}, True, {"0": 0}, {"-1": 5}])


@given(st.lists(st.tuples(st.sampled_from(PLACES), VALUES), min_size=1, max_size=3))
def test_a_damaged_document_is_refused_or_shown(damages: list[tuple[tuple[Any, ...], Any]]) -> None:
    damaged = json.loads(TEXT)
    for path, value in damages:
        at = damaged
        try:
            for key in path[:-1]:
                at = at[key]
            at[path[-1]] = value
        except (LookupError, TypeError):
            continue  # an earlier damage has taken the place away
    try:
        old = from_json(json.dumps(damaged).encode())
    except NoResults:
        event("refused")
        return
    event("shown")
    console = Console(file=io.StringIO(), width=100)
    for then, now in ((old, WHOLE), (WHOLE, old)):
        found = compare(then, now)
        show_comparison(then, now, found, console)
        show(now, console)
        page(now, found)
