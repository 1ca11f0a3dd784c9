"""One pool for several processes: its owner, a client with threads, and a client with a loop of its own."""

import select
import subprocess
import sys
import time

from workers import Client, JobId, Outcome, WorkerPool

TEXT = "the message is parked and the process goes on"


def own() -> None:
    """Make the pool, and start two programs that use it."""
    with WorkerPool(workers=2, handlers="shared_jobs", max_clients=8) as pool:
        roles = ["threads", "loop"]
        programs = [subprocess.Popen([sys.executable, __file__, role, str(pool.address)]) for role in roles]
        for program in programs:
            program.wait()
        print("owner:", pool.call("count_words", TEXT)["the"])


def with_threads(address: str) -> None:
    """A client that waits for its jobs."""
    with Client(address, timeout_s=5.0) as pool:
        counts = pool.map("count_words", [TEXT] * 100)
        print("threads:", sum(count["the"] for count in counts), flush=True)


def with_a_loop(address: str) -> None:
    """A client that has a loop of its own, and callbacks."""
    found = []

    def settled(job: JobId, outcome: Outcome) -> None:
        found.append(pool.value(outcome)["the"])  # raises what the handler raised

    with Client(address, timeout_s=5.0).open() as pool:
        for _ in range(100):
            pool.submit("count_words", TEXT, settled=settled)
        while len(found) < 100:
            deadline = pool.next_deadline()
            timeout_s = None if deadline is None else max(0.0, deadline - time.monotonic())
            if select.select([pool], [], [], timeout_s)[0]:
                pool.on_readable(time.monotonic())
            else:
                pool.on_deadline(time.monotonic())
    print("loop:", sum(found), flush=True)


if __name__ == "__main__":
    match sys.argv[1:]:
        case []:
            own()
        case ["threads", address]:
            with_threads(address)
        case ["loop", address]:
            with_a_loop(address)
