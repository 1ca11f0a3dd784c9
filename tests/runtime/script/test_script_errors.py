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
