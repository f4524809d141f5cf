"""The server's rate limit: images admitted per API key, pure arithmetic over a given time.

`ImageLimit` keeps an account for each key. Four kinds of account are here, after what real servers
were seen to do (shared/reference/rate-limits.md section 3, read 2026-11-20):

- ``sliding``: the images admitted in any half-open interval of a period, ``(t - 60, t]``, never
  exceed the limit. An image admitted at *t* counts until, and not including, ``t + 60``.
- ``fixed``: a period begins with the first image after the last period has ended; its images are
  forgotten at once, so that twice the limit fits into a moment between two periods.
- ``bucket``: the limit is there at the start and flows in again evenly, so that the wait for one
  image is its share of the period ("Limit 5, Used 5 ... Please try again in 12s").
- ``quantised``: the limit is enforced over short intervals, 50 a minute as 0.83 each second. A
  request is admitted while anything is left, and what it takes beyond that is a debt to the next
  intervals. What was not used does not add up beyond one interval's worth, or one image where that
  is less: a burst is refused although the minute has room
  (https://help.openai.com/en/articles/5955604, "applied over shorter periods").

A refused request changes nothing, unless refused requests are told to count: then it takes what it
asked for ("unsuccessful requests contribute to your per-minute limit", the same page), although a
bucket never owes more than it holds. What asks for more than the limit is refused for ever.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Mapping
from typing import Literal, Protocol, get_args

import attrs

__all__ = (
    "ImageLimit",
    "LimitKind",
    "LimitStatus",
    "Overrun",
    "format_wait",
    "whole_ms",
)

LimitKind = Literal["sliding", "fixed", "bucket", "quantised"]

# Tolerance for sums of floats, in images.
_HAIR = 1e-9
# Seconds of a period: beyond these, sums of floats come to nothing.
_SHORTEST, _LONGEST = 1e-6, 1e9


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


class _Account(Protocol):
    """What counts of the images of one key. Times are seconds on any one clock."""

    def left(self, now: float) -> float:
        """Return how many images are left; below 0 if more count than the limit."""
        ...

    def take(self, images: int, now: float) -> None:
        """Count *images*."""
        ...

    def wait(self, images: int, now: float) -> float:
        """Return the seconds until *images*, no more than the limit, would fit; 0 if they do."""
        ...

    def reset(self, now: float) -> float:
        """Return the seconds until nothing counts any more."""
        ...


class ImageLimit:
    """At most *limit* images in a period, for each key apart.

    Args:
        limit: Images per period, 0 or more. 0 is a tier without access.
        period: Length of the period in seconds, 1e-6 to 1e9.
        kind: How images are counted: ``sliding``, ``fixed``, ``bucket`` or ``quantised``.
        interval: Length of the intervals of ``quantised`` in seconds, 1e-6 to 1e9.
        counts_refused: Whether refused requests count as if they had been admitted.

    Raises:
        ValueError: If a number is out of its range, or *kind* is none of the four.
    """

    def __init__(
        self,
        limit: float,
        *,
        period: float = 60.0,
        kind: LimitKind = "sliding",
        interval: float = 1.0,
        counts_refused: bool = False,
    ) -> None:
        if not (math.isfinite(limit) and limit >= 0):
            raise ValueError(f"images per minute must be 0 or more, or None for no limit: {limit}")
        for name, seconds in (("period", period), ("interval", interval)):
            if not _SHORTEST <= seconds <= _LONGEST:
                raise ValueError(
                    f"{name} must be a number of seconds above 0, from {_SHORTEST:g} to "
                    f"{_LONGEST:g}: {seconds}"
                )
        kinds: Mapping[str, Callable[[], _Account]] = {
            "sliding": lambda: _Sliding(limit, period),
            "fixed": lambda: _Fixed(limit, period),
            "bucket": lambda: _Bucket(limit, limit / period),
            "quantised": lambda: _Quantised(limit, limit / period * interval, interval),
        }
        if kind not in kinds:
            known = ", ".join(get_args(LimitKind))
            raise ValueError(f"no kind of limit is called {kind!r}: use one of {known}")
        self._limit = limit
        self._open = kinds[kind]
        self._counts_refused = counts_refused
        self._accounts: dict[str, _Account] = {}

    def admit(self, key: str, images: int, now: float) -> Overrun | None:
        """Count *images* for *key*, or say why they are not admitted."""
        account = self._account(key)
        possible = images <= self._limit
        wait = account.wait(images, now) if possible else None
        if wait == 0:
            account.take(images, now)
            return None
        used = math.ceil(self._limit - account.left(now) - _HAIR)
        if self._counts_refused:
            account.take(images, now)
            wait = account.wait(images, now) if possible else None
        return Overrun(limit=self._limit, used=used, retry_after=wait)

    def status(self, key: str, now: float) -> LimitStatus:
        """Return what is left for *key*, without changing it."""
        account = self._account(key)
        remaining = max(0, math.floor(account.left(now) + _HAIR))
        return LimitStatus(limit=self._limit, remaining=remaining, reset=account.reset(now))

    def clear(self) -> None:
        """Forget what was counted."""
        self._accounts.clear()

    def _account(self, key: str) -> _Account:
        """Return the account of *key*, a new one at its first use."""
        return self._accounts.setdefault(key, self._open())


class _Sliding:
    """The images of the last period, with the time of each request."""

    def __init__(self, limit: float, period: float) -> None:
        self._limit = limit
        self._period = period
        self._entries: deque[tuple[float, int]] = deque()

    def left(self, now: float) -> float:
        """Forget what has left the window, and return what the others leave."""
        while self._entries and self._entries[0][0] + self._period <= now:
            self._entries.popleft()
        return self._limit - sum(count for _, count in self._entries)

    def take(self, images: int, now: float) -> None:
        """Add an entry."""
        self._entries.append((now, images))

    def wait(self, images: int, now: float) -> float:
        """Wait until enough of the oldest entries have left the window."""
        excess = images - self.left(now)
        wait = 0.0
        for at, count in self._entries:
            if excess <= 0:
                break
            excess -= count
            wait = at + self._period - now
        return wait

    def reset(self, now: float) -> float:
        """Return when the youngest entry leaves."""
        self.left(now)
        return self._entries[-1][0] + self._period - now if self._entries else 0.0


class _Fixed:
    """The images of a period and its end."""

    def __init__(self, limit: float, period: float) -> None:
        self._limit = limit
        self._period = period
        self._ends = -math.inf
        self._used = 0

    def left(self, now: float) -> float:
        """Return what this period leaves, or all if it has ended."""
        return self._limit - (self._used if now < self._ends else 0)

    def take(self, images: int, now: float) -> None:
        """Count in this period, or begin one."""
        if now >= self._ends:
            self._ends, self._used = now + self._period, 0
        self._used += images

    def wait(self, images: int, now: float) -> float:
        """Wait for the end of the period."""
        return 0.0 if images <= self.left(now) else self._ends - now

    def reset(self, now: float) -> float:
        """Return the end of the period."""
        return max(0.0, self._ends - now)


class _Bucket:
    """Tokens, one for an image, that flow in at *rate* a second up to *limit*."""

    def __init__(self, limit: float, rate: float) -> None:
        self._limit = limit
        self._rate = rate
        self._level = limit
        self._at = 0.0

    def left(self, now: float) -> float:
        """Let tokens flow in."""
        self._level = min(self._limit, self._level + (now - self._at) * self._rate)
        self._at = now
        return self._level

    def take(self, images: int, now: float) -> None:
        """Take tokens, down to none."""
        self._level = max(0.0, self.left(now) - images)

    def wait(self, images: int, now: float) -> float:
        """Wait for the tokens that are missing."""
        missing = images - self.left(now)
        return missing / self._rate if missing > _HAIR else 0.0

    def reset(self, now: float) -> float:
        """Return when the bucket is full."""
        missing = self._limit - self.left(now)
        return missing / self._rate if missing else 0.0


class _Quantised:
    """A balance of images, to which each interval adds *worth*; the first begins with the first use."""

    def __init__(self, limit: float, worth: float, interval: float) -> None:
        self._worth = worth
        self._interval = interval
        self._most = max(min(1.0, limit), worth)
        self._balance = self._most
        self._began = math.nan

    def left(self, now: float) -> float:
        """Add the worth of the intervals that have begun since the last look."""
        if math.isnan(self._began):
            self._began = now
        # a hair of an interval: a wait that was computed must not end just before the interval
        intervals = math.floor((now - self._began) / self._interval + _HAIR)
        self._began += intervals * self._interval
        self._balance = min(self._most, self._balance + intervals * self._worth)
        return self._balance

    def take(self, images: int, now: float) -> None:
        """Take from the balance, into debt if need be."""
        self._balance = self.left(now) - images

    def wait(self, images: int, now: float) -> float:
        """Wait for the interval that lifts the balance above 0, whatever is asked for."""
        del images
        left = self.left(now)
        return (
            0.0 if left > _HAIR else self._until(math.floor(-left / self._worth + _HAIR) + 1, now)
        )

    def reset(self, now: float) -> float:
        """Return the begin of the interval that fills the balance."""
        missing = self._most - self.left(now)
        if not (missing and self._worth):  # full, or it never will be
            return 0.0
        return self._until(math.ceil(missing / self._worth - _HAIR), now)

    def _until(self, intervals: int, now: float) -> float:
        """Return the seconds until so many further intervals have begun."""
        return self._began + intervals * self._interval - now


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
