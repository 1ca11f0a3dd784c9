"""Modules cfgutils and cachedb_local, as a script uses them over a store, with no server around them."""

from types import SimpleNamespace

import pytest

from mi_script.commands import MiError, Params
from runtime.counters import COUNTERS
from runtime.errors import SettingsError
from runtime.modules.catalog import CATALOG
from runtime.modules.cfgutils import Cfgutils
from runtime.script.compile import compile_script
from runtime.script_process import ScriptProcess
from runtime.statistics import Statistics
from runtime.store import Store, StoreError
from tests.runtime.modules.conftest import WORLD
from tests.runtime.script.conftest import INVITE, Bench, Process, check_text, make_context

HEAD = """
loadmodule "cfgutils.so"
loadmodule "cachedb_local.so"
modparam("cfgutils", "shvset", "debug=i:1")
modparam("cfgutils", "shvset", "gw=s:sip:10.10.10.10")
"""


@pytest.fixture
def store(tmp_path):
    made = Store(tmp_path / "store", 1 << 20)
    yield made
    made.close()


@pytest.fixture
def run(store):
    """Run statements with the modules loaded, in a process that has a store."""

    def go(statements, head=HEAD):
        checked = check_text(f"{head}route {{ {statements} }}", catalog=CATALOG)
        assert not isinstance(checked, list), [str(problem) for problem in checked]
        modules = {name: CATALOG[name](checked.settings[name]) for name in checked.modules}
        statistics = Statistics(1)
        for group, names in COUNTERS.items():
            statistics.declare(group, names)
        for module in modules.values():
            module.house = SimpleNamespace(statistics=statistics)
            module.enter(SimpleNamespace(store=store))
        made = Bench(
            compile_script(checked, modules, (process := Process()), WORLD), process, modules, make_context(INVITE)
        )
        made.ended = made.run()
        return made

    return go


@pytest.mark.parametrize(
    ("statements", "shown"),
    [
        ('xlog("$shv(debug) $shv(gw) $shv(none)");', "1 sip:10.10.10.10 0"),
        (
            '$shv(debug) = 5; $shv(gw) = "x"; $shv(n) = $shv(debug) + 1; xlog("$shv(debug) $shv(gw) $shv(n)");',
            "5 x 6",
        ),
        ('$shv(debug) = NULL; xlog("$shv(debug)");', "0"),
        ('$shv(n) += 2; $shv(n) += 3; xlog("$shv(n)");', "5"),
        ('$shv($ci) = "c"; xlog("$shv(call-1)");', "c"),
        ('$avp(x) = 1; $avp(x) = 2; set_count($avp(x), $var(n)); xlog("$var(n)");', "2"),
        ('ts_usec_delta(10, 300, 8, 100, $var(d)); xlog("$var(d)");', "2000200"),
        ('if (rand_event(100) && !rand_event(0)) xlog("yes");', "yes"),
        (
            "rand_set_prob(4); if (rand_get_prob() == 4 && rand_reset_prob() && rand_get_prob() == 10) xlog('yes');",
            "yes",
        ),
        ('if (!rand_set_prob(100) && !rand_set_prob(-1)) xlog("refused");', "refused"),
        ('xlog("$env(LAYBY_NO_SUCH)");', "<null>"),
    ],
)
def test_cfgutils(run, statements, shown):
    assert run(statements).texts == [shown]


def test_the_environment(run, monkeypatch):
    monkeypatch.setenv("LAYBY_TEST", "here")
    assert run('xlog("$env(LAYBY_TEST)");').texts == ["here"]


def test_the_time_in_two_numbers_and_as_text(run):
    made = run("get_accurate_time($var(s), $var(u), $var(t)); ")
    assert made.var("t") == f"{made.var('s')}.{made.var('u'):06}"


def test_what_a_shared_variable_does_not_take(run):
    name = "n" * 501
    made = run(f'$shv({name}) = 1; xlog("$rc $shv({name})");')
    assert (made.process.logged[0][0], made.texts[-1]) == (-1, "-1 0")


@pytest.mark.parametrize("text", ["debug", "debug=x:1", "debug=i:one", "=i:1"])
def test_a_wrong_first_value(text):
    with pytest.raises(SettingsError, match="is not a first value"):
        Cfgutils({"shvset": [text], "varset": []})


def test_a_process_begins_with_its_variables(store):
    module = Cfgutils({"shvset": [], "varset": ["init=i:1", "gw=s:a=b"], "initial_probability": 10})
    process = ScriptProcess.__new__(ScriptProcess)
    process.store, process.variables = store, {}
    module.enter(process)
    module.opened()
    assert process.variables == {"init": 1, "gw": "a=b"}


def test_the_management_commands(run):
    module = run('$shv(b) = "\xc3\xa9"; rand_set_prob(7);').tools["cfgutils"]
    debug = {"name": "debug", "type": "integer", "value": 1}
    gateway = {"name": "gw", "type": "string", "value": "sip:10.10.10.10"}
    assert module.mi_shv_get(Params()) == [[debug, gateway, {"name": "b", "type": "string", "value": "é"}]]
    assert module.mi_shv_set(Params({"name": "debug", "type": "int", "value": "8"})) == "OK"
    assert module.mi_shv_set(Params({"name": "é", "type": "str", "value": "é"})) == "OK"
    assert module.mi_shv_get(Params({"name": "debug"})) == {"VAR": {**debug, "value": 8}}
    assert module.mi_shv_get(Params({"name": "é"})) == {"VAR": {"name": "é", "type": "string", "value": "é"}}
    assert module.mi_rand_get_prob(Params()) == {"actual probability percent": 7}
    assert module.mi_rand_set_prob(Params({"prob_proc": 9})) == module.mi_rand_reset_prob(Params()) == "OK"
    assert module.mi_rand_get_prob(Params()) == {"actual probability percent": 10}


@pytest.mark.parametrize("name", ["never", "", "n" * 501, "\0probability\0"])
def test_what_nobody_assigned_is_not_found(run, name):
    with pytest.raises(MiError, match="Not found"):
        run("").tools["cfgutils"].mi_shv_get(Params({"name": name}))


@pytest.mark.parametrize(
    "given",
    [
        {"name": "x", "type": "int", "value": "one"},
        {"name": "", "type": "str", "value": ""},
    ],
)
def test_what_the_management_refuses(run, given):
    module = run("exit;").tools["cfgutils"]
    with pytest.raises(MiError):
        module.mi_shv_set(Params(given))


# Counters


@pytest.mark.parametrize(
    ("statements", "shown"),
    [
        (
            'cache_add("local", "n", 5, 0, $var(x)); cache_sub("local", "n", 2, 0);'
            'cache_add("local", "n", 1, 0, $avp(y));'
            'cache_counter_fetch("local", "n", $var(z)); $var(sum) = $var(z) + 1; xlog("$var(x) $avp(y) $var(sum)");',
            "5 4 5",
        ),
        ('if (cache_counter_fetch("local", "none", $var(x)) == -2) xlog("none $rc");', "none -2"),
        (
            'cache_store("local", "t", "text"); $var(a) = cache_add("local", "t", 1, 0);'
            '$var(b) = cache_counter_fetch("local", "t", $var(x)); xlog("$var(a) $var(b)");',
            "-1 -1",
        ),
        ('cache_store("local", "n", "41"); cache_add("local", "n", 1, 0, $var(x)); xlog("$var(x)");', "42"),
        (
            '$var(a) = cache_add("redis:x", "n", 1, 0);'
            '$var(b) = cache_counter_fetch("redis", "n", $var(x)); xlog("$var(a) $var(b)");',
            "-1 -1",
        ),
        ('$var(a) = cache_add("local", "n", 1, -5); xlog("$var(a)");', "-1"),
    ],
)
def test_counters(run, statements, shown):
    assert run(statements).texts == [shown]


def test_a_counter_keeps_its_time_unless_it_gets_another(store):
    assert store.add("c", "n", 2, now=0.0, expires_at=10.0) == 2
    assert store.add("c", "n", 2, now=5.0) == 4
    assert store.get("c", "n", 9.0) == "4"
    assert store.add("c", "n", 1, now=10.0) == 1
    assert store.get("c", "n", 1e12) == "1"


@pytest.mark.parametrize("amount", [2**63 - 1, -(2**63)])
def test_a_sum_has_64_bits(store, amount):
    store.add("c", "n", amount, now=0.0)
    with pytest.raises(StoreError, match="too large"):
        store.add("c", "n", amount, now=0.0)
    assert store.get("c", "n", 0.0) == str(amount)
