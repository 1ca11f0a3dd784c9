"""A run as a sequence diagram: the pictures are the specification."""

from hypothesis import given
from hypothesis import strategies as st

from runtime.simulation.diagram import diagram, of_call
from runtime.simulation.events import (
    Crashed,
    Event,
    FrameLost,
    FrameReceived,
    FrameSent,
    JobBegan,
    JobEnded,
    Noted,
    PacketLost,
    PacketReceived,
    PacketSent,
    Parked,
    Resumed,
    Stalled,
    Started,
)
from tests.properties.test_simulation_events import EVENTS

OPTIONS = "OPTIONS sip:a@b SIP/2.0\r\nCall-ID: one\r\nCSeq: 1 OPTIONS\r\n\r\n"
OK = "SIP/2.0 200 OK\r\nCall-ID: one\r\nCSeq: 1 OPTIONS\r\n\r\n"
PARKED_AND_RESUMED: list[Event] = [
    Started(0.0, "sip-1.1"),
    Started(0.0, "worker-1.1"),
    PacketSent(0.01, 1, "uac-1", "sip", OPTIONS),
    PacketReceived(0.011, 1, "sip-1.1"),
    Parked(0.011, "sip-1.1", "sip-1.1.1", "done", "a.cfg", 7, 5.0, "one"),
    FrameSent(0.011, 1, "sip-1.1", "worker-1.1", "jobs"),
    FrameReceived(0.0112, 1, "worker-1.1"),
    JobBegan(0.0112, "worker-1.1", "sip-1.1.1", "uptime"),
    JobEnded(0.012, "worker-1.1", "sip-1.1.1", "Returned"),
    FrameSent(0.012, 2, "worker-1.1", "sip-1.1", "answers"),
    FrameReceived(0.0125, 2, "sip-1.1"),
    Resumed(0.0125, "sip-1.1", "sip-1.1.1", "Returned", 1),
    PacketSent(0.0125, 2, "sip-1.1", "uac-1", OK),
    PacketReceived(0.014, 2, "uac-1"),
]


def test_a_request_that_is_parked_and_answered() -> None:
    assert diagram(PARKED_AND_RESUMED, 90) == (
        "          uac-1               sip-1               worker-1\n"
        "  0.0110  │──── OPTIONS ─────▶│                   │\n"
        "  0.0110  │                   ● parks in line 7 for sip-1.1.1, at most 5 s\n"
        "  0.0112  │                   │────── jobs ──────▶│\n"
        "  0.0112  │                   │                   ● begins uptime (sip-1.1.1)\n"
        "  0.0120  │                   │                   ● ends sip-1.1.1: Returned\n"
        "  0.0125  │                   │◀──── answers ─────│\n"
        "  0.0125  │                   ● resumes sip-1.1.1: Returned 1\n"
        "  0.0140  │◀── 200 OPTIONS ───│                   │\n"
    )


def test_what_is_lost_and_who_dies() -> None:
    assert diagram(
        [
            Started(0.0, "sip-1.1"),
            Started(0.0, "sip-2.1"),
            PacketSent(1.0, 1, "uac-1", "sip", OPTIONS),
            PacketLost(1.0, 1),
            FrameSent(1.0, 1, "sip-2.1", "sip-1.1", "jobs"),
            Crashed(1.1, "sip-1.1", "kill"),
            FrameLost(1.1, 1),
            Stalled(1.2, "sip-2.1", 0.5),
            Started(1.3, "sip-1.2"),
        ],
        80,
    ) == (
        "          uac-1               sip-1               sip-2\n"
        "  1.0000  │──── OPTIONS ─────✕│                   │\n"
        "  1.1000  │                   ● dies: kill        │\n"
        "  1.1000  │                    ✕────── jobs ──────│\n"
        "  1.2000  │                                       ● stops for 0.5 s\n"
        "  1.3000  │                   ● starts (sip-1.2)  │\n"
    )


def test_of_one_call_only_what_concerns_it_is_left() -> None:
    other = OPTIONS.replace("Call-ID: one", "Call-ID: two")
    events: list[Event] = [
        *PARKED_AND_RESUMED[:4],
        PacketSent(0.02, 9, "uac-2", "sip", other),
        PacketReceived(0.02, 9, "sip-1.1"),
        Parked(0.02, "sip-1.1", "sip-1.1.2", "done", "a.cfg", 7, 5.0, "two"),
        Noted(0.02, "sip-1.1", "a line"),
        Resumed(0.03, "sip-1.1", "sip-1.1.2", "Returned", 1),
        *PARKED_AND_RESUMED[4:],
    ]

    left = of_call(events, "one")

    assert left == [one for one in PARKED_AND_RESUMED if not isinstance(one, FrameSent | FrameReceived)]


@given(st.lists(EVENTS, max_size=30), st.integers(40, 200))
def test_no_line_is_wider_than_asked_for(events: list[Event], width: int) -> None:
    assert all(len(line) <= width for line in diagram(events, width).split("\n"))
