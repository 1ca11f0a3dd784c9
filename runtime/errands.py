"""Requests of our own that a process has a SIP process send: those of timer and startup routes, and of MI."""

from __future__ import annotations

import dataclasses
import itertools
from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

import msgpack

from mi_script.commands import MiError
from runtime.context import Value
from runtime.roles import SEND_REQUEST, SIP, role_of
from runtime.sip.own_request import OwnRequest, built

if TYPE_CHECKING:
    from runtime.process import Process
    from workers.jobs import Peer

MAX_WAITING: Final = 1000
"""How many requests wait while there is no SIP process, as in a startup route, or while one is being replaced."""


class Errands:
    """Gives requests to the SIP processes, to one after the other.

    One that its SIP process has not sent when it dies is lost with it, as those are that it has sent.

    Args:
        process: whose requests they are.
    """

    def __init__(self, process: Process) -> None:
        self._process = process
        self._turns = itertools.count()
        self._waiting: deque[bytes] = deque()

    def send(self, wanted: OwnRequest, avps: Mapping[str, list[Value]]) -> None:
        """Have a request sent, now or when a SIP process is there.

        Args:
            wanted: what to send.
            avps: what the local route finds as AVPs.

        Raises:
            ValueError: it is no request, or too many wait already.
        """
        built(wanted)
        letter = packed(wanted, avps)
        if self._post(letter):
            return
        if len(self._waiting) >= MAX_WAITING:
            raise ValueError(f"no SIP process is there, and {MAX_WAITING} requests wait for one")
        self._waiting.append(letter)

    def send_waiting(self) -> None:
        """A SIP process has come up: give it what waits."""
        while self._waiting and self._post(self._waiting[0]):
            self._waiting.popleft()

    def _post(self, letter: bytes) -> bool:
        peers = sip_peers(self._process)
        first = next(self._turns) % max(1, len(peers))
        return any(self._process.node.post(peer, SEND_REQUEST, letter) for peer in peers[first:] + peers[:first])


def sip_peers(process: Process) -> list[Peer]:
    """The SIP processes that can be told something."""
    return sorted(peer for peer in process.node.peers() if role_of(peer.name) == SIP)


def who_sends(process: Process, turn: int) -> Peer:  # model: choose, refuse
    """Who is to send a request whose answer this process waits for.

    Another one than this, where there is one: this one may be a SIP process that waits and reads nothing meanwhile. And
    one that does not wait itself in that way, where there is one. If this process does and all others do too, nobody
    is asked: they might wait for each other. Of those that do, the last to begin sees that the others do, for each
    says so before it looks; so there is no circle.

    Args:
        process: who waits.
        turn: the same one for the same turn, while the same ones are there and none of them waits.

    Raises:
        MiError: 500, there is none, or a blocking call has stopped this one and each of the others.
    """
    others = sip_peers(process)
    first = turn % max(1, len(others))
    in_turn = others[first:] + others[:first]
    moving = next((peer for peer in in_turn if not stands_still(process, peer)), None)
    if moving is not None:
        return moving
    if process.is_blocked:
        raise MiError(500, "Request could not be sent", "every SIP process waits for an answer and reads nothing")
    if in_turn:
        return in_turn[0]
    if role_of(process.peer.name) != SIP:
        raise MiError(500, "Request could not be sent", "no SIP process is there")
    return process.peer


def stands_still(process: Process, peer: Peer) -> bool:
    """Whether a process, this one too, waits on a script's stack now, and can only begin what it would answer later."""
    if peer == process.peer:
        return process.is_blocked
    slot, _ = process.node.peers()[peer]
    return process.house.board.load(slot).paused


def packed(wanted: OwnRequest, avps: Mapping[str, list[Value]]) -> bytes:
    """What tells another process to send a request."""
    return bytes(msgpack.packb([dataclasses.astuple(wanted), avps]))


def read(letter: bytes) -> tuple[OwnRequest, dict[str, list[Value]]]:
    """What is to be sent, and what the local route finds as AVPs."""
    wanted, avps = msgpack.unpackb(letter)
    return OwnRequest(*wanted), avps
