"""Model how servers count images: pure rules, told the time, that admit or refuse.

Written for the simulation alone, and sharing no code with the client or the emulator: a model that
borrowed the client's arithmetic could not disagree with it.

Every model answers two questions. ``offer``: may these images be made now? And ``permits``: how many
images may a perfect client have had admitted in so many seconds from 0 on? With a limit of 50 and one
hour that is

- sliding and fixed windows: 50 in each of the 60 minutes that begin within the hour, so 3,000;
- token bucket: 50 that are there at the start, and 50 a minute, so 3,050;
- quantised: the worth of all intervals, 3,000 (what the last request may take on credit is left out);
- shared: 3,000 less what the others were given, so that taking what the others leave is 100 %.
"""

from __future__ import annotations

import math
import random
from collections import deque
from typing import Protocol

import attrs

__all__ = (
    "FixedWindow",
    "Quantised",
    "ServerModel",
    "Shared",
    "SlidingWindow",
    "TokenBucket",
    "Verdict",
)

_PERIOD = 60.0
_SIXTIETHS = 60
_HAIR = 1e-9
"""Tolerance for sums of floats, in images."""


@attrs.frozen(kw_only=True)
class Verdict:
    """What a server decided about one request.

    Attributes:
        admitted: Whether the images are made.
        used: Images that count at this moment, those of an admitted request included.
        wait: Seconds until a refused request would be admitted if nothing else came, 0 if it was
            admitted, None if it never can be.
        reset: Seconds until the limit is whole again.
    """

    admitted: bool
    used: int
    wait: float | None
    reset: float


class ServerModel(Protocol):
    """A rule by which a server counts images. Time begins at 0 and never goes back."""

    limit: int

    def offer(self, now: float, cost: int) -> Verdict:
        """Admit or refuse *cost* images at *now*."""
        ...

    def permits(self, seconds: float) -> float:
        """Return how many images a perfect client has admitted from 0 up to *seconds*."""
        ...


class TokenBucket:
    """*limit* tokens at the start, refilled continuously at *limit* a minute, never more than *limit*."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._rate = limit / _PERIOD
        self._level = float(limit)
        self._at = 0.0

    def offer(self, now: float, cost: int) -> Verdict:
        """Admit if that many tokens are there, and take them."""
        self._level = min(self.limit, self._level + (now - self._at) * self._rate)
        self._at = now
        wait = None if cost > self.limit else max(0.0, (cost - self._level) / self._rate)
        admitted = cost <= self._level + _HAIR
        if admitted:
            self._level -= cost
        return Verdict(
            admitted=admitted,
            used=math.ceil(self.limit - self._level - _HAIR),
            wait=0.0 if admitted else wait,
            reset=(self.limit - self._level) / self._rate,
        )

    def permits(self, seconds: float) -> float:
        """Return the first bucket and what flows in."""
        return self.limit + seconds * self._rate


class SlidingWindow:
    """At most *limit* images in any 60 s; optionally refused requests count like admitted ones."""

    def __init__(self, limit: int, *, counts_refused: bool = False) -> None:
        self.limit = limit
        self._counts_refused = counts_refused
        self._log: deque[tuple[float, int]] = deque()
        self._used = 0

    def offer(self, now: float, cost: int) -> Verdict:
        """Admit if *cost* fits beside what came in the last 60 s."""
        while self._log and self._log[0][0] <= now - _PERIOD:
            self._used -= self._log.popleft()[1]
        admitted = self._used + cost <= self.limit
        if admitted or self._counts_refused:
            self._log.append((now, cost))
            self._used += cost
        return Verdict(
            admitted=admitted,
            used=self._used,
            wait=0.0 if admitted else self._wait(now, cost),
            reset=self._log[-1][0] + _PERIOD - now if self._log else 0.0,
        )

    def _wait(self, now: float, cost: int) -> float | None:
        if cost > self.limit:
            return None
        left = self._used
        for at, images in self._log:
            left -= images
            if left + cost <= self.limit:
                return at + _PERIOD - now
        raise AssertionError("an empty window takes any request up to the limit")

    def permits(self, seconds: float) -> float:
        """Return a full window at the start of each minute."""
        return self.limit * math.ceil(seconds / _PERIOD)


class FixedWindow:
    """At most *limit* images in each minute of the server's clock, which begins at 0."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._window = 0
        self._used = 0

    def offer(self, now: float, cost: int) -> Verdict:
        """Admit if *cost* fits into what is left of this minute."""
        window = int(now // _PERIOD)
        if window != self._window:
            self._window, self._used = window, 0
        admitted = self._used + cost <= self.limit
        if admitted:
            self._used += cost
        left = (window + 1) * _PERIOD - now
        wait = None if cost > self.limit else left
        return Verdict(
            admitted=admitted, used=self._used, wait=0.0 if admitted else wait, reset=left
        )

    def permits(self, seconds: float) -> float:
        """Return a full window in each minute."""
        return self.limit * math.ceil(seconds / _PERIOD)


class Quantised:
    """The limit enforced over short intervals: 50 a minute as 8.33 images every 10 s.

    A request is admitted while less has been charged than the intervals so far are worth; what a
    large one takes beyond that is a debt to the next intervals. Worth that was not used does not
    add up beyond one interval's, or one image where that is less: so a short burst is refused
    although the minute has room. https://help.openai.com/en/articles/5955604 ("rate limits can be
    applied over shorter periods", read 2026-11-20)
    """

    def __init__(self, limit: int, interval: int) -> None:
        self.limit = limit
        self._interval = interval
        # In sixtieths of an image all sums are whole numbers.
        self._worth = limit * interval
        self._most = max(_SIXTIETHS, self._worth)
        self._balance = self._most
        self._index = 0

    def offer(self, now: float, cost: int) -> Verdict:
        """Admit if anything is left of the intervals up to this one."""
        index = int(now // self._interval)
        earned = (index - self._index) * self._worth
        self._index = index
        self._balance = min(self._most, self._balance + earned)
        admitted = self._balance > 0 and cost <= self.limit
        wait = 0.0 if admitted else self._until(now, 1) if cost <= self.limit else None
        if admitted:
            self._balance -= cost * _SIXTIETHS
        return Verdict(
            admitted=admitted,
            used=min(self.limit, math.ceil((self._most - self._balance) / _SIXTIETHS)),
            wait=wait,
            reset=self._until(now, self._most),
        )

    def _until(self, now: float, balance: int) -> float:
        """Return the seconds until the interval begins that lifts the balance to *balance*."""
        intervals = math.ceil((balance - self._balance) / self._worth)
        return max(0.0, (self._index + intervals) * self._interval - now)

    def permits(self, seconds: float) -> float:
        """Return the worth of all intervals."""
        return self.limit * seconds / _PERIOD


class Shared:
    """A sliding window of which others take *others_per_minute* images, one at a time, at random times.

    The others are a Poisson stream that does not try again when it is refused.
    """

    def __init__(self, limit: int, *, others_per_minute: float, rng: random.Random) -> None:
        self.limit = limit
        self._window = SlidingWindow(limit)
        self._others = others_per_minute / _PERIOD
        self._rng = rng
        self._next = rng.expovariate(self._others)
        self.others_admitted = 0

    def offer(self, now: float, cost: int) -> Verdict:
        """Let the others come up to *now*, then decide."""
        self._let_others(now)
        return self._window.offer(now, cost)

    def _let_others(self, now: float) -> None:
        while self._next <= now:
            self.others_admitted += self._window.offer(self._next, 1).admitted
            self._next += self._rng.expovariate(self._others)

    def permits(self, seconds: float) -> float:
        """Return what the others left; ask once, at the end."""
        self._let_others(seconds)
        return self._window.permits(seconds) - self.others_admitted
