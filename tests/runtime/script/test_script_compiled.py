"""What statements are compiled to: what costs nothing at run time is not there."""

from pathlib import Path

import pytest

from runtime.script.check import Checked
from runtime.script.compile import python_of
from runtime.script.functions import World
from tests.runtime.script.conftest import Process, Tools, check_text

WORLD = World(wall_clock=lambda: 0.0, random=lambda: 0.5, process_id=lambda: 1)


def python(statements):
    """The lines of the request route."""
    checked = check_text(f'loadmodule "tools.so"\nroute {{\n{statements}\n}}\nroute[a] {{ }}\n')
    assert isinstance(checked, Checked), checked
    text = python_of(checked, {"tools": Tools()}, Process(), WORLD)
    head, _, rest = text.partition("def route(c):\n")
    assert head == "# opensips.cfg\n"
    body = rest.partition("\n\ndef ")[0]
    return [line.removeprefix("    ") for line in body.splitlines()]


@pytest.mark.parametrize(
    ("statement", "lines"),
    [
        # Constants fold.
        ("$var(x) = 2 + 3 * 4;", ["c.variables['x'] = 20"]),
        ('$var(x) = "a" + "b" + "c";', ["c.variables['x'] = 'abc'"]),
        ("$var(x) = ~5;", ["c.variables['x'] = -6"]),
        ("$var(x) = $cfg_line;", ["c.variables['x'] = 3"]),
        # A variable is one attribute, or one call.
        ("$var(x) = $ci;", ["c.variables['x'] = c.message.call_id"]),
        ("$var(x) = $var(y);", ["c.variables['x'] = c.variables.get('y')"]),
        ("$var(x) = $avp(y);", ["c.variables['x'] = (c.avps.get('y') or NO_VALUES)[-1]"]),
        ("$var(x) = $rU;", ["c.variables['x'] = parts_of(c.ruri).user"]),
        ("$avp(x) = 1;", ["c.avps.setdefault('x', []).append(1)"]),
        ("$avp(x) := 1;", ["clear_avp(c, 'x', 1)"]),
        ('$du = "sip:h";', ["c.dst_uri = 'sip:h'"]),
        ('$ru = "sip:u@h";', ["c.ruri = 'sip:u@h'"]),
        # Of comparisons the usual case comes first, in place.
        ("if ($ci == NULL) exit;", ["if c.message.call_id is None:", "    return EXIT"]),
        ('if ($ci == "7") exit;', ["if c.message.call_id == '7':", "    return EXIT"]),
        ("if ($cs > 7) exit;", ["if c.message.cseq_number > 7:", "    return EXIT"]),
        (
            'if ($ci == "a") exit;',
            ["if (t1 := c.message.call_id) == 'a' or t1.lower() == 'a':", "    return EXIT"],
        ),
        # A log line that is off is one comparison.
        (
            'xlog("L_DBG", "$ci of $rm\\n");',
            ["if 4 <= log_level():", "    log(4, f'{c.message.call_id} of {c.message.cseq_method}\\n', c, None)"],
        ),
        # Assertions that are not enabled are nothing.
        ("assert($ci == NULL);", []),
        # A route is one call, and four assignments for what it may see of its caller.
        (
            "route(a);",
            [
                "t1 = c.params",
                "t2 = c.route_name",
                "c.params = ()",
                "c.route_name = 'a'",
                "t3 = route[a](c)",
                "if not t3 is None:",
                "    return t3",
                "c.params = t1",
                "c.route_name = t2",
            ],
        ),
    ],
)
def test_a_statement_is_compiled_to(statement, lines):
    assert python(f"{statement} exit;") == [*lines, "return EXIT"]


def test_a_constant_pattern_is_compiled_before_and_only_looked_for():
    (test, *_) = python('if ($ci =~ "^[[:digit:]]+$") exit;')
    assert test.startswith("if t1 and (not search_0(t1) is None) if (t1 := c.message.call_id).__class__ is str else ")


def test_every_file_is_python_of_its_own():
    checked = check_text('include_file "part.cfg"\nroute { exit; }', files={"part.cfg": "route[p] { drop; }"})
    assert isinstance(checked, Checked)
    assert checked.path == Path("opensips.cfg")
    assert python_of(checked, {}, Process(), WORLD) == (
        "# part.cfg\ndef route[p](c):\n    return DROP\n\n# opensips.cfg\ndef route(c):\n    return EXIT"
    )
