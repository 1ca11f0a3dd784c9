"""The oracles hold for the scripts and for two seconds of damages; `fuzz_script.py` runs for as long as one likes."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from runtime.script.problems import Place
from tests.fuzz.declared_scripts import declared_scripts
from tests.fuzz.fuzz_script import EXAMPLES, SCRIPTS, damage, fault, fuzz, seeds, smaller
from tests.fuzz.script_oracles import check

FILES = sorted([*EXAMPLES.glob("*.cfg"), *SCRIPTS.glob("*.cfg")])

MANY = 600
LARGE = {
    "routes that call the next one": "".join(f"route[r{n}] {{ route(r{n + 1}); }}\n" for n in range(MANY))
    + f"route[r{MANY}] {{ }}",
    "routes that call others": "".join(
        f"route[r{n}] {{ {' '.join(f'route(r{(n * 7 + k) % MANY});' for k in range(4))} }}\n" for n in range(MANY)
    ),
    "routes that are not there": "".join(f"route[r{n}] {{ route(s{n}); }}\n" for n in range(MANY)),
    "functions that are not there": f"route {{ {'nothing();' * MANY} }}",
    "cases": "route { switch ($rU) { " + "".join(f'case {n}: xlog("$ru"); break;\n' for n in range(MANY)) + "} }",
    "statements": "route { " + "".join(f'$var(v{n}) = $rU + "a" + {n};\n' for n in range(MANY)) + "}",
    "arguments": f"route {{ route(a{', $rU' * MANY}); }} route[a] {{ }}",
    "variables in a text": 'route { xlog("' + "$rU $(hdr(A)) " * MANY + '"); }',
    "transformations": f"route {{ $var(x) = $(rU{'{s.trim}' * MANY}); }}",
    "transformations in a text": 'route { xlog("$(rU' + "{s.trim}" * MANY + ')"); }',
    "variables in one another": f"route {{ $var(x) = {'$var(' * MANY}a{')' * MANY}; }}",
    "blocks in one another": f"route {{ {'{ ' * MANY} exit; {'}' * MANY} }}",
    "brackets in one another": f"route {{ if ({'(' * MANY}$rU{')' * MANY}) exit; }}",
    "else after else": f"route {{ {'if ($rU) exit; else ' * MANY} exit; }}",
    "loops in one another": f"route {{ {'while ($rU) ' * MANY} exit; }}",
    "an expression": f"route {{ $var(x) = {' + '.join(['$rU'] * MANY)}; }}",
    "a pattern": 'route { if ($rU =~ "' + "(" * MANY + "a" + ")" * MANY + '") exit; }',
    "digits": f"route {{ $var(x) = {'9' * MANY}; }}",
    "comments": "/* " * MANY,
    "quotes": 'route { xlog("' + '\\"' * MANY,
}


@pytest.mark.parametrize("text", LARGE.values(), ids=list(LARGE))
def test_what_is_large_takes_its_share_of_time_and_no_more(text: str) -> None:
    check(text.encode())


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_the_oracles_hold_for_the_scripts(path: Path) -> None:
    check(path.read_bytes())


@pytest.mark.parametrize("name", ["statements.cfg", "variables.cfg", "calls.cfg"])
def test_the_scripts_that_have_everything_load_and_run(name: str) -> None:
    assert check((SCRIPTS / name).read_bytes())[0] == "ran"


def test_whatever_is_declared_runs() -> None:
    made = declared_scripts()
    for data in made:
        assert fault(data) is None
    text = b"".join(made)
    for called in (b"append_hf(", b"t_relay(", b"$hdr(a)", b"{s.len}", b"json_merge("):
        assert called in text


def test_the_oracles_hold_for_what_is_damaged() -> None:
    count, ways, failed = fuzz(2.0, seed=1)
    assert failed is None, fault(failed)
    assert count > 0  # how many depends on the machine
    assert ways > 5


def test_the_same_seed_damages_in_the_same_way() -> None:
    found = seeds()
    made = [[damage(found[0], chance, found) for _ in range(20)] for chance in (random.Random(7), random.Random(7))]
    assert made[0] == made[1]


def test_a_fault_is_found_and_made_small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not a mock of a part: a part made wrong, so that it is the oracles that are tested."""
    monkeypatch.setattr(Place, "__lt__", lambda self, other: 1 / 0)
    failed = fuzz(5.0, seed=1)[2]
    assert failed is not None
    found = smaller(failed, time.monotonic() + 60.0)
    assert fault(found) is not None
    assert len(found) < 500
