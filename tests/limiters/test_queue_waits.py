from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import pytest

from imagesdk.errors import RateLimitError, RateLimitTooLongError
from imagesdk.limiters._schedule import JITTER
from imagesdk.limiters.base import CallTooLarge, Limiter, Slots
from imagesdk.limiters.local import ImageLimiter
from imagesdk.testing import virtual_time

T = TypeVar("T")
LENGTH = 60 + JITTER


def run(main: Callable[[], Awaitable[T]]) -> T:
    """Run *main* in virtual time."""

    async def body() -> T:
        return await main()

    with virtual_time() as runner:
        return runner.run(body())


def now() -> float:
    return asyncio.get_running_loop().time()


class Calls:
    """Calls on a limiter, and the order and time in which they were admitted."""

    def __init__(self, limiter: Limiter) -> None:
        self.limiter = limiter
        self.names: list[str] = []
        self.at: dict[str, float] = {}
        self.told: dict[str, Any] = {}
        self.tasks: dict[str, asyncio.Task[None]] = {}

    async def one(
        self,
        name: str = "",
        cost: int = 1,
        *,
        hold: float = 0.0,
        error: Exception | None = None,
        **options: Any,
    ) -> None:
        def told(position: int, wait: float, reason: str) -> None:
            assert name not in self.told
            self.told[name] = position, wait, reason

        async with self.limiter.ticket(cost, on_queued=told, **options):
            self.names.append(name)
            self.at[name] = now()
            await asyncio.sleep(hold)
            if error is not None:
                raise error

    def start(self, name: str, cost: int = 1, **options: Any) -> None:
        assert name not in self.tasks
        self.tasks[name] = asyncio.create_task(self.one(name, cost, **options))

    def cancel(self, name: str) -> None:
        self.tasks[name].cancel()

    async def done(self) -> list[Any]:
        tasks = self.tasks.values()
        outcomes: list[Any] = await asyncio.gather(*tasks, return_exceptions=True)
        assert self.limiter.snapshot().queued == 0
        return outcomes

    async def drop(self) -> None:
        for task in self.tasks.values():
            task.cancel()
        await self.done()


# max_wait and forecasts -----------------------------------------------------------------------


def test_max_wait() -> None:
    """A wait that would be longer than max_wait is refused at once, with wait, position and limit."""

    async def main() -> RateLimitTooLongError:
        calls = Calls(ImageLimiter(10))
        await calls.one("first", 10)
        calls.start("second", 10)
        await asyncio.sleep(10)
        began = now()
        with pytest.raises(RateLimitTooLongError) as caught:
            await calls.one("too long", max_wait=100.0)
        assert now() == began
        assert calls.limiter.snapshot().queued == 1
        calls.start("third", max_wait=120.0)
        await calls.done()
        assert calls.at["third"] == pytest.approx(2 * LENGTH, abs=0.1)
        return caught.value

    error = run(main)
    assert error.wait == error.retry_after == pytest.approx(110 + 2 * JITTER, abs=0.1)
    assert (error.max_wait, error.position) == (100.0, 2)
    assert str(error) == (
        "the wait for the limit of 10 images a minute would be 110.7 s (position 2 in the queue); "
        "max_wait is 100 s. Try again later, or raise max_wait"
    )


def test_max_wait_names_the_limit_that_is_in_the_way() -> None:
    """With further windows the message names the one that lets the fewest through."""

    async def main() -> str:
        calls = Calls(ImageLimiter(50, windows=((20, 60), (30, 300))))
        for index in range(30):
            calls.start(f"{index}")
        await asyncio.sleep(70)
        with pytest.raises(RateLimitTooLongError) as caught:
            await calls.one(max_wait=0.0)
        await calls.done()
        return str(caught.value)

    assert "the limit of 30 images in 300 s would be 230." in run(main)


def test_max_wait_of_a_batch_call_counts_the_interactive_ones() -> None:
    """A batch call stands behind all interactive calls, and its forecast says so."""

    async def main() -> None:
        calls = Calls(ImageLimiter(10))
        await calls.one("first", 10)
        calls.start("batch", 5, priority="batch")
        calls.start("user", 10)
        await asyncio.sleep(1)
        with pytest.raises(RateLimitTooLongError) as caught:
            await calls.one("late", 10, priority="batch", max_wait=1.0)
        assert caught.value.position == 3
        assert caught.value.wait == pytest.approx(3 * LENGTH - 1, abs=0.1)
        with pytest.raises(RateLimitTooLongError) as caught:
            await calls.one("user", 5, max_wait=1.0)
        assert caught.value.position == 2
        assert caught.value.wait == pytest.approx(2 * LENGTH - 1, abs=0.1)
        await calls.done()

    run(main)


def test_max_wait_includes_the_pause() -> None:
    """A pause counts as waiting, and a call that has been admitted once is not refused."""

    async def main() -> float:
        calls = Calls(ImageLimiter(50))
        ticket = calls.limiter.ticket(1, max_wait=0.0)
        with pytest.raises(RateLimitError):
            async with ticket:
                raise RateLimitError("429", retry_after=20.0)
        with pytest.raises(RateLimitTooLongError) as caught:
            await calls.one(max_wait=19.0)
        async with ticket:
            pass
        return caught.value.wait

    assert run(main) == pytest.approx(20.05, abs=0.01)


def test_a_part_is_not_refused_for_those_behind_it() -> None:
    """What counts for max_wait are the calls before a call, not all that wait."""

    async def main() -> Calls:
        calls = Calls(ImageLimiter(10))
        await calls.one("first", 10)
        whole = calls.limiter.ticket(10)
        for index in range(100):
            calls.start(f"{index}", 10)
        await asyncio.sleep(1)
        calls.start("part 1", 5, place=whole.place, max_wait=70.0)
        calls.start("part 2", 5, place=whole.place, max_wait=70.0)
        await asyncio.sleep(70)
        await calls.drop()
        return calls

    calls = run(main)
    assert calls.names == ["first", "part 1", "part 2"]
    assert calls.told["part 1"][:2] == (1, pytest.approx(LENGTH - 1, abs=0.1))
    assert calls.told["part 2"][:2] == (2, pytest.approx(LENGTH - 1, abs=0.1))


def test_max_wait_costs_little() -> None:
    """To queue or refuse four times as many calls with max_wait takes about four times the work."""

    async def main(count: int) -> tuple[int, int]:
        calls, work = Calls(ImageLimiter(50)), 0

        def count_work(*_: object) -> None:
            nonlocal work
            work += 1

        sys.setprofile(count_work)
        try:
            for index in range(count):
                calls.start(f"{index}", max_wait=3600.0)
            await asyncio.sleep(0.1)
        finally:
            sys.setprofile(None)
        queued = calls.limiter.snapshot().queued
        refused = sum(task.done() for task in calls.tasks.values()) - len(calls.names)
        assert queued + refused + len(calls.names) == count
        await calls.drop()
        return work, refused

    few, refused = run(lambda: main(1000))
    assert refused == 0
    many, refused = run(lambda: main(4000))
    assert 900 < refused < 1100  # an hour lets 3,000 and a few through
    assert many < 6 * few  # if it were quadratic, sixteen times


def test_forecasts_for_single_images_are_exact() -> None:
    """What a call is told when it is queued is what it then waits."""

    async def main() -> list[tuple[float, float]]:
        calls = Calls(ImageLimiter(50))
        for index in range(50):
            calls.start(f"early {index}")
        await asyncio.sleep(30)
        for index in range(270):
            calls.start(f"{index}")
        await calls.done()
        return [(calls.told[f"{i}"][1], calls.at[f"{i}"] - 30) for i in range(270)]

    for foreseen, waited in run(main):
        assert foreseen == pytest.approx(waited, abs=0.05)


@pytest.mark.parametrize(
    ("options", "within"),
    [
        ({}, 0.02),
        ({"burst": 10}, 0.02),
        ({"requests_per_minute": 20}, 0.02),
        ({"images_per_minute": None, "windows": ((5, 10),)}, 0.04),
        # How two windows get into each other's way is not foreseen.
        ({"windows": ((20, 60), (50, 300))}, 0.5),
    ],
)
def test_forecasts_from_a_quiet_start(options: dict[str, Any], *, within: float) -> None:
    """Before anything has left, forecasts are right within a few per cent and the first ramp."""

    async def main() -> list[tuple[float, float]]:
        calls = Calls(ImageLimiter(**options))
        for index in range(160):
            calls.start(f"{index}")
        await calls.done()
        return [(calls.told[name][1], calls.at[name]) for name in calls.told]

    for foreseen, waited in run(main):
        assert foreseen == pytest.approx(waited, rel=within, abs=2.1)


def test_forecasts_for_mixed_calls_are_close() -> None:
    """For calls of different sizes the forecast is right within a few per cent."""

    async def main() -> list[tuple[float, float]]:
        calls = Calls(ImageLimiter(50))
        for index in range(200):
            calls.start(f"{index}", (1, 4, 10, 2, 1, 7)[index % 6])
        await calls.done()
        return [(calls.told[name][1], calls.at[name]) for name in calls.told]

    pairs = run(main)
    for foreseen, waited in pairs:
        assert foreseen == pytest.approx(waited, rel=0.15, abs=65)
    foreseen, waited = pairs[-1]
    assert foreseen == pytest.approx(waited, rel=0.1)


# What a call is told --------------------------------------------------------------------------


def test_who_need_not_wait_is_told_nothing() -> None:
    """A call that has to wait is told so once, with its position; one that need not is not told."""

    async def main() -> Calls:
        calls = Calls(ImageLimiter(1))
        for name in "abc":
            calls.start(name)
        await calls.done()
        return calls

    told = run(main).told
    assert told == {
        "b": (1, pytest.approx(LENGTH, abs=0.01), "window"),
        "c": (2, pytest.approx(2 * LENGTH, abs=0.01), "queue"),
    }


def test_the_reasons() -> None:
    """The head is told what it waits for, and the others that they wait for it."""

    async def main() -> Calls:
        slots = Slots(1)
        calls = Calls(ImageLimiter(20))
        calls.start("first", 10)
        calls.start("pace", hold=1.0, slots=slots)
        await asyncio.sleep(0.1)
        calls.start("concurrency", slots=slots)
        await asyncio.sleep(1)
        refused = calls.limiter.ticket(1)
        with pytest.raises(RateLimitError):
            async with refused:
                raise RateLimitError("429", retry_after=3.0)
        calls.start("pause", hold=5.0)
        await asyncio.sleep(3.1)
        calls.start("probe")
        calls.start("queue")
        await asyncio.sleep(10)
        calls.start("window", 20)
        await calls.done()
        return calls

    told = run(main).told
    reasons = {name: reason for name, (_, _, reason) in told.items()}
    assert reasons == {name: name for name in reasons}
    assert set(reasons) == {"pace", "concurrency", "pause", "queue", "probe", "window"}


def test_a_listener_that_fails() -> None:
    """An error in on_queued ends that call alone."""

    async def main() -> None:
        limiter = ImageLimiter(1)

        def fail(*_: Any) -> None:
            raise ZeroDivisionError

        async def call(on_queued: Any) -> float:
            async with limiter.ticket(1, on_queued=on_queued):
                return now()

        first, second, third = await asyncio.gather(
            *(call(listener) for listener in (None, fail, None)), return_exceptions=True
        )
        assert (first, type(second)) == (0, ZeroDivisionError)
        assert third == pytest.approx(LENGTH, abs=0.1)

    run(main)


def test_too_large_calls_are_sent_back() -> None:
    """A call above the limit is not queued: the session is told how to split it."""

    async def main() -> None:
        calls = Calls(ImageLimiter(5))
        with pytest.raises(CallTooLarge) as caught:
            await calls.one(cost=6)
        assert caught.value.limit == 5
        assert calls.limiter.snapshot().used == 0

    run(main)
