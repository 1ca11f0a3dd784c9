"""Programs and parsed scripts in one form: nested tuples, in which they can be compared.

Brackets are gone and every operator stands between what it is applied to.
"""

from runtime.script import tree
from tests.script_interpreter import program as p
from tests.script_interpreter.printing import written
from tests.script_interpreter.values import PRECEDENCE

WORDS = {"&&": "and", "||": "or"}


def of_program(program):
    """What the parser should make of a program's routes."""
    named = [("route", name, _body(body)) for name, body in program.routes.items()]
    return [("route", "", _body(program.main)), *named]


def _body(body):
    return tuple(_statement(statement) for statement in body)


def _statement(node):
    match node:
        case p.Assign(target, sign, value):
            return "assign", _node(target), sign, _node(value)
        case p.Do(call):
            return "run", _node(call)
        case p.Log(text, None):
            return "log", "xlog", (_node(text),)
        case p.Log(text, level):
            return "log", "xlog", (("text", level), _node(text))
        case p.PlainLog(level, text):
            return "log", "log", (("number", level), ("text", text))
        case p.If(condition, then, otherwise):
            return "if", _node(condition), _body(then), _body(otherwise or ())
        case p.While(condition, body):
            return "while", _node(condition), _body(body)
        case p.For(target, source, body):
            return "for", _node(target), _node(source), _body(body)
        case p.Switch(subject, cases):
            return "switch", _node(subject), tuple((value, _body(body)) for value, body in cases)
        case p.Return(code, values):
            return "return", _node(code), tuple(map(_node, values))
        case p.Assert(condition, message):
            return "assert", _node(condition), ("text", message)
        case p.Break() | p.Exit() | p.Drop():
            return (type(node).__name__.lower(),)


def _node(node):
    match node:
        case None:
            return None
        case p.Number(value):
            return "number", value
        case p.Text(value):
            return "text", value
        case p.Template():
            return "text", written(node)
        case p.Null():
            return ("null",)
        case p.Variable(name, key, index, changes):
            return "variable", name, _inner(key), _part(index), tuple(map(_change, changes))
        case p.Brackets(inner):
            return _node(inner)
        case p.Formula():
            return _formula(node)
        case p.Not(operand):
            return "not", _node(operand)
        case p.BitNot(operand):
            return "bit not", _node(operand)
        case p.Comparison(left, sign, right):
            return "compare", sign, _node(left), _node(right)
        case p.Call(name, arguments):
            return "call", name, tuple(map(_node, arguments))
        case p.RouteCall(target, arguments):
            return "call route", ("text", target) if isinstance(target, str) else _node(target), _nodes(arguments)
        case p.Async(call, resume, timeout_s):
            return "async", _node(call), resume, timeout_s
        case p.Launch(call, report, parameter):
            return "launch", _node(call), report, _node(parameter)


def _nodes(nodes):
    return tuple(map(_node, nodes))


def _formula(node):
    """Operators that bind tighter first, of equals the left one."""
    operands = [_node(node.first), *(_node(operand) for _, operand in node.rest)]
    signs = [sign for sign, _ in node.rest]
    while signs:
        at = max(range(len(signs)), key=lambda i: (PRECEDENCE[signs[i]], -i))
        sign = signs.pop(at)
        right = operands.pop(at + 1)
        operands[at] = "operator", WORDS.get(sign, sign), operands[at], right
    return operands[0]


def _inner(key):
    return () if key is None else (_node(key) if isinstance(key, p.Variable) else str(key),)


def _part(part):
    return _node(part) if isinstance(part, p.Variable) else part


def _change(change):
    return change.name, ",".join(map(str, change.arguments)) or None


def of_items(items):
    """What the parser has made of a script: its routes."""
    return [(item.kind, item.name, _read_body(item.body)) for item in items if isinstance(item, tree.Route)]


def _read_body(body):
    return tuple(_read_statement(statement) for statement in body)


def _read_statement(node):
    match node:
        case tree.Assign():
            return "assign", _read(node.target), node.operator, _read(node.value)
        case tree.Run():
            return "run", _read(node.call)
        case tree.Log():
            return "log", node.function, _read_all(node.arguments)
        case tree.If():
            return "if", _read(node.condition), _read_body(node.then), _read_body(node.otherwise)
        case tree.While():
            return "while", _read(node.condition), _read_body(node.body)
        case tree.ForEach():
            return "for", _read(node.target), _read(node.source), _read_body(node.body)
        case tree.Switch():
            cases = ((case.value and case.value.value, _read_body(case.body)) for case in node.cases)
            return "switch", _read(node.subject), tuple(cases)
        case tree.Return():
            return "return", _read(node.code), _read_all(node.values)
        case tree.Assert():
            return "assert", _read(node.condition), _read(node.message)
        case tree.Break() | tree.Exit() | tree.Drop():
            return (type(node).__name__.lower(),)


def _read(node):
    match node:
        case None:
            return None
        case tree.Number():
            return "number", node.value
        case tree.Text():
            return "text", node.value
        case tree.Null():
            return ("null",)
        case tree.Variable():
            changes = ((f"{change.family}.{change.name}", change.argument) for change in node.changes)
            inner = () if node.inner is None else tuple(map(_read_part, node.inner.parts))
            return "variable", node.name, inner, _read_part(node.index), tuple(changes)
        case tree.Binary() | tree.Logic():
            return "operator", node.operator, _read(node.left), _read(node.right)
        case tree.Not():
            return "not", _read(node.operand)
        case tree.BitNot():
            return "bit not", _read(node.operand)
        case tree.Compare():
            return "compare", node.operator, _read(node.left), _read(node.right)
        case tree.Call():
            return "call", node.name, _read_all(node.arguments)
        case tree.RouteCall():
            return "call route", _read(node.target), _read_all(node.arguments)
        case tree.Async():
            return "async", _read(node.call), node.resume.value, node.timeout_s
        case tree.Launch():
            return "launch", _read(node.call), node.report and node.report.value, _read(node.parameter)


def _read_all(nodes):
    return tuple(map(_read, nodes))


def _read_part(part):
    return _read(part) if isinstance(part, tree.Variable) else part
