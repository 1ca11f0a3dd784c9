"""From lark's parse tree to `tree`: one method a rule, no decision about meaning."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

from lark import Token, Transformer_NonRecursive
from lark.tree import Meta
from lark.visitors import v_args

from runtime.script import tree
from runtime.script.formats import NotAVariable, parse_variable
from runtime.script.problems import Place, ScriptProblem
from runtime.script.settings import REPLACED
from runtime.script.sources import Line

MAX_INTEGER: Final = 2**63 - 1
LOG_FUNCTIONS: Final = frozenset(("xlog", "log", "xdbg"))

# One octal digit is none: it is a back-reference, as in `"/^(.*)@x$/\1@y/"` (OpenSIPS's cfg.lex).
_ESCAPE = re.compile(r'\\(x[0-9a-fA-F]{1,2}|[0-7]{2,3}|[nrta\\"]|\r?\n)')
_ESCAPES: Final = {"n": "\n", "r": "\r", "t": "\t", "a": "\a", "\\": "\\", '"': '"', "\n": "", "\r\n": ""}
_DIGITS = re.compile(r"0[xX][0-9a-fA-F]+|[0-9]+")
_SCALED = re.compile(r"(\d+)\s+use_auto_scaling_profile\s+\w+", re.IGNORECASE)
_WORDS: Final = {"yes": 1, "true": 1, "on": 1, "enable": 1, "no": 0, "false": 0, "off": 0, "disable": 0}


@v_args(meta=True)
class Builder(Transformer_NonRecursive[Token, Any]):
    """Makes the items of one script.

    Args:
        file: the name that every place carries.
        lines: which line of which file each line of the text is, where it is not of one file.

    Attributes:
        problems: what has the right form and cannot be read all the same.
    """

    def __init__(self, file: str, lines: Sequence[Line] = ()) -> None:
        super().__init__()
        self.file = file
        self.lines = lines
        self.problems: list[ScriptProblem] = []

    def start(self, meta: Meta, items: list[tree.Item | None]) -> tuple[tree.Item, ...]:
        return tuple(item for item in items if item is not None)

    def nothing(self, meta: Meta, _: list[object]) -> None:
        # Not lark's Discard: the transformer that does not recurse counts a discarded child all the same.
        return None

    # Globals and modules

    def setting(self, meta: Meta, parts: list[Any]) -> tree.Setting:
        name, value = parts
        name = REPLACED.get(name, str(name))
        if isinstance(value, Token):
            return tree.Setting(name, _setting_value(value.rstrip()), self._place(meta))
        return tree.Setting(name, value.value, self._place(meta))

    def memory_group(self, meta: Meta, parts: list[Token]) -> tree.Setting:
        _, name, *modules = parts
        value = f"{_unquoted(name)}: {' '.join(map(_unquoted, modules))}"
        return tree.Setting("mem-group", value, self._place(meta))

    def scaling(self, meta: Meta, parts: list[Any]) -> tree.Setting:
        return tree.Setting("scale", str(parts[0]).rstrip(), self._place(meta))

    def load_module(self, meta: Meta, parts: list[tree.Text]) -> tree.LoadModule:
        return tree.LoadModule(parts[0].value, self._place(meta))

    def mod_param(self, meta: Meta, parts: list[Any]) -> tree.ModParam:
        module, name, value = parts
        return tree.ModParam(module.value, name.value, value.value, self._place(meta))

    # Routes

    def route(self, meta: Meta, parts: list[Any]) -> tree.Route:
        kind, name, parameter, body = parts
        if isinstance(parameter, Token):
            parameter = self._integer(parameter, meta) if parameter.type == "NUMBER" else str(parameter)
        quoted, text = (name[0], name[1].value) if name is not None else (False, "")
        return tree.Route(kind, text, quoted, parameter, body, self._place(meta))

    def route_kind(self, meta: Meta, parts: list[Token]) -> str:
        return str(parts[0])

    def route_name(self, meta: Meta, parts: list[Token]) -> tuple[bool, tree.Text]:
        token = parts[0]
        quoted = token.type == "STRING"
        return quoted, tree.Text(_unquoted(token) if quoted else str(token), self._place(meta))

    # Statements

    def block(self, meta: Meta, parts: list[Any]) -> tree.Body:
        return _flat(parts)

    def if_(self, meta: Meta, parts: list[Any]) -> tree.If:
        condition, then, otherwise = parts
        return tree.If(condition, _flat([then]), _flat([otherwise]), self._place(meta))

    def while_(self, meta: Meta, parts: list[Any]) -> tree.While:
        condition, *body = parts
        return tree.While(condition, _flat(body), self._place(meta))

    def for_(self, meta: Meta, parts: list[Any]) -> tree.ForEach:
        target, source, *body = parts
        return tree.ForEach(self._variable(target), self._variable(source), _flat(body), self._place(meta))

    def switch(self, meta: Meta, parts: list[Any]) -> tree.Switch:
        subject, *cases = parts
        return tree.Switch(self._variable(subject), tuple(cases), self._place(meta))

    def case(self, meta: Meta, parts: list[Any]) -> tree.Case:
        value, *body = parts
        return tree.Case(value, _flat(body), self._place(meta))

    def default(self, meta: Meta, parts: list[Any]) -> tree.Case:
        return tree.Case(None, _flat(parts), self._place(meta))

    def run(self, meta: Meta, parts: list[Any]) -> tree.Run | tree.Log:
        call = parts[0]
        if isinstance(call, tree.Call) and call.name in LOG_FUNCTIONS:
            return tree.Log(call.name, call.arguments, call.place)
        return tree.Run(call, self._place(meta))

    def break_(self, meta: Meta, _: list[Any]) -> tree.Break:
        return tree.Break(self._place(meta))

    def exit(self, meta: Meta, _: list[Any]) -> tree.Exit:
        return tree.Exit(self._place(meta))

    def drop(self, meta: Meta, _: list[Any]) -> tree.Drop:
        return tree.Drop(self._place(meta))

    def return_plain(self, meta: Meta, parts: list[Any]) -> tree.Return:
        return tree.Return(self._return_code(parts[0]), (), self._place(meta))

    def return_values(self, meta: Meta, parts: list[Any]) -> tree.Return:
        code, *values = parts
        return tree.Return(self._return_code(code), tuple(values), self._place(meta))

    def assert_(self, meta: Meta, parts: list[Any]) -> tree.Assert:
        return tree.Assert(parts[0], parts[1], self._place(meta))

    def assign(self, meta: Meta, parts: list[Any]) -> tree.Assign:
        target, operator, value = parts
        return tree.Assign(self._variable(target), operator, value, self._place(meta))

    # Calls

    def call(self, meta: Meta, parts: list[Any]) -> tree.Call:
        name, *arguments = parts
        if arguments == [None]:
            arguments = []
        return tree.Call(str(name), tuple(arguments), self._place(meta))

    def route_call(self, meta: Meta, parts: list[Any]) -> tree.RouteCall:
        target, *arguments = parts
        place = self._place(meta)
        if isinstance(target, tuple):
            target = target[1]
        return tree.RouteCall(target, tuple(arguments), place)

    def async_call(self, meta: Meta, parts: list[Any]) -> tree.Async:
        call, resume, seconds = parts
        place = self._place(meta)
        timeout_s = None if seconds is None else self._integer(seconds, meta)
        return tree.Async(call, resume[1], timeout_s, place)

    def launch_call(self, meta: Meta, parts: list[Any]) -> tree.Launch:
        call, report, parameter = parts
        place = self._place(meta)
        return tree.Launch(call, None if report is None else report[1], parameter, place)

    # Expressions

    def logic(self, meta: Meta, parts: list[Any]) -> tree.Logic:
        left, operator, right = parts
        return tree.Logic("and" if operator in ("and", "&&") else "or", left, right, self._place(meta))

    def binary(self, meta: Meta, parts: list[Any]) -> tree.Binary:
        left, operator, right = parts
        return tree.Binary(operator, left, right, self._place(meta))

    def compare(self, meta: Meta, parts: list[Any]) -> tree.Compare:
        left, operator, right = parts
        return tree.Compare(operator, left, right, self._place(meta))

    def not_(self, meta: Meta, parts: list[Any]) -> tree.Not:
        return tree.Not(parts[0], self._place(meta))

    def bit_not(self, meta: Meta, parts: list[Any]) -> tree.BitNot:
        return tree.BitNot(parts[0], self._place(meta))

    def network(self, meta: Meta, parts: list[Token]) -> tree.Network:
        return tree.Network(str(parts[0]), self._place(meta))

    def _operator(self, meta: Meta, parts: list[Token]) -> str:
        return str(parts[0])

    logic_op = bit_op = sum_op = compare_op = assign_op = _operator

    # Words

    def string(self, meta: Meta, parts: list[Token]) -> tree.Text:
        return tree.Text("".join(map(_unquoted, parts)), self._place(meta))

    def integer(self, meta: Meta, parts: list[Token]) -> tree.Number:
        return tree.Number(self._integer(parts[0], meta), self._place(meta))

    def boolean(self, meta: Meta, parts: list[Token]) -> tree.Number:
        return tree.Number(_WORDS[parts[0]], self._place(meta))

    def negative(self, meta: Meta, parts: list[Token]) -> tree.Number:
        return tree.Number(-self._integer(parts[0], meta), self._place(meta))

    def null(self, meta: Meta, _: list[Any]) -> tree.Null:
        return tree.Null(self._place(meta))

    def variable(self, meta: Meta, parts: list[Token]) -> tree.Variable:
        return self._variable(parts[0])

    # Helpers

    def place(self, line: int, column: int) -> Place:
        """Where a line and column of the text stand."""
        file, line = self.lines[line - 1] if line <= len(self.lines) else (self.file, line)
        return Place(file, line, column)

    def _place(self, meta: Meta) -> Place:
        return self.place(meta.line, meta.column)

    def _variable(self, token: Token) -> tree.Variable:
        place = self.place(token.line or 1, token.column or 1)
        try:
            return parse_variable(str(token), place)
        except NotAVariable as problem:
            self.problems.append(ScriptProblem(place, str(problem)))
            return tree.Variable("var", tree.Format(("unreadable",), place), None, (), str(token), place)

    def _return_code(self, code: Any) -> tree.Number | tree.Variable | None:
        return self._variable(code) if isinstance(code, Token) else code

    def _integer(self, token: Token, meta: Meta) -> int:
        value = _number(str(token))
        if value is None:
            self.problems.append(ScriptProblem(self._place(meta), f"the number {token[:24]} is too large"))
            return 0
        return value


def _flat(parts: list[Any]) -> tree.Body:
    """Statements, of which some are blocks and some are missing, as one body."""
    body: list[tree.Statement] = []
    for part in parts:
        if isinstance(part, tuple):
            body.extend(part)
        elif part is not None:
            body.append(part)
    return tuple(body)


def _number(text: str) -> int | None:
    """A number as C reads it: hexadecimal after 0x, octal after 0; None when it needs more than 63 bits."""
    if len(text) > 30:
        return None
    if text[:2] in ("0x", "0X"):
        value = int(text, 16)
    elif text[0] == "0" and text.strip("01234567") == "":
        value = int(text, 8)
    else:
        value = int(text)
    return value if value <= MAX_INTEGER else None


def _setting_value(text: str) -> int | str:
    sign, digits = (-1, text[1:]) if text[:1] == "-" else (1, text)
    if _DIGITS.fullmatch(digits) and (value := _number(digits)) is not None:
        return sign * value
    if scaled := _SCALED.fullmatch(text):
        return int(scaled[1])
    return _WORDS.get(text.lower(), text)


def _unquoted(token: Token) -> str:
    body = token[1:-1]
    # Single quotes keep everything as it is. In double quotes an unknown escape keeps its backslash, so that
    # patterns such as "^\d+$" need no doubling.
    return _ESCAPE.sub(_escaped, body) if token[0] == '"' else str(body)


def _escaped(found: re.Match[str]) -> str:
    code = found[1]
    if code in _ESCAPES:
        return _ESCAPES[code]
    return chr((int(code[1:], 16) if code[0] == "x" else int(code, 8)) & 0xFF)
