from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import pytest

from imagesdk.errors import (
    ImageSDKError,
    RateLimitError,
)
from imagesdk.limiters._schedule import JITTER
from imagesdk.limiters.base import Slots
from imagesdk.limiters.local import ImageLimiter
from imagesdk.testing import virtual_time

T = TypeVar("T")
LENGTH = 60 + JITTER
HAIR = 1e-3


def run(main: Callable[[], Awaitable[T]]) -> T:
    """Run *main* in virtual time."""

    async def body() -> T:
        return await main()

    with virtual_time() as runner:
        return runner.run(body())


def now() -> float:
    return asyncio.get_running_loop().time()


class Calls:
    """Calls on a limiter, and when they were admitted."""

    def __init__(self, limiter: ImageLimiter) -> None:
        self.limiter = limiter
        self.admitted: list[tuple[float, int, int]] = []
        self.tasks: list[asyncio.Task[float]] = []

    async def one(
        self,
        images: int = 1,
        *,
        input_images: int = 0,
        hold: float = 0.0,
        error: Exception | None = None,
        **options: Any,
    ) -> float:
        async with self.limiter.ticket(images, input_images=input_images, **options):
            at = now()
            self.admitted.append((at, images, input_images))
            await asyncio.sleep(hold)
            if error is not None:
                raise error
            return at

    def start(self, images: int = 1, *, calls: int = 1, **options: Any) -> None:
        self.tasks += (asyncio.create_task(self.one(images, **options)) for _ in range(calls))

    async def done(self) -> list[float]:
        times = list(await asyncio.gather(*self.tasks))
        assert self.limiter.snapshot().queued == 0
        self.tasks.clear()
        return times

    async def fails(self, error: ImageSDKError, images: int = 1) -> None:
        with pytest.raises(type(error)):
            await self.one(images, error=error)

    def worst(self, period: float, column: int = 1) -> int:
        """Return the most that went out in any *period* seconds: images, or input images (2)."""
        log = [(each[0], each[1:][column - 1]) for each in self.admitted]
        return max(sum(count for at, count in log if t - period < at <= t) for t, _ in log)


def _refusal(message: str = "429", **values: Any) -> RateLimitError:
    return RateLimitError(message, status=429, **values)


# The snapshot ---------------------------------------------------------------------------------


def test_snapshot_of_a_quiet_limiter() -> None:
    """Nothing used, nothing waits, and the limit is what was configured."""

    async def main() -> Any:
        return ImageLimiter(42.5).snapshot()

    snapshot = run(main)
    assert (snapshot.images_per_minute, snapshot.limit, snapshot.adopted) == (42.5, 42.5, None)
    assert (snapshot.used, snapshot.queued, snapshot.queued_images) == (0, 0, 0)
    assert (snapshot.paused, snapshot.paused_until) == (0, None)
    assert (snapshot.next_waits, snapshot.next_waits_for) == (0, None)


def test_snapshot_of_a_full_window() -> None:
    """What is used, what waits, and when the next one may go."""

    async def main() -> None:
        calls = Calls(ImageLimiter(10))
        await calls.one(8)
        calls.start(3)
        calls.start(4, priority="batch")
        await asyncio.sleep(1)
        snapshot = calls.limiter.snapshot()
        assert (snapshot.used, snapshot.queued, snapshot.queued_images) == (8, 2, 7)
        assert snapshot.next_waits == pytest.approx(LENGTH - 1, abs=0.01)
        assert snapshot.next_waits_for == "window"
        await calls.done()

    run(main)


def test_snapshot_of_a_pause() -> None:
    """How long the pause lasts, until when, and that the next one waits for its end and its probe."""

    async def main() -> None:
        calls = Calls(ImageLimiter(10))
        await calls.fails(_refusal(retry_after=30.0))
        before = datetime.now(UTC)
        snapshot = calls.limiter.snapshot()
        assert snapshot.paused == pytest.approx(30.05, abs=0.01)
        assert snapshot.paused_until is not None
        until = snapshot.paused_until - timedelta(seconds=snapshot.paused)
        assert abs(until - before) < timedelta(seconds=10)
        assert snapshot.next_waits_for is None
        calls.start(hold=20.0)
        calls.start()
        await asyncio.sleep(10)
        snapshot = calls.limiter.snapshot()
        assert snapshot.next_waits_for == "pause"
        assert snapshot.next_waits == snapshot.paused == pytest.approx(20.05, abs=0.01)
        await asyncio.sleep(20.1)
        snapshot = calls.limiter.snapshot()
        assert (snapshot.paused, snapshot.queued, snapshot.next_waits_for) == (0, 1, "probe")
        assert 0 < snapshot.next_waits <= 1
        await calls.done()

    run(main)


def test_snapshot_of_the_pace_and_of_the_slots() -> None:
    """The token bucket, and slots of the session that are all taken, are named as reasons."""

    async def main() -> None:
        calls, slots = Calls(ImageLimiter(50, burst=1)), Slots(1)
        await calls.one()
        calls.start(hold=5.0, slots=slots)
        await asyncio.sleep(0)
        snapshot = calls.limiter.snapshot()
        assert snapshot.next_waits_for == "pace"
        assert snapshot.next_waits == pytest.approx(1.2, abs=0.01)
        await asyncio.sleep(2)
        calls.start(slots=slots)
        await asyncio.sleep(0)
        snapshot = calls.limiter.snapshot()
        assert (snapshot.queued, snapshot.next_waits_for) == (1, "concurrency")
        await calls.done()

    run(main)


def test_snapshot_of_an_adopted_limit() -> None:
    """The limit in use and the one that the server named are shown beside the configured one."""

    async def main() -> None:
        calls = Calls(ImageLimiter(50))
        await calls.fails(_refusal("Limit: 5/1min", retry_after=1.0))
        snapshot = calls.limiter.snapshot()
        assert (snapshot.images_per_minute, snapshot.limit, snapshot.adopted) == (50, 5, 5)
        assert calls.limiter.max_cost() == 5

    run(main)


@pytest.mark.parametrize("images", [1, 5, 7, 10, 26])
def test_the_forecast_is_when_the_last_one_goes(images: int) -> None:
    """It is right to within a few seconds for 20 minutes of requests, whatever they ask for."""

    async def main() -> tuple[list[float], float]:
        calls = Calls(ImageLimiter(50))
        number = 1000 // images
        calls.start(images, calls=number)
        forecasts = [calls.limiter.forecast(number * images, number)]
        await asyncio.sleep(100)
        left = number - len(calls.admitted)
        forecasts.append(100 + calls.limiter.forecast(left * images, left))
        return forecasts, (await calls.done())[-1]

    forecasts, last = run(main)
    assert last > 1000
    assert forecasts == pytest.approx([last, last], abs=3)


def test_the_forecast_knows_of_a_pause() -> None:
    """Nothing goes before it is over; nothing to send takes no time."""

    async def main() -> None:
        calls = Calls(ImageLimiter(50))
        assert calls.limiter.forecast(1, 1) == 0
        await calls.fails(_refusal("too many", retry_after=20.0))
        assert calls.limiter.forecast(1, 1) == pytest.approx(20, abs=1)
        assert calls.limiter.forecast(0, 0) == 0

    run(main)
