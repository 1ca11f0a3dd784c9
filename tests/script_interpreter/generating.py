"""Hypothesis strategies of whole programs: mostly of what can be computed, with some of everything mixed."""

from hypothesis import strategies as st

from tests.script_interpreter import program as p

ROUTES = ("first", "second", "third")
CONSTANTS = {"rm": "INVITE", "rU": "alice", "si": "192.0.2.1", "rs": None, "cs": 7}
"""Variables of the message: the test gives both sides a message of which this is true."""

SMALL = st.integers(-3, 9)
NUMBERS = st.one_of(SMALL, SMALL, st.sampled_from([63, 64, 2**31, 2**63 - 1])).map(p.Number)
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
INDICES = st.one_of(st.integers(-3, 3), st.sampled_from("ab").map(lambda key: p.Variable("var", key)))
INDEXED = st.builds(p.Variable, st.just("avp"), st.sampled_from("xyz"), st.integers(-3, 3))
ALL_OF = st.builds(p.Variable, st.just("avp"), st.sampled_from("xyz"), st.just("*"))
NAMED_BY = st.builds(p.Variable, st.sampled_from(["avp", "var"]), VARS)
NUMBERED = st.builds(p.Variable, st.sampled_from(["param", "return"]), st.integers(0, 3))
OTHERS = st.sampled_from([*CONSTANTS, "rc", "retcode", "route.name"]).map(p.Variable)

NUMBER = st.integers(-4, 6)
PLAIN = [
    "s.len",
    "s.int",
    "s.toupper",
    "s.tolower",
    "s.trim",
    "s.triml",
    "s.trimr",
    "s.reverse",
    "s.encode.hexa",
    "csv.count",
    "param.count",
    "uri.user",
    "uri.host",
    "uri.port",
    "uri.params",
]
CHANGES = st.one_of(
    st.sampled_from(PLAIN).map(p.Change),
    st.builds(lambda offset, length: p.Change("s.substr", (offset, length)), NUMBER, NUMBER),
    st.builds(lambda at, separator: p.Change("s.select", (at, separator)), NUMBER, st.sampled_from(",;b2")),
    st.builds(
        lambda name, wanted: p.Change(name, (wanted,)),
        st.sampled_from(["s.index", "s.rindex"]),
        st.sampled_from(["a", "b", "x", "two"]),
    ),
    st.builds(lambda wanted, start: p.Change("s.index", (wanted, start)), st.sampled_from("ab1"), st.integers(0, 4)),
    st.builds(
        lambda name, token, width: p.Change(name, (token, width)),
        st.sampled_from(["s.fill_left", "s.fill_right"]),
        st.sampled_from(["0", "ab"]),
        st.integers(0, 9),
    ),
    st.builds(lambda width: p.Change("s.width", (width,)), st.integers(0, 9)),
    st.builds(lambda name, at: p.Change(name, (at,)), st.sampled_from(["csv.value", "param.name"]), st.integers(-3, 3)),
    st.builds(
        lambda name, key: p.Change(name, (key,)),
        st.sampled_from(["param.value", "param.exist"]),
        st.sampled_from("abC"),
    ),
    st.builds(
        lambda pattern, replacement, flags: p.Change("re.subst", (f"/{pattern}/{replacement}/{flags}",)),
        st.sampled_from(["a", "b+", "[0-9]"]),
        st.sampled_from(["", "X", "<\\0>"]),
        st.sampled_from(["", "g"]),
    ),
)
CHANGED = st.builds(
    lambda variable, changes: p.Variable(variable.name, variable.key, variable.index, tuple(changes)),
    st.one_of(VARS, AVPS, INDEXED, st.just(p.Variable("rU"))),
    st.lists(CHANGES, min_size=1, max_size=3),
)
VARIABLES = st.one_of(VARS, VARS, VARS, AVPS, INDEXED, ALL_OF, NAMED_BY, NUMBERED, OTHERS, CHANGED)
TARGETS = st.one_of(VARS, VARS, VARS, AVPS, AVPS, AVPS, INDEXED, INDEXED, NAMED_BY)

# Calls


@st.composite
def templates(draw):
    """A string with variables in it; a mark in front tells it from what the runtime says of itself."""
    parts = draw(st.lists(st.one_of(VARIABLES, VARIABLES, st.sampled_from([" ", ": ", "$", "a.b"])), max_size=3))
    return p.Template(tuple(["> ", *parts]))


TEMPLATES = templates()
NUMBER_ARGUMENTS = st.one_of(SMALL.map(p.Number), SMALL.map(p.Number), VARIABLES)
ARGUMENTS = st.one_of(NUMBERS, TEMPLATES, VARIABLES)
OPTIONAL = st.one_of(st.none(), ARGUMENTS)


def calls(name, *arguments):
    return st.builds(lambda *given: p.Call(name, given), *arguments)


GIVE = calls("give", NUMBER_ARGUMENTS)
FUNCTION_CALLS = st.one_of(
    GIVE,
    GIVE,
    calls("say", ARGUMENTS),
    calls("note", ARGUMENTS, st.one_of(st.none(), NUMBER_ARGUMENTS), OPTIONAL),
    calls("note", ARGUMENTS),
    calls("write", st.one_of(VARS, AVPS), ARGUMENTS),
    calls("show", AVPS),
)
ROUTE_CALLS = st.builds(
    p.RouteCall,
    st.one_of(st.sampled_from(ROUTES), st.sampled_from(ROUTES), VARS),
    st.lists(OPTIONAL, max_size=3).map(tuple),
)
LATER = calls("later", ARGUMENTS, st.one_of(st.none(), NUMBER_ARGUMENTS))
ASYNCS = st.builds(p.Async, LATER, st.sampled_from(ROUTES), st.one_of(st.none(), st.integers(1, 9)))
LAUNCHES = st.one_of(
    st.builds(p.Launch, LATER, st.one_of(st.none(), st.sampled_from(ROUTES))),
    st.builds(p.Launch, LATER, st.sampled_from(ROUTES), TEMPLATES),
)
CALLS = st.one_of(FUNCTION_CALLS, FUNCTION_CALLS, FUNCTION_CALLS, ROUTE_CALLS, ROUTE_CALLS, LAUNCHES, ASYNCS)

# Expressions

SUMS = st.sampled_from("+-*/%")
BITS = st.sampled_from(["|", "&", "^", "<<", ">>"])
LOGIC = st.sampled_from(["and", "&&", "or", "||"])
COMPARED = st.builds(
    p.Comparison,
    st.one_of(VARIABLES, VARIABLES, VARIABLES, GIVE, ROUTE_CALLS),
    st.sampled_from(["==", "!=", "<", ">", "<=", ">="]),
    st.one_of(NUMBERS, TEXTS, VARIABLES),
)
WITH_NULL = st.builds(p.Comparison, VARIABLES, st.sampled_from(["==", "!="]), st.just(p.Null()))
MATCHED = st.builds(
    p.Comparison,
    VARIABLES,
    st.sampled_from(["=~", "!~"]),
    st.sampled_from(["^a", "[0-9]+$", ".*", "b|7", "^INV", "^\\w$"]).map(p.Text),
)
COMPARISONS = st.one_of(COMPARED, COMPARED, COMPARED, MATCHED, WITH_NULL)


def formulas(signs, operands, most=4):
    """A row of operands."""
    return st.builds(p.Formula, operands, st.lists(st.tuples(signs, operands), max_size=most).map(tuple))


def signed(operands):
    """Operands, some with a sign before or brackets around them."""
    return st.one_of(
        operands,
        operands,
        operands,
        st.builds(p.Not, operands, st.sampled_from(["!", "not"])),
        operands.map(p.BitNot),
        st.builds(p.Brackets, formulas(st.one_of(SUMS, BITS), operands, 2), st.booleans()),
    )


ARITHMETIC = formulas(st.one_of(SUMS, SUMS, BITS), signed(st.one_of(NUMBERS, NUMBERS, VARS)))
JOINS = formulas(st.just("+"), st.one_of(TEXTS, TEXTS, VARIABLES, NUMBERS))
CONDITIONS = formulas(LOGIC, signed(st.one_of(COMPARISONS, COMPARISONS, VARIABLES, NUMBERS, GIVE)))
MIXED = formulas(
    st.one_of(SUMS, BITS, LOGIC), signed(st.one_of(NUMBERS, TEXTS, VARIABLES, COMPARISONS, CALLS, st.just(p.Null())))
)
EXPRESSIONS = st.one_of(NUMBERS, TEXTS, VARIABLES, ARITHMETIC, ARITHMETIC, JOINS, CONDITIONS, CALLS, MIXED)

# Statements

ASSIGNMENTS = st.one_of(
    st.builds(p.Assign, TARGETS, st.sampled_from(["=", "=", "=", ":="]), st.one_of(EXPRESSIONS, st.just(p.Null()))),
    st.builds(p.Assign, AVPS, st.just("="), st.one_of(NUMBERS, TEXTS, st.just(p.Null()))),
    st.builds(p.Assign, INDEXED, st.just("="), st.one_of(NUMBERS, TEXTS, st.just(p.Null()))),
    st.builds(p.Assign, TARGETS, st.sampled_from([f"{sign}=" for sign in "+-*/%&|^"]), st.one_of(NUMBERS, EXPRESSIONS)),
)
LOGS = st.one_of(
    st.builds(p.Log, TEMPLATES, st.one_of(st.none(), st.sampled_from(["L_ALERT", "L_ERR", "L_INFO", "L_DBG"]))),
    st.builds(p.PlainLog, st.integers(-3, 4), WORDS.map(lambda word: f"> {word}")),
)
RETURN_CODES = st.one_of(st.none(), SMALL.map(p.Number), VARIABLES)


def returns():
    return st.one_of(
        st.builds(p.Return, RETURN_CODES),
        st.builds(p.Return, st.one_of(SMALL.map(p.Number), VARIABLES), st.lists(ARGUMENTS, max_size=3).map(tuple)),
    )


ENDS = st.one_of(returns(), returns(), st.just(p.Exit()), st.just(p.Drop()))
SIMPLE = st.one_of(
    *[ASSIGNMENTS] * 6, *[LOGS] * 2, *[CALLS.map(p.Do)] * 2, ENDS, st.builds(p.Assert, COMPARISONS, st.just("claimed"))
)
CASE_VALUES = st.one_of(st.integers(0, 7), st.sampled_from(["a", "B", "abc", "7"]))


def bodies(depth, loop, most=4):
    """Statements in a row.

    Args:
        depth: how many blocks may stand in each other.
        loop: whether a `break` may stand here.
        most: how many statements at most.
    """
    return st.lists(statements(depth, loop), max_size=most).map(tuple)


def statements(depth, loop):
    """One statement, see `bodies`."""
    simple = st.one_of(SIMPLE, SIMPLE, st.just(p.Break())) if loop else SIMPLE
    if not depth:
        return simple
    within, looping = bodies(depth - 1, loop, 3), bodies(depth - 1, True, 3)
    conditions = st.one_of(CONDITIONS, COMPARISONS, VARIABLES)
    return st.one_of(
        simple,
        simple,
        st.builds(p.If, conditions, within, st.one_of(st.none(), within)),
        st.builds(p.While, conditions, looping),
        st.builds(p.For, st.one_of(VARS, VARS, AVPS), ALL_OF, looping),
        st.builds(p.Switch, st.one_of(VARS, AVPS, st.just(p.Variable("rc"))), cases(looping)),
    )


@st.composite
def cases(draw, bodies_of_cases):
    """Cases of different values, and perhaps a default behind them."""
    values = draw(st.lists(CASE_VALUES, min_size=1, max_size=3, unique=True))
    found = [(value, draw(bodies_of_cases)) for value in values]
    return tuple(found + [(None, draw(bodies_of_cases))] * draw(st.booleans()))


# What a program begins with: without it most of what it reads would be NULL.
SETTINGS = st.tuples(
    *(
        st.builds(p.Assign, st.just(p.Variable("var", key)), st.just("="), st.one_of(NUMBERS, NUMBERS, TEXTS))
        for key in "abc"
    ),
)
FILLED = st.lists(st.builds(p.Assign, AVPS, st.just("="), st.one_of(NUMBERS, TEXTS)), max_size=5).map(tuple)
PROGRAMS = st.builds(
    lambda settings, filled, main, routes: p.Program(settings + filled + main, dict(zip(ROUTES, routes, strict=True))),
    SETTINGS,
    FILLED,
    bodies(3, False, 5),
    st.tuples(*(bodies(2, False, 4) for _ in ROUTES)),
)
