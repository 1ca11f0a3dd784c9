"""Programs as script text."""

from tests.script_interpreter import program as p

INDENT = "  "


def printed(program):
    """The script file of a program, which loads the module `tools`."""
    heads = [
        'loadmodule "tools.so"',
        f"max_while_loops={program.max_while_loops}",
        "enable_asserts=yes",
        *_block("route", program.main, ""),
    ]
    for name, body in program.routes.items():
        heads += _block(f"route[{name}]", body, "")
    return "\n".join(heads) + "\n"


def _block(head, body, indent):
    return [f"{indent}{head} {{", *_statements(body, indent + INDENT), f"{indent}}}"]


def _statements(body, indent):
    return [line for statement in body for line in _statement(statement, indent)]


def _statement(statement, indent):
    match statement:
        case p.If(condition, then, otherwise):
            lines = _block(f"if ({expression(condition)})", then, indent)
            if otherwise is not None:
                lines += _block("else", otherwise, indent)
            return lines
        case p.While(condition, body):
            return _block(f"while ({expression(condition)})", body, indent)
        case p.For(target, source, body):
            return _block(f"for ({variable(target)} in {variable(source)})", body, indent)
        case p.Switch(subject, cases):
            lines = [f"{indent}switch ({variable(subject)}) {{"]
            for value, body in cases:
                lines += [f"{indent}{INDENT}{_case(value)}:", *_statements(body, indent + 2 * INDENT)]
            return [*lines, f"{indent}}}"]
        case _:
            return [f"{indent}{_simple(statement)};"]


def _case(value):
    match value:
        case None:
            return "default"
        case int():
            return f"case {value}"
        case _:
            return f"case {quoted(value)}"


def _simple(statement):
    match statement:
        case p.Assign(target, sign, value):
            return f"{variable(target)} {sign} {expression(value)}"
        case p.Do(call):
            return expression(call)
        case p.Log(text, None):
            return f"xlog({template(text)})"
        case p.Log(text, level):
            return f"xlog({quoted(level)}, {template(text)})"
        case p.PlainLog(level, text):
            return f"log({level}, {quoted(text)})"
        case p.Break():
            return "break"
        case p.Exit():
            return "exit"
        case p.Drop():
            return "drop"
        case p.Assert(condition, message):
            return f"assert({expression(condition)}, {quoted(message)})"
        case p.Return(None, ()):
            return "return"
        case p.Return(code, values):
            return f"return({_arguments([expression(code), *map(argument, values)])})"


def expression(node):
    """An expression or a call."""
    match node:
        case p.Number(value):
            return str(value)
        case p.Text(value):
            return quoted(value)
        case p.Null():
            return "NULL"
        case p.Variable():
            return variable(node)
        case p.Formula(first, rest):
            return " ".join([expression(first), *(f"{sign} {expression(operand)}" for sign, operand in rest)])
        case p.Not(operand, sign):
            return f"{sign} {expression(operand)}"
        case p.BitNot(operand):
            return f"~{expression(operand)}"
        case p.Brackets(inner, square):
            return f"[{expression(inner)}]" if square else f"({expression(inner)})"
        case p.Comparison(left, sign, right):
            return f"{expression(left)} {sign} {expression(right)}"
        case p.Call(name, arguments):
            return f"{name}({_arguments(map(argument, arguments))})"
        case p.RouteCall(target, arguments):
            head = target if isinstance(target, str) else variable(target)
            return f"route({_arguments([head, *map(argument, arguments)])})"
        case p.Async(call, resume, timeout_s):
            return f"async({_arguments([expression(call), resume, *([] if timeout_s is None else [str(timeout_s)])])})"
        case p.Launch(call, report, parameter):
            tail = [text for text in (report, parameter and template(parameter)) if text]
            return f"launch({_arguments([expression(call), *tail])})"


def argument(node):
    """One argument of a call; None is one that is left empty."""
    match node:
        case None:
            return ""
        case p.Template():
            return template(node)
        case _:
            return expression(node)


def _arguments(texts):
    return ", ".join(texts)


def template(node):
    """A string with variables in it."""
    return quoted(written(node))


def written(node):
    """What stands in its quotes. A bare name is put in brackets: a dot or a letter behind it would join it."""
    parts = [part.replace("$", "$$") if isinstance(part, str) else variable(part, bare=False) for part in node.parts]
    return "".join(parts)


def variable(node, bare=True):
    """A variable, in its short form where it has one."""
    head = node.name if node.key is None else f"{node.name}({_key(node.key)})"
    if node.index is None and not node.changes:
        return f"${head}" if bare or node.key is not None else f"$({head})"
    index = "" if node.index is None else f"[{_key(node.index)}]"
    return f"$({head}{index}{''.join(map(_change, node.changes))})"


def _key(key):
    return variable(key) if isinstance(key, p.Variable) else str(key)


def _change(change):
    return "{" + ",".join([change.name, *map(_key, change.arguments)]) + "}"


def quoted(text):
    """A string as the script spells it."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\t", "\\t")
    return f'"{escaped}"'
