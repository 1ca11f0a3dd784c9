"""What does a look-up in the routing rules cost, and what does a load of them?

    python benchmarks/routing.py [--rules 1000 100000 1000000] [--load 500000] [--lookups 100000]
                                 [--database sqlite postgresql] [--json FILE]

Two tables:

    look-ups    the best rule for a number, with so many rules: microseconds, p50 and p99, in a hot loop; beside it one
                read of an LMDB key that is there, and how many of those a look-up takes
    loads       that many rules from a database into a new generation: seconds, those of them on a processor, and the
                peak of the loading process's memory; and of a process that looks numbers up meanwhile: its memory
                before and after, all of it and what is its own (the rest is the map, which all processes share), and
                how long its look-ups took

Rules have prefixes of 3 to 9 digits in one group, one of four gateways and a carrier, and one in ten has a time
recurrence; numbers have 12 digits, and from 100,000 rules on nearly all of them find one. PostgreSQL is a cluster of
the benchmark's own, made like that of the tests.
"""

from __future__ import annotations

import argparse
import gc
import json
import mmap
import os
import random
import resource
import signal
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import lmdb

from runtime.db import Database
from runtime.drouting.generation import Builder, View
from runtime.drouting.lookup import key_of
from runtime.drouting.partitions import DEFAULT, Partition, TableNames
from runtime.drouting.routing import Routing, Setup
from runtime.drouting.rules import Rule, Sort, read_targets
from runtime.drouting.tables import create_missing, tables
from runtime.store import Store

GROUP: Final = 0
TIMEREC: Final = "UTC|20200101T000000|20200101T235959||DAILY"
_ROWS_AT_ONCE: Final = 5000


class Lookups(NamedTuple):
    """Microseconds."""

    rules: int
    found: float
    p50: float
    p99: float
    get_p50: float
    get_p99: float


class Load(NamedTuple):
    """Seconds, those of them on a processor, mebibytes, microseconds."""

    database: str
    rules: int
    seconds: float
    cpu_seconds: float
    loader_peak: float
    reader_before: float
    reader_after: float
    own_before: float
    own_after: float
    lookup_p99: float
    lookup_longest: float


def prefixes(count: int) -> Iterator[str]:
    """Prefixes of one group, no one twice."""
    chance, seen = random.Random(1), set()
    while len(seen) < count:
        one = str(chance.randrange(10**8, 10**9))[: chance.choice((3, 5, 6, 7, 7, 8, 8, 9, 9))]
        if one not in seen:
            seen.add(one)
            yield one


def numbers(count: int) -> list[str]:
    chance = random.Random(2)
    return [str(chance.randrange(10**11, 10**12)) for _ in range(count)]


def gwlist(number: int) -> str:
    return f"gw{number % 4}=10,#carrier{number % 2}=5"


# Look-ups.


def measure_lookups(count: int, lookups: int) -> Lookups:
    """Build a generation of so many rules and look numbers up in it."""
    with tempfile.TemporaryDirectory(prefix="layby", dir=_memory()) as folder:
        build(Path(folder), count)
        found, times = look_up(Path(folder), numbers(lookups))
        chance = random.Random(3)
        there = list(prefixes(count))
        gets = timed_gets(Path(folder), [key_of(GROUP, chance.choice(there)) for _ in range(lookups)])
    return Lookups(count, found / lookups, *quantiles(times), *quantiles(gets))


def look_up(folder: Path, asked: Sequence[str]) -> tuple[int, list[int]]:
    """How many numbers have a rule, and the nanoseconds of each look-up."""
    view, now = View(folder, 1, 0.0, 1), time.time()
    found = sum([next(view.find(GROUP, one, now), None) is not None for one in asked])
    return found, timed(lambda one: next(view.find(GROUP, one, now), None), asked)


def build(folder: Path, count: int) -> None:
    builder = Builder(folder)
    builder.put_facts([], [])
    for number, prefix in enumerate(prefixes(count)):
        timerec = "" if number % 10 else TIMEREC
        targets = read_targets(gwlist(number))
        builder.add_rule([GROUP], prefix, Rule(number, 0, timerec, "", targets, Sort.WEIGHT, 0, "cost=0.01"))
    builder.finish()


def timed(call: Callable[[str], object], asked: Sequence[str]) -> list[int]:
    """Nanoseconds of each call, without those that the clock itself takes."""
    clock = time.perf_counter_ns
    empty = statistics.median(-(clock() - clock()) for _ in range(1000))
    taken = []
    for one in asked:
        began = clock()
        call(one)
        taken.append(clock() - began)
    return [max(0, int(one - empty)) for one in taken]


def timed_gets(folder: Path, keys: Sequence[bytes]) -> list[int]:
    with (
        lmdb.open(str(folder), readonly=True, lock=False, max_dbs=3, create=False, readahead=False) as environment,
        environment.begin() as read,
    ):
        table = environment.open_db(b"rules", read, create=False)
        clock = time.perf_counter_ns
        empty = statistics.median(-(clock() - clock()) for _ in range(1000))
        taken = []
        for key in keys:
            began = clock()
            read.get(key, None, table)
            taken.append(clock() - began)
    return [max(0, int(one - empty)) for one in taken]


def quantiles(times: list[int]) -> tuple[float, float]:
    times.sort()
    return times[len(times) // 2] / 1000, times[len(times) * 99 // 100] / 1000


# Loads.


def measure_load(database_url: str, count: int) -> Load:
    """Load so many rules twice, the second time while another process looks numbers up."""
    with tempfile.TemporaryDirectory(prefix="layby", dir=_memory()) as folder:
        database = Database(database_url, timeout_s=120)
        fill(database, count)
        kind = database.kind
        database.close()
        setup = Setup(Path(folder) / "drouting", [Partition(DEFAULT, database)], flips=mmap.mmap(-1, 8))
        in_child(lambda: reload(setup, Path(folder)))
        reader = Reader(setup, Path(folder))
        before = reader.memory()
        reader.start()
        seconds, cpu, peak = in_child(lambda: reload(setup, Path(folder)))
        p99, longest = reader.stop()
        after = reader.memory()
        reader.end()
    return Load(kind, count, seconds, cpu, peak, before[0], after[0], before[1], after[1], p99, longest)


def fill(database: Database, count: int) -> None:
    its = tables(TableNames())
    create_missing(database, *its)
    with database.begin() as connection:
        for table in its:
            connection.execute(table.delete())
        connection.execute(its.gateways.insert(), [{"gwid": f"gw{n}", "address": f"192.0.2.{n + 1}"} for n in range(4)])
        connection.execute(its.carriers.insert(), [{"carrierid": f"carrier{n}", "gwlist": "gw1,gw2"} for n in range(2)])
        rows = []
        for number, prefix in enumerate(prefixes(count)):
            row = {"groupid": str(GROUP), "prefix": prefix, "timerec": None if number % 10 else TIMEREC}
            rows.append({**row, "gwlist": gwlist(number), "sort_alg": "W", "attrs": "cost=0.01"})
            if len(rows) == _ROWS_AT_ONCE:
                connection.execute(its.rules.insert(), rows)
                rows.clear()
        if rows:
            connection.execute(its.rules.insert(), rows)


def reload(setup: Setup, folder: Path) -> tuple[float, float, float]:
    store, began = Store(folder / "store"), time.process_time()
    figures = Routing(setup, store).reload(DEFAULT, inherit_state=True)
    store.close()
    return figures.seconds, time.process_time() - began, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def in_child(work: Callable[[], Any]) -> Any:
    """Do it in a process of its own; what it gave."""
    ours, theirs = socket.socketpair()
    gc.collect()
    if (pid := os.fork()) == 0:
        status = 1
        try:
            theirs.sendall(json.dumps(work()).encode())
            status = 0
        finally:
            os._exit(status)
    theirs.close()
    with ours:
        os.waitpid(pid, 0)
        return json.loads(ours.recv(65536))


class Reader:
    """A process that looks numbers up, over and over, between `start` and `stop`."""

    def __init__(self, setup: Setup, folder: Path) -> None:
        self._link, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._pid = os.fork()
        if self._pid == 0:
            try:
                self._serve(theirs, setup, folder)
            finally:
                os._exit(0)
        theirs.close()

    def memory(self) -> tuple[float, float]:
        """Mebibytes, after some look-ups: all, and what is its own."""
        resident, own = self._ask("memory")
        return resident, own

    def start(self) -> None:
        self._link.send(b"start")

    def stop(self) -> tuple[float, float]:
        """Microseconds: p99, and the longest."""
        p99, longest = self._ask("stop")
        return p99, longest

    def end(self) -> None:
        os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)
        self._link.close()

    def _ask(self, what: str) -> Any:
        self._link.send(what.encode())
        return json.loads(self._link.recv(65536))

    def _serve(self, link: socket.socket, setup: Setup, folder: Path) -> None:
        routing, asked = Routing(setup, Store(folder / "store")), numbers(20_000)
        now = time.time()
        while what := link.recv(100).decode():
            if what == "start":
                link.setblocking(False)
                times = list(_looked_up(routing, asked, now, link))
                link.setblocking(True)
                link.send(json.dumps([quantiles(times)[1], max(times) / 1000]).encode())
            else:
                for one in asked:
                    next(routing.find(DEFAULT, GROUP, one, now), None)
                link.send(json.dumps(_memory_of_this()).encode())


def _looked_up(routing: Routing, asked: Sequence[str], now: float, link: socket.socket) -> Iterator[int]:
    """Nanoseconds of each look-up until something comes in; a thousand a second."""
    clock = time.perf_counter_ns
    while True:
        for one in asked:
            began = clock()
            next(routing.find(DEFAULT, GROUP, one, now), None)
            yield clock() - began
            try:
                link.recv(100)
            except BlockingIOError:
                time.sleep(0.001)
            else:
                return


def _memory_of_this() -> tuple[float, float]:
    found = {}
    for line in Path("/proc/self/smaps_rollup").read_text().splitlines()[1:]:
        name, _, rest = line.partition(":")
        found[name] = int(rest.split()[0])
    return found["Rss"] / 1024, found["Anonymous"] / 1024


def _memory() -> Path:
    """Where the runtime folder of a server usually is: in memory."""
    shared = Path("/dev/shm")
    return shared if os.access(shared, os.W_OK) else Path(tempfile.gettempdir())


@contextmanager
def database_of(kind: str) -> Iterator[str]:
    """The URL of a database with nothing in it."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="layby", ignore_cleanup_errors=True)))
        if kind == "sqlite":
            yield f"sqlite:{folder}/rules.db"
            return
        from tests.postgres import Postgres, programs

        bin = programs()
        if bin is None:
            sys.exit("the programs of a PostgreSQL server are not installed; try --database sqlite")
        cluster = Postgres(folder, bin)
        stack.callback(cluster.stop)
        yield cluster.new_place()


def show(title: str, rows: Sequence[NamedTuple]) -> None:
    if rows:
        print(f"\n{title}")
        names = rows[0]._fields
        print("  ".join(f"{name:>14}" for name in names))
        for row in rows:
            print("  ".join(f"{value:>14.2f}" if isinstance(value, float) else f"{value:>14}" for value in row))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rules", type=int, nargs="*", default=[1000, 100_000, 1_000_000])
    parser.add_argument("--load", type=int, default=500_000, help="rules to load; 0 for none")
    parser.add_argument("--lookups", type=int, default=100_000)
    parser.add_argument("--database", nargs="*", default=["sqlite", "postgresql"], choices=["sqlite", "postgresql"])
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    lookups = [measure_lookups(count, options.lookups) for count in options.rules]
    show("look-ups (found: share of the numbers; p50, p99: microseconds)", lookups)
    for one in lookups:
        print(f"{one.rules} rules: a look-up takes {one.p50 / one.get_p50:.1f} reads of a key")
    loads = []
    for kind in options.database if options.load else ():
        with database_of(kind) as url:
            loads.append(measure_load(url, options.load))
    show("loads (seconds; MiB; look-ups meanwhile in microseconds)", loads)
    if options.json:
        figures = {"lookups": [one._asdict() for one in lookups], "loads": [one._asdict() for one in loads]}
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
