"""The common time line as one process knows it: what everybody had on it when the store answered last.

Theory of the time without the store. Places that were given before are known to everybody who was
given a later one, so they are used. Beyond them, each process assumes that the others send just what
it sends itself: an image of ours counts as many times as there are processes. With a shadow that is
true, the sum over all processes then stays within the limit, whatever each of them sends, and
once the shadow has run out each has the limit divided by their number.

What is not known: what others placed after the store answered us last. They are expected to have gone
on at the pace that they had.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import attrs

from imagesdk.limiters._redis_store import Entry
from imagesdk.limiters._schedule import Cost, Permit, Schedule

__all__ = ("SAME", "Shadow")

SAME = 0.02
"""Seconds within which a place is the same as before: the store's answers take different times."""
_EXPECTED = "expected"
"""Name of what others are thought to have placed that we do not know of."""


@attrs.define(eq=False)
class Shadow(Schedule):
    """The common windows as far as they are known.

    Attributes:
        weight: How often counts what we send: 1 with the store, without it once for each process.
        entries: What was put, by its name in the store.
    """

    weight: int = 1
    entries: dict[str, Permit] = attrs.field(factory=dict, init=False)
    _others: set[str] = attrs.field(factory=set, init=False)

    def takes(self, cost: Cost) -> bool:
        """Return False if *cost* is more than our share."""
        return super().takes(self._weighed(cost))

    def has_room(self, now: float, cost: Cost) -> bool:
        """Return True if *cost* fits now."""
        return super().has_room(now, self._weighed(cost))

    def delay(self, now: float, cost: Cost, after: Cost | None = None) -> float:
        """Return the seconds until *cost* fits."""
        return super().delay(
            now, self._weighed(cost), None if after is None else self._weighed(after)
        )

    def admit(self, now: float, cost: Cost) -> Permit:
        """Record *cost* as sent at *now*, without the store."""
        return super().admit(now, self._weighed(cost))

    def move(self, permit: Permit, at: float) -> Permit:
        """Do nothing: the queue moves what is on the time line."""
        del at
        return permit

    def used(self, now: float) -> int:
        """Return the images that count at *now*, without those that are still to be sent."""
        live = [permit for permit in self.entries.values() if permit.live and permit.at <= now]
        return max(
            (
                sum(p.cost.images for p in live if p.at > now - window.period - window.jitter)
                for window in self.windows
                if window.dimension == "images"
            ),
            default=0,
        )

    def hear(self, others: Sequence[Entry], now: float) -> None:
        """Bring it up to what the other processes have on the time line."""
        names = {entry.id for entry in others}
        for name in self._others - names:
            self.drop(name)
        self._others = names
        for entry in others:
            self.put(entry.id, entry.at, entry.cost)
        self.forget(now)

    def expect(self, others: Sequence[Entry], seen_at: float, now: float) -> None:
        """Assume that the others went on as before since the store showed what they have.

        Args:
            others: What it showed last.
            seen_at: When that was.
            now: The time.
        """
        window = min((w for w in self.windows if w.dimension == "images"), key=lambda w: w.period)
        length = window.period + window.jitter
        busiest = max(
            (
                sum(other.cost.images for other in others if end.at - length < other.at <= end.at)
                for end in others
            ),
            default=0,
        )
        since = max(seen_at, now - length)
        known = sum(other.cost.images for other in others if other.at > since)
        expected = math.ceil(busiest * min(1.0, (now - seen_at) / length)) - known
        if expected > 0:
            self.put(_EXPECTED, now, Cost(expected, 0))

    def expect_none(self) -> None:
        """Assume nothing any more: the store is back."""
        self.drop(_EXPECTED)

    def put(self, name: str, at: float, cost: Cost) -> Permit:
        """Record what is on the time line, or move it."""
        known = self.entries.get(name)
        if known is not None:
            if known.live and known.cost == cost and abs(known.at - at) < SAME:
                return known
            self.give_back(known)
        self.entries[name] = permit = Schedule.admit(self, at, cost)
        return permit

    def drop(self, name: str) -> None:
        """Forget what is not on the time line any more."""
        permit = self.entries.pop(name, None)
        if permit is not None:
            self.give_back(permit)

    def forget(self, now: float) -> None:
        """Forget what has left all windows."""
        for window in self.windows:
            window.used(now)
        longest = max((w.period + w.jitter for w in self.windows), default=0.0)
        for name in [name for name, p in self.entries.items() if p.at <= now - longest]:
            del self.entries[name]

    def _weighed(self, cost: Cost) -> Cost:
        return cost if self.weight == 1 else Cost(*(self.weight * each for each in cost))
