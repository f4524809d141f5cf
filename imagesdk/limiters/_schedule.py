"""Decide when images may be sent: the arithmetic of rolling windows, without clock or queue.

Theory. A server that counts images "per minute" counts them over some window that we cannot see: a
rolling one, a fixed one, or a token bucket. A client that keeps *every* rolling window at or under
the limit is right for all three. So a window keeps a log of what was admitted and has room when
``used + cost <= limit``, where *used* is what was admitted during the last period. Several windows,
each with its own unit (images, requests, input images), must all have room.

Invariant: for any admitted sequence and any t, the costs admitted in ``(t - period - jitter, t]``
sum to at most the limit. What was given back does not count. When a limit is lowered, what was
admitted under the higher one stays admitted, and nothing more is until there is room under the new one.

The jitter covers what lies between our sending and the server's counting: a request that was
slow on its way is counted late, and the next window begins late with it; up to 10 ms between an
admission and its sending are taken from it, too. What is not known: how much
of it there is; 0.35 s was enough for 20 to 300 ms of network each way in simulation.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import deque
from operator import attrgetter
from typing import Literal, NamedTuple, TypeAlias

import attrs

__all__ = ("JITTER", "Cost", "Dimension", "Permit", "Schedule", "Window", "whole_limit")

JITTER = 0.35
"""Seconds by which a window is longer than the server's period, unless said otherwise."""
_MOST_SLOTS = 4096
"""Entries of a window's log: above a limit of so many, what left within the same 15 ms counts as one."""
_AT_ONCE = 0.01
"""Seconds after its admission within which a request is sent at once, and counts from its admission on."""

Dimension: TypeAlias = Literal["images", "requests", "input_images"]


class Cost(NamedTuple):
    """What one request uses up.

    Attributes:
        images: Images that it asks for.
        requests: 1.
        input_images: Reference images that it carries; 0 but for edits and variations.
    """

    images: int
    requests: int = 1
    input_images: int = 0


@attrs.define(eq=False, slots=True)
class Permit:
    """Something that was admitted.

    Attributes:
        at: Loop time in seconds from which it counts.
        cost: What it uses up.
        live: False once it was given back.
    """

    at: float
    cost: Cost
    live: bool = True


@attrs.define(eq=False)
class _Slot:
    """What was admitted between *first* and *at*; all of it counts as admitted at *at*."""

    first: float
    at: float
    cost: Cost


def whole_limit(per_minute: float) -> tuple[int, float]:
    """Return *per_minute* as whole images and seconds.

    Below one image a minute the period grows instead; a fraction of an image cannot be sent.
    """
    limit = max(1, int(per_minute))
    return limit, 60.0 * limit / per_minute


@attrs.define(eq=False)
class Window:
    """A rolling window over *period* seconds that holds at most *limit* of one dimension.

    Attributes:
        dimension: What it counts.
        limit: How many in a period, 1 or more.
        period: Seconds.
        jitter: Seconds by which it is longer than *period*.
    """

    dimension: Dimension
    limit: int
    period: float
    jitter: float = JITTER
    _index: int = attrs.field(init=False)
    _log: deque[_Slot] = attrs.field(factory=deque, init=False)
    _used: int = attrs.field(default=0, init=False)
    _horizon: float = attrs.field(default=-math.inf, init=False)

    def __attrs_post_init__(self) -> None:
        self._index = Cost._fields.index(self.dimension)

    def takes(self, cost: Cost) -> bool:
        """Return False if *cost* would not even fit into an empty window."""
        return cost[self._index] <= self.limit

    def used(self, now: float) -> int:
        """Return what counts at *now*."""
        self._forget(now)
        return self._used

    def has_room(self, now: float, cost: Cost) -> bool:
        """Return True if *cost* fits now."""
        own = cost[self._index]
        if own == 0:
            return True
        self._forget(now)
        return self._used + own <= self.limit

    def delay(self, now: float, cost: Cost, after: Cost | None = None) -> float:
        """Return the seconds until *cost* fits, 0 if it fits now.

        Args:
            now: Loop time in seconds.
            cost: What is to be admitted; what exceeds the limit fits into an empty window.
            after: Something else that is thought to be admitted at *now*, before it.
        """
        self._forget(now)
        own = cost[self._index]
        if own == 0:
            return 0.0
        extra = after[self._index] if after is not None else 0
        return self._until_free(now, min(self._used + extra, self._used + extra + own - self.limit))

    def forecast(self, now: float, total: int) -> float:
        """Return the seconds until the last of *total* is admitted, one after the other.

        What is admitted in one period makes room in the next. That calls cannot be cut to fit is
        left out: the real wait can be longer by a few per cent.
        """
        self._forget(now)
        if total <= 0:
            return 0.0
        periods, rest = divmod(total - 1, self.limit)
        return periods * self._length + self._until_free(now, self._used + rest + 1 - self.limit)

    def admit(self, permit: Permit) -> None:
        """Count *permit*, which may be older than the last one."""
        self._add(permit.at, permit.at, permit.cost)

    def give_back(self, permit: Permit) -> None:
        """Count *permit* no more; its ``live`` is already False."""
        own = permit.cost[self._index]
        if own == 0 or permit.at <= self._horizon:
            return
        index = bisect_left(self._log, permit.at, key=attrgetter("at"))
        if index == len(self._log) or permit.at < self._log[index].first:
            return  # it was admitted before this window was there
        self._used -= own
        slot = self._log[index]
        slot.cost = Cost(*(a - b for a, b in zip(slot.cost, permit.cost, strict=True)))
        if slot.cost[self._index] == 0:
            del self._log[index]

    def inherit(self, other: Window) -> None:
        """Count what *other* knows of, when this window is new. What it has forgotten is unknown here, too."""
        self._horizon = other._horizon
        for slot in other._log:
            self._add(slot.first, slot.at, slot.cost)

    @property
    def _length(self) -> float:
        return self.period + self.jitter

    def _add(self, first: float, at: float, cost: Cost) -> None:
        """Count *cost*, which was admitted between *first* and *at*."""
        if cost[self._index] == 0 or at <= self._horizon:
            return
        self._used += cost[self._index]
        log = self._log
        last = log[-1] if log else None
        grain = self._length / _MOST_SLOTS if self.limit > _MOST_SLOTS else 0.0
        if last is None or at > max(last.at, last.first + grain):
            log.append(_Slot(first, at, cost))
            return
        slot = last
        if at >= last.first:
            last.at = max(at, last.at)
        else:
            index = bisect_left(log, at, key=attrgetter("at"))
            slot = log[index]
            if at < slot.first:
                log.insert(index, _Slot(first, at, cost))
                return
        slot.cost = Cost(
            slot.cost.images + cost.images,
            slot.cost.requests + cost.requests,
            slot.cost.input_images + cost.input_images,
        )

    def _until_free(self, now: float, missing: int) -> float:
        """Return the seconds until *missing* have left the window."""
        if missing <= 0:
            return 0.0
        for slot in self._log:
            missing -= slot.cost[self._index]
            if missing <= 0:
                return max(0.0, slot.at + self._length - now)
        return self._length

    def _forget(self, now: float) -> None:
        """Drop what has left the window; a tolerance keeps a timer that fires a hair early from looping."""
        horizon = now - self.period - self.jitter + 1e-6
        if horizon <= self._horizon:
            return
        self._horizon = horizon
        log = self._log
        while log and log[0].at <= self._horizon:
            self._used -= log.popleft().cost[self._index]


@attrs.define(eq=False)
class Schedule:
    """Several windows, which must all have room.

    Attributes:
        windows: In any order; none at all admits everything.
    """

    windows: list[Window]

    def add(self, window: Window) -> None:
        """Add a window, which counts what was admitted before it was there."""
        known = (w for w in self.windows if w.dimension == "images")
        oldest = min(known, key=lambda w: w.period + w.jitter, default=None)
        if oldest is not None:
            window.inherit(oldest)
        self.windows.append(window)

    def takes(self, cost: Cost) -> bool:
        """Return False if *cost* would not even fit into empty windows."""
        return all(window.takes(cost) for window in self.windows)

    def used(self, now: float) -> int:
        """Return the images that count at *now*: those of the fullest window."""
        return max((w.used(now) for w in self.windows if w.dimension == "images"), default=0)

    def has_room(self, now: float, cost: Cost) -> bool:
        """Return True if *cost* fits now."""
        for window in self.windows:  # noqa: SIM110 - twice as fast as all(), and on every call's way
            if not window.has_room(now, cost):
                return False
        return True

    def delay(self, now: float, cost: Cost, after: Cost | None = None) -> float:
        """Return the seconds until *cost* fits, as `Window.delay` does."""
        longest = 0.0
        for window in self.windows:
            longest = max(longest, window.delay(now, cost, after))
        return longest

    def forecast(self, now: float, total: Cost) -> float:
        """Return the seconds until the last of a line that adds up to *total* is admitted."""
        return max(
            (w.forecast(now, total[Cost._fields.index(w.dimension)]) for w in self.windows),
            default=0.0,
        )

    def admit(self, now: float, cost: Cost) -> Permit:
        """Record *cost* as sent at *now*."""
        permit = Permit(now, cost)
        for window in self.windows:
            window.admit(permit)
        return permit

    def give_back(self, permit: Permit) -> None:
        """Take back what the server did not count. Doing it twice does no harm."""
        if permit.live:
            permit.live = False
            for window in self.windows:
                window.give_back(permit)

    def move(self, permit: Permit, at: float) -> Permit:
        """Return a permit that counts from *at* on instead: a long upload reaches the server late."""
        if not permit.live or at <= permit.at + _AT_ONCE:
            return permit
        self.give_back(permit)
        return self.admit(at, permit.cost)
