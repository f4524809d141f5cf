"""Make pictures in a background worker, with taskiq: the web server answers at once, the worker pays once.

``imagesdk serve --port 0 -- python examples/background_worker.py`` runs both in one process, with a
queue in memory. With REDIS_URL set the queue is in Redis, and so is the limit, which all workers share:
``taskiq worker background_worker:broker`` in as many terminals as you like, and then this program beside
them.
"""

import asyncio
import os
from pathlib import Path

from taskiq import AsyncBroker, InMemoryBroker, TaskiqEvents, TaskiqState

from imagesdk import ImageLimiter, ImageSession, RedisLimiter

OUT = Path(os.environ.get("PICTURES", "out"))
REDIS_URL = os.environ.get("REDIS_URL")
MAX_WAIT = 900.0
"""Seconds that a picture may wait for the limit."""
TIMEOUT = 600.0
"""Seconds that it may take after that."""


def make_broker() -> AsyncBroker:
    """Return the queue.

    The trap: Redis gives a task to another worker when the first has not confirmed it within
    *idle_timeout*, whether it died or is only waiting. taskiq-redis's default is 10 minutes; a picture
    that waits for the limit for 11 is then made, and billed, twice. So it must be longer than the longest
    wait and the longest call together. (streaQ's workers renew their claims instead.)
    """
    if REDIS_URL is None:
        return InMemoryBroker(await_inplace=False)
    from taskiq_redis import RedisAsyncResultBackend, RedisStreamBroker

    patience = int((MAX_WAIT + TIMEOUT + 60) * 1000)
    queue = RedisStreamBroker(REDIS_URL, idle_timeout=patience)
    return queue.with_result_backend(RedisAsyncResultBackend(REDIS_URL, result_ex_time=3600))


broker = make_broker()


@broker.on_event(TaskiqEvents.WORKER_STARTUP)
async def open_session(state: TaskiqState) -> None:
    """Make one session for all tasks of this worker."""
    limiter = ImageLimiter(50) if REDIS_URL is None else RedisLimiter(REDIS_URL, 50)
    state.images = ImageSession(limiter=limiter, max_wait=MAX_WAIT, timeout=TIMEOUT)


@broker.on_event(TaskiqEvents.WORKER_SHUTDOWN)
async def close_session(state: TaskiqState) -> None:
    """Close it."""
    await state.images.aclose()


def find_picture(order: str) -> Path | None:
    """Return where the picture of an order is, None if it was not made."""
    return next(OUT.glob(f"{order}.*"), None)


@broker.task(task_name="make_picture")  # by itself it would be named after the way of starting it
async def make_picture(order: str, prompt: str) -> str:
    """Make the picture of an order, unless it is there: a task may be delivered twice."""
    if found := await asyncio.to_thread(find_picture, order):
        return str(found)
    images: ImageSession = broker.state.images
    # A server that honours the key bills an order once, however often it is sent.
    result = await images.generate(
        prompt, size="256x256", priority="batch", extra_headers={"Idempotency-Key": order}
    )
    return str(await result.data[0].save(OUT / order))


async def main() -> None:
    """Stand for the web server: put three orders into the queue, one of them twice, and wait for them."""
    await broker.startup()
    orders = [("order-1", "a fox"), ("order-2", "an otter"), ("order-3", "a corgi")]
    tasks = [await make_picture.kiq(*order) for order in orders]
    for task in tasks:
        print("made:", (await task.wait_result(timeout=TIMEOUT)).return_value)
    again = await make_picture.kiq(*orders[0])
    print("there:", (await again.wait_result(timeout=TIMEOUT)).return_value)
    await broker.shutdown()


if __name__ == "__main__":
    asyncio.run(main())
