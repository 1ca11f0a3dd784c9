"""The compiler against an interpreter that knows nothing of it: every program does the same in both."""

import ast
import contextlib
import os
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import Phase, event, given, reject, seed, settings

from runtime.context import Address, Context
from runtime.script.check import Checked
from runtime.script.compile import compile_script
from runtime.script.declare import JobRequest, Kind, Module, Param, asynchronous, function
from runtime.script.functions import World
from runtime.script.load import load
from runtime.script.problems import AssertionFailed, ScriptError
from runtime.script.script import DROP, EXIT
from runtime.sip.message import parse
from tests.script_interpreter import avps, running, state, transformations, values
from tests.script_interpreter.generating import CONSTANTS, PROGRAMS
from tests.script_interpreter.printing import printed
from tests.script_interpreter.running import Machine
from tests.script_interpreter.state import COMPLAINT, TooLong

WORLD = World(wall_clock=lambda: 0.0, random=lambda: 0.0, process_id=lambda: 1)
INVITE = parse(
    b"INVITE sip:alice@example.com SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKa\r\nFrom: <sip:b@h>;tag=f\r\n"
    b"To: <sip:alice@example.com>\r\nCall-ID: c\r\nCSeq: 7 INVITE\r\n\r\n"
)
ENDS = {EXIT: "exit", DROP: "drop", None: None}
TIMED_OUT = -408
LEVELS = (4, -1)
"""Up to where is logged at the first message, and at the second."""
MAX_RESUMES = 2
EXAMPLES = int(os.environ.get("SCRIPT_EXAMPLES", "100"))


class Tools(Module):
    """The functions that programs call."""

    name = "tools"

    def __init__(self, settings=None):
        super().__init__(settings)
        self.calls = []

    @function("say", Param("text", Kind.STRING))
    def say(self, c, text):
        self.calls.append(("say", text))
        return 1

    @function("give", Param("code", Kind.INTEGER))
    def give(self, c, code):
        self.calls.append(("give", code))
        return code

    @function(
        "note",
        Param("text", Kind.STRING),
        Param("number", Kind.INTEGER, optional=True),
        Param("value", Kind.VALUE, optional=True),
    )
    def note(self, c, text, number, value):
        self.calls.append(("note", text, number, value))
        return 1

    @function("write", Param("out", Kind.OUTPUT), Param("value", Kind.VALUE))
    def write(self, c, out, value):
        out.set(c, value)
        return 2

    @function("show", Param("avp", Kind.AVP))
    def show(self, c, avp):
        self.calls.append(("show", *avp.all(c)))
        return 1

    @asynchronous("later", Param("text", Kind.STRING), Param("number", Kind.INTEGER, optional=True))
    def later(self, c, text, number):
        return JobRequest("tools:later", text, repr((text, number)).encode(), 1.0, lambda context, outcome: 1)


@dataclass
class Process:
    """Notes what a script asks of the process that runs it."""

    level: int = 4
    logged: list = field(default_factory=list)
    asked: list = field(default_factory=list)

    def park(self, context, begin, resume_route, timeout_s, place):
        self.asked.append(("park", *begun(begin), resume_route, timeout_s))

    def launch(self, context, begin, report_route, param, place):
        self.asked.append(("launch", *begun(begin), report_route, param))
        return 1

    def log(self, level, text, context, place):
        self.logged.append((level, text if place is None else COMPLAINT))

    def log_level(self):
        return self.level


def begun(begin):
    return "later", ast.literal_eval(begin.payload.decode()) if isinstance(begin, JobRequest) else None


def compiled(text, process):
    """A script as it is loaded and compiled, and its module."""
    found = load(Path("f.cfg"), catalog={"tools": Tools}, read=lambda _: text.encode("latin-1"))
    assert isinstance(found, Checked), [str(problem) for problem in found]
    tools = Tools(found.settings.get("tools"))
    return compile_script(found, {"tools": tools}, process, WORLD), tools


def ended(route, context):
    """How a route's run ends."""
    try:
        return ENDS[route(context)]
    except ScriptError as error:
        if not isinstance(error.cause, AssertionFailed):
            raise
        return "stopped"


def in_the_compiler(program):
    """What two messages, one after the other, do to the compiled script."""
    process = Process()
    script, tools = compiled(printed(program), process)
    variables = {}
    for process.level in LEVELS:
        process.logged, process.asked, tools.calls = [], [], []
        context = Context(INVITE, ruri=INVITE.ruri, source=Address("192.0.2.1", 5060), variables=variables)
        ends = [ended(script.routes.request, context)]
        while resume := parked(process.asked, ends):
            context.rc, context.params = TIMED_OUT, ()
            ends.append(ended(script.routes.named[resume], context))
        yield seen(ends, context, tools.calls, process.asked, process.logged)


def in_the_interpreter(program):
    """The same in the interpreter."""
    machine = Machine(program, CONSTANTS)
    for level in LEVELS:
        machine.receive(level)
        ends = [machine.run()]
        while resume := parked(machine.asked, ends):
            machine.rc = TIMED_OUT
            ends.append(machine.run(resume))
        yield seen(ends, machine, machine.calls, machine.asked, machine.log)


def parked(asked, ends):
    """The route to resume in where the last run has parked, a few times at most."""
    waits = len(ends) <= MAX_RESUMES and ends[-1] == "exit" and asked and asked[-1][0] == "park"
    return asked[-1][3] if waits and len([one for one in asked if one[0] == "park"]) == len(ends) else None


def seen(ends, after, calls, asked, log):
    """Everything by which the two may differ. A variable that is NULL and one that never was are the same."""
    return {
        "ends": ends,
        "rc": after.rc,
        "returned": after.returned,
        "vars": {key: value for key, value in after.variables.items() if value is not None},
        "avps": {key: list(values) for key, values in after.avps.items() if values},
        "calls": calls,
        "asked": asked,
        "log": log,
    }


def tell(messages):
    """Labels of what a program reached."""
    for message in messages:
        for end in message["ends"]:
            event(f"a run ends: {end}")
        for name in ("calls", "asked", "log"):
            for what in {one[0] for one in message[name]}:
                event(f"{name}: {what}")
        event(f"values of one AVP: {min(3, max(map(len, message['avps'].values()), default=0))}")


@settings(max_examples=EXAMPLES, deadline=None)
@given(PROGRAMS)
def test_compiler_and_interpreter_agree(program):
    try:
        expected = list(in_the_interpreter(program))
    except TooLong:
        event("too long")
        reject()
    tell(expected)
    assert list(in_the_compiler(program)) == expected, printed(program)


# What the programs would notice. Each of these changes makes the interpreter a wrong one.

C_PRECEDENCE = [["or", "||"], ["and", "&&"], ["|"], ["^"], ["&"], ["<<", ">>"], ["+", "-"], ["*", "/", "%"]]
MISTAKES = {
    "C's precedence": lambda patch: [
        patch.setitem(values.PRECEDENCE, sign, level) for level, signs in enumerate(C_PRECEDENCE) for sign in signs
    ],
    "and binds tighter than or": lambda patch: [patch.setitem(values.PRECEDENCE, sign, 1.5) for sign in ("and", "&&")],
    "= overwrites an AVP": lambda patch: patch.setitem(avps.STORE, "=", avps.reset),
    ":= pushes": lambda patch: patch.setitem(avps.STORE, ":=", avps.push),
    "an index does not count": lambda patch: patch.setitem(
        avps.PUT, "in place", lambda found, index, value: avps.push(found, value)
    ),
    "for walks the oldest first": lambda patch: patch.setitem(avps.WALK, "for", list),
    "[*] begins with the oldest": lambda patch: patch.setitem(avps.WALK, "[*]", list),
    "integers have 32 bits": lambda patch: patch.setattr(values, "wrapped", lambda n: (n + 2**31) % 2**32 - 2**31),
    "division rounds down": lambda patch: patch.setitem(
        values.OF_INTEGERS, "/", lambda a, b: a // b if b else values.NOTHING
    ),
    "a remainder is never negative": lambda patch: patch.setitem(
        values.OF_INTEGERS, "%", lambda a, b: a % abs(b) if b else values.NOTHING
    ),
    "an integer joins text": lambda patch: patch.setattr(
        values, "joined", lambda left, right, _: f"{left or ''}{'' if right is None else right}"
    ),
    "letters compare by case": lambda patch: patch.setattr(values, "caseless", str),
    "text compares with a number": lambda patch: patch.setattr(
        running, "compared", lambda left, sign, right, _: values.compared(left, sign, right, True)
    ),
    "a negative result is true": lambda patch: patch.setattr(running, "true_result", bool),
    "NULL is an empty text": lambda patch: patch.setattr(
        state, "shown", lambda found: "" if found is None else str(found)
    ),
    "$var is the message's": lambda patch: patch.setattr(
        Machine, "receive", lambda machine, level, was=Machine.receive: (was(machine, level), machine.variables.clear())
    ),
    "substr counts from the start only": lambda patch: patch.setitem(
        transformations.TRANSFORMATIONS, "s.substr", lambda text, at, length: text[max(at, 0) :][: length or None]
    ),
    "select counts from the start only": lambda patch: patch.setitem(
        transformations.TRANSFORMATIONS, "s.select", lambda text, at, by: dict(enumerate(text.split(by))).get(at)
    ),
}


SAMPLE = 300


@pytest.fixture(scope="module")
def sample():
    """Programs with what they do."""
    found = []

    @seed(2)  # the same ones each time: whether they would notice is not left to chance
    @settings(max_examples=SAMPLE, deadline=None, phases=[Phase.generate], database=None)
    @given(PROGRAMS)
    def collect(program):
        with contextlib.suppress(TooLong):
            found.append((program, list(in_the_interpreter(program))))

    collect()
    assert not any(differs(program, outcome) for program, outcome in found), "a program does the same each time"
    return found


def differs(program, outcome):
    try:
        return list(in_the_interpreter(program)) != outcome
    except TooLong:
        return True


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_would_be_noticed(sample, monkeypatch, mistake):
    MISTAKES[mistake](monkeypatch)
    assert any(differs(program, outcome) for program, outcome in sample)
