"""Runs script text: load, check, compile, and a process that notes what the script asks of it."""

import textwrap
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from runtime.context import Address, Context, RouteType
from runtime.script.check import Checked
from runtime.script.compile import compile_script
from runtime.script.declare import JobRequest, Kind, Module, Param, Parameter, asynchronous, function, ignored, variable
from runtime.script.functions import World
from runtime.script.load import load
from runtime.sip.message import parse

INVITE = (
    b"INVITE sip:alice@example.com:5070;transport=udp SIP/2.0\r\n"
    b"Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKone\r\n"
    b"Via: SIP/2.0/UDP 192.0.2.2;branch=z9hG4bKtwo\r\n"
    b'From: "Bob" <sip:bob@biloxi.org>;tag=ft\r\n'
    b"To: <sip:alice@example.com>\r\n"
    b"Call-ID: call-1\r\n"
    b"CSeq: 7 INVITE\r\n"
    b"User-Agent: Phone/1.0\r\n"
    b"Contact: <sip:bob@192.0.2.1:5060>\r\n"
    b"Content-Length: 4\r\n\r\nbody"
)
RINGING = INVITE.replace(b"INVITE sip:alice@example.com:5070;transport=udp SIP/2.0", b"SIP/2.0 180 Ringing", 1)


class Tools(Module):
    """A module with a parameter of every kind."""

    name = "tools"
    parameters = (
        Parameter("level", int, 3),
        Parameter("label", str, "none"),
        Parameter("line", str, repeats=True),
        ignored("old", int, 1, "it is old."),
    )

    def __init__(self, settings=None):
        super().__init__(settings)
        self.calls = []

    @function("say", Param("text", Kind.STRING))
    def say(self, c, text):
        self.calls.append(text)
        return 1

    @function("give", Param("code", Kind.INTEGER))
    def give(self, c, code):
        self.calls.append(code)
        return code

    @function(
        "every",
        Param("text", Kind.STRING),
        Param("number", Kind.INTEGER, optional=True),
        Param("value", Kind.VALUE, optional=True),
        Param("output", Kind.OUTPUT, optional=True),
        Param("list", Kind.AVP, optional=True),
        Param("route", Kind.ROUTE, optional=True),
        Param("pattern", Kind.REGEX, optional=True),
    )
    def every(self, c, text, number, value, output, avp, route, pattern):
        self.calls.append((text, number, value, output, avp, route, pattern))
        return 1

    @function("only_requests", routes=RouteType.REQUEST)
    def only_requests(self, c):
        return 1

    @function("burst")
    def burst(self, c):
        raise ZeroDivisionError("by intent")

    @asynchronous("later", Param("text", Kind.STRING), Param("number", Kind.INTEGER, optional=True))
    def later(self, c, text, number):
        return JobRequest("tools:later", text, text.encode(), 1.0, lambda context, outcome: 1)

    @function("both", Param("text", Kind.STRING))
    def both(self, c, text):
        return 1

    @asynchronous("both", Param("text", Kind.STRING))
    def both_later(self, c, text):
        return JobRequest("tools:both", text, text.encode(), 1.0, lambda context, outcome: 1)

    @variable("box", setter="set_box")
    def box(self, c, inner):
        return c.story.get(f"box {inner}")

    def set_box(self, c, inner, value):
        if value == "forbidden":
            raise ValueError("the box refuses this")
        c.story[f"box {inner}"] = value


@dataclass
class Process:
    """What a script asked for, in order."""

    level: int = 4
    own_level: int = 3
    levels_set: list = field(default_factory=list)
    logged: list = field(default_factory=list)
    parked: list = field(default_factory=list)
    launched: list = field(default_factory=list)

    def park(self, context, begin, resume_route, timeout_s, place):
        self.parked.append((begin, resume_route, timeout_s, place.line))

    def launch(self, context, begin, report_route, param, place):
        self.launched.append((begin, report_route, param, place.line))
        return 1

    def log(self, level, text, context, place):
        self.logged.append((level, text))

    def log_level(self):
        return self.level

    def own_log_level(self):
        return self.own_level

    def set_log_level(self, which, level):
        self.levels_set.append((which, level))


@dataclass
class Bench:
    """A loaded script and the context that its routes run on."""

    script: object
    process: Process
    tools: Tools
    context: Context

    def run(self, route="request"):
        code = getattr(self.script.routes, route)
        return code(self.context)

    def var(self, name):
        return self.context.variables.get(name)

    @property
    def texts(self):
        return [text for _, text in self.process.logged]


def check_text(text, *, catalog=None, always=None, files=None):
    """Load script text; further files by name."""
    sources = {"opensips.cfg": text, **(files or {})}

    def read(path):
        if str(path) not in sources:
            raise FileNotFoundError(2, "No such file or directory", str(path))
        return textwrap.dedent(sources[str(path)]).encode("latin-1")

    catalog = {"tools": Tools} if catalog is None else catalog
    return load(Path("opensips.cfg"), catalog=catalog, always=always, read=read)


def make_context(raw=INVITE):
    message = parse(raw)
    return Context(message, ruri=getattr(message, "ruri", ""), source=Address("192.0.2.1", 5060))


@pytest.fixture
def ringing():
    """A reply as bytes."""
    return RINGING


@pytest.fixture
def checked():
    """Load and check; the result whatever it is."""
    return check_text


@pytest.fixture
def problems():
    """The problems of a script that does not load, or its warnings, as text."""

    def find(text, **options):
        found = check_text(text, **options)
        return [str(problem) for problem in (found.warnings if isinstance(found, Checked) else found)]

    return find


@pytest.fixture
def bench():
    """Load, compile, and make a context."""

    def build(text, *, raw=INVITE, catalog=None, modules=None, level=4, files=None):
        found = check_text(text, catalog=catalog, files=files)
        assert isinstance(found, Checked), [str(problem) for problem in found]
        process = Process(level)
        world = World(wall_clock=lambda: 1_790_000_000.25, random=lambda: 0.5, process_id=lambda: 42, started_at=7.0)
        tools = Tools(found.settings.get("tools"))
        script = compile_script(found, {"tools": tools} if modules is None else modules, process, world)
        return Bench(script, process, tools, make_context(raw))

    return build


@pytest.fixture
def run(bench):
    """Run statements in the request route, with the module tools loaded."""

    def go(statements, **options):
        made = bench('loadmodule "tools.so"\nroute {\n' + textwrap.dedent(statements) + "\n}\n", **options)
        made.ended = made.run()
        return made

    return go
