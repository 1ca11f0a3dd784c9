"""A pool where a ProcessPoolExecutor was: the promises of `concurrent.futures`, as CPython's own tests put them."""

from __future__ import annotations

import asyncio
import concurrent.futures as futures
import functools
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.processes import pool_jobs
from tests.processes.pool_jobs import add, boom, die, later, nap, nothing, pid, square
from workers import JobLost, JobTimedOut, NotEncodable, NotImportable, PoolBroken, SyncPool, WorkerPool

pytestmark = pytest.mark.processes


@pytest.fixture(scope="module")
def pool() -> Iterator[SyncPool]:
    with WorkerPool(workers=2) as pool:
        yield pool


def test_submit(pool: SyncPool) -> None:
    with pool.executor() as executor:
        assert isinstance(executor, futures.Executor)
        assert executor.submit(pow, 2, 8).result() == 256
        assert executor.submit(add, 1, b=8).result() == 9
        assert executor.submit(later, 0.01).result() == 0.01
        future = executor.submit(boom, "KeyError", "k")
        assert isinstance(future.exception(), KeyError)
        assert (future.done(), future.running(), future.cancelled()) == (True, False, False)


def test_map(pool: SyncPool) -> None:
    with pool.executor() as executor:
        assert list(executor.map(pow, range(10), range(10))) == list(map(pow, range(10), range(10)))
        assert list(executor.map(pow, range(15), range(15), chunksize=4)) == list(map(pow, range(15), range(15)))
        assert list(executor.map(square, range(40), chunksize=50)) == list(map(square, range(40)))
        assert list(executor.map(later, [0.01], chunksize=9)) == [0.01]
        with pytest.raises(ValueError, match="chunksize"):
            executor.map(square, [], chunksize=0)


@pytest.mark.parametrize("chunksize", [1, 2])
def test_map_raises_at_the_place_of_the_failure(pool: SyncPool, chunksize: int) -> None:
    with pool.executor() as executor:
        results = executor.map(pool_jobs.inverse, [1, 2, 0, 4], chunksize=chunksize)
        assert [next(results), next(results)] == [1.0, 0.5]
        with pytest.raises(ZeroDivisionError):
            next(results)


@pytest.mark.parametrize("chunksize", [1, 2])
def test_map_has_a_time_limit(pool: SyncPool, chunksize: int) -> None:
    with pool.executor() as executor:
        results = executor.map(nap, [0.0, 0.0, 0.4], timeout=0.2, chunksize=chunksize)
        assert [next(results), next(results)] == [0.0, 0.0]
        with pytest.raises(TimeoutError):
            next(results)


def test_wait_and_as_completed(pool: SyncPool) -> None:
    with pool.executor() as executor:
        quick, slow = executor.submit(nap, 0.01), executor.submit(nap, 0.3)
        done, not_done = futures.wait([quick, slow], return_when=futures.FIRST_COMPLETED)
        assert (done, not_done) == ({quick}, {slow})
        assert list(futures.as_completed([slow, quick])) == [quick, slow]
        failing = executor.submit(boom, "KeyError", "k")
        done, _ = futures.wait([executor.submit(nap, 0.3), failing], return_when=futures.FIRST_EXCEPTION)
        assert done == {failing}


def test_many_more_than_the_pool_takes() -> None:
    with WorkerPool(workers=2, max_queued=10) as pool, pool.executor() as executor:
        assert sum(executor.map(square, range(2000))) == sum(map(square, range(2000)))


def test_the_states_of_a_future() -> None:
    with WorkerPool(workers=1) as pool, pool.executor() as executor:
        running, waiting = executor.submit(nap, 0.3), executor.submit(nothing)
        ends_at = time.monotonic() + 5.0
        while not running.running():
            assert time.monotonic() < ends_at
        assert not running.cancel(), "what runs is not cancelled"
        assert not waiting.running()
        assert waiting.cancel()
        assert (waiting.cancelled(), waiting.done()) == (True, True)
        with pytest.raises(futures.CancelledError):
            waiting.result()
        assert list(futures.as_completed([waiting], timeout=5.0)) == [waiting]
        assert running.result(5.0) == 0.3
        assert (running.running(), running.cancel()) == (False, False)


def test_shutdown(pool: SyncPool) -> None:
    executor = pool.executor()
    left = [executor.submit(nap, 0.02) for _ in range(10)]
    executor.shutdown()
    assert all(future.done() for future in left)
    with pytest.raises(RuntimeError, match="after shutdown"):
        executor.submit(nothing)
    executor.shutdown()
    assert pool.call(add, 1) == 2, "the pool goes on"


def test_shutdown_without_waiting(pool: SyncPool) -> None:
    executor = pool.executor()
    future = executor.submit(nap, 0.2)
    executor.shutdown(wait=False)
    assert not future.done()
    assert future.result(5.0) == 0.2


def test_shutdown_that_cancels_what_waits() -> None:
    with WorkerPool(workers=1) as pool:
        executor = pool.executor()
        left = [executor.submit(nap, 0.3) for _ in range(20)]
        ends_at = time.monotonic() + 5.0
        while not left[0].running():
            assert time.monotonic() < ends_at
        executor.shutdown(cancel_futures=True)
        assert all(future.done() for future in left)
        assert not left[0].cancelled()
        assert sum(future.cancelled() for future in left) >= 15


def test_a_lost_worker_breaks_one_future_and_not_the_executor(pool: SyncPool) -> None:
    with pool.executor() as executor:
        future = executor.submit(die)
        with pytest.raises(futures.BrokenExecutor) as raised:
            future.result(5.0)
        assert isinstance(raised.value, JobLost)
        assert executor.submit(add, 1).result(5.0) == 2


def test_deadlines(pool: SyncPool) -> None:
    with pool.executor(timeout_s=0.05) as executor, pytest.raises(TimeoutError) as raised:
        executor.submit(nap, 0.2).result()
    assert isinstance(raised.value, JobTimedOut)


def test_what_cannot_go_by_path_or_by_msgpack_says_so(pool: SyncPool) -> None:
    with pool.executor() as executor:
        with pytest.raises(NotImportable, match="a lambda"):
            executor.submit(lambda: None)
        with pytest.raises(NotImportable, match="codec="):
            executor.submit(functools.partial(add, 1))
        with pytest.raises(NotEncodable, match="argument 1"):
            executor.submit(add, {1})
    with WorkerPool(workers=1, handlers=pool_jobs) as named:
        with pytest.raises(NotImportable, match="allow_imports=True"):
            named.executor()
        assert named.call(add, 1) == 2, "its handlers may be named by themselves"
        with pytest.raises(NotImportable, match="allow_imports=True"):
            named.call(pow, 2, 2)


def test_with_pickle_everything_goes_that_pickle_takes() -> None:
    with WorkerPool(workers=1, codec="pickle") as pool, pool.executor() as executor:
        assert executor.submit(functools.partial(add, 1), b=5).result(5.0) == 6
        assert executor.submit({1, 2}.union, {3}).result(5.0) == {1, 2, 3}
        with pytest.raises(pool_jobs.Odd):
            executor.submit(boom, "Odd", "x").result(5.0)


def test_threads_share_an_executor(pool: SyncPool) -> None:
    with pool.executor() as executor, futures.ThreadPoolExecutor(4) as threads:
        jobs = [threads.submit(lambda n=n: executor.submit(square, n).result(9.0)) for n in range(100)]
        assert [job.result() for job in jobs] == [n * n for n in range(100)]


def test_callbacks_run_outside_the_pool_s_lock(pool: SyncPool) -> None:
    ended = threading.Event()

    def callback(future: futures.Future[int]) -> None:
        executor.submit(square, future.result()).add_done_callback(lambda _: ended.set())

    executor = pool.executor()
    executor.submit(square, 2).add_done_callback(callback)
    assert ended.wait(5.0)


def test_run_in_executor() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(20), WorkerPool(workers=2) as pool:
            executor = pool.executor()
            assert await loop.run_in_executor(executor, square, 7) == 49
            squares = await asyncio.gather(*(loop.run_in_executor(executor, square, n) for n in range(50)))
            assert squares == [n * n for n in range(50)]
            with pytest.raises(KeyError):
                await loop.run_in_executor(executor, boom, "KeyError", "k")
            # From another thread into the loop's pool.
            assert await asyncio.to_thread(lambda: executor.submit(square, 3).result(5.0)) == 9
            cancelled = asyncio.ensure_future(loop.run_in_executor(executor, nap, 0.05))
            await asyncio.sleep(0.01)
            cancelled.cancel()
            with pytest.raises(asyncio.CancelledError):
                await cancelled
            executor.submit(nap, 0.05)
            with pytest.raises(RuntimeError, match="stop the event loop"):
                executor.shutdown()
            await asyncio.to_thread(executor.shutdown)

    asyncio.run(main())


def test_a_pool_that_is_gone() -> None:
    with WorkerPool(workers=1) as pool:
        executor = pool.executor()
        assert executor.submit(pid).result(5.0) > 0
    with pytest.raises(PoolBroken):
        executor.submit(pid)


MAIN = """
from workers import WorkerPool

class Mine(Exception):
    pass

def double(x):
    if x < 0:
        raise Mine("negative")
    return 2 * x

if __name__ == "__main__":
    for codec in ("msgpack", "pickle"):
        with WorkerPool(workers=1, codec=codec) as pool, pool.executor() as executor:
            print(list(executor.map(double, range(4))), type(executor.submit(double, -1).exception()).__name__)
"""


def test_functions_of_the_main_program(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(MAIN)
    done = subprocess.run([sys.executable, program], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout.splitlines() == ["[0, 2, 4, 6] JobFailed", "[0, 2, 4, 6] Mine"]


def test_a_main_program_without_a_guard_is_told_so(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "from workers import WorkerPool\ndef f(): pass\nwith WorkerPool(workers=1) as pool:\n    pool.call(f)\n"
    )
    done = subprocess.run([sys.executable, program], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 1
    assert 'if __name__ == "__main__":' in done.stderr
