"""A route that the script names exists, and what it does may be done there: before any traffic, and in every run.

Scripts of routes that call, resume in, report to and arm one another are generated as data; a plain closure over that
data says what is to be told of them. Those that nothing is told of are run, from every route and with everything that
is parked resumed, and meet no route that is missing and no function where it may not be called.
"""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import NamedTuple

from hypothesis import event, given, settings
from hypothesis import strategies as st

from runtime.context import Context, RouteType
from runtime.script.check import Checked
from runtime.script.compile import compile_script
from runtime.script.declare import Kind, Module, Param, Refused, asynchronous, function
from runtime.script.functions import World
from runtime.script.load import load
from runtime.sip.message import dummy_request
from tests.properties.script_tools import Management

KINDS = {
    "route": RouteType.REQUEST,
    "failure_route": RouteType.FAILURE,
    "onreply_route": RouteType.ONREPLY,
    "branch_route": RouteType.BRANCH,
    "local_route": RouteType.LOCAL,
    "startup_route": RouteType.STARTUP,
    "timer_route": RouteType.TIMER,
    "event_route": RouteType.EVENT,
    "error_route": RouteType.ERROR,
}
RESTRICTED = {
    "for_requests": RouteType.REQUEST,
    "for_relaying": RouteType.RELAYING,
    "for_answerable": RouteType.ANSWERABLE,
    "for_messages": RouteType.MESSAGE,
    "not_in_events": RouteType.ANY & ~RouteType.EVENT & ~RouteType.TIMER,
}
ARMS = {"t_on_failure": "failure_route", "t_on_reply": "onreply_route", "t_on_branch": "branch_route"}


class Tools(Module):
    """Functions that may be called in some routes only, and notice where they are."""

    name = "tools"

    def __init__(self, settings=None):
        super().__init__(settings)
        self.passed = []

    @function("noted", Param("line", Kind.INTEGER))
    def noted(self, c, line):
        self.passed.append((line, c.route))
        return 1

    @function("named", Param("route", Kind.ROUTE))
    def named(self, c, route):
        return 1

    @asynchronous("job")
    def job(self, c):
        return Refused(lambda context: 1)


def _restricted(name, routes):
    def call(self, c, line):
        assert c.route in routes, f"line {line}: {name}() in {c.route}"
        return self.noted(c, line)

    return function(name, Param("line", Kind.INTEGER), routes=routes)(call)


for _name, _routes in RESTRICTED.items():
    setattr(Tools, _name, _restricted(_name, _routes))
for _name in ARMS:
    setattr(Tools, _name, function(_name, Param("route", Kind.STRING))(lambda self, c, route: 1))


# Scripts as data

NAMES = ("alpha", "bravo", "charlie", "delta")
WRONG = {f"{name[:-1]}x": name for name in NAMES}
"""Names that no route has, and the one that each is near to."""
EDGES = (
    ("route", ""), ("onreply_route", ""), ("onreply_route", "alpha"), ("failure_route", "bravo"),
    ("failure_route", "alpha"), ("branch_route", "charlie"), ("local_route", ""), ("startup_route", ""),
    ("timer_route", "t"), ("event_route", "E_X"), ("error_route", ""),
)  # fmt: skip


class Step(NamedTuple):
    """One statement that names a route or is restricted: what it does, and the name that it has in it."""

    does: str
    name: str


class Block(NamedTuple):
    """Steps within a statement: how it begins."""

    head: str
    steps: tuple


class Route(NamedTuple):
    """A route and what it does."""

    kind: str
    name: str
    steps: tuple


NAMED = st.sampled_from([*NAMES, *NAMES, *NAMES, *WRONG, "zulu"])
CALLS = ("call", "call in if", "call and")
RESUMES = ("resume", "resume in if", "slow resume")
LEADING = (*CALLS, *RESUMES, "report")
"""What brings a run from one route to another."""
QUOTING = (*ARMS, "arg", "call")
LIMITED = st.builds(Step, st.sampled_from([*RESTRICTED]), st.just(""))
STEPS = st.one_of(
    st.builds(Step, st.sampled_from(CALLS), NAMED | st.just("$var(to)")),
    st.builds(Step, st.sampled_from(RESUMES), NAMED),
    st.builds(Step, st.sampled_from(["report", "arg"]), NAMED),
    st.builds(Step, st.sampled_from([*ARMS]), NAMED | st.just("$var(to)")),
    st.just(Step("quiet report", "")),
    LIMITED,
)
HEADS = st.sampled_from(
    [
        "if ($var(p)) {",
        "while ($var(turn) < 1) { $var(turn) += 1;",
        "switch ($var(p)) { case 0:",
        "for ($var(i) in $(avp(some)[*])) {",
    ]
)
BLOCKS = st.builds(Block, HEADS, st.lists(STEPS | LIMITED, max_size=2).map(tuple))
BODIES = st.lists(STEPS | BLOCKS, max_size=4).map(tuple)
FLOWS = [Step(does, name) for does in (*CALLS, *RESUMES, "report") for name in NAMES]
FLOWING = st.lists(
    st.sampled_from([*FLOWS, *(Step(name, "") for name in RESTRICTED for _ in range(4))]), min_size=1, max_size=5
).map(tuple)
"""What leads somewhere, and what may not be done everywhere."""


@st.composite
def scripts(draw, bodies=BODIES):
    kinds = draw(st.lists(st.sampled_from(EDGES), unique=True, min_size=1, max_size=5))
    names = draw(st.lists(st.sampled_from(NAMES), unique=True, min_size=1, max_size=4))
    heads = [*kinds, *(("route", name) for name in names)]
    return [Route(kind, name, draw(bodies)) for kind, name in draw(st.permutations(heads))]


class Writer:
    """Writes a script one statement to a line, and notes what names a route: the line, the column and the name."""

    def __init__(self, routes):
        self.lines = ['loadmodule "tools.so"', 'loadmodule "mi_script.so"']
        self.uses = []
        for route in routes:
            self.route = route
            name = "" if not route.name else f"[{route.name}, 5]" if route.kind == "timer_route" else f"[{route.name}]"
            self.lines.append(f"{route.kind}{name} {{")
            self.block(route.steps)
            self.lines.append("}")
        self.text = "\n".join(self.lines)

    def block(self, steps):
        for step in steps:
            if isinstance(step, Block):
                self.lines.append(step.head)
                self.block(step.steps)
                self.lines.append("}")
            else:
                self.step(step)

    def step(self, step):
        line = len(self.lines) + 1
        before, behind = FORMS.get(step.does, (f"{step.does}({line}", ");"))
        name = f'"{step.name}"' if step.does in QUOTING else step.name
        self.lines.append(f"{before}{name}{behind}")
        self.uses.append(Use(self.route, step.does, step.name, line, len(before) + 1))


FORMS = {
    "call": ("route(", ");"),
    "call in if": ("if (route(", ")) { }"),
    "call and": ("$var(y) = $var(p) and route(", ");"),
    "resume": ("if ($var(p)) async(job(), ", ");"),
    "resume in if": ("if ($var(p)) { if (!async(job(), ", ")) { } }"),
    "report": ("launch(job(), ", ");"),
    "quiet report": ("launch(job()", ");"),
    "arg": ("named(", ");"),
    "slow resume": ('if ($var(p)) async(mi("slow_one"), ', ");"),
    "slow launch": ('launch(mi("slow_one")', ");"),
    "slow": ('mi("slow_one"', ");"),
    **{arm: (f"{arm}(", ");") for arm in ARMS},
}


class Use(NamedTuple):
    """One step in its place."""

    route: Route
    does: str
    name: str
    line: int
    column: int


class Model:
    """What there is to be told of a script, from its data alone."""

    def __init__(self, routes, uses):
        self.routes = {(route.kind, route.name) for route in routes}
        self.uses = uses
        self.runs = self._closure()

    def _closure(self):
        """Which route runs as which kind, and from which it may be reached: (name, kind, origin) of named ones."""
        steps = []
        for use in self.uses:
            if use.does in CALLS + RESUMES:
                steps.append((use.route, use.name, None))
            if use.does == "report":
                steps.append((use.route, use.name, RouteType.REQUEST))
        runs = {(kind, name, KINDS[kind], (kind, name)) for kind, name in self.routes if kind != "route" or not name}
        while True:
            more = {
                ("route", name, as_kind or kind, origin)
                for (route_kind, route_name, kind, origin), (route, name, as_kind) in itertools.product(runs, steps)
                if (route.kind, route.name) == (route_kind, route_name) and ("route", name) in self.routes and name
            }
            if more <= runs:
                return runs
            runs |= more

    def told(self):
        """What is missing: the line, the column, the code, the name and the near one."""
        codes = dict.fromkeys(RESUMES, "missing-resume-route") | {"report": "missing-report-route"}
        for use in self.uses:
            if not use.name or "$" in use.name:
                continue
            kinds = (ARMS[use.does],) if use.does in ARMS else KINDS if use.does == "arg" else ("route",)
            if not any((kind, use.name) in self.routes for kind in kinds):
                near = WRONG.get(use.name)
                there = any((kind, near) in self.routes for kind in kinds)
                yield use.line, use.column, codes.get(use.does, "unknown-route"), use.name, near if there else None

    def forbidden(self):
        """Where a function may not be called: line, name, kind of route, where that may come from, and the route."""
        for use in self.uses:
            if use.does in RESTRICTED:
                ways = [
                    (kind, origin) for rk, rn, kind, origin in self.runs if (rk, rn) == (use.route.kind, use.route.name)
                ]
                for kind in {kind for kind, _ in ways if kind not in RESTRICTED[use.does]}:
                    yield use.line, use.does, kind, {origin for its, origin in ways if its == kind}, use.route


def shown(kind, name):
    return f"{kind}[{name}]" if name else kind


def checked(text):
    return load(Path("f.cfg"), catalog={"tools": Tools, "mi_script": Management}, read=lambda path: text.encode())


MISSING = ("unknown-route", "missing-resume-route", "missing-report-route")


@given(scripts())
def test_every_route_that_is_missing_is_told_and_where_it_is_named(routes):
    writer = Writer(routes)
    found = checked(writer.text)
    expected = sorted(Model(routes, writer.uses).told())
    problems = [one for one in found if one.code in MISSING] if isinstance(found, list) else []
    told = [(one.place.line, one.place.column, one.code, quoted(one.message), one.suggestion) for one in problems]
    event(f"{min(len(expected), 3)} are missing")
    assert told == expected, writer.text
    assert all(one.severity == "error" for one in problems)


def quoted(message):
    """The name that a message quotes."""
    return re.search(r'[\["]([^\[\]"]*)[\]"]$', message)[1]


@given(scripts(FLOWING) | scripts())
def test_a_function_is_refused_wherever_a_route_that_forbids_it_leads_to_it(routes):
    writer = Writer(routes)
    found = checked(writer.text)
    problems = [one for one in found if one.code == "wrong-route-type"] if isinstance(found, list) else []
    told = {(one.place.line, *read(one.message)) for one in problems}
    expected = list(Model(routes, writer.uses).forbidden())
    event(f"{min(len(expected), 3)} may not be called")
    assert {(line, name, kind) for line, name, kind, *_ in told} == {
        (line, name, kind) for line, name, kind, *_ in expected
    }
    assert len(problems) == len(expected), writer.text
    for line, name, kind, here, origin in told:
        ((origins, route),) = [(o, r) for li, n, k, o, r in expected if (li, n, k) == (line, name, kind)]
        if (route.kind, route.name) in origins:
            assert (here, origin) == (None, None)
        else:
            assert here == shown(route.kind, route.name)
            assert origin in {shown(*one) for one in origins}


def read(message):
    """A message's function, the kind of route, the route where it stands, and the one that this is reached from."""
    name, article, where, here, origin = re.fullmatch(
        r"(\w+)\(\) cannot be called in (an?) (\w+)(?:, and (\S+) is reached from (\S+))?", message
    ).groups()
    assert article == ("an" if where[0] in "aeiou" else "a")
    return name, KINDS[where], here, origin


# What passes is true of its runs


class Process:
    """Resumes and reports, when the route that asked has come to its end."""

    def __init__(self):
        self.waiting = []

    def park(self, context, begin, resume_route, timeout_s, place):
        self.waiting.append((context, context.route, resume_route))

    def launch(self, context, begin, report_route, param, place):
        if report_route is not None:
            self.waiting.append((new_context(context.variables), RouteType.REQUEST, report_route))
        return 1

    def log(self, level, text, context, place):
        pass

    def log_level(self):
        return 4


def new_context(variables):
    context = Context(dummy_request())
    context.variables = variables
    context.avps["some"] = [1]
    return context


MOST_RUNS = 40


@settings(max_examples=150)
@given(scripts(FLOWING) | scripts(), st.integers(0, 1), st.booleans())
def test_what_passes_never_meets_a_route_that_is_missing_or_forbidden(routes, p, right):
    there = {name for kind, name, _ in routes if kind == "route"}
    routes = [
        Route(kind, name, that_pass(steps, there, name if kind == "route" else "")) for kind, name, steps in routes
    ]
    writer = Writer(routes)
    if right:  # else it may be that nothing is told though something is forbidden
        wrong = {(route, does) for _, does, _, _, route in Model(routes, writer.uses).forbidden()}
        routes = [
            route._replace(steps=without(route.steps, lambda step, r=route: (r, step.does) in wrong))
            for route in routes
        ]
        writer = Writer(routes)
    found = checked(writer.text)
    if not isinstance(found, Checked):
        event("it does not load")
        return
    module, process = Tools(), Process()
    script = compile_script(found, {"tools": module, "mi_script": Management()}, process, WORLD)
    for code in edges_of(script.routes):
        code(new_context({"p": p, "turn": 0, "to": "nobody"}))
    for _ in range(MOST_RUNS):
        if process.waiting:
            context, kind, name = process.waiting.pop(0)
            context.route = kind
            script.routes.named[name](context)
    event(f"{min(len(module.passed), 3)} functions ran that may not run everywhere")
    runs = Model(routes, writer.uses).runs
    for line, kind in module.passed:
        (use,) = [use for use in writer.uses if use.line == line]
        assert any((rk, rn, k) == (use.route.kind, use.route.name, kind) for rk, rn, k, _ in runs), writer.text


def that_pass(steps, there, caller):
    """The steps that name only what is there, so that more scripts pass, and that call nothing in a circle."""
    return without(
        steps,
        lambda one: (
            one.does in ARMS or (one.name and one.name not in there) or (one.does in CALLS and one.name <= caller)
        ),
    )


def without(steps, unwanted):
    """The steps without those that are unwanted, in whatever block they stand."""
    whole = [Block(one.head, without(one.steps, unwanted)) if isinstance(one, Block) else one for one in steps]
    return tuple(one for one in whole if isinstance(one, Block) or not unwanted(one))


WORLD = World(wall_clock=lambda: 0.0, random=lambda: 0.0, process_id=lambda: 1)


def edges_of(routes):
    """The code of every route that something else than a route runs."""
    one_each = [routes.request, routes.local, routes.startup, routes.error]
    several = [*routes.failure.values(), *routes.onreply.values(), *routes.branch.values(), *routes.events.values()]
    return [code for code in [*one_each, *several, *(timer.code for timer in routes.timers)] if code is not None]


# Which routes serve traffic

SERVING = ("route", "failure_route", "onreply_route", "branch_route", "local_route", "error_route")


@given(scripts(FLOWING) | scripts())
def test_a_command_that_takes_long_is_told_where_traffic_waits_for_it_and_nowhere_else(routes):
    routes = [
        route._replace(steps=(*without(route.steps, lambda one: one.does in RESTRICTED), Step("slow", "")))
        for route in routes
    ]
    writer = Writer(routes)
    found = checked(writer.text)
    problems = found.warnings if isinstance(found, Checked) else found
    serving = serving_of(routes, writer.uses)
    event(f"{len(serving)} of {len(routes)} serve")
    expected = {use.line for use in writer.uses if use.does == "slow" and (use.route.kind, use.route.name) in serving}
    assert {one.place.line for one in problems if one.code == "blocking-mi"} == expected, writer.text


def serving_of(routes, uses):
    """The routes that traffic runs in, and all that it may come to from there."""
    there = {(route.kind, route.name) for route in routes}
    found = {(kind, name) for kind, name in there if kind in SERVING and (kind != "route" or not name)}
    while True:
        leading = [use for use in uses if (use.route.kind, use.route.name) in found and use.does in LEADING]
        more = {("route", use.name) for use in leading} & there
        if any(use.name == "$var(to)" for use in leading):
            more |= {(kind, name) for kind, name in there if kind == "route" and name}
        if more <= found:
            return found
        found |= more
