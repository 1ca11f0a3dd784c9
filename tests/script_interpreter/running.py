"""Walks a program, statement by statement, in the order in which a person would read it.

A call has a value, which is `$rc` from then on; an assignment that failed makes it -1. A route's own value is what its
`return` says; without one it is that of the call that it ends with, and 1 where it ends with anything else.
`break`, `return` and the end of the script are exceptions.
"""

import re

from tests.script_interpreter import program as p
from tests.script_interpreter.avps import NOT_THERE, WALK
from tests.script_interpreter.state import ERROR, FUNCTIONS, LEVELS, Ended, Left, NotCalled, Returned, State, TooLong
from tests.script_interpreter.values import NOTHING, PRECEDENCE, compared, computed, shown, true, true_result, wrapped

MAX_DEPTH = 15
MAX_TEXT = 1000


class Machine(State):
    """Runs a program on its state."""

    def run(self, route=None):
        """Run the request route, or a named one, on its own; tells how it ended: exit, drop, stopped or None."""
        self.params, self.route, self.depth = (), route or "", 0
        body = self.program.main if route is None else self.program.routes[route]
        try:
            self.rc = self.body_of_route(body)
        except Ended as ended:
            return ended.how
        return None

    def body_of_route(self, body):
        try:
            return self.statements(body)
        except Returned as returned:
            return returned.code

    # Statements

    def statements(self, body):
        """Runs them; gives the value of a call that comes last, perhaps within an `if` that comes last, or else 1."""
        value = 1
        for statement in body:
            value = self.statement(statement)
        return value

    def statement(self, statement):
        self.step()
        match statement:
            case p.Do(call):
                return self.value(call)
            case p.If(condition, then, otherwise):
                return self.statements(then if self.holds(condition) else otherwise or ())
            case _:
                self.other_statement(statement)
                return 1

    def other_statement(self, statement):
        match statement:
            case p.Assign():
                self.assign(statement)
            case p.Log(text, level):
                self.write_log(LEVELS[level] if level else ERROR, text)
            case p.PlainLog(level, text):
                self.write_log(level, p.Template((text,)))
            case p.While():
                self.loop(statement)
            case p.For(target, source, body):
                self.walk(target, source, body)
            case p.Switch(subject, cases):
                self.switch(self.value(subject), cases)
            case p.Break():
                raise Left
            case p.Exit():
                raise Ended("exit")
            case p.Drop():
                raise Ended("drop")
            case p.Return(code, values):
                self.leave(code, values)
            case p.Assert(condition):
                self.claim(condition)

    def write_log(self, level, text):
        if level <= self.log_level:
            self.log.append((level, self.text(text)))

    def loop(self, statement):
        try:
            for _ in range(self.program.max_while_loops):
                if not self.holds(statement.condition):
                    return
                self.statements(statement.body)
        except Left:
            return
        self.complain()

    def walk(self, target, source, body):
        try:
            for one in WALK["for"](self.avps.get(self.key(source), [])):
                self.store(target, "=", one)
                self.statements(body)
        except Left:
            return

    def switch(self, subject, cases):
        """Runs on from the first case that fits, or else from the default."""
        fits = [at for at, (value, _) in enumerate(cases) if value is not None and self.fits(subject, value)]
        fits = fits or [at for at, (value, _) in enumerate(cases) if value is None]
        try:
            for _, body in cases[fits[0] :] if fits else ():
                self.statements(body)
        except Left:
            return

    def fits(self, subject, value):
        """A number fits a number; text fits text, or a number's text."""
        if isinstance(value, int):
            return isinstance(subject, int) and subject == value
        return subject is not None and compared(subject, "==", value, True)

    def leave(self, code, values):
        self.returned = tuple(self.argument(value) for value in values)
        code = 1 if code is None else self.value(code)
        self.rc = code if isinstance(code, int) else -1 if code is None else 1
        if self.rc == 0:
            raise Ended("exit")
        raise Returned(self.rc)

    def claim(self, condition):
        if not self.holds(condition):
            raise Ended("stopped")

    # Assignments

    def assign(self, statement):
        """The right side comes first, then what a compound assignment changes. What fails is assigned to nothing."""
        target, sign = statement.target, statement.sign
        value = self.value(statement.value)
        if sign not in ("=", ":="):
            value = self.compound(self.value(target), sign[0], value)
            sign = "="
        if value is NOTHING or self.store(target, sign, value) is NOT_THERE:
            self.rc = -1

    def compound(self, old, sign, value):
        """`+=` and its like: two integers, or two texts that are joined."""
        if value is NOTHING:
            return NOTHING
        if isinstance(old, int) and isinstance(value, int):
            return self.computed(old, sign, value, False)
        if sign == "+" and isinstance(old, str) and isinstance(value, str):
            return old + value
        return self.complain()

    # Expressions

    def holds(self, node):
        """An expression as a condition."""
        value = self.value(node)
        return true_result(value) if self.is_call(node) else true(value)

    def is_call(self, node):
        match node:
            case p.Call() | p.RouteCall() | p.Async() | p.Launch():
                return True
            case p.Brackets(inner) | p.Formula(inner, ()):
                return self.is_call(inner)
        return False

    def is_variable(self, node):
        match node:
            case p.Variable():
                return True
            case p.Brackets(inner) | p.Formula(inner, ()):
                return self.is_variable(inner)
        return False

    def value(self, node):
        """A value, of any expression. What a call gives is an integer."""
        self.step()
        value = self.evaluated(node)
        if isinstance(value, str) and len(value) > MAX_TEXT:
            raise TooLong
        return value

    def evaluated(self, node):
        match node:
            case p.Number(value):
                return wrapped(value)
            case p.Text(value):
                return value
            case p.Null():
                return None
            case p.Variable():
                return self.variable(node)
            case p.Brackets(inner):
                return self.value(inner)
            case p.Not(operand):
                return int(not self.holds(operand))
            case p.BitNot(operand):
                return self.inverted(self.value(operand))
            case p.Comparison(left, sign, right):
                return int(self.compared(self.value(left), sign, self.value(right), self.is_variable(right)))
            case p.Formula(first, rest):
                return self.value(first) if not rest else self.formula(node)
            case p.Call():
                return self.call(node)
            case p.RouteCall():
                return self.call_route(node)
            case p.Async(call, resume, timeout_s):
                self.asked.append(("park", *self.begun(call), resume, timeout_s))
                raise Ended("exit")
            case p.Launch():
                return self.launch(node)
            case p.Template():
                return self.text(node)

    def formula(self, node):
        """The operator that binds least, of those the last, is done last: what stands on its sides comes first."""
        signs = [sign for sign, _ in node.rest]
        least = min(PRECEDENCE[sign] for sign in signs)
        at = max(at for at, sign in enumerate(signs) if PRECEDENCE[sign] == least)
        left = p.Formula(node.first, node.rest[:at])
        sign, right = node.rest[at]
        right = p.Formula(right, node.rest[at + 1 :])
        if sign in ("and", "&&"):
            return int(self.holds(left) and self.holds(right))
        if sign in ("or", "||"):
            return int(self.holds(left) or self.holds(right))
        return self.computed(self.value(left), sign, self.value(right), self.is_variable(right))

    def computed(self, left, sign, right, from_variable):
        """Whoever cannot be computed is complained of once, not again by what it is put into."""
        result = computed(left, sign, right, from_variable)
        return self.complain() if result is NOTHING and NOTHING not in (left, right) else result

    def inverted(self, value):
        if isinstance(value, int):
            return ~value
        return NOTHING if value is NOTHING else self.complain()

    def compared(self, left, sign, right, from_variable):
        if isinstance(left, str) and isinstance(right, int) and not from_variable and sign != "==":
            self.complain(LEVELS["L_WARN"])
        try:
            return compared(left, sign, right, from_variable)
        except re.error:
            self.complain(LEVELS["L_WARN"])
            return False

    # Calls

    def call(self, node):
        try:
            arguments = self.arguments(node)
        except NotCalled:
            self.complain()
            self.rc = -1
            return -1
        self.rc = getattr(self, f"do_{node.name}")(*arguments)
        if self.rc == 0:
            raise Ended("exit")
        return self.rc

    def arguments(self, node):
        kinds = FUNCTIONS[node.name]
        given = [*node.arguments, *[None] * (len(kinds) - len(node.arguments))]
        return [self.given(kind, argument) for kind, argument in zip(kinds, given, strict=True)]

    def given(self, kind, argument):
        """An argument as its function takes it."""
        if argument is None or kind in ("output", "avp"):
            return argument
        value = self.argument(argument)
        if kind == "text":
            return shown(value)
        if kind == "value" or isinstance(value, int):
            return value
        if value is None or not re.fullmatch(r"\s*[+-]?\d+\s*", value):
            raise NotCalled
        if wrapped(int(value)) != int(value):
            raise NotCalled
        return int(value)

    def argument(self, node):
        return None if node is None else self.value(node)

    def call_route(self, node):
        name = node.target if isinstance(node.target, str) else str(self.value(node.target))
        params = tuple(self.argument(argument) for argument in node.arguments)
        if self.depth >= MAX_DEPTH:
            raise TooLong
        if name not in self.program.routes:
            self.complain()
            self.rc = -1
            return -1
        outside = self.params, self.route
        self.params, self.route, self.depth = params, name, self.depth + 1
        self.rc = self.body_of_route(self.program.routes[name])
        (self.params, self.route), self.depth = outside, self.depth - 1
        return self.rc

    def begun(self, call):
        """What is asked for asynchronously: its arguments, or None where they are not what it takes."""
        try:
            return call.name, tuple(self.arguments(call))
        except NotCalled:
            return call.name, None

    def launch(self, node):
        begun = self.begun(node.call)
        parameter = None if node.parameter is None else self.text(node.parameter)
        self.asked.append(("launch", *begun, node.report, parameter))
        self.rc = 1
        return 1
