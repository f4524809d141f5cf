"""Time an uncontended acquire in real time: limits so high that nothing ever waits."""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Awaitable, Callable
from time import perf_counter

from aiolimiter import AsyncLimiter
from pyrate_limiter import Duration, Limiter, Rate

from imagesdk import ImageLimiter

__all__ = ("time_acquires",)

_ROUNDS = 15
_ACQUIRES = 2000
_ENOUGH = 1_000_000_000


async def _imagesdk() -> None:
    limiter = ImageLimiter(_ENOUGH)
    for _ in range(_ACQUIRES):
        async with limiter.ticket(1):
            pass


async def _aiolimiter() -> None:
    limiter = AsyncLimiter(_ENOUGH, 60)
    for _ in range(_ACQUIRES):
        async with limiter:
            pass


async def _pyrate() -> None:
    with Limiter(Rate(_ENOUGH, Duration.MINUTE)) as limiter:
        for _ in range(_ACQUIRES):
            await limiter.try_acquire_async("images")


_CONTENDERS: dict[str, Callable[[], Awaitable[None]]] = {
    "imagesdk": _imagesdk,
    "aiolimiter": _aiolimiter,
    "pyrate": _pyrate,
}


async def _rounds() -> dict[str, list[float]]:
    times: dict[str, list[float]] = {name: [] for name in _CONTENDERS}
    for _ in range(_ROUNDS + 1):  # in turn; the first round warms up
        for name, run in _CONTENDERS.items():
            started = perf_counter()
            await run()
            times[name].append((perf_counter() - started) / _ACQUIRES * 1e6)
    return times


def time_acquires() -> dict[str, tuple[float, float, float]]:
    """Return median, least and most microseconds per acquire over the rounds, for each contender."""
    times = asyncio.run(_rounds())
    return {
        name: (statistics.median(rounds[1:]), min(rounds[1:]), max(rounds[1:]))
        for name, rounds in times.items()
    }
