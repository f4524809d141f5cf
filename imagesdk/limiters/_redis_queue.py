"""`SharedQueue`: the queue of one process whose images count together with those of others.

The order of the calls, the slots, the pace and what a refusal teaches are those of the local queue.
When a call may go is the store's knowledge (`imagesdk.limiters._redis_store`): the head of the line, and
it alone, holds a place on the common time line; the process sleeps until then and looks once more.
A process that is killed loses that one place.

The windows of this queue are a *shadow* of the time line (`imagesdk.limiters._redis_shadow`): good for
forecasts, and what remains when the store is gone.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Mapping
from typing import Literal, TypeAlias

import attrs

from imagesdk.errors import (
    LimiterUnavailableError,
    PermissionDeniedError,
    QuotaExceededError,
    RateLimitError,
)
from imagesdk.limiters._limits import Settings
from imagesdk.limiters._queue import BACKFILL_DELAY, QueueTicket, Waiter, was_sent
from imagesdk.limiters._redis_shadow import SAME, Shadow
from imagesdk.limiters._redis_store import Placement, RedisStore, Reservation, StoreUnavailable
from imagesdk.limiters._schedule import Cost, Dimension, Permit
from imagesdk.limiters.base import CallTooLarge, Reason
from imagesdk.limiters.local import _LocalQueue

__all__ = ("OnStoreError", "SharedQueue")

OnStoreError: TypeAlias = Literal["local", "raise", "open"]

_log = logging.getLogger("imagesdk")
_ALONE = 2.0
"""Seconds for which the store is not asked after it did not answer."""
_LASTING = 2.0
"""Periods without the store after which calls for more than our share are split."""
_UNKNOWN_PEERS = 8
"""Processes that are assumed as long as the store has never answered."""
_EARLY = 1e-3
"""Seconds by which a timer may fire before its time."""
_TICK = 1e-3
"""Seconds; the bucket's room is looked at a little late rather than a hair early."""
_OFFERED = 12
"""Later calls, of different sizes, that are offered to the store for back-fill."""
_PLACES = 3
"""Places that a process has at most: the head's, and those of later calls that go before it."""


@attrs.define(eq=False)
class _Place:
    """A place on the time line.

    Attributes:
        waiter: The call that has it.
        reservation: What the store gave.
        latest: Loop time in seconds up to which calls that go before it may delay it.
        reason: Why it is not now.
        sure: True if the store said that it is now.
        filler: True if it was given to a later call, which goes before the head.
    """

    waiter: Waiter[Permit]
    reservation: Reservation
    latest: float
    reason: Reason
    sure: bool
    filler: bool = False


class SharedQueue(_LocalQueue):
    """The queue of one scope.

    Args:
        settings: What the limiter was told.
        stop_all: Ends what waits in every scope.
        store: The common time line.
        on_store_error: What to do when it does not answer.
    """

    def __init__(
        self,
        settings: Settings,
        stop_all: Callable[[QuotaExceededError], None],
        store: RedisStore,
        on_store_error: OnStoreError,
    ) -> None:
        super().__init__(settings, stop_all)
        self._schedule = self._shadow = Shadow(self._schedule.windows)
        self._store = store
        self._on_store_error = on_store_error
        self._places: list[_Place] = []
        self._sent: dict[Permit, Reservation] = {}
        self._noted: set[str] = set()
        self._alone_since: float | None = None
        self._alone_until = -math.inf
        self._unclear_until = -math.inf
        self._offer_at = -math.inf

    async def admit(self, ticket: QueueTicket[Permit]) -> Permit:
        """Wait for the ticket's turn; see `imagesdk.limiters._queue.CallQueue.admit`.

        Raises:
            LimiterUnavailableError: The store does not answer, and the caller chose ``"raise"``.
        """
        try:
            return await super().admit(ticket)
        except BaseException:
            await self._tidy()
            raise

    def most(self) -> int | None:
        """Return the images that one call may ask for."""
        most = super().most()
        if most is None or not self._lasts():
            return most
        return max(1, most // self._shadow.weight)

    # With the store.

    async def at_once(self, ticket: QueueTicket[Permit], now: float) -> None:
        """Let nobody round the queue: who may go at once is the store's knowledge."""

    async def _advance(self) -> tuple[float | None, Reason]:
        loop = asyncio.get_running_loop()
        while True:
            if loop.time() < self._alone_until:
                return await self._advance_alone()
            try:
                return await self._advance_together()
            except StoreUnavailable as error:
                self._lose(error)
                if self._on_store_error == "raise":
                    return None, "store"

    async def _advance_together(self) -> tuple[float | None, Reason]:
        loop = asyncio.get_running_loop()
        while True:
            with self._lock:
                now = loop.time()
                self._refresh(now)
                head = self._head()
                stale = [place for place in self._places if not self._stands(place)]
                good = [place for place in self._places if place not in stale]
                due = next((p for p in good if p.reservation.at - now <= _EARLY), None)
                own = next((place for place in good if place.waiter is head), None)
            if self._alone_since is not None and self._places:
                await self._confirm(self._places[0])
            elif due is not None:
                await (self._use(due) if due.sure else self._confirm(due))
            elif head is not None and own is None:
                if (pace := self._pace.delay(now, head.ticket.cost.images)) > 0:
                    return pace + _TICK, "pace"
                former = [*stale, *(place for place in good if not place.filler)]
                await self._reserve(head, former[0] if former else None)
            elif stale:
                await self._give_up(stale[0])
            elif head is None or own is None:
                return None, "concurrency"
            elif self._can_offer(head, now):
                await self._reserve(head, own)
            else:
                return min(place.reservation.at for place in good) - now, own.reason

    def _stands(self, place: _Place) -> bool:
        """Return False for a place whose call went away, or has no free slot any more."""
        waiter = place.waiter
        lane = self._batch if waiter.ticket.is_batch else self._interactive
        return waiter.ready and waiter.error is None and lane.index(waiter) is not None

    async def _use(self, place: _Place) -> None:
        """Let a call go whose time has come: the time line outranks the pace, which takes note of it."""
        with self._lock:
            now = asyncio.get_running_loop().time()
            await self._pace.take(now, place.reservation.cost.images)
            if self._let_go(place.waiter, place.reservation, now):
                self._places.remove(place)

    def _let_go(self, waiter: Waiter[Permit], reservation: Reservation, now: float) -> bool:
        permit = self._shadow.put(reservation.id, reservation.at, reservation.cost)
        self._sent[permit] = reservation
        if self._grant(waiter, permit, now):
            return True
        del self._sent[permit]
        return False

    async def _reserve(self, head: Waiter[Permit], former: _Place | None) -> None:
        """Get a place for *head*, and perhaps one for a later call that may go before it."""
        with self._lock:
            now = asyncio.get_running_loop().time()
            room = _PLACES - 1 - sum(place.filler for place in self._places)
            later = self._offered(head, now) if room > 0 else []
            tolerance = BACKFILL_DELAY * min(w.period for w in self._shadow.windows)
            self._offer_at = now + tolerance
            again = former is not None and former.waiter is head
        try:
            placement = await self._store.reserve(
                head.ticket.cost,
                fill=[waiter.ticket.cost for waiter in later],
                room=room,
                tolerance=tolerance,
                latest=former.latest if former is not None and again else None,
                replaces=None if former is None else former.reservation,
            )
        except CallTooLarge as error:
            self._too_large(head, error, former)
            return
        with self._lock:
            now = asyncio.get_running_loop().time()
            self._hear_from_store(placement, now)
            if former is not None:
                self._remove(former)
            if placement.reservation is not None:
                latest = placement.reservation.at + tolerance
                if former is not None and again:
                    latest = former.latest
                self._add(head, placement.reservation, placement, latest)
            for index, reservation in placement.filled:
                self._add(later[index], reservation, placement, reservation.at, filler=True)

    async def _confirm(self, place: _Place) -> None:
        """Look again whether a place is still good."""
        try:
            placement = await self._store.confirm(place.reservation)
        except CallTooLarge as error:
            self._too_large(place.waiter, error, place)
            return
        with self._lock:
            self._hear_from_store(placement, asyncio.get_running_loop().time())
            reservation = placement.reservation
            if place in self._places and reservation is not None:
                self._remove(place)
                self._add(place.waiter, reservation, placement, place.latest, filler=place.filler)

    def _add(
        self,
        waiter: Waiter[Permit],
        reservation: Reservation,
        placement: Placement,
        latest: float,
        *,
        filler: bool = False,
    ) -> None:
        self._shadow.put(reservation.id, reservation.at, reservation.cost)
        reason: Reason = "window"
        if placement.held > 0:
            reason = "store"
        elif placement.paused > 0:
            reason = "pause"
        elif placement.probing and not reservation.probe:
            reason = "probe"
        sure = reservation.at <= asyncio.get_running_loop().time()
        self._places.append(_Place(waiter, reservation, latest, reason, sure, filler))

    def _remove(self, place: _Place) -> None:
        if place in self._places:
            self._places.remove(place)
        self._shadow.drop(place.reservation.id)

    def _too_large(
        self, waiter: Waiter[Permit], error: CallTooLarge, former: _Place | None
    ) -> None:
        """Have a call split: the store knows a lower limit than we do."""
        with self._lock:
            if former is not None:
                self._remove(former)
            waiter.error = error
            waiter.wake()

    async def _give_up(self, place: _Place) -> None:
        with self._lock:
            self._remove(place)
        await self._store.release(place.reservation)

    async def _tidy(self) -> None:
        """Give the places up of calls that went away, if nobody is left to do it."""
        while True:
            with self._lock:
                if self._driver is not None or not self._places:
                    return
                if self._alone_since is not None:
                    self._forget_places()
                    return
                place = self._places[0]
            try:
                await self._give_up(place)
            except StoreUnavailable as error:
                self._lose(error)

    def _paced(self, waiter: Waiter[Permit], now: float) -> bool:
        return self._pace.delay(now, waiter.ticket.cost.images) <= 0

    def _offered(self, head: Waiter[Permit], now: float) -> list[Waiter[Permit]]:
        """Return the first call of each size behind the head."""
        sizes: dict[Cost, Waiter[Permit]] = {}
        for waiter in self._behind(head):
            if all(place.waiter is not waiter for place in self._places) and self._paced(
                waiter, now
            ):
                sizes.setdefault(waiter.ticket.cost, waiter)
        return list(sizes.values())[:_OFFERED]

    def _can_offer(self, head: Waiter[Permit], now: float) -> bool:
        """Return True if a later call could perhaps go before the head, which waits."""
        if len(self._places) >= _PLACES or now < self._offer_at or self._held(now) is not None:
            return False
        return any(
            self._shadow.delay(now, waiter.ticket.cost) <= 0 for waiter in self._offered(head, now)
        )

    # What the store says.

    def _hear_from_store(self, placement: Placement, now: float) -> None:
        """Bring the shadow, the pause and the limits up to what the store knows."""
        if self._alone_since is not None:
            self._rejoin(now)
        if placement.others is not None:
            self._shadow.hear(placement.others, now)
        self._hear_pause(placement.paused, now)
        before = self._facts(now)
        for name, limit in placement.named.items():
            if self._limits[name].adopt != "never":
                self._limits[name].named = limit
        for name, (limit, at) in placement.learned.items():
            self._limits[name].lower(limit, at)
        if self._facts(now) != before:
            self._changed(now)

    def _hear_pause(self, paused: float, now: float) -> None:
        """Pause, too, when another process got a 429."""
        if now + paused <= self._pause_until + SAME or paused <= 0:
            return
        if self.max_pause is not None and paused > self.max_pause + SAME:
            message = f"another process was asked to pause for {paused:.0f} s; max_pause is "
            error = RateLimitError(message + f"{self.max_pause:g} s", retry_after=paused)
            self._pause(error, paused, now)
            self._probing = False
        else:
            self._pause_until = now + paused

    def _facts(self, now: float) -> dict[Dimension, tuple[float | None, float | None]]:
        return {name: (limit.named, limit.at(now)) for name, limit in self._limits.items()}

    # Without the store.

    def _lasts(self) -> bool:
        """Return True if the store has been away for long."""
        return (
            self._on_store_error == "local"
            and self._alone_since is not None
            and (
                self._alone_until - self._alone_since
                > _LASTING * min(w.period for w in self._shadow.windows)
            )
        )

    def _lose(self, error: StoreUnavailable) -> None:
        """Go on without the store for a while, as the caller chose."""
        with self._lock:
            now = asyncio.get_running_loop().time()
            if self._on_store_error == "raise":
                self._fail(error)
                return
            self._alone_until = now + _ALONE
            if self._alone_since is None:
                self._alone_since = now
                alone = self._on_store_error == "local"
                self._shadow.weight = (self._store.peers or _UNKNOWN_PEERS) if alone else 1
                if alone:
                    self._shadow.expect(self._store.others, self._store.seen_at, now)
                else:
                    self._forget_places()
                how = f"a share of 1/{self._shadow.weight}" if alone else "no limit"
                _log.warning("the limiter's store is away (%s); going on with %s", error, how)
            elif self._lasts():
                self._split_what_is_too_large()
            self.poke()

    def _forget_places(self) -> None:
        for place in list(self._places):
            self._remove(place)
            self._store.forget(place.reservation)

    def _fail(self, error: StoreUnavailable) -> None:
        """End the calls that wait; nothing was sent."""
        self._forget_places()
        for lane in (self._interactive, self._batch):
            for waiter in lane.waiters:
                waiter.error = LimiterUnavailableError(
                    f"the limiter's store does not answer ({error}); nothing was sent. Look at the "
                    "server, or choose on_store_error='local'"
                )
                waiter.error.__cause__ = error
                waiter.wake()

    def _learn(self, permit: Permit, error: RateLimitError, now: float, *, proven: bool) -> None:
        """Learn from a 429, but not while it may be due to what others sent without the store."""
        if self._alone_since is None and now >= self._unclear_until:
            super()._learn(permit, error, now, proven=proven)
            self._store.widen(max(window.jitter for window in self._shadow.windows))

    def _rejoin(self, now: float) -> None:
        """Count what was sent alone as what it was, now that the others can see it."""
        _log.info("the limiter's store is back")
        self._alone_since, self._alone_until, self._shadow.weight = None, -math.inf, 1
        self._unclear_until = now + max(w.period + w.jitter for w in self._shadow.windows)
        self._shadow.expect_none()
        for own in self._store.own(now):
            if own.id in self._noted:
                self._shadow.put(own.id, own.at, own.cost)
        self._noted.clear()

    async def _advance_alone(self) -> tuple[float | None, Reason]:
        with self._lock:
            now = asyncio.get_running_loop().time()
            ends = self._alone_until
            if self._on_store_error == "open":
                return self._advance_openly(now) or (ends - now, "concurrency")
            due = self._use_places(now)
        wait, reason = await super()._advance()
        waits = [each for each in (wait, due, ends - now) if each is not None]
        return max(0.0, min(waits)), "store" if reason == "window" else reason

    def _use_places(self, now: float) -> float | None:
        """Let calls go at the times that the store gave them; return the seconds until the next."""
        for place in list(self._places):
            left = place.reservation.at - now
            good = self._stands(place)
            if good and left > _EARLY:
                continue
            late = left < -max(self._store.slack, SAME) or self._held(now) is not None
            if good and not late and self._let_go(place.waiter, place.reservation, now):
                self._places.remove(place)
            else:
                self._remove(place)
                self._store.forget(place.reservation)
        return min((place.reservation.at - now for place in self._places), default=None)

    def _advance_openly(self, now: float) -> tuple[float, Reason] | None:
        """Let everybody go who has a slot."""
        while (head := self._head()) is not None:
            if (held := self._held(now)) is not None:
                return min(held[0], self._alone_until - now), held[1]
            permit = self._shadow.admit(now, head.ticket.cost)
            if not self._grant(head, permit, now):
                self._shadow.give_back(permit)
                break
        return None

    def _head(self) -> Waiter[Permit] | None:
        if self._alone_since is None or self._on_store_error == "open":
            return super()._head()
        interactive, batch = (
            next((w for w in lane.waiters if w.ready and self._in_share(w)), None)
            for lane in (self._interactive, self._batch)
        )
        if interactive is None or batch is None:
            return interactive or batch
        return batch if self._owed >= batch.ticket.cost.images else interactive

    def _behind(self, head: Waiter[Permit]) -> list[Waiter[Permit]]:
        return [waiter for waiter in super()._behind(head) if self._in_share(waiter)]

    def _in_share(self, waiter: Waiter[Permit]) -> bool:
        """Return False for a call that may not go without the store, or has a place of its own."""
        if self._alone_since is None:
            return True
        if any(place.waiter is waiter for place in self._places):
            return False
        return self._shadow.takes(waiter.ticket.cost) or waiter.ticket.cost.images == 1

    def _grant(self, waiter: Waiter[Permit], permit: Permit, now: float) -> bool:
        if not super()._grant(waiter, permit, now):
            return False
        if permit not in self._sent:  # without the store
            self._sent[permit] = reservation = self._store.note(waiter.ticket.cost, now)
            self._shadow.entries[reservation.id] = permit
            self._noted.add(reservation.id)
        return True

    # How an attempt ended.

    async def _return(self, permit: Permit) -> None:
        reservation = self._sent.pop(permit)
        with self._lock:
            self._shadow.drop(reservation.id)
            self.poke()
        if self._alone_since is not None:
            self._store.forget(reservation)
            return
        try:
            await self._store.release(reservation)
        except StoreUnavailable as error:
            self._lose(error)

    async def _settle(
        self, ticket: QueueTicket[Permit], permit: Permit, error: BaseException | None
    ) -> None:
        now = asyncio.get_running_loop().time()
        reservation = self._sent.pop(permit)
        with self._lock:
            before, paused_until = self._facts(now), self._pause_until
        await super()._settle(ticket, permit, error)
        with self._lock:
            after = self._facts(now)
            pause = self._pause_until - now if self._pause_until > paused_until else None
            if isinstance(error, RateLimitError) or not _counts(ticket, error):
                self._shadow.drop(reservation.id)
                if self._alone_since is not None:
                    self._store.forget(reservation)
            elif ticket.sent_at is not None and ticket.sent_at > reservation.at + self._store.slack:
                reservation.at = ticket.sent_at
                self._shadow.put(reservation.id, reservation.at, reservation.cost)
        if self._alone_since is None:
            try:
                await self._tell(ticket, reservation, error, pause, _news(before, after))
            except StoreUnavailable as failure:
                self._lose(failure)

    async def _tell(
        self,
        ticket: QueueTicket[Permit],
        reservation: Reservation,
        error: BaseException | None,
        pause: float | None,
        news: tuple[dict[Dimension, float], dict[Dimension, float]],
    ) -> None:
        """Tell the others what the end of an attempt means for them; mostly, nothing."""
        named, learned = news
        if isinstance(error, RateLimitError):
            self._probing = False  # the store chooses who probes
            placement = await self._store.refused(
                reservation, pause=pause, named=named, learned=learned
            )
            with self._lock:
                self._hear_from_store(placement, asyncio.get_running_loop().time())
            return
        if not _counts(ticket, error):
            await self._store.release(reservation)
            return
        if reservation.at == ticket.sent_at:
            await self._store.move(reservation, reservation.at)
        if reservation.probe:
            await self._store.settled(reservation)
        if named:
            await self._store.told(named)

    # What is shown.

    def _outlook(self, head: Waiter[Permit], now: float) -> tuple[float, Reason]:
        for place in self._places:
            if place.waiter is head:
                return max(0.0, place.reservation.at - now), place.reason
        return super()._outlook(head, now)

    def _forecast(self, now: float, ahead: Cost) -> float:
        """Return the seconds until the last of those that wait is admitted, as far as we can know.

        The others go on as before: what we wait for is as many times more as they have been busier.
        """
        since = now - min(window.period for window in self._shadow.windows)
        own = self._store.own(now)
        ours = sum(each.cost.images for each in own if since < each.at <= now)
        share = max(ours / max(1, ours, self._shadow.used(now)), 1 / max(1, self._store.peers))
        return super()._forecast(now, Cost(*(math.ceil(each / share) for each in ahead)))


def _counts(ticket: QueueTicket[Permit], error: BaseException | None) -> bool:
    """Return False if the server did not count the attempt."""
    no_access = isinstance(error, PermissionDeniedError) and error.status == 429
    return was_sent(ticket, error) and not no_access and not isinstance(error, QuotaExceededError)


def _news(
    before: Mapping[Dimension, tuple[float | None, float | None]],
    after: Mapping[Dimension, tuple[float | None, float | None]],
) -> tuple[dict[Dimension, float], dict[Dimension, float]]:
    """Return the limits that were named, and those that were learned."""
    named: dict[Dimension, float] = {}
    learned: dict[Dimension, float] = {}
    for name, (limit, used) in after.items():
        if limit is not None and limit != before[name][0]:
            named[name] = limit
        elif used is not None and used < (before[name][1] or math.inf):
            learned[name] = used
    return named, learned
