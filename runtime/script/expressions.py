"""From a script's operators to Python's syntax tree."""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import Final, TypeAlias, assert_never

from runtime.script import tree
from runtime.script.networks import InNetwork, network_of
from runtime.script.patterns import MAX_TEXT_CHARS, compile_pattern
from runtime.script.problems import Place
from runtime.script.pyast import attr, call, const, is_none, name, named, not_, store
from runtime.script.reading import Chain, Code, Missing, Reading, constant, formatted, piece
from runtime.script.values import ARITHMETIC, lowered, matcher, unmatcher, wrapped
from runtime.script.variables import Gives

_PYTHON_COMPARE: Final[dict[str, type[ast.cmpop]]] = {
    "==": ast.Eq,
    "!=": ast.NotEq,
    "<": ast.Lt,
    ">": ast.Gt,
    "<=": ast.LtE,
    ">=": ast.GtE,
}
_FOLDED: Final = frozenset("+-*&|^")
_STEPS: Final[dict[str, type[ast.operator]]] = {"+": ast.Add, "-": ast.Sub}
_SMALL: Final = 2**62
_Operation: TypeAlias = Callable[[ast.expr, str, Code, Place], ast.expr]


class Expressions(Reading):
    """Compiles what has a value. Statements that an expression needs before it go to the block."""

    # Entry points

    def value(self, node: tree.Expression) -> Code:
        """Compile to a script value."""
        match node:
            case tree.Number() | tree.Text():
                return constant(node.value)
            case tree.Null():
                return constant(None)
            case tree.Variable():
                return self.variable(node)
            case tree.Call() | tree.RouteCall() | tree.Async() | tree.Launch():
                return self.call(node)
            case tree.Binary():
                return self._binary(node)
            case tree.BitNot():
                return self._bit_not(node)
            case tree.Compare() | tree.Logic() | tree.Not():
                truth = self.truth(node)
                return Code(ast.IfExp(truth, const(1), const(0)), Gives.INTEGER)
            case tree.Network():
                return constant(node.text)
            case _:
                assert_never(node)

    def truth(self, node: tree.Expression) -> ast.expr:
        """Compile to something that Python finds true or false as the script does."""
        match node:
            case tree.Compare():
                found = self._compare(node)
            case tree.Logic():
                found = self._logic(node)
            case tree.Not():
                found = not_(self.truth(node.operand))
            case tree.Call() | tree.RouteCall() | tree.Async() | tree.Launch():
                found = ast.Compare(self.call(node).node, [ast.Gt()], [const(0)])
            case _:
                found = self.value(node).node
        self.namespace.stamp(found, node.place)
        return found

    def call(self, node: tree.Call | tree.RouteCall | tree.Async | tree.Launch) -> Code:
        """Compile a call whose value is used: `Calls` does."""
        raise NotImplementedError

    # Operators

    def _binary(self, node: tree.Binary) -> Code:
        left, right = self._pair(node.left, node.right)
        sign = node.operator
        if isinstance(left.constant, int) and isinstance(right.constant, int) and sign in _FOLDED:
            return constant(wrapped(ARITHMETIC[sign](left.constant, right.constant)))
        if sign == "+" and (joined := self._joined(left, right, node.place)):
            self.namespace.stamp(joined.node, node.place)
            return joined
        stepped = self._stepped(left.node, sign, right, node.place, self._operation)
        found = stepped or self._operation(left.node, sign, right, node.place)
        self.namespace.stamp(found, node.place)
        return Code(found, fails=True)

    def _operation(self, left: ast.expr, sign: str, right: Code, place: Place) -> ast.expr:
        where = self.namespace.place(place)
        if sign == "+":
            return call("add", name("c"), where, left, right.node, const(right.direct))
        return call(attr(name("ops"), "compute"), name("c"), where, const(sign), left, right.node)

    def compound(self, left: ast.expr, sign: str, right: Code, place: Place) -> Code:
        """Compile `+=` and its like to the value that is assigned."""
        found = self._stepped(left, sign, right, place, self._compound)
        return Code(found or self._compound(left, sign, right, place), fails=True)

    def _compound(self, left: ast.expr, sign: str, right: Code, place: Place) -> ast.expr:
        operation = attr(name("ops"), "compound")
        return call(operation, name("c"), self.namespace.place(place), const(sign), left, right.node)

    def _stepped(self, left: ast.expr, sign: str, right: Code, place: Place, otherwise: _Operation) -> ast.expr | None:
        """Adding a small constant, as counters do: in place when the left side is a small integer."""
        if sign not in _STEPS or not isinstance(right.constant, int) or abs(right.constant) >= _SMALL:
            return None
        local = self.block.local()
        is_int = ast.Compare(attr(named(local, left), "__class__"), [ast.Is()], [name("int")])
        is_small = ast.Compare(const(-_SMALL), [ast.Lt(), ast.Lt()], [name(local), const(_SMALL)])
        step = ast.BinOp(name(local), _STEPS[sign](), const(right.constant))
        return ast.IfExp(ast.BoolOp(ast.And(), [is_int, is_small]), step, otherwise(name(local), sign, right, place))

    def _joined(self, left: Code, right: Code, place: Place) -> Code | None:
        """Text, as is known or likely, and something that can always be joined to text."""
        if not (right.direct or right.gives == Gives.STRING) or right.fails:
            return None
        if isinstance(left.constant, str) and isinstance(right.constant, str):
            return constant(left.constant + right.constant)
        chain = left.chain or self._chain(left, right, place)
        if chain is None:
            return None
        last = const(right.constant) if isinstance(right.constant, str) else formatted(self.shown(right, ""))
        parts, otherwise = (*chain.parts, last), chain.otherwise
        text = self.block.local()
        size = call("len", named(text, ast.JoinedStr(list(parts))))
        test: ast.expr = ast.Compare(size, [ast.LtE()], [const(MAX_TEXT_CHARS)])
        if chain.is_text is not None:
            test = ast.BoolOp(ast.And(), [chain.is_text, test])
            otherwise = self._operation(otherwise, "+", right, place)
        found = ast.IfExp(test, name(text), otherwise)
        return Code(found, fails=True, chain=Chain(parts, chain.is_text, otherwise))

    def _chain(self, left: Code, right: Code, place: Place) -> Chain | None:
        """The start of a chain; None where the left side is as likely a number."""
        if left.gives == Gives.STRING and not left.fails:
            too_long = call(attr(name("ops"), "too_long"), name("c"), self.namespace.place(place))
            return Chain((piece(left.node),), None, too_long)
        if right.gives != Gives.STRING:
            return None
        local = self.block.local()
        is_text = ast.Compare(attr(named(local, left.node), "__class__"), [ast.Is()], [name("str")])
        return Chain((formatted(name(local)),), is_text, name(local))

    def _pair(self, left: tree.Expression, right: tree.Expression) -> tuple[Code, Code]:
        """Both operands, left first, also where the right one needs statements before it."""
        first = self.value(left)
        with self.block.aside() as statements:
            second = self.value(right)
        if statements and isinstance(first.constant, Missing):
            local = self.block.local()
            self.block.emit(store(local, first.node), left.place)
            first = Code(name(local), first.gives, first.fails, direct=first.direct)
        self.block.statements.extend(statements)
        return first, second

    def _bit_not(self, node: tree.BitNot) -> Code:
        code = self.value(node.operand)
        if isinstance(code.constant, int):
            return constant(~code.constant)
        found = call(attr(name("ops"), "invert"), name("c"), self.namespace.place(node.place), code.node)
        self.namespace.stamp(found, node.place)
        return Code(found, fails=True)

    def _logic(self, node: tree.Logic) -> ast.expr:
        left = self.truth(node.left)
        with self.block.aside() as statements:
            right = self.truth(node.right)
        both = node.operator == "and"
        if not statements:
            return ast.BoolOp(ast.And() if both else ast.Or(), [left, right])
        # The right side needs statements, which may only run when the left side leaves it open.
        local = self.block.local()
        self.block.emit(store(local, left), node.left.place)
        last = store(local, right)
        self.namespace.stamp(last, node.right.place)
        test = name(local) if both else not_(name(local))
        self.block.emit(ast.If(test, [*statements, last], []), node.place)
        return name(local)

    # Comparisons

    def _compare(self, node: tree.Compare) -> ast.expr:
        left, right = self._pair(node.left, node.right)
        sign = node.operator
        match node.right:
            case tree.Null():
                return is_none(left.node) if sign == "==" else not_(is_none(left.node))
            case tree.Network():
                network = network_of(node.right.text)
                assert network is not None, "the checker lets no other text pass as a network"
                inside = call(self.namespace.bind("network", InNetwork(network)), left.node)
                return inside if sign == "==" else not_(inside)
            case tree.Number():
                return self._compare_number(left, sign, node.right.value, node.place)
            case tree.Text():
                return self._compare_text(left, sign, node.right.value)
        if sign in ("=~", "!~"):
            operation = "matches" if sign == "=~" else "differs_from_pattern"
            place = self.namespace.place(node.place)
            return call(attr(name("ops"), operation), name("c"), place, left.node, right.node)
        if sign in ("==", "!="):
            return call("same" if sign == "==" else "differs", left.node, right.node)
        return call("ordered", const(sign), left.node, right.node)

    def _compare_number(self, left: Code, sign: str, number: int, place: Place) -> ast.expr:
        plain = _PYTHON_COMPARE[sign]
        if left.gives == Gives.INTEGER:
            return ast.Compare(left.node, [plain()], [const(number)])
        if sign == "==":  # neither text nor NULL equals an integer; text would be logged, which is not worth a test
            return ast.Compare(left.node, [ast.Eq()], [const(number)])
        local = self.block.local()
        is_int = ast.Compare(attr(named(local, left.node), "__class__"), [ast.Is()], [name("int")])
        otherwise = call(
            attr(name("ops"), "not_a_number"),
            name("c"),
            self.namespace.place(place),
            const(sign),
            name(local),
            const(number),
        )
        return ast.IfExp(is_int, ast.Compare(name(local), [plain()], [const(number)]), otherwise)

    def _compare_text(self, left: Code, sign: str, text: str) -> ast.expr:
        match sign:
            case "==":
                return self._equals_text(left, text)
            case "!=":
                return not_(self._equals_text(left, text))
            case "=~":
                return self._matches(left, text)
            case "!~":
                return call(self.namespace.bind("mismatch", unmatcher(compile_pattern(text))), left.node)
        return call("ordered", const(sign), left.node, const(text))

    def _matches(self, left: Code, text: str) -> ast.expr:
        pattern = compile_pattern(text)
        local = self.block.local()
        is_text = ast.Compare(attr(named(local, left.node), "__class__"), [ast.Is()], [name("str")])
        found = not_(is_none(call(self.namespace.bind("search", pattern.search), name(local))))
        otherwise = call(self.namespace.bind("match", matcher(pattern)), name(local))
        return ast.IfExp(is_text, ast.BoolOp(ast.And(), [name(local), found]), otherwise)

    def _equals_text(self, left: Code, text: str) -> ast.expr:
        """Exactly equal is the usual case and costs one comparison; letters in the other case cost a second one."""
        lower = lowered(text)
        number_like = text.lstrip("-").isdecimal() and bool(left.gives & Gives.INTEGER)
        if number_like or not text.isascii():
            return call("same_text", left.node, const(lower))
        if lower == text.upper():
            return ast.Compare(left.node, [ast.Eq()], [const(text)])
        local = self.block.local()
        exact = ast.Compare(named(local, left.node), [ast.Eq()], [const(text)])
        other: ast.expr = ast.Compare(call(attr(name(local), "lower")), [ast.Eq()], [const(lower)])
        if left.gives != Gives.STRING:
            is_text = ast.Compare(attr(name(local), "__class__"), [ast.Is()], [name("str")])
            other = ast.BoolOp(ast.And(), [is_text, other])
        return ast.BoolOp(ast.Or(), [exact, other])
