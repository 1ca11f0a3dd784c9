"""Modules with functions, variables, parameters and commands of every kind, for scripts that are only checked."""

from __future__ import annotations

from mi_script.commands import command
from runtime.script.declare import Kind, Module, Param, Parameter, Refused, asynchronous, function, ignored, variable


class Tools(Module):
    """Functions with every kind of parameter, and parameters of every kind."""

    name = "tools"
    parameters = (
        Parameter("level", int, 3),
        Parameter("label", str, "none"),
        Parameter("line", str, repeats=True),
        ignored("old", int, 1, "it is old."),
    )

    @function("say", Param("text", Kind.STRING))
    def say(self, c, text):
        return 1

    @function("give", Param("code", Kind.INTEGER))
    def give(self, c, code):
        return 1

    @function("alone")
    def alone(self, c):
        return 1

    @function("two", Param("first", Kind.STRING), Param("second", Kind.STRING))
    def two(self, c, first, second):
        return 1

    @function(
        "every",
        Param("text", Kind.STRING),
        Param("number", Kind.INTEGER, optional=True),
        Param("value", Kind.VALUE, optional=True),
        Param("output", Kind.OUTPUT, optional=True),
        Param("list", Kind.AVP, optional=True),
        Param("route", Kind.ROUTE, optional=True),
        Param("pattern", Kind.REGEX, optional=True),
        Param("change", Kind.SUBSTITUTION, optional=True),
    )
    def every(self, c, *arguments):
        return 1

    @function("bot", Param("text", Kind.STRING))
    def bot(self, c, text):
        """Has no asynchronous form, and a name very like one that has."""
        return 1

    @function("both", Param("text", Kind.STRING))
    def both(self, c, text):
        return 1

    @asynchronous("both", Param("text", Kind.STRING))
    def both_later(self, c, text):
        raise AssertionError("nothing runs here")

    @asynchronous("later", Param("text", Kind.STRING))
    def later(self, c, text):
        raise AssertionError("nothing runs here")

    @function("t_on_failure", Param("route", Kind.STRING))
    def t_on_failure(self, c, route):
        return 1

    @function("t_on_reply", Param("route", Kind.STRING))
    def t_on_reply(self, c, route):
        return 1

    @function("t_on_branch", Param("route", Kind.STRING))
    def t_on_branch(self, c, route):
        return 1

    @variable("box", setter="set_box")
    def box(self, c, inner):
        return None

    def set_box(self, c, inner, value):
        pass


class Spare(Module):
    """Is never loaded."""

    name = "spare"

    @function("spare_function")
    def spare_function(self, c):
        return 1

    @variable("spare_variable")
    def spare_variable(self, c, inner):
        return None


class Management(Module):
    """What the real module of this name takes."""

    name = "mi_script"
    parameters = (
        Parameter("allow", str, repeats=True, commands=True),
        Parameter("deny", str, repeats=True, commands=True),
        Parameter("compat", str, ""),
    )

    @function(
        "mi",
        Param("command", Kind.STRING),
        Param("result", Kind.OUTPUT, optional=True),
        Param("names", Kind.AVP, optional=True),
        Param("values", Kind.AVP, optional=True),
    )
    def mi(self, c, *arguments):
        return 1

    @asynchronous(
        "mi",
        Param("command", Kind.STRING),
        Param("result", Kind.OUTPUT, optional=True),
        Param("names", Kind.AVP, optional=True),
        Param("values", Kind.AVP, optional=True),
    )
    def mi_later(self, c, *arguments):
        return Refused(lambda context: 1)

    @command("quick_one", (), ("a",), ("a", "b"))
    def quick_one(self, params):
        return None

    @command("slow_one", cost="slow")
    def slow_one(self, params):
        return None

    @command("denied_one")
    def denied_one(self, params):
        return None


class Base(Module):
    """What every server has, where there is such a thing."""

    name = "base"

    @function("of_base")
    def of_base(self, c):
        return 1

    @command("base_one")
    def base_one(self, params):
        return None


CATALOG = {"tools": Tools, "spare": Spare, "mi_script": Management}
ALWAYS = {"base": Base}

HEAD = 'loadmodule "tools.so"\nloadmodule "mi_script.so"\n'
TARGETS = """\
failure_route[armed] {}
onreply_route[replied] {}
branch_route[branched] {}
route[there] { $var(a) = 1; }
route[ends] { exit; }
"""
"""What right statements may name."""
