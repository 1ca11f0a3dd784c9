"""What a script shows when something in it raises."""

import traceback

import pytest

from runtime.script.problems import Place, ScriptError


def test_a_raising_function_names_its_statement(bench):
    made = bench('loadmodule "tools.so"\nroute {\n  say(1);\n  burst();\n}\n')
    with pytest.raises(ScriptError) as caught:
        made.run()
    assert caught.value.place == Place("opensips.cfg", 4, 3)
    assert isinstance(caught.value.cause, ZeroDivisionError)
    assert str(caught.value) == "opensips.cfg:4:3: ZeroDivisionError: by intent"


def test_the_innermost_route_and_file_are_named(bench):
    made = bench(
        'loadmodule "tools.so"\ninclude_file "sub.cfg"\nroute {\n route(sub);\n}\n',
        files={"sub.cfg": "\n\nroute[sub] {\n if ($var(x) == NULL && burst()) exit;\n}\n"},
    )
    with pytest.raises(ScriptError) as caught:
        made.run()
    assert caught.value.place == Place("sub.cfg", 4, 25)


@pytest.mark.parametrize(
    ("user", "place"),
    [
        ("one", Place("one.cfg", 2, 2)),
        ("loop", Place("two.cfg", 3, 22)),
        ("condition", Place("two.cfg", 5, 36)),
        ("case", Place("two.cfg", 9, 5)),
        ("text", Place("two.cfg", 11, 25)),
        ("deeper", Place("parts/three.cfg", 1, 24)),
        ("behind", Place("opensips.cfg", 6, 3)),
        ("marked", Place("made of this.m4", 71, 2)),
    ],
)
def test_statements_that_a_route_includes_are_of_their_own_file(bench, user, place):
    made = bench(
        'loadmodule "tools.so"\nroute {\n include_file "one.cfg"\n include_file "two.cfg"\n'
        ' if ($rU == "behind")\n  burst();\n'
        '__OSSPP_FILEBEGIN__ "made of this.m4"\n__OSSPP_LINE__ 70\n if ($rU == "marked")\n burst();\n'
        "__OSSPP_FILEEND__\n}\n",
        files={
            "one.cfg": 'if ($rU == "one")\n burst();\n',
            "two.cfg": '$avp(x) = 1;\nfor ($var(i) in $(avp(x)[*]))\n  if ($rU == "loop") burst();\n'
            'if ($rU == "condition")\n  while ($var(i) < 3 || $var(i) && burst()) $var(i) = 3;\n'
            'switch ($rU) {\n  case "one": break;\n  case "case":\n    burst();\n}\n'
            'if ($rU == "text") xlog("a $box(a)");\ninclude_file "parts/three.cfg"\n',
            "parts/three.cfg": 'if ($rU == "deeper") { burst(); }',
        },
    )
    made.context.ruri = f"sip:{user}@example.com"
    if user == "text":
        made.context.story = None
    with pytest.raises(ScriptError) as caught:
        made.run()
    assert caught.value.place == place


def test_the_traceback_shows_the_script_s_own_lines_and_routes(bench):
    made = bench('loadmodule "tools.so"\nroute {\n route(sub);\n}\nroute[sub] {\n burst();\n}\n')
    with pytest.raises(ScriptError) as caught:
        made.run()
    shown = "".join(traceback.format_exception(caught.value.cause))
    assert 'File "opensips.cfg", line 3, in route\n' in shown
    assert 'File "opensips.cfg", line 6, in route[sub]\n' in shown


def test_a_raising_variable_is_a_script_error_too(bench):
    made = bench('loadmodule "tools.so"\nroute {\n xlog("$rU $box(a)");\n}')
    made.context.story = None
    with pytest.raises(ScriptError) as caught:
        made.run()
    assert (caught.value.place.line, type(caught.value.cause)) == (3, AttributeError)


def test_script_text_is_never_read_as_python(bench):
    nasty = "__import__('os').system('x')"
    made = bench(
        f'loadmodule "tools.so"\nroute {{ say("{nasty}"); $var({nasty}) = 1; route("a.b:c-d"); }}\n'
        'route["a.b:c-d"] { say("in $route.name"); }'
    )
    made.run()
    assert made.tools.calls == [nasty, "in a.b:c-d"]
    assert made.var(nasty) == 1


def test_compiled_routes_have_no_builtins(bench):
    made = bench("route { exit; }")
    code = made.script.routes.request.__closure__
    functions = [cell.cell_contents for cell in code if hasattr(cell.cell_contents, "__code__")]
    assert [function.__globals__["__builtins__"] for function in functions] == [{}]
