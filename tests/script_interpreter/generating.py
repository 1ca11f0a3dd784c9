"""Hypothesis strategies of whole programs: mostly of what can be computed, with some of everything mixed."""

from hypothesis import strategies as st

from tests.script_interpreter import program as p

ROUTES = ("first", "second", "third")
CONSTANTS = {"rm": "INVITE", "rU": "alice", "si": "192.0.2.1", "rs": None, "cs": 7}
"""Variables of the message: the test gives both sides a message of which this is true."""


def mix(*weighted):
    """One of several strategies, by weight. (`one_of` would weigh by how many each consists of.)"""
    table = [strategy for weight, strategy in weighted for _ in range(weight)]
    return _one_of_table(table, st.integers(0, len(table) - 1))


@st.composite
def _one_of_table(draw, table, numbers):
    return draw(table[draw(numbers)])


SMALL = st.integers(-7, 9)
CODES = mix((9, st.integers(1, 9)), (3, st.integers(-3, -1)), (1, st.just(0)))
"""What calls and routes give: 0, which ends the script, not too often."""
NUMBERS = mix((8, SMALL), (2, st.sampled_from([63, 64, 2**31, 2**63 - 1]))).map(p.Number)
WORDS = st.sampled_from(
    [
        "",
        "a",
        "B",
        "abc",
        "7",
        "-3",
        "12ab",
        " x ",
        "one,two",
        "a=1;b=two;c",
        '"q,r",s',
        "sip:bob@h.net:5080;lr",
        "\xe9",
        "\xc9",
        "$rU",
        "$",
        "\\",
    ]
)
TEXTS = WORDS.map(p.Text)

# Variables. Every key is one of few, so that what one statement wrote another one reads.

VARS = st.sampled_from("abcd").map(lambda key: p.Variable("var", key))
AVPS = st.sampled_from("xyz").map(lambda key: p.Variable("avp", key))
INDICES = mix((5, st.integers(-3, 3)), (1, VARS))
INDEXED = st.builds(p.Variable, st.just("avp"), st.sampled_from("xyz"), INDICES)
ALL_OF = st.builds(p.Variable, st.just("avp"), st.sampled_from("xyz"), st.just("*"))
NAMED_BY = st.builds(p.Variable, st.sampled_from(["avp", "var"]), VARS)
NUMBERED = st.builds(p.Variable, st.sampled_from(["param", "return"]), st.integers(0, 3))
OTHERS = st.sampled_from([*CONSTANTS, "rc", "retcode", "route.name"]).map(p.Variable)

NUMBER = st.integers(-4, 6)


def change(name, *arguments):
    """Transformations of one name."""
    return st.builds(lambda *given: p.Change(name, given), *arguments)


PLAIN = [
    *["s.len", "s.int", "s.toupper", "s.tolower", "s.trim", "s.triml", "s.trimr", "s.reverse", "s.encode.hexa"],
    *["csv.count", "param.count", "uri.user", "uri.host", "uri.port", "uri.params"],
]
PIECES = st.sampled_from(["a", "b", "x", "two"])
TOKENS, WIDTHS = st.sampled_from(["0", "ab"]), st.integers(0, 9)
SUBSTITUTIONS = st.builds(
    "/{}/{}/{}".format,
    st.sampled_from(["a", "b+", "[0-9]"]),
    st.sampled_from(["", "X", "<\\0>"]),
    st.sampled_from(["", "g"]),
)
CHANGES = mix(
    (6, st.sampled_from(PLAIN).map(p.Change)),
    (2, change("s.substr", NUMBER, NUMBER)),
    (2, change("s.select", st.integers(-3, 3), st.sampled_from(",;b2"))),
    (1, change("s.index", PIECES)),
    (1, change("s.index", st.sampled_from("ab1"), st.integers(0, 4))),
    (1, change("s.rindex", PIECES)),
    (1, change("s.fill_left", TOKENS, WIDTHS)),
    (1, change("s.fill_right", TOKENS, WIDTHS)),
    (1, change("s.width", WIDTHS)),
    (1, change("csv.value", st.integers(-3, 3))),
    (1, change("param.name", st.integers(-3, 3))),
    (1, change("param.value", st.sampled_from("abC"))),
    (1, change("param.exist", st.sampled_from("abC"))),
    (1, change("re.subst", SUBSTITUTIONS)),
)
CHANGED = st.builds(
    lambda variable, changes: p.Variable(variable.name, variable.key, variable.index, tuple(changes)),
    st.one_of(VARS, AVPS, INDEXED, st.just(p.Variable("rU"))),
    st.lists(CHANGES, min_size=1, max_size=3),
)
VARIABLES = mix(
    (6, VARS), (3, AVPS), (2, INDEXED), (2, ALL_OF), (1, NAMED_BY), (2, NUMBERED), (2, OTHERS), (3, CHANGED)
)
TARGETS = mix((3, VARS), (3, AVPS), (2, INDEXED), (1, NAMED_BY))

# Calls


@st.composite
def templates(draw):
    """A string with variables in it; a mark in front tells it from what the runtime says of itself."""
    parts = draw(st.lists(st.one_of(VARIABLES, VARIABLES, st.sampled_from([" ", ": ", "$", "a.b"])), max_size=3))
    return p.Template(tuple(["> ", *parts]))


TEMPLATES = templates()
NUMBER_ARGUMENTS = mix((2, CODES.map(p.Number)), (1, VARIABLES))
ARGUMENTS = mix((1, NUMBERS), (1, TEMPLATES), (1, VARIABLES))
OPTIONAL = mix((1, st.none()), (3, ARGUMENTS))


def calls(name, *arguments):
    """Calls of one function."""
    return st.builds(lambda *given: p.Call(name, given), *arguments)


GIVE = calls("give", NUMBER_ARGUMENTS)
FUNCTION_CALLS = mix(
    (2, GIVE),
    (1, calls("say", ARGUMENTS)),
    (1, calls("note", ARGUMENTS, mix((1, st.none()), (1, NUMBER_ARGUMENTS)), OPTIONAL)),
    (1, calls("note", ARGUMENTS)),
    (1, calls("write", mix((1, VARS), (1, AVPS)), ARGUMENTS)),
    (1, calls("show", AVPS)),
)
ROUTE_CALLS = st.builds(
    p.RouteCall, mix((9, st.sampled_from(ROUTES)), (1, VARS)), st.lists(OPTIONAL, max_size=3).map(tuple)
)
LATER = calls("later", ARGUMENTS, mix((1, st.none()), (1, NUMBER_ARGUMENTS)))
ASYNCS = st.builds(p.Async, LATER, st.sampled_from(ROUTES), st.one_of(st.none(), st.integers(1, 9)))
LAUNCHES = mix(
    (1, st.builds(p.Launch, LATER, st.one_of(st.none(), st.sampled_from(ROUTES)))),
    (1, st.builds(p.Launch, LATER, st.sampled_from(ROUTES), TEMPLATES)),
)
CALLS = mix((8, FUNCTION_CALLS), (8, ROUTE_CALLS), (2, LAUNCHES), (1, ASYNCS))

# Expressions

SUMS = st.sampled_from("+-*/%")
BITS = st.sampled_from(["|", "&", "^", "<<", ">>"])
LOGIC = st.sampled_from(["and", "&&", "or", "||"])
COMPARED = st.builds(
    p.Comparison,
    mix((9, VARIABLES), (2, GIVE), (1, ROUTE_CALLS)),
    st.sampled_from(["==", "!=", "<", ">", "<=", ">="]),
    mix((2, NUMBERS), (1, TEXTS), (1, VARIABLES)),
)
WITH_NULL = st.builds(p.Comparison, VARIABLES, st.sampled_from(["==", "!="]), st.just(p.Null()))
MATCHED = st.builds(
    p.Comparison,
    VARIABLES,
    st.sampled_from(["=~", "!~"]),
    mix((2, st.sampled_from(["^a", "[0-9]+$", ".*", "b|7", "^INV", "^\\w$"]).map(p.Text)), (1, VARIABLES)),
)
OF_THE_MESSAGE = st.builds(
    p.Comparison,
    st.sampled_from(["rm", "rU"]).map(p.Variable),
    st.sampled_from(["==", "!=", "<", ">", "<=", ">="]),
    mix((3, st.sampled_from(["INVITE", "invite", "ALICE", "B", "b", "a"]).map(p.Text)), (1, NUMBERS)),
)
COMPARISONS = mix((4, COMPARED), (2, OF_THE_MESSAGE), (1, MATCHED), (1, WITH_NULL))


def formulas(signs, operands, least=0, most=4):
    """A row of operands."""
    return st.builds(
        p.Formula, operands, st.lists(st.tuples(signs, operands), min_size=least, max_size=most).map(tuple)
    )


def signed(operands, signs):
    """Operands, some with a sign before or brackets around them."""
    return mix(
        (6, operands),
        (1, st.builds(p.Not, operands, st.sampled_from(["!", "not"]))),
        (1, operands.map(p.BitNot)),
        (2, st.builds(p.Brackets, formulas(signs, operands, most=2), st.booleans())),
    )


COMPUTING = mix((2, SUMS), (1, BITS))
DIVISIONS = st.builds(p.Formula, NUMBERS, st.tuples(st.tuples(st.sampled_from("/%"), SMALL.map(p.Number))))
ARITHMETIC = mix((3, formulas(COMPUTING, signed(mix((2, NUMBERS), (1, VARS)), COMPUTING), 1)), (1, DIVISIONS))
JOINS = formulas(st.just("+"), mix((2, TEXTS), (2, VARIABLES), (1, NUMBERS)), 1)
TESTED = mix((4, COMPARISONS), (2, VARIABLES), (1, NUMBERS), (2, GIVE), (1, ROUTE_CALLS))
CONDITIONS = formulas(LOGIC, mix((3, TESTED), (1, st.builds(p.Not, TESTED, st.sampled_from(["!", "not"])))))
ANYTHING = mix((2, NUMBERS), (2, TEXTS), (2, VARIABLES), (2, COMPARISONS), (2, CALLS), (1, st.just(p.Null())))
ALL_SIGNS = mix((2, SUMS), (1, BITS), (1, LOGIC))
MIXED = formulas(ALL_SIGNS, signed(ANYTHING, ALL_SIGNS), 1)
EXPRESSIONS = mix(
    (1, NUMBERS), (1, TEXTS), (2, VARIABLES), (3, ARITHMETIC), (2, JOINS), (2, CONDITIONS), (2, CALLS), (3, MIXED)
)

# Statements

LITERALS = mix((3, NUMBERS), (2, TEXTS), (1, st.just(p.Null())))
ASSIGNMENTS = mix(
    (4, st.builds(p.Assign, TARGETS, mix((4, st.just("=")), (1, st.just(":="))), EXPRESSIONS)),
    (2, st.builds(p.Assign, TARGETS, mix((2, st.just("=")), (1, st.just(":="))), LITERALS)),
    (
        2,
        st.builds(
            p.Assign, TARGETS, st.sampled_from([f"{sign}=" for sign in "+-*/%&|^"]), mix((3, NUMBERS), (2, EXPRESSIONS))
        ),
    ),
)
LOGS = mix(
    (3, st.builds(p.Log, TEMPLATES, st.one_of(st.none(), st.sampled_from(["L_ALERT", "L_ERR", "L_INFO", "L_DBG"])))),
    (1, st.builds(p.PlainLog, st.integers(-3, 4), WORDS.map(lambda word: f"> {word}"))),
)
RETURNS = mix(
    (1, st.builds(p.Return, st.one_of(st.none(), CODES.map(p.Number)))),
    (
        1,
        st.builds(p.Return, mix((2, CODES.map(p.Number)), (1, VARIABLES)), st.lists(ARGUMENTS, max_size=3).map(tuple)),
    ),
)
SIMPLE = mix(
    (9, ASSIGNMENTS),
    (3, LOGS),
    (4, CALLS.map(p.Do)),
    (1, RETURNS),
    (1, mix((4, st.builds(p.Assert, COMPARISONS, st.just("claimed"))), (1, st.just(p.Exit())), (1, st.just(p.Drop())))),
)
CASE_VALUES = mix((2, st.integers(0, 7)), (1, st.sampled_from(["a", "B", "abc", "7"])))


def bodies(depth, loop, most):
    """Statements in a row.

    Args:
        depth: how many blocks may stand in each other.
        loop: whether a `break` may stand here.
        most: how many statements at most.
    """
    return st.lists(statements(depth, loop), min_size=1, max_size=most).map(tuple)


def statements(depth, loop):
    """One statement, see `bodies`."""
    simple = mix((9, SIMPLE), (1, st.just(p.Break()))) if loop else SIMPLE
    if not depth:
        return simple
    within, looping = bodies(depth - 1, loop, 3), bodies(depth - 1, True, 3)
    conditions = mix((3, CONDITIONS), (2, COMPARISONS), (1, VARIABLES))
    return mix(
        (8, simple),
        (3, st.builds(p.If, conditions, within, st.one_of(st.none(), within))),
        (2, st.builds(p.While, conditions, looping)),
        (2, st.builds(p.For, mix((3, VARS), (1, AVPS)), ALL_OF, looping)),
        (2, st.builds(p.Switch, mix((3, VARS), (1, AVPS), (1, st.just(p.Variable("rc")))), cases(looping))),
    )


@st.composite
def cases(draw, bodies_of_cases):
    """Cases of different values, and perhaps a default behind them."""
    values = draw(st.lists(CASE_VALUES, min_size=1, max_size=3, unique=True))
    found = [(value, draw(bodies_of_cases)) for value in values]
    return tuple(found + [(None, draw(bodies_of_cases))] * draw(st.booleans()))


@st.composite
def changes_of_texts(draw):
    """A text, and what one or two transformations make of it."""
    text = draw(mix((4, TEXTS), (1, NUMBERS)))
    changes = tuple(draw(st.lists(CHANGES, min_size=1, max_size=2)))
    source, changed = p.Variable("avp", "x"), p.Variable("avp", "x", None, changes)
    read = draw(st.booleans())
    use = p.Log(p.Template(("> ", changed))) if read else p.Assign(draw(TARGETS), "=", changed)
    return (p.Assign(source, "=", text), use)


COMPUTATIONS = st.builds(p.Assign, VARS, st.just("="), mix((3, ARITHMETIC), (1, JOINS), (2, CONDITIONS)))


@st.composite
def straight(draw):
    """Statements without blocks, one after the other: short to compile, and every one of them runs."""
    pieces = mix((3, st.tuples(SIMPLE)), (3, st.tuples(COMPUTATIONS)), (3, changes_of_texts()))
    body = [statement for piece in draw(st.lists(pieces, min_size=8, max_size=16)) for statement in piece]
    return tuple(body + [p.Log(p.Template(("> ", draw(ALL_OF), " ", draw(VARIABLES))))])


# What a program begins with: it looks at what the message before left behind; then it sets variables, for without that
# most of what it reads would be NULL.
FIRST = st.tuples(
    st.builds(p.Log, st.builds(lambda old: p.Template(("> before: ", old)), VARS)),
    *(
        st.builds(p.Assign, st.just(p.Variable("var", key)), st.just("="), mix((2, NUMBERS), (1, TEXTS)))
        for key in "abc"
    ),
)
FILLED = st.lists(st.builds(p.Assign, AVPS, st.just("="), mix((1, NUMBERS), (1, TEXTS))), min_size=1, max_size=6).map(
    tuple
)
PROGRAMS = st.builds(
    lambda first, filled, main, routes: p.Program(first + filled + main, dict(zip(ROUTES, routes, strict=True))),
    FIRST,
    FILLED,
    mix((1, straight()), (1, bodies(2, False, 7))),
    st.tuples(*(bodies(1, False, 4) for _ in ROUTES)),
)
