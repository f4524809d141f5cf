"""How far a batch is, how fast it goes, why it waits and when it ends: the model, without clock and I/O.

Theory of the time left. A mean rate is wrong by a multiple for most of the first hour: a limit of 50 images a minute
lets 50 of them out at once, and then none for a minute. So the time is taken from what will hold the
batch back. The last request leaves when the limiter lets it (`imagesdk.limiters.base.Limiter.forecast`:
what its windows still permit now, then so many a period), and when there is a slot for it: work in
requests times seconds, done by *concurrency* at a time. Whichever is later, and then it takes as long
as the slow ones among the last requests did.

What is not known: where the two take turns, the sum is a little longer than the longer of them; how long
requests will take that are unlike those before; what will be refused or fail. Requests that the server refused with
a 429 and that wait for their turn again count as in flight.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Literal, TypeAlias

import attrs

from imagesdk.batch.entries import Total
from imagesdk.batch.jobs import Job, images_asked
from imagesdk.batch.records import Record
from imagesdk.limiters.base import LimiterSnapshot

__all__ = ("BatchProgress", "Forecast", "ProgressSnapshot", "Why")

Why: TypeAlias = Literal["pause", "limit", "concurrency", "end"]
"""What the next request waits for: the end of a pause that the server asked for, the limit, the end of
one of those in flight, or nothing any more: the run is to end."""

Forecast: TypeAlias = Callable[[int, int], float]
"""Seconds until the last of so many images, in so many requests, can be sent: `ImageSession.forecast`."""

_MINUTE = 60.0
_RECENT = 256
"""Requests whose time tells how long the next ones will take."""
_SLOW = 0.9
"""Of the requests, nine in ten are faster than the one that is taken for the last."""


@attrs.frozen(kw_only=True)
class ProgressSnapshot:
    """The state of a batch at one moment.

    Attributes:
        images: That are here, those of earlier runs among them.
        total: Images that the input asks for.
        failed: Requests that did not bring all that they asked for.
        in_flight: Requests that were sent and have not ended.
        waiting: Requests that were not sent yet.
        last_minute: Images that came in the last 60 seconds.
        limit: Images a minute that the limiter lets through now, None for any number.
        limit_is_named: True if it is another one than was configured, and the server named it.
        paused: Seconds until a pause is over that the server asked for, 0 without one.
        why: What the next request waits for, None if nothing.
        spent: What the images of this run cost, in the price list's unit; None if nobody knows a price.
        elapsed: Seconds since the run began.
        left: Seconds until it ends, None before a request has ended that tells how long they take.
        at_least: Seconds until the limit lets the last request go.
    """

    images: int
    total: int
    failed: int
    in_flight: int
    waiting: int
    last_minute: int
    limit: float | None
    limit_is_named: bool
    paused: float
    why: Why | None
    spent: float | None
    elapsed: float
    left: float | None
    at_least: float


class BatchProgress:
    """Follow a batch, from what `imagesdk.batch.runner.run_jobs` tells its callbacks.

    Every method takes the time in seconds, of any clock that only goes forward.

    Args:
        concurrency: Most requests in flight.
        price: What the images of a record cost, None if that is not known.
        now: When the run begins.
    """

    def __init__(
        self,
        concurrency: int,
        *,
        price: Callable[[Record], float | None] = lambda _record: None,
        now: float,
    ) -> None:
        self._concurrency = concurrency
        self._price = price
        self._begun_at = now
        self._total = Total(0, 0)
        self._in_flight: dict[str, tuple[float, int]] = {}
        self._due: Total | None = None
        self._ended = self._ended_now = Total(0, 0)
        self._images = 0
        self._failed = 0
        self._spent: float | None = None
        self._arrived: deque[tuple[float, int]] = deque()
        self._arrived_images = 0
        self._took: deque[float] = deque(maxlen=_RECENT)
        self._draining = False

    def begin(self, total: Total) -> None:
        """Note what the input asks for."""
        self._total = total

    def due(self, total: Total) -> None:
        """Note how much of it this run will do: all that is not done yet, unless this is called."""
        self._due = total

    def start(self, job: Job, now: float) -> None:
        """Note that a request is sent."""
        self._in_flight[job.custom_id] = (now, images_asked(job.params))

    def end(self, record: Record, now: float, *, is_new: bool = True) -> None:
        """Note how a request ended, now or in an earlier run."""
        self._in_flight.pop(record.custom_id, None)
        asked, images = images_asked(record.params), len(record.images)
        self._ended = Total(self._ended.jobs + 1, self._ended.images + asked)
        if is_new:
            self._ended_now = Total(self._ended_now.jobs + 1, self._ended_now.images + asked)
        self._images += images
        self._failed += record.status != "done"
        if not is_new:
            return
        self._arrived.append((now, images))
        self._arrived_images += images
        if images:  # a refusal comes sooner than a picture
            self._took.append(max(0.0, record.elapsed - record.waited))
        price = self._price(record)
        if price is not None:
            self._spent = (self._spent or 0.0) + price

    def drain(self) -> None:
        """Note that nothing more is sent: the run ends with what is in flight."""
        self._draining = True

    def snapshot(
        self, now: float, limiter: LimiterSnapshot, forecast: Forecast
    ) -> ProgressSnapshot:
        """Return how it stands.

        Args:
            now: The time in seconds.
            limiter: The state of the limiter.
            forecast: What the limiter foresees.
        """
        while self._arrived and self._arrived[0][0] <= now - _MINUTE:
            self._arrived_images -= self._arrived.popleft()[1]
        waiting = self._waiting()
        at_least = forecast(waiting.images, waiting.jobs) if waiting.jobs else 0.0
        return ProgressSnapshot(
            images=self._images,
            total=self._total.images,
            failed=self._failed,
            in_flight=len(self._in_flight),
            waiting=waiting.jobs,
            last_minute=self._arrived_images,
            limit=limiter.limit,
            limit_is_named=limiter.adopted is not None
            and limiter.adopted == limiter.limit != limiter.images_per_minute,
            paused=limiter.paused,
            why=self._why(limiter, waiting),
            spent=self._spent,
            elapsed=now - self._begun_at,
            left=self._left(now, at_least, waiting),
            at_least=at_least,
        )

    def _waiting(self) -> Total:
        if self._draining:
            return Total(0, 0)
        in_flight = sum(images for _, images in self._in_flight.values())
        due, ended = self._due, self._ended_now
        if due is None:
            due, ended = self._total, self._ended
        return Total(
            max(0, due.jobs - ended.jobs - len(self._in_flight)),
            max(0, due.images - ended.images - in_flight),
        )

    def _why(self, limiter: LimiterSnapshot, waiting: Total) -> Why | None:
        if self._draining:
            return "end"
        if limiter.paused:
            return "pause"
        if not waiting.jobs:
            return None
        if limiter.queued and limiter.next_waits_for != "concurrency":
            return "limit"
        full = len(self._in_flight) >= self._concurrency
        return "concurrency" if full or limiter.queued else None

    def _left(self, now: float, at_least: float, waiting: Total) -> float | None:
        """Return the seconds until the last request has ended."""
        if not waiting.jobs and not self._in_flight:
            return 0.0
        if not self._took:
            return None
        ages = [now - at for at, _ in self._in_flight.values()]
        took = sorted(self._took)
        typical = sum(took) / len(took)
        # The fast ones end first: those that already take longer than they did count, too.
        late = [age for age in ages if age > typical]
        typical = (sum(took) + sum(late)) / (len(took) + len(late))
        slow = took[int(_SLOW * (len(took) - 1))]
        if not waiting.jobs:
            return max(0.0, *(slow - age for age in ages))
        # Work that is left, in seconds of one slot; when the last request finds a slot, the others
        # are half done.
        work = waiting.jobs * typical + sum(max(0.0, typical - age) for age in ages)
        return max(0.0, work / self._concurrency - typical / 2, at_least) + slow
