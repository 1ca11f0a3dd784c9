"""The ladder that every call climbs, and the three ways in which a script climbs it: all give the same answer.

Commands, their recipes and what their handlers do are generated; what becomes of a call is written down as a table.
"""

from __future__ import annotations

import asyncio
import inspect
import itertools
from pathlib import Path
from typing import NamedTuple

from hypothesis import event, given, settings
from hypothesis import strategies as st

from mi_script.access import Access
from mi_script.calls import Call, Cause, Fault, Ready, prepare, refusal
from mi_script.commands import Command, MiError, Registry
from mi_script.execute import Executor
from runtime.command_figures import CommandFigures
from runtime.context import Context
from runtime.modules.mi_script import MiScript
from runtime.script.check import Checked
from runtime.script.compile import compile_script
from runtime.script.declare import Refused
from runtime.script.functions import World
from runtime.script.load import load
from runtime.sip.message import dummy_request
from runtime.statistics import Statistics
from runtime.testing.strategies import json_values
from workers.jobs import Peer, Returned

NAMES = ("one", "two", "m:one", "n:one", "m:three", "n:two", "m:x:one", ":four", "five:")
PARAMS = "pqrs"


@st.composite
def command_sets(draw, handler=lambda params: None):
    """Commands, of which no two have a name in common; each takes a few lists of parameters."""
    names = draw(st.permutations(NAMES))
    sizes = draw(st.lists(st.integers(1, 3), min_size=1, max_size=4))
    starts = [sum(sizes[:at]) for at in range(len(sizes))]
    return [
        draw(command_of(names[start : start + size], handler))
        for start, size in zip(starts, sizes, strict=True)
        if start < len(names)
    ]


@st.composite
def command_of(draw, names, handler):
    counts = draw(st.sampled_from([(0, 1, 2, 3), (1,), (2,)]))
    sets = [names for count in counts for names in itertools.combinations(PARAMS, count)]
    chosen = draw(st.lists(st.sampled_from(sets), min_size=2 if len(counts) == 1 else 1, max_size=4, unique=True))
    recipes = [tuple(draw(st.permutations(names))) for names in chosen]
    preferred = {len(recipe): recipe for recipe in recipes if draw(st.sampled_from([False, False, True]))}
    return Command(
        name=names[0],
        aliases=tuple(names[1:]),
        recipes=tuple(recipes),
        positional=tuple(preferred.values()),
        named_only=draw(st.sampled_from([False, False, False, True])),
        handler=handler,
        later=inspect.iscoroutinefunction(handler),
    )


@st.composite
def parameters(draw, commands):
    """Some that fit a recipe, and some that fit none."""
    recipe = draw(st.sampled_from([recipe for one in commands for recipe in one.recipes]))
    values = draw(st.lists(st.integers() | st.text(max_size=2), min_size=len(PARAMS), max_size=len(PARAMS)))
    match draw(st.sampled_from(["its names", "other names", "its count", "its count", "another count", "nothing"])):
        case "its names":
            return dict(zip(draw(st.permutations(recipe)), values, strict=False))
        case "other names":
            return dict(zip(draw(st.permutations(PARAMS))[: len(recipe)], values, strict=False))
        case "its count":
            return values[: len(recipe)]
        case "another count":
            return values[: draw(st.integers(0, len(PARAMS)))]
    return None


METHODS = st.sampled_from([*NAMES, "three", "four", "", "five", "x:one", "ONE", " one"])


def found(commands, method):
    """The commands that a name may mean, each with the name that fits: its own, or what stands behind a module's."""
    own = [(one, method) for one in commands if method in one.names]
    behind = []
    for one in commands:
        names = [name for name in one.names if name.rfind(":") > 0 and name[name.rfind(":") + 1 :] == method]
        behind += [(one, names[0])] if names else []
    return own or behind


def said(command, params):
    """The parameters by name, or the `data` of the error -32602."""
    count = len(params or ())
    fitting = [recipe for recipe in command.recipes if len(recipe) == count]
    meant = [recipe for recipe in fitting if recipe in command.positional] if len(fitting) > 1 else fitting
    by_position = isinstance(params, list) and count > 0
    by_name = isinstance(params, dict) and count > 0
    table = {
        "Command only supports named parameters": by_position and command.named_only,
        "Too few or too many parameters": not fitting,
        "Named parameters do not match": by_name and set(params) not in map(set, fitting),
        "Ambiguous call, use named parameters instead": by_position and not meant,
    }
    wrong = [text for text, holds in table.items() if holds]
    if wrong:
        return wrong[0]
    return {
        name: params[at if by_position else name] for at, name in enumerate(meant[0] if by_position else params or ())
    }


@settings(max_examples=300)
@given(st.data(), command_sets())
def test_a_call_finds_its_command_and_its_parameters_their_names(data, commands):
    method = data.draw(
        st.sampled_from([commands[0].name, commands[-1].names[-1]]) if data.draw(st.integers(0, 3)) else METHODS
    )
    candidates = found(commands, method)
    params = data.draw(parameters([one for one, _ in candidates] or commands))
    answer = prepare(Registry(commands), Call(method, params))
    if len(candidates) != 1:
        event("unknown" if not candidates else "ambiguous")
        assert answer == not_found([name for _, name in candidates])
        return
    expected = said(candidates[0][0], params)
    event(expected if isinstance(expected, str) else "it may run")
    if isinstance(expected, str):
        assert answer == Fault(-32602, "Invalid params", expected, Cause.COMMAND)
    else:
        assert isinstance(answer, Ready)
        assert answer.command is candidates[0][0]
        assert [(name, answer.params.raw(name)) for name in answer.params.names()] == list(expected.items())


def not_found(names):
    if not names:
        return Fault(-32601, "Method not found", None, Cause.UNKNOWN)
    return Fault(-32001, "Method ambiguous", f"supported names: {', '.join(names)}", Cause.UNKNOWN)


SOME_NAMES = st.frozensets(st.sampled_from(NAMES), max_size=3)


@given(command_sets(), METHODS, st.none() | st.builds(Access, st.none() | SOME_NAMES, SOME_NAMES))
def test_what_is_denied_is_refused_by_any_of_its_names(commands, method, access):
    candidates = found(commands, method)
    answer = refusal(Registry(commands), Call(method), access)
    if access is None or len(candidates) != 1:
        assert answer is None
        return
    command = candidates[0][0]
    denied = any(name in access.deny for name in command.names)
    allowed = access.allow is None or any(name in access.allow for name in command.names)
    event(f"denied {denied}, allowed {allowed}")
    assert (answer is None) == (allowed and not denied)
    if answer is not None:
        assert (answer.code, answer.message, answer.cause) == (-32000, "Server error", Cause.DENIED)
        assert answer.data.startswith(f"Command '{command.name}' is ")
        assert ("denied" in answer.data) == denied


# The three ways of a script


class Plan(NamedTuple):
    """What a handler does: how it ends, and whether it answers later."""

    does: str
    later: bool
    value: object
    error: tuple[int, str, str | None]


PLANS = st.builds(
    Plan,
    st.sampled_from(["gives", "gives", "gives", "refuses", "breaks", "gives no JSON"]),
    st.booleans(),
    json_values(),
    st.tuples(st.sampled_from([0, 1, -1, 404, -400, -32602]), st.text(max_size=5), st.none() | st.text(max_size=5)),
)


def handler_of(plan):
    """A handler that does what the plan says, and echoes what it was given."""

    def run(params):
        match plan.does:
            case "refuses":
                raise MiError(*plan.error)
            case "breaks":
                raise ZeroDivisionError("by intent")
            case "gives no JSON":
                return object()
        return {"given": {name: params.raw(name) for name in params.names()}, "value": plan.value}

    async def run_later(params):
        await asyncio.sleep(0)
        return run(params)

    return run_later if plan.later else run


class House:
    """What the module looks into."""

    def __init__(self, registry):
        self.registry = registry
        self.statistics = Statistics(1)
        self.statistics.declare("mi", ["denied"])
        self.figures = CommandFigures(1, registry.names())


class Process:
    """Runs a job as a worker does, and has what was parked go on at once; a report begins with nothing."""

    peer = Peer("sip-1", 1)

    def __init__(self, registry, variables):
        self.executor = Executor(registry)
        self.variables = variables
        self.reported = None

    def stand_still(self):
        pass

    move_again = log = stand_still

    def log_level(self):
        return -4

    def block_on(self, work, timeout_s):
        return asyncio.run(work)

    def _finish(self, context, begin):
        if isinstance(begin, Refused):
            return begin.finish(context)
        packed = self.executor.run(begin.payload)
        payload = packed if isinstance(packed, bytes) else asyncio.run(awaited(packed))
        return begin.finish(context, Returned(payload, Peer("worker-1", 2), 0.5))

    def park(self, context, begin, resume_route, timeout_s, place):
        context.rc = self._finish(context, begin)

    def launch(self, context, begin, report_route, param, place):
        self.reported = new_context(self.variables)
        self.reported.rc = self._finish(self.reported, begin)
        return 1


async def awaited(answer):
    return await answer


def new_context(variables):
    context = Context(dummy_request(), ruri="sip:before@example.com")
    context.variables.update(variables)
    return context


SCRIPT = """\
loadmodule "mi_script.so"
route[here] {{ mi("$var(command)", {arguments}); }}
route[parking] {{ async(mi("$var(command)", {arguments}), go_on); }}
route[launching] {{ launch(mi("$var(command)", {arguments}), go_on); }}
route[go_on] {{ }}
"""
ANSWERS = ["$var(answer)", "$avp(answer)", "$ru", ""]
"""Where the answer goes; a URI takes none of these."""
AVPS = ["", ",$avp(n)", ",,$avp(v)", ",$avp(n),$avp(v)"]
HELD = st.integers(-5, 5) | st.sampled_from(["p", "q", "r", "\xc3\xa4", "__array(a b)", "\xff"]) | st.none()


def told(context):
    """Everything that a script can see of an answer, but for who gave it and how long that took."""
    story = {key: value for key, value in context.story.items() if key not in ("worker", "elapsed")}
    return context.rc, context.variables.get("answer"), context.avps.get("answer"), context.ruri, story


@given(
    st.data(),
    PLANS,
    METHODS,
    st.lists(st.sampled_from(["p", "1", "x"]), max_size=3),
    st.sampled_from(ANSWERS),
    st.sampled_from(AVPS),
    st.tuples(st.lists(HELD, max_size=3), st.lists(HELD, max_size=3)),
    st.fixed_dictionaries(
        {"compat": st.sampled_from(["", "3.6"]), "pretty_printing": st.integers(0, 1)},
        optional={"deny": st.just(["one"])},
    ),
)
def test_mi_and_async_and_launch_give_the_same_answer(data, plan, method, words, answer, avps, held, settings):
    registry = Registry(data.draw(command_sets(handler_of(plan))))
    settings = settings if registry.find("one") else {key: value for key, value in settings.items() if key != "deny"}
    variables = {"command": " ".join([method, *words]), "answer": "before"}
    process = Process(registry, variables)
    routes = routes_of(answer + avps, settings, House(registry), process)

    def run(way):
        context = new_context(variables)
        if avps:
            context.avps.update(n=list(held[0]), v=list(held[1]))
        routes[way](context)
        return context

    inline, parked = run("here"), run("parking")
    run("launching")
    event(f"$rc {inline.rc}")
    assert told(inline) == told(parked)
    assert told(inline) == told(process.reported)
    ran = inline.rc == 1
    assert not ran or inline.story["worker"] == "sip-1.1"
    assert not ran or (parked.story["worker"], parked.story["elapsed"]) == ("worker-1.2", 500_000)


def routes_of(arguments, settings, house, process):
    text = SCRIPT.format(arguments=arguments)
    checked = load(Path("f.cfg"), catalog={"mi_script": MiScript}, read=lambda path: text.encode())
    assert isinstance(checked, Checked), checked
    module = MiScript(settings)
    module.furnish(house)
    module.furnished()
    module.enter(process)
    world = World(wall_clock=lambda: 0.0, random=lambda: 0.0, process_id=lambda: 1)
    return compile_script(checked, {"mi_script": module}, process, world).routes.named
