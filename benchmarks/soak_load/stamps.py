"""What a request has come through, as the script writes it into a header: `X-Soak`.

The Call-ID is the request's token. It is there three times: of the message at hand, of the context as it was parked
(an AVP), and in the answer of the command, which got it as an argument. The process and the version of the script are
there twice: as it was parked, and as it was resumed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

_STAMP: Final = re.compile(
    rb'\r\nX-Soak: ([^ \r]+) ([^ \r]+) ([0-9]+) ([0-9]+) ([0-9]+) ([0-9]+) (-?[0-9]+) "?([^"\r]*)"?(?=\r\n)'
)
_OWNER: Final = re.compile(rb"\r\nX-Owner: ([0-9]{1,9})(?=\r\n)")


class Stamp(NamedTuple):
    """One stamp.

    Args:
        call_id: of the message that left.
        token: that was parked with the context.
        parked_by, resumed_by: PIDs.
        parked_under, resumed_under: versions of the script.
        rc: how the command ended.
        answer: what it gave: the token and the PID of the process that ran it, or why not.
    """

    call_id: str
    token: str
    parked_by: int
    resumed_by: int
    parked_under: int
    resumed_under: int
    rc: int
    answer: str

    def faults(self, token: str) -> Iterator[str]:
        """In what it is not that of a request which was resumed where it was parked, and with its own answer."""
        if self.call_id != token or self.token != token:
            yield f"has the content of {self.call_id} and {self.token}"
        if self.rc > 0 and self.answer.partition(" ")[0] != token:
            yield f"was resumed with another's answer: {self.answer}"
        if self.parked_by != self.resumed_by:
            yield f"was parked by {self.parked_by} and resumed by {self.resumed_by}"
        if self.parked_under != self.resumed_under:
            yield f"was parked under version {self.parked_under} of the script, resumed under {self.resumed_under}"


def stamps_of(message: bytes) -> list[Stamp]:
    """All stamps of a message, the first one first."""
    return [_stamp(found) for found in _STAMP.finditer(message)]


def _stamp(found: re.Match[bytes]) -> Stamp:
    call_id, token, *numbers, answer = (value.decode("latin-1") for value in found.groups())
    parked_by, resumed_by, parked_under, resumed_under, rc = map(int, numbers)
    return Stamp(call_id, token, parked_by, resumed_by, parked_under, resumed_under, rc, answer)


def owner_of(message: bytes) -> int:
    """Which process had the message in its hands; 0 where it does not say."""
    found = _OWNER.findall(message)
    return int(found[-1]) if found else 0
