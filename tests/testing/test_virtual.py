from __future__ import annotations

import asyncio
import threading
import time

from imagesdk.testing import virtual_time


def test_time_jumps() -> None:
    """An hour passes in a moment, and timers fire in their order."""

    async def main() -> list[int]:
        done: list[int] = []

        async def wait(seconds: int) -> None:
            await asyncio.sleep(seconds)
            done.append(round(asyncio.get_running_loop().time()))

        await asyncio.gather(wait(3600), wait(5), wait(60))
        return done

    began = time.monotonic()
    with virtual_time() as runner:
        assert runner.run(main()) == [5, 60, 3600]
    assert time.monotonic() - began < 5


def test_threads_take_no_virtual_time() -> None:
    """The clock stands still while a thread works, whatever timers there are."""

    async def main() -> float:
        gate = threading.Event()
        work = asyncio.create_task(asyncio.to_thread(gate.wait, 5))
        timer = asyncio.create_task(asyncio.sleep(100))
        await asyncio.sleep(0)
        asyncio.get_running_loop().call_soon(gate.set)
        assert await work
        between = asyncio.get_running_loop().time()
        await timer
        assert asyncio.get_running_loop().time() >= 100
        return between

    with virtual_time() as runner:
        assert runner.run(main()) == 0


def test_many_threads_end() -> None:
    """A thread that is done before the loop looks is not waited for forever."""

    async def main() -> int:
        return sum([await asyncio.to_thread(int, "1") for _ in range(200)])

    with virtual_time() as runner:
        assert runner.run(main()) == 200
