"""The branch of our Via: made from a transaction's fingerprint, and readable only by this server's processes.

A reply brings our branch back, and with it the fingerprint by which the process that owns the transaction is found
(`runtime.sip.ownership`). The same request always gets the same branch, so a process that takes up a retransmission
after its owner's death sends on what the next hop already knows, and not a second request (RFC 3261 8.2.2.2).

The fingerprint is not shown as it is: whoever knew the fingerprints of his own requests could aim at one bucket of the
tables. It is carried through a permutation of 64-bit numbers with secret constants; that does not withstand
cryptanalysis, and need not.
"""

from __future__ import annotations

from typing import Final

from runtime.sip.keys import MAGIC_COOKIE

_MASK: Final = (1 << 64) - 1
_HEAD: Final = f"{MAGIC_COOKIE}lb"
_DIGITS: Final = 16


class Branches:
    """Makes and reads branches.

    Args:
        secret: random numbers of 64 bits, three of them, the same in all processes of one server.
    """

    __slots__ = ("_add", "_multiply", "_undo", "_xor")

    def __init__(self, secret: tuple[int, int, int]) -> None:
        self._multiply = secret[0] & _MASK | 1  # odd, so that it can be undone
        self._undo = pow(self._multiply, -1, 1 << 64)
        self._xor = secret[1] & _MASK
        self._add = secret[2] & _MASK

    def make(self, fp: int, suffix: int | str) -> str:
        """The branch for a fingerprint.

        Args:
            fp: of 64 bits.
            suffix: tells the branches of one transaction apart.
        """
        mixed = (fp ^ self._xor) * self._multiply & _MASK
        mixed = (mixed ^ mixed >> 32) * self._multiply + self._add & _MASK
        return f"{_HEAD}{mixed ^ mixed >> 32:016x}.{suffix}"

    def fingerprint(self, branch: str) -> int | None:
        """The fingerprint that a branch was made from; None for one that is not of this kind."""
        digits = branch[len(_HEAD) : len(_HEAD) + _DIGITS]
        if not branch.startswith(_HEAD) or branch[len(_HEAD) + _DIGITS : len(_HEAD) + _DIGITS + 1] != ".":
            return None
        try:
            mixed = int(digits, 16)
        except ValueError:
            return None
        if mixed < 0 or len(digits) != _DIGITS:
            return None
        mixed ^= mixed >> 32
        mixed = (mixed - self._add) * self._undo & _MASK
        mixed ^= mixed >> 32
        return mixed * self._undo & _MASK ^ self._xor
