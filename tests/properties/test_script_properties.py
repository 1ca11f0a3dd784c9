"""What holds for every script and every text."""

import operator
from dataclasses import dataclass
from pathlib import Path

from hypothesis import event, example, given, settings
from hypothesis import strategies as st

from runtime.context import Context
from runtime.script.check import Checked
from runtime.script.compile import compile_script
from runtime.script.declare import Kind, Module, Param, asynchronous, function
from runtime.script.formats import NotAVariable, parse_format
from runtime.script.functions import World
from runtime.script.load import load
from runtime.script.parse import parse
from runtime.script.problems import Place, ScriptProblem
from runtime.script.tree import Format, Variable
from runtime.script.uris import split_uri
from runtime.sip.message import dummy_request

WORLD = World(wall_clock=lambda: 0.0, random=lambda: 0.0, process_id=lambda: 1)


class Jobs(Module):
    """One function with both forms."""

    name = "jobs"

    @function("job", Param("text", Kind.STRING), Param("out", Kind.OUTPUT, optional=True))
    def job(self, c, text, out):
        return 1

    @asynchronous("job", Param("text", Kind.STRING), Param("out", Kind.OUTPUT, optional=True))
    def job_later(self, c, text, out):
        raise AssertionError("nothing runs here")


class Deaf:
    """A process that nothing is asked of, and that hears no log."""

    def park(self, *_):
        raise AssertionError("nothing parks here")

    launch = log = park

    def log_level(self):
        return -4


# Expressions: an interpreter that reads the generated structure, and the compiler that reads its text.

NOTHING = object()
VARIABLES = {"i": 7, "zero": 0, "neg": -3, "s": "Text", "d": "7", "e": "", "none": None}


@dataclass(frozen=True)
class Leaf:
    """A literal or a variable."""

    text: str
    value: object
    variable: bool = False


@dataclass(frozen=True)
class Chain:
    """``first (operator operand)*`` at one level of precedence."""

    level: int
    first: object
    rest: tuple


@dataclass(frozen=True)
class Unary:
    sign: str
    operand: object


@dataclass(frozen=True)
class Paren:
    inner: object


@dataclass(frozen=True)
class Comparison:
    left: Leaf
    sign: str
    right: Leaf


NUMBERS = st.integers(0, 9).map(lambda number: Leaf(str(number), number))
TEXTS = st.sampled_from(["", "a", "Text", "7"]).map(lambda text: Leaf(f'"{text}"', text))


def variables(names):
    return st.sampled_from(names).map(lambda name: Leaf(f"$var({name})", VARIABLES[name], True))


NAMES = variables(sorted(VARIABLES))
INTEGERS = st.one_of(NUMBERS, variables(["i", "neg", "zero"]))
COMPARISONS = st.builds(
    Comparison, NAMES, st.sampled_from(["==", "!=", "<", ">", "<=", ">="]), st.one_of(NUMBERS, TEXTS, NAMES)
)
SUMS = st.sampled_from("+-*/%")
BITS = st.sampled_from(["&", "|", "^", "<<", ">>"])
LOGIC = st.sampled_from(["and", "or", "&&", "||"])


def chain(level, signs, inner, most):
    return st.builds(Chain, st.just(level), inner, st.lists(st.tuples(signs, inner), max_size=most).map(tuple))


def nested(leaves, signs=SUMS):
    """All three levels over the leaves, and once more with such expressions in brackets for leaves."""

    def levels(operands):
        return chain(1, LOGIC, chain(2, BITS, chain(3, signs, operands, 2), 1), 1)

    inner = chain(2, BITS, chain(3, signs, leaves, 1), 1).map(Paren)
    return levels(st.one_of(leaves, leaves, inner, st.builds(Unary, st.sampled_from("!~"), st.one_of(leaves, inner))))


# Of everything mixed with everything most is an error, so what can be computed has families of its own.
ARITHMETIC = chain(2, BITS, chain(3, SUMS, st.one_of(INTEGERS, INTEGERS, INTEGERS, NAMES), 3), 2)
JOINS = chain(3, st.just("+"), st.one_of(TEXTS, TEXTS, NAMES, NUMBERS), 4)
CONDITIONS = chain(1, LOGIC, st.one_of(COMPARISONS, INTEGERS, NAMES, st.builds(Unary, st.just("!"), COMPARISONS)), 4)
MIXED = nested(st.one_of(NUMBERS, TEXTS, NAMES, COMPARISONS))
EXPRESSIONS = st.one_of(ARITHMETIC, nested(INTEGERS), JOINS, CONDITIONS, MIXED)


def spelled(node):
    match node:
        case Leaf():
            return node.text
        case Chain():
            return " ".join([spelled(node.first), *(f"{sign} {spelled(operand)}" for sign, operand in node.rest)])
        case Unary():
            return f"{node.sign} {spelled(node.operand)}"
        case Paren():
            return f"({spelled(node.inner)})"
        case Comparison():
            return f"{node.left.text} {node.sign} {node.right.text}"


def is_variable(node):
    """A variable as it stands, in however many brackets."""
    match node:
        case Leaf():
            return node.variable
        case Paren():
            return is_variable(node.inner)
        case Chain():
            return not node.rest and is_variable(node.first)
        case _:
            return False


def evaluated(node):
    match node:
        case Leaf():
            return node.value
        case Paren():
            return evaluated(node.inner)
        case Comparison():
            return int(compared(node.left.value, node.sign, node.right.value, node.right.variable))
        case Unary():
            value = evaluated(node.operand)
            if node.sign == "!":
                return int(not true(value))
            return ~value if isinstance(value, int) else NOTHING
        case Chain():
            value = evaluated(node.first)
            for sign, operand in node.rest:
                value = combined(node.level, value, sign, operand)
            return value


def combined(level, left, sign, operand):
    if level == 1:
        if sign in ("and", "&&"):
            return int(true(left) and true(evaluated(operand)))
        return int(true(left) or true(evaluated(operand)))
    right = evaluated(operand)
    if sign == "+" and not isinstance(left, int):
        return joined(left, right, is_variable(operand))
    if left is NOTHING or right is NOTHING:
        return NOTHING
    if isinstance(left, int):
        right = 0 if right is None else right
        return calculated(left, sign, right) if isinstance(right, int) else NOTHING
    if isinstance(left, str) and isinstance(right, str) and sign in "&|^" and len(left) == len(right):
        bits = {"&": operator.and_, "|": operator.or_, "^": operator.xor}[sign]
        return "".join(chr(bits(ord(a), ord(b))) for a, b in zip(left, right, strict=True))
    return NOTHING


def joined(left, right, textual):
    if left is NOTHING or right is NOTHING:
        return NOTHING
    if isinstance(right, int):
        return f"{left or ''}{right}" if textual else NOTHING
    return (left or "") + (right or "")


def calculated(left, sign, right):
    if sign in "/%":
        if right == 0:
            return NOTHING
        quotient = abs(left) // abs(right) * (1 if (left < 0) == (right < 0) else -1)
        result = quotient if sign == "/" else left - quotient * right
    elif sign in ("<<", ">>"):
        result = left << (right % 64) if sign == "<<" else left >> (right % 64)
    else:
        result = {"+": left + right, "-": left - right, "*": left * right, "&": left & right}.get(sign)
        if result is None:
            result = left | right if sign == "|" else left ^ right
    return (result + 2**63) % 2**64 - 2**63


def true(value):
    return value is not NOTHING and bool(value)


def compared(left, sign, right, variable):
    test = {
        "==": operator.eq,
        "!=": operator.ne,
        "<": operator.lt,
        ">": operator.gt,
        "<=": operator.le,
        ">=": operator.ge,
    }[sign]
    if left is None or right is None:
        same = left is None and right is None
        return {"==": same, "!=": not same}.get(sign, False)
    if isinstance(left, int) and isinstance(right, int):
        return test(left, right)
    if isinstance(right, int) and not variable:
        return False  # text and a number do not compare, whatever the sign
    return test(str(left).lower(), str(right).lower())


def loaded(text, catalog=None):
    return load(Path("f.cfg"), catalog=catalog or {}, read=lambda _: text.encode("latin-1"))


def routes_of(text):
    found = loaded(text)
    assert isinstance(found, Checked), [str(problem) for problem in found]
    return compile_script(found, {}, Deaf(), WORLD).routes


@settings(max_examples=400)
@given(EXPRESSIONS)
@example(Chain(1, Leaf("1", 1), (("||", Leaf("1", 1)), ("&&", Leaf("0", 0)))))
def test_a_value_is_what_the_interpreter_says(node):
    routes = routes_of(f"route {{ $var(result) = {spelled(node)}; }}")
    context = Context(dummy_request(), variables={**VARIABLES, "result": "untouched"})
    expected = evaluated(node)
    event("it cannot be computed" if expected is NOTHING else f"it gives {type(expected).__name__}")
    routes.request(context)
    found = context.variables["result"]
    assert found == ("untouched" if expected is NOTHING else expected)
    assert type(found) is not bool
    assert context.rc == 1


@settings(max_examples=150)
@given(EXPRESSIONS)
def test_a_condition_is_what_the_interpreter_says(node):
    routes = routes_of(f"route {{ $var(r) = 0; if ({spelled(node)}) $var(r) = 1; while ({spelled(node)}) exit; }}")
    context = Context(dummy_request(), variables=dict(VARIABLES))
    ended = routes.request(context)
    assert context.variables["r"] == int(true(evaluated(node)))
    assert (ended is not None) == true(evaluated(node))


# Scripts that somebody has damaged

SAMPLE = """\
log_level=3
socket=udp:127.0.0.1:5060
loadmodule "jobs.so"
/* a comment */
route {
  if (!job("x $rU $(ru{uri.host})", $var(out)) && $rm =~ "^INV") { xlog("L_INFO", "$var(out) [$$]\\n"); exit; }
  else if ($si == 10.0.0.0/8 or $avp(a) != NULL) { $avp(a) = 1 + 2 * -3; $(avp(a)[1]) := "x" + $rU; }
  switch ($var(x)) { case 1: case "a": break; default: return(1, "v", $var(x)); }
  while ($var(n) < 3) { $var(n) += 1; if ($var(n) == 2) break; }
  for ($var(i) in $(avp(a)[*])) { route(sub, $var(i), "t $ci"); }
  launch(job("l"), sub, "p $var(n)");
  async(job("a", $avp(r)), sub, 5);
}
route[sub] { $ru = "sip:" + $param(1) + "@h"; assert($var(x), "m"); drop; }
timer_route[t, 5] { route("$var(name)"); }
"""
PIECES = [
    '"',
    "'",
    "$",
    "(",
    ")",
    "{",
    "}",
    "[",
    "]",
    ";",
    ",",
    "#",
    "/*",
    "*/",
    "\\",
    "\x00",
    "\xff",
    "$(",
    "{s.",
    "!",
]


@st.composite
def damaged(draw):
    text = SAMPLE
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(text)))
        end = min(len(text), start + draw(st.integers(0, 12)))
        other = draw(st.integers(0, len(SAMPLE)))
        piece = draw(
            st.one_of(
                st.just(""),
                st.sampled_from(PIECES),
                st.just(SAMPLE[other : other + 20]),
                st.text(st.characters(max_codepoint=255), max_size=6),
            )
        )
        text = text[:start] + piece + text[end:]
    return text


@given(damaged())
@example(SAMPLE)
def test_a_damaged_script_is_refused_or_compiles(text):
    found = loaded(text, {"jobs": Jobs})
    event("it compiles" if isinstance(found, Checked) else "it is refused")
    if isinstance(found, Checked):
        compile_script(found, {name: Jobs() for name in found.modules}, Deaf(), WORLD)
    else:
        assert found
        assert all(isinstance(problem, ScriptProblem) and problem.message for problem in found)
        assert any(problem.severity == "error" for problem in found)


@given(st.text(st.characters(max_codepoint=255), max_size=60))
def test_any_text_is_a_script_or_a_problem(text):
    found = parse(text, "f.cfg")
    assert isinstance(found, tuple) or all(isinstance(problem, ScriptProblem) for problem in found)


@given(st.text(st.sampled_from("ab $(){}[].,*\\19"), max_size=40))
def test_a_format_keeps_every_character(text):
    try:
        found = parse_format(text, Place("f", 1, 1))
    except NotAVariable:
        return
    assert isinstance(found, Format)
    spelled_again = "".join(
        part.text if isinstance(part, Variable) else part.replace("$", "$$") for part in found.parts
    )
    assert spelled_again == text


@given(st.text(st.sampled_from("sip:ab@;?=[]1.<> "), max_size=30))
def test_a_uri_taken_apart_and_put_together_keeps_its_parts(text):
    parts = split_uri(text)
    if parts is not None and parts.host:
        assert split_uri(str(parts)) == parts
