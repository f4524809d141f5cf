from __future__ import annotations

import asyncio
import random
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest

from imagesdk.errors import ConnectError, QuotaExceededError
from imagesdk.limiters import _queue
from imagesdk.limiters.base import Slots
from imagesdk.limiters.local import ImageLimiter
from imagesdk.limiters.unlimited import NoLimiter

LIMIT, PERIOD, MARGIN = 5, 0.2, 0.02


def limiter_of(limit: int = LIMIT, period: float = PERIOD) -> ImageLimiter:
    return ImageLimiter(None, windows=((limit, period),), burst=limit, jitter=MARGIN)


def in_threads(*mains: Callable[[], Awaitable[Any]]) -> list[Any]:
    """Run each of *mains* in an event loop and a thread of its own; return or raise what came of them."""

    async def body(main: Callable[[], Awaitable[Any]]) -> Any:
        async with asyncio.timeout(5):
            return await main()

    with ThreadPoolExecutor(len(mains)) as pool:
        return list(pool.map(lambda main: asyncio.run(body(main)), mains))


async def admitted_at(limiter: Any, images: int = 1, **options: Any) -> float:
    """Make a call; return the time from which the limiter counts it."""
    ticket = limiter.ticket(images, **options)
    async with ticket:
        assert ticket._permit is not None
        at: float = ticket._permit.at
        return at


def worst_window(calls: list[tuple[float, int]], period: float = PERIOD) -> int:
    return max(sum(n for u, n in calls if t - period < u <= t) for t, _ in calls)


class EndedLoop:
    """A loop that is closed, with its thread, while calls wait in it: nothing is cancelled."""

    def __init__(self, limiter: Any, *, calls: int, cost: int = 1, **options: Any) -> None:
        self._limiter, self._options, self._cost = limiter, options, cost
        self._loop = asyncio.new_event_loop()
        self._loop.set_exception_handler(lambda *_: None)  # it complains about the lost tasks
        begun = threading.Event()
        self._tasks: list[asyncio.Task[float]] = []
        self._thread = threading.Thread(target=self._run, args=(calls, begun))
        self._thread.start()
        begun.wait()

    def _run(self, calls: int, begun: threading.Event) -> None:
        async def begin() -> None:
            for _ in range(calls):
                call = admitted_at(self._limiter, self._cost, **self._options)
                self._tasks.append(asyncio.create_task(call))
            for _ in range(5):
                await asyncio.sleep(0)
            asyncio.get_running_loop().call_soon(begun.set)

        beginning = self._loop.create_task(begin())
        self._loop.run_forever()
        assert beginning.done()
        self._loop.close()

    def end(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        assert self._loop.is_closed()


def test_several_loops_share_a_limit() -> None:
    """Calls of three loops in three threads are all admitted, and together keep to the limit."""
    limiter = limiter_of()
    costs = (1, 2, 1, 3, 1, 1)

    async def main() -> list[tuple[float, int]]:
        times = await asyncio.gather(*(admitted_at(limiter, cost) for cost in costs))
        assert limiter.snapshot().queued <= 2 * len(costs)
        return list(zip(times, costs, strict=True))

    calls = [call for part in in_threads(main, main, main) for call in part]
    assert len(calls) == 18
    assert worst_window(calls) <= LIMIT
    lasted = max(at for at, _ in calls) - min(at for at, _ in calls)
    assert lasted >= 5 * PERIOD  # 27 images are six windows


def test_several_loops_share_a_pace() -> None:
    """The token bucket is one for all loops: ten at once, and not ten for each loop."""
    limiter = ImageLimiter(600, burst=10)  # then one each 0.1 s

    async def main() -> list[float]:
        return list(await asyncio.gather(*(admitted_at(limiter) for _ in range(9))))

    times = sorted(at for part in in_threads(main, main) for at in part)
    assert times[9] - times[0] < 0.2
    assert 0.7 < times[17] - times[0] < 1.1


class Stress:
    """Calls of one loop that go wrong in many ways."""

    def __init__(self, limiter: ImageLimiter, seed: int) -> None:
        self.limiter = limiter
        self.rng = random.Random(seed)  # noqa: S311 - a test
        self.slots = Slots(4)
        self.counted: list[tuple[float, int]] = []

    async def call(self, index: int) -> None:
        images = self.rng.randint(1, 4)
        ticket = self.limiter.ticket(
            images,
            priority="batch" if index % 3 == 0 else "interactive",
            slots=self.slots if index % 2 else None,
        )
        with suppress(ConnectError):
            async with ticket:
                if self.rng.random() < 0.2:
                    await self.refused()
                self.counted.append((ticket._permit.at, images))  # type: ignore[union-attr]
                await asyncio.sleep(0)
                return
        async with ticket:
            self.counted.append((ticket._permit.at, images))  # type: ignore[union-attr]

    async def refused(self) -> None:
        await asyncio.sleep(0)
        raise ConnectError("refused")

    async def run(self) -> None:
        tasks = []
        for index in range(120):
            tasks.append(asyncio.create_task(self.call(index)))
            if self.rng.random() < 0.3:
                await asyncio.sleep(0)
            if self.rng.random() < 0.2:
                self.rng.choice(tasks).cancel()
        for outcome in await asyncio.gather(*tasks, return_exceptions=True):
            assert outcome is None or isinstance(outcome, asyncio.CancelledError)


def test_several_loops_stress() -> None:
    """Cancellations and failures in several threads at once leave nothing behind."""
    limiter = limiter_of(40, 0.03)
    parts = [Stress(limiter, seed) for seed in range(3)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        in_threads(*(part.run for part in parts))
    finally:
        sys.setswitchinterval(interval)
    counted = [call for part in parts for call in part.counted]
    assert worst_window(counted, 0.03) <= 40
    assert len(counted) > 200

    async def after() -> None:
        assert limiter.snapshot().queued == 0
        await admitted_at(limiter, 40)

    asyncio.run(after())
    for part in parts:
        assert [part.slots.take() for _ in range(5)] == [True] * 4 + [False]


def test_a_loop_that_ends_as_it_should() -> None:
    """`asyncio.run` cancels what waits in its loop, and the calls of the other loop go on."""
    limiter = limiter_of(1, 0.1)
    waits = threading.Event()

    async def ends() -> None:
        calls = [asyncio.create_task(admitted_at(limiter)) for _ in range(30)]
        await asyncio.sleep(0.01)
        waits.set()
        await calls[0]

    async def goes_on() -> None:
        await asyncio.to_thread(waits.wait)
        await admitted_at(limiter)

    began = asyncio.run(_time())
    in_threads(ends, goes_on)
    assert asyncio.run(_time()) - began < 0.6


async def _time() -> float:
    return asyncio.get_running_loop().time()


@pytest.fixture
def _short_watch(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Look after the driver of another loop every 50 ms instead of every few seconds."""
    monkeypatch.setattr(_queue, "_WATCH", 0.05)
    return iter(())


@pytest.mark.usefixtures("_short_watch")
@pytest.mark.parametrize("priority", ["interactive", "batch"])
def test_a_loop_that_is_closed_while_it_drives(priority: Any) -> None:
    """Calls of other loops go on when the loop that admitted them is gone, without a new call."""
    limiter = limiter_of(1, 0.1)
    other = EndedLoop(limiter, calls=5, priority=priority)

    async def main() -> None:
        calls = [asyncio.create_task(admitted_at(limiter, priority=priority)) for _ in range(2)]
        await asyncio.sleep(0.02)
        assert limiter.snapshot().queued == 6
        await asyncio.to_thread(other.end)
        began = asyncio.get_running_loop().time()
        async with asyncio.timeout(1):
            await asyncio.gather(*calls)
        assert asyncio.get_running_loop().time() - began < 0.4
        assert limiter.snapshot().queued == 0

    asyncio.run(main())


def test_a_closed_loop_is_noticed_by_the_next_call() -> None:
    """A call that comes after the driver's loop was closed takes its part over at once."""
    limiter = limiter_of(1, 0.1)
    EndedLoop(limiter, calls=3).end()

    async def main() -> None:
        async with asyncio.timeout(1):
            await admitted_at(limiter)
            await admitted_at(limiter)
        assert limiter.snapshot().queued == 0

    asyncio.run(main())


def test_what_ends_in_a_live_loop_finds_a_new_driver() -> None:
    """When an exchange ends after the driver's loop was closed, somebody else is woken."""
    limiter = limiter_of(5, 60.0)

    async def main() -> None:
        first = limiter.ticket(5)
        await first.__aenter__()
        other = EndedLoop(limiter, calls=1)
        waiting = asyncio.create_task(admitted_at(limiter, 5))
        await asyncio.sleep(0.02)
        await asyncio.to_thread(other.end)
        assert limiter.snapshot().queued == 2
        await first.__aexit__(ConnectError, ConnectError("refused"), None)
        async with asyncio.timeout(1):
            await waiting

    asyncio.run(main())


def test_closed_loops_get_no_permits() -> None:
    """Calls whose loop was closed are passed over and forgotten, wherever they stood in the line."""
    limiter = limiter_of(1, 0.6)  # both loops end before the first of their calls may go

    async def main() -> None:
        await admitted_at(limiter)
        driver = asyncio.create_task(admitted_at(limiter))
        await asyncio.sleep(0)
        ended = [EndedLoop(limiter, calls=20), EndedLoop(limiter, calls=20, slots=Slots(1))]
        last = asyncio.create_task(admitted_at(limiter))
        await asyncio.sleep(0)
        for loop in ended:
            await asyncio.to_thread(loop.end)
        async with asyncio.timeout(5):
            assert await last - await driver < 0.9
        await admitted_at(limiter)
        assert limiter.snapshot().queued == 0

    asyncio.run(main())


def test_a_refusal_reaches_every_loop() -> None:
    """When the account has no credit, calls of other loops end, too; a closed loop is no obstacle."""
    limiter = limiter_of(1, 60.0)

    async def main() -> Any:
        ticket = limiter.ticket(1)
        await ticket.__aenter__()
        ended = EndedLoop(limiter, calls=2)
        queued = threading.Semaphore(0)
        calls = [admitted_at(limiter, on_queued=lambda *_: queued.release()) for _ in range(2)]
        others = [asyncio.to_thread(asyncio.run, call) for call in calls]
        waiting = asyncio.gather(*others, return_exceptions=True)
        await asyncio.to_thread(ended.end)
        for _ in calls:
            await asyncio.to_thread(queued.acquire, timeout=1)
        await ticket.__aexit__(QuotaExceededError, QuotaExceededError("no credit"), None)
        async with asyncio.timeout(1):
            return await waiting

    assert [type(outcome) for outcome in asyncio.run(main())] == [QuotaExceededError] * 2


def test_a_loop_that_stands_still_for_a_while() -> None:
    """While the driver's loop does not run, others drive; when it runs again its calls go on."""
    limiter = limiter_of(1, 0.1)
    with asyncio.Runner() as runner:

        async def begin() -> asyncio.Task[float]:
            await admitted_at(limiter)
            task = asyncio.create_task(admitted_at(limiter))
            await asyncio.sleep(0.01)
            return task

        task = runner.run(begin())
        stalled = asyncio.run(_time())

        async def others() -> None:
            async with asyncio.timeout(1):
                await asyncio.gather(*(admitted_at(limiter) for _ in range(2)))

        asyncio.run(others())
        assert asyncio.run(_time()) - stalled < 0.6

        async def resume() -> float:
            return await task

        assert runner.run(resume()) > 0


def test_slots_of_a_session_in_another_thread() -> None:
    """With the limiter off, each loop's session keeps to its own slots."""
    limiter = NoLimiter()

    async def main() -> int:
        slots, most, running = Slots(2), 0, 0

        async def call() -> None:
            nonlocal most, running
            async with limiter.ticket(1, slots=slots):
                running += 1
                most = max(most, running)
                await asyncio.sleep(0.005)
                running -= 1

        await asyncio.gather(*(call() for _ in range(20)))
        return most

    assert in_threads(main, main, main) == [2, 2, 2]
