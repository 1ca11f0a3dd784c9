"""What the checker says of a script is true of its runs."""

import itertools
import re
from pathlib import Path

from hypothesis import event, given
from hypothesis import strategies as st

from runtime.context import Context
from runtime.script.check import Checked
from runtime.script.compile import compile_script
from runtime.script.declare import JobRequest, Kind, Module, Param, asynchronous, function
from runtime.script.functions import World
from runtime.script.load import load
from runtime.script.problems import Place, ScriptProblem
from runtime.script.report import as_json, as_text
from runtime.sip.message import dummy_request

WORLD = World(wall_clock=lambda: 0.0, random=lambda: 0.0, process_id=lambda: 1)
ROUTES = ("a", "b", "c")


class MiScript(Module):
    """Notes which marks were passed, and what the AVPs of each call held at its first run."""

    name = "mi_script"

    def __init__(self, settings=None):
        super().__init__(settings)
        self.marks = set()
        self.given = {}

    @function("mark", Param("line", Kind.INTEGER))
    def mark(self, c, line):
        self.marks.add(line)
        return 1

    @function("give", Param("out", Kind.OUTPUT))
    def give(self, c, out):
        out.set(c, "given")
        return 1

    @function(
        "mi",
        Param("line", Kind.INTEGER),
        Param("result", Kind.OUTPUT, optional=True),
        Param("names", Kind.AVP, optional=True),
        Param("values", Kind.AVP, optional=True),
    )
    def mi(self, c, line, result, names, values):
        self.given.setdefault(line, (len(names.all(c)), len(values.all(c))))
        return 1

    @asynchronous("job")
    def job(self, c):
        return JobRequest("job", "job", b"", 1.0, lambda context, outcome: 1)


class Process:
    """Takes what is parked, and forgets it."""

    def park(self, *_):
        pass

    launch = log = park

    def log_level(self):
        return -4


class Writer:
    """Writes statements one to a line; ``{line}`` becomes the number of the line."""

    def __init__(self):
        self.lines = ['loadmodule "mi_script.so"']
        self.spans = {}

    def put(self, text):
        self.lines.append(text.replace("{line}", str(len(self.lines) + 1)))

    def block(self, statements):
        for statement in statements:
            start = len(self.lines) + 1
            if isinstance(statement, str):
                self.put(statement)
            else:
                self._compound(*statement)
            self.spans[start] = len(self.lines)

    def _compound(self, *parts):
        for part in parts:
            if isinstance(part, str):
                self.put(part)
            else:
                self.block(part)


def blocks(simple, conditions, leaves=12):
    """Blocks of statements: a string is one line, a tuple has blocks within."""
    return st.recursive(
        st.lists(simple, max_size=4),
        lambda inner: st.lists(
            simple
            | st.tuples(conditions.map("if ({}) {{".format), inner, st.just("} else {"), inner, st.just("}"))
            | st.tuples(conditions.map("if ({}) {{".format), inner, st.just("}"))
            | st.tuples(st.just("while ($var(turns) < 2) { $var(turns) += 1;"), inner, st.just("}"))
            | st.tuples(st.just("for ($var(one) in $(avp(some)[*])) {"), inner, st.just("}"))
            | st.tuples(st.just("switch ($var(s)) { case 1:"), inner, st.just("case 2:"), inner, st.just("}"))
            | st.tuples(st.just("switch ($var(s)) { case 1:"), inner, st.just("default:"), inner, st.just("}")),
            max_size=4,
        ),
        max_leaves=leaves,
    )


def script_of(request, routes):
    """A script, and for each line on which a statement starts the one on which it ends."""
    writer = Writer()
    for head, body in (("route {", request), *((f"route[{name}] {{", body) for name, body in routes.items())):
        writer.put(head)
        writer.block(body)
        writer.put("}")
    return "\n".join(writer.lines), writer.spans


def run(text, **variables):
    """What the checker made of a script, and what its module saw of one run."""
    checked = load(Path("f.cfg"), catalog={"mi_script": MiScript}, read=lambda path: text.encode())
    assert isinstance(checked, Checked), checked
    module = MiScript()
    script = compile_script(checked, {"mi_script": module}, Process(), WORLD)
    context = Context(dummy_request())
    context.variables.update(variables)
    context.avps["some"] = [1, 2]
    script.routes.request(context)
    return checked, module


CALLS = {"request": ROUTES, "a": ("b", "c"), "b": ("c",), "c": ()}
"""Which route calls which: without circles, or a run would not end."""
ENDS = ["exit;", "drop;", "return;", "return(0);", "return(2);", "async(job(), a);"]
MARK = "mark({line});"


def ending_blocks(name):
    calls = [f"route({callee});" for callee in CALLS[name]]
    return blocks(
        st.sampled_from([MARK, MARK, MARK, *ENDS, *calls, *calls]),
        st.sampled_from(["$var(p) == 1", "$var(q) == 1", *(f"route({callee})" for callee in CALLS[name])]),
    )


VALUES = st.integers(0, 3)


@given(
    ending_blocks("request"),
    st.fixed_dictionaries({name: ending_blocks(name) for name in ROUTES}),
    VALUES,
    VALUES,
    VALUES,
)
def test_what_is_said_never_to_run_never_runs(request, routes, p, q, s):
    text, spans = script_of(request, routes)
    checked, module = run(text, p=p, q=q, s=s, turns=0)
    dead = [one.place.line for one in checked.warnings if one.code == "never-runs"]
    event(f"{min(len(dead), 3)} stretches never run")
    ran = {mark for line in dead for mark in module.marks if line <= mark <= spans.get(line, line)}
    assert ran == set(), f"{text}\nsaid never to run: {dead}, ran: {sorted(ran)}"


PUSHES = [f"$avp({name}) {operator} {value};" for name in "nv" for operator in ("=", ":=") for value in ("1", "NULL")]
OTHERS = ["give($avp(v));", "give($avp(n));", "$(avp(v)[0]) = NULL;", "$avp($var(which)) = 1;", "$avp(v) = $var(p);"]
MI = "mi({line},, $avp(n), $avp(v));"


def pairing_blocks(name):
    calls = [f"route({callee});" for callee in CALLS[name]]
    simple = st.sampled_from([*["$avp(n) = 1;", "$avp(v) = 1;"] * 4, MI, MI, MI, *PUSHES, *calls])
    rare = st.sampled_from(OTHERS)
    return blocks(simple | simple | simple | rare, st.sampled_from(["$var(p) == 1", "$var(q) == 1", "$avp(n) == 1"]), 6)


ALONE = st.lists(st.sampled_from(["$avp(n) = 1;", "$avp(v) = 1;", "$avp(v) = NULL;", MI, MARK]), min_size=2, max_size=8)
QUIET = st.just([MARK])


@given(
    st.data(),
    st.sampled_from(["request", *ROUTES, None]),
    VALUES,
    VALUES,
    VALUES,
)
def test_names_and_values_that_are_told_are_as_many_as_there_are(data, only, p, q, s):
    """Where one route alone writes the AVPs, or all of them do."""
    bodies = {
        name: data.draw(pairing_blocks(name) if only is None else ALONE if name == only else QUIET)
        for name in ("request", *ROUTES)
    }
    if only not in (None, "request"):
        bodies["request"] = [f"route({only});", *bodies["request"], f"route({only});"]
    text, _ = script_of(bodies.pop("request"), bodies)
    checked, module = run(text, p=p, q=q, s=s, turns=0, which="v")
    told = {one.place.line: one.message for one in checked.warnings if one.code == "unequal-pair"}
    met = told.keys() & module.given.keys()
    event(f"{min(len(met), 3)} of the calls that ran were told")
    for line in met:
        counts = tuple(map(int, re.findall(r"\d+", told[line])))
        assert counts == module.given[line], f"{text}\nline {line}"


LINES = st.text(st.characters(max_codepoint=255, exclude_characters="\n"), max_size=400)


@given(LINES, st.integers(1, 500), st.text(max_size=30), st.none() | st.text(max_size=10))
def test_any_line_and_any_text_can_be_reported(line, column, message, said):
    problem = ScriptProblem(Place("f.cfg", 3, column), message, "warning", "never-runs", said, said)
    text = as_text(problem, lambda file, number: line)
    assert not set("\x1b\r\x07\x9b") & set(text.plain)
    found = as_json(problem, lambda file, number: line)
    assert column < found["end_column"] <= column + max(len(line), 1)


SCRIPT = Path(__file__).parent.parent.parent.joinpath("examples", "proxy.cfg").read_text()
WORDS = re.findall(r"\w+|\s+|.", SCRIPT)


@given(st.data())
def test_every_problem_of_a_damaged_script_has_its_line(data):
    words = list(WORDS)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(words) - 1))
        words[at] = data.draw(st.sampled_from(["", "$", "async", "nothing", ")", '"', *WORDS]))
    text = "".join(words)
    found = load(Path("f.cfg"), catalog={"mi_script": MiScript}, read=lambda path: text.encode("latin-1"))
    lines = text.split("\n")
    for problem in itertools.islice(found.warnings if isinstance(found, Checked) else found, 50):
        assert 1 <= problem.place.line <= len(lines)
        assert 1 <= problem.place.column <= len(lines[problem.place.line - 1]) + 1
        assert as_text(problem, lambda file, number: lines[number - 1]).plain.count("\n") <= 3
