"""Traffic for a script: every message is SIP, what the script tests does occur, and a seed gives the same plan."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.script import tree
from runtime.script.parse import parse
from runtime.script.patterns import compile_pattern
from runtime.simulation.chance import Chance
from runtime.simulation.drafts import Surroundings
from runtime.simulation.facts import Came, Facts, HasHeader, Method, Read, Reads, Status, ToTag, Unreadable
from runtime.simulation.fulfilling import drafted, exclude_each_other, holds
from runtime.simulation.matching import text_like, text_unlike
from runtime.simulation.traffic import Drawn, draw_traffic, send_of
from runtime.simulation.wishes import Goal, Wishes, wishes_of, words_of
from runtime.sip.message import Request
from runtime.sip.message import parse as parse_message

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.cfg"))
AROUND = Surroundings("192.0.2.1:5060", "192.0.2.9:5070", "192.0.2.100")
SCRIPT = """
route {
    if (has_totag()) {
        if (is_method("INFO") && $hdr(X-Kind) == "key")
            route(keys);
        exit;
    }
    if ($ua =~ "^(friendly|sip)-scanner")
        exit;
    if (is_method("REGISTER|PUBLISH"))
        exit;
    switch ($rU) {
    case "reload":
        route(reload);
        break;
    case "list":
        exit;
    default:
        if ($rU !~ "^[0-9]{3,5}$" || $(hdr(X-Count){s.int}) > 10)
            exit;
    }
    t_on_failure("next");
}
route[keys] { xlog("keys"); }
route[reload] {
    if (is_method("REGISTER"))
        route(never);
}
route[never] { xlog("never"); }
failure_route[next] {
    if (t_check_status("486|6[0-9][0-9]"))
        exit;
}
"""
SEEDS = st.integers(0, 2**64 - 1)


def routes_of(text: str) -> Sequence[tree.Route]:
    items = parse(text, "test.cfg")
    assert not any(not isinstance(item, tree.Item) for item in items), items
    return [item for item in items if isinstance(item, tree.Route)]


@cache
def wishes() -> Wishes:
    return wishes_of(routes_of(SCRIPT))


@cache
def goals_of(path: Path) -> list[Goal]:
    return [one for one in wishes_of(routes_of(path.read_text())).goals if not exclude_each_other(one.facts)]


def plan(seed: int, count: int = 60) -> list[Drawn]:
    return draw_traffic(wishes(), seed, count, 10.0, AROUND, ("cancel", "duplicate"))


def facts_at(line_of: str) -> list[Facts]:
    line = next(number for number, text in enumerate(SCRIPT.split("\n"), 1) if line_of in text)
    return [goal.facts for goal in wishes().goals if goal.place.line == line]


def test_the_facts_of_a_stretch_are_those_of_the_tests_around_it() -> None:
    assert facts_at("route(keys);") == [
        (ToTag(), Method(frozenset(("INFO",))), Reads(Read("hdr(x-kind)"), "==", "key")),
    ]
    assert facts_at("route(reload);") == [
        (
            ToTag(False),
            Reads(Read("ua"), "=~", "^(friendly|sip)-scanner", holds=False),
            Method(frozenset(("REGISTER", "PUBLISH")), holds=False),
            Reads(Read("rU"), "==", "reload"),
        )
    ]
    [failed] = facts_at('t_check_status("486')
    assert failed[-1] == Came("failure")


def test_what_excludes_each_other_cannot_be_reached() -> None:
    [facts] = facts_at("route(never);")

    assert exclude_each_other(facts)
    assert all(not exclude_each_other(goal.facts) for goal in wishes().goals if goal.place.line < 20)


@given(SEEDS)
def test_a_seed_gives_one_plan(seed: int) -> None:
    one, two = plan(seed), plan(seed)

    assert one == two
    assert msgspec.json.decode(msgspec.json.encode(one), type=list[Drawn]) == one
    assert [call.at_s for call in one] == sorted(call.at_s for call in one)


@given(SEEDS)
def test_every_message_is_a_request_as_it_was_drafted(seed: int) -> None:
    for drawn in plan(seed):
        sent = send_of(drawn, AROUND)
        message = parse_message(sent.data.encode("latin-1"))
        assert isinstance(message, Request), message
        assert (message.method, message.ruri) == (drawn.draft.method, drawn.draft.ruri)
        assert (message.to.tag is not None, message.max_forwards) == (drawn.draft.tagged, drawn.draft.hops)
        assert all(message.get(name) == value for name, value in drawn.draft.headers)


@given(SEEDS)
def test_a_call_is_the_same_without_the_others(seed: int) -> None:
    few, many = plan(seed, 5), plan(seed, 50)

    assert [call for call in many if call.number < 5] == few


@given(SEEDS)
def test_what_the_script_tests_does_occur(seed: int) -> None:
    drafts = [call.draft for call in plan(seed, 150)]

    assert {"REGISTER", "INFO"} <= {draft.method for draft in drafts}
    assert any(draft.ruri.startswith("sip:reload@") for draft in drafts)
    assert any(draft.ruri.startswith("sip:list@") for draft in drafts)
    assert any(("x-kind", "key") in draft.headers and draft.tagged for draft in drafts)
    assert any(status == 486 or status >= 600 for draft in drafts for status in draft.statuses)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
@given(seed=SEEDS)
def test_all_that_the_examples_ask_for_is_fulfilled(path: Path, seed: int) -> None:
    goals = goals_of(path)
    chance = Chance(seed)

    for goal in goals:
        draft = drafted(goal.facts, chance.split(goal.place.line), AROUND)
        assert [fact for fact in goal.facts if not holds(fact, draft)] == []


@given(st.from_regex(r"\^?(a|b[0-9]{1,3}|[^x]+|\\+?[1-9]*|(cd){2,4}\.)+\$?", fullmatch=True), SEEDS)
def test_a_text_like_a_pattern_matches_it_and_one_unlike_it_does_not(pattern: str, seed: int) -> None:
    like, unlike = text_like(pattern, Chance(seed)), text_unlike(pattern, Chance(seed))

    assert like is None or compile_pattern(pattern).search(like)
    assert unlike is None or not compile_pattern(pattern).search(unlike)


@pytest.mark.parametrize("pattern", ["^async-slow-([0-9]+)$", "408|5[0-9][0-9]", r"^\+?[1-9][[:digit:]]{3,15}$"])
def test_patterns_that_scripts_use_are_matched(pattern: str) -> None:
    assert all(text_like(pattern, Chance(seed)) for seed in range(50))


def test_what_no_message_can_say_is_left_out() -> None:
    facts: Facts = (HasHeader("x y"), Reads(Read("hdr(from)"), "==", "x"), Reads(Read("rU"), "==", "a b"), Status("^1"))
    draft = drafted(facts, Chance(1), AROUND)

    assert dict(draft.headers).keys() <= {"user-agent"}
    assert " " not in draft.ruri


def test_texts_of_the_script_are_tried_as_users_and_sources() -> None:
    text = (
        'startup_route {\ncache_store("local:routes", "4420", "home");\ncache_store("local:who", "10.1.2.3", "a b");\n}'
    )
    users, sources = words_of(routes_of(text))
    around = Surroundings("192.0.2.1:5060", "192.0.2.9:5070", "192.0.2.100", users, sources)
    drafts = [drafted((), Chance(seed), around) for seed in range(200)]

    assert (users, sources) == (("4420", "home"), ("10.1.2.3",))
    assert {"10.1.2.3", "192.0.2.100"} == {draft.source for draft in drafts}
    assert any(draft.ruri.startswith("sip:4420@") for draft in drafts)


@given(SEEDS)
def test_a_field_of_a_text_is_fulfilled_with_the_rest_of_it(seed: int) -> None:
    text = 'route {\n$var(what) = $(rU{s.select,1,-});\nswitch ($var(what)) {\ncase "slow":\nexit;\n}\n}'
    [goal] = [goal for goal in wishes_of(routes_of(text)).goals if goal.facts]
    draft = drafted(goal.facts, Chance(seed), AROUND)

    assert goal.facts == (Reads(Read("rU", field=(1, "-")), "==", "slow"),)
    assert draft.ruri.partition("@")[0].split("-")[1] == "slow"


@given(SEEDS)
def test_an_error_route_gets_what_it_is_for(seed: int) -> None:
    [goal] = [goal for goal in wishes_of(routes_of("route { exit; }\nerror_route { exit; }")).goals if goal.facts]
    drawn = Drawn(7, 1.0, drafted(goal.facts, Chance(seed), AROUND))
    sent = send_of(drawn, AROUND)

    assert goal.facts == (Unreadable(),)
    assert not isinstance(parse_message(sent.data.encode("latin-1")), Request)
    assert not sent.resend
