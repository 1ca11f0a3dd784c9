"""Fuzzing of everything that reads datagrams: `python tests/fuzz/fuzz_parse.py --seconds 600`.

Messages are damaged in the ways in which peers damage them (cut, doubled, folded, spliced) and in the ways in which
bytes are (flipped, replaced). An input that is treated in a way not seen before is kept as something to damage
further, which does for a parser written in Python most of what coverage would, at more than a thousand inputs a second.
With `--atheris`, where that package is installed, the same oracles run under its coverage.

What fails is made small and saved beside the corpus; `tests/fuzz/test_fuzz_parse.py` then fails until it is mended.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import random
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).resolve().parent
if __name__ == "__main__":
    sys.path.insert(0, str(HERE.parent.parent))

from tests.fuzz.oracles import check  # noqa: E402

CORPUS = HERE / "corpus"
TORTURE = HERE.parent / "runtime" / "sip" / "torture"
MAX_KEPT = 4_000
MAX_BYTES = 66_000
PIECES = (b'\r\n \r\n\t \r\n\r\n \n \r \0 \t : ; , " \\ < > = @ [ ] / * % ? & -- {} \\" "; "< >; ,, ;; ::').split(
    b" "
) + [
    b" ",
    b"\r\n ",
    b"\r\n\t",
    b"SIP/2.0",
    b"SIP/2.0/UDP h",
    b"Via: ",
    b"v:",
    b"Route: <sip:a;lr>,<sip:b>\r\n",
    b"Record-Route: <sip:c;lr>\r\n",
    b"Max-Forwards: 0\r\n",
    b"Proxy-Require: x\r\n",
    b"Content-Length: ",
    b"l: 0\r\n",
    b"Content-Type: multipart/mixed;boundary=b\r\n",
    b"c: application/sdp\r\n",
    b"\r\n--b\r\n",
    b"--b--",
    b"v=0\r\n",
    b"m=audio 1 RTP/AVP 0\r\n",
    b"c=IN IP4 0.0.0.0\r\n",
    b"a=rtpmap:0 x/8000\r\n",
    b"branch=z9hG4bK",
    b";rport",
    b";received=",
    b";tag=",
    b"sip:",
    b"tel:+1",
    b"[2001:db8::1]",
    b"255.255.255.255",
    b"99999999999999999999",
    b"2147483648",
    b"-1",
    b"0" * 30,
    b"\xff",
    b"\xb2",
    b"\x85",
    b"\xa0",
    b"\xc3\xa9",
    b"a" * 8_200,
]


def seeds() -> list[bytes]:
    """The torture messages, and what was found worth keeping."""
    return [path.read_bytes() for folder in (TORTURE, CORPUS) for path in sorted(folder.glob("*.dat"))]


def damage(data: bytes, chance: random.Random, others: list[bytes]) -> bytes:
    """One datagram made from another."""
    for _ in range(chance.choice((1, 1, 1, 2, 2, 3, 5, 8))):
        data = chance.choice(_DAMAGES)(data, chance, others)
    return data[:MAX_BYTES]


def _span(data: bytes, chance: random.Random, longest: int = 40) -> tuple[int, int]:
    start = chance.randint(0, len(data))
    return start, min(len(data), start + chance.randint(0, longest))


def _cut(data: bytes, chance: random.Random, others: list[bytes]) -> bytes:
    start, end = _span(data, chance)
    return data[:start] + data[end:]


def _insert(data: bytes, chance: random.Random, others: list[bytes]) -> bytes:
    start, end = _span(data, chance, chance.choice((0, 0, 0, 4)))
    return data[:start] + chance.choice(PIECES) + data[end:]


def _double(data: bytes, chance: random.Random, others: list[bytes]) -> bytes:
    start, end = _span(data, chance)
    return data[:end] + data[start:end] * chance.choice((1, 1, 2, 30)) + data[end:]


def _byte(data: bytes, chance: random.Random, others: list[bytes]) -> bytes:
    start, _ = _span(data, chance)
    return data[:start] + bytes((chance.randrange(256),)) + data[start + 1 :]


def _case(data: bytes, chance: random.Random, others: list[bytes]) -> bytes:
    start, end = _span(data, chance)
    return data[:start] + data[start:end].swapcase() + data[end:]


def _line(data: bytes, chance: random.Random, others: list[bytes]) -> bytes:
    """Move, double, drop or fold a line, or take one from another message."""
    lines = data.split(b"\r\n")
    at, to = chance.randrange(len(lines)), chance.randrange(len(lines))
    match chance.randrange(6):
        case 0:
            lines[at], lines[to] = lines[to], lines[at]
        case 1:
            lines.insert(to, lines[at])
        case 2:
            del lines[at]
        case 3:
            cut = chance.randint(0, len(lines[at]))
            lines[at] = lines[at][:cut] + chance.choice((b"\r\n ", b" \r\n\t", b"\r\n \r\n ")) + lines[at][cut:]
        case 4:
            name, colon, value = lines[at].partition(b":")
            lines[at] = name + chance.choice((b"", b" ", b"\t")) + colon + chance.choice((b"", b"  ")) + value
        case _:
            lines.insert(to, chance.choice(chance.choice(others).split(b"\r\n")))
    return b"\r\n".join(lines)


def _splice(data: bytes, chance: random.Random, others: list[bytes]) -> bytes:
    other = chance.choice(others)
    return data[: chance.randint(0, len(data))] + other[chance.randint(0, len(other)) :]


def _join(data: bytes, chance: random.Random, others: list[bytes]) -> bytes:
    """Two fields of one name as one list."""
    return data.replace(b"\r\n" + chance.choice((b"Via: ", b"Route: ", b"Contact: ")), b", ", 1)


_Damage = Callable[[bytes, random.Random, list[bytes]], bytes]
_DAMAGES: tuple[_Damage, ...] = (_cut, _insert, _insert, _double, _byte, _case, _line, _line, _line, _splice, _join)


def fault(data: bytes) -> str | None:
    """What is wrong with how a datagram is treated: the traceback, or None."""
    try:
        check(data)
    except Exception:
        return traceback.format_exc()
    return None


def smaller(data: bytes, deadline: float) -> bytes:
    """The datagram with everything cut out that the fault does not need."""
    size = len(data) // 2
    while size:
        at = 0
        while at < len(data) and time.monotonic() < deadline:
            cut = data[:at] + data[at + size :]
            if fault(cut) is None:
                at += size
            else:
                data = cut
        size //= 2
    return data


def fuzz(seconds: float, seed: int) -> tuple[int, int, bytes | None]:
    """Damage and check until the time is over or something fails.

    Returns:
        how many datagrams were checked, in how many ways they were treated, and the one that failed.
    """
    chance = random.Random(seed)
    pool = seeds()
    ways: set[tuple[object, ...]] = set()
    for data in pool:
        if fault(data) is not None:
            return 0, 0, data
        ways.add(check(data))
    count = 0
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        data = damage(chance.choice(pool), chance, pool)
        count += 1
        try:
            way = check(data)
        except Exception:
            return count, len(ways), data
        if way not in ways and len(ways) < MAX_KEPT:
            ways.add(way)
            pool.append(data)
    return count, len(ways), None


def _under_atheris(seconds: float) -> None:
    atheris = importlib.import_module("atheris")
    atheris.instrument_all()
    with tempfile.TemporaryDirectory() as found:  # the first folder is where it puts what it finds new
        options = [
            sys.argv[0],
            f"-max_total_time={seconds:.0f}",
            f"-max_len={MAX_BYTES}",
            f"-artifact_prefix={CORPUS}/fault-",
            found,
            str(TORTURE),
            str(CORPUS),
        ]
        atheris.Setup(options, lambda data: check(data) and None)
        atheris.Fuzz()


def main() -> int:
    """Fuzz; 1 when something failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument(
        "--seed", type=int, default=None, help="for the same damages again; another one each time without"
    )
    parser.add_argument("--atheris", action="store_true", help="under the coverage of the package atheris")
    arguments = parser.parse_args()
    if arguments.atheris:
        _under_atheris(arguments.seconds)
        return 0
    seed = random.randrange(2**32) if arguments.seed is None else arguments.seed
    count, ways, failed = fuzz(arguments.seconds, seed)
    print(f"seed {seed}: {count} datagrams, treated in {ways} ways")
    if failed is None:
        return 0
    found = smaller(failed, time.monotonic() + 10)
    path = CORPUS / f"fault-{hashlib.sha256(found).hexdigest()[:12]}.dat"
    path.write_bytes(found)
    print(fault(found))
    print(f"saved as {path}:\n{found!r}")
    return 1


if __name__ == "__main__":
    sys.exit(main())
