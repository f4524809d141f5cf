from __future__ import annotations

import asyncio

import pytest

from imagesdk.errors import QuotaExceededError, RateLimitError
from imagesdk.limiters.base import Priority, Slots
from imagesdk.limiters.unlimited import NoLimiter
from imagesdk.testing import virtual_time


def test_no_limiter() -> None:
    """The limiter that is switched off admits any number at once, and swallows no error."""

    async def main() -> float:
        limiter = NoLimiter()
        for _ in range(100):
            async with limiter.ticket(10_000, priority="batch", max_wait=0.0):
                pass
        with pytest.raises(RateLimitError):
            async with limiter.ticket(1):
                raise RateLimitError("slow down", retry_after=30.0)
        async with limiter.ticket(1):
            return asyncio.get_running_loop().time()

    with virtual_time() as runner:
        assert runner.run(main()) == 0
    assert (NoLimiter().max_cost(), NoLimiter.max_pause) == (None, None)
    assert NoLimiter().forecast(10_000, 1) == 0


def test_slots() -> None:
    """With max_concurrency calls wait for a slot in their order, interactive ones first."""

    async def main() -> list[str]:
        limiter, slots, order = NoLimiter(), Slots(1), []

        async def call(name: str, priority: Priority = "interactive") -> None:
            async with limiter.ticket(1, priority=priority, slots=slots):
                order.append(name)
                await asyncio.sleep(1)

        async with asyncio.TaskGroup() as calls:
            for name in ("a", "b", "c"):
                calls.create_task(call(name, "batch"))
            await asyncio.sleep(0.1)
            calls.create_task(call("urgent"))
            await asyncio.sleep(0.1)
            state = limiter.snapshot()
            assert (state.queued, state.queued_images) == (3, 3)
            assert (state.next_waits_for, state.limit, state.used) == ("concurrency", None, 0)
        assert limiter.snapshot().next_waits_for is None
        assert asyncio.get_running_loop().time() == pytest.approx(4, abs=0.01)
        return order

    with virtual_time() as runner:
        assert runner.run(main()) == ["a", "urgent", "b", "c"]


def test_quota_ends_what_waits() -> None:
    """When the account has no credit, calls that wait for a slot end with the same error."""

    async def main() -> None:
        limiter, slots = NoLimiter(), Slots(1)

        async def call() -> None:
            async with limiter.ticket(1, slots=slots):
                await asyncio.sleep(1)
                raise QuotaExceededError("no credit", status=429)

        calls = [asyncio.create_task(call()) for _ in range(5)]
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [QuotaExceededError] * 5
        assert asyncio.get_running_loop().time() == pytest.approx(1, abs=0.01)

    with virtual_time() as runner:
        runner.run(main())


class CancellingSlots(Slots):
    """Slots that cancel a task in the very moment in which it is granted one."""

    task: asyncio.Task[None] | None = None

    def take(self) -> bool:
        taken = super().take()
        if self.task is not None and taken:
            self.task.cancel()
        return taken


def test_cancelled_when_it_was_just_admitted() -> None:
    """A call that is cancelled before it hears of its admission gives the slot to the next one."""

    async def main() -> None:
        limiter, slots, went = NoLimiter(), CancellingSlots(1), []

        async def call(name: str, hold: float = 0.0) -> None:
            async with limiter.ticket(1, slots=slots):
                went.append(name)
                await asyncio.sleep(hold)

        first = asyncio.create_task(call("first", 1.0))
        await asyncio.sleep(0)
        driver = asyncio.create_task(call("driver"))
        await asyncio.sleep(0.5)
        gone = asyncio.create_task(call("gone"))
        await asyncio.sleep(0)
        driver.cancel()
        slots.task = gone
        last = asyncio.create_task(call("last"))
        await asyncio.wait([first, driver, gone])
        slots.task = None
        await last
        assert went == ["first", "last"]
        assert not slots.full

    with virtual_time() as runner:
        runner.run(main())
