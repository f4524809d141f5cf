"""Decide when images may be sent: the arithmetic of a rolling window, without clock or queue.

Theory. A server that counts images "per minute" counts them over some window that we cannot see: a
rolling one, a fixed one, or a token bucket. A client that keeps *every* rolling window at or under
the limit is right for all three. So the schedule keeps a log of what was admitted and admits when
``used + cost <= limit``, where *used* is what was admitted during the last period.

Invariant: for any admitted sequence and any t, the costs admitted in ``(t - period - margin, t]``
sum to at most the limit. What was given back does not count.

The margin covers the jitter between our sending and the server's counting: a request that was
slow on its way is counted late, and the next window begins late with it. What is not known: how much
jitter there is; 0.35 s was enough for 20 to 300 ms of network each way in simulation.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

import attrs

__all__ = ("Permit", "WindowSchedule")

MARGIN = 0.35
"""Seconds by which the window is longer than the server's period."""


@attrs.define(eq=False)
class Permit:
    """Images that were admitted.

    Attributes:
        at: Loop time of the admission.
        cost: Images.
        live: False once it was given back.
    """

    at: float
    cost: int
    live: bool = True


@attrs.define
class WindowSchedule:
    """A rolling window over *period* seconds that holds at most *limit* images.

    Attributes:
        limit: Images a period, 1 or more.
        period: Seconds.
    """

    limit: int
    period: float
    _log: deque[Permit] = attrs.field(factory=deque, init=False)
    _used: int = attrs.field(default=0, init=False)

    def used(self, now: float) -> int:
        """Return the images that count at *now*."""
        self._forget(now)
        return self._used

    def delay(self, now: float, cost: int) -> float:
        """Return the seconds until *cost* images fit, 0 if they fit now."""
        self._forget(now)
        missing = self._used + cost - self.limit
        if missing <= 0:
            return 0.0
        for permit in self._log:
            if permit.live:
                missing -= permit.cost
            if missing <= 0:
                return max(0.0, permit.at + self._window - now)
        raise ValueError(f"{cost} images never fit into a limit of {self.limit}")

    def admit(self, now: float, cost: int) -> Permit:
        """Record *cost* images as sent at *now*."""
        self._forget(now)
        permit = Permit(now, cost)
        self._log.append(permit)
        self._used += cost
        return permit

    def give_back(self, permit: Permit) -> None:
        """Take back what the server did not count. Doing it twice does no harm."""
        if permit.live:
            permit.live = False
            self._used -= permit.cost

    def forecast(self, now: float, costs: Iterable[int]) -> float:
        """Return the seconds until the last of *costs* is admitted, one after the other."""
        ahead = WindowSchedule(self.limit, self.period)
        ahead._log = deque(Permit(p.at, p.cost) for p in self._log if p.live)
        ahead._used = sum(p.cost for p in ahead._log)
        moment = now
        for cost in costs:
            moment += ahead.delay(moment, cost)
            ahead.admit(moment, cost)
        return moment - now

    @property
    def _window(self) -> float:
        return self.period + MARGIN

    def _forget(self, now: float) -> None:
        """Drop what has left the window; a tolerance keeps a timer that fires a hair early from looping."""
        horizon = now - self._window + 1e-6
        while self._log and self._log[0].at <= horizon:
            permit = self._log.popleft()
            if permit.live:
                permit.live = False
                self._used -= permit.cost
