"""Fuzzing of everything that reads scripts: `python tests/fuzz/fuzz_script.py --seconds 600`.

The examples, and scripts that have everything once, are damaged as people damage texts (a line moved, a word left out)
and as bytes get damaged. A text that is treated in a way not seen before is kept as something to damage further.

What fails is made small and saved beside the scripts; `tests/fuzz/test_fuzz_script.py` then fails until it is mended.
"""

from __future__ import annotations

import argparse
import faulthandler
import hashlib
import random
import re
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).resolve().parent
if __name__ == "__main__":
    sys.path.insert(0, str(HERE.parent.parent))

from tests.fuzz.declared_scripts import declared_scripts  # noqa: E402
from tests.fuzz.script_oracles import check  # noqa: E402

SCRIPTS = HERE / "scripts"
EXAMPLES = HERE.parent.parent / "examples"
MAX_KEPT = 3_000
MAX_BYTES = 120_000
HANGS_S = 60.0
"""A text that takes longer is a fault that nothing in Python can interrupt: a regular expression, most likely."""
_TOKEN = re.compile(
    rb'"(?:[^"\\\n]|\\.)*"|\$\((?:[^()\n]|\([^()\n]*\))*\)|\$\w+(?:\([^()\n]*\))?|[A-Za-z_][\w.]*|\d+|[-+*/%=!<>&|^~:]+|\s+|.',
    re.DOTALL,
)
_SIGN = b"+-*/%=!<>&|^~"
_BRACKETS = ((b"(", b")"), (b"{", b"}"), (b"[", b"]"), (b"if (1) {", b"}"), (b"!(", b")"), (b"$(", b")"), (b"~(", b")"))
_SIGNS = rb"""( ) { } [ ] ; , = := += /= == != =~ !~ <= << && || not in $ $$ $( $() # /* */ " ' \ \" """
PIECES = _SIGNS.split() + [
    b" ",
    b"\n",
    b"\r\n",
    b"\r",
    b"\0",
    b"\xff",
    b"\x85",
    b"\xa0",
    b"99999999999999999999999999",
    b"-9223372036854775808",
    b"9223372036854775807",
    b"0x10",
    b"1" * 5_000,
    b'"' + b"a" * 40_000 + b'"',
    b"$(avp(x)[*])",
    b"$(avp(x)[$var(i)])",
    b"$(var(x){s.int})",
    b"$(var(x){s.substr,-3,9999999999})",
    b"$(ru{uri.user}{s.toupper}{re.subst,/a/b/g})",
    b"$(hdr(Via)[-1])",
    b"$avp($var(x))",
    b"$param(1)",
    b"$return(0)",
    b"$var(x)",
    b"$avp(x)",
    b"$rU",
    b"$ru",
    b"$du",
    b'"$var(x) $avp(x) $(rU{s.len})"',
    b'"^(a|b)+[c-"',
    b'"[[:alpha:]]{2,3}$"',
    b'"(x{999}){999}"',
    b"route(a);",
    b"route[a] { route(b); }",
    b"return(-1, $var(x));",
    b"exit;",
    b"drop;",
    b"break;",
    b"while (1) { $var(x) += 1; }",
    b'for ($var(i) in $(avp(x)[*])) xlog("$var(i)");',
    b"switch ($rU) { case 1: default: break; }",
    b"if ($var(x) == NULL) { } else { }",
    b'include_file "part.cfg"',
    b'import_file "fuzzed.cfg"',
    b'loadmodule "tm.so"',
    b'modparam("tm", "fr_timeout", 5)',
    b"failure_route[a] { }",
    b"onreply_route { }",
    b"timer_route[a, 1] { }",
    b"event_route[E_A] { }",
]


def seeds() -> list[bytes]:
    """The examples, the scripts that have everything once, what failed once, and what the declarations give."""
    files = [path.read_bytes() for folder in (EXAMPLES, SCRIPTS) for path in sorted(folder.glob("*.cfg"))]
    return [*files, *declared_scripts()]


def damage(data: bytes, chance: random.Random, others: list[bytes]) -> bytes:
    """One text made from another."""
    for _ in range(chance.choice((1, 1, 1, 2, 2, 3, 5))):
        data = chance.choice(_DAMAGES)(data, chance, others)
    return data[:MAX_BYTES]


def _span(data: bytes, chance: random.Random, longest: int = 60) -> tuple[int, int]:
    start = chance.randint(0, len(data))
    return start, min(len(data), start + chance.randint(0, longest))


def _cut(data: bytes, chance: random.Random, others: list[bytes]) -> bytes:
    start, end = _span(data, chance)
    return data[:start] + data[end:]


def _insert(data: bytes, chance: random.Random, others: list[bytes]) -> bytes:
    at, _ = _span(data, chance)
    return data[:at] + chance.choice(PIECES) + data[at:]


def _byte(data: bytes, chance: random.Random, others: list[bytes]) -> bytes:
    at, _ = _span(data, chance)
    return data[:at] + bytes((chance.randrange(256),)) + data[at + 1 :]


def _double(data: bytes, chance: random.Random, others: list[bytes]) -> bytes:
    start, end = _span(data, chance)
    return data[:end] + data[start:end] * chance.choice((1, 1, 2, 40, 400)) + data[end:]


def _nest(data: bytes, chance: random.Random, others: list[bytes]) -> bytes:
    """Brackets around a piece, up to many."""
    start, end = _span(data, chance)
    opening, closing = chance.choice(_BRACKETS)
    times = chance.choice((1, 1, 2, 10, 119, 130, 1_000, 4_000))
    return data[:start] + opening * times + data[start:end] + closing * times + data[end:]


def _tokens(data: bytes, chance: random.Random, others: list[bytes]) -> bytes:
    """Leave out, double, exchange or replace a word."""
    words = _TOKEN.findall(data)
    if not words:
        return data
    at, to = chance.randrange(len(words)), chance.randrange(len(words))
    match chance.randrange(5):
        case 0:
            del words[at]
        case 1:
            words.insert(to, words[at])
        case 2:
            words[at], words[to] = words[to], words[at]
        case 3:
            words[at] = chance.choice(PIECES)
        case _:
            words[at] = chance.choice(_TOKEN.findall(chance.choice(others)) or [b""])
    return b"".join(words)


def _alike(data: bytes, chance: random.Random, others: list[bytes]) -> bytes:
    """Another word of the same kind, so that the text has a chance to stay a script."""
    words, theirs = _TOKEN.findall(data), _TOKEN.findall(chance.choice(others))
    for _ in range(chance.choice((4, 8, 16)) if words and theirs else 0):
        at, word = chance.randrange(len(words)), chance.choice(theirs)
        if _kind(word) == _kind(words[at]):
            words[at] = word
    return b"".join(words)


def _kind(word: bytes) -> str | bytes:
    if word.isdigit():
        return "number"
    first = word[:1]
    return "name" if first.isalpha() else "sign" if first in _SIGN else first


def _lines(data: bytes, chance: random.Random, others: list[bytes]) -> bytes:
    """Leave out, double or exchange a line, or take some from another text."""
    lines = data.split(b"\n")
    at, to = chance.randrange(len(lines)), chance.randrange(len(lines))
    match chance.randrange(4):
        case 0:
            del lines[at]
        case 1:
            lines.insert(to, lines[at])
        case 2:
            lines[at], lines[to] = lines[to], lines[at]
        case _:
            other = chance.choice(others).split(b"\n")
            start = chance.randrange(len(other))
            lines[to:to] = other[start : start + chance.randint(1, 6)]
    return b"\n".join(lines)


def _splice(data: bytes, chance: random.Random, others: list[bytes]) -> bytes:
    other = chance.choice(others)
    return data[: chance.randint(0, len(data))] + other[chance.randint(0, len(other)) :]


_Damage = Callable[[bytes, random.Random, list[bytes]], bytes]
_DAMAGES: tuple[_Damage, ...] = (
    *(_alike, _alike, _alike, _alike, _alike, _alike, _tokens, _tokens, _tokens, _lines, _lines, _lines),
    *(_cut, _insert, _insert, _byte, _double, _nest, _splice),
)


def fault(data: bytes) -> str | None:
    """What is wrong with how a text is treated: the traceback, or None."""
    try:
        check(data)
    except Exception:
        return traceback.format_exc()
    return None


def smaller(data: bytes, deadline: float) -> bytes:
    """The text with everything cut out that the fault does not need: lines first, then bytes."""
    for pattern in (rb"[^\n]*\n?", rb"(?s)."):
        pieces = re.findall(pattern, data)
        size = max(1, len(pieces) // 2)
        while size:
            at = 0
            while at < len(pieces) and time.monotonic() < deadline:
                cut = pieces[:at] + pieces[at + size :]
                if fault(b"".join(cut)) is None:
                    at += size
                else:
                    pieces = cut
            size //= 2
        data = b"".join(pieces)
    return data


def fuzz(seconds: float, seed: int, before: Callable[[bytes], None] = lambda _: None) -> tuple[int, int, bytes | None]:
    """Damage and check until the time is over or something fails.

    Args:
        seconds: for how long.
        seed: for the same damages again.
        before: is given every text before it is checked.

    Returns:
        how many texts were checked, in how many ways they were treated, and the one that failed.
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
        before(data)
        count += 1
        try:
            way = check(data)
        except Exception:
            return count, len(ways), data
        if way not in ways and len(ways) < MAX_KEPT and len(data) < 20_000:
            ways.add(way)
            pool.append(data)
    return count, len(ways), None


def main() -> int:
    """Fuzz; 1 when something failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument(
        "--seed", type=int, default=None, help="for the same damages again; another one each time without"
    )
    arguments = parser.parse_args()
    seed = random.randrange(2**32) if arguments.seed is None else arguments.seed
    at_work = Path(tempfile.gettempdir()) / f"fuzz-script-{seed}.cfg"

    def before(data: bytes) -> None:
        at_work.write_bytes(data)
        faulthandler.dump_traceback_later(HANGS_S, exit=True)

    print(f"seed {seed}; a text that hangs is left in {at_work}", flush=True)
    count, ways, failed = fuzz(arguments.seconds, seed, before)
    faulthandler.cancel_dump_traceback_later()
    at_work.unlink(missing_ok=True)
    print(f"{count} texts, treated in {ways} ways")
    if failed is None:
        return 0
    found = smaller(failed, time.monotonic() + 30)
    path = SCRIPTS / f"fault-{hashlib.sha256(found).hexdigest()[:12]}.cfg"
    path.write_bytes(found)
    print(fault(found))
    print(f"saved as {path}:\n{found[:2000]!r}")
    return 1


if __name__ == "__main__":
    sys.exit(main())
