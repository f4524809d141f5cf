from __future__ import annotations

import asyncio

import pytest

from imagesdk.errors import RateLimitError
from imagesdk.limiters.base import LimiterSnapshot, NoLimiter
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
    assert (NoLimiter.max_cost, NoLimiter.max_pause) == (None, None)
    assert NoLimiter().snapshot() == LimiterSnapshot(
        images_per_minute=None, used=0, queued=0, queued_images=0, paused=0.0
    )
