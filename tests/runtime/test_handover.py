"""Messages between SIP processes: nothing is reordered, nobody waits for long, and what is lost is said so."""

from __future__ import annotations

import mmap
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from runtime.context import Address
from runtime.handover import BUFFER, MAX_MESSAGE, PATIENCE_S, READING, Given, Handover, Marks
from tests.harness import wait_until

SOURCE = Address("192.0.2.1", 5060)
SOON_S = 2.0
TURNS = 200


@pytest.fixture
def handover() -> Iterator[Handover]:
    made = Handover(3)
    yield made
    made.close()


def everything(handover: Handover, slot: int) -> list[bytes]:
    found = []
    while (given := handover.receive(slot)) is not None:
        found.append(given.data)
    return found


# --- handing over


@pytest.mark.parametrize(
    "source",
    [SOURCE, Address("2001:db8::1", 65535), Address("fe80::1%a-long-interface-name", 1), Address("0.0.0.0", 0)],
)
@pytest.mark.parametrize("data", [b"", b"OPTIONS sip:x SIP/2.0\r\n\r\n", bytes(range(256)) * 4, b"\0" * 65_535])
def test_a_message_arrives_with_where_it_came_from_and_on_which_socket(
    handover: Handover, source: Address, data: bytes
) -> None:
    assert handover.send(1, 40_000, source, data)
    assert handover.send(1, 40_000, source, data, 2)

    assert handover.receive(1) == Given(40_000, source, data, 1)
    assert handover.receive(1) == Given(40_000, source, data, 2)
    assert handover.receive(1) is None


def test_each_slot_gets_its_own(handover: Handover) -> None:
    for slot in (2, 0, 1):
        assert handover.send(slot, 0, SOURCE, b"%d" % slot)

    assert [everything(handover, slot) for slot in range(3)] == [[b"0"], [b"1"], [b"2"]]


def test_what_lies_there_makes_the_descriptor_readable(handover: Handover) -> None:
    with socket.socket(fileno=os.dup(handover.fileno(1))) as inbox:
        inbox.setblocking(False)
        with pytest.raises(BlockingIOError):
            inbox.recv(1, socket.MSG_PEEK)
        handover.send(1, 0, SOURCE, b"x")
        assert inbox.recv(1, socket.MSG_PEEK)


def test_what_is_sent_first_is_there_first_over_processes(handover: Handover) -> None:
    """A sender lets the other one send when its own has returned: the order of their messages is then settled."""
    one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    children = [
        fork(lambda: take_turns(handover, one, range(0, TURNS, 2))),
        fork(lambda: take_turns(handover, other, range(1, TURNS, 2))),
    ]
    other.send(b"begin")
    for child in children:
        os.waitpid(child, 0)
    one.close()
    other.close()

    assert everything(handover, 0) == [b"%d" % turn for turn in range(TURNS)]


def take_turns(handover: Handover, turn: socket.socket, numbers: range) -> None:
    for number in numbers:
        turn.recv(10)
        handover.send(0, 0, SOURCE, b"%d" % number)
        turn.send(b"yours")


def test_a_full_buffer_is_said_so_at_once_and_holds_up_nobody_else(handover: Handover) -> None:
    data = b"x" * 900
    sent = 0
    began = time.monotonic()
    while handover.send(1, 0, SOURCE, data):
        sent += 1
        assert sent * len(data) < 64 * BUFFER, "it is bounded"
    assert time.monotonic() - began < SOON_S

    assert sent >= 100, "the burst of a moment is held"
    assert handover.send(2, 0, SOURCE, data), "another's buffer is its own"
    assert len(everything(handover, 1)) == sent, "what was taken is there"
    assert handover.send(1, 0, SOURCE, data)


def test_what_lies_there_when_its_process_dies_is_its_replacements(handover: Handover) -> None:
    child = fork(lambda: handover.receive(1))
    os.waitpid(child, 0)
    handover.send(1, 0, SOURCE, b"to whom it may concern")

    assert everything(handover, 1) == [b"to whom it may concern"]


def test_after_the_end_nothing_is_sent_and_nothing_received(handover: Handover) -> None:
    handover.close()

    assert not handover.send(1, 0, SOURCE, b"x")
    assert handover.receive(1) is None


def test_no_message_of_sip_is_too_long(handover: Handover) -> None:
    longest = Address("f" * 255, 65_535)
    data = b"x" * 65_535
    assert len(data) + len(longest.host) + 6 <= MAX_MESSAGE

    assert handover.send(0, 65_535, longest, data)
    assert handover.receive(0) == Given(65_535, longest, data, 1)


# --- marks


class House:
    """The marks of several processes in one memory."""

    def __init__(self, count: int) -> None:
        self.memory = mmap.mmap(-1, count * 8)
        self.marks = [Marks(self.memory, count, slot) for slot in range(count)]

    def cell(self, slot: int) -> int:
        """What that process says that it looks at."""
        return int.from_bytes(self.memory[slot * 8 : slot * 8 + 8], sys.byteorder)

    def waits(self, slot: int) -> bool:
        """Whether that process waits for another in vain; a wait that ends well is another test's."""
        began, used = time.monotonic(), time.thread_time()
        self.marks[slot].wait_for_older()
        waited_s, used_s = time.monotonic() - began, time.thread_time() - used
        assert waited_s < SOON_S
        # It waits on its feet. Who only looked has used next to no time of the processor, however busy that is.
        return waited_s >= PATIENCE_S and used_s > PATIENCE_S / 300


@pytest.fixture
def house() -> House:
    return House(3)


def test_nobody_waits_for_who_looks_at_nothing(house: House) -> None:
    house.marks[0].looking(1000)

    assert not house.waits(0)


def test_nobody_waits_for_who_looks_at_something_younger(house: House) -> None:
    house.marks[0].looking(1000)
    house.marks[1].looking(2000)
    house.marks[2].looking(1000)

    assert not house.waits(0)


def test_who_has_nothing_older_than_nothing_waits_for_nobody(house: House) -> None:
    """A message that came over a stream, or without a stamp."""
    house.marks[1].looking(1000)

    assert not house.waits(0)


@pytest.mark.parametrize("older", [999, READING], ids=["older", "just reading"])
def test_who_looks_at_something_older_is_waited_for_until_it_is_through(house: House, older: int) -> None:
    house.marks[0].looking(10**18)
    if older == READING:
        house.marks[1].reading()
    else:
        house.marks[1].looking(older)
    through = threading.Timer(PATIENCE_S / 5, house.marks[1].through)
    through.start()
    began = time.monotonic()
    house.marks[0].wait_for_older()
    waited_s = time.monotonic() - began
    is_through = house.cell(1) == 0
    through.join()

    assert is_through or waited_s >= PATIENCE_S


def test_who_turns_to_something_younger_is_waited_for_no_longer(house: House) -> None:
    house.marks[0].looking(1000)
    house.marks[1].looking(999)
    younger = threading.Timer(PATIENCE_S / 5, house.marks[1].looking, (1001,))
    younger.start()
    house.marks[0].wait_for_older()
    younger.join()

    # What was not waited for in vain is waited for again.
    house.marks[1].looking(999)
    assert house.waits(0)


def test_who_does_not_get_on_is_waited_for_once_and_not_for_long(house: House) -> None:
    house.marks[0].looking(1000)
    house.marks[1].looking(500)

    assert house.waits(0)
    for received in range(1001, 1101):
        house.marks[0].looking(received)
        assert not house.waits(0)


def test_each_other_process_finds_out_for_itself(house: House) -> None:
    house.marks[1].looking(500)
    for slot in (0, 2):
        house.marks[slot].looking(500 + slot + 1)
        assert house.waits(slot)
        assert not house.waits(slot)


def test_who_gets_on_after_it_was_given_up_is_waited_for_again(house: House) -> None:
    house.marks[0].looking(10**18)
    house.marks[1].reading()
    house.marks[0].wait_for_older()

    house.marks[1].through()
    house.marks[0].wait_for_older()
    house.marks[1].reading()
    assert house.waits(0), "it is at its next datagram, and nothing says that it is stuck"


def test_who_got_stuck_on_its_way_is_waited_for_once(house: House) -> None:
    """It looked at one older message, then at another, and there it was stopped."""
    house.marks[0].looking(1000)
    house.marks[1].looking(500)
    on = threading.Timer(PATIENCE_S / 5, house.marks[1].looking, (600,))
    on.start()
    house.marks[0].wait_for_older()
    on.join()

    assert not house.waits(0)


def test_a_death_is_cleared_for_everybody(house: House) -> None:
    house.marks[1].looking(500)
    Marks.clear(house.memory, 1)
    house.marks[0].looking(1000)

    assert not house.waits(0)


def test_clearing_one_leaves_the_others(house: House) -> None:
    for slot in range(3):
        house.marks[slot].looking(500 + slot)
    Marks.clear(house.memory, 0)

    assert list(memoryview(house.memory).cast("q")) == [0, 501, 502]


def test_a_stopped_process_delays_the_others_once() -> None:
    house = House(2)
    child = fork(lambda: stand_still(house.marks[1]))
    try:
        wait_until(lambda: memoryview(house.memory).cast("q")[1] == 500, what="it looks at something")
        os.kill(child, signal.SIGSTOP)
        house.marks[0].looking(1000)
        assert [house.waits(0) for _ in range(20)] == [True] + [False] * 19
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def stand_still(marks: Marks) -> None:
    marks.looking(500)
    signal.pause()


def fork(work: Callable[[], object]) -> int:
    child = os.fork()
    if child:
        return child
    try:
        work()
    finally:
        os._exit(0)
