"""The words of the language: each is declared once, here, for the checker, the reference and `layby which`.

How they go together is in grammar.lark.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Word:
    """A word that stands for itself.

    Args:
        name: the word.
        form: how it is written, with what may be left out in brackets.
        doc: what it does.
        reserved: whether it cannot be the unquoted name of a route.
    """

    name: str
    form: str
    doc: str
    reserved: bool = True


_IF: Final = ("if (condition) statement [else statement]", "Runs the first statement where the condition is true.")
_SWITCH: Final = (
    "switch ($variable) { case value: ... default: ... }",
    "Runs from the case that the variable is equal to, or from the default, on to a `break`.",
)
_FOR: Final = ("for ($var(x) in $(avp(y)[*])) statement", "Runs the statement for each value, the newest first.")
_LOG: Final = (
    "Writes a line into the log up to the level xlog_level: L_ALERT, L_CRIT, L_ERR, L_WARN, L_NOTICE, L_INFO, L_DBG."
)
_AND: Final = "One level of precedence with the other: from left to right, so `a or b and c` is `(a or b) and c`."

_DECLARED: Final = (
    # Statements
    Word("if", *_IF),
    Word("else", *_IF),
    Word("while", "while (condition) statement", "Repeats the statement, max_while_loops times at most."),
    Word("for", *_FOR),
    Word("in", *_FOR),
    Word("switch", *_SWITCH),
    Word("case", *_SWITCH),
    Word("default", *_SWITCH),
    Word("break", "break;", "Leaves the innermost loop or switch."),
    Word("return", "return [code]; or return(code, value, ...);", "Leaves the route: `$rc` is the code, or 1."),
    Word("exit", "exit;", "Ends the script; a message that is parked or under way goes on."),
    Word("drop", "drop;", "Ends the script; a reply in a reply route and a branch in a branch route go no further."),
    Word(
        "assert",
        'assert(condition[, "text"]);',
        "With enable_asserts, ends the script as a statement that fails does where the condition is false.",
    ),
    # Calls
    Word("route", "route(name, ...);", "Runs a route, which sees what follows its name as `$param(1)` and so on."),
    Word(
        "async",
        "async(function(...), route[, seconds]);",
        "Parks the message and runs the function in another process; the route goes on when that has ended.",
    ),
    Word(
        "launch",
        'launch(function(...)[, route[, "text"]]);',
        "Starts the function in another process and goes on at once; the route is run with its result.",
    ),
    Word("xlog", "xlog([level, ]text);", _LOG),
    Word("log", "log([level, ]text);", _LOG),
    Word("xdbg", "xdbg(text);", "Writes a line into the log at the level L_DBG."),
    # Conditions
    Word("and", "condition and condition", _AND),
    Word("or", "condition or condition", _AND),
    Word("not", "not condition", "True where the condition is false."),
    Word("NULL", "NULL", "No value: what an unset variable has, and what unsets one that is assigned it."),
    Word("null", "null", "NULL."),
    # Around the routes
    Word("sync", "event_route[name, sync] { ... }", "Such an event route runs where its event is raised."),
    Word("loadmodule", 'loadmodule "name.so"', "Loads a module, or a file of one's own: `folder/name.py`.", False),
    Word("modparam", 'modparam("module", "parameter", value)', "Sets a parameter of a module that is loaded.", False),
    Word("include_file", 'include_file "path"', "Reads another file in this place.", False),
    Word("import_file", 'import_file "path"', "Reads another file in this place, if it is there.", False),
    # Routes
    Word("failure_route", "failure_route[name] { ... }", "Runs when no branch takes a request, where armed.", False),
    Word("onreply_route", "onreply_route[name] { ... }", "Runs for a reply; the unnamed one for every one.", False),
    Word("branch_route", "branch_route[name] { ... }", "Runs for each branch before it is sent, where armed.", False),
    Word("local_route", "local_route { ... }", "Runs for each request of the server's own before it is sent.", False),
    Word("startup_route", "startup_route { ... }", "Runs once when the server has started.", False),
    Word("timer_route", "timer_route[name, seconds] { ... }", "Runs again and again in one process.", False),
    Word("event_route", "event_route[E_NAME[, sync|async]] { ... }", "Runs for each event of that name.", False),
    Word("error_route", "error_route { ... }", "Runs for a message that cannot be read, with `$(err.info)`.", False),
)

WORDS: Final[dict[str, Word]] = {declared.name: declared for declared in _DECLARED}
"""Every word by itself."""
RESERVED: Final = frozenset(name for name, word in WORDS.items() if word.reserved)
"""Words that cannot be the unquoted name of a route."""
