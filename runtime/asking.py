"""Questions that any process may put to others about what only they have: their transactions, their connections."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final, NamedTuple

import msgpack

from runtime.errands import sip_peers
from runtime.roles import ASK, SIP, role_of
from workers.jobs import Outcome, Peer, Returned

if TYPE_CHECKING:
    from runtime.process import Process

ASK_TIMEOUT_S: Final = 0.5
"""How long a process may take to answer. One that is blocked in a command does not answer in time."""


class Answers(NamedTuple):
    """What the processes said.

    Args:
        said: the answers, in the order of the processes.
        silent: the processes that did not answer.
    """

    said: list[bytes]
    silent: list[Peer]


async def ask(process: Process, peers: Iterable[Peer], topic: str, body: bytes = b"") -> Answers:
    """Ask several processes at once; this one may be among them.

    Args:
        process: who asks.
        peers: who is asked.
        topic: of `Process.questions`.
        body: goes to whoever answers there.
    """
    asked = list(peers)
    outcomes = await asyncio.gather(*(ask_one(process, peer, topic, body) for peer in asked))
    answers = Answers([], [])
    for peer, outcome in zip(asked, outcomes, strict=True):
        if isinstance(outcome, Returned):
            answers.said.append(outcome.payload)
        else:
            answers.silent.append(peer)
    return answers


async def ask_one(
    process: Process, peer: Peer, topic: str, body: bytes = b"", timeout_s: float = ASK_TIMEOUT_S
) -> Outcome:
    """Ask one process, this one too; the answer, or why there is none.

    Args:
        process, topic, body: as for `ask`.
        peer: who is asked.
        timeout_s: how long it may take, in seconds.
    """
    letter = bytes(msgpack.packb([topic, body]))
    return await process.node.call(ASK, letter, label=ASK, timeout_s=timeout_s, to=peer)


def sip_processes(process: Process) -> list[Peer]:
    """The SIP processes that can be asked, this one too where it is one."""
    me = [process.peer] if role_of(process.peer.name) == SIP else []
    return sorted([*sip_peers(process), *me])
