"""Findings: every broken rule is one, each is told once, and what can never be reached is found without a run."""

import re
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.script import tree
from runtime.script.parse import parse
from runtime.simulation.events import Blocked, PacketReceived, PacketSent, Replied, Unanswered
from runtime.simulation.findings import Finding, Kind, NoFinding, finding_of, found_in, json_of, unreachable
from runtime.simulation.oracle import Rule, Violation
from runtime.simulation.plan import Plan, Send
from runtime.simulation.wishes import wishes_of

PLAN = Plan("a.cfg", items=[Send(0.5, "uac-1", "OPTIONS sip:a@b SIP/2.0\r\n\r\n")], seed=7)
GUIDE = Path(__file__).parents[2] / "docs/verifying.md"
TEXT = st.text(st.characters(max_codepoint=255), max_size=20)


@given(st.sampled_from(get_args(Kind)), TEXT, st.integers(0, 10**6), TEXT, st.floats(0, 1e6), TEXT, st.booleans())
def test_a_finding_survives_the_round_trip(
    kind: Kind, file: str, line: int, text: str, at_s: float, call: str, planned: bool
) -> None:
    finding = Finding(kind, file, line, text, at_s, call, 7, PLAN if planned else None)

    assert finding_of(json_of(finding)) == finding


@pytest.mark.parametrize("text", [b"", b"{}", b"[1]", b'{"kind":"odd","file":"","line":0,"text":""}', b"\xff"])
def test_what_is_no_finding_says_so(text: bytes) -> None:
    with pytest.raises(NoFinding):
        finding_of(text)


def test_every_rule_that_is_broken_is_a_finding_of_its_own_kind() -> None:
    broken = [Violation(rule, rule, 1.0, "sip-1.1", "a.cfg", 7, "sip-1.1.1", "one") for rule in get_args(Rule)]

    found = found_in(PLAN, [], broken, 0.1)

    assert [finding.text for finding in found] == list(get_args(Rule))
    assert all((finding.line, finding.plan, finding.seed) == (7, PLAN, 7) for finding in found)


def test_one_kind_at_one_place_is_told_once_and_short_waits_are_none() -> None:
    spans = [(1, 3, 0.05), (2, 4, 0.3), (3, 4, 0.4)]
    blocked = [Blocked(at_s, "sip-1.1", "a.cfg", line, for_s) for at_s, line, for_s in spans]

    assert [(one.kind, one.line, one.at_s) for one in found_in(PLAN, blocked, [], 0.1)] == [("blocks", 4, 2)]


def test_where_the_script_left_a_request_is_told_and_not_where_it_parked() -> None:
    violation = Violation("is answered", "no answer", 32.0, file="a.cfg", line=3, call="one")
    left = Unanswered(180.0, "sip-1.1", "one", "a.cfg", 9, relayed=False)

    assert [(one.kind, one.line) for one in found_in(PLAN, [left], [violation], 0.1)] == [("never-answered", 9)]


def test_what_a_next_hop_does_not_answer_is_not_the_scripts_fault() -> None:
    assert found_in(PLAN, [Unanswered(180.0, "sip-1.1", "one", "a.cfg", 9, relayed=True)], [], 0.1) == []


def unreachable_in(text: str) -> list[int]:
    routes = [item for item in parse(text, "a.cfg") if isinstance(item, tree.Route)]
    return sorted(finding.line for finding in unreachable(routes, wishes_of(routes)))


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("route {\nexit;\n}\nroute[a] {\nexit;\n}", [4]),
        ("route {\nroute(a);\n}\nroute[a] {\nexit;\n}", []),
        ('route {\nif (is_method("BYE")) {\nif ($rm == "INVITE")\nexit;\n}\n}', [4]),
        ('route {\nif (is_method("BYE") || has_totag()) {\nif ($rm == "INVITE")\nexit;\n}\n}', []),
        ('route {\nif ($rU == "a") {\n$rU = "b";\nif ($rU == "b")\nexit;\n}\n}', []),
        ('route {\nif ($rU == "a") {\nroute(x);\nif ($rU == "b")\nexit;\n}\n}\nroute[x] {\n$ru = "sip:b@c";\n}', []),
        ('route {\nif ($rU == "a") {\nlookup("location");\nif ($rU == "b")\nexit;\n}\n}', []),
        ('route {\n$var(m) = $rm;\nif ($var(m) == "BYE") {\nif (is_method("ACK"))\nexit;\n}\n}', [5]),
        ('route {\n$var(m) = $rm;\n$var(m) = "BYE";\nif ($var(m) == "BYE") {\nif (is_method("ACK"))\nexit;\n}\n}', []),
        ("route {\nroute($rU);\n}\nroute[a] {\nexit;\n}", []),
        (
            'route {\nif (is_method("ACK"))\nt_on_failure("f");\n}\n'
            'failure_route[f] {\nif (is_method("BYE"))\nexit;\n}',
            [7],
        ),
        ("timer_route[t, 1] {\nroute(a);\n}\nroute[a] {\nexit;\n}", []),
    ],
)
def test_what_no_message_can_reach_is_found_and_nothing_that_one_can(text: str, lines: list[int]) -> None:
    assert unreachable_in(text) == lines


def test_every_kind_is_in_the_guide_and_no_other() -> None:
    rows = re.findall(r"(?m)^\| (`[a-z-]+`(?:, `[a-z-]+`)*) \|[^|]*\|[^|]*\|$", GUIDE.read_text())

    assert {kind for row in rows for kind in re.findall("`([a-z-]+)`", row)} == set(get_args(Kind))


def asked(packet: int, method: str = "INFO") -> list[PacketSent | PacketReceived]:
    data = f"{method} sip:a@b SIP/2.0\r\nCall-ID: one\r\nCSeq: 1 {method}\r\n\r\n"
    return [PacketSent(0.0, packet, "uac-1", "sip", data), PacketReceived(0.1, packet, "sip")]


def test_copies_of_a_request_without_a_transaction_are_answered_one_by_one() -> None:
    twice = Violation("is answered once", "two answers", 1.0, call="one")
    replied = Replied(0.2, "sip-1.1", "one", 404, "a.cfg", 9, stateless=True)
    within = Replied(0.2, "sip-1.1", "one", 404, "a.cfg", 9, stateless=False)

    assert [one.line for one in found_in(PLAN, [*asked(1), replied], [twice], 0.1)] == [9]
    assert found_in(PLAN, [*asked(1), *asked(2), replied], [twice], 0.1) == []
    assert [one.line for one in found_in(PLAN, [*asked(1), *asked(2), within], [twice], 0.1)] == [9]


def test_what_was_sent_on_is_the_next_hops_to_answer() -> None:
    never = Violation("is answered", "no answer", 32.0, file="a.cfg", line=3, call="one")
    sent_on = PacketSent(0.3, 2, "sip-1.1", "gw", asked(1)[0].data)  # type: ignore[union-attr]

    assert [one.kind for one in found_in(PLAN, asked(1), [never], 0.1)] == ["never-answered"]
    assert found_in(PLAN, [*asked(1), sent_on], [never], 0.1) == []
