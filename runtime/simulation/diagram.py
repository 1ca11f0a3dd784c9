"""A run as a sequence diagram in text: a column for everybody, time downwards, an arrow for each message.

Peers of the network stand on the left, then the SIP processes, then who works for them. A message is drawn where it
arrives, and where it was lost. A process that is not alive has no line.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final, assert_never

from runtime.simulation.events import (
    AvpChanged,
    Blocked,
    Continued,
    Crashed,
    Event,
    FrameLost,
    FrameReceived,
    FrameSent,
    JobBegan,
    JobEnded,
    Launched,
    Noted,
    PacketLost,
    PacketReceived,
    PacketSent,
    Parked,
    Reloaded,
    Replied,
    Reported,
    Resumed,
    ScriptFailed,
    SharedChanged,
    Stalled,
    Started,
    Unanswered,
    who,
)

MAX_COLUMNS: Final = 9
_NARROWEST: Final = 13
_WIDEST: Final = 20
_TIME_CHARS: Final = 10
_LINE: Final = "│"
_ORDER: Final = ("uac", "gw", "sip", "worker", "mi")
_NUMBER: Final = re.compile(r"[0-9]+")


def diagram(events: Sequence[Event], width: int = 120) -> str:
    """Draw a run.

    Args:
        events: in the order in which they happened.
        width: how many characters a line may have; at least 40.

    Returns:
        lines, each with its end. Who has no column of the nine there may be is left out: those who do most have one.
    """
    names = _columns(events, max(2, min(MAX_COLUMNS, (max(width, 40) - _TIME_CHARS) // _NARROWEST)))
    drawing = _Drawing(names, max(width, 40))
    for event in events:
        drawing.draw(event)
    return "".join(f"{line.rstrip()}\n" for line in drawing.lines)


def of_call(events: Iterable[Event], call: str) -> list[Event]:
    """What concerns one call: its packets, what was parked for it and the jobs of that, and what befell processes.

    Args:
        events: of a whole run.
        call: a Call-ID.
    """
    packets: set[int] = set()
    jobs: set[str] = set()
    found: list[Event] = []
    for event in events:
        match event:
            case PacketSent(packet=packet, data=data):
                if not is_of_call(data, call):
                    continue
                packets.add(packet)
            case PacketReceived(packet=packet) | PacketLost(packet=packet):
                if packet not in packets:
                    continue
            case Unanswered() | SharedChanged() | Replied():
                if event.call != call:
                    continue
            case Parked(job=job):
                if event.call != call:
                    continue
                jobs.add(job)
            case (
                AvpChanged(job=job)
                | Resumed(job=job)
                | JobBegan(job=job)
                | JobEnded(job=job)
                | Reported(job=job)
                | Launched(job=job)
            ):
                if job not in jobs:
                    continue
            case FrameSent() | FrameReceived() | FrameLost() | Noted():
                continue
            case _:
                pass
        found.append(event)
    return found


def is_of_call(data: str, call: str) -> bool:
    """Whether a message has that Call-ID."""
    return call_id_in(data) == call


def call_id_in(data: str) -> str:
    """The Call-ID of a message; empty where there is none."""
    found = re.search(r"(?im)^(?:call-id|i)[ \t]*:[ \t]*(.*?)\r?$", data)
    return "" if found is None else found[1]


class _Drawing:
    def __init__(self, names: list[str], width: int) -> None:
        self._at = {name: number for number, name in enumerate(names)}
        self._width = width
        self._column = min(_WIDEST, (width - _TIME_CHARS) // max(1, len(names)))
        self._alive = {name for name in names if name.partition("-")[0] not in ("sip", "worker", "mi")}
        self._sent: dict[int, PacketSent] = {}
        self._frames: dict[int, FrameSent] = {}
        heads = "".join(name[: self._column - 1].ljust(self._column) for name in names)
        self.lines = [" " * _TIME_CHARS + heads]

    def draw(self, event: Event) -> None:
        match event:
            case PacketSent():
                self._sent[event.packet] = event
            case PacketReceived():
                sent = self._sent.get(event.packet)
                if sent is not None:
                    self._arrow(event.at_s, sent.source, event.to, title_of(sent.data))
            case PacketLost():
                sent = self._sent.get(event.packet)
                if sent is not None:
                    self._arrow(event.at_s, sent.source, sent.to, title_of(sent.data), lost=True)
            case FrameSent():
                self._frames[event.frame] = event
            case FrameReceived():
                frame = self._frames.get(event.frame)
                if frame is not None:
                    self._arrow(event.at_s, frame.source, event.to, frame.what)
            case FrameLost():
                frame = self._frames.get(event.frame)
                if frame is not None:
                    self._arrow(event.at_s, frame.source, frame.to, frame.what, lost=True)
            case _:
                self._happened(event)

    def _happened(self, event: Event) -> None:
        column = column_of(who(event))
        if isinstance(event, Started):
            self._alive.add(column)
            if not event.at_s:
                return  # all do, at the beginning
        self._note(event.at_s, column, words_of(event))
        if isinstance(event, Crashed):
            self._alive.discard(column)

    def _rails(self) -> list[str]:
        return [(_LINE if name in self._alive else " ").ljust(self._column) for name in self._at]

    def _note(self, at_s: float, column: str, text: str) -> None:
        if column not in self._at:
            return
        row = "".join(self._rails())
        start = self._at[column] * self._column
        self._put(at_s, f"{row[:start]}● {text}{row[start + 2 + len(text) :]}")

    def _arrow(self, at_s: float, source: str, to: str, text: str, *, lost: bool = False) -> None:
        first, last = self._at.get(column_of(source)), self._at.get(column_of(to))
        if first is None and last is None:
            return
        if last is None:  # the socket that the SIP processes share: whichever is next to the sender
            last = next((at for name, at in self._at.items() if name.startswith(f"{to}-")), first)
        if first is None or first == last:
            self._note(at_s, list(self._at)[last or 0], f"{text} {'lost' if lost else 'from ' + source}")
            return
        assert last is not None
        row = "".join(self._rails())
        left, right = min(first, last) * self._column, max(first, last) * self._column
        body = self._shaft(text, right - left - 1, forward=last > first, lost=lost)
        self._put(at_s, f"{row[: left + 1]}{body}{row[right:]}")

    def _shaft(self, text: str, chars: int, *, forward: bool, lost: bool) -> str:
        """The arrow between two columns with its text in it; a lost one ends in a cross."""
        inner = text[: chars - 3]
        filled = f" {inner} ".center(chars - 1, "─") if inner else "─" * (chars - 1)
        tip = "✕" if lost else ("▶" if forward else "◀")
        return f"{filled}{tip}" if forward else f"{tip}{filled}"

    def _put(self, at_s: float, row: str) -> None:
        self.lines.append(f"{at_s:>{_TIME_CHARS - 2}.4f}  {row}"[: self._width])


def words_of(event: Event) -> str:
    """What happened, in a few words; empty for what a message says by itself."""
    match event:
        case Parked():
            return f"parks in line {event.line} for {event.job}, at most {event.timeout_s:g} s"
        case Resumed():
            answer = f" {event.answer}" if event.answer else ""
            return f"resumes {event.job}: {event.outcome} {event.code}{answer}"
        case AvpChanged():
            return f"$avp({event.name}) of {event.job} is another now"
        case Replied():
            return f"replies {event.status} in line {event.line}"
        case SharedChanged():
            return f"reads {event.name} in line {event.line}: another than line {event.written_line} wrote"
        case Unanswered():
            return "gives up waiting for an answer of the script"
        case Launched():
            return f"launches {event.job} in line {event.line}"
        case Reported():
            return f"reports {event.job}: {event.outcome} {event.code}"
        case JobBegan():
            return f"begins {event.what} ({event.job})"
        case JobEnded():
            return f"ends {event.job}: {event.outcome}"
        case Blocked():
            return f"blocked for {event.for_s * 1000:g} ms in line {event.line}"
        case ScriptFailed():
            return f"fails in line {event.line}: {event.what}"
        case Started():
            return f"starts ({event.process})"
        case Crashed():
            return f"dies: {event.why}"
        case Stalled():
            return f"stops for {event.for_s:g} s"
        case Continued():
            return "goes on"
        case Reloaded():
            return f"has script {event.generation}"
        case Noted():
            return event.text
        case PacketSent() | PacketReceived() | PacketLost() | FrameSent() | FrameReceived() | FrameLost():
            return ""
        case _:
            assert_never(event)


def title_of(data: str) -> str:
    """A message in a word or two: a request's method, a reply's status and what it replies to."""
    first, _, rest = data.partition("\r\n")
    words = first.split(" ", 2)
    if words[0] != "SIP/2.0" or len(words) < 2:
        return words[0]
    found = re.search(r"(?im)^cseq[ \t]*:[ \t]*[0-9]+[ \t]+(\S+)", rest)
    return f"{words[1]} {found[1]}" if found else words[1]


def column_of(name: str) -> str:
    """A process's column has its name without the incarnation."""
    return name.partition(".")[0]


def _columns(events: Sequence[Event], most: int) -> list[str]:
    """Who has a column: those of whom most is told, and in the order in which messages pass."""
    told: dict[str, int] = {}
    for event in events:
        named = [event.source, event.to] if isinstance(event, PacketSent | FrameSent) else [who(event)]
        for name in named:
            column = column_of(name)
            if column and (column != "sip"):
                told[column] = told.get(column, 0) + 1
    loudest = sorted(told, key=lambda name: (-told[name], _place(name)))[:most]
    return sorted(loudest, key=_place)


def _place(name: str) -> tuple[int, int, str]:
    kind = name.partition("-")[0]
    number = _NUMBER.search(name)
    return _ORDER.index(kind) if kind in _ORDER else 0, int(number[0]) if number else 0, name
