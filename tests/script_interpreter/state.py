"""What a program works on: variables, AVPs, and the functions of the module `tools`, which note how they are called."""

from dataclasses import dataclass, field

from tests.script_interpreter import program as p
from tests.script_interpreter.avps import NOT_THERE, PUT, STORE, WALK
from tests.script_interpreter.avps import place as place_of
from tests.script_interpreter.transformations import transformed
from tests.script_interpreter.values import NOTHING, shown

COMPLAINT = "a complaint of the runtime's own"
"""Stands for the text of a log line that the script did not write."""

LEVELS = {"L_ALERT": -3, "L_CRIT": -2, "L_ERR": -1, "L_WARN": 1, "L_NOTICE": 2, "L_INFO": 3, "L_DBG": 4}
ERROR = -1

# The functions of the module `tools`, and what each takes.
FUNCTIONS = {
    "say": ["text"],
    "give": ["number"],
    "note": ["text", "number", "value"],
    "write": ["output", "value"],
    "show": ["avp"],
    "later": ["text", "number"],
}


class TooLong(Exception):
    """The program runs on and on, or its text grows: it shows nothing that a shorter one does not."""


class Left(Exception):
    """`break`."""


class Returned(Exception):
    """`return`."""

    def __init__(self, code):
        self.code = code


class Ended(Exception):
    """The whole script is over: by `exit`, by `drop`, or stopped by an `assert` that does not hold."""

    def __init__(self, how):
        self.how = how


class NotCalled(Exception):
    """An argument is not what the function takes."""


@dataclass
class State:
    """What a program works on, and what it has done so far. What an expression gives (`value`) the machine says.

    Args:
        program: what runs.
        constants: the values of variables of the message, by name.
        log_level: up to which level lines are logged.
        steps: how many statements and operands may be looked at.
    """

    program: p.Program
    constants: dict
    log_level: int = 4
    steps: int = 4000
    variables: dict = field(default_factory=dict)
    avps: dict = field(default_factory=dict)
    rc: int = 1
    returned: tuple = ()
    params: tuple = ()
    route: str = ""
    depth: int = 0
    log: list = field(default_factory=list)
    calls: list = field(default_factory=list)
    asked: list = field(default_factory=list)

    def receive(self, log_level):
        """Another message: `$var` is the process's, everything else begins anew."""
        self.log_level = log_level
        self.avps, self.rc, self.returned = {}, 1, ()
        self.log, self.calls, self.asked = [], [], []

    def step(self):
        self.steps -= 1
        if self.steps < 0:
            raise TooLong

    def complain(self, level=ERROR):
        """Notes that the runtime itself has something to say; gives what cannot be computed."""
        if level <= self.log_level:
            self.log.append((level, COMPLAINT))
        return NOTHING

    # Variables

    def variable(self, node):
        value = self.plain(node)
        for change in node.changes:
            value = transformed(value, change.name, [self.literal(argument) for argument in change.arguments])
        return value

    def plain(self, node):
        match node.name:
            case "var":
                return self.variables.get(self.key(node))
            case "avp":
                return self.avp(node)
            case "rc" | "retcode":
                return self.rc
            case "param":
                return self.numbered(self.params, int(self.key(node)) - 1)
            case "return":
                return self.numbered(self.returned, int(self.key(node)))
            case "route.name":
                return self.route or None
            case name:
                return self.constants[name]

    def numbered(self, values, at):
        return values[at] if 0 <= at < len(values) else None

    def avp(self, node):
        values = self.avps.get(self.key(node), [])
        if node.index == "*":
            return ", ".join(shown(value) for value in WALK["[*]"](values)) if values else None
        at = place_of(values, 0 if node.index is None else self.index(node))
        return None if at is None else values[at]

    def key(self, node):
        return shown(self.literal(node.key))

    def index(self, node):
        return self.literal(node.index)

    def literal(self, spelled):
        """A part of a variable that may be a variable itself."""
        return self.value(spelled) if isinstance(spelled, p.Variable) else spelled

    def text(self, template):
        return "".join(part if isinstance(part, str) else shown(self.value(part)) for part in template.parts)

    def store(self, target, sign, value):
        key = self.key(target)
        if target.name == "var":
            self.variables[key] = value
            return None
        values = self.avps.get(key, [])
        if sign == ":=" or target.index == "*":
            values = STORE[":="](values, value)
        elif target.index is None:
            values = STORE["="](values, value)
        else:
            values = PUT["in place"](values, self.index(target), value)
        if values is NOT_THERE:
            self.complain()
            return NOT_THERE
        self.avps[key] = values
        return None

    # Functions

    def do_say(self, text):
        self.calls.append(("say", text))
        return 1

    def do_give(self, number):
        self.calls.append(("give", number))
        return number

    def do_note(self, text, number, value):
        self.calls.append(("note", text, number, value))
        return 1

    def do_write(self, target, value):
        self.store(target, "=", value)
        return 2

    def do_show(self, avp):
        self.calls.append(("show", *self.avps.get(self.key(avp), [])))
        return 1
