"""What does a route cost that is written in the script language, beside the same logic written by hand in Python?

    python benchmarks/script.py [--runs 25] [--json FILE] [--code]

Three tables:

    a route     one of fifteen statements, and the same in Python over the same context: nanoseconds, and their ratio
    constructs  one statement each, over an empty route: nanoseconds
    parking     a request that runs a command inline, and one that is parked for it and resumed: CPU microseconds in
                one process, all of it: the job, its way through the pool and back, the transaction

A figure of the first two is the best of many short runs: what other processes do can make one slower, never faster.
Beside it stands the median. The message is parsed before: what is measured is the script. `--code` prints the Python
that the routes are compiled to, and measures nothing.
"""

from __future__ import annotations

import argparse
import dataclasses
import gc
import json
import re
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from script_parking import Parking, measure

from runtime.context import Address, Context
from runtime.log_levels import Levels
from runtime.modules.catalog import CATALOG
from runtime.program import Target
from runtime.script.check import Checked
from runtime.script.compile import compile_script, python_of
from runtime.script.declare import Module
from runtime.script.functions import World
from runtime.script.load import load
from runtime.script.script import Hooks
from runtime.script.uris import parts_of
from runtime.sip.message import Request, parse

HEAD: Final = 'loadmodule "sipmsgops.so"\n'
ROUTE: Final = r"""
route {
    if (!is_method("INVITE|OPTIONS|MESSAGE")) exit;
    $var(user) = $rU;
    if ($var(user) == NULL || $rd == "nowhere.example") exit;
    $avp(caller) = $fU;
    if ($si == "192.0.2.1" && $sp > 1024) setflag("INSIDE");
    if ($rU =~ "^(00|\+)[1-9][0-9]+$") $var(kind) = "abroad"; else $var(kind) = "here";
    switch ($var(kind)) {
    case "abroad":
        $var(rate) = 7;
        break;
    case "here":
        $var(rate) = 1;
        break;
    }
    $var(count) = $var(count) + 1;
    $var(label) = $var(kind) + "/" + $rd;
    xlog("L_DBG", "$rm $ru from $fu as $var(label)\n");
    route(mark, $var(label));
    if ($hdr(User-Agent) != NULL && !isflagset("SEEN")) setflag("SEEN");
    if (has_totag()) exit;
    append_hf("X-Label: $var(label) $var(rate)\r\n");
    $du = "sip:192.0.2.9:5070";
}
route[mark] { $avp(marks) = $param(1); }
"""
CONSTRUCTS: Final = {
    "an assignment: $var(a) = 1": "$var(a) = 1;",
    "a copy: $var(a) = $var(b)": "$var(a) = $var(b);",
    "an AVP is pushed: $avp(a) = 1": "$avp(a) = 1;",
    "an AVP is read: $var(a) = $avp(b)": "$var(a) = $avp(b);",
    "a sum: $var(i) = $var(i) + 1": "$var(i) = $var(i) + 1;",
    "a sum in place: $var(i) += 1": "$var(i) += 1;",
    'texts: $var(a) = "call " + $ci + " of "': '$var(a) = "call " + $ci + " of ";',
    'a comparison: if ($rm == "BYE")': 'if ($rm == "BYE") $var(a) = 1;',
    "a comparison: if ($var(i) > 5)": "if ($var(i) > 5) $var(a) = 1;",
    "a comparison: if ($var(b) == NULL)": "if ($var(b) != NULL) $var(a) = 1;",
    'a pattern: if ($rU =~ "^00[1-9]")': 'if ($rU =~ "^00[1-9]") $var(a) = 1;',
    "a network: if ($si == 10.0.0.0/8)": "if ($si == 10.0.0.0/8) $var(a) = 1;",
    "a part of the URI: $var(a) = $rU": "$var(a) = $rU;",
    "a header: $var(a) = $hdr(Subject)": "$var(a) = $hdr(Subject);",
    "a transformation: $(rU{s.toupper})": "$var(a) = $(rU{s.toupper});",
    "a transformation: $(rU{s.select,0,-})": "$var(a) = $(rU{s.select,0,-});",
    'a function: setflag("A")': 'setflag("A");',
    'a function: is_method("BYE")': 'if (is_method("BYE")) $var(a) = 1;',
    "a switch of two cases": 'switch ($rm) { case "BYE": $var(a) = 1; break; case "INFO": $var(a) = 2; break; }',
    "a route is called: route(empty)": "route(empty);",
    "a route is called: route(empty, 1, $rU)": "route(empty, 1, $rU);",
    'a destination: $du = "sip:192.0.2.9:5070"': '$du = "sip:192.0.2.9:5070";',
    "xlog that is off": 'xlog("L_DBG", "$rm $ru from $fu\\n");',
}
TIMES: Final = 100
"""How often a construct stands in its route."""
CONTEXTS: Final = 500
"""How many messages one run takes: each has a context of its own, made before."""
GOAL: Final = 2.0
MESSAGE: Final = (
    b"INVITE sip:0049228123@example.com:5070 SIP/2.0\r\n"
    b"Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKone\r\n"
    b'From: "Bob" <sip:bob@biloxi.org>;tag=ft\r\n'
    b"To: <sip:0049228123@example.com>\r\n"
    b"Call-ID: call-1\r\nCSeq: 7 INVITE\r\nMax-Forwards: 70\r\nUser-Agent: Phone/1.0\r\n"
    b"Contact: <sip:bob@192.0.2.1:5060>\r\nContent-Length: 0\r\n\r\n"
)
Run = Callable[[Context], object]


class Process:
    """Nothing parks here, and nobody hears. The level is asked for in the way of a real process."""

    level = 3

    def __init__(self) -> None:
        self._target = Target()
        self._target.log_level = Levels.shared(1, self.level).level_of(0)

    def park(self, *_: object) -> None:
        raise AssertionError("nothing parks here")

    def launch(self, *_: object) -> int:
        raise AssertionError("nothing is launched here")

    def log(self, *_: object) -> None:
        raise AssertionError("what is off is not logged")

    def log_level(self) -> int:
        return self._target.log_level()

    def own_log_level(self) -> int:
        return self.level

    def set_log_level(self, *_: object) -> None:
        raise AssertionError("no level is changed here")


_ABROAD: Final = re.compile(r"^(00|\+)[1-9][0-9]+$", re.IGNORECASE | re.ASCII)


def by_hand(c: Context) -> None:
    """The route of fifteen statements, as one writes it in Python."""
    message = c.message
    assert isinstance(message, Request)
    if message.method not in ("INVITE", "OPTIONS", "MESSAGE"):
        return
    variables = c.variables
    ruri = parts_of(c.ruri)
    user = variables["user"] = ruri.user
    if user is None or ruri.host.lower() == "nowhere.example":
        return
    c.avps.setdefault("caller", []).append(parts_of(message.from_.uri).user)
    source = c.source
    if source is not None and source.host == "192.0.2.1" and source.port > 1024:
        c.flags.add("INSIDE")
    kind = variables["kind"] = "abroad" if _ABROAD.search(user) else "here"
    if kind == "abroad":
        variables["rate"] = 7
    elif kind == "here":
        variables["rate"] = 1
    count = variables.get("count")
    variables["count"] = count + 1 if isinstance(count, int) else 1
    label = variables["label"] = f"{kind}/{ruri.host}"
    if Process.level >= 4:
        print(f"{message.method} {c.ruri} from {message.from_.uri} as {label}")
    _mark(c, label)
    if message.field("user-agent") is not None and "SEEN" not in c.flags:
        c.flags.add("SEEN")
    if message.to.tag:
        return
    c.edits.append(("append", f"X-Label: {label} {variables['rate']}\r\n"))
    c.dst_uri = "sip:192.0.2.9:5070"


def _mark(c: Context, label: str) -> None:
    c.avps.setdefault("marks", []).append(label)


@dataclasses.dataclass(frozen=True, slots=True)
class Figure:
    """What one message costs, in nanoseconds."""

    best_ns: float
    median_ns: float


_T = TypeVar("_T")


def compiled(text: str, compiler: Callable[[Checked, Mapping[str, Module], Hooks, World], _T]) -> _T:
    """What a compiler makes of a script."""
    checked = load(Path("benchmark.cfg"), catalog=CATALOG, read=lambda _: (HEAD + text).encode())
    if isinstance(checked, list):
        raise SystemExit("\n".join(str(problem) for problem in checked))
    modules = {name: CATALOG[name](checked.settings.get(name)) for name in checked.modules}
    world = World(wall_clock=time.time, random=lambda: 0.5, process_id=lambda: 1)
    return compiler(checked, modules, Process(), world)


def request_route(text: str) -> Run:
    """The request route of a script."""
    route = compiled(text, compile_script).routes.request
    assert route is not None, "it has one"
    return route


def contexts() -> list[Context]:
    """As many as one run takes, over one message that has been parsed."""
    message = parse(MESSAGE)
    assert isinstance(message, Request)
    source = Address("192.0.2.1", 5060)
    return [
        Context(message, ruri=message.ruri, source=source, variables={"b": 5, "i": 0, "count": 0, "a": None})
        for _ in range(CONTEXTS)
    ]


def cost(run: Run, runs: int) -> Figure:
    """What a route costs."""
    found: list[float] = []
    for made in [contexts() for _ in range(runs)]:
        before = time.perf_counter_ns()
        for one in made:
            run(one)
        found.append((time.perf_counter_ns() - before) / CONTEXTS)
    return Figure(min(found), statistics.median(found))


def same_effects(script: Run) -> None:
    """What is compared does the same."""
    theirs, ours = contexts()[0], contexts()[0]
    by_hand(theirs)
    script(ours)
    for field in ("avps", "variables", "flags", "edits", "dst_uri", "ruri"):
        if getattr(theirs, field) != getattr(ours, field):
            raise SystemExit(f"{field} differ: {getattr(theirs, field)} and {getattr(ours, field)}")


def the_route(runs: int) -> dict[str, Any]:
    """The first table."""
    script = request_route(ROUTE)
    same_effects(script)
    theirs, ours = cost(by_hand, runs), cost(script, runs)
    ratio = ours.best_ns / theirs.best_ns
    print(f"{'a route of fifteen statements':42} {'best':>10} {'median':>10}   ns for one message")
    print(f"{'in Python, by hand':42} {theirs.best_ns:10.0f} {theirs.median_ns:10.0f}")
    print(f"{'in the script language':42} {ours.best_ns:10.0f} {ours.median_ns:10.0f}")
    print(f"{'script : Python':42} {ratio:10.2f}   (goal: {GOAL} at most)\n")
    return {"python": dataclasses.asdict(theirs), "script": dataclasses.asdict(ours), "ratio": ratio}


def the_constructs(runs: int) -> dict[str, Any]:
    """The second table."""
    empty = cost(request_route("route { }"), runs)
    print(f"{'a construct':42} {'best':>10} {'median':>10}   ns for one statement")
    found = {}
    for name, statement in CONSTRUCTS.items():
        one = cost(request_route(f"route {{ {statement * TIMES} }} route[empty] {{ }}"), runs)
        each = Figure((one.best_ns - empty.best_ns) / TIMES, (one.median_ns - empty.median_ns) / TIMES)
        print(f"{name:42} {each.best_ns:10.1f} {each.median_ns:10.1f}")
        found[name] = dataclasses.asdict(each)
    print()
    return found


def the_parking(runs: int) -> dict[str, Any]:
    """The third table."""
    found: list[Parking] = [measure() for _ in range(max(1, runs // 5))]
    inline, parked = min(one.inline_us for one in found), min(one.parked_us for one in found)
    print(f"{'a request with a command':42} {'best':>10}   CPU µs for one request")
    print(f"{'mi(): inline':42} {inline:10.1f}")
    print(f"{'async(mi()): parked and resumed':42} {parked:10.1f}")
    print(f"{'what parking adds':42} {parked - inline:10.1f}")
    return {"inline_us": inline, "parked_us": parked}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=25)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--code", action="store_true")
    options = parser.parse_args(arguments)
    if options.code:
        print(compiled(ROUTE, python_of))
        return
    gc.disable()
    figures = {
        "route": the_route(options.runs),
        "constructs": the_constructs(options.runs),
        "parking": the_parking(options.runs),
    }
    if options.json is not None:
        options.json.write_text(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
