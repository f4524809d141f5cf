"""`ImageLimiter`: a first come, first served queue over an exact window and a token bucket.

Three parts, each with one job. The window (`imagesdk.limiters._schedule`) is the promise: never more
than the limit in any minute. The token bucket (aiolimiter) is the pace inside it: a limit that turns
out to be wrong then costs a few refusals instead of fifty. The queue is fairness: aiolimiter alone
serves the smallest amount first and lets newcomers pass, so that a call for ten images would starve.

There is no background task: the first waiter in the line is the dispatcher. It sleeps until it may
go, goes, and wakes the next one. A 429 pauses the whole line until the time that the server names;
the refused call keeps its place, because the place belongs to the ticket and not to the attempt.
"""

from __future__ import annotations

import asyncio
import math
import random
from bisect import insort
from collections.abc import Callable
from types import TracebackType
from typing import Self

import attrs
from aiolimiter import AsyncLimiter

from imagesdk.errors import (
    ConfigurationError,
    ConnectError,
    QuotaExceededError,
    RateLimitError,
    RateLimitTooLongError,
    TransportError,
)
from imagesdk.limiters._schedule import Permit, WindowSchedule
from imagesdk.limiters.base import LimiterSnapshot, Priority

__all__ = ("ImageLimiter",)

_PACE = (10, 0.5)
"""Ten images at once, then twenty a second: fifty are out within two seconds."""
_PAUSE_CUSHION = 0.05
"""Seconds added to the server's delay, for its rounding."""
_LONGEST_GUESS = 60.0
"""Seconds; longest pause after 429s that name no delay."""


class ImageLimiter:
    """Admit at most *images_per_minute* images in any minute, in the order in which they were asked for.

    Share one limiter between sessions that use the same key: ``ImageSession(limiter=limiter)``. All
    of them must run in one event loop.

    Args:
        images_per_minute: The limit of the key, above 0. https://platform.openai.com/docs/guides/images
            (2023) gives 50 as the default; a key's own limit is on the account's limits page.
        burst: Images that may leave at once, at most the limit; the rest follow evenly. None for ten
            at once and then twenty a second.
        max_pause: Longest pause in seconds that a 429 may begin; a longer one is passed to the
            callers as `imagesdk.RateLimitError`.

    Raises:
        ConfigurationError: A value is out of range.
    """

    def __init__(
        self,
        images_per_minute: float = 50.0,
        *,
        burst: int | None = None,
        max_pause: float = 300.0,
    ) -> None:
        try:
            usable = 0 < images_per_minute < math.inf
        except TypeError:
            usable = False
        if not usable:
            raise ConfigurationError(
                f"images_per_minute is {images_per_minute!r}; it must be a number above 0: "
                "pass None to ImageSession for no limit"
            )
        # Below one image a minute the period grows instead; a fraction of an image cannot be sent.
        limit = max(1, int(images_per_minute))
        period = 60.0 * limit / images_per_minute
        if burst is not None and not 1 <= burst <= limit:
            raise ConfigurationError(f"burst is {burst!r}; it must be from 1 to the limit, {limit}")
        self.images_per_minute = images_per_minute
        self.max_pause = max_pause
        self.max_cost = limit
        self._schedule = WindowSchedule(limit, period)
        rate, seconds = _PACE if burst is None else (burst, burst * period / limit)
        self._bucket = AsyncLimiter(rate, seconds)
        self._line: list[_Waiter] = []
        self._tickets = 0
        self._pause_until = -math.inf
        self._unexplained = 0

    def ticket(
        self,
        cost: int,
        *,
        priority: Priority = "interactive",
        max_wait: float | None = None,
        on_queued: Callable[[int], None] | None = None,
    ) -> _Ticket:
        """Return a place in the queue; see `imagesdk.limiters.base.Limiter.ticket`.

        Raises:
            ConfigurationError: *cost* is below 1 or above the limit.
        """
        if not 1 <= cost <= self.max_cost:
            raise ConfigurationError(
                f"a call for {cost} images can never be admitted: the limiter takes 1 to "
                f"{self.max_cost} images a call; split it"
            )
        self._tickets += 1
        rank = (priority == "batch", self._tickets)
        return _Ticket(self, cost, rank, max_wait, on_queued)

    def snapshot(self) -> LimiterSnapshot:
        """Return the state of the limiter; call it inside the event loop."""
        now = asyncio.get_running_loop().time()
        return LimiterSnapshot(
            images_per_minute=self.images_per_minute,
            used=self._schedule.used(now),
            queued=len(self._line),
            queued_images=sum(waiter.cost for waiter in self._line),
            paused=max(0.0, self._pause_until - now),
        )

    async def _admit(self, ticket: _Ticket) -> Permit:
        """Wait for the ticket's turn and take a permit."""
        loop = asyncio.get_running_loop()
        waiter = _Waiter(ticket.rank, ticket.cost)
        insort(self._line, waiter)
        told = False
        try:
            while True:
                waiter.woken.clear()
                delay = self._delay(loop.time(), ticket.cost)
                if not told and (delay > 0 or self._line[0] is not waiter):
                    self._queued(ticket, waiter, loop.time())
                    told = True
                if self._line[0] is not waiter:
                    await waiter.woken.wait()
                elif delay > 0:
                    timer = loop.call_later(delay, waiter.woken.set)
                    try:
                        await waiter.woken.wait()
                    finally:
                        timer.cancel()
                elif await self._pace(ticket.cost) and self._may_go(waiter, loop.time()):
                    return self._schedule.admit(loop.time(), ticket.cost)
                if waiter.error is not None:
                    raise waiter.error
        finally:
            self._line.remove(waiter)
            self._wake()

    def _queued(self, ticket: _Ticket, waiter: _Waiter, now: float) -> None:
        """Refuse a wait that is too long, before it begins, or say that it begins."""
        position = self._line.index(waiter) + 1
        if ticket.max_wait is not None and not ticket.was_admitted:
            ahead = [other.cost for other in self._line[:position]]
            pause = max(0.0, self._pause_until - now)
            wait = pause + self._schedule.forecast(now + pause, ahead)
            if wait > ticket.max_wait:
                raise RateLimitTooLongError(
                    f"the wait for the limit of {self.images_per_minute:g} images a minute would "
                    f"be {wait:.1f} s (position {position} in the queue); max_wait is "
                    f"{ticket.max_wait:g} s. Try again later, or raise max_wait",
                    wait=wait,
                    max_wait=ticket.max_wait,
                    position=position,
                    retry_after=wait,
                )
        if ticket.on_queued is not None:
            ticket.on_queued(position)

    async def _pace(self, cost: int) -> bool:
        """Take *cost* from the token bucket, in slices if it is larger than the bucket."""
        while cost > 0:
            share = min(cost, self._bucket.max_rate)
            await self._bucket.acquire(share)
            cost -= int(share)
        return True

    def _may_go(self, waiter: _Waiter, now: float) -> bool:
        """Check again after pacing: a 429 or an older ticket may have come in between."""
        return (
            waiter.error is None and self._line[0] is waiter and self._delay(now, waiter.cost) <= 0
        )

    def _delay(self, now: float, cost: int) -> float:
        return max(self._pause_until - now, self._schedule.delay(now, cost))

    def _wake(self) -> None:
        if self._line:
            self._line[0].woken.set()

    def _settle(self, permit: Permit, error: BaseException | None) -> None:
        """Account for the end of an attempt."""
        match error:
            case RateLimitError():
                self._schedule.give_back(permit)
                self._pause(error)
            case QuotaExceededError():
                self._schedule.give_back(permit)
                self._stop(error)
            case ConnectError() | TransportError(phase="connect" | "send"):
                self._schedule.give_back(permit)
                self._wake()
            case None:
                self._unexplained = 0
            case _:
                pass  # the server may have counted it

    def _pause(self, error: RateLimitError) -> None:
        """Pause everybody until the server's time; a pause only ever moves forward."""
        now = asyncio.get_running_loop().time()
        delay = error.retry_after
        if delay is None:
            longest = min(_LONGEST_GUESS, 2.0 ** min(self._unexplained, 10))
            delay = random.uniform(longest / 2, longest)  # noqa: S311 - jitter, not a secret
            if now >= self._pause_until:  # what is refused together counts once
                self._unexplained += 1
        if delay <= self.max_pause:
            self._pause_until = max(self._pause_until, now + delay + _PAUSE_CUSHION)
        self._wake()

    def _stop(self, error: QuotaExceededError) -> None:
        """End the calls that are queued: the account cannot pay for them."""
        for waiter in self._line:
            waiter.error = attrs.evolve(error, attempts=())
            waiter.woken.set()


class _Waiter:
    """One attempt in the line."""

    def __init__(self, rank: tuple[bool, int], cost: int) -> None:
        self.rank = rank
        self.cost = cost
        self.woken = asyncio.Event()
        self.error: QuotaExceededError | None = None

    def __lt__(self, other: _Waiter) -> bool:
        return self.rank < other.rank


class _Ticket:
    """A call's place: the same rank for each of its attempts."""

    def __init__(
        self,
        limiter: ImageLimiter,
        cost: int,
        rank: tuple[bool, int],
        max_wait: float | None,
        on_queued: Callable[[int], None] | None,
    ) -> None:
        self.cost = cost
        self.rank = rank
        self.max_wait = max_wait
        self.on_queued = on_queued
        self.was_admitted = False
        self._limiter = limiter
        self._permit: Permit | None = None

    async def __aenter__(self) -> Self:
        self._permit = await self._limiter._admit(self)  # noqa: SLF001 - one object in two classes
        self.was_admitted = True
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        permit, self._permit = self._permit, None
        if permit is not None:
            self._limiter._settle(permit, exc)  # noqa: SLF001
