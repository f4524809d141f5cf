"""`ImageLimiter`: a first come, first served queue over exact windows and a token bucket.

Three parts, each with one job. The windows (`imagesdk.limiters._schedule`) are the promise: never more
than the limit in any minute. The token bucket (aiolimiter) is the pace inside them: a limit that turns
out to be wrong then costs a few refusals instead of fifty. The queue (`imagesdk.limiters._queue`) is
fairness: aiolimiter alone serves the smallest amount first and lets newcomers pass, so that a call for ten
images would starve.

A refusal pauses everybody until the time that the server names. If it names another limit, that is
adopted (`imagesdk.limiters._limits`). If it explains nothing although everything fitted, the server
may refuse what comes too densely (then the bucket shrinks to one image at a time), or let fewer through than
was thought (then the limit is lowered, and climbs back).
"""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from itertools import takewhile

from aiolimiter import AsyncLimiter

from imagesdk.errors import (
    ConfigurationError,
    PermissionDeniedError,
    QuotaExceededError,
    RateLimitError,
)
from imagesdk.limiters._limits import Adopt, Settings
from imagesdk.limiters._queue import BACKFILL_DELAY, CallQueue, QueueTicket, Waiter, was_sent
from imagesdk.limiters._schedule import (
    JITTER,
    Cost,
    Dimension,
    Permit,
    Schedule,
    Window,
    whole_limit,
)
from imagesdk.limiters.base import LimiterSnapshot, OnQueued, Priority, Reason, Slots
from imagesdk.limiters.quota import RetryQuota
from imagesdk.protocol.headers import RateLimitInfo, rate_limit_info

__all__ = ("ImageLimiter",)

_RAMP = 0.5
"""Seconds; ten images, or a fifth of the limit, at once and then as many in each of these."""
_LEAST_RAMP = 10
_PROVEN = 2.0
"""Seconds without a refusal after a whole limit has left: then it is true, and the ramp is over."""
_LONGEST_GUESS = 130.0
"""Seconds; longest pause after 429s that name no delay. Half of it is more than a minute: on a server that
counts what it refuses, anything shorter would be refused for ever."""
_TRUST = 20
"""Refusals in a row after each of which the server's own time was waited out; then it is not believed."""
_TICK = 1e-3
"""Seconds; the bucket's room is looked at a little late rather than a hair early."""
_EVENLY = 600.0
"""Seconds without unexplained refusals after which images may leave in bursts again."""
_DECREASE = 0.9
"""Factor by which an unexplained refusal lowers the limit, but not below what got through."""
_LOWER_EVERY = 60.0
"""Seconds between two steps down while the server says how long to wait: obeying it does most of it."""
_FULL, _LATE, _WIDER, _WIDEST = 0.9, 2.0, 0.25, 4.0
"""A refusal with nine tenths of the limit used, which asks for 2 s at most, is the network's: each makes
the windows a quarter of a second longer, up to 4 s."""
_DENSE = 15.0
"""Seconds: a refusal that asks for less is taken for "too dense", not for "too many"."""


class ImageLimiter:
    """Admit at most *images_per_minute* images in any minute, in the order in which they were asked for.

    Share one limiter between sessions that use the same key: ``ImageSession(limiter=limiter)``. They may
    run in several event loops, each in a thread of its own. What a server limits by itself, such as a
    family of models, has a queue of its own (a *scope*), with the same settings.

    Args:
        images_per_minute: The limit of the key, above 0; None if *windows* say it.
            https://platform.openai.com/docs/guides/images (2023) gives 50 as the default; a key's own
            limit is on the account's limits page.
        burst: Images that may leave at once, at most the limit; the rest follow evenly. A single request
            for more leaves whole, and those after it wait for its share. None for ten at once (a fifth
            of a limit above 50) and as many in each half second.
        requests_per_minute: Requests, whatever they ask for; None for no such limit.
        input_images_per_minute: Reference images of edits and variations; None for no such limit.
        windows: Further windows as (images, seconds): ``((20, 60), (50, 300))``.
        adopt: What to do when the server names another limit: ``"down"`` uses it if it is lower, ``"auto"``
            in both directions, ``"never"`` keeps to the numbers given here.
        max_pause: Longest pause in seconds that a 429 may begin. A longer one is passed to the
            callers as `imagesdk.RateLimitError` with its ``retry_after``, and until it is over no call is sent.
        jitter: Seconds by which a window is longer than the server's, because requests are slow on their
            way by different times; 0.35 suits the internet.

    Raises:
        ConfigurationError: A value is out of range.

    Example:
        >>> import asyncio
        >>> from imagesdk import ImageLimiter, ImageSession
        >>> limiter = ImageLimiter(50, requests_per_minute=20)
        >>> async def main():
        ...     options = {"api_key": key, "base_url": url, "limiter": limiter}
        ...     async with ImageSession(**options) as first, ImageSession(**options) as second:
        ...         for images in (first, second):
        ...             await images.generate("a fox", size="256x256")
        ...         return limiter.snapshot().used
        >>> asyncio.run(main())
        2
    """

    def __init__(
        self,
        images_per_minute: float | None = 50.0,
        *,
        burst: int | None = None,
        requests_per_minute: float | None = None,
        input_images_per_minute: float | None = None,
        windows: Iterable[tuple[int, float]] = (),
        adopt: Adopt = "down",
        max_pause: float = 300.0,
        jitter: float = JITTER,
    ) -> None:
        self.settings: Settings = Settings(
            images_per_minute=images_per_minute,
            burst=burst,
            requests_per_minute=requests_per_minute,
            input_images_per_minute=input_images_per_minute,
            windows=windows,
            adopt=adopt,
            max_pause=max_pause,
            jitter=jitter,
        )
        self.images_per_minute = images_per_minute
        self.max_pause: float = self.settings.max_pause
        self.retry_quota: RetryQuota = RetryQuota()
        self._queues: dict[str, _LocalQueue] = {}

    def max_cost(self, scope: str = "") -> int | None:
        """Return the images that one call may ask for now; the session splits more.

        Args:
            scope: What is limited by itself at the server, ``""`` for everything.
        """
        return self._queue(scope).most()

    def ticket(
        self,
        images: int,
        *,
        input_images: int = 0,
        scope: str = "",
        priority: Priority = "interactive",
        max_wait: float | None = None,
        slots: Slots | None = None,
        place: int | None = None,
        on_queued: OnQueued | None = None,
    ) -> QueueTicket[Permit]:
        """Return a place in the queue; see `imagesdk.limiters.base.Limiter.ticket`.

        Raises:
            ConfigurationError: The call can never be admitted.
        """
        cost = self.settings.cost(images, input_images)
        return QueueTicket(
            self._queue(scope),
            cost,
            is_batch=priority == "batch",
            max_wait=max_wait,
            slots=slots,
            place=place,
            on_queued=on_queued,
        )

    def snapshot(self, scope: str = "") -> LimiterSnapshot:
        """Return the state of the limiter; call it inside the event loop.

        Args:
            scope: What is limited by itself at the server, ``""`` for everything.
        """
        return self._queue(scope).snapshot()

    def forecast(self, images: int, requests: int, scope: str = "") -> float:
        """Return the seconds until the last of so many could be sent; call it inside the event loop.

        It knows what has been sent, a pause that a 429 began, and that a request is not cut in two: of a
        limit of 50, requests for 7 images use 49. It does not know what other programs will send.

        Args:
            images: That are still to be sent, those of calls that wait already among them.
            requests: That ask for them.
            scope: What is limited by itself at the server, ``""`` for everything.
        """
        return self._queue(scope).forecast(images, requests)

    def _queue(self, scope: str) -> _LocalQueue:
        queue = self._queues.get(scope)
        # setdefault is atomic: two threads get the same queue.
        return queue or self._queues.setdefault(scope, _LocalQueue(self.settings, self._stop_all))

    def _stop_all(self, error: QuotaExceededError) -> None:
        """End what waits in every scope: an account has one credit."""
        for queue in tuple(self._queues.values()):
            queue.stop(error)


class _Pace:
    """The token bucket: how densely images may leave, inside the windows.

    aiolimiter says whether there is room. It does not say when there will be, and it waits in one event
    loop; so the level is followed here, too. A request for more than the bucket holds leaves
    whole when the bucket is empty, and those after it wait for its share.
    """

    def __init__(self, images: float, seconds: float) -> None:
        self._bucket = AsyncLimiter(images, seconds)
        self._seconds_an_image = seconds / images
        self._loop: asyncio.AbstractEventLoop | None = None
        self._level = 0.0
        self._at = 0.0

    @property
    def shape(self) -> tuple[float, float]:
        """Images at once, and the seconds for as many."""
        return self._bucket.max_rate, self._bucket.time_period

    def delay(self, now: float, images: int) -> float:
        """Return the seconds until *images* may leave."""
        room = self._bucket.max_rate - min(images, self._bucket.max_rate)
        return max(0.0, self._left(now) - room) * self._seconds_an_image

    def forecast(self, now: float, images: int) -> float:
        """Return the seconds until the last of *images* has left."""
        excess = self._left(now) + images - self._bucket.max_rate
        return max(0.0, excess) * self._seconds_an_image

    async def take(self, now: float, images: int) -> bool:
        """Take *images*; False if there is no room. It never suspends."""
        loop = asyncio.get_running_loop()
        most = self._bucket.max_rate
        share = min(images, most)
        left = self._left(now)
        if left > most - share:
            return False
        if loop is not self._loop:  # a bucket belongs to one loop: a new one takes the level over
            self._loop, self._bucket = loop, AsyncLimiter(*self.shape)
            await self._bucket.acquire(min(left, most))
        if not self._bucket.has_capacity(share):
            return False
        await self._bucket.acquire(share)
        self._level, self._at = left + images, now
        return True

    def give_back(self, now: float, permit: Permit) -> None:
        """Take back what did not leave, but for what has leaked since: others may have used that."""
        leaked = (now - permit.at) / self._seconds_an_image
        self._level = self._left(now) - max(0.0, permit.cost.images - leaked)
        self._level, self._at = max(0.0, self._level), now
        self._loop = None  # aiolimiter takes nothing back: begin another bucket

    def reshaped(self, now: float, images: float, seconds: float) -> _Pace:
        """Return a bucket of another shape, as full as this one."""
        if (images, seconds) == self.shape:
            return self
        pace = _Pace(images, seconds)
        pace._level, pace._at = self._left(now), now
        return pace

    def _left(self, now: float) -> float:
        return max(0.0, self._level - (now - self._at) / self._seconds_an_image)


class _LocalQueue(CallQueue[Permit]):
    """The queue of one scope, within this process."""

    def __init__(self, settings: Settings, stop_all: Callable[[QuotaExceededError], None]) -> None:
        super().__init__(settings.max_pause)
        self._settings = settings
        self._stop_all = stop_all
        self._limits = settings.limits()
        self._windows: dict[Dimension, Window] = {}
        self._schedule = Schedule(settings.further_windows())
        self._pace = _Pace(_LEAST_RAMP, _RAMP)
        self._evenly_until = -math.inf
        self._full_at = math.inf
        self._lowered_at = -math.inf
        self._adjusted_at = -math.inf
        self._refresh_at = -math.inf
        self._guesses = 0
        self._refresh(0.0)

    def most(self) -> int | None:
        """Return the images that one call may ask for."""
        return self._most

    def words(self) -> str:
        """Name the limit in a message."""
        images = self._tightest()
        if images.period == 60.0:
            return f"the limit of {images.limit:g} images a minute"
        return f"the limit of {images.limit:g} images in {images.period:g} s"

    def stop(self, error: QuotaExceededError) -> None:
        """End the calls that wait."""
        self._stop(error)

    def snapshot(self) -> LimiterSnapshot:
        """Return the state of the queue."""
        now = asyncio.get_running_loop().time()
        with self._lock:
            self._refresh(now)
            head = self._head()
            wait, reason = (0.0, None) if head is None else self._outlook(head, now)
            queued, images = self._queued()
            if head is None and queued:
                reason = "concurrency"
            paused = max(0.0, self._pause_until - now)
            limit = self._limits["images"]
            return LimiterSnapshot(
                images_per_minute=self._settings.images_per_minute,
                limit=limit.at(now),
                adopted=limit.named if limit.ceiling == limit.named else None,
                used=self._schedule.used(now),
                queued=queued,
                queued_images=images,
                paused=paused,
                paused_until=datetime.now(UTC) + timedelta(seconds=paused) if paused else None,
                next_waits=wait,
                next_waits_for=reason,
            )

    def forecast(self, images: int, requests: int) -> float:
        """Return the seconds until the last of so many could be sent."""
        if images < 1:
            return 0.0
        now = asyncio.get_running_loop().time()
        with self._lock:
            self._refresh(now)
            each = min(math.ceil(images / max(1, requests)), self._most)
            unused = self._most % each  # of every window
            pause = max(0.0, self._pause_until - now)
            total = Cost(math.ceil(images * self._most / (self._most - unused)), requests)
            return pause + self._forecast(now + pause, total)

    async def at_once(self, ticket: QueueTicket[Permit], now: float) -> Permit | None:
        with self._lock:
            self._refresh(now)
            if (
                not self._nobody_waits
                or self._held(now) is not None
                or not self._schedule.has_room(now, ticket.cost)
                or (ticket.slots is not None and ticket.slots.full)
                or not await self._pace.take(now, ticket.cost.images)
                or (ticket.slots is not None and not ticket.slots.take())
            ):
                return None
            permit = self._schedule.admit(now, ticket.cost)
            self._go(permit, now)
            return permit

    async def _advance(self) -> tuple[float | None, Reason]:
        now = asyncio.get_running_loop().time()
        with self._lock:
            self._refresh(now)
            while True:
                head = self._head()
                if head is None:
                    return None, "concurrency"
                chosen, wait, reason = self._choose(head, now)
                if chosen is None:
                    return wait, reason
                cost = chosen.ticket.cost
                if not await self._pace.take(now, cost.images):
                    return _TICK, "pace"
                permit = self._schedule.admit(now, cost)
                if not self._grant(chosen, permit, now):
                    self._schedule.give_back(permit)
                    self._pace.give_back(now, permit)

    def _choose(
        self, head: Waiter[Permit], now: float
    ) -> tuple[Waiter[Permit] | None, float, Reason]:
        """Return who may go now; or None, the seconds until somebody may, and why."""
        wait, reason = self._outlook(head, now)
        if wait <= 0:
            return head, 0.0, reason
        if reason == "window" and (other := self._backfill(head, now, wait)) is not None:
            pace = self._pace.delay(now, other.ticket.cost.images)
            if pace > 0:
                return None, min(pace + _TICK, wait), "pace"
            for passed in takewhile(lambda each: each is not other, self._behind(head)):
                passed.ticket.passed += other.ticket.cost.images
            return other, 0.0, reason
        return None, wait + _TICK if reason == "pace" else wait, reason

    def _outlook(self, head: Waiter[Permit], now: float) -> tuple[float, Reason]:
        """Return the seconds until *head* may go, and what it waits for."""
        if (held := self._held(now)) is not None:
            return held
        if (wait := self._schedule.delay(now, head.ticket.cost)) > 0:
            self._full_at = min(self._full_at, now)
            return wait, "window"
        return self._pace.delay(now, head.ticket.cost.images), "pace"

    def _backfill(self, head: Waiter[Permit], now: float, wait: float) -> Waiter[Permit] | None:
        """Return the largest call behind *head* that fits now and hardly delays it."""
        if head.due_at is None:
            head.due_at = now + wait
        latest = head.due_at + BACKFILL_DELAY * min(w.period for w in self._schedule.windows) - now
        best: Waiter[Permit] | None = None
        for other in self._behind(head):
            cost = other.ticket.cost
            if (
                (best is None or cost.images > best.ticket.cost.images)
                and self._schedule.has_room(now, cost)
                and self._schedule.delay(now, head.ticket.cost, after=cost) <= latest
            ):
                best = other
        return best

    def _tightest(self) -> Window:
        """Return the window that lets the fewest images through."""
        return min((w for w in self._schedule.windows if w.dimension == "images"), key=_rate)

    def _never(self, cost: Cost) -> Exception | None:
        inputs = self._windows.get("input_images")
        if inputs is not None and not inputs.takes(cost):
            return ConfigurationError(
                f"a call with {cost.input_images} input images can never be admitted: the server "
                f"takes {inputs.limit} a minute. Send fewer in one call"
            )
        return super()._never(cost)

    def _forecast(self, now: float, ahead: Cost) -> float:
        return max(self._schedule.forecast(now, ahead), self._pace.forecast(now, ahead.images))

    async def _return(self, permit: Permit) -> None:
        now = asyncio.get_running_loop().time()
        with self._lock:
            self._schedule.give_back(permit)
            self._pace.give_back(now, permit)
            self.poke()

    async def _settle(
        self, ticket: QueueTicket[Permit], permit: Permit, error: BaseException | None
    ) -> None:
        now = asyncio.get_running_loop().time()
        with self._lock:
            if error is None and ticket.sent:
                self._succeeded(ticket, permit, now)
            elif isinstance(error, RateLimitError):
                self._refused(ticket, permit, error, now)
            elif not was_sent(ticket, error):
                self._schedule.give_back(permit)
                self._pace.give_back(now, permit)
                self.poke()
            elif isinstance(error, QuotaExceededError):
                self._schedule.give_back(permit)
                self.poke()
            elif isinstance(error, PermissionDeniedError) and error.status == 429:  # "Limit: 0"
                self._schedule.give_back(permit)
                self._stop(error)
            elif ticket.sent_at is not None:
                self._schedule.move(permit, ticket.sent_at)
        if isinstance(error, QuotaExceededError):
            self._stop_all(error)

    def _succeeded(self, ticket: QueueTicket[Permit], permit: Permit, now: float) -> None:
        if ticket.sent_at is not None:
            self._schedule.move(permit, ticket.sent_at)
        self._guesses = 0
        if ticket.headers:
            self._hear(rate_limit_info(ticket.headers), now, refused=False)

    def _refused(
        self, ticket: QueueTicket[Permit], permit: Permit, error: RateLimitError, now: float
    ) -> None:
        """Learn from a 429, and pause."""
        proven = permit.at >= self._full_at + _PROVEN
        self._full_at = math.inf
        self._schedule.give_back(permit)
        self._pace.give_back(now, permit)
        said = (error.error or {}).get("message")
        info = rate_limit_info(error.headers, said if isinstance(said, str) else error.message)
        adopted = self._hear(info, now, refused=True)
        too_large = not self._schedule.takes(ticket.cost)
        if adopted:
            self._adjusted_at = now
        elif not too_large and info.dimension in (None, "images"):
            self._learn(permit, error, now, proven=proven)
        wait, guess = error.retry_after, self._guess(now)
        if wait is None:  # what will be split needs a moment only: for its parts to take its place
            wait = 0.0 if too_large else guess
        elif self._guesses > _TRUST:
            wait = max(wait, guess)
        self._pause(error, wait, now)

    def _hear(self, info: RateLimitInfo, now: float, *, refused: bool) -> bool:
        """Adopt a limit that the server names; return True if that changed anything."""
        if info.dimension is None or not self._limits[info.dimension].hear(
            info.limit, refused=refused
        ):
            return False
        self._changed(now)
        return True

    def _learn(self, permit: Permit, error: RateLimitError, now: float, *, proven: bool) -> None:
        """Draw the conclusion from a 429 that explains nothing, although everything fitted."""
        if permit.at <= self._adjusted_at:  # sent before the last conclusion: the same news
            return
        wait, limit = error.retry_after, self._limits["images"]
        # All in images a minute: the window that lets the fewest through may be one of another length.
        tight = self._tightest()
        scale = 60.0 / tight.period
        used, in_use = tight.used(now) * scale, tight.limit * scale
        full = used + permit.cost.images * scale >= _FULL * in_use
        if proven and full and wait is not None and wait <= _LATE:  # right, and a little too early
            for window in self._schedule.windows:
                window.jitter = min(window.jitter + _WIDER, _WIDEST)
            self._adjusted_at = now
            return
        # Too dense, or too many? The first time it is taken for the former, unless the wait is long.
        too_many = now < self._evenly_until or (wait is not None and wait > _DENSE)
        obeying_is_enough = wait is not None and now < self._lowered_at + _LOWER_EVERY
        if too_many and not obeying_is_enough and error.code != "slow_down":
            # Between what got through and what would have been too much: half way.
            through = used + permit.cost.images // 2 * scale
            limit.lower(max(through, _DECREASE * in_use), now)
            self._lowered_at = now
        self._adjusted_at, self._evenly_until = now, now + _EVENLY
        self._changed(now)

    def _guess(self, now: float) -> float:
        """Return a pause for a 429 that names none: it doubles until a call succeeds."""
        longest = min(_LONGEST_GUESS, 2.0 ** min(self._guesses, 10))
        if now >= self._pause_until:  # what is refused together counts once
            self._guesses += 1
        return random.uniform(longest / 2, longest)  # noqa: S311 - jitter, not a secret

    def _changed(self, now: float) -> None:
        self._refresh_at = -math.inf
        self._refresh(now)
        self._split_what_is_too_large()
        self.poke()

    def _refresh(self, now: float) -> None:
        """Bring windows and pace up to the limits in use."""
        if now < self._refresh_at:
            return
        for dimension, limit in self._limits.items():
            per_minute = limit.at(now)
            if per_minute is None:
                continue
            whole, period = whole_limit(per_minute)
            window = self._windows.get(dimension)
            if window is None:
                window = Window(dimension, whole, period, self._settings.jitter)
                self._windows[dimension] = window
                self._schedule.add(window)
            window.limit, window.period = whole, period
        images = self._tightest()
        if now < self._evenly_until:
            shape = (1.0, images.period / images.limit)
        elif self._settings.burst is not None:
            burst = min(self._settings.burst, images.limit)
            shape = (burst, burst * images.period / images.limit)
        elif now < self._full_at + _PROVEN:
            shape = (max(_LEAST_RAMP, images.limit / 5), _RAMP)
        else:
            shape = (images.limit, _RAMP)
        self._pace = self._pace.reshaped(now, *shape)
        changing = (
            now < max(self._evenly_until, self._full_at + _PROVEN) or self._limits["images"].learns
        )
        self._most = min(w.limit for w in self._schedule.windows if w.dimension == "images")
        self._refresh_at = now + 1.0 if changing else math.inf


def _rate(window: Window) -> float:
    return window.limit / window.period
