"""The queue of one limit: who goes next, who waits, and what a refusal means for all of them.

Calls of two priorities wait in two lanes, each first come, first served by ticket; a call that is
tried again keeps its place, because the place belongs to the ticket and not to the attempt. There is no
background task: one of the calls that wait is the driver. It admits whoever may go, sleeps until
the next may, and hands its part on when it is admitted itself or cancelled.

Invariants: a call's permit and slot are given back on every path. Nobody is passed within a lane but by
back-fill, which delays the head by at most `BACKFILL_DELAY` of a period, passes no call by more than
`BACKFILL_MOST` times the limit, and no call at all that has been sent once. Batch calls get at least
`BATCH_SHARE` of the images while interactive calls wait, too.

A queue may be used from several event loops, each in its own thread: state changes under a lock that is
never held across a suspension, and a call is woken in its own loop. The loops must share one clock, as all
loops of a process do. A loop may end at any time without a word: its calls are passed over, and if the
driver was among them, a call of another loop notices within `_WATCH` seconds.
"""

from __future__ import annotations

import asyncio
import math
import threading
from abc import ABC, abstractmethod
from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Awaitable, Mapping
from contextlib import suppress
from itertools import chain, count
from operator import attrgetter
from types import TracebackType
from typing import Generic, Self, TypeVar

import attrs

from imagesdk.errors import (
    ConnectError,
    PermissionDeniedError,
    QuotaExceededError,
    RateLimitError,
    RateLimitTooLongError,
    TransportError,
)
from imagesdk.limiters._schedule import Cost
from imagesdk.limiters.base import CallTooLarge, OnQueued, Reason, Slots

__all__ = ("CallQueue", "QueueTicket", "Waiter")

BACKFILL_DELAY = 0.05
"""Part of a period by which later calls may delay the head of the line."""
BACKFILL_DEPTH = 64
"""Calls behind the head that are looked at: with calls for 1 to 10 images, 8 leave 2 to 6 % of a limit
unused, 64 less than 2 % (``python -m benchmarks.limiter``)."""
BACKFILL_MOST = 3
"""Limits' worth of images that may go before a call although they came later; then nobody does any more."""
BATCH_SHARE = 0.1
"""Part of the images that batch calls get while interactive calls wait, too."""
_LATE = 1e-4
"""Seconds by which a timer fires later than computed: one that is a hair early would find nothing changed."""
_PAUSE_CUSHION = 0.05
"""Seconds added to the server's delay, for its rounding."""
_PROBE = 1.0
"""Seconds without news after which a probe counts as accepted: a 429 comes at once, an image much later."""
_WATCH = 5.0
"""Seconds after which a call looks whether the driver's loop, which is not its own, still runs."""

P = TypeVar("P")


class Waiter(Generic[P]):
    """One attempt that waits for its admission."""

    __slots__ = ("_future", "_loop", "_woken", "due_at", "error", "permit", "rank", "ticket")

    def __init__(self, ticket: QueueTicket[P], loop: asyncio.AbstractEventLoop) -> None:
        self.ticket = ticket
        self.rank = ticket.place
        self.permit: P | None = None
        self.error: Exception | None = None
        self.due_at: float | None = None
        self._loop = loop
        self._woken = False
        self._future: asyncio.Future[None] | None = None

    @property
    def ready(self) -> bool:
        """True if it could go: its session has a free slot, and nothing has ended it."""
        free = self.ticket.slots is None or not self.ticket.slots.full
        return free and self.error is None and not self.lost

    @property
    def lost(self) -> bool:
        """True if its loop was closed under it: it will never leave the queue by itself."""
        return self._loop.is_closed()

    @property
    def stalled(self) -> bool:
        """True if its loop does not run: it can drive nobody, for the time being or for ever."""
        return not self._loop.is_running()

    def shares_loop(self, other: Waiter[P]) -> bool:
        """Return True if *other* waits in the same loop."""
        return self._loop is other._loop

    def outcome(self) -> P | None:
        """Return the permit, None as long as there is none.

        Raises:
            Exception: Why there will be none.
        """
        if self.error is not None and self.permit is None:
            raise self.error
        return self.permit

    def wake(self) -> None:
        """End its sleep, or its next one, from whatever thread."""
        self._woken = True
        if self._loop is _running_loop():
            self._fire()
        else:
            with suppress(RuntimeError):  # its loop was closed
                self._loop.call_soon_threadsafe(self._fire)

    def _fire(self) -> None:
        if self._future is not None and not self._future.done():
            self._future.set_result(None)

    async def sleep(self, seconds: float | None) -> None:
        """Sleep until it is woken, at most so many seconds."""
        if not self._woken:
            self._future = self._loop.create_future()
            timer = None if seconds is None else self._loop.call_later(seconds + _LATE, self._fire)
            try:
                await self._future
            finally:
                self._future = None
                if timer is not None:
                    timer.cancel()
        self._woken = False


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


class _Lane(Generic[P]):
    """The calls of one priority, by rank."""

    def __init__(self) -> None:
        self.waiters: list[Waiter[P]] = []
        self.total = Cost(0, 0)
        self._sessions: Counter[Slots | None] = Counter()

    def add(self, waiter: Waiter[P]) -> None:
        if self.waiters and self.waiters[0].lost:
            self.drop_lost()
        insort(self.waiters, waiter, key=attrgetter("rank"))
        self._count(waiter, 1)

    def index(self, waiter: Waiter[P]) -> int | None:
        """Return the waiter's place, None if it is not here any more."""
        index = bisect_left(self.waiters, waiter.rank, key=attrgetter("rank"))
        for place in range(index, len(self.waiters)):
            if self.waiters[place] is waiter:
                return place
            if self.waiters[place].rank != waiter.rank:
                break
        return None

    def remove(self, waiter: Waiter[P]) -> bool:
        index = self.index(waiter)
        if index is None:
            return False
        del self.waiters[index]
        self._count(waiter, -1)
        return True

    def drop_lost(self) -> None:
        """Forget those whose loop was closed under them."""
        for waiter in [waiter for waiter in self.waiters if waiter.lost]:
            self.remove(waiter)

    def ahead(self, index: int) -> Cost:
        """Return what those up to *index* ask for, it included."""
        if index >= len(self.waiters) - 1:
            return self.total
        costs = (waiter.ticket.cost for waiter in self.waiters[: index + 1])
        return Cost(*(sum(each) for each in zip(*costs, strict=True)))

    def first(self) -> Waiter[P] | None:
        """Return the first whose session has a free slot."""
        if all(slots is not None and slots.full for slots in self._sessions):
            return None
        return next((waiter for waiter in self.waiters if waiter.ready), None)

    def _count(self, waiter: Waiter[P], sign: int) -> None:
        ticket = waiter.ticket
        self.total = Cost(*(t + sign * c for t, c in zip(self.total, ticket.cost, strict=True)))
        self._sessions[ticket.slots] += sign
        if not self._sessions[ticket.slots]:
            del self._sessions[ticket.slots]


class CallQueue(ABC, Generic[P]):
    """The queue without its arithmetic: what may go when is the subclass's knowledge.

    Args:
        max_pause: Longest pause in seconds that is waited out; calls that would wait longer end with
            the refusal. None if a 429 does not concern the queue.
    """

    def __init__(self, max_pause: float | None) -> None:
        self.max_pause = max_pause
        self._lock = threading.RLock()
        self._interactive: _Lane[P] = _Lane()
        self._batch: _Lane[P] = _Lane()
        self._ranks = count(1)
        self._owed = 0.0
        self._driver: Waiter[P] | None = None
        self._pause_until = -math.inf
        self._refusal: RateLimitError | None = None
        self._probing = False
        self._probe: P | None = None
        self._probe_until = -math.inf

    # What a subclass knows.

    async def at_once(self, ticket: QueueTicket[P], now: float) -> P | None:
        """Return a permit if nobody waits and the call may go now: the queue's way round."""
        del ticket, now
        return None

    @abstractmethod
    async def _advance(self) -> tuple[float | None, Reason]:
        """Admit whoever may go now; return the seconds until it makes sense to look again, and why."""
        ...

    @abstractmethod
    async def _settle(self, ticket: QueueTicket[P], permit: P, error: BaseException | None) -> None:
        """Account for the end of an attempt."""
        ...

    @abstractmethod
    async def _return(self, permit: P) -> None:
        """Take back a permit that was not used."""
        ...

    @abstractmethod
    def _forecast(self, now: float, ahead: Cost) -> float:
        """Return the seconds until the last of those that wait, *ahead* in all, is admitted."""
        ...

    @abstractmethod
    def most(self) -> int | None:
        """Return the images that one call may ask for, None for any number."""
        ...

    # The life of a call in the queue.

    def next_place(self) -> int:
        """Return a place at the end of the queue."""
        return next(self._ranks)  # atomic: no thread gets the place of another

    async def admit(self, ticket: QueueTicket[P]) -> P:
        """Wait for the ticket's turn and take a permit, if it may not go at once.

        Raises:
            RateLimitTooLongError: The wait would be longer than the ticket's max_wait.
            RateLimitError: The server asked for a pause longer than `max_pause`.
            QuotaExceededError: The account has no credit.
            CallTooLarge: The call must be split.
        """
        loop = asyncio.get_running_loop()
        self._check(ticket, loop.time())
        waiter = Waiter(ticket, loop)
        lane = self._batch if ticket.is_batch else self._interactive
        with self._lock:
            lane.add(waiter)
            if self._driver is not None and self._may_go_soon(waiter, lane):
                self._driver.wake()
        told = False
        try:
            while (permit := waiter.outcome()) is None:
                wait, reason = await self._step(waiter)
                if waiter.outcome() is not None:
                    continue
                if not told:
                    told = True
                    self._announce(waiter, lane, reason, loop.time())
                await waiter.sleep(wait)
        except BaseException:
            self._leave(waiter, lane)  # from here on nobody grants it anything
            if waiter.permit is not None:
                self._no_news(waiter.permit)
                ticket.release_slot()
                await self._return(waiter.permit)
            raise
        self._leave(waiter, lane)
        return permit

    def settle(
        self, ticket: QueueTicket[P], permit: P, error: BaseException | None
    ) -> Awaitable[None]:
        """Account for the end of an attempt, and let the others go on."""
        if self._probe is permit:
            self._probed(ticket, permit, error)
        return self._settle(ticket, permit, error)

    def _probed(self, ticket: QueueTicket[P], permit: P, error: BaseException | None) -> None:
        """Let the others go after a probe; or another one probe, if it told nothing."""
        if not was_sent(ticket, error):
            self._no_news(permit)
            return
        with self._lock:
            self._probe = None
            self.poke()

    def poke(self) -> None:
        """Have the driver look again: something has changed. Without one, wake who becomes it."""
        with self._lock:
            driver = self._driver
            if driver is None or driver.stalled:
                waiters = chain(self._interactive.waiters, self._batch.waiters)
                driver = next((other for other in waiters if not other.stalled), driver)
            if driver is not None:
                driver.wake()

    async def _step(self, waiter: Waiter[P]) -> tuple[float | None, Reason]:
        """Drive the queue, if nobody else does."""
        with self._lock:
            driver = self._driver
            if driver is None or driver.stalled:
                self._driver = waiter
                if driver is not None:
                    self._interactive.drop_lost()
                    self._batch.drop_lost()
            elif driver is not waiter:
                return None if driver.shares_loop(waiter) else _WATCH, "queue"
        wait, reason = await self._advance()
        with self._lock:
            head = self._head()
        return wait, reason if head is None or head is waiter else "queue"

    def _leave(self, waiter: Waiter[P], lane: _Lane[P]) -> None:
        with self._lock:
            waited = lane.remove(waiter)
            if self._driver is waiter:
                self._driver = None
            # Without a driver, one was woken to become it, and may be the one that goes away here.
            if waited or self._driver is None:
                self.poke()

    def _may_go_soon(self, waiter: Waiter[P], lane: _Lane[P]) -> bool:
        near = any(other is waiter for other in lane.waiters[: BACKFILL_DEPTH + 1])
        return near or self._head() is waiter

    def _check(self, ticket: QueueTicket[P], now: float) -> None:
        """Refuse what would wait in vain."""
        with self._lock:
            if self._refusal is not None:
                left = self._pause_until - now
                if self.max_pause is not None and left > self.max_pause:
                    raise attrs.evolve(self._refusal, retry_after=left, attempts=())
                self._refusal = None
            error = self._never(ticket.cost)
        if error is not None:
            raise error

    def _never(self, cost: Cost) -> Exception | None:
        """Return why a call can never be admitted as it is, None if it can."""
        most = self.most()
        return CallTooLarge(most) if most is not None and cost.images > most else None

    def _announce(self, waiter: Waiter[P], lane: _Lane[P], reason: Reason, now: float) -> None:
        """Refuse a wait that is too long, before it begins, or say that it begins."""
        ticket = waiter.ticket
        if ticket.max_wait is None and ticket.on_queued is None:
            return
        with self._lock:
            index = lane.index(waiter) or 0
            total = lane.ahead(index)
            position = index + 1
            if lane is self._batch:
                position += len(self._interactive.waiters)
                urgent = self._interactive.total
                total = Cost(*(a + b for a, b in zip(urgent, total, strict=True)))
            pause = max(0.0, self._pause_until - now)
            wait = pause + self._forecast(now + pause, total)
        if ticket.max_wait is not None and not ticket.was_admitted and wait > ticket.max_wait:
            raise RateLimitTooLongError(
                f"the wait for {self.words()} would be {wait:.1f} s (position {position} in the "
                f"queue); max_wait is {ticket.max_wait:g} s. Try again later, or raise max_wait",
                wait=wait,
                max_wait=ticket.max_wait,
                position=position,
                retry_after=wait,
            )
        if ticket.on_queued is not None:
            ticket.on_queued(position, wait, reason)

    @abstractmethod
    def words(self) -> str:
        """Name the limit in a message."""
        ...

    # Who goes next.

    def _head(self) -> Waiter[P] | None:
        """Return the call that goes next, among those whose sessions have a free slot."""
        interactive, batch = self._interactive.first(), self._batch.first()
        if interactive is None or batch is None:
            return interactive or batch
        return batch if self._owed >= batch.ticket.cost.images else interactive

    def _behind(self, head: Waiter[P]) -> list[Waiter[P]]:
        """Return the calls that back-fill may take before the head, in their order."""
        if head.ticket.was_admitted:
            return []  # its time is running, and it was refused once
        most = BACKFILL_MOST * (self.most() or 0)
        behind: list[Waiter[P]] = []
        for lane in (self._interactive, self._batch):
            for waiter in lane.waiters[: BACKFILL_DEPTH + 1]:
                if waiter is head or not waiter.ready:
                    continue
                behind.append(waiter)
                if waiter.ticket.was_admitted or waiter.ticket.passed >= most:
                    return behind  # nobody goes before this one any more
        return behind[:BACKFILL_DEPTH]

    def _held(self, now: float) -> tuple[float, Reason] | None:
        """Return the seconds for which nobody may go, and why; None if somebody may."""
        if now < self._pause_until:
            return self._pause_until - now, "pause"
        if self._probe is not None and now < self._probe_until:
            return self._probe_until - now, "probe"
        return None

    def _grant(self, waiter: Waiter[P], permit: P, now: float) -> bool:
        """Let a call go; False if it has gone away meanwhile, or its session has no slot."""
        ticket = waiter.ticket
        lane = self._batch if ticket.is_batch else self._interactive
        if waiter.error is not None or lane.index(waiter) is None:
            return False
        if ticket.slots is not None and not ticket.slots.take():
            return False
        lane.remove(waiter)
        images = ticket.cost.images
        if ticket.is_batch:
            self._owed = max(0.0, self._owed - images)
        elif self._batch.waiters:
            share = BATCH_SHARE / (1 - BATCH_SHARE)
            most = self.most() or max(images, self._batch.waiters[0].ticket.cost.images)
            self._owed = min(self._owed + share * images, float(most))
        self._go(permit, now)
        waiter.permit = permit
        if waiter is not self._driver:
            waiter.wake()
        return True

    def _go(self, permit: P, now: float) -> None:
        """Let the first that goes after a pause go alone."""
        if self._probing:
            self._probing, self._probe, self._probe_until = False, permit, now + _PROBE

    def _no_news(self, permit: P) -> None:
        """Have another request probe: this one never reached the server."""
        with self._lock:
            if self._probe is permit:
                self._probe, self._probing = None, True
                self.poke()

    @property
    def _nobody_waits(self) -> bool:
        return not self._interactive.waiters and not self._batch.waiters

    # What a refusal means for all.

    def _pause(self, error: RateLimitError, seconds: float, now: float) -> None:
        """Pause everybody; a pause only ever moves forward. After it, one request goes first."""
        with self._lock:
            self._pause_until = max(self._pause_until, now + seconds + _PAUSE_CUSHION)
            self._probing = True
            left = self._pause_until - now
            if self.max_pause is not None and left > self.max_pause + _PAUSE_CUSHION:
                self._refusal = error
                self._stop(attrs.evolve(error, retry_after=left, attempts=()))
            self.poke()

    def _stop(self, error: RateLimitError | QuotaExceededError | PermissionDeniedError) -> None:
        """End the calls that wait: it would be in vain."""
        with self._lock:
            for lane in (self._interactive, self._batch):
                for waiter in tuple(lane.waiters):
                    self._end(waiter, lane, attrs.evolve(error, attempts=()))

    def _split_what_is_too_large(self) -> None:
        """Have the calls split that no longer fit into one request."""
        with self._lock:
            for lane in (self._interactive, self._batch):
                for waiter in tuple(lane.waiters):
                    if (error := self._never(waiter.ticket.cost)) is not None:
                        self._end(waiter, lane, error)

    def _end(self, waiter: Waiter[P], lane: _Lane[P], error: Exception) -> None:
        """Let a call leave with an error; nobody is to choose it any more."""
        lane.remove(waiter)
        waiter.error = error
        waiter.wake()

    def _queued(self) -> tuple[int, int]:
        """Return the calls that wait, and their images."""
        lanes = (self._interactive, self._batch)
        return sum(len(lane.waiters) for lane in lanes), sum(lane.total.images for lane in lanes)


class QueueTicket(Generic[P]):
    """A call's place: the same for each of its attempts. See `imagesdk.limiters.base.Ticket`."""

    def __init__(
        self,
        queue: CallQueue[P],
        cost: Cost,
        *,
        is_batch: bool,
        max_wait: float | None,
        slots: Slots | None,
        place: int | None,
        on_queued: OnQueued | None,
    ) -> None:
        self.cost = cost
        self.is_batch = is_batch
        self.max_wait = max_wait
        self.slots = slots
        self.place: int = queue.next_place() if place is None else place
        self.on_queued = on_queued
        self.was_admitted: bool = False
        self.passed = 0
        self.sent: bool = True
        self.sent_at: float | None = None
        self.headers: Mapping[str, str] | None = None
        self._queue = queue
        self._permit: P | None = None
        if slots is not None:
            slots.on_release(queue.poke)

    def release_slot(self) -> None:
        """Give the slot back that the admission took."""
        if self.slots is not None:
            self.slots.release()

    async def __aenter__(self) -> Self:
        self.sent, self.sent_at, self.headers = True, None, None
        queue = self._queue
        permit = await queue.at_once(self, asyncio.get_running_loop().time())
        self._permit = await queue.admit(self) if permit is None else permit
        self.was_admitted = True
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        permit, self._permit = self._permit, None
        if permit is None:
            return
        if self.slots is not None:
            self.slots.release()
        await self._queue.settle(self, permit, exc)


def was_sent(ticket: QueueTicket[P], error: BaseException | None) -> bool:
    """Return False if the server cannot have counted the attempt."""
    if error is None:
        return ticket.sent
    unsent = isinstance(error, ConnectError) or (
        isinstance(error, TransportError) and error.phase in ("connect", "send")
    )
    return ticket.sent and not unsent
