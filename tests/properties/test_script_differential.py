"""The compiler against an interpreter that knows nothing of it: every program does the same in both."""

from dataclasses import dataclass, field
from pathlib import Path

from hypothesis import assume, event, given, settings

from runtime.context import Address, Context
from runtime.script.check import Checked
from runtime.script.compile import compile_script
from runtime.script.declare import JobRequest, Kind, Module, Param, asynchronous, function
from runtime.script.functions import World
from runtime.script.load import load
from runtime.script.problems import AssertionFailed, ScriptError
from runtime.script.script import DROP, EXIT
from runtime.sip.message import parse
from tests.script_interpreter.generating import CONSTANTS, PROGRAMS
from tests.script_interpreter.printing import printed
from tests.script_interpreter.running import COMPLAINT, Machine, TooLong

WORLD = World(wall_clock=lambda: 0.0, random=lambda: 0.0, process_id=lambda: 1)
INVITE = parse(
    b"INVITE sip:alice@example.com SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKa\r\nFrom: <sip:b@h>;tag=f\r\n"
    b"To: <sip:alice@example.com>\r\nCall-ID: c\r\nCSeq: 7 INVITE\r\n\r\n"
)
ENDS = {EXIT: "exit", DROP: "drop", None: None}


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
    return "later", eval(begin.payload) if isinstance(begin, JobRequest) else None


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


def seen_compiled(program):
    process = Process()
    script, tools = compiled(printed(program), process)
    context = Context(INVITE, ruri=INVITE.ruri, source=Address("192.0.2.1", 5060))
    return {
        "end": ended(script.routes.request, context),
        "rc": context.rc,
        "returned": context.returned,
        "vars": {key: value for key, value in context.variables.items() if value is not None},
        "avps": {key: values for key, values in context.avps.items() if values},
        "calls": tools.calls,
        "asked": process.asked,
        "log": process.logged,
    }


def seen_interpreted(program):
    machine = Machine(program, CONSTANTS)
    ended = machine.run()
    return {
        "end": ended,
        "rc": machine.rc,
        "returned": machine.returned,
        "vars": {key: value for key, value in machine.variables.items() if value is not None},
        "avps": {key: values for key, values in machine.avps.items() if values},
        "calls": machine.calls,
        "asked": machine.asked,
        "log": machine.log,
    }


@settings(max_examples=300, deadline=None)
@given(PROGRAMS)
def test_compiler_and_interpreter_agree(program):
    try:
        expected = seen_interpreted(program)
    except TooLong:
        event("too long")
        assume(False)
    assert seen_compiled(program) == expected
