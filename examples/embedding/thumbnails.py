"""A service that makes thumbnails: jobs with progress, deadlines and cancellation, from asyncio."""

import asyncio

from workers import AsyncPool, JobCancelled, JobTimedOut, WorkerPool


async def serve(pool: AsyncPool, name: str) -> str:
    """Answer one request."""
    try:
        pixels = await pool.submit("fetch", name, timeout_s=2.0)
    except FileNotFoundError as problem:  # what a handler raises is raised here
        return f"404 {problem.filename}"
    job = pool.submit("thumbnail", pixels, width=100, factor=10, timeout_s=2.0)
    async for fraction, text in job.progress():
        print(f"{name}: {fraction:.0%}, {text}")
    return f"200 {len(await job)} bytes"


async def main() -> None:
    async with WorkerPool(workers=2, handlers="thumbnail_jobs") as pool:
        answers = await asyncio.gather(*(serve(pool, name) for name in ("a.grey", "b.grey", "c.jpeg")))
        print(answers)

        # A deadline holds whatever the worker does. "kill" has the worker killed and replaced, if it still runs then.
        try:
            await pool.submit("spin", timeout_s=0.2, on_timeout="kill")
        except JobTimedOut as problem:
            print("504", problem)

        # Whoever stops waiting cancels the job; so does cancel().
        job = pool.submit("watch", 60.0)
        job.cancel("the browser went away")
        try:
            await job
        except JobCancelled as problem:
            print("499", problem)

        # Many items, with at most so many under way; the results come in the order of the items.
        images = [bytes([shade]) * 10_000 for shade in range(200)]
        calls = ({"pixels": image, "width": 100, "factor": 10} for image in images)
        total = 0
        async for small in pool.map("thumbnail", calls, unpack=True, in_flight=50):
            total += len(small)
        print(f"{total} bytes of thumbnails")


if __name__ == "__main__":
    asyncio.run(main())
