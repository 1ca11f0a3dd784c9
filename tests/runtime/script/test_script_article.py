"""The snippets of the article on running MI commands from the script, as they stand there."""

import pytest

from runtime.script.check import Checked
from runtime.script.declare import JobRequest, Kind, Module, Param, asynchronous, function
from runtime.script.script import EXIT

RELOAD = """
# reload Dynamic Routing module, the extensions partition
mi("dr_reload extensions");
"""
LIST = """
# list first 10 dialogs, paginated
$avp(attrs) = "index";
$avp(vals) = "0";
$avp(attrs) = "counter";
$avp(vals) = "10";
mi("dlg_list",,$avp(attrs), $avp(vals));
"""

PARAMS = (
    Param("command", Kind.STRING),
    Param("result", Kind.OUTPUT, optional=True),
    Param("names", Kind.AVP, optional=True),
    Param("values", Kind.AVP, optional=True),
)


class MiScript(Module):
    """Notes what a script asks for, and answers it at once."""

    name = "mi_script"

    def __init__(self, settings=None):
        super().__init__(settings)
        self.calls = []

    @function("mi", *PARAMS)
    def mi(self, c, command, result, names, values):
        self._note(c, command, names, values)
        if result is not None:
            result.set(c, f"answer to {command}")
        return -404 if command.startswith("nothing") else 1

    @asynchronous("mi", *PARAMS)
    def mi_later(self, c, command, result, names, values):
        self._note(c, command, names, values)

        def finish(context, outcome):
            result.set(context, "late answer")
            return 1

        return JobRequest("mi_script.execute:run", command, command.encode("latin-1"), 30.0, finish)

    def _note(self, c, command, names, values):
        self.calls.append((command, names and names.all(c), values and values.all(c)))


@pytest.fixture
def article(bench):
    def run(statements, more=""):
        module = MiScript()
        made = bench(
            f'loadmodule "mi_script.so"\nroute {{{statements}}}\n{more}',
            catalog={"mi_script": MiScript},
            modules={"mi_script": module},
        )
        made.ended = made.run()
        made.calls = module.calls
        return made

    return run


def test_the_simple_way(article):
    made = article(RELOAD)
    assert made.calls == [("dr_reload extensions", None, None)]
    assert (made.ended, made.context.rc) == (None, 1)


def test_using_avps(article):
    made = article(LIST)
    assert made.calls == [("dlg_list", ["index", "counter"], ["0", "10"])]


def test_the_result_goes_into_the_second_parameter_and_rc(article):
    made = article('mi("uptime", $var(out)); xlog("$rc $var(out)"); mi("nothing", $avp(out)); xlog("$rc $avp(out)");')
    assert made.texts == ["1 answer to uptime", "-404 answer to nothing"]


def test_a_call_in_a_condition_is_true_when_its_code_is_positive(article):
    made = article('if (mi("uptime")) xlog("yes"); if (!mi("nothing")) xlog("no");')
    assert made.texts == ["yes", "no"]


def test_the_asynchronous_flavour_resumes_in_its_route(article):
    made = article(
        'async(mi("get_statistics $rU", $var(out)), resume, 5); xlog("never");',
        'route[resume] { xlog("$rc $var(out)"); }',
    )
    assert made.ended is EXIT
    ((begin, resume, timeout_s, _),) = made.process.parked
    assert (begin.label, resume, timeout_s) == ("get_statistics alice", "resume", 5)
    made.context.rc = begin.finish(made.context, None)
    made.script.routes.named[resume](made.context)
    assert made.texts == ["1 late answer"]


def test_without_attaching_it_to_a_sip_context(article):
    made = article(
        'launch(mi("dr_reload", $avp(ret)), report, "for $ci"); xlog("on $rc");',
        'route[report] { xlog("$param(1)"); }',
    )
    ((_, report, param, _),) = made.process.launched
    assert (made.ended, report, param, made.texts) == (None, "report", "for call-1", ["on 1"])


def test_a_misspelt_resume_route_does_not_load(problems):
    found = problems(
        'loadmodule "mi_script.so"\nroute { async(mi("uptime"), nosuch); }\nroute[resume] {}',
        catalog={"mi_script": MiScript},
    )
    assert found == ["opensips.cfg:2:29: error: there is no route to resume in: route[nosuch]"]


def test_async_loads_in_every_type_of_route(checked):
    named = ("failure_route[f]", "branch_route[b]", "timer_route[t, 9]", "event_route[E_X]")
    heads = (*named, "route", "onreply_route", "local_route", "startup_route", "error_route")
    routes = "\n".join(f'{head} {{ async(mi("uptime"), resume); }}' for head in heads)
    found = checked(f'loadmodule "mi_script.so"\n{routes}\nroute[resume] {{ exit; }}', catalog={"mi_script": MiScript})
    assert isinstance(found, Checked)
