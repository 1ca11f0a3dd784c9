"""What programs outside ask of a server: that which a script waits for, and no SIP message brings about."""

import json
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from runtime.script import tree
from runtime.script.parse import parse
from runtime.simulation.drafts import Surroundings
from runtime.simulation.programs import Wanted, draw_programs, slowest_s, wanted_of
from runtime.simulation.sharing import counting_in

AROUND = Surroundings("192.0.2.1:5060", "192.0.2.9:5070", "192.0.2.100", ("alice", "44"), ("10.1.2.3",))
SCRIPT = """
route {
    if (cache_fetch("local:closed", $var(carrier), $var(why)) || cache_fetch("local:limits", "all", $var(most)))
        exit;
    cache_store("local:seen", $fU, "1");
    cache_fetch("local:seen", $fU, $var(x));
}
local_route { xlog("own"); }
event_route[E_MINE] { xlog("$param(name) $param(1)"); }
event_route[E_THEIRS] { xlog("$param(other)"); }
timer_route[a, 60] { xlog("a"); }
timer_route[b, 3600] { xlog("b"); }
"""


def routes_of(text: str) -> Sequence[tree.Route]:
    return [item for item in parse(text, "a.cfg") if isinstance(item, tree.Route)]


def test_what_a_script_waits_for_is_read_from_it() -> None:
    wanted = wanted_of(routes_of(SCRIPT), ["E_THEIRS"])

    assert wanted == Wanted(True, (("E_MINE", ("name",)),), (("local:closed", None), ("local:limits", "all")))
    assert wanted_of(routes_of("route { exit; }"), []) == Wanted()
    assert (slowest_s(routes_of(SCRIPT)), slowest_s(())) == (3600.0, 0.0)


@given(st.integers(0, 2**64 - 1))
def test_each_of_that_is_asked_for_in_time(seed: int) -> None:
    wanted = wanted_of(routes_of(SCRIPT), ["E_THEIRS"])
    calls = draw_programs(wanted, seed, 1.0, 12.0, AROUND)
    asked = [json.loads(call.text) for call in calls]

    assert calls == draw_programs(wanted, seed, 1.0, 12.0, AROUND)
    assert [call.at_s for call in calls] == sorted(call.at_s for call in calls)
    assert all(1.0 <= call.at_s <= 13.0 for call in calls)
    assert {one["method"] for one in asked} == {"t_uac_dlg", "raise_event", "cache_store"}
    stored = {(one["params"]["system"], one["params"]["attr"]) for one in asked if one["method"] == "cache_store"}
    assert ("local:limits", "all") in stored
    assert stored <= {("local:limits", "all"), *(("local:closed", word) for word in ("alice", "44", "10.1.2.3"))}


def test_nothing_is_asked_of_a_script_that_waits_for_nothing() -> None:
    assert draw_programs(Wanted(), 1, 0.0, 10.0, AROUND) == []


def test_what_makes_something_of_what_a_shared_variable_was_is_counting() -> None:
    text = 'route {\n$shv(n) = $shv(n) + 1;\n$shv(m) += 2;\n$shv(who) = $fU;\n$shv(n) = 0;\nxlog("$shv(who)");\n}'

    assert counting_in(routes_of(text)) == {("a.cfg", 2, "n"), ("a.cfg", 3, "m")}
