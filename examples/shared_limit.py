"""Share one limit between four processes, through Redis: together they send what one key may send.

``imagesdk serve --port 0 --images-per-minute 60 -- python examples/shared_limit.py``, with a Redis at
REDIS_URL (``redis://127.0.0.1:6379`` if that is not set). Without one it ends with an error, where a
program in earnest would rather go on with a share of the limit, which is what ``on_store_error="local"``,
the default, does.
"""

import asyncio
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor

from imagesdk import ImageSession, RedisLimiter

PROCESSES = 4
IMAGES_EACH = 10
LIMIT = 60


async def work(worker: int) -> list[str]:
    """Make pictures in one of the processes; return what there is to say about each."""
    said: list[str] = []
    url = os.environ.get("REDIS_URL", "redis://127.0.0.1:6379")
    limiter = RedisLimiter(url, LIMIT, on_store_error="raise")
    async with ImageSession(limiter=limiter) as images:
        prompts = [f"a fox with the number {worker}" for _ in range(IMAGES_EACH)]
        async with images.map(prompts, concurrency=4) as outcomes:
            async for outcome in outcomes:
                attempts = outcome.unwrap().attempts
                refused = sum(attempt.status == 429 for attempt in attempts)
                said.append(f"worker {worker}: {len(attempts)} attempt(s), {refused} refused")
    return said


def run(worker: int) -> list[str]:
    """Run `work` in a process of its own, which has an event loop of its own."""
    return asyncio.run(work(worker))


def main() -> None:
    """Start the processes, and count."""
    began = time.monotonic()
    with ProcessPoolExecutor(PROCESSES) as pool:
        lines = [line for said in pool.map(run, range(PROCESSES)) for line in said]
    print(*lines, sep="\n")
    refused = sum(not line.endswith(" 0 refused") for line in lines)
    print(f"{len(lines)} images in {time.monotonic() - began:.1f} s, {refused} refused")
    sys.exit(refused > 0)


if __name__ == "__main__":
    main()
