"""A program that was written for ProcessPoolExecutor. Two lines of it have changed."""

import asyncio
import concurrent.futures
import math

# was: from concurrent.futures import ProcessPoolExecutor
from workers import WorkerPool


def is_prime(number: int) -> bool:
    """Whether a number is prime."""
    return number > 1 and all(number % divisor for divisor in range(2, math.isqrt(number) + 1))


def half(number: int) -> float:
    """Raise for what cannot be halved."""
    if number < 0:
        raise ValueError("negative")
    return number / 2


def main() -> None:
    # was: with ProcessPoolExecutor(max_workers=2) as executor:
    with WorkerPool(workers=2) as pool, pool.executor() as executor:
        print(sum(executor.map(is_prime, range(10_000), chunksize=500)), "primes")

        futures = [executor.submit(half, number) for number in (4, 7, -1)]
        for future in concurrent.futures.as_completed(futures):
            error = future.exception()
            print("error:" if error else "result:", error or future.result())

        async def in_a_loop() -> bool:
            return await asyncio.get_running_loop().run_in_executor(executor, is_prime, 104_729)

        print("104729 is prime:", asyncio.run(in_a_loop()))


if __name__ == "__main__":
    main()
