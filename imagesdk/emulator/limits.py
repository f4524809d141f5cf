"""The server's rate limit: images admitted per API key, pure arithmetic over a given time.

A limit model answers two questions, ``admit`` and ``status``; anything that does is a
``LimitModel`` and can stand in for ``SlidingWindow`` (a token bucket, a fixed window).

Invariant of the sliding window: the images admitted in any half-open interval of 60 s,
``(t - 60, t]``, never exceed the limit. An image admitted at *t* counts until, and not
including, ``t + 60``. A refused request changes nothing.
"""

from __future__ import annotations

import math
from collections import deque
from typing import Protocol

import attrs

__all__ = ("LimitModel", "LimitStatus", "Overrun", "SlidingWindow", "format_wait", "whole_ms")


@attrs.frozen(kw_only=True)
class LimitStatus:
    """What the ``x-ratelimit-*-images`` headers say.

    Attributes:
        limit: Images per minute.
        remaining: Whole images that would be admitted now.
        reset: Seconds until the limit is untouched again.
    """

    limit: float
    remaining: int
    reset: float


@attrs.frozen(kw_only=True)
class Overrun:
    """Why images were not admitted.

    Attributes:
        limit: Images per minute.
        used: Images that count at the moment.
        retry_after: Seconds until the request would fit, or None if it never will.
    """

    limit: float
    used: int
    retry_after: float | None


class LimitModel(Protocol):
    """A way of limiting images per key. Times are seconds on any one clock."""

    def admit(self, key: str, images: int, now: float) -> Overrun | None:
        """Count *images* for *key*, or say why not and count nothing."""
        ...

    def status(self, key: str, now: float) -> LimitStatus:
        """Return what is left for *key*, without changing it."""
        ...


class SlidingWindow:
    """At most *limit* images in any window of *period* seconds, for each key apart.

    Args:
        limit: Images per window, 0 or more. 0 is a tier without access.
        period: Length of the window in seconds.

    Raises:
        ValueError: If *limit* is negative or not a finite number.
    """

    def __init__(self, limit: float, *, period: float = 60.0) -> None:
        if not (math.isfinite(limit) and limit >= 0):
            raise ValueError(f"images per minute must be 0 or more, or None for no limit: {limit}")
        self._limit = limit
        self._period = period
        self._admitted: dict[str, deque[tuple[float, int]]] = {}

    def admit(self, key: str, images: int, now: float) -> Overrun | None:
        """Count *images* for *key*, or say why not and count nothing."""
        entries = self._counting(key, now)
        used = sum(count for _, count in entries)
        if used + images <= self._limit:
            self._admitted.setdefault(key, entries).append((now, images))
            return None
        retry_after = self._wait(entries, used + images - self._limit, now)
        return Overrun(limit=self._limit, used=used, retry_after=retry_after)

    def status(self, key: str, now: float) -> LimitStatus:
        """Return what is left for *key*, without changing it."""
        entries = self._counting(key, now)
        used = sum(count for _, count in entries)
        reset = entries[-1][0] + self._period - now if entries else 0.0
        return LimitStatus(limit=self._limit, remaining=math.floor(self._limit - used), reset=reset)

    def _counting(self, key: str, now: float) -> deque[tuple[float, int]]:
        """Return the entries of *key* that still count, dropping the others."""
        entries = self._admitted.get(key, deque())
        while entries and entries[0][0] + self._period <= now:
            entries.popleft()
        return entries

    def _wait(self, entries: deque[tuple[float, int]], excess: float, now: float) -> float | None:
        """Return the seconds until *excess* images have left the window, or None for never."""
        for at, count in entries:
            excess -= count
            if excess <= 0:
                return at + self._period - now
        return None


def whole_ms(seconds: float) -> int:
    """Return a duration in milliseconds, rounded up; noise below a microsecond does not count."""
    return math.ceil(round(seconds * 1000, 3))


def format_wait(seconds: float) -> str:
    """Write a duration as the API does: ``467ms``, ``12s``, ``8.64s``, ``6m0s``."""
    # shared/reference/images-api.md section 3.8, read 2026-11-20
    total_ms = whole_ms(seconds)
    if 0 < total_ms < 1000:
        return f"{total_ms}ms"
    minutes, rest_ms = divmod(total_ms, 60_000)
    return f"{minutes}m{rest_ms / 1000:g}s" if minutes else f"{rest_ms / 1000:g}s"
