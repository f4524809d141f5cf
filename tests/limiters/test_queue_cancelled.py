from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from itertools import permutations
from typing import Any, TypeVar

import pytest

from imagesdk.errors import QuotaExceededError
from imagesdk.limiters._schedule import JITTER
from imagesdk.limiters.base import Limiter, Slots
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


# Cancellation ---------------------------------------------------------------------------------


@pytest.mark.parametrize("order", [*permutations(range(4), 1), *permutations(range(4), 2)])
@pytest.mark.parametrize("together", [True, False])
def test_cancelled_in_the_queue(order: tuple[int, ...], *, together: bool) -> None:
    """Whoever is cancelled, and in whatever order, the others go when their time has come."""

    async def main() -> Calls:
        calls = Calls(ImageLimiter(5))
        await calls.one("first", 5)
        for index in range(4):
            calls.start(f"{index}", 5)
        await asyncio.sleep(10)
        for index in order:
            calls.cancel(f"{index}")
            if not together:
                await asyncio.sleep(1)
        await asyncio.sleep(1)
        snapshot = calls.limiter.snapshot()
        assert (snapshot.queued, snapshot.queued_images) == (4 - len(order), 20 - 5 * len(order))
        assert snapshot.used == 5
        await calls.done()
        return calls

    calls = run(main)
    left = [f"{index}" for index in range(4) if index not in order]
    assert calls.names == ["first", *left]
    assert [calls.at[name] for name in left] == pytest.approx(
        [LENGTH * (1 + index) for index in range(len(left))], abs=0.1
    )


def test_all_but_one_are_cancelled() -> None:
    """Of a thousand calls that are cancelled in one moment the one that is not goes in time."""

    async def main() -> float:
        calls = Calls(ImageLimiter(5))
        await calls.one("first", 5)
        for index in range(1000):
            calls.start(f"{index}", 5)
        await asyncio.sleep(10)
        for index in range(1000):
            if index != 700:
                calls.cancel(f"{index}")
        await calls.done()
        return calls.at["700"]

    assert run(main) == pytest.approx(LENGTH, abs=0.1)


def test_cancelled_when_it_was_just_admitted() -> None:
    """A call that is cancelled before it hears of its admission uses nothing up and keeps no slot."""

    async def main() -> None:
        slots = Slots(2)
        calls = Calls(ImageLimiter(5))
        await calls.one("first", 5)

        async def driver() -> None:
            async with calls.limiter.ticket(1):
                calls.cancel("victim")

        driving = asyncio.create_task(driver())
        await asyncio.sleep(0)
        calls.start("victim", 3, slots=slots)
        calls.start("next", 1, slots=slots)
        calls.start("last", 3, slots=slots)
        await calls.done()
        await driving
        assert calls.tasks["victim"].cancelled()
        assert calls.limiter.snapshot().used == 5
        assert calls.names == ["first", "next", "last"]
        assert calls.at["last"] == pytest.approx(LENGTH, abs=0.5)
        assert [slots.take() for _ in range(3)] == [True, True, False]

    run(main)


def test_cancelled_at_the_token_bucket() -> None:
    """A call that is cancelled while it is paced has used nothing, and those behind it move up."""

    async def main() -> None:
        calls = Calls(ImageLimiter(50, burst=1))
        await calls.one("first")
        calls.start("paced", 40)
        calls.start("next")
        await asyncio.sleep(0.5)
        assert calls.limiter.snapshot().next_waits_for == "pace"
        calls.cancel("paced")
        await calls.done()
        assert calls.limiter.snapshot().used == 2
        assert calls.at["next"] == pytest.approx(1.2, abs=0.05)

    run(main)


@pytest.mark.parametrize(("sent", "used"), [(True, 3), (False, 0)])
def test_cancelled_in_the_exchange(*, sent: bool, used: int) -> None:
    """What was cancelled before anything was sent is given back; what the server has seen counts."""

    async def main() -> int:
        limiter = ImageLimiter(50)

        async def hold() -> None:
            ticket = limiter.ticket(3)
            async with ticket:
                ticket.sent = sent
                await asyncio.sleep(100)

        task = asyncio.create_task(hold())
        await asyncio.sleep(1)
        task.cancel()
        await asyncio.wait([task])
        return limiter.snapshot().used

    assert run(main) == used


def test_nothing_is_granted_to_what_was_ended() -> None:
    """Calls that are ended together leave the pace as it was to those that come then."""

    async def main() -> None:
        calls = Calls(ImageLimiter(50))
        broke = calls.limiter.ticket(1)
        with pytest.raises(QuotaExceededError):  # noqa: PT012
            async with broke:
                for index in range(100):
                    calls.start(f"{index}", 10)
                await asyncio.sleep(0.1)
                raise QuotaExceededError("no credit", status=429)
        assert calls.limiter.snapshot().queued == 0  # at once, before they have noticed
        before = now()
        calls.start("new")
        outcomes = await calls.done()
        assert sum(isinstance(outcome, QuotaExceededError) for outcome in outcomes) >= 95
        assert calls.at["new"] < before + 1.3

    run(main)
