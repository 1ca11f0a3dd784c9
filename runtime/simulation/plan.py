"""What is to happen in a run of the simulated machine: plain data, drawn or written before anything runs.

A plan is all that a run depends on, so it can be kept, made shorter and run again. Times are seconds since the run
began. Whatever chance is left (how long a packet takes, who of several takes a datagram) is drawn from the plan's seed.
"""

from __future__ import annotations

from typing import TypeAlias

from msgspec import Struct


class Answer(Struct, frozen=True):
    """A reply of a next hop, so long after it got the request."""

    after_s: float
    status: int


class Follow(Struct, frozen=True):
    """A request within the dialog that a call has made, so long after it was taken.

    Args:
        headers: more header lines, each with its end.
    """

    after_s: float
    method: str
    headers: str = ""
    body: str = ""


class Send(Struct, frozen=True, tag=True):
    """A caller sends a request, again and again until it is answered (RFC 3261 section 17.1), and acknowledges.

    Args:
        at_s: when.
        caller: who: a word without a dot, e.g. ``uac-1``. Its address is told from it.
        data: the whole request, its bytes spelled as latin-1.
        cancel_at_s: when the caller gives up and sends a CANCEL, if there is no final answer by then.
        socket: the number of the listening socket that it goes to.
        resend: whether it is sent again at all.
        answers: what next hops reply to the request and to each further branch of it, in the order in which they get
            them; the last one stands for all that come later, and an empty one for nothing. None: as the plan's
            gateway does.
        follows: what the caller sends within the dialog, once the call was taken.
        host: where the caller is, instead of the address that its name stands for.
        copies_at_s: when it sends the request again although nothing is lost.
    """

    at_s: float
    caller: str
    data: str
    cancel_at_s: float | None = None
    socket: int = 0
    resend: bool = True
    answers: list[list[Answer]] | None = None
    follows: list[Follow] = []
    copies_at_s: list[float] = []
    host: str | None = None


class Crash(Struct, frozen=True, tag=True):
    """A process is killed, as by SIGKILL. ``process``: its name, e.g. ``sip-1``."""

    at_s: float
    process: str


class CrashInJob(Struct, frozen=True, tag=True):
    """The next job that a worker begins from then on kills it."""

    at_s: float


class CrashAt(Struct, frozen=True, tag=True):
    """A process is killed where it next comes to a step of the protocol, from then on.

    Args:
        process: its name; a pattern, as the shell's.
        step: of `workers.steps.Step` or `runtime.steps.ServerStep`.
        times: the how manieth time that one process comes there.
    """

    at_s: float
    process: str
    step: str
    times: int = 1


class Stall(Struct, frozen=True, tag=True):
    """A process stops for a while, as by SIGSTOP and SIGCONT."""

    at_s: float
    process: str
    for_s: float


class Reload(Struct, frozen=True, tag=True):
    """The script is loaded again: ``reload_routes``.

    Args:
        text: what it says now; None for the same as before. Only for a plan that has the script's text.
    """

    at_s: float
    text: str | None = None


class Mi(Struct, frozen=True, tag=True):
    """An outside program calls an MI command. ``text``: a JSON-RPC request."""

    at_s: float
    text: str


class Shutdown(Struct, frozen=True, tag=True):
    """The server is told to stop, and drains."""

    at_s: float


Item: TypeAlias = Send | Crash | CrashInJob | CrashAt | Stall | Reload | Mi | Shutdown


class Network(Struct, frozen=True):
    """What the network does to SIP messages, and how long words between processes take.

    Args:
        latency_s: how long a packet takes, at least and at most; so packets overtake each other.
        loss, duplicate: which part of them is lost, and comes twice.
        late, late_s: which part takes longer, and by how much at most.
        frame_s: how long a frame between two processes takes, at least and at most. Frames of one way keep their order.
        told_s: the same for what the attendant tells.
    """

    latency_s: tuple[float, float] = (0.0002, 0.002)
    loss: float = 0.0
    duplicate: float = 0.0
    late: float = 0.0
    late_s: float = 0.2
    frame_s: tuple[float, float] = (0.00002, 0.0005)
    told_s: tuple[float, float] = (0.0005, 0.005)


class Gateway(Struct, frozen=True):
    """How everybody answers whom the server sends requests to.

    Args:
        ring_s: after how long an INVITE is answered 180; negative for never.
        answer_s: after how long anything is finally answered, at least and at most.
        status: the final answer of an INVITE; every other request is answered 200.
        silent: which part of the requests is not answered at all.
    """

    ring_s: float = 0.01
    answer_s: tuple[float, float] = (0.005, 0.05)
    status: int = 200
    silent: float = 0.0


class Plan(Struct, frozen=True):
    """A run.

    Args:
        script: the script file's path.
        text: what it says; None for what the file says. With a text the file need not exist, and the run sees it as
            ``script`` in a folder of its own.
        items: what happens.
        seed: where all chance comes from.
        until_s: when the run ends; before that it has time to come to rest.
        sip, workers: how many processes there are of each kind.
        workers_max: up to how many workers there are while jobs wait; no more than ``workers`` where that is less.
        storms: whether many deaths in a short time end the server, as they do; else it goes on whatever the plan kills.
        network: see there.
        gateway: see there.
        watched: whether the run says which statements of the script it reached.
        turn_s: how long a process is busy when it was woken, at least and at most; what comes meanwhile waits.
        patience_s: after how many seconds on the real clock a process is killed that does not stop reckoning.
        everything: whether packets, frames and log lines are among the events too, and not only what is parked and
            what goes wrong.
        quiet: whether only the rules are told of that it broke, and no events.
    """

    script: str
    text: str | None = None
    items: list[Item] = []
    seed: int = 0
    until_s: float = 60.0
    sip: int = 2
    workers: int = 2
    workers_max: int = 0
    storms: bool = False
    network: Network = Network()
    gateway: Gateway = Gateway()
    watched: bool = False
    turn_s: tuple[float, float] = (0.00005, 0.0004)
    patience_s: float = 30.0
    everything: bool = True
    quiet: bool = False
